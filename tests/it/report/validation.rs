//! Diagnostics for programs: JSON by its schema, GitHub's commands, SARIF; and that foreign text cannot forge any of them.

use std::path::PathBuf;

use podwright::model::{Diagnostic, Diagnostics, Kind, ObjectKey, Place, RULES, Severity, SourceRef};
use podwright::report::{Validation, diagnostics_text, github_annotations, sarif, validation_json, validation_text};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(super) fn place(path: &str, (line, column, width): (u32, u32, u32), text: &str) -> Place {
    Place { at: SourceRef { path: path.into(), document: 0, line, column }, text: text.into(), width }
}

pub(super) fn misspelt() -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule: "unknown-field",
        message: "unknown field \"imagee\"".into(),
        help: Some("did you mean `image`?".into()),
        place: Some(place("web/pod.yaml", (8, 5, 6), "    imagee: nginx")),
        object: Some(ObjectKey { kind: Kind::Pod, namespace: "default".into(), name: "web".into() }),
        field: Some("spec.containers[0].imagee".into()),
    }
}

pub(super) fn bare() -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        rule: "no-manifests",
        message: "no manifests".into(),
        help: None,
        place: None,
        object: None,
        field: None,
    }
}

pub(super) fn both() -> Diagnostics {
    Diagnostics(vec![misspelt(), bare()])
}

// JSON.

/// The schema of `validate -o json`.
fn schema() -> Value {
    let object = |properties: Value, optional: &[&str]| {
        let names = properties.as_object().unwrap().keys();
        let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
        json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
    };
    let count = json!({"type": "integer", "minimum": 0});
    let from_one = json!({"type": "integer", "minimum": 1});
    let rules: Vec<Value> = RULES.iter().map(|rule| json!({"const": rule.name, "description": rule.about})).collect();
    let kinds = Kind::ALL.map(Kind::as_str);
    let of_kind: serde_json::Map<String, Value> =
        kinds.iter().map(|kind| ((*kind).to_owned(), json!(from_one))).collect();
    let at = object(json!({"path": {"type": "string"}, "document": count, "line": from_one, "column": from_one}), &[]);
    let key =
        object(json!({"kind": {"enum": kinds}, "namespace": {"type": "string"}, "name": {"type": "string"}}), &[]);
    let diagnostic = object(
        json!({
            "severity": {"enum": ["error", "warning"]},
            "rule": {"oneOf": rules},
            "message": {"type": "string", "minLength": 1},
            "help": {"type": "string", "description": "The way out"},
            "place": object(json!({
                "at": at,
                "text": {"type": "string", "description": "The source line; values of Secrets masked"},
                "width": {"type": "integer", "minimum": 1, "description": "Characters that the place spans"},
            }), &[]),
            "object": key,
            "field": {"type": "string", "description": "As Kubernetes writes paths"},
        }),
        &["help", "place", "object", "field"],
    );
    let mut root = object(
        json!({
            "valid": {"type": "boolean", "description": "Whether the manifests would be taken"},
            "files": count,
            "objects": {"type": "object", "additionalProperties": false, "properties": of_kind,
                "description": "How many there are of each kind; none when the manifests are not valid"},
            "errors": count,
            "warnings": count,
            "diagnostics": {"type": "array", "items": diagnostic},
        }),
        &[],
    );
    let mut file = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://podwright.dev/schemas/validate.json",
        "title": "The output of podwright validate -o json",
    });
    file.as_object_mut().unwrap().append(root.as_object_mut().unwrap());
    file
}

#[test]
fn the_schema_of_validate_is_that_of_the_rules() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/validate.json");
    if std::env::var("UPDATE_SCHEMAS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "schemas/validate.json is stale: run the tests once with UPDATE_SCHEMAS=1 and commit it");
}

