//! `validate`: its outputs, what it ends with, and what a forge makes of it.

use std::process::Stdio;

use std::path::Path;

use serde_json::Value;

use super::harness::{Place, Repo, Said};

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: c
    image: nginx
";

/// A repository whose manifests stand in `deploy/pods`, with one mistake and one warning.
struct World {
    place: Place,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let _repo = Repo::create(&place.path("repo"));
        place.write("repo/deploy/pods/a b.yaml", &POD.replace("name: web", "name: a").replace("image:", "imagee:"));
        place.write("repo/deploy/pods/web.yaml", POD);
        Self { place }
    }

    fn run(&self, from: &str, args: &[&str]) -> Said {
        self.place.podwright(args).current_dir(self.place.path(from)).output().unwrap().into()
    }
}

#[test]
fn annotations_name_files_as_the_repository_does() {
    let world = World::new();
    for (from, path) in [("repo", "deploy"), ("repo/deploy/pods", "."), ("repo/deploy", "../deploy/pods"), ("", "repo")]
    {
        let said = world.run(from, &["validate", path, "-o", "github"]);
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!(lines.len(), 4, "{}", said.out);
        let first =
            "::error file=deploy/pods/a b.yaml,line=6,col=5,endColumn=6,title=missing-field::missing field `image`";
        assert!(lines[0].starts_with(first), "{}", lines[0]);
        let second = "::error file=deploy/pods/a b.yaml,line=7,col=5,endColumn=11,title=unknown-field::unknown field";
        assert!(lines[1].starts_with(second), "{}", lines[1]);
        assert!(lines[1].ends_with("%0Ahelp: did you mean `image`?"), "{}", lines[1]);
        assert!(lines[2].starts_with("::warning file=deploy/pods/web.yaml,line=7,col=12,"), "{}", lines[2]);
        assert_eq!(lines[3], "2 errors, 1 warning in 2 files");
    }
    std::fs::remove_file(world.place.path("repo/deploy/pods/a b.yaml")).unwrap();
    std::fs::write(world.place.path("repo/deploy/pods/web.yaml"), POD.replace("nginx", "nginx:1")).unwrap();
    let said = world.run("repo", &["validate", ".", "-o", "github"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "valid\n"), "{said:?}");
}

#[test]
fn a_report_for_scanners_names_files_as_the_repository_does() {
    let world = World::new();
    let said = world.run("repo/deploy", &["validate", "pods", "-o", "sarif"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    let uris: Vec<&Value> =
        results.iter().map(|r| &r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]).collect();
    assert_eq!(uris, ["deploy/pods/a%20b.yaml", "deploy/pods/a%20b.yaml", "deploy/pods/web.yaml"]);
    assert_eq!(report["runs"][0]["tool"]["driver"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn outside_of_a_repository_paths_are_those_of_the_working_directory() {
    let place = Place::new();
    place.write("m/pod.yaml", POD);
    let said = place.run(&["validate", "./m", "-o", "github"]);
    assert!(said.out.starts_with("::warning file=m/pod.yaml,line=7,"), "{said:?}");
    let absolute = place.path("m/pod.yaml");
    let said = place.run(&["validate", absolute.to_str().unwrap(), "-o", "github"]);
    assert!(said.out.starts_with("::warning file=m/pod.yaml,line=7,"), "{said:?}");
}

#[test]
fn warnings_are_errors_for_those_who_ask() {
    let place = Place::new();
    place.write("m/pod.yaml", POD);
    let valid = place.run(&["validate", "m"]);
    assert_eq!(valid.code, Some(0), "{valid:?}");
    assert!(valid.out.contains(": warning: ") && valid.out.ends_with("valid: 1 Pod in 1 file\n"), "{}", valid.out);
    for output in ["text", "json", "github", "sarif"] {
        let said = place.run(&["validate", "m", "-o", output, "--warnings-as-errors"]);
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.out.contains("error") && !said.out.contains("valid: "), "{}", said.out);
    }
    let json = place.run(&["validate", "m", "-o", "json", "--warnings-as-errors"]);
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&report["valid"], &report["errors"], &report["warnings"]), (&false.into(), &1.into(), &0.into()));
}

#[test]
fn what_is_printed_as_json_fits_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/validate.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let bad = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/manifests/bad")).unwrap();
    let bad: Vec<String> = bad.map(|entry| entry.unwrap().path().display().to_string()).collect();
    // Files are judged together; a directory may be wrong in a way that ends the reading.
    let is_file = |path: &&String| Path::new(path).is_file();
    let files: Vec<&str> =
        bad.iter().filter(is_file).filter(|p| !p.ends_with(".expected")).map(String::as_str).collect();
    let ok = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/manifests/ok");
    let place = Place::new();
    assert_eq!(place.run(&["validate", "/dev/null", "-o", "json"]).code, Some(1));
    let pod = format!("{ok}/pod.yaml");
    let mut rows = vec![(files, 1), (vec![ok], 1), (vec![&*pod], 0)];
    let is_wrong = |path: &&String| !is_file(path) && !path.contains("/warning-");
    rows.extend(bad.iter().filter(is_wrong).map(|directory| (vec![&**directory], 1)));
    for (paths, code) in rows {
        let said = place.run(&[&["validate", "-o", "json"], &paths[..]].concat());
        let path = paths[0];
        assert_eq!(said.code, Some(code), "{path}: {}", said.err);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&report).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(wrong, [""; 0], "{path}");
        assert_eq!(report["errors"] == 0, code == 0, "{path}");
    }
}

