//! What a revision would change, over real plans of admitted objects.

mod immutable;
mod markdown;
mod property;
pub mod schema;
mod secrets;

use podwright::model::{Admitted, Kind, PodKey, Verb};
use podwright::plan;
use podwright::report::{self, Concern, DiffBase, DiffReport, ObjectDiff, diff_json, diff_text};
use serde_json::{Value, json};

use super::fixture::at;
use crate::admit::admitted;

/// What lies between two sets of objects.
pub fn between(base: &[Value], head: &[Value]) -> DiffReport {
    compare(&admitted(base), &admitted(head))
}

pub fn compare(base: &Admitted, head: &Admitted) -> DiffReport {
    let plan = plan::fleet(head, &plan::converged(base, at(0)));
    report::compare(&plan, &DiffBase::Revision(base), head)
}

pub fn object(report: &DiffReport, kind: Kind, name: &str) -> ObjectDiff {
    let found = report.objects.iter().find(|o| o.key.kind == kind && o.key.name == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {report:?}")).clone()
}

pub fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

pub fn preset(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": name},
        "spec": {"selector": {}, "env": [{"name": "DB_PORT", "value": value}]},
    })
}

pub fn data(kind: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data})
}

/// Compares with a file of fixtures/diff, or writes it.
pub fn golden(name: &str, text: &str) {
    let path = format!("{}/fixtures/diff/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("UPDATE_EXPECTED").is_ok_and(|v| v == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "fixtures/diff/{name} is not what is said, run once with UPDATE_EXPECTED=1:\n{text}");
}

#[test]
fn nothing_differs_from_itself() {
    let all = [pod("a", "x"), preset("p", "1"), data("ConfigMap", "m", json!({"k": "v"}))];
    let report = between(&all, &all);
    assert!(report.is_empty() && !report.is_disruptive() && report.attention.is_empty(), "{report:?}");
    assert_eq!(
        diff_text(&report),
        "\
ConfigMap: 0 to create, 0 to change, 0 to delete, 1 unchanged
PodPreset: 0 to create, 0 to change, 0 to delete, 1 unchanged
Pod: 0 to create, 0 to update in place, 0 to restart, 0 to recreate, 0 to delete, 1 unchanged
nothing changes
"
    );
}

#[test]
fn every_kind_is_told_with_its_place_its_causes_and_its_lines() {
    let base = [pod("website", "nginx:1"), pod("gone", "g"), data("ConfigMap", "ui", json!({"a": "1", "b": "2"}))];
    let mut labelled = pod("website", "nginx:1");
    labelled["metadata"]["labels"]["role"] = json!("frontend");
    let ui = data("ConfigMap", "ui", json!({"a": "1", "b": "3", "c": "x: 1\ny: 2\n"}));
    let head = [labelled, ui, preset("allow-database", "6379")];
    let report = between(&base, &head);
    golden("every-kind.txt", &diff_text(&report));
    let website = object(&report, Kind::Pod, "website");
    assert_eq!((website.verb, website.presets[0].added), (Verb::Recreate, 3));
    assert!(report.is_disruptive());
    let concerns: Vec<Concern> = report.attention.iter().map(|item| item.concern).collect();
    assert_eq!(concerns, [Concern::Delete, Concern::Recreate, Concern::Data]);
}

#[test]
fn objects_of_other_kinds_alone_are_a_difference_and_no_disruption() {
    let report = between(&[pod("a", "x")], &[pod("a", "x"), data("ConfigMap", "m", json!({"k": "v"}))]);
    assert!(!report.is_empty() && !report.is_disruptive());
    let gone = between(&[pod("a", "x"), data("ConfigMap", "m", json!({"k": "v"}))], &[pod("a", "x")]);
    assert!(gone.is_disruptive(), "an object that goes may be missed");
}

#[test]
fn changed_data_is_told_with_the_pods_that_use_it() {
    let user = |name: &str, spec: Value| {
        let mut pod = pod(name, "x:1");
        spec.as_object().unwrap().iter().for_each(|(field, value)| pod["spec"][field] = value.clone());
        pod
    };
    let from = |kind: &str, key: &str| json!({"name": "V", "valueFrom": {kind: {"name": "db", "key": key}}});
    let env = |list: Value| json!({"containers": [{"name": "c", "image": "x:1", "env": list}]});
    let items = json!([{"name": "v", "secret": {"secretName": "db", "items": [{"key": "host", "path": "h"}]}}]);
    let all = |password: &str| {
        let recreated = password == "bmV3";
        let mut moved = env(json!([from("secretKeyRef", "password")]));
        moved["hostname"] = json!(if recreated { "b" } else { "a" });
        vec![
            user("by-key", env(json!([from("secretKeyRef", "password")]))),
            user("by-other-key", env(json!([from("secretKeyRef", "host")]))),
            user("by-other-item", json!({"volumes": items})),
            user("by-volume", json!({"volumes": [{"name": "v", "secret": {"secretName": "db"}}]})),
            user("recreated-too", moved),
            user("by-map", env(json!([from("configMapKeyRef", "k")]))),
            data("Secret", "db", json!({"password": password, "host": "aA=="})),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"p": if recreated { "new" } else { "old" }}}}),
        ]
    };
    let head = all("bmV3");
    let mut base = all("b2xk");
    base.push(data("ConfigMap", "db", json!({"k": "v"})));
    let report = between(&base, &head);
    let names = |kind| object(&report, kind, "db").used_by.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(Kind::Secret), ["by-key", "by-volume", "recreated-too"]);
    assert_eq!(names(Kind::ConfigMap), ["by-map"], "it goes, and a pod still asks for it");
    golden("data.txt", &diff_text(&report));
    golden("data.md", &markdown::comment(&report));
}

