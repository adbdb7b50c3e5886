//! YAML as kubectl reads it, text by text: sigs.k8s.io/yaml over go-yaml 2 (`goyaml.v2/resolve.go`, `decode.go`), and
//! `k8s.io/apimachinery/pkg/util/yaml` for how a file is cut into documents.

use podwright::manifest::read_document;
use podwright::model::{Kind, ObjectKey};
use podwright::report::diagnostics_text;
use serde_json::{Value, json};

use super::read;

fn value(text: &str) -> Value {
    match read_document("f.yaml", text.as_bytes()) {
        Ok(document) => document.map_or(Value::Null, |document| document.value().clone()),
        Err(diagnostics) => panic!("{text:?}: {}", diagnostics_text(&diagnostics)),
    }
}

fn refusal(text: &str) -> String {
    let diagnostics = read_document("f.yaml", text.as_bytes()).err().unwrap_or_else(|| panic!("{text:?} was read"));
    let told: Vec<String> = diagnostics.0.iter().map(|d| format!("{d} [{}]", d.rule)).collect();
    told.join("\n")
}

#[test]
fn plain_scalars_mean_what_they_mean_to_kubectl() {
    let rows = [
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0O644", json!(420)),
        ("-0644", json!(-420)),
        ("08", json!(8)),
        ("0x1f", json!(31)),
        ("0b1", json!(1)),
        ("0B1", json!(1)),
        ("1_000", json!(1000)),
        ("1e3", json!(1000)),
        ("1.0", json!(1)),
        (".5", json!(0.5)),
        ("+.5", json!(0.5)),
        ("1:30", json!("1:30")),
        ("190:20:30.15", json!("190:20:30.15")),
        ("Yes", json!(true)),
        ("n", json!(false)),
        ("oN", json!("oN")),
        ("OFF", json!(false)),
        ("2001-12-14t21:59:43.10-05:00", json!("2001-12-14t21:59:43.10-05:00")),
        ("2002-1-1", json!("2002-1-1")),
        ("v1.2.3", json!("v1.2.3")),
        ("0.0.0.0", json!("0.0.0.0")),
        ("500m", json!("500m")),
        ("=", json!("=")),
    ];
    for (text, expected) in rows {
        assert_eq!(value(&format!("[{text}]")), json!([expected]), "[{text}]");
        assert_eq!(value(&format!("a: {text}\n")), json!({"a": expected}), "a: {text}");
    }
    assert_eq!(value("[~, null, Null, NULL, '']"), json!([null, null, null, null, ""]));
    assert_eq!(value("{a: ~, b: , c: null, d: nULL}"), json!({"d": "nULL"}));
}

#[test]
fn quotes_and_block_scalars_hold_text_whatever_it_looks_like() {
    let rows = [
        ("a: 'yes'", json!("yes")),
        ("a: \"0644\"", json!("0644")),
        ("a: ''", json!("")),
        ("a: |\n  1\n", json!("1\n")),
        ("a: >-\n  true\n", json!("true")),
        ("a: |+\n  x\n\n", json!("x\n\n")),
        ("a: |-\n  x\n\n", json!("x")),
        ("a: >\n  one\n  two\n\n  three\n", json!("one two\nthree\n")),
        ("a: |2\n    x\n", json!("  x\n")),
        // kubectl reads a file line by line and ends each: that the last one has no end makes no difference.
        ("a: |\n  x", json!("x\n")),
        ("a: |+\n  x", json!("x\n")),
        ("a: |-\n  x", json!("x")),
        ("a: >\n  x\n  y", json!("x y\n")),
        ("a: |\r\n  x", json!("x\n")),
        ("a: one\n  two\n", json!("one two")),
        ("a: 'one\n\n  two'\n", json!("one\ntwo")),
        ("a: \"one \\\n  two\"\n", json!("one two")),
        ("a: \"\\x41\\u00e9\\U0001F600\\t\\e\\/\\_\\N\"", json!("Aé😀\t\u{1b}/\u{a0}\u{85}")),
        ("{\"a\": \"\\ud83d\\ude00\"}", json!("😀")),
        ("a: 'it''s'", json!("it's")),
        ("a: # comment\n  b", json!("b")),
        ("a: b#c", json!("b#c")),
        ("a: http://x:80/", json!("http://x:80/")),
    ];
    for (text, expected) in rows {
        assert_eq!(value(text).get("a"), Some(&expected), "{text}");
    }
}

