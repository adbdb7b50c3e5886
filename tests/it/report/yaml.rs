//! What is written as YAML is read again as the same value, whatever it is. That it is kubectl's YAML to the byte is held
//! by the recordings of `cli::create`.

use podwright::manifest::read_document;
use podwright::report::object_yaml;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Pieces that mean something in YAML somewhere.
const PIECES: [&str; 34] = [
    "a",
    "b1",
    "0",
    "12",
    ".",
    "_",
    "-",
    "- ",
    ":",
    ": ",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "\r",
    "#",
    " #",
    "'",
    "\"",
    "{",
    "]",
    ",",
    "&a",
    "*a",
    "!",
    "|",
    ">",
    "%",
    "---",
    "~",
    "<<",
    "\u{2028}",
    "\u{1f600}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..8).prop_map(|pieces| pieces.concat()),
        prop::collection::vec(prop::sample::select(&["words", "that", "fold ", "", "#"][..]), 15..40)
            .prop_map(|words| words.join(" ")),
        "[-+0-9._:eExoTZ]{1,10}",
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![4 => text().prop_map(Value::from), 1 => any::<i64>().prop_map(Value::from),
                           1 => any::<bool>().prop_map(Value::from)];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof!["[-._a-zA-Z0-9]{1,12}", "[a-z]{120,140}", Just("yes".to_owned()), Just("12".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5).prop_map(|m| Value::from(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_as_the_same_value(value in value()) {
        let object = json!({ "k": value });
        let written = object_yaml(&object);
        let read = read_document("x.yaml", written.as_bytes());
        let read = read.map_err(|d| TestCaseError::fail(format!("{written}\n{d:?}")))?;
        prop_assert_eq!(read.as_ref().map(|d| d.value()), Some(&object), "{}", written);
    }
}