fn errors(value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn what_validate_says_fits_its_schema() {
    let diagnostics = both();
    let refused = Validation { valid: false, files: 2, objects: &[], diagnostics: &diagnostics };
    let value = validation_json(&refused);
    assert_eq!(errors(&value), [""; 0]);
    assert_eq!((&value["errors"], &value["warnings"], &value["files"]), (&json!(1), &json!(1), &json!(2)));
    let none = Diagnostics::default();
    let valid = Validation { valid: true, files: 1, objects: &[(Kind::Pod, 2)], diagnostics: &none };
    let mut value = validation_json(&valid);
    assert_eq!(errors(&value), [""; 0]);
    assert_eq!(value["objects"], json!({"Pod": 2}));
    value["surprise"] = json!(1);
    assert_ne!(errors(&value), [""; 0], "the schema is strict");
    assert_eq!(validation_text(&valid), "valid: 2 Pods in 1 file\n");
}

// GitHub.

#[test]
fn each_diagnostic_is_an_annotation_at_its_place() {
    assert_eq!(
        github_annotations(&both()),
        "::error file=web/pod.yaml,line=8,col=5,endColumn=11,title=unknown-field::unknown field \"imagee\"%0Ahelp: did you \
         mean `image`?\n::warning title=no-manifests::no manifests\n1 error, 1 warning in 1 file\n"
    );
    assert_eq!(github_annotations(&Diagnostics::default()), "valid\n");
}

type Properties = Vec<(String, String)>;

/// What a runner reads in a line: the command's name, its properties and its message.
fn read_command(line: &str) -> Option<(String, Properties, String)> {
    let rest = line.trim_start().strip_prefix("::")?;
    let (head, message) = rest.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let unescape = |text: &str| {
        text.replace("%3A", ":").replace("%2C", ",").replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    };
    let pairs = properties.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), unescape(value))).collect();
    Some((name.to_owned(), pairs, unescape(message)))
}

/// Texts that would like to be something else.
const HOSTILE: [&str; 10] = [
    "a\n::error file=x::forged",
    "a\r\n::stop-commands::x",
    "::set-output name=a::b",
    "%0A::error::forged",
    "x,line=1,file=other.yaml::forged",
    "##[error]forged",
    "##vso[task.setvariable]x",
    "\u{1b}[2J\u{9b}31m\u{7f}\u{0}\u{8}",
    "\u{202e}cod\u{2066}\u{2028}\u{85}",
    "a\tb",
];

pub(super) fn hostile(path: &str, message: &str, line: &str) -> Diagnostics {
    let foreign = Diagnostic {
        message: message.to_owned(),
        help: Some(message.to_owned()),
        place: Some(place(path, (1, 1, 3), line)),
        object: Some(ObjectKey { kind: Kind::Pod, namespace: message.into(), name: message.into() }),
        field: Some(message.to_owned()),
        ..misspelt()
    };
    Diagnostics(vec![foreign])
}

fn steers(c: char) -> bool {
    (c.is_control() && c != '\n') || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
}

fn every_text(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| every_text(item, out)),
        Value::Object(map) => map.values().for_each(|value| every_text(value, out)),
        _ => {}
    }
}

/// Whatever stands in a diagnostic: one annotation, no other command, nothing that steers.
fn check_harmless(path: &str, message: &str, line: &str) {
    let all = hostile(path, message, line);
    let github = github_annotations(&all);
    let lines: Vec<&str> = github.lines().collect();
    assert_eq!(lines.len(), 2, "{github:?}");
    let (name, properties, _) = read_command(lines[0]).expect("a command");
    assert_eq!(name, "error", "{github:?}");
    let keys: Vec<&str> = properties.iter().map(|(key, _)| key.as_str()).collect();
    let expected: &[&str] = if path.is_empty() { &["title"] } else { &["file", "line", "col", "endColumn", "title"] };
    assert_eq!(keys, expected, "{github:?}");
    assert!(read_command(lines[1]).is_none() && !github.contains(steers), "{github:?}");
    assert!(!all.0[0].to_string().contains(char::is_control), "{all:?}");
    let text = diagnostics_text(&all);
    assert!(!text.contains(steers), "{text:?}");
    for line in text.lines() {
        let command = line.trim_start().starts_with("::") || line.contains("##[") || line.contains("##vso[");
        assert!(!command, "{line:?}");
    }
    assert!(text.lines().count() <= 5, "{text:?}");
    let report = Validation { valid: false, files: 1, objects: &[], diagnostics: &all };
    for value in [validation_json(&report), sarif(&all, "1")] {
        let mut texts = Vec::new();
        every_text(&value, &mut texts);
        assert!(texts.iter().all(|text| !text.contains(steers)), "{texts:?}");
    }
}

#[test]
fn foreign_text_forges_nothing() {
    for text in HOSTILE {
        for other in HOSTILE {
            check_harmless(text, other, text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_forges_nothing(path in any::<String>(), message in any::<String>(), line in any::<String>()) {
        check_harmless(&path, &message, &line);
    }

    #[test]
    fn what_a_runner_reads_is_what_was_said(message in "[ -~\n%:,]{1,40}", path in "[a-z %:,.]{1,20}") {
        let mut all = hostile(&path, "x", "");
        all.0[0].message = message.replace('\n', "");
        all.0[0].help = None;
        let github = github_annotations(&all);
        let (_, properties, said) = read_command(github.lines().next().unwrap()).unwrap();
        prop_assert_eq!(said, message.replace('\n', ""));
        prop_assert_eq!(&properties[0].1, &path);
    }
}