#[test]
fn keys_are_text_whatever_they_look_like() {
    let rows = [
        ("1: x", json!({"1": "x"})),
        ("0x10: x", json!({"16": "x"})),
        ("yes: x", json!({"true": "x"})),
        ("n: x", json!({"false": "x"})),
        ("on: x", json!({"true": "x"})),
        ("1.50: x", json!({"1.5": "x"})),
        ("\"yes\": x", json!({"yes": "x"})),
        ("2001-01-01: x", json!({"2001-01-01": "x"})),
        ("? a\n: b", json!({"a": "b"})),
        ("{a, b: c}", json!({"b": "c"})),
        ("!!str 1: x", json!({"1": "x"})),
    ];
    for (text, expected) in rows {
        assert_eq!(value(text), expected, "{text}");
    }
    for (text, told) in [
        ("~: x", "f.yaml:1:1: error: a key cannot be empty or a collection [yaml-key]"),
        ("[a]: x", "f.yaml:1:1: error: a mapping or list cannot be a key here [yaml-key]"),
        ("a: 1\n'a': 2", "f.yaml:2:1: error: key \"a\" is already written at line 1, column 1 [duplicate-key]"),
        ("1: a\n'1': b", "f.yaml:2:1: error: key \"1\" is already written at line 1, column 1 [duplicate-key]"),
        (
            "{yes: a, true: b}",
            "f.yaml:1:10: error: key \"true\" is already written at line 1, column 2 [duplicate-key]",
        ),
    ] {
        assert_eq!(refusal(text), told, "{text}");
    }
}

#[test]
fn tags_are_obeyed_or_refused() {
    let rows = [
        ("!!str 0644", json!("0644")),
        ("!!str yes", json!("yes")),
        ("! 1", json!("1")),
        ("!!int '0x10'", json!(16)),
        ("!!float 5", json!(5)),
        ("!!bool 'on'", json!(true)),
        ("!!binary aGVsbG8=", json!("hello")),
        ("0xFFFFFFFFFFFFFFFFFF", json!("0xFFFFFFFFFFFFFFFFFF")),
        ("02000000000000000000000", json!(2e21)),
        ("!!timestamp 2001-01-01", json!("2001-01-01")),
        ("!!seq [a]", json!(["a"])),
        ("!!map {b: c}", json!({"b": "c"})),
        ("!<tag:yaml.org,2002:str> 1", json!("1")),
    ];
    for (text, expected) in rows {
        assert_eq!(value(&format!("a: {text}"))["a"], expected, "{text}");
    }
    for (text, told) in [
        ("!!int x", "\"x\" does not fit its tag `!!int` [yaml-tag]"),
        ("!!bool 1", "\"1\" does not fit its tag `!!bool` [yaml-tag]"),
        ("!!binary '%'", "the value is not base64 of UTF-8 text [yaml-tag]"),
        ("!secret x", "this YAML tag has no meaning in a manifest [yaml-tag]"),
        ("!!set {a}", "this YAML tag has no meaning in a manifest [yaml-tag]"),
        (".inf", "\".inf\" is no number that JSON can hold [yaml-number]"),
        ("-.Inf", "\"-.Inf\" is no number that JSON can hold [yaml-number]"),
    ] {
        assert_eq!(refusal(&format!("a: {text}")), format!("f.yaml:1:4: error: {told}"), "{text}");
    }
}

/// go-yaml 2 applies `<<` where it stands: it replaces what is above and gives way to what is below.
#[test]
fn merge_keys_apply_where_they_stand() {
    let base = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\n";
    let rows = [
        ("<<: *x\n  a: 9", json!({"a": 9, "b": 1})),
        ("a: 9\n  <<: *x", json!({"a": 1, "b": 1})),
        ("<<: [*x, *y]", json!({"a": 1, "b": 1, "c": 2})),
        ("<<: [*y, *x]", json!({"a": 1, "b": 2, "c": 2})),
        ("<<: *x\n  <<: *y", json!({"a": 1, "b": 2, "c": 2})),
        ("<<: {a: 3}\n  b: 4", json!({"a": 3, "b": 4})),
        ("<<: [{a: 3}, *x]", json!({"a": 3, "b": 1})),
        ("!!merge <<: *x", json!({"a": 1, "b": 1})),
        ("'<<': 1", json!({"<<": 1})),
    ];
    for (text, expected) in rows {
        assert_eq!(value(&format!("{base}m:\n  {text}\n"))["m"], expected, "{text}");
    }
    for (text, told) in [
        ("<<: 1", "f.yaml:3:7: error: `<<` merges a mapping or a list of mappings [yaml-merge]"),
        ("<<: *l", "f.yaml:3:7: error: `<<` merges a mapping or a list of mappings [yaml-merge]"),
        (
            "<<: {a: 1}\n  a: 2\n  a: 3",
            "f.yaml:5:3: error: key \"a\" is already written at line 4, column 3 [duplicate-key]",
        ),
    ] {
        assert_eq!(refusal(&format!("l: &l [{{a: 1}}]\nm:\n  {text}\n")), told, "{text}");
    }
}