/// Names and texts of a stranger's pull request.
#[test]
fn a_strangers_files_forge_no_command() {
    let place = Place::new();
    let _repo = Repo::create(&place.path("repo"));
    place.write("repo/::error file=x,line=1::forged.yaml", "a: 1 ##[error]forged\n");
    place.write("repo/b,title=x.yaml", "apiVersion: v1\nkind: \"Pod\\n::error::forged\"\n");
    place.write("repo/c%0A::error::forged.yaml", "apiVersion: v1\nkind: '::error::forged'\n");
    for output in ["text", "github"] {
        let said: Said =
            place.podwright(&["validate", ".", "-o", output]).current_dir(place.path("repo")).output().unwrap().into();
        assert_eq!(said.code, Some(1), "{said:?}");
        let commands: Vec<&str> = said.out.lines().filter(|line| line.trim_start().starts_with("::")).collect();
        assert_eq!(commands.len(), if output == "github" { 3 } else { 0 }, "{}", said.out);
        for command in commands {
            let (properties, _) = command.trim_start_matches("::error ").split_once("::").unwrap();
            let keys: Vec<&str> = properties.split(',').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
            assert_eq!(keys, ["file", "line", "col", "endColumn", "title"], "{command}");
        }
        assert!(output == "github" || !said.out.contains("##["), "{}", said.out);
    }
}

#[test]
fn a_closed_pipe_and_a_wrong_command_line_end_as_everywhere() {
    let place = Place::new();
    place.write("m/pod.yaml", POD);
    for output in ["text", "json", "github", "sarif"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.podwright(&["validate", "m", "-o", output]);
        let ended = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(141), 0), "{output}");
    }
    for args in [&["validate"][..], &["validate", "m", "-o", "xml"], &["validate", "m", "--warnings-as-error"]] {
        assert_eq!(place.run(args).code, Some(64), "{args:?}");
    }
}

/// Pods that say nothing are dropped while they are checked: what presets bring to them counts all the same.
#[test]
fn presets_that_bring_too_much_are_refused_by_each_command() {
    let place = Place::new();
    let variables: String = (0..10_000).map(|index| format!("  - {{name: V{index}}}\n")).collect();
    let preset = format!(
        "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {{name: p}}\nspec:\n  selector: {{}}\n  env:\n{variables}"
    );
    let containers: String = (0..150).map(|index| format!("  - {{name: c{index}, image: \"i:1\"}}\n")).collect();
    place.write("m/preset.yaml", &preset);
    for name in ["a", "b"] {
        let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n{containers}");
        place.write(&format!("m/{name}.yaml"), &pod);
    }
    for command in ["validate", "render"] {
        let said: Said = place.podwright(&[command, "m"]).current_dir(place.path("")).output().unwrap().into();
        let told = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, Some(1), "{command}: {}", &told[..told.len().min(500)]);
        assert!(
            told.contains("m/b.yaml:1:1: error: up to this pod PodPresets bring more than 2000000 entries"),
            "{command}"
        );
    }
}

#[test]
fn pods_that_a_machine_does_not_fit_are_warnings_when_its_configuration_is_named() {
    let place = Place::new();
    place.write(
        "m/fast.yaml",
        &POD.replace("nginx", "nginx:1.29").replace("spec:", "spec:\n  nodeSelector: {disktype: ssd}"),
    );
    place.write("m/web.yaml", &POD.replace("nginx", "nginx:1.29").replace("name: web", "name: plain"));
    place.write("pending.yaml", "labels: {site: north}\n");
    place.write("fleet.yaml", "placement: fleet\n");
    let run = |args: &[&str]| place.run(&[&["validate", "m"], args].concat());
    let silent = run(&[]);
    assert_eq!((silent.code, silent.out.contains("warning")), (Some(0), false), "{silent:?}");
    for (config, words) in
        [("pending.yaml", "the pod stays Pending"), ("fleet.yaml", "the pod is left to another machine")]
    {
        let told = run(&["--config", config]);
        assert_eq!(told.code, Some(0), "{told:?}");
        let line = format!(
            "m/fast.yaml:5:3: warning: {words}: `nodeSelector` asks for disktype=ssd, this machine has no such label"
        );
        assert!(told.out.contains(&line), "{}", told.out);
        assert_eq!(run(&["--config", config, "--warnings-as-errors"]).code, Some(1));
    }
    assert_ne!(run(&["--config", "none.yaml"]).code, Some(0));
}

