//! Bytes nobody meant: at random, of words that mean something to the reader, and from a good sample that was damaged.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

type Read = Box<dyn Fn(&[u8]) -> String>;

/// A reader, and what it knows.
pub struct Foreign {
    /// A good input; trees are damaged as trees too.
    pub sample: Vec<u8>,
    /// What its language is made of.
    pub words: &'static [&'static str],
    pub cases: u32,
    /// Reads and says all that was made of it: results, errors, texts.
    pub read: Read,
}

impl Foreign {
    pub fn new(sample: &str, words: &'static [&'static str], read: impl Fn(&[u8]) -> String + 'static) -> Self {
        Self { sample: sample.as_bytes().to_vec(), words, cases: 300, read: Box::new(read) }
    }

    /// For readers of text: what is no UTF-8 never gets to them.
    pub fn text(sample: &str, words: &'static [&'static str], read: impl Fn(&str) -> String + 'static) -> Self {
        Self::new(sample, words, move |bytes| read(&String::from_utf8_lossy(bytes)))
    }

    pub fn cases(self, cases: u32) -> Self {
        Self { cases, ..self }
    }
}

/// An answer may be so long whatever was asked, and so many times the input beyond it.
const ANSWER: usize = 64 << 10;
const TIMES: usize = 100;

/// Reads the sample, then everything else.
pub fn withstands(reader: Foreign) {
    (reader.read)(&reader.sample);
    let settings = ProptestConfig { cases: reader.cases, failure_persistence: None, ..ProptestConfig::default() };
    let read = |bytes: Vec<u8>| {
        let answer = (reader.read)(&bytes);
        let most = ANSWER + TIMES * bytes.len();
        prop_assert!(answer.len() <= most, "{} bytes for {}", answer.len(), bytes.len());
        Ok(())
    };
    if let Err(error) = TestRunner::new(settings).run(&bytes(&reader), read) {
        panic!("{error}");
    }
}

fn bytes(reader: &Foreign) -> BoxedStrategy<Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 0..300);
    let words = proptest::collection::vec(proptest::sample::select(reader.words), 0..40)
        .prop_map(|words| words.concat().into_bytes());
    let sample = reader.sample.clone();
    let edits = proptest::collection::vec((any::<proptest::sample::Index>(), any::<(u8, u8)>()), 1..6);
    let damaged = edits.prop_map(move |edits| damage(&sample, &edits));
    match serde_yaml::from_slice::<Value>(&reader.sample) {
        Ok(tree) if tree.is_object() || tree.is_array() => {
            let edits = proptest::collection::vec((any::<proptest::sample::Index>(), odd()), 1..4);
            let trees = edits.prop_map(move |edits| {
                let mut tree = tree.clone();
                for (at, odd) in edits {
                    let mut number = at.index(count(&tree));
                    replace(nth(&mut tree, &mut number).expect("a number below the count"), odd);
                }
                tree.to_string().into_bytes()
            });
            prop_oneof![1 => random, 1 => words, 2 => damaged, 4 => trees].boxed()
        }
        _ => prop_oneof![1 => random, 2 => words, 2 => damaged].boxed(),
    }
}

/// Bytes replaced, removed, doubled, or everything behind them cut off.
fn damage(sample: &[u8], edits: &[(proptest::sample::Index, (u8, u8))]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for (at, (how, with)) in edits {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match how % 8 {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.extend_from_within(at..),
            3 => bytes.insert(at, *with),
            _ => bytes[at] = *with,
        }
    }
    bytes
}

/// Values that stand where others are expected; `None` removes the first of what is in there.
fn odd() -> impl Strategy<Value = Option<Value>> {
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    proptest::sample::select(vec![
        None,
        Some(Value::Null),
        Some(json!(true)),
        Some(json!(0)),
        Some(json!(-1)),
        Some(json!(i64::MIN)),
        Some(json!(i64::MAX)),
        Some(json!(u64::MAX)),
        Some(json!(u32::MAX)),
        Some(json!(1e300)),
        Some(json!("")),
        Some(json!("\u{0}")),
        Some(json!("é\u{202e}/../..")),
        Some(json!("x".repeat(3000))),
        Some(json!("9999-12-30T22:00:00Z")),
        Some(json!("-009999-01-02T01:59:59Z")),
        Some(json!("2015-06-30T23:59:60Z")),
        Some(json!("PT175307616H10518456960M631107417600.999999999S")),
        Some(json!("-999999999999999999999Ei")),
        Some(json!([])),
        Some(json!({})),
        Some(json!({"name": "x", "value": "y"})),
        Some(deep),
    ])
}

fn count(tree: &Value) -> usize {
    let below: usize = match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    };
    below + 1
}

/// The value with this number, counted from the outermost one.
fn nth<'a>(tree: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(tree);
    }
    *number -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, number)),
        Value::Object(members) => members.values_mut().find_map(|value| nth(value, number)),
        _ => None,
    }
}

/// Puts `odd` in the place of a value, or takes the first of what is in it away.
fn replace(place: &mut Value, odd: Option<Value>) {
    match (odd, place) {
        (Some(odd), place) => *place = odd,
        (None, Value::Array(items)) => drop((!items.is_empty()).then(|| items.remove(0))),
        (None, Value::Object(members)) => drop(members.keys().next().cloned().map(|key| members.shift_remove(&key))),
        (None, place) => *place = Value::Null,
    }
}
