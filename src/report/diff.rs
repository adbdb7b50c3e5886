//! What a revision would change: a line per pod with the cause, a unified diff of what the pod is, and counts.

use std::fmt::Write as _;

use serde_json::{Value, json};
use similar::TextDiff;

use crate::model::{Admitted, AdmittedPod, FieldChange, FleetAction, FleetPlan, ObservedPod, PodKey, Reason};

/// The plan as text; without actions it is the line of counts alone. Environment values in specs are shown: those of
/// Secrets are never part of a spec.
pub fn fleet_diff_text(plan: &FleetPlan, admitted: &Admitted, observed: &[ObservedPod]) -> String {
    let mut out = String::new();
    let mut counts = Counts::default();
    for action in &plan.actions {
        let key = action.key();
        let old = observed.iter().find(|o| o.record.key == *key).map(|o| &*o.record.realised);
        let (sign, verb, new) = match action {
            FleetAction::Remove { .. } => {
                counts.deleted += 1;
                ("-", "delete", None)
            }
            FleetAction::Apply { pod, reason } => {
                let wanted = admitted.pods.get(key).map_or(&**pod, |p| &**p);
                let (sign, verb) = counts.apply(reason, old.is_some());
                (sign, verb, Some(wanted))
            }
        };
        let _ = write!(out, "{sign} {key}  {verb}");
        let cause = cause(action.reason());
        if !cause.is_empty() {
            let _ = write!(out, "  {cause}");
        }
        out.push('\n');
        out.push_str(&unified(key, old, new));
    }
    counts.unchanged = plan.unchanged.len();
    out.push_str(&counts.line());
    out.push('\n');
    out
}

#[derive(Default)]
struct Counts {
    created: usize,
    updated: usize,
    recreated: usize,
    deleted: usize,
    unchanged: usize,
}

impl Counts {
    /// Counts an `Apply` and names it.
    fn apply(&mut self, reason: &Reason, exists: bool) -> (&'static str, &'static str) {
        match reason {
            Reason::UpdatedInPlace(_) => {
                self.updated += 1;
                ("~", "update in place")
            }
            Reason::PodAdded => {
                self.created += 1;
                ("+", "create")
            }
            _ if !exists => {
                self.created += 1;
                ("+", "create")
            }
            _ => {
                self.recreated += 1;
                ("~", "recreate")
            }
        }
    }

    fn line(&self) -> String {
        format!(
            "{} to create, {} to update in place, {} to recreate, {} to delete, {} unchanged",
            self.created, self.updated, self.recreated, self.deleted, self.unchanged
        )
    }
}

/// The fields that made it necessary, each with the preset that caused its change; other reasons as they read.
fn cause(reason: &Reason) -> String {
    match reason {
        Reason::UpdatedInPlace(changes) | Reason::Recreated(changes) => {
            let mut fields: Vec<String> = changes.iter().map(field).collect();
            fields.dedup();
            fields.join(", ")
        }
        Reason::PodAdded => String::new(),
        other => other.to_string(),
    }
}

fn field(change: &FieldChange) -> String {
    match change.preset() {
        Some(preset) => format!("{} (PodPreset {preset})", change.field),
        None => change.field.clone(),
    }
}

fn unified(key: &PodKey, old: Option<&AdmittedPod>, new: Option<&AdmittedPod>) -> String {
    let (before, after) = (old.map(yaml).unwrap_or_default(), new.map(yaml).unwrap_or_default());
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    let name = |side: &str, there: bool| if there { format!("{side}/{key}") } else { "/dev/null".to_owned() };
    diff.unified_diff().context_radius(3).header(&name("a", old.is_some()), &name("b", new.is_some())).to_string()
}

/// The part of a pod that an author or a preset decides: its labels, annotations and spec.
fn yaml(pod: &AdmittedPod) -> String {
    let value = serde_json::to_value(&pod.spec).unwrap_or(Value::Null);
    let mut shown = json!({"metadata": {"name": pod.key.name, "namespace": pod.key.namespace}});
    for member in ["labels", "annotations"] {
        if !value["metadata"][member].is_null() {
            shown["metadata"][member] = value["metadata"][member].clone();
        }
    }
    shown["spec"] = value["spec"].clone();
    serde_yaml::to_string(&shown).unwrap_or_default()
}
