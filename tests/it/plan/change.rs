//! What a comparison of two pods says beyond the verb of each field, which the table has.

use podwright::model::Packed;
use podwright::plan::{Change, change};
use serde_json::{Value, json};

use super::table::base;
use crate::admit::without_tokens::{admitted, pod_of};

/// `none`, or the verdict with the fields, each with the preset that caused it.
fn verdict(before: &[Value], after: &[Value]) -> String {
    let pods = [before, after].map(|objects| pod_of(&admitted(objects), "default", "p"));
    let (word, fields) = match change(&pods[0], &pods[1]) {
        Change::None => return "none".into(),
        Change::InPlace(fields) => ("in place", fields),
        Change::Recreate(fields) => ("recreate", fields),
    };
    let fields: Vec<String> = fields
        .iter()
        .map(|f| match f.preset() {
            Some(preset) => format!("{} by {preset}", f.field),
            None => f.field.clone(),
        })
        .collect();
    format!("{word}: {}", fields.join(", "))
}

pub(super) fn set(root: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = root.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.shift_remove(key)),
        (Value::Object(map), value) => drop(map.insert(key.to_owned(), value)),
        (Value::Array(items), Value::Null) => drop(items.remove(key.parse().unwrap())),
        (Value::Array(items), value) => match key.parse::<usize>().unwrap() {
            index if index < items.len() => items[index] = value,
            _ => items.push(value),
        },
        (other, _) => panic!("{pointer}: {other}"),
    }
}

#[test]
fn with_a_field_that_needs_a_new_pod_the_others_are_not_the_reason() {
    let mut after = base();
    set(&mut after, "/metadata/labels/app", json!("x"));
    set(&mut after, "/spec/hostname", json!("x"));
    assert_eq!(verdict(&[base()], &[after]), "recreate: spec.hostname");
}

#[test]
fn values_are_told_before_and_after() {
    let mut after = base();
    set(&mut after, "/spec/containers/0/image", json!("nginx:2"));
    set(&mut after, "/metadata/labels/app", Value::Null);
    let pods = [base(), after].map(|pod| pod_of(&admitted(&[pod]), "default", "p"));
    let Change::InPlace(fields) = change(&pods[0], &pods[1]) else { panic!() };
    assert_eq!((fields[0].before.as_deref(), fields[0].after.as_deref()), (Some("\"web\""), None));
    assert_eq!((fields[1].before.as_deref(), fields[1].after.as_deref()), (Some("\"nginx:1\""), Some("\"nginx:2\"")));
}

#[test]
fn moving_a_pod_to_another_file_changes_nothing() {
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(verdict(&[base()], &[other, base()]), "none");
}

#[test]
fn the_order_of_keys_in_a_map_changes_nothing() {
    let mut before = base();
    before["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    let mut after = base();
    after["metadata"]["labels"] = json!({"b": "2", "a": "1"});
    assert_eq!(verdict(&[before], &[after]), "none");
}

#[test]
fn a_default_that_a_newer_version_changed_restarts_nothing() {
    let old = pod_of(&admitted(&[base()]), "default", "p");
    let mut older = (*old).clone();
    let mut effective = older.effective.open();
    let spec = effective.spec.as_mut().unwrap();
    spec.dns_policy = Some("Default".into());
    spec.containers[0].termination_message_policy = Some("FallbackToLogsOnError".into());
    older.effective = Packed::new(&effective);
    assert_eq!(change(&older, &old), Change::None);
}

fn preset(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("selector").is_none() {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": name}, "spec": spec})
}

const MARK: &str = "metadata.annotations[podpreset.admission.kubernetes.io/podpreset-db]";

#[test]
fn the_preset_behind_a_change_is_named() {
    let db = |value: &str| preset("db", json!({"env": [{"name": "DB", "value": value}]}));
    let lone = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "i:1"}]},
    });
    let mut authored = lone.clone();
    authored["spec"]["containers"][0]["env"] = json!([{"name": "DB", "value": "9"}]);
    let selected = |key: &str| {
        preset(
            "db",
            json!({"env": [{"name": "DB", "value": "1"}], "selector": {"matchExpressions": [{"key": key, "operator": "Exists"}]}}),
        )
    };
    let volume = preset(
        "db",
        json!({
            "volumes": [{"name": "c", "emptyDir": {}}], "volumeMounts": [{"name": "c", "mountPath": "/c"}],
            "envFrom": [{"configMapRef": {"name": "m"}}],
        }),
    );
    let env = "spec.containers[0].env[DB]";
    let rows = vec![
        ("added", vec![lone.clone()], vec![lone.clone(), db("1")], format!("recreate: {env} by db")),
        ("removed", vec![lone.clone(), db("1")], vec![lone.clone()], format!("recreate: {env} by db")),
        ("changed", vec![lone.clone(), db("1")], vec![lone.clone(), db("2")], format!("recreate: {env}.value by db")),
        ("same", vec![lone.clone(), db("1")], vec![lone.clone(), db("1")], "none".into()),
        ("selector only", vec![lone.clone(), db("1")], vec![lone.clone(), selected("app")], format!("in place: {MARK} by db")),
        ("selector misses", vec![lone.clone(), db("1")], vec![lone.clone(), selected("no")], format!("recreate: {env} by db")),
        ("the author takes over", vec![lone.clone(), db("1")], vec![authored], format!("recreate: {env}.value")),
        (
            "volumes and sources",
            vec![lone.clone()],
            vec![lone.clone(), volume],
            "recreate: spec.containers[0].envFrom[0] by db, spec.containers[0].volumeMounts[/c] by db, spec.volumes[c] by db".into(),
        ),
        (
            "another preset conflicts",
            vec![lone.clone(), db("1")],
            vec![lone, db("1"), preset("z", json!({"env": [{"name": "DB", "value": "2"}]}))],
            format!("recreate: {env} by db"),
        ),
    ];
    for (name, before, after, expected) in rows {
        assert_eq!(verdict(&before, &after), expected, "{name}");
    }
}

