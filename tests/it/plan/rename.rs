//! A pod under another name is a deletion and a creation that belong together.

use podwright::model::{PodKey, Rename, Verb};
use podwright::plan::{converged, fleet};
use serde_json::{Value, json};

use super::world::at;
use crate::admit::without_tokens::admitted;

fn pod(name: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"initContainers": [{"name": "i", "image": "setup"}], "containers": [{"name": "c", "image": image}]}})
}

fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key] = value;
    pod
}

fn renames(before: &[Value], after: &[Value]) -> Vec<String> {
    let plan = fleet(&admitted(after), &converged(&admitted(before), at(0)));
    let verb = |key: &PodKey| plan.actions.iter().find(|action| action.key() == key).map(|action| action.verb());
    for Rename { from, to } in &plan.renames {
        assert_eq!((verb(from), verb(to)), (Some(Verb::Delete), Some(Verb::Create)), "a rename is both");
    }
    plan.renames.iter().map(|Rename { from, to }| format!("{from} -> {to}")).collect()
}

#[test]
fn a_pod_under_another_name_is_a_rename() {
    let far = |name| with(pod(name, "x"), "/metadata/namespace", json!("far"));
    let labelled = with(pod("b", "x"), "/metadata/labels", json!({"app": "b"}));
    let grown = with(pod("b", "x"), "/spec/hostname", json!("h"));
    let init = with(pod("b", "x"), "/spec/initContainers/0/image", json!("other"));
    #[rustfmt::skip]
    let rows = vec![
        ("equal but for the name", vec![pod("a", "x")], vec![pod("b", "x")], vec!["default/a -> default/b"]),
        ("labels renamed along", vec![pod("a", "x")], vec![labelled.clone()], vec!["default/a -> default/b"]),
        ("another field, too", vec![pod("a", "x")], vec![grown.clone()], vec!["default/a -> default/b"]),
        ("another image is another pod", vec![pod("a", "x")], vec![pod("b", "y")], vec![]),
        ("another init container, too", vec![pod("a", "x")], vec![init], vec![]),
        ("another namespace is another pod", vec![pod("a", "x")], vec![far("a")], vec![]),
        ("in another namespace", vec![far("a")], vec![far("b")], vec!["far/a -> far/b"]),
        ("one that stays is not renamed", vec![pod("a", "x")], vec![pod("a", "x"), pod("b", "x")], vec![]),
        ("one that goes alone", vec![pod("a", "x"), pod("b", "x")], vec![pod("b", "x")], vec![]),
        ("equal candidates by name", vec![pod("b", "x"), pod("a", "x"), pod("c", "x")], vec![pod("z", "x"), pod("y", "x")],
            vec!["default/a -> default/y", "default/b -> default/z"]),
        ("the more alike ones first", vec![pod("a", "x"), with(pod("b", "x"), "/spec/hostname", json!("h"))],
            vec![with(pod("y", "x"), "/spec/hostname", json!("h")), pod("z", "x")], vec!["default/a -> default/z", "default/b -> default/y"]),
        ("alike and more than one: not guessed", vec![pod("a", "x"), with(pod("c", "x"), "/spec/hostname", json!("g"))],
            vec![with(pod("y", "x"), "/spec/hostname", json!("h"))], vec![]),
        ("alike and more than one new: not guessed", vec![pod("a", "x")],
            vec![with(pod("y", "x"), "/spec/hostname", json!("h")), with(pod("z", "x"), "/spec/hostname", json!("i"))], vec![]),
    ];
    for (name, before, after, expected) in rows {
        assert_eq!(renames(&before, &after), expected, "{name}");
        let reversed = |list: &[Value]| list.iter().rev().cloned().collect::<Vec<_>>();
        assert_eq!(renames(&reversed(&before), &reversed(&after)), expected, "{name}, in another order of the files");
    }
}

#[test]
fn a_rename_is_not_told_again_while_the_old_pod_goes() {
    let mut observed = converged(&admitted(&[pod("a", "x")]), at(0));
    let after = admitted(&[pod("b", "x")]);
    observed[0].record.deletion =
        Some(podwright::model::Deletion { requested_at: at(0), grace_seconds: 30, reason: "x".into() });
    observed.extend(converged(&after, at(0)));
    assert_eq!(fleet(&after, &observed).renames, []);
}

#[test]
fn a_pod_that_is_going_and_wanted_again_is_no_rename() {
    let mut observed = converged(&admitted(&[pod("a", "x"), pod("b", "x")]), at(0));
    observed[1].record.deletion =
        Some(podwright::model::Deletion { requested_at: at(0), grace_seconds: 30, reason: "x".into() });
    assert_eq!(fleet(&admitted(&[pod("b", "x")]), &observed).renames, []);
}