#[test]
fn what_runs_is_compared_by_pods_alone_when_nobody_knows_the_revision() {
    let base = admitted(&[pod("a", "x")]);
    let head = admitted(&[pod("a", "y"), data("ConfigMap", "m", json!({"k": "v"}))]);
    let running = plan::converged(&base, at(0));
    let plan = plan::fleet(&head, &running);
    let unknown = report::compare(&plan, &DiffBase::Running { pods: &running, applied: None }, &head);
    assert_eq!((unknown.objects.len(), unknown.counts.len(), unknown.base.revision.is_none()), (1, 1, true));
    assert!(diff_text(&unknown).contains("note: The revision applied last is not known"), "{}", diff_text(&unknown));
    let known = report::compare(&plan, &DiffBase::Running { pods: &running, applied: Some(&base) }, &head);
    assert_eq!((known.objects.len(), known.base.running), (2, true));
    assert!(!diff_text(&known).contains("note:"));
}

#[test]
fn a_conflict_of_presets_is_told_even_when_the_pod_stays_as_it_is() {
    let mut own = pod("web", "x");
    own["spec"]["containers"][0]["env"] = json!([{"name": "DB_PORT", "value": "1"}]);
    let report = between(&[own.clone()], &[own.clone(), preset("db", "2")]);
    let found: Vec<_> = report.attention.iter().filter(|item| item.concern == Concern::PresetConflict).collect();
    assert_eq!(found.len(), 1, "{report:?}");
    assert_eq!(
        (found[0].preset.as_deref(), &found[0].object),
        (Some("db"), &Some(PodKey::new("default", "web").object()))
    );
    assert!(diff_text(&report).contains("! Pod default/web: no PodPreset is merged: db conflicts on "));
    // Known before: no news.
    let again = between(&[own.clone(), preset("db", "2")], &[own, preset("db", "2")]);
    assert!(again.attention.is_empty() && again.is_empty());
}

#[test]
fn unread_objects_count_as_unchanged() {
    let base = admitted(&[pod("a", "x")]);
    let mut head = admitted(&[pod("a", "x")]);
    head.unread = [(Kind::Pod, 9), (Kind::Secret, 2)].into();
    let rows: Vec<(Kind, usize)> = compare(&base, &head).counts.iter().map(|row| (row.kind, row.unchanged)).collect();
    assert_eq!(rows, [(Kind::Secret, 2), (Kind::Pod, 10)]);
}

