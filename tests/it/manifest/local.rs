//! What a machine was given beside its manifests, layered under them.

use std::sync::Arc;

use podwright::manifest::{Reader, survey};
use podwright::model::{BlobId, Desired, Kind, ORIGIN, Severity, Snapshot, SourceFile};
use serde_json::{Value, json};

use super::snapshot::snapshot;

fn secret(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": value}}).to_string()
}

fn layered(written: &[(&str, String)], local: &[(&str, String)]) -> Snapshot {
    let file = |(path, text): &(&str, String)| SourceFile {
        path: (*path).into(),
        blob: BlobId::of_text(&format!("{path}{text}")),
        bytes: text.as_bytes().into(),
    };
    Snapshot { local: local.iter().map(file).collect(), ..snapshot(written) }
}

fn value<'d>(desired: &'d Desired, name: &str) -> &'d Arc<Value> {
    let mut found = desired.others.iter().filter(|(key, _)| key.kind == Kind::Secret && key.name == name);
    found.next().and_then(|(_, object)| object.value.as_ref()).unwrap()
}

#[test]
fn what_is_written_hides_what_is_provisioned() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "i:1", "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "below", "key": "k"}}}]}]}})
    .to_string();
    let written = [("a.yaml", secret("both", "written")), ("p.yaml", pod)];
    let local = [("local/1", secret("both", "provisioned")), ("local/2", secret("below", "provisioned"))];
    let desired = Reader::new().read(&layered(&written, &local));
    assert!(
        desired.diagnostics.0.is_empty(),
        "a reference to what is provisioned leads there: {:?}",
        desired.diagnostics
    );
    let told = |name: &str| {
        (&value(&desired, name)["stringData"]["k"], &value(&desired, name)["metadata"]["annotations"][ORIGIN])
    };
    assert_eq!(told("both"), (&json!("written"), &Value::Null));
    assert_eq!(told("below"), (&json!("provisioned"), &json!("local")));
    assert_eq!(desired.others.len(), 2);
    // Without it the same manifests say that it is missing.
    let alone = Reader::new().read(&layered(&written, &[]));
    assert_eq!(alone.diagnostics.0.iter().map(|found| found.rule).collect::<Vec<_>>(), ["missing-object"]);
}

#[test]
fn a_reader_forgets_what_is_provisioned_no_more() {
    let written = [("a.yaml", secret("own", "x"))];
    let mut reader = Reader::new();
    let read = |reader: &mut Reader, value: &str| {
        let snapshot = layered(&written, &[("local/1", secret("below", value))]);
        self::value(&reader.read(&snapshot), "below")["stringData"]["k"].clone()
    };
    assert_eq!((read(&mut reader, "one"), reader.parsed()), (json!("one"), 2));
    assert_eq!((read(&mut reader, "one"), reader.parsed()), (json!("one"), 2));
    assert_eq!((read(&mut reader, "two"), reader.parsed()), (json!("two"), 3));
    assert_eq!(reader.read(&layered(&written, &[])).others.len(), 1);
    assert_eq!(reader.cached(), 1);
}

#[test]
fn what_is_wrong_on_the_machine_is_a_warning_and_refuses_nothing() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let written = [("a.yaml", secret("own", "x"))];
    let rows: &[(&str, String)] = &[
        ("nothing", String::new()),
        ("a pod", pod.to_string()),
        ("cut short", "{\"apiVersion\": \"v1\", \"ki".to_owned()),
        ("an unknown field", secret("below", "x").replace("stringData", "stringDatum")),
        ("two of them", format!("{}\n---\n{}", secret("below", "x"), secret("other", "x"))),
    ];
    for (what, text) in rows {
        let desired =
            Reader::new().read(&layered(&written, &[("local/1", text.clone()), ("local/2", secret("good", "y"))]));
        assert!(!desired.diagnostics.has_errors(), "{what}: {:?}", desired.diagnostics);
        let told: Vec<_> = desired.diagnostics.0.iter().map(|found| (found.rule, found.severity)).collect();
        assert!(told.contains(&("local-object", Severity::Warning)), "{what}: {told:?}");
        assert_eq!(desired.others.len() + desired.pods.len(), 2, "{what}");
    }
}

#[test]
fn a_machine_with_objects_and_a_directory_without_any_is_still_the_wrong_directory() {
    let snapshot = layered(&[("a.yaml", String::new())], &[("local/1", secret("below", "x"))]);
    assert_eq!(Reader::new().read(&snapshot).diagnostics.0.first().map(|found| found.rule), Some("no-manifests"));
    // Nothing of it matters where manifests are judged alone.
    let desired = survey(&layered(&[("a.yaml", secret("own", "x"))], &[("local/1", "{".to_owned())]), 1, |_| {
        Box::new(|_, _| true)
    });
    assert!(desired.diagnostics.0.is_empty());
}

#[test]
fn no_manifest_says_that_it_is_provisioned() {
    let mut lie: Value = serde_json::from_str(&secret("s", "x")).unwrap();
    lie["metadata"]["annotations"] = json!({(ORIGIN): "local"});
    assert!(Reader::new().read(&snapshot(&[("a.yaml", lie.to_string())])).diagnostics.has_errors());
}
