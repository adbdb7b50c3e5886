//! Foreign bytes: reading is total, bounded, and never tells a secret.

use proptest::prelude::*;

use podwright::manifest::Reader;
use podwright::report::diagnostics_text;
use serde_json::{Value, json};

use super::{read, snapshot};

/// Pieces that YAML and manifests are made of, to be put together at random.
const PIECES: [&str; 40] = [
    "apiVersion: v1\n",
    "kind: Pod\n",
    "kind: Secret\n",
    "kind: List\n",
    "metadata:\n",
    "  name: a\n",
    "spec:\n",
    "  containers:\n",
    "  - name: c\n",
    "    image: i:1\n",
    "data:\n",
    "items:\n",
    "- ",
    "  ",
    "\n",
    ": ",
    "&a ",
    "*a ",
    "<<: *a\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "? ",
    "---\n",
    "...\n",
    "# c\n",
    "!!str ",
    "!x ",
    "\t",
    "0644",
    "yes",
    "~",
    "é",
    "\u{feff}",
];

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn reading_any_bytes_ends_in_objects_or_problems(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let desired = read(&[("f.yaml", &bytes)]);
        let _ = diagnostics_text(&desired.diagnostics);
        prop_assert!(desired.diagnostics.has_errors() || !desired.pods.is_empty() || !desired.others.is_empty()
            || !desired.presets.is_empty());
    }

    #[test]
    fn reading_pieces_of_manifests_ends_and_says_the_same_twice(
        picks in proptest::collection::vec(0..PIECES.len(), 0..60)
    ) {
        let text: String = picks.into_iter().map(|pick| PIECES[pick]).collect();
        let mut reader = Reader::new();
        let first = reader.read(&snapshot(&[("f.yaml", &text)]));
        let again = reader.read(&snapshot(&[("f.yaml", &text)]));
        prop_assert_eq!(diagnostics_text(&first.diagnostics), diagnostics_text(&again.diagnostics));
        prop_assert_eq!(first.pods, again.pods);
        for diagnostic in &first.diagnostics.0 {
            if let Some(place) = &diagnostic.place {
                let line = text.split('\n').nth(place.at.line as usize - 1);
                prop_assert!(line.is_some(), "{diagnostic} is beyond the file");
            }
        }
    }

    #[test]
    fn a_manifest_with_a_changed_byte_is_still_read_to_its_end(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifests/ok/every-honoured-field.yaml");
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let desired = read(&[("f.yaml", &bytes)]);
        let _ = diagnostics_text(&desired.diagnostics);
    }

    #[test]
    fn a_secret_with_any_change_is_told_without_its_values(
        at in any::<prop::sample::Index>(), piece in 0..PIECES.len(), cut in 0..8_usize
    ) {
        let text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations: {n: planted-0}\ntype: Opaque\nstringData:\n  a: planted-1\n  b: |\n    planted-2\n    planted-3\n  c: [planted-4, planted-5]\ndata: {d: planted-6}\n";
        // The kind stays one that tells a Secret from other objects.
        let start = text.find("metadata").unwrap();
        let at = start + at.index(text.len() - start);
        let end = (at + cut).min(text.len());
        let changed = format!("{}{}{}", &text[..at], PIECES[piece], &text[end..]);
        let shown = format!("{:?}", read(&[("f.yaml", &changed)]).diagnostics);
        prop_assert!(!shown.contains("planted"), "{changed}\n{shown}");
    }
}

/// Names that manifests have, so that random trees get past the first check.
const NAMES: [&str; 24] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "spec",
    "containers",
    "image",
    "env",
    "value",
    "valueFrom",
    "volumes",
    "volumeMounts",
    "mountPath",
    "ports",
    "hostPort",
    "containerPort",
    "selector",
    "data",
    "items",
    "resources",
    "x~/y",
];

fn tree() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("v1".to_owned()),
        Just("Pod".to_owned()),
        Just("PodPreset".to_owned()),
        Just("List".to_owned()),
        "[a-z]{1,6}",
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
        ]
    })
}

