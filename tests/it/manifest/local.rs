//! What a machine was given beside its manifests, layered under them.

use std::sync::Arc;

use podwright::manifest::{Reader, survey};
use podwright::model::{BlobId, Desired, Kind, ORIGIN, Provisioned, Severity, Snapshot, SourceFile};
use podwright::report;
use serde_json::{Value, json};

use super::snapshot::snapshot;

fn secret(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": value}}).to_string()
}

fn layered(written: &[(&str, String)], local: &[(&str, String)]) -> Snapshot {
    let file = |(path, text): &(&str, String)| SourceFile {
        path: format!("local/secrets/default/{path}").into(),
        blob: BlobId::of_text(&format!("{path}{text}")),
        bytes: text.as_bytes().into(),
    };
    let local = Provisioned { files: local.iter().map(file).collect(), left_out: vec![] };
    Snapshot { local, ..snapshot(written) }
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
    let local = [("both", secret("both", "provisioned")), ("below", secret("below", "provisioned"))];
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
        let snapshot = layered(&written, &[("below", secret("below", value))]);
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
        ("a pod", pod.to_string().replace("\"q\"", "\"planted\"")),
        ("cut short", "{\"apiVersion\": \"v1\", \"planted".to_owned()),
        ("an unknown field", secret("below", "planted").replace("stringData", "stringDatum")),
        ("two of them", format!("{}\n---\n{}", secret("below", "planted"), secret("other", "x"))),
        ("another name than its path says", secret("other", "planted")),
        // None of these speaks of secrets.
        ("a value alone", "planted-password".to_owned()),
        ("a mapping of no kind", "password: planted".to_owned()),
        ("a kind that there is not", "{apiVersion: planted, kind: planted}".to_owned()),
        ("a docker configuration", "{\"auths\": {\"planted\": {\"auth\": \"planted\"}}}".to_owned()),
    ];
    for (what, text) in rows {
        let snapshot = layered(&written, &[("below", text.clone()), ("good", secret("good", "y"))]);
        let desired = Reader::new().read(&snapshot);
        assert!(!desired.diagnostics.has_errors(), "{what}: {:?}", desired.diagnostics);
        let told: Vec<_> = desired.diagnostics.0.iter().map(|found| (found.rule, found.severity)).collect();
        assert_eq!(told, [("local-object", Severity::Warning)], "{what}");
        assert_eq!(desired.others.len() + desired.pods.len(), 2, "{what}");
        let shown = report::diagnostics_text(&desired.diagnostics);
        assert!(!shown.contains("planted") && shown.contains("local/secrets/default/below"), "{what}: {shown}");
    }
    // What could not even be read is told as well.
    let left_out = vec![("local/secrets/x".to_owned(), "it is no file of an object".to_owned())];
    let local = Provisioned { files: vec![], left_out };
    let desired = Reader::new().read(&Snapshot { local, ..snapshot(&written) });
    assert_eq!((desired.diagnostics.0.len(), desired.diagnostics.has_errors()), (1, false));
}

#[test]
fn a_machine_with_objects_and_a_directory_without_any_is_still_the_wrong_directory() {
    let snapshot = layered(&[("a.yaml", String::new())], &[("below", secret("below", "x"))]);
    assert_eq!(Reader::new().read(&snapshot).diagnostics.0.first().map(|found| found.rule), Some("no-manifests"));
    // Nothing of it matters where manifests are judged alone.
    let desired =
        survey(&layered(&[("a.yaml", secret("own", "x"))], &[("below", "{".to_owned())]), 1, |_| Box::new(|_, _| true));
    assert!(desired.diagnostics.0.is_empty());
}

#[test]
fn no_manifest_says_that_it_is_provisioned() {
    let mut lie: Value = serde_json::from_str(&secret("s", "x")).unwrap();
    lie["metadata"]["annotations"] = json!({(ORIGIN): "local"});
    assert!(Reader::new().read(&snapshot(&[("a.yaml", lie.to_string())])).diagnostics.has_errors());
}