#[test]
fn what_a_namespace_or_the_ceiling_of_a_machine_forbids_is_an_error_at_the_field() {
    let place = Place::new();
    place.write("m/web.yaml", &POD.replace("nginx", "nginx:1.29").replace("spec:", "spec:\n  hostNetwork: true"));
    place.write("m/default.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n");
    place.write("machine.yaml", "podSecurity: baseline\n");
    let run = |args: &[&str]| place.run(&[&["validate", "m"], args].concat());
    assert_eq!(run(&[]).code, Some(0));
    let words = "PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)\n  5 |   hostNetwork: true\n";
    let told = run(&["--config", "machine.yaml"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.starts_with(&format!("m/web.yaml:5:3: error: violates {words}")), "{}", told.out);
    let help = "  help: allowed: false or nothing; the configuration of the machine says `podSecurity: baseline`\n";
    assert!(told.out.contains(help), "{}", told.out);
    for (mode, code, what) in
        [("enforce", 1, "error: violates"), ("warn", 0, "warning: would violate"), ("audit", 0, "")]
    {
        let label = format!("  labels:\n    pod-security.kubernetes.io/{mode}: baseline\n");
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n{label}");
        place.write("m/default.yaml", &namespace);
        let told = run(&[]);
        assert_eq!(told.code, Some(code), "{told:?}");
        match what {
            "" => assert_eq!(told.out, "valid: 1 Namespace, 1 Pod in 2 files\n"),
            what => {
                assert!(told.out.starts_with(&format!("m/web.yaml:5:3: {what} {words}")), "{}", told.out);
                let asked = format!(
                    "; the namespace default has the label pod-security.kubernetes.io/{mode}: baseline (m/default.yaml:6:5)\n"
                );
                assert!(told.out.contains(&asked), "{}", told.out);
            }
        }
    }
}

#[test]
fn what_the_backend_cannot_honour_is_an_error_with_the_fields_name() {
    let place = Place::new();
    let pod = POD.replace("spec:", "spec:\n  volumes:\n  - {name: v, csi: {driver: d}}");
    place.write(
        "pods/web.yaml",
        &pod.replace("image: nginx", "image: nginx:1\n    resources: {limits: {nvidia.com/gpu: 1}}"),
    );
    for backend in [&[][..], &["--backend", "native"]] {
        let said = place.run(&[&["validate", "pods"][..], backend].concat());
        assert_eq!(said.code, Some(1), "{said:?}");
        for message in ["web.yaml:6:15: error: `csi`", "web.yaml:10:26: error: the resource \"nvidia.com/gpu\""] {
            assert!(said.out.contains(&format!("{message} cannot be honoured by this runtime")), "{}", said.out);
        }
    }
}

#[test]
fn what_the_configuration_lets_containers_ask_for_is_an_error_at_its_line() {
    let place = Place::new();
    let asking = POD.replace("image: nginx\n", "image: nginx:1.29\n    resources: {limits: {cpu: \"2\"}}\n");
    place.write("m/web.yaml", &asking);
    place.write("c.yaml", "limitRange: {limits: [{type: Container, max: {cpu: \"1\"}}]}\n");
    assert_eq!(place.run(&["validate", "m"]).code, Some(0));
    let said = place.run(&["validate", "m", "--config", "c.yaml"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("error: maximum cpu usage per Container is 1, but limit is 2"), "{}", said.out);
    assert!(said.out.contains("resources: {limits: {cpu: \"2\"}}"), "the line is shown: {}", said.out);
    let said = place.run(&["validate", "m", "--config", "c.yaml", "-o", "json"]);
    let rule = "limit-range";
    assert!(said.out.contains(rule), "{}", said.out);
    // What the machine gives a container must not be below what it asks for itself.
    place.write("m/web.yaml", &asking.replace("limits", "requests"));
    place.write("c.yaml", "limitRange: {limits: [{type: Container, default: {cpu: \"1\"}}]}\n");
    let said = place.run(&["validate", "m", "--config", "c.yaml", "-o", "json"]);
    let rule = "limit-below-request";
    assert!(said.code == Some(1) && said.out.contains(rule), "{}", said.out);
}
