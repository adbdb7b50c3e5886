//! The status document and its schema.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use podwright::model::{
    ActionEntry, Admitted, DataObjects, Diagnostic, Diagnostics, Durable, PodKey, Revision, RevisionKind, Severity,
    SkippedPreset, StatusDocument,
};
use podwright::report::{StatusInput, shown_pod, status_document};
use serde_json::{Value, json};

use super::fixture::{admitted, node, object, scripted};
use super::presets::conflict;

fn revision(id: &str) -> Revision {
    Revision { kind: RevisionKind::Commit, id: id.into(), subject: None, branch: None }
}

fn durable(attempted: &str, applied: &str) -> Durable {
    let some = |id: &str| (!id.is_empty()).then(|| revision(id));
    Durable { last_attempted: some(attempted), last_applied: some(applied), set_aside: None }
}

fn refused(count: usize) -> Diagnostics {
    let one = Diagnostic {
        severity: Severity::Error,
        rule: "unknown-field",
        message: "unknown field \"x\"".into(),
        help: None,
        place: None,
        object: None,
        field: None,
    };
    Diagnostics(vec![one; count])
}

fn revision_with(names: &[&str]) -> Admitted {
    let pods = names.iter().map(|n| {
        let mut pod = admitted(n, json!({}), json!({"containers": [{"name": "a"}]}));
        pod.skipped.push(SkippedPreset {
            name: "other".into(),
            reason: "conflicts".into(),
            conflicts: (0..20).map(|n| conflict(&n.to_string())).collect(),
        });
        (pod.key.clone(), Arc::new(pod))
    });
    Admitted {
        revision: revision("r1"),
        pods: pods.collect(),
        data: Arc::new(DataObjects::default()),
        objects: Default::default(),
        sources: Default::default(),
        unread: Default::default(),
        is_untold: false,
        audits: Diagnostics::default(),
        diagnostics: Diagnostics::default(),
    }
}

struct World {
    durable: Durable,
    pods: Vec<Pod>,
    unsettled: Vec<PodKey>,
    refused: Diagnostics,
    failure: Option<&'static str>,
    admitted: Admitted,
    actions: Vec<ActionEntry>,
}

impl World {
    fn with(durable: Durable, pods: Vec<Pod>) -> Self {
        let admitted = revision_with(&["web"]);
        let refused = Diagnostics::default();
        Self { durable, pods, unsettled: Vec::new(), refused, failure: None, admitted, actions: Vec::new() }
    }

    fn document(&self) -> StatusDocument {
        let shown = |pod: &Pod| {
            let key = PodKey::new("default", pod.metadata.name.as_deref().unwrap());
            Arc::new(shown_pod(pod.clone(), self.admitted.pods.get(&key).map(|pod| &**pod)))
        };
        let pods: Vec<_> = self.pods.iter().map(shown).collect();
        status_document(&StatusInput {
            node: &node(),
            durable: &self.durable,
            admitted: Some(&self.admitted),
            pods: &pods,
            unsettled: &self.unsettled,
            refused: &self.refused,
            failure: self.failure,
            uncommitted: &["draft.yaml".to_owned()],
            actions: &self.actions,
        })
    }

    /// `Condition reason` of the one condition that is True.
    fn verdict(&self) -> String {
        let document = self.document();
        let set: Vec<_> = document.conditions.iter().filter(|c| c.status == "True").collect();
        assert_eq!(set.len(), 1, "{:?}", document.conditions);
        format!("{} {}", set[0].kind, set[0].reason.as_deref().unwrap_or_default())
    }
}

fn pod(policy: &str, apps: &str) -> Pod {
    scripted(policy, "", apps).1
}

#[test]
fn exactly_one_condition_is_true_and_says_why() {
    for (durable, pods, expected) in [
        (durable("r1", "r1"), vec![pod("Always", "a=run")], "Ready Succeeded"),
        (durable("r1", "r1"), vec![pod("Never=Succeeded", "a=exit0")], "Ready Succeeded"),
        (durable("r1", "r1"), vec![pod("Never=Failed", "a=exit1")], "Stalled PodFailed"),
        (durable("r1", "r1"), vec![pod("Always", "a")], "Reconciling Progressing"),
        (durable("r1", "r1"), vec![pod("Always", "a=exit1!")], "Reconciling Progressing"),
        // The revision has a pod that was not begun.
        (durable("r1", "r1"), vec![], "Reconciling Progressing"),
        (durable("r2", "r1"), vec![pod("Always", "a=run")], "Reconciling Progressing"),
        (durable("", ""), vec![pod("Always", "a=run")], "Reconciling Progressing"),
    ] {
        let world = World::with(durable, pods);
        assert_eq!(world.verdict(), expected, "{:?}", world.durable);
    }
}

#[test]
fn a_ledger_that_is_kept_for_a_later_program_is_told_of() {
    let set_aside = Some("/var/lib/podwright/ledger.v2.json".to_owned());
    let world = World::with(Durable { set_aside, ..durable("r1", "r1") }, vec![pod("Always", "a=run")]);
    let conditions = world.document().conditions;
    let kinds: Vec<_> = conditions.iter().map(|c| format!("{} {}", c.kind, c.status)).collect();
    assert_eq!(kinds, ["Ready True", "Reconciling False", "Stalled False", "LedgerSetAside True"]);
    let told = conditions[3].message.as_deref().unwrap();
    assert!(told.contains("/var/lib/podwright/ledger.v2.json") && told.contains("or remove it"), "{told}");
}

