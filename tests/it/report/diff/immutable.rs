//! Updates that an API server would refuse are told, and they happen all the same.

use podwright::report::{Concern, DiffReport, MarkdownOptions, diff_markdown, diff_text};
use serde_json::{Value, json};

use super::{between, data};

/// Of which fields the report says that an API server would refuse their change.
fn refused(report: &DiffReport) -> Vec<String> {
    let items = report.attention.iter().filter(|item| item.concern == Concern::Immutable);
    items.map(|item| item.field.clone().unwrap()).collect()
}

fn object(kind: &str, value: &str, more: Value) -> Value {
    let value = if kind == "Secret" { base64(value) } else { value.to_owned() };
    let mut object = data(kind, "o", json!({ "k": value }));
    more.as_object().unwrap().iter().for_each(|(key, value)| object[key] = value.clone());
    object
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What it is, how the object is before, its value and how it is after, and the fields that are told.
type Row<'a> = (&'a str, &'a Value, (&'a str, &'a Value), &'a [&'a str]);

#[test]
fn what_an_immutable_object_may_not_change_is_told() {
    let (open, shut) = (json!({}), json!({"immutable": true}));
    let labelled = json!({"immutable": true, "metadata": {"name": "o", "labels": {"a": "b"}}});
    let not_any_more = json!({"immutable": false});
    let rows: [Row<'_>; 8] = [
        ("the data of one that is not", &open, ("2", &open), &[]),
        ("becoming immutable, with other data", &open, ("2", &shut), &[]),
        ("nothing", &shut, ("1", &shut), &[]),
        ("metadata", &shut, ("1", &labelled), &[]),
        ("data", &shut, ("2", &shut), &["data"]),
        ("the mark taken away", &shut, ("1", &open), &["immutable"]),
        ("the mark set to false", &shut, ("1", &not_any_more), &["immutable"]),
        ("both", &shut, ("2", &open), &["data, immutable"]),
    ];
    for kind in ["ConfigMap", "Secret"] {
        for (what, before, (value, after), expected) in rows {
            let report = between(&[object(kind, "1", before.clone())], &[object(kind, value, after.clone())]);
            assert_eq!(refused(&report), expected, "{kind}: {what}");
        }
        let gone = between(&[object(kind, "1", shut.clone())], &[]);
        assert_eq!(refused(&gone), [""; 0], "it may be deleted");
    }
    let spelled = json!({"immutable": true, "data": {}, "stringData": {"k": "1"}});
    let report = between(&[object("Secret", "1", shut)], &[object("Secret", "1", spelled)]);
    assert_eq!(refused(&report), [""; 0], "the same in plain text");
}

#[test]
fn the_type_of_a_secret_never_changes_in_kubernetes() {
    let typed = |name: &str| json!({ "type": name });
    for (before, after, expected) in [
        (json!({}), typed("Opaque"), &[][..]),
        (json!({}), typed(""), &[]),
        (typed(""), typed("Opaque"), &[]),
        (typed("Opaque"), typed("example.com/token"), &["type"]),
        (typed("example.com/token"), json!({}), &["type"]),
    ] {
        let report = between(&[object("Secret", "1", before)], &[object("Secret", "1", after.clone())]);
        assert_eq!(refused(&report), expected, "{after}");
    }
}

#[test]
fn it_is_told_in_each_view() {
    let shut = || json!({"immutable": true});
    let report = between(&[object("ConfigMap", "1", shut())], &[object("ConfigMap", "2", shut())]);
    let told = "an API server would refuse this update, for it has `immutable: true`; here it is done";
    let text = diff_text(&report);
    assert!(text.contains(&format!("\n! ConfigMap default/o: data: {told}\n")), "{text}");
    let options = MarkdownOptions { target: "t".into(), max_bytes: MarkdownOptions::DEFAULT_BYTES };
    let markdown = diff_markdown(&report, &options);
    assert!(markdown.contains("> ⚠️ 1 update that Kubernetes refuses\n"), "{markdown}");
    assert!(markdown.contains("- **immutable** ConfigMap `default/o`: `data`: `an API server"), "{markdown}");
    assert!(markdown.contains("  - way out: `add it under another name"), "{markdown}");
    super::schema::checked(&report);
}
