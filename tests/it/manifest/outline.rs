//! Outlines: what an unparsed file holds is what reading it finds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use podwright::manifest::outline::outline;
use podwright::model::{Desired, ObjectKey};
use proptest::prelude::*;

use super::read;

/// Rules of problems that leave a file unread, so that nothing is promised about it.
const NOT_YAML: [&str; 8] =
    ["yaml-syntax", "yaml-key", "yaml-alias", "yaml-merge", "yaml-tag", "yaml-number", "duplicate-key", "too-large"];

fn outlined(bytes: &[u8]) -> Option<BTreeSet<ObjectKey>> {
    let key = |named: &podwright::manifest::outline::Named<'_>| ObjectKey {
        kind: named.kind,
        namespace: named.namespace.to_owned(),
        name: named.name.to_owned(),
    };
    outline(bytes).map(|outline| outline.objects.iter().map(key).collect())
}

/// Every object that reading finds, also those with errors.
fn found(desired: &Desired) -> BTreeSet<ObjectKey> {
    let mut keys: BTreeSet<ObjectKey> = desired.others.keys().chain(desired.presets.keys()).cloned().collect();
    keys.extend(desired.pods.keys().map(|key| key.object()));
    keys.extend(desired.diagnostics.0.iter().filter_map(|d| d.object.clone()));
    keys
}

/// Whether an outline was given; it must hold what reading finds.
fn holds(bytes: &[u8]) -> Result<bool, String> {
    let Some(outlined) = outlined(bytes) else { return Ok(false) };
    let desired = read(&[("f.yaml", bytes)]);
    if desired.diagnostics.0.iter().any(|d| NOT_YAML.contains(&d.rule)) {
        return Ok(true);
    }
    let found = found(&desired);
    // Of an empty file, and of one with more problems than are listed, there is one that is about no document.
    let of_the_file = ["no-manifests", "too-many-problems"];
    let strange = desired.diagnostics.0.iter().find(|d| d.object.is_none() && !of_the_file.contains(&d.rule));
    if found != outlined || !desired.excluded.is_empty() || strange.is_some() {
        let text = String::from_utf8_lossy(bytes);
        return Err(format!("outline {outlined:?}\nreading {found:?} {strange:?} {:?}\n{text}", desired.excluded));
    }
    Ok(true)
}

fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut queue: Vec<PathBuf> =
        ["fixtures", "examples"].map(|name| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).into();
    let wanted = |path: &Path| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if wanted(&path) && path.metadata().unwrap().len() < 100_000 {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn every_fixture_with_an_outline_holds_what_it_says() {
    let mut given = 0;
    let files = files();
    for (path, bytes) in &files {
        given += usize::from(holds(bytes).unwrap_or_else(|why| panic!("{}: {why}", path.display())));
    }
    assert!(given * 3 > files.len(), "{given} of {} have an outline", files.len());
}

#[test]
fn what_people_write_has_an_outline() {
    let pod =
        |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\nspec:\n{spec}");
    let plain = [
        "  containers:\n  - name: a\n    image: b\n",
        "  containers:\n    - name: a # here\n      image: \"b\"\n      command: ['sh', \"-c\", 'it''s']\n",
        "  containers:\n    - args: [\"a\",\n             {b: c}, # two\n             d]\n      image: x\n",
        "  containers:\n    - args:\n        - |\n          kind: \"Secret\n          it's\n        - >-\n          a: [\n      image: x\n",
        "  containers:\n    - command: [sh, -c, echo \"hello]\n",
        "  containers:\n    - image: registry:5000/a:b\n      args:\n        - a plain text\n          that's going on: \"\n        - --url=http://x:1\n",
    ];
    let mut with_outline = 0;
    for (index, spec) in plain.iter().enumerate() {
        let text = pod(spec);
        with_outline += usize::from(holds(text.as_bytes()).unwrap());
        // A quote within brackets that begins no text is left to the parser.
        assert_eq!(outlined(text.as_bytes()).is_some(), index != 4, "{text}");
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(outlined(crlf.as_bytes()), outlined(text.as_bytes()), "{text}");
        holds(crlf.as_bytes()).unwrap();
    }
    assert_eq!(with_outline, 5);
    let several = "# first\n---\n\n---\nkind: Namespace # with words\napiVersion: 'v1'\nmetadata:\n    labels:\n        name: other\n    name: \"a\"\n\
                   ---\napiVersion: v1\ndata:\n  namespace: b\nmetadata:\n  namespace: \"\"\n  name: m\nkind: ConfigMap\n";
    let names: Vec<String> = outlined(several.as_bytes()).unwrap().iter().map(ObjectKey::to_string).collect();
    assert_eq!(names, ["Namespace a", "ConfigMap default/m"]);
    assert!(holds(several.as_bytes()).unwrap());
    assert_eq!(outlined(b"# nothing\n"), Some(BTreeSet::new()));
}

#[test]
fn what_is_out_of_the_ordinary_is_left_to_the_parser() {
    let head = "apiVersion: v1\nkind: Pod\n";
    let meta = "metadata:\n  name: a\n";
    let cases = [
        format!("\u{feff}{head}{meta}"),
        format!("{head}metadata: {{name: a, labels: {{b: c}}}}\n"),
        format!("{head}metadata: {{name: a,\n  namespace: b}}\n"),
        format!("{head}metadata: {{name: a}}\n  b\n"),
        format!("{head}metadata:\n  \"name\": a\n"),
        format!("{head}metadata:\n  name: on\n"),
        format!("{head}metadata:\n  name: 12\n"),
        format!("{head}metadata:\n  name: a\n    b\n"),
        format!("{head}metadata:\n  name: a\n  <<: *x\n"),
        format!("{head}metadata: &a\n  name: a\n"),
        format!("{head}{meta}  annotations:\n    podwright.dev/ignore: \"true\"\n"),
        format!("{head}{meta}  annotations:\n    \"podwright.dev\\/ignore\": \"true\"\n"),
        format!("{head}{meta}  annotations: {{\"podwright.dev/ign\\x6fre\"\n    : \"true\"}}\n"),
        format!("{head}{meta}  annotations: {{\"podwright.dev/ign\\x6fre\" # a\n    : \"true\"}}\n"),
        format!("{head}{meta}spec: !!map\n  a: b\n"),
        format!("{head}{meta}spec:\n  a: \"b\nkind: Secret\"\n"),
        format!("{head}{meta}spec:\n  a: 'b\n\n    kind: Secret'\n"),
        format!("{head}{meta}spec:\n  a: [\nkind\n]\n"),
        format!("{head}{meta}spec:\n  a: b\n    ['x\n  b: ' , ]\nkind: Pod'\n"),
        format!("{head}{meta}spec:\n\ta: b\n"),
        format!("{head}{meta}spec:\n  ? 'a'\n  : b\n"),
        format!("{head}{meta}spec:\n  a: b\n  c: !!binary b25l\n"),
        format!("{head}{meta}spec:\n  a: b\n  c: d\n\n  e: \"f\nkind: Secret\"\n"),
        format!("{head}{meta}spec:\n  a: b\n  - 'c\nkind: Secret'\n"),
        format!("{head}{meta}spec:\n  a:\n    \"c\nkind: Secret\"\n"),
        format!("{head}{meta}spec:\n  a: &x\n    podwright.dev/ignore: \"true\"\nstatus: {{annotations: *x}}\n"),
        format!("{head}{meta}spec:\r  a: b\n"),
        format!("{head}{meta}...\n"),
        format!("%YAML 1.1\n---\n{head}{meta}"),
        format!("--- |\n{head}{meta}"),
        format!("{head}kind: Secret\n{meta}"),
        format!("{head}{meta}---\nkind: Pod\n"),
        format!("{head}{meta}spec:\n  image: {{{{ .Values.image }}}}\n  - x\n\u{0}"),
        "apiVersion: v1\nkind: List\nitems:\n- a\n".to_owned(),
        "apiVersion: v1\nkind: List\nmetadata:\n  name: a\nitems: []\n".to_owned(),
        "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}".to_owned(),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n".to_owned(),
        "text\n".to_owned(),
    ];
    for text in cases {
        let continued = text.contains("['x");
        let found = outlined(text.as_bytes());
        // The fourth but last of the quotes stands in a plain text that goes on: it is seen as one.
        assert!(found.is_none() || continued, "{text}\n{found:?}");
        holds(text.as_bytes()).unwrap();
    }
    let escaped = |value: &str| outline(format!("{head}{meta}spec:\n  a: {value}\n").as_bytes()).map(|o| o.escapes);
    assert_eq!(escaped("\"a\\x62\""), Some(true));
    assert_eq!(escaped("[\"a\\x62\"]"), Some(true));
    assert_eq!(escaped("{\"a\\x62\": b}"), None);
    assert_eq!(escaped("'a\\x62'"), Some(false));
}

#[test]
fn what_cannot_reach_over_its_line_is_passed_over() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n";
    let sections = [
        "  ? a\n  : b\n",
        "  a b: c\n  d: @\n",
        "  a: &x b\n  c: *x\n",
        "  a:\tb\n  c: d\te\n",
        "  a: é\n  # it's [\n\n  b: c # it's {\n",
        "  a: b\n  c: d\n    it's {\n  e: f\n",
        "  a: b\n  c:\n  - d\n\n    it's {\n    - [\n  e: f\n",
        "  a: b\n  c: |\n    it's {\n\n    kind: Secret\n  e: f\n",
        "  a: b\n  c: d\n\n  # it's\n    # '\n  e: {f: g}\n",
    ];
    let one = BTreeSet::from(["Pod default/a".to_owned()]);
    let names = |text: &str| -> Option<BTreeSet<String>> {
        outlined(text.as_bytes()).map(|keys| keys.iter().map(ObjectKey::to_string).collect())
    };
    for section in sections {
        // Longer than what is compared at once, in front of it and behind it.
        let filler = "  x: y\n".repeat(20);
        for text in [
            format!("{pod}spec:\n{section}status:\n{filler}"),
            format!("{pod}spec:\n{filler}{section}status: {{}}\n"),
            format!("spec:\n{filler}{section}{filler}{pod}"),
        ] {
            for text in [text.replace('\n', "\r\n"), text] {
                assert_eq!(names(&text), Some(one.clone()), "{text}");
                assert_eq!(holds(text.as_bytes()), Ok(true));
            }
        }
    }
}

