//! Comments in YAML: they stand at their fields, and a reader takes the same object with and without them.

use std::collections::BTreeMap;

use podwright::manifest::read_document;
use podwright::report::{noted_yaml, object_yaml};
use proptest::prelude::*;
use serde_json::{Value, json};

fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let escape = |key: &String| key.replace('~', "~0").replace('/', "~1");
            map.iter().for_each(|(k, v)| pointers(v, format!("{at}/{}", escape(k)), out));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, v)| pointers(v, format!("{at}/{i}"), out));
        }
        _ => out.push(at),
    }
}

/// Texts that are hard on YAML: long, of several lines, with signs of its own, with control characters.
fn text() -> impl Strategy<Value = String> {
    let lines = prop::collection::vec("[ -~\\t]{0,30}", 1..5);
    let signs = ["yes", "0644", "~", "# a", "a # b", "- a", "{a}", "|", "x |", "", "a: b", "!", "&a", "'", "\""];
    prop_oneof![
        "[a-z]{0,8}",
        "[ -~]{0,40}",
        "[a-z ]{200,400}",
        lines.clone().prop_map(|lines| lines.join("\n")),
        lines.prop_map(|lines| lines.join("\n") + "\n\n"),
        "\\PC{0,10}",
        any::<String>(),
        prop::sample::select(signs.to_vec()).prop_map(str::to_owned),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof!["[a-zA-Z]{1,8}", "[a-z./]{150,200}", "[ -~]{1,12}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn comments_change_nothing_of_what_is_read(tree in tree(), paths in prop::collection::vec(any::<String>(), 1..8)) {
        let value = json!({"root": tree});
        let mut leaves = Vec::new();
        pointers(&value, String::new(), &mut leaves);
        let notes: BTreeMap<String, String> = leaves
            .iter()
            .zip(paths.iter().cycle())
            .map(|(at, path)| (at.clone(), format!("preset a ({path}:1:1)")))
            .collect();
        let plain = object_yaml(&value);
        // Some texts no manifest can hold.
        prop_assume!(read_document("x", plain.as_bytes()).is_ok());
        let text = noted_yaml(&value, &notes);
        let read = read_document("x", text.as_bytes());
        prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
        let read = read.unwrap().unwrap();
        prop_assert_eq!(read.value(), &value, "{}", text);
        prop_assert_eq!(text.split('\n').count(), plain.split('\n').count());
    }
}

#[test]
fn each_comment_stands_where_its_value_ends() {
    let words = ["abcdefghi"; 12].join(" ");
    let value = json!({
        "block": "a\nb\n", "empty": {}, "folded": words, "list": ["x", "a\nb", 1], "none": [], "quoted": format!("# {words}"),
        "truth": true, "unnoted": 1, "k".repeat(130): "long key",
    });
    let mut leaves = Vec::new();
    pointers(&value, String::new(), &mut leaves);
    let notes = leaves.iter().filter(|at| *at != "/unnoted").map(|at| (at.clone(), "note \n\u{7} \"\\".to_owned()));
    let key = "k".repeat(130);
    let note = "# note \\u{a}\\u{7} \"\\";
    let expected = format!(
        "block: | {note}
  a
  b
empty: {{}} {note}
folded: abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi
  abcdefghi abcdefghi abcdefghi abcdefghi {note}
? {key}
: long key {note}
list:
- x {note}
- |- {note}
  a
  b
- 1 {note}
none: [] {note}
quoted: '# abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi
  abcdefghi abcdefghi abcdefghi abcdefghi' {note}
truth: true {note}
unnoted: 1
"
    );
    assert_eq!(noted_yaml(&value, &notes.collect()), expected);
}