#[test]
fn the_order_of_keys_in_a_file_changes_nothing() {
    let base = data("ConfigMap", "m", json!({"a": "1", "b": "2"}));
    let head = data("ConfigMap", "m", json!({"b": "2", "a": "1"}));
    assert!(between(&[base], &[head]).is_empty());
}

#[test]
fn the_same_sides_give_the_same_bytes() {
    let base = [pod("a", "x"), pod("b", "x"), preset("p", "1")];
    let head = [pod("b", "y"), pod("c", "x"), preset("p", "2")];
    assert_eq!(diff_json(&between(&base, &head)), diff_json(&between(&base, &head)));
}

#[test]
fn plan_and_report_do_not_depend_on_the_number_of_threads() {
    let named = |at: usize| format!("pod{at:03}");
    let all = |count: usize, image: fn(usize) -> usize| -> Vec<Value> {
        (0..count).map(|at| pod(&named(at), &format!("i:{}", image(at)))).collect()
    };
    // More than are drawn up at a time; some stay, some go, some come.
    let mut base = all(300, |_| 0);
    base.push(data("ConfigMap", "m", json!({"k": "1"})));
    let mut head = all(320, |at| at % 3);
    head.retain(|pod| !pod["metadata"]["name"].as_str().unwrap().ends_with('7'));
    head.push(preset("p", "1"));
    let (base, head) = (admitted(&base), admitted(&head));
    let running = plan::converged(&base, at(0));
    let alone = plan::fleet(&head, &running);
    let report = compare(&base, &head);
    assert_eq!(report.objects.len(), 320);
    for threads in [2, 5] {
        let plan = plan::fleet_on(threads, &head, &running);
        assert_eq!(plan, alone, "{threads} threads");
        let found = report::compare_on(threads, &plan, &DiffBase::Revision(&base), &head);
        assert_eq!(diff_json(&found), diff_json(&report), "{threads} threads");
    }
}

/// A preset that is selected or kept off by a pod that changed is told by that, and not as a changed preset.
#[test]
fn of_presets_it_is_said_that_they_changed_when_one_did() {
    let (mut web, preset) = (pod("web", "i:1"), preset("p", "1"));
    let before = [web.clone(), preset.clone()];
    web["metadata"]["annotations"] = json!({"podpreset.admission.kubernetes.io/exclude": "true"});
    let notes = |report: &DiffReport| report.notes.iter().filter(|note| note.contains("PodPreset changes")).count();
    let report = between(&before, &[web.clone(), preset.clone()]);
    let fields: Vec<_> = object(&report, Kind::Pod, "web").changes.into_iter().map(|change| change.field).collect();
    assert_eq!(fields[0], "metadata.annotations[podpreset.admission.kubernetes.io/exclude]", "{fields:?}");
    assert_eq!((fields.len(), notes(&report)), (2, 0), "{fields:?}");
    assert_eq!(notes(&between(&before, &[pod("web", "i:1")])), 1);
}

#[test]
fn what_says_nothing_is_no_change() {
    let with = |mut object: Value, pointer: &str, value: Value| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[name] = value;
        object
    };
    let map = || data("ConfigMap", "m", json!({"k": "v"}));
    let secret = || data("Secret", "s", json!({"k": "dg=="}));
    let rows = [
        (map(), "/metadata/labels", json!({}), true),
        (map(), "/metadata/annotations", json!({}), true),
        (map(), "/binaryData", json!({}), true),
        (secret(), "/stringData", json!({}), true),
        (secret(), "/metadata/labels", json!({}), true),
        (secret(), "/type", json!("Opaque"), true),
        (secret(), "/type", json!(""), true),
        (secret(), "/type", json!("example.com/other"), false),
        (map(), "/metadata/labels", json!({"a": "b"}), false),
        (map(), "/immutable", json!(false), false),
        (map(), "/data", json!({}), false),
    ];
    for (object, pointer, value, is_same) in rows {
        let changed = with(object.clone(), pointer, value);
        for (before, after) in [(&object, &changed), (&changed, &object)] {
            let report = between(std::slice::from_ref(before), std::slice::from_ref(after));
            assert_eq!(report.objects.is_empty(), is_same, "{pointer}: {report:?}");
        }
    }
}
