//! `validate` and `render`: no agent, no root rights.

use serde_json::Value;

use super::harness::Place;

pub(super) const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: c
    image: nginx:1.29
";
pub(super) const PRESET: &str = "apiVersion: settings.k8s.io/v1alpha1
kind: PodPreset
metadata:
  name: db
spec:
  selector:
    matchLabels: {app: web}
  env:
  - name: DB_PORT
    value: \"6379\"
";

fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_examples_are_valid() {
    let place = Place::new();
    let quickstart = place.run(&["validate", &example("quickstart")]);
    assert_eq!(quickstart.out, "valid: 1 PodPreset, 1 Pod in 2 files\n", "{quickstart:?}");
    assert_eq!((quickstart.code, quickstart.err.as_str()), (Some(0), ""));
    let edge = place.run(&["validate", &example("edge")]);
    assert_eq!(edge.code, Some(0), "{edge:?}");
    assert!(edge.out.ends_with("valid: 1 Namespace, 1 ConfigMap, 1 Pod in 2 files\n"), "{}", edge.out);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let place = Place::new();
    place.write("m/a.yaml", &POD.replace("image:", "imagee:"));
    place.write("m/sub/b.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n");
    place.write("m/c.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x\n");
    let said = place.run(&["validate", "m"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    for words in ["a.yaml:9:5: error: ", "imagee", "did you mean `image`", "b.yaml:2:", "Deployment", "c.yaml:"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert!(said.out.ends_with("in 3 files\n"), "{}", said.out);
    let json = place.run(&["validate", "m", "-o", "json"]);
    assert_eq!(json.code, Some(1));
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["files"], 3);
    let places: Vec<&str> =
        report["diagnostics"].as_array().unwrap().iter().filter_map(|d| d["place"]["at"]["path"].as_str()).collect();
    for file in ["a.yaml", "b.yaml", "c.yaml"] {
        assert!(places.iter().any(|p| p.ends_with(file)), "{file}: {places:?}");
    }
}

#[test]
fn valid_as_json_counts_the_objects() {
    let said = Place::new().run(&["validate", &example("quickstart"), "-o", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["valid"], &report["errors"]), (Some(0), &true.into(), &0.into()));
    assert_eq!(report["objects"], serde_json::json!({"Pod": 1, "PodPreset": 1}));
}

#[test]
fn a_directory_without_manifests_and_one_that_is_not_there_are_named() {
    let place = Place::new();
    place.write("empty/README", "nothing to see");
    for (args, words) in [
        (&["validate", "empty"][..], "no manifests"),
        (&["render", "empty"], "no manifests"),
        (&["validate", "nowhere"], "nowhere"),
        (&["render", "nowhere"], "nowhere"),
        (&["diff", "nowhere", "--base", "HEAD"], "nowhere"),
    ] {
        let said = place.run(args);
        assert_ne!(said.code, Some(0), "{args:?}: {said:?}");
        let text = format!("{}{}", said.out, said.err);
        assert!(text.contains(words) && !text.contains("panicked"), "{args:?}: {text}");
    }
    // Whoever reads a report finds one.
    let said = place.run(&["validate", "empty", "-o", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["diagnostics"][0]["rule"]), (Some(1), &"no-manifests".into()), "{said:?}");
}

#[test]
fn render_merges_presets_and_defaults_nothing() {
    let place = Place::new();
    place.write("m/pod.yaml", POD);
    place.write("m/preset.yaml", PRESET);
    place.write("m/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n");
    let said = place.run(&["render", "m"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let pod = said.out.split("---\n").find(|d| d.contains("kind: Pod\n")).unwrap();
    assert!(pod.contains("env:\n    - name: DB_PORT\n      value: \"6379\"\n"), "{pod}");
    assert!(pod.contains("podpreset.admission.kubernetes.io/podpreset-db:"), "{pod}");
    assert!(!pod.contains("restartPolicy"), "{pod}");
    let json = place.run(&["render", "m", "-o", "json"]);
    let list: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
    let kinds: Vec<&str> = list["items"].as_array().unwrap().iter().map(|o| o["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Secret", "PodPreset", "Pod"]);
    // What was rendered can be read again, and is not changed by it.
    place.write("again/all.yaml", &said.out);
    let again = place.run(&["render", "again"]);
    assert_eq!(again.out, said.out, "{again:?}");
}
