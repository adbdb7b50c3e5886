//! `validate`, `render` and the offline `diff`: no agent, no root rights, no git program.

use serde_json::Value;

use super::harness::{Place, Repo, Said};

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: c
    image: nginx:1.29
";
const PRESET: &str = "apiVersion: settings.k8s.io/v1alpha1
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
    assert!(pod.contains("env:\n    - name: DB_PORT\n      value: '6379'\n"), "{pod}");
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

struct World {
    place: Place,
    repo: Repo,
}

impl World {
    /// A repository whose first commit has the pod `web`.
    fn new() -> Self {
        let place = Place::new();
        let repo = Repo::create(&place.path("m"));
        place.write("m/pod.yaml", POD);
        repo.commit("first");
        Self { place, repo }
    }

    fn diff(&self, args: &[&str]) -> Said {
        self.place.run(&[&["diff", "m"], args].concat())
    }
}

#[test]
fn diff_names_what_changes_and_the_preset_that_causes_it() {
    let world = World::new();
    world.place.write("m/preset.yaml", PRESET);
    world.repo.commit("second");
    let said = world.diff(&["--base", "HEAD~1"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.out.starts_with("~ default/web  recreate  spec.containers[0].env"), "{}", said.out);
    for words in ["(PodPreset db)", "+    - name: DB_PORT\n", "--- a/default/web\n", "1 to recreate"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert_eq!(world.diff(&["--base", "HEAD"]).code, Some(0));
    // The other way round, by names for both ends.
    let back = world.diff(&["--base", "main", "--head", "HEAD~1"]);
    assert!(back.out.contains("-    - name: DB_PORT\n"), "{}", back.out);
}

#[test]
fn the_exit_codes_of_diff_tell_gentle_changes_from_disruptive_ones() {
    let world = World::new();
    let code = |args: &[&str]| world.diff(args).code;
    assert_eq!(code(&["--base", "HEAD", "--detailed-exitcode"]), Some(0));
    world.place.write("m/pod.yaml", &POD.replace("{app: web}", "{app: web, v: new}"));
    assert_eq!(code(&["--base", "HEAD"]), Some(0), "uncommitted edits are not read");
    assert_eq!(code(&["--base", "HEAD", "--worktree"]), Some(1));
    assert_eq!(code(&["--base", "HEAD", "--worktree", "--detailed-exitcode"]), Some(2));
    world.place.write("m/pod.yaml", &POD.replace("name: c\n", "name: d\n"));
    assert_eq!(code(&["--base", "HEAD", "--worktree", "--detailed-exitcode"]), Some(3));
    assert_eq!(code(&["--base", "no-such-revision"]), Some(2));
    assert_eq!(code(&["--base", "no-such-revision", "--detailed-exitcode"]), Some(1));
    world.place.write("m/pod.yaml", "kind: [");
    let broken = world.diff(&["--base", "HEAD", "--worktree"]);
    assert_eq!((broken.code, broken.out.as_str()), (Some(2), ""), "{broken:?}");
    assert!(broken.err.contains("pod.yaml:1:"), "{}", broken.err);
}

#[test]
fn diff_without_a_base_compares_with_the_records() {
    let world = World::new();
    let said = world.diff(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.starts_with("+ default/web  create\n"), "{}", said.out);
    assert!(said.out.ends_with("1 to create, 0 to update in place, 0 to recreate, 0 to delete, 0 unchanged\n"));
    assert!(!world.place.path("root").exists(), "looking makes no directories");
}
