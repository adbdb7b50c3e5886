//! Where a pod may run: `nodeSelector`, `nodeAffinity` and `tolerations`, as Kubernetes 1.36 checks them
//! (`pkg/apis/core/validation`).

use super::selector::{label_key, label_value};
use super::{Subject, View, choice, names, shape};
use crate::manifest::problem::{Finding, quoted};

/// The one field of a node that may be matched.
const NAME: &str = "metadata.name";

pub(super) fn node_selector(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(selector) = subject.root.path(&["spec", "nodeSelector"]) else { return };
    for (key, value) in selector.entries() {
        label_key(key, &value, out);
        label_value(&value, out);
    }
}

pub(super) fn node_affinity(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(affinity) = subject.root.path(&["spec", "affinity", "nodeAffinity"]) else { return };
    if let Some(required) = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") {
        let terms = required.list("nodeSelectorTerms");
        if terms.is_empty() {
            let message = "a required `nodeAffinity` needs at least one item in `nodeSelectorTerms`";
            out.push(required.error("selector", message).at_key());
        }
        terms.iter().for_each(|each| term(each, true, out));
    }
    for preferred in affinity.list("preferredDuringSchedulingIgnoredDuringExecution") {
        if let Some(preference) = preferred.get("preference") {
            term(&preference, false, out);
        }
        let weight = preferred.get("weight");
        if let Some(weight) = weight.filter(|weight| weight.integer().is_some_and(|n| !(1..=100).contains(&n))) {
            out.push(weight.error("number-range", "`weight` must be between 1 and 100"));
        }
    }
}

/// A term; the values of one that is required must be possible values of labels.
fn term(term: &View<'_>, is_required: bool, out: &mut Vec<Finding>) {
    for expression in term.list("matchExpressions") {
        if let Some(key) = expression.get("key") {
            shape(&key, "the label key", names::qualified, out);
        }
        let Some(operator) = expression.get("operator") else { continue };
        choice(&operator, "operator", &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"], out);
        let values = expression.list("values");
        if is_required {
            values.iter().for_each(|value| label_value(value, out));
        }
        match (operator.text().unwrap_or_default(), values.len()) {
            (word @ ("In" | "NotIn"), 0) => {
                out.push(operator.error("selector", format!("operator {word} needs at least one value")));
            }
            (word @ ("Exists" | "DoesNotExist"), 1..) => {
                let at = expression.get("values").unwrap_or(expression);
                out.push(at.error("selector", format!("operator {word} takes no values")).at_key());
            }
            (word @ ("Gt" | "Lt"), 1) => integer(word, &values[0], out),
            (word @ ("Gt" | "Lt"), _) => {
                out.push(operator.error("selector", format!("operator {word} needs exactly one value")));
            }
            _ => {}
        }
    }
    term.list("matchFields").iter().for_each(|each| field(each, out));
}

/// Kubernetes takes any text here, and nothing ever matches it.
fn integer(word: &str, value: &View<'_>, out: &mut Vec<Finding>) {
    if let Some(text) = value.text().filter(|text| text.parse::<i64>().is_err()) {
        let message = format!("operator {word} compares integers: {} matches no machine", quoted(text));
        out.push(Finding::warning("selector", &value.pointer(), message).help("write an integer, in quotes"));
    }
}

fn field(requirement: &View<'_>, out: &mut Vec<Finding>) {
    if let Some(key) = requirement.get("key").filter(|key| key.text().is_some_and(|text| text != NAME)) {
        let message =
            format!("{} is no field of a node that `matchFields` knows", quoted(key.text().unwrap_or_default()));
        out.push(key.error("selector", message).help(format!("write `{NAME}`")));
    }
    let Some(operator) = requirement.get("operator") else { return };
    choice(&operator, "operator", &["In", "NotIn"], out);
    let values = requirement.list("values");
    values.iter().for_each(|value| shape(value, "the node name", names::subdomain, out));
    if matches!(operator.text(), Some("In" | "NotIn")) && values.len() != 1 {
        out.push(operator.error("selector", "an item of `matchFields` needs exactly one value"));
    }
}

/// Tolerations: what an operator and an effect need.
pub(super) fn tolerations(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    for toleration in spec.list("tolerations") {
        let key = toleration.text_of("key").unwrap_or_default();
        let operator = toleration.text_of("operator").filter(|word| !word.is_empty()).unwrap_or("Equal");
        if let Some(view) = toleration.get("key").filter(|_| !key.is_empty()) {
            shape(&view, "the key", names::qualified, out);
        } else if operator != "Exists" {
            let message = "a toleration without `key` needs `operator: Exists`";
            out.push(toleration.error("contradiction", message).help("add `operator: Exists`, or a key"));
        }
        match toleration.get("value").filter(|value| value.text() != Some("")) {
            Some(value) if operator == "Exists" => {
                let message = "`operator: Exists` and `value` cannot go together";
                out.push(value.error("contradiction", message).at_key());
            }
            Some(value) if operator == "Equal" => label_value(&value, out),
            _ => {}
        }
        let seconds = toleration.get("tolerationSeconds").filter(|_| toleration.text_of("effect") != Some("NoExecute"));
        if let Some(seconds) = seconds {
            let message = "`tolerationSeconds` needs `effect: NoExecute`";
            out.push(seconds.error("contradiction", message).at_key());
        }
    }
}
