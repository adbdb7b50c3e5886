//! YAML as kubectl reads it, objects with places, and the cache.

use podwright::manifest::Reader;
use podwright::model::{Desired, Kind, ObjectKey, PodKey};
use podwright::report::diagnostics_text;
use serde_json::{Value, json};

use super::{read, snapshot};

fn map(text: &str) -> Value {
    let desired = read(&[("map.yaml", text)]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "", "{text}");
    let key = ObjectKey { kind: Kind::ConfigMap, namespace: "default".into(), name: "m".into() };
    (**desired.others[&key].value.as_ref().unwrap()).clone()
}

fn problems(text: &str) -> Vec<String> {
    problems_of(&read(&[("f.yaml", text)]))
}

fn problems_of(desired: &Desired) -> Vec<String> {
    desired.diagnostics.0.iter().map(|d| format!("{d} [{}]", d.rule)).collect()
}

const HEAD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";

#[test]
fn merge_keys_aliases_and_text_forms_are_read() {
    let value = map(&format!(
        "{HEAD}data:\n  a: &a |\n    two\n    lines\n  b: *a\n  c: >-\n    folded\n    text\n  d: 'it''s'\n  e: \"\\u00e9\\n\"\n  f:\n"
    ));
    assert_eq!(
        value["data"],
        json!({"a": "two\nlines\n", "b": "two\nlines\n", "c": "folded text", "d": "it's", "e": "é\n", "f": ""})
    );
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - &base {name: a, image: x:1, tty: true}\n  - <<: *base\n    name: b\n  - {<<: [{stdin: true}, *base], name: c}\n";
    let desired = read(&[("p.yaml", pod)]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let (_, pod) = &desired.pods[&PodKey::new("default", "p")];
    assert_eq!(
        pod.value()["spec"]["containers"],
        json!([
            {"name": "a", "image": "x:1", "tty": true},
            {"name": "b", "image": "x:1", "tty": true},
            {"name": "c", "stdin": true, "image": "x:1", "tty": true},
        ])
    );
}

#[test]
fn numbers_and_booleans_are_read_as_kubectl_reads_them() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  hostNetwork: yes\n  terminationGracePeriodSeconds: 1e1\n  securityContext:\n  volumes:\n  - name: v\n    configMap: {name: m, defaultMode: 0644, optional: on}\n  containers:\n  - name: a\n    image: x:1\n    resources: {limits: {cpu: 0.5, memory: 1e6}}\n    ports: [{containerPort: 0x50}]\n";
    let desired = read(&[("p.yaml", pod)]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let (_, packed) = &desired.pods[&PodKey::new("default", "p")];
    let spec = packed.open().spec.unwrap();
    assert_eq!(spec.volumes.as_ref().unwrap()[0].config_map.as_ref().unwrap().default_mode, Some(420));
    assert_eq!((spec.host_network, spec.termination_grace_period_seconds), (Some(true), Some(10)));
    assert_eq!(spec.containers[0].ports.as_ref().unwrap()[0].container_port, 80);
    let limits = spec.containers[0].resources.as_ref().unwrap().limits.as_ref().unwrap();
    assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("0.5", "1000000"));
    assert!(packed.value()["spec"].get("securityContext").is_none(), "a null is not there");
    assert_eq!(packed.value()["metadata"]["namespace"], "default");
}

#[test]
fn marks_and_line_ends_of_other_systems_change_nothing() {
    let text = "\u{feff}# a comment\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata:\r\n  name: m\r\ndata:\r\n  é: x\r\n  a: |\r\n    b\r\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("f.yaml:7:3: error: the key \"é\" must be"), "{problems:?}");
    let value = map(&text.replace('é', "e"));
    assert_eq!(value["data"], json!({"e": "x", "a": "b\n"}));
}