/// A tree that is taken for an object of some kind.
fn manifest() -> impl Strategy<Value = Value> {
    let kinds = prop::sample::select(&["Pod", "PodPreset", "ConfigMap", "Secret", "ServiceAccount", "List"][..]);
    (kinds, tree(), tree(), tree()).prop_map(|(kind, metadata, spec, items)| {
        let version = if kind == "PodPreset" { "settings.k8s.io/v1alpha1" } else { "v1" };
        let metadata = match metadata {
            Value::Object(map) => Value::Object(map),
            other => json!({"name": "n", "labels": other}),
        };
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
        let fields = match kind {
            "List" => vec![("items", items)],
            "Pod" | "PodPreset" => vec![("spec", spec)],
            _ => vec![("data", items)],
        };
        for (field, value) in fields {
            object[field] = value;
        }
        object
    })
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn reading_random_trees_ends_and_a_survey_says_the_same(
        trees in proptest::collection::vec(prop_oneof![tree(), manifest(), manifest()], 1..4)
    ) {
        let files: Vec<(String, String)> =
            trees.iter().enumerate().map(|(n, tree)| (format!("{n}.json"), tree.to_string())).collect();
        let snapshot = snapshot(&files);
        let said = super::survey::both(&snapshot);
        let diagnostics = match &said { Ok((_, diagnostics)) | Err(diagnostics) => diagnostics };
        for diagnostic in &diagnostics.0 {
            prop_assert!(diagnostic.help.is_some(), "no way out: {diagnostic}");
        }
    }

    #[test]
    fn reading_random_bytes_a_survey_says_the_same(
        files in proptest::collection::vec(proptest::collection::vec(0..PIECES.len(), 0..40), 1..4)
    ) {
        let files: Vec<(String, String)> = files
            .into_iter()
            .enumerate()
            .map(|(n, picks)| (format!("{n}.yaml"), picks.into_iter().map(|pick| PIECES[pick]).collect()))
            .collect();
        let _ = super::survey::both(&snapshot(&files));
    }
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 5000].join(", "));
    let nested: String = (0..60).fold("x".to_owned(), |inner, n| format!("&a{n} [{inner}, {}]", "y, ".repeat(2000)));
    let merges = format!("a: &a {{{}}}\n", (0..3000).map(|n| format!("k{n}: v")).collect::<Vec<_>>().join(", "))
        + &(0..50).map(|n| format!("b{n}: {{<<: *a}}\n")).collect::<String>();
    let cases = [
        ("a text repeated by aliases", wide),
        ("anchors within anchors", format!("a: {nested}\n")),
        ("merge keys", merges),
        ("many documents", "---\n".repeat(20_002)),
        ("deep blocks", (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("deep brackets", "[".repeat(100_000)),
    ];
    for (what, text) in cases {
        let desired = read(&[("f.yaml", &text)]);
        let rules: Vec<&str> = desired.diagnostics.0.iter().map(|d| d.rule).collect();
        assert!(rules.contains(&"too-large"), "{what}: {rules:?}");
    }
}

/// Ten aliases of ten aliases of ten: a billion values out of a few lines.
pub(crate) fn billion(of_mappings: bool) -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        let body = match of_mappings {
            true => (0..10).map(|n| format!("k{n}: {alias}")).collect::<Vec<_>>().join(", "),
            false => vec![alias; 10].join(", "),
        };
        let (open, close) = if of_mappings { ('{', '}') } else { ('[', ']') };
        text += &format!("a{level}: &a{level} {open}{body}{close}\n");
    }
    text
}