#[test]
fn json_values_one_after_the_other_are_documents() {
    let map = |name: &str| {
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"{name}\"}}}}")
    };
    let text = format!("{}\n{} {}", map("a"), map("b"), map("c"));
    let desired = read(&[("maps.json", text.as_str())]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let places: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let key = ObjectKey { kind: Kind::ConfigMap, namespace: "default".into(), name: (*name).into() };
            format!("{} {}", desired.others[&key].source, desired.others[&key].source.document)
        })
        .collect();
    let third = map("b").len() + 2;
    assert_eq!(places, ["maps.json:1:1 0".to_owned(), "maps.json:2:1 1".to_owned(), format!("maps.json:2:{third} 2")]);
    // A mistake is told where it is: in the second value, and in the third behind it on the same line.
    let broken = format!("{}\n{} {}", map("a"), map("b"), map("c").replace("\"metadata\"", "\"metadat\""));
    let told = read(&[("maps.json", broken.as_str())]).diagnostics;
    let unknown = told.0.iter().find(|d| d.rule == "unknown-field").unwrap();
    let column = third + broken.lines().nth(1).unwrap()[third - 1..].find("\"metadat\"").unwrap();
    assert_eq!(unknown.place.as_ref().unwrap().at.to_string(), format!("maps.json:2:{column}"));
    let cut = format!("{}\n{{\"apiVersion\": [}}\n", map("a"));
    let told = read(&[("maps.json", cut.as_str())]).diagnostics;
    assert_eq!((told.0.len(), told.0[0].rule, told.0[0].place.as_ref().unwrap().at.line), (1, "yaml-syntax", 2));
}

#[test]
fn a_byte_order_mark_may_begin_each_document() {
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, lables: {{}}}}\n");
    let text = format!("\u{feff}{}---\n\u{feff}{}--- \r\n\u{feff}{}", map("a"), map("b"), map("c"));
    let told: Vec<_> = read(&[("maps.yaml", text.as_str())]).diagnostics.0.iter().map(|d| d.to_string()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (index, line) in [3, 7, 11].iter().enumerate() {
        assert!(told[index].starts_with(&format!("maps.yaml:{line}:21: error: unknown field")), "{told:?}");
    }
    let good = read(&[("maps.yaml", text.replace(", lables: {}", "").as_str())]);
    assert_eq!(diagnostics_text(&good.diagnostics), "");
    let documents = good.others.values().map(|map| (map.source.line, map.source.document)).collect::<Vec<_>>();
    assert_eq!(documents, [(1, 0), (5, 1), (9, 2)]);
    assert!(refusal("a: 1\n\u{feff}b: 2\n").contains("yaml-syntax"));
}

/// A null in a selector is the empty text, as it is for the API server: to drop it would select every pod.
#[test]
fn a_null_is_dropped_except_where_maps_hold_text() {
    let text = "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {name: p, labels: {a: , b: ~}, namespace: }\nspec:\n  selector:\n    matchLabels: {app: }\n    matchExpressions:\n  env: [{name: A, value: }]\n";
    let desired = read(&[("p.yaml", text)]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let (object, _) = desired.presets.values().next().unwrap();
    let value = object.value.as_ref().unwrap();
    assert_eq!(value["metadata"], json!({"name": "p", "labels": {"a": "", "b": ""}, "namespace": "default"}));
    assert_eq!(value["spec"], json!({"selector": {"matchLabels": {"app": ""}}, "env": [{"name": "A"}]}));
}