#[test]
fn every_field_has_its_place() {
    let pod = "# one\n---\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {a/b: x}\nspec:\n  containers:\n    - image: x:1\n      name: a\n      args: [é, b]\n";
    let desired = read(&[("p.yaml", pod)]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let (object, _) = &desired.pods[&PodKey::new("default", "p")];
    assert_eq!(object.source.to_string(), "p.yaml:4:1");
    let expected = [
        ("", (4, 1)),
        ("/metadata/name", (7, 3)),
        ("/metadata/annotations/a~1b", (8, 17)),
        ("/spec/containers", (10, 3)),
        ("/spec/containers/0", (11, 7)),
        ("/spec/containers/0/name", (12, 7)),
        ("/spec/containers/0/args/1", (13, 17)),
    ];
    for (pointer, place) in expected {
        assert_eq!(object.places.get(pointer), Some(place), "{pointer}");
    }
}

#[test]
fn documents_lists_and_json_hold_objects() {
    let list = "# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- {apiVersion: v1, kind: Namespace, metadata: {name: ns}}\n---\n# still nothing\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: b, namespace: ns}\n";
    let json = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Secret\",\n\t\"metadata\": {\"name\": \"s\"},\n\t\"stringData\": {\"a\": \"\\ud83d\\ude00\"}\n}\n";
    let desired = read(&[("list.yaml", list), ("secret.json", json)]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let found: Vec<String> = desired
        .others
        .iter()
        .map(|(key, object)| format!("{key} {} {}", object.source, object.source.document))
        .collect();
    assert_eq!(
        found,
        [
            "Namespace ns list.yaml:9:3 0",
            "ServiceAccount ns/b list.yaml:13:1 2",
            "ConfigMap default/a list.yaml:6:3 0",
            "Secret default/s secret.json:1:1 0",
        ]
    );
}

/// kubectl 1.33 and later: what begins with `{` and is no JSON is YAML.
#[test]
fn json_that_is_none_is_yaml() {
    let head = "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"m\"}, \"data\": ";
    for (data, expected) in [
        ("{\"a\": \"b\",}}", json!({"a": "b"})),
        ("{a: b, 'c': \"d\"}}", json!({"a": "b", "c": "d"})),
        ("{\"a\": \"b\nc\"}}", json!({"a": "b c"})),
        ("{\"a\": \"b\tc\"}}", json!({"a": "b\tc"})),
        ("{\"a\": \"\\x41\"}} # why", json!({"a": "A"})),
    ] {
        let desired = read(&[("map.json", format!("{head}{data}"))]);
        assert_eq!(problems_of(&desired), Vec::<String>::new(), "{data}");
        let object = desired.others.values().next().unwrap();
        assert_eq!(object.value.as_ref().unwrap()["data"], expected, "{data}");
    }
}

#[test]
fn an_object_with_the_annotation_is_set_aside_whatever_it_is() {
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  annotations: {podwright.dev/ignore: \"true\"}\nspec: {nonsense: true}\n";
    let desired = read(&[("a.yaml", other), ("b.yaml", &format!("{HEAD}data: {{}}\n"))]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    assert_eq!(desired.excluded.len(), 1);
    assert_eq!(desired.excluded[0].what, "Deployment web");
    assert_eq!(desired.excluded[0].source.to_string(), "a.yaml:1:1");
}

#[test]
fn a_snapshot_without_objects_is_an_error_without_a_place() {
    for (files, message) in [
        (vec![], "no manifests: there is no .yaml, .yml or .json file"),
        (vec![("a.yaml", "# only a comment\n")], "no manifests: 1 file without an object"),
        (vec![("a.yaml", "---\n---\n"), ("b.yaml", "")], "no manifests: 2 files without an object"),
    ] {
        let desired = read(&files);
        assert_eq!(desired.diagnostics.0.len(), 1, "{message}");
        assert_eq!(desired.diagnostics.0[0].message, message);
        assert!(desired.diagnostics.0[0].place.is_none() && desired.diagnostics.has_errors());
    }
}

#[test]
fn all_problems_of_all_files_are_told_at_once() {
    let good = format!("{HEAD}data: {{}}\n");
    let desired = read(&[
        ("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: A}\nspec: {containers: [{name: a, imagee: x}]}\n"),
        ("b.yaml", "a: [1, 2\n"),
        ("c.yaml", &good),
        ("d.yaml", "apiVersion: v1\nkind: Pot\nmetadata: {name: a}\n"),
    ]);
    let rules: Vec<(String, &str)> =
        desired.diagnostics.0.iter().map(|d| (d.place.as_ref().unwrap().at.path.to_string(), d.rule)).collect();
    let rules: Vec<(&str, &str)> = rules.iter().map(|(path, rule)| (path.as_str(), *rule)).collect();
    assert_eq!(
        rules,
        [
            ("a.yaml", "name"),
            ("a.yaml", "missing-field"),
            ("a.yaml", "unknown-field"),
            ("b.yaml", "yaml-syntax"),
            ("d.yaml", "unknown-kind"),
        ]
    );
    assert_eq!(desired.others.len(), 1, "what is valid is still read");
}

#[test]
fn a_blob_is_parsed_once_and_forgotten_when_it_is_gone() {
    let mut reader = Reader::new();
    let (one, two) = (format!("{HEAD}data: {{a: x}}\n"), HEAD.replace("name: m", "name: other"));
    let first = reader.read(&snapshot(&[("one.yaml", &one), ("two.yaml", &two)]));
    assert_eq!((reader.cached(), first.others.len()), (2, 2));
    // The same bytes at another path: the places follow.
    let moved = reader.read(&snapshot(&[("moved.yaml", &one)]));
    assert_eq!(reader.cached(), 1);
    assert_eq!(moved.others.values().next().unwrap().source.path.as_ref(), "moved.yaml");
    let again = reader.read(&snapshot(&[("one.yaml", &one), ("two.yaml", &two)]));
    assert_eq!(again.others, first.others);
}

/// A problem between objects is told with its source line from what was drawn when the file was parsed.
#[test]
fn a_problem_between_objects_does_not_parse_a_file_again() {
    let pod = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  containers:\n  - {{name: c, image: i, ports: [{{containerPort: 80}}], envFrom: [{{configMapRef: {{name: gone}}}}], volumeMounts: [{{name: gap, mountPath: /v}}]}}\n"
        )
    };
    let files = [("a.yaml", pod("a")), ("b.yaml", pod("b")), ("c.yaml", pod("a"))];
    let mut reader = Reader::new();
    let first = reader.read(&snapshot(&files));
    assert_eq!((reader.parsed(), reader.cached()), (2, 2), "equal bytes are one blob");
    let text = diagnostics_text(&first.diagnostics);
    for expected in [
        "c.yaml:3:18: error: Pod default/a is already defined at a.yaml:3:12\n  3 | metadata: {name: a}\n    |                  ^\n",
        "error: host port 80/TCP is already taken by Pod default/a at a.yaml:7:",
        "warning: ConfigMap default/gone is not among the manifests",
        "error: the pod has no volume \"gap\"",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let again = reader.read(&snapshot(&files));
    assert_eq!((reader.parsed(), again.diagnostics), (2, first.diagnostics));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let file = |n: usize| match n % 7 {
        0 => format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}}}\nspec: {{containers: [{{name: c, imagee: x}}]}}\n"
        ),
        1 => "a: [1, 2\n".to_owned() + &"\n".repeat(n),
        2 => format!("{HEAD}data: {{n: \"{n}\"}}\n"),
        _ => format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}}}\nspec: {{containers: [{{name: c, image: x, ports: [{{containerPort: 1, hostPort: {}}}]}}]}}\n",
            n / 2
        ),
    };
    let files: Vec<(String, String)> = (0..300).map(|n| (format!("d{}/f{n}.yaml", n % 9), file(n))).collect();
    let snapshot = snapshot(&files);
    let alone = Reader::new().read(&snapshot);
    assert!(alone.diagnostics.counts().0 > 100 && alone.pods.len() > 100);
    for threads in [2, 3, 8] {
        let mut reader = Reader::with_threads(threads);
        let several = reader.read(&snapshot);
        assert_eq!(several.diagnostics, alone.diagnostics, "{threads} threads");
        assert_eq!((several.pods, several.others), (alone.pods.clone(), alone.others.clone()), "{threads} threads");
    }
}