/// Each is refused with one error that has a place and a way out.
#[test]
fn what_is_too_much_is_refused_at_its_place() {
    let deep = 20_000;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a billion items", billion(false).into(), "too-large"),
        ("a billion keys", billion(true).into(), "too-large"),
        ("deep flow lists", "[".repeat(deep).into(), "too-large"),
        ("deep flow mappings", "{a: ".repeat(deep).into(), "too-large"),
        ("deep JSON lists", format!("{{\"a\": {}{}}}", "[".repeat(deep), "]".repeat(deep)).into(), "too-large"),
        ("deep JSON objects", format!("{}1{}", "{\"a\": ".repeat(deep), "}".repeat(deep)).into(), "too-large"),
        ("deep lists in one line", "- ".repeat(deep).into(), "too-large"),
        ("deep keys", "? ".repeat(deep).into(), "yaml-key"),
        ("deep blocks", (0..4_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>().into(), "too-large"),
        ("a million empty documents", "---\n".repeat(1_000_000).into(), "too-large"),
        ("a million documents", "---\n# c\n".repeat(1_000_000).into(), "too-large"),
        ("a million JSON values", "{}\n".repeat(1_000_000).into(), "too-large"),
        ("a million values", format!("{manifest}data: [{}]\n", "a,".repeat(1_000_001)).into(), "too-large"),
        ("bytes that are no text", [manifest.as_bytes(), b"data: {a: \xff}\n"].concat(), "not-text"),
        ("a zero byte", [manifest.as_bytes(), b"data: {a: \0}\n"].concat(), "not-text"),
        ("UTF-16", manifest.encode_utf16().flat_map(u16::to_le_bytes).collect(), "not-text"),
    ];
    for (what, bytes, rule) in cases {
        let desired = read(&[("f.yaml", &bytes)]);
        let of_rule: Vec<_> = desired.diagnostics.0.iter().filter(|d| d.rule == rule).collect();
        let [diagnostic] = of_rule[..] else { panic!("{what}: {:?}", desired.diagnostics) };
        let place = diagnostic.place.as_ref().unwrap_or_else(|| panic!("{what}: no place"));
        assert!(place.at.line >= 1 && place.at.column >= 1, "{what}");
        assert!(diagnostic.help.as_ref().is_some_and(|help| !help.is_empty()), "{what}: no way out");
        assert!(desired.pods.is_empty() && desired.diagnostics.0.len() <= 102, "{what}");
    }
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_unread() {
    let mut snapshot = snapshot(&[("f.yaml", "")]);
    snapshot.files[0].bytes = vec![b'a'; 100 << 20].into();
    let told = Reader::new().read(&snapshot).diagnostics;
    let told: Vec<String> = told.0.iter().map(|d| format!("{d} ({})", d.help.as_deref().unwrap_or_default())).collect();
    assert_eq!(
        told,
        ["f.yaml:1:1: error: the file is larger than 10 MiB (split it, or exclude it with .podwrightignore)"]
    );
}

#[test]
fn problems_of_a_file_are_bounded_and_the_rest_is_counted() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n".to_owned()
        + &(0..500).map(|n| format!("x{n}: 1\n")).collect::<String>();
    let desired = read(&[("f.yaml", &text)]);
    assert_eq!(desired.diagnostics.0.len(), 101);
    let last = &desired.diagnostics.0[100];
    assert_eq!((last.rule, last.message.as_str()), ("too-many-problems", "f.yaml: 400 more problems are not listed"));
}

#[test]
fn many_warnings_refuse_nothing() {
    let pods: String = (0..150)
        .map(|n| format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"))
        .collect();
    let desired = read(&[("f.yaml", pods.clone())]);
    assert_eq!((desired.diagnostics.counts(), desired.pods.len()), ((0, 101), 150));
    // Between objects the same.
    let waiting = pods.replace("image: i}", "image: i:1, envFrom: [{configMapRef: {name: m}}]}");
    let desired = read(&[("f.yaml", waiting)]);
    assert_eq!((desired.diagnostics.counts(), desired.pods.len()), ((0, 101), 150));
    assert!(podwright::admit::admit(&desired).is_ok());
}

/// Quadratic work on any of these would not end while a person watches.
#[test]
fn one_mistake_many_times_is_told_a_hundred_times() {
    let many = |line: &dyn Fn(usize) -> String| (0..5_000).map(line).collect::<String>();
    let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n";
    let container = "  containers:\n  - name: c\n    image: i:1\n";
    let cases = [
        ("unknown fields", format!("{head}{}{container}", many(&|n| format!("  x{n}: 1\n")))),
        ("duplicate keys", format!("{head}{}{container}", many(&|_| "  x: 1\n".into()))),
        (
            "ports",
            format!("{head}{container}    ports:\n{}", many(&|_| "    - {containerPort: 1, hostPort: 1}\n".into())),
        ),
        (
            "mounts",
            format!(
                "{head}{container}    volumeMounts:\n{}",
                many(&|n| format!("    - {{name: v{n}, mountPath: /{n}}}\n"))
            ),
        ),
        ("volumes", format!("{head}  volumes:\n{}{container}", many(&|_| "  - name: v\n".into()))),
        (
            "references",
            format!("{head}{container}    envFrom:\n{}", many(&|n| format!("    - configMapRef: {{name: m{n}}}\n"))),
        ),
        ("containers", format!("{head}  containers:\n{}", many(&|n| format!("  - {{name: C{n}, image: i:1}}\n")))),
        ("objects", many(&|_| "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n".into())),
    ];
    for (what, text) in cases {
        let desired = read(&[("f.yaml", &text)]);
        let told = desired.diagnostics.0.len();
        assert!((100..=102).contains(&told), "{what}: {told}");
    }
}