/// Fields that are no pointers in the API: what they hold when nothing is said is dropped.
/// A pod that holds whatever has a field that the API does not keep.
fn with_holders() -> Value {
    let mut written = base();
    set(&mut written, "/spec/containers/0/ports", json!([{"containerPort": 80}]));
    set(&mut written, "/spec/containers/0/envFrom", json!([{"configMapRef": {"name": "m"}}]));
    set(&mut written, "/spec/containers/0/volumeMounts", json!([{"name": "v", "mountPath": "/v"}]));
    let file = json!([{"path": "c", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]);
    set(
        &mut written,
        "/spec/volumes",
        json!([{"name": "v", "emptyDir": {}}, {"name": "d", "downwardAPI": {"items": file}},
        {"name": "p", "projected": {"sources": [{"downwardAPI": {"items": file}}]}}]),
    );
    set(
        &mut written,
        "/spec/containers/0/env",
        json!([{"name": "N", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]),
    );
    set(&mut written, "/spec/containers/0/resources", Value::Null);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        set(&mut written, &format!("/spec/containers/0/{probe}"), json!({"httpGet": {"port": 80}}));
    }
    let hook = json!({"httpGet": {"port": 80}});
    set(&mut written, "/spec/containers/0/lifecycle", json!({"postStart": hook, "preStop": hook}));
    written
}

#[test]
fn writing_down_what_the_api_does_not_keep_changes_nothing() {
    let written = with_holders();
    let container = "/spec/containers/0";
    let fields = [
        ("/spec/hostNetwork".to_owned(), json!(false)),
        ("/spec/hostPID".to_owned(), json!(false)),
        ("/spec/hostIPC".to_owned(), json!(false)),
        ("/spec/hostname".to_owned(), json!("")),
        ("/spec/subdomain".to_owned(), json!("")),
        ("/spec/nodeName".to_owned(), json!("")),
        ("/spec/priorityClassName".to_owned(), json!("")),
        ("/spec/restartPolicy".to_owned(), json!("")),
        ("/spec/dnsPolicy".to_owned(), json!("")),
        ("/spec/volumes/0/emptyDir/medium".to_owned(), json!("")),
        ("/spec/volumes/1/downwardAPI/items/0/resourceFieldRef/divisor".to_owned(), json!("0")),
        ("/spec/volumes/2/projected/sources/0/downwardAPI/items/0/resourceFieldRef/divisor".to_owned(), json!("0")),
        ("/spec/overhead".to_owned(), json!({})),
        (format!("{container}/env/0/valueFrom/resourceFieldRef/divisor"), json!("0m")),
        (format!("{container}/resources"), json!({"limits": {}})),
        (format!("{container}/resources"), json!({"requests": {}})),
        (format!("{container}/stdin"), json!(false)),
        (format!("{container}/stdinOnce"), json!(false)),
        (format!("{container}/tty"), json!(false)),
        (format!("{container}/workingDir"), json!("")),
        (format!("{container}/terminationMessagePath"), json!("")),
        (format!("{container}/ports/0/hostPort"), json!(0)),
        (format!("{container}/ports/0/hostIP"), json!("")),
        (format!("{container}/ports/0/name"), json!("")),
        (format!("{container}/ports/0/protocol"), json!("")),
        (format!("{container}/imagePullPolicy"), json!("")),
        (format!("{container}/terminationMessagePolicy"), json!("")),
        (format!("{container}/startupProbe/httpGet/scheme"), json!("")),
        (format!("{container}/livenessProbe/httpGet/scheme"), json!("")),
        (format!("{container}/readinessProbe/httpGet/scheme"), json!("")),
        (format!("{container}/readinessProbe/httpGet/path"), json!("")),
        (format!("{container}/lifecycle/postStart/httpGet/scheme"), json!("")),
        (format!("{container}/lifecycle/preStop/httpGet/scheme"), json!("")),
        (format!("{container}/envFrom/0/prefix"), json!("")),
        (format!("{container}/volumeMounts/0/readOnly"), json!(false)),
        (format!("{container}/volumeMounts/0/subPath"), json!("")),
        (format!("{container}/volumeMounts/0/subPathExpr"), json!("")),
    ];
    for (pointer, value) in fields {
        let mut after = written.clone();
        set(&mut after, &pointer, value);
        assert_eq!(verdict(std::slice::from_ref(&written), &[after.clone()]), "none", "{pointer}");
        assert_eq!(verdict(&[after], std::slice::from_ref(&written)), "none", "{pointer} is taken out");
    }
    let mut init = written.clone();
    set(&mut init, "/spec/initContainers", json!([{"name": "i", "image": "i:1"}]));
    let mut after = init.clone();
    set(&mut after, "/spec/initContainers/0/tty", json!(false));
    assert_eq!(verdict(&[init.clone()], &[after.clone()]), "none");
    set(&mut after, "/spec/initContainers/0/tty", json!(true));
    assert_eq!(verdict(&[init], &[after]), "recreate: spec.initContainers[0].tty");
    // Real pointers tell.
    let mut after = written.clone();
    set(&mut after, "/spec/shareProcessNamespace", json!(false));
    assert_eq!(verdict(&[written], &[after]), "recreate: spec.shareProcessNamespace");
}