#[test]
fn a_refused_revision_stalls_and_names_its_errors_up_to_a_bound() {
    let mut world = World::with(durable("r2", "r1"), vec![pod("Always", "a=run")]);
    world.refused = refused(3);
    assert_eq!(world.verdict(), "Stalled InvalidManifests");
    assert_eq!(world.document().errors, vec!["error: unknown field \"x\""; 3]);
    world.refused = refused(250);
    let errors = world.document().errors;
    assert_eq!((errors.len(), errors[99].as_str()), (100, "... and 151 more"));
    world.failure = Some("cannot read repository /x: no such directory");
    assert_eq!(world.verdict(), "Stalled SourceNotReadable");
}

#[test]
fn a_ready_pod_that_is_still_to_change_is_under_way() {
    let mut world = World::with(durable("r2", "r2"), vec![pod("Always", "a=run")]);
    world.unsettled = vec![PodKey::new("default", "other")];
    assert_eq!(world.verdict(), "Ready Succeeded");
    world.unsettled = vec![PodKey::new("default", "web")];
    assert_eq!(world.verdict(), "Reconciling Progressing");
    assert_eq!(world.document().conditions[0].message.as_deref(), Some("waiting for default/web to change"));
}

#[test]
fn ready_dates_from_the_last_pod_and_not_from_the_clock() {
    let world = World::with(durable("r1", "r1"), vec![pod("Always", "a=run")]);
    let ready = &world.document().conditions[0];
    assert_eq!(ready.last_transition_time.as_deref(), Some("2026-01-02T03:00:05Z"));
}

fn full() -> World {
    let (mut observed, _) = scripted("Always", "i=exit0", "a=run b=exit1!");
    observed.containers[0].record.attempt = 2;
    let pod = object(&observed, &[("b", "CrashLoopBackOff", "back-off 10s")]);
    let mut world = World::with(durable("r2", "r1"), vec![pod]);
    world.refused = refused(1);
    let action = |n| ActionEntry {
        time: "2026-01-02T03:00:00Z".into(),
        pod: format!("default/p{n}"),
        action: "create".into(),
        reason: "new in the manifests".into(),
        revision: Some("r1".into()),
    };
    world.actions = (0..80).map(action).collect();
    world
}

#[test]
fn the_newest_fifty_actions_are_kept() {
    let actions = full().document().last_actions;
    assert_eq!((actions.len(), actions[0].pod.as_str(), actions[49].pod.as_str()), (50, "default/p30", "default/p79"));
}

#[test]
fn conflicts_of_a_preset_are_listed_up_to_a_bound() {
    let skipped = full().document().pods[0].open().skipped_presets;
    assert_eq!((skipped.len(), skipped[0].conflicts.len()), (1, 10));
    assert_eq!(skipped[0].conflicts[9], conflict("9"));
}

#[test]
fn a_document_validates_and_the_schema_is_strict() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/status.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let worlds =
        [full(), World::with(durable("r1", "r1"), vec![pod("Never=Failed", "a=exit1"), pod("Always", "a=lost")])];
    for world in worlds {
        let value = serde_json::to_value(world.document()).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(errors, [""; 0]);
    }
    let mut value = serde_json::to_value(full().document()).unwrap();
    value["pods"][0]["containers"][0]["surprise"] = json!(1);
    assert!(!validator.is_valid(&value));
}

/// Every member of an object, anywhere.
fn members(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.insert(key.clone());
                members(value, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|v| members(v, out)),
        _ => {}
    }
}

/// Every property a schema names.
fn properties(schema: &Value, out: &mut BTreeSet<String>) {
    if let Value::Object(map) = schema {
        for (key, value) in map {
            if key == "properties" {
                out.extend(value.as_object().unwrap().keys().cloned());
            }
            properties(value, out);
            if let Some(inner) = value.as_object().filter(|_| key == "properties") {
                inner.values().for_each(|v| properties(v, out));
            }
        }
    }
}

#[test]
fn the_schema_names_no_member_that_is_never_written() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/status.json")).unwrap();
    let (mut named, mut written) = (BTreeSet::new(), BTreeSet::new());
    properties(&serde_json::from_str(&text).unwrap(), &mut named);
    let mut world = full();
    world.pods.push(pod("Never=Failed", "a=exit1"));
    members(&serde_json::to_value(world.document()).unwrap(), &mut written);
    assert_eq!(named.difference(&written).collect::<Vec<_>>(), [""; 0] as [&str; 0]);
}

#[test]
fn an_unchanged_world_gives_unchanged_bytes() {
    let world = full();
    let bytes = |w: &World| serde_yaml::to_string(&w.document()).unwrap();
    assert_eq!(bytes(&world), bytes(&full()));
    assert!(bytes(&world).starts_with("apiVersion: podwright.dev/v1alpha1\nkind: Status\n"));
}
