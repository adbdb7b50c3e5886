//! The chain: what admission does to a pod, step by step.
//!
//! It works on namespace, metadata and pod spec, which a pod has and a workload's pod template has too: both go through
//! the same steps, and `root` says where in its object the template stands.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::merge::Added;
use super::preset::{self, Budget, Candidate, Presets};
use super::security::{self, Mode, Policy};
use super::{defaults, placement, source_of};
use crate::model::{DesiredObject, Diagnostic, NodeInfo, PresetConflict, SourceRef, Unplaced};

/// The steps that write `spec`, in order: what digest and diff see.
const MERGE: &[Step] = &[
    // Which presets of the namespace match; none for mirror pods and excluded ones.
    preset::select,
    // None of them when all presets together bring too much to the revision.
    preset::bound,
    // All of them or, with any conflict, none.
    preset::merge,
    // An annotation for each that was merged.
    preset::mark,
    // Whether the machine fits it. Presets change nothing that this depends on.
    placement::place,
    // Whether it may ask for what it asks for, with everything that presets brought.
    security::judge,
];

/// The steps that make what runs out of `spec`, in order. They change no field that says something.
const FILL: &[fn(&mut PodSpec)] =
    &[defaults::of_zeros, defaults::of_the_pod, defaults::of_volumes, defaults::of_containers, defaults::of_the_whole];

type Step = for<'s, 'a> fn(&Subject<'s, 'a>, &mut Draft<'a>);

/// What is admitted, a pod or a workload's pod template: where it was written, and what may be merged into it.
pub(super) struct Subject<'s, 'a> {
    /// The object it stands in, for places.
    pub(super) object: &'a DesiredObject,
    /// Where in that object: empty for a pod, `/spec/template` for a template.
    pub(super) root: &'s str,
    /// The presets of the namespace it is admitted to.
    pub(super) presets: &'a Presets<'a>,
    /// What its namespace asks of its pods.
    pub(super) policy: &'s Policy<'a>,
    /// What presets may still bring to the revision, where that is bounded.
    pub(super) budget: Option<&'s Budget>,
    /// The machine that it is to run on, as far as it is known.
    pub(super) node: Option<&'s NodeInfo>,
}

impl Subject<'_, '_> {
    /// Where a field was written, by its JSON pointer within the pod.
    pub(super) fn at(&self, pointer: &str) -> SourceRef {
        source_of(self.object, &format!("{}{pointer}", self.root))
    }
}

/// What has become of it so far.
pub(super) struct Draft<'a> {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: PodSpec,
    /// The presets that match, sorted by name.
    pub(super) matching: Vec<&'a Candidate<'a>>,
    /// Presets match and bring more than may be merged: none of them is.
    pub(super) is_too_much: bool,
    /// What they added.
    pub(super) added: Vec<Added>,
    /// Why none of them was merged; without conflicts all of them were.
    pub(super) conflicts: Vec<PresetConflict>,
    /// There are more conflicts than these.
    pub(super) more_conflicts: bool,
    /// Why it does not run on the machine.
    pub(super) unplaced: Option<Unplaced>,
    /// That depends on something of the machine that nobody told: it counts as one that fits.
    pub(super) is_untold: bool,
    /// What it does that Pod Security forbids, and what becomes of it.
    pub(super) security: Vec<(Mode, Diagnostic)>,
}

/// Runs the steps that merge, on metadata and spec as they were written.
pub(super) fn run<'a>(subject: &Subject<'_, 'a>, metadata: ObjectMeta, spec: PodSpec) -> Draft<'a> {
    let mut draft = Draft {
        metadata,
        spec,
        matching: vec![],
        is_too_much: false,
        added: vec![],
        conflicts: vec![],
        more_conflicts: false,
        unplaced: None,
        is_untold: false,
        security: vec![],
    };
    for step in MERGE {
        step(subject, &mut draft);
    }
    draft
}

/// Runs the steps that fill in: what runs, of a spec that is merged.
pub(super) fn fill(spec: &mut PodSpec) {
    for step in FILL {
        step(spec);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
    use serde_json::{Value, json};

    use super::super::security::NO_POLICY;
    use super::*;
    use crate::model::{Kind, ObjectKey, Places, PodPreset, PointerDigest};

    fn object(kind: Kind, name: &str, value: Value, places: &[(&str, u32)]) -> DesiredObject {
        let key = ObjectKey { kind, namespace: "default".into(), name: name.into() };
        let source = SourceRef { path: Arc::from(format!("{name}.yaml")), document: 0, line: 1, column: 1 };
        let places: Places = places.iter().map(|(at, line)| (PointerDigest::of(at), (*line, 1))).collect();
        DesiredObject { key, source, value: Some(Arc::new(value)), places: Arc::new(places) }
    }

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}]}]},
        })
    }

    fn preset(value: &str) -> PodPreset {
        serde_json::from_value(json!({"spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "env": [{"name": "A", "value": value}, {"name": "B", "value": "2"}],
        }}))
        .unwrap()
    }

    #[test]
    fn the_pod_template_of_a_workload_is_admitted_like_a_pod() {
        let workload = object(Kind::Pod, "workload", Value::Null, &[("/spec/template/spec/containers/0/env/0", 7)]);
        let template_spec: PodTemplateSpec = serde_json::from_value(template()).unwrap();
        let (metadata, spec) = (template_spec.metadata.unwrap(), template_spec.spec.unwrap());
        for (value, merged) in [("1", true), ("other", false)] {
            let preset = preset(value);
            let written = object(Kind::PodPreset, "p", Value::Null, &[("/spec/env/0", 3)]);
            let mut presets = Presets::default();
            presets.push(Candidate { object: &written, preset: &preset, version: "v".into() });
            let root = "/spec/template";
            let (presets, policy) = (&presets, &NO_POLICY);
            let subject = Subject { object: &workload, root, presets, policy, budget: None, node: None };
            let mut draft = run(&subject, metadata.clone(), spec.clone());
            let env = draft.spec.containers[0].env.as_ref().unwrap();
            assert_eq!(env.len(), if merged { 2 } else { 1 }, "{value}");
            assert_eq!(draft.metadata.annotations.is_some(), merged, "{value}");
            let conflicts: Vec<String> = draft.conflicts.iter().map(ToString::to_string).collect();
            let expected = "spec.containers[0].env[A] is \"1\" in the pod (workload.yaml:7:1) and \"other\" in \
                            PodPreset p (p.yaml:3:1)";
            assert_eq!(conflicts, if merged { vec![] } else { vec![expected.to_owned()] }, "{value}");

            // A pod of the same metadata and spec comes out the same.
            let pod: Pod = serde_json::from_value(template()).unwrap();
            let subject = Subject { root: "", ..subject };
            let alike = run(&subject, pod.metadata, pod.spec.unwrap());
            assert_eq!((&alike.spec, &alike.metadata), (&draft.spec, &draft.metadata), "{value}");
            fill(&mut draft.spec);
            assert_eq!(draft.spec.restart_policy.as_deref(), Some("Always"), "{value}");
        }
    }
}