#[test]
fn a_file_with_too_many_documents_is_left_to_the_parser() {
    let documents = |count: usize| vec!["apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"; count].join("---\n");
    assert!(outline(documents(20_000).as_bytes()).is_some());
    assert!(outline(documents(20_001).as_bytes()).is_none());
    let desired = read(&[("f.yaml", "---\n".repeat(20_001).as_bytes())]);
    assert!(desired.diagnostics.0.iter().any(|d| d.rule == "too-large"), "the limit is another one");
}

const PIECES: [&str; 48] = [
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    "\n\n",
    "\r\n",
    "- ",
    "  ",
    " ",
    ": ",
    ":",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    ", ",
    " # ",
    "#",
    "|\n",
    ">-\n",
    "|2\n",
    "a",
    "it's",
    "name: b",
    "kind: Secret",
    "\nkind: Pod",
    "\nmetadata:\n  name: c",
    "\n---\n",
    "\n...\n",
    "&a ",
    "*a",
    "!!str ",
    "? ",
    "\t",
    "\\",
    "\\\"",
    "''",
    "<<: *a",
    "null",
    "~",
    "%",
    "é",
    "\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: d\ndata:\n  x: ",
    "podwright.dev/ignore: \"true\"",
    "- - ",
    "\u{feff}",
];

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let files: Vec<String> = files().into_iter().filter_map(|(_, bytes)| String::from_utf8(bytes).ok()).collect();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..PIECES.len(), 0..3_usize), 1..6);
    (prop::sample::select(files), edits).prop_map(|(mut text, edits)| {
        for (at, piece, removed) in edits {
            let mut at = at.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let end = text[at..].char_indices().nth(removed).map_or(text.len(), |(offset, _)| at + offset);
            text.replace_range(at..end, PIECES[piece]);
        }
        text.into_bytes()
    })
}

fn composed() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        || prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..12).prop_map(|pieces| pieces.concat());
    (pieces(), pieces(), any::<bool>(), 0..16_usize).prop_map(|(first, second, list, filler)| {
        let dash = if list { "\n  - b: " } else { "\n  b: " };
        let filler = "  c: d\n".repeat(filler);
        format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n{filler}  a: {first}{dash}{second}\n{filler}status: {{}}\n")
            .into()
    })
}

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_changed_fixture_with_an_outline_holds_what_it_says(bytes in mutated()) {
        holds(&bytes).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn composed_text_with_an_outline_holds_what_it_says(bytes in composed()) {
        holds(&bytes).map_err(TestCaseError::fail)?;
    }
}
