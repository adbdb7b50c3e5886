//! `diff` as a person or a job runs it: no agent, no root rights, no git program.

use serde_json::Value;

use super::harness::{Place, Repo, Said};
use super::manifests::{POD, PRESET};
use crate::report::diff::golden;

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata:
  name: db
stringData:
  password: old-and-secret
  user: admin
";

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

    /// Two commits with something of everything between them.
    fn full() -> Self {
        let world = Self::new();
        let pod = |name: &str, more: &str| POD.replace("name: web", &format!("name: {name}")) + more;
        world.place.write("m/old.yaml", &pod("old", ""));
        world.place.write("m/calm.yaml", &pod("calm", "").replace("{app: web}", "{app: calm}"));
        world.place.write("m/secret.yaml", SECRET);
        world.repo.commit("second");
        std::fs::remove_file(world.place.path("m/old.yaml")).unwrap();
        world.place.write("m/new/new.yaml", &pod("new", "    env: [{name: A, value: \"1\"}]\n"));
        world.place.write(
            "m/calm.yaml",
            &pod("calm", "").replace("{app: web}", "{app: calm}").replace("nginx:1.29", "nginx:1.30"),
        );
        world.place.write("m/secret.yaml", &SECRET.replace("old-and-secret", "new-and-secret"));
        world.place.write("m/preset.yaml", PRESET);
        world.repo.commit("third @team <b>");
        world
    }

    fn diff(&self, args: &[&str]) -> Said {
        self.place.run(&[&["diff", "m"], args].concat())
    }
}

#[test]
fn each_output_is_the_recorded_one() {
    let world = World::full();
    for (output, name) in [("text", "commits.txt"), ("json", "commits.json"), ("markdown", "commits.md")] {
        let said = world.diff(&["--base", "HEAD~1", "--target", "edge-1", "-o", output]);
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
        assert!(!said.out.contains("and-secret"), "{output}: {}", said.out);
        golden(name, &said.out);
    }
}

#[test]
fn the_same_commits_give_the_same_bytes_in_another_place() {
    let (one, other) = (World::full(), World::full());
    for output in ["text", "json", "markdown"] {
        let args = ["--base", "HEAD~1", "-o", output];
        let said = one.diff(&args);
        assert_eq!(said, one.diff(&args), "{output}");
        assert_eq!(said.out, other.diff(&["--base", "main~1", "--head", "main", "-o", output]).out, "{output}");
        assert!(!said.out.contains(&one.place.path("").display().to_string()), "{}", said.out);
    }
}

#[test]
fn diff_names_what_changes_and_the_preset_that_causes_it() {
    let world = World::new();
    world.place.write("m/preset.yaml", PRESET);
    world.repo.commit("second");
    let said = world.diff(&["--base", "HEAD~1"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    for words in [
        "\n~ Pod default/web  recreate  spec.containers[0].env",
        "(PodPreset db)",
        "+    - name: DB_PORT\n",
        "--- a/Pod/default/web  pod.yaml:1\n",
        "1 to recreate",
        "Kubernetes would leave running pods as they are.\n",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    // The other way round, by names for both ends.
    let back = world.diff(&["--base", "main", "--head", "HEAD~1"]);
    assert!(back.out.contains("-    - name: DB_PORT\n"), "{}", back.out);
}

#[test]
fn uncommitted_edits_are_named_and_not_compared_with_what_runs() {
    let world = World::new();
    let clean = world.diff(&[]);
    assert_eq!((clean.code, clean.err.as_str()), (Some(1), ""), "{clean:?}");
    world.place.write("m/pod.yaml", &POD.replace("nginx:1.29", "nginx:1.30"));
    world.place.write("m/new/more.yaml", &POD.replace("name: web", "name: more"));
    let said = world.diff(&[]);
    let told = "warning: uncommitted and not read (2): new/more.yaml, pod.yaml; commit them or use --worktree\n";
    assert_eq!((said.code, said.err.as_str(), &said.out), (Some(1), told, &clean.out), "{said:?}");
    let edited = world.diff(&["--worktree"]);
    assert_eq!((edited.code, edited.err.as_str()), (Some(1), ""), "{edited:?}");
    assert!(edited.out.contains("nginx:1.30") && edited.out.contains("Pod default/more"), "{}", edited.out);
    // Two revisions are compared whatever lies beside them.
    assert_eq!(world.diff(&["--base", "HEAD", "--head", "HEAD"]).err, "");
    world.repo.commit("second");
    assert_eq!(world.diff(&[]).err, "");
}

#[test]
fn a_quantity_in_another_notation_is_no_change() {
    let world = World::new();
    let with = |limits: &str, requests: &str| {
        let requests = if requests.is_empty() { String::new() } else { format!(", requests: {{{requests}}}") };
        format!("{POD}    resources: {{limits: {{{limits}}}{requests}}}\n")
    };
    let states = [
        with("cpu: 1000m, memory: 1Gi", ""),
        with("cpu: 1000m, memory: 1Gi", "cpu: \"1\", memory: 1024Mi"),
        with("cpu: 1, memory: 1048576Ki", "memory: 1Gi"),
        with("cpu: 1e0, memory: 1Gi", "cpu: 1000000u, memory: 1073741824"),
    ];
    for (number, state) in states.iter().enumerate() {
        world.place.write("m/pod.yaml", state);
        world.repo.commit(&format!("state {number}"));
    }
    for (base, head) in [("HEAD~3", "HEAD~2"), ("HEAD~2", "HEAD~3"), ("HEAD~2", "HEAD~1"), ("HEAD~3", "HEAD")] {
        let said = world.diff(&["--base", base, "--head", head, "--detailed-exitcode"]);
        assert_eq!(said.code, Some(0), "{base} {head}: {said:?}");
        assert!(
            said.out.contains("0 to recreate, 0 to delete, 1 unchanged\nnothing changes"),
            "{base} {head}: {said:?}"
        );
    }
    world.place.write("m/pod.yaml", &with("cpu: 1000m, memory: 1Gi", "cpu: 999m"));
    world.repo.commit("less");
    assert_eq!(world.diff(&["--base", "HEAD~1", "--detailed-exitcode"]).code, Some(3));
}

/// What it is, the files that differ, and the codes without and with --detailed-exitcode.
type Row = (&'static str, Vec<(&'static str, String)>, i32, i32);

#[test]
fn exit_codes_are_those_of_kubectl_diff_or_tell_more_when_asked() {
    let world = World::new();
    let pod = |from: &str, to: &str| vec![("pod.yaml", POD.replace(from, to))];
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b}\n".to_owned();
    let table: [Row; 8] = [
        ("nothing differs", vec![], 0, 0),
        ("a comment differs", vec![("pod.yaml", format!("# why\n{POD}"))], 0, 0),
        ("a label", pod("{app: web}", "{app: web, v: new}"), 1, 2),
        ("an image", pod("nginx:1.29", "nginx:1.30"), 1, 2),
        ("a new object that is no pod", vec![("map.yaml", map)], 1, 2),
        ("another container", pod("name: c\n", "name: d\n"), 1, 3),
        ("another pod", pod("name: web\n", "name: site\n"), 1, 3),
        ("a manifest that is refused", vec![("pod.yaml", "kind: [".to_owned())], 2, 1),
    ];
    for (what, files, plain, detailed) in table {
        world.place.write("m/pod.yaml", POD);
        let _ = std::fs::remove_file(world.place.path("m/map.yaml"));
        for (name, text) in files {
            world.place.write(&format!("m/{name}"), &text);
        }
        for output in ["text", "json", "markdown"] {
            let said = world.diff(&["--base", "HEAD", "--worktree", "-o", output]);
            assert_eq!(said.code, Some(plain), "{what}: {said:?}");
            let said = world.diff(&["--base", "HEAD", "--worktree", "--detailed-exitcode", "-o", output]);
            assert_eq!(said.code, Some(detailed), "{what}: {said:?}");
        }
    }
    let broken = world.diff(&["--base", "HEAD", "--worktree"]);
    assert_eq!(broken.out, "", "an error prints no half report");
    assert!(broken.err.contains("pod.yaml:1:"), "{}", broken.err);
    assert_eq!(world.diff(&["--base", "HEAD"]).code, Some(0), "uncommitted edits are not read");
    assert_eq!(world.diff(&["--base", "no-such-revision"]).code, Some(2));
    assert_eq!(world.diff(&["--base", "no-such-revision", "--detailed-exitcode"]).code, Some(1));
}

#[test]
fn a_base_that_is_refused_is_told_and_compared_as_far_as_it_could_be_read() {
    let world = World::new();
    let site = POD.replace("name: web", "name: site");
    world.place.write("m/site.yaml", &site.replace("image:", "imagee:"));
    world.place.write("m/cut.yaml", "kind: [");
    world.repo.commit("broken");
    std::fs::remove_file(world.place.path("m/cut.yaml")).unwrap();
    world.place.write("m/site.yaml", &site);
    world.place.write("m/pod.yaml", &POD.replace("nginx:1.29", "nginx:1.30"));
    world.repo.commit("mended");
    let base = ["--base", "HEAD~1"];
    let said = world.diff(&base);
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in [
        "+ Pod default/site  create\n",
        "~ Pod default/web  restart container  spec.containers[0].image",
        "! invalid base: cut.yaml:1:",
        "! invalid base: site.yaml:",
        "note: The base is invalid and is refused as a whole where it runs",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert!(said.err.contains("revision HEAD~1 would be refused, it is compared with what could"), "{}", said.err);
    assert!(said.err.contains("site.yaml:") && said.err.contains("imagee"), "{}", said.err);
    let markdown = world.diff(&[&base[..], &["-o", "markdown"]].concat()).out;
    assert!(markdown.contains("> ⚠️ 3 errors in the base · 1 pod with a container restarted\n"), "{markdown}");
    let attention = markdown.split_once("### ⚠️ Attention\n\n").unwrap().1;
    assert!(attention.starts_with("- **invalid base**: `"), "the worst first: {markdown}");
    assert!(attention.contains(" at `cut.yaml:1`\n") && attention.contains(" at `site.yaml:"), "{markdown}");
    let json: Value = serde_json::from_str(&world.diff(&[&base[..], &["-o", "json"]].concat()).out).unwrap();
    assert_eq!(json["attention"][0]["concern"], "invalidBase");
    // The other way round the head is refused.
    let back = ["--base", "HEAD", "--head", "HEAD~1"];
    assert_eq!(world.diff(&back).code, Some(2));
    assert_eq!(world.diff(&[&back[..], &["--detailed-exitcode"]].concat()).code, Some(1));
    assert_eq!(world.diff(&[&base[..], &["--detailed-exitcode"]].concat()).code, Some(2));
}

#[test]
fn a_file_that_moves_changes_nothing() {
    let world = World::new();
    std::fs::remove_file(world.place.path("m/pod.yaml")).unwrap();
    world.place.write("m/elsewhere/another-name.yml", &format!("# moved\n---\n{POD}"));
    world.repo.commit("moved");
    let said = world.diff(&["--base", "HEAD~1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.ends_with("nothing changes\n"), "{}", said.out);
}

#[test]
fn diff_without_a_base_compares_with_the_records() {
    let world = World::new();
    let said = world.diff(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.starts_with("+ Pod default/web  create\n"), "{}", said.out);
    let counts = "Pod: 1 to create, 0 to update in place, 0 to restart, 0 to recreate, 0 to delete, 0 unchanged\n";
    assert!(said.out.contains(counts), "{}", said.out);
    assert!(said.out.ends_with("only pods are compared with what runs.\n"), "{}", said.out);
    assert!(!world.place.path("root").exists(), "looking makes no directories");
    let markdown = world.diff(&["-o", "markdown"]);
    assert!(markdown.out.contains("· what runs → `"), "{}", markdown.out);
}

#[test]
fn other_objects_are_compared_with_the_revision_that_was_applied_last() {
    let world = World::full();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let offline = json(&world.diff(&["--base", "HEAD~1", "-o", "json"]).out);
    let ledger = |revision: &Value| {
        world.place.write("root/ledger.json", &serde_json::json!({"lastApplied": revision}).to_string());
        json(&world.diff(&["-o", "json"]).out)
    };
    let live = ledger(&offline["base"]["revision"]);
    assert_eq!((&live["base"]["running"], &live["base"]["revision"]), (&true.into(), &offline["base"]["revision"]));
    let others = |report: &Value| -> Vec<Value> {
        report["objects"].as_array().unwrap().iter().filter(|o| o["kind"] != "Pod").cloned().collect()
    };
    assert_eq!(others(&live), others(&offline));
    assert_eq!(others(&live).len(), 2);
    // A commit that is no longer there, and a revision that git has nothing to do with.
    for (kind, id) in [("commit", "0".repeat(40)), ("content", "sha256:0".to_owned())] {
        let unknown = ledger(&serde_json::json!({"kind": kind, "id": id}));
        assert_eq!((others(&unknown).len(), &unknown["base"]["revision"]), (0, &Value::Null));
        assert_eq!(unknown["notes"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn only_text_is_coloured_and_only_where_it_is_wanted() {
    let world = World::full();
    let run = |output: &str, variables: &[(&str, &str)]| {
        let mut command = world.place.podwright(&["diff", "m", "--base", "HEAD~1", "-o", output]);
        Said::from(command.envs(variables.iter().copied()).output().unwrap()).out
    };
    let escape = '\u{1b}';
    let forced = [("CLICOLOR_FORCE", "1")];
    assert!(run("text", &forced).contains("\u{1b}[32m+"), "{}", run("text", &forced));
    assert!(!run("text", &[]).contains(escape), "no terminal");
    assert!(!run("text", &[("NO_COLOR", "1")]).contains(escape));
    for output in ["json", "markdown"] {
        assert!(!run(output, &forced).contains(escape), "{output}");
    }
}

#[test]
fn options_of_the_comment_are_checked() {
    let world = World::new();
    for bad in
        [["--max-bytes", "100"], ["--max-bytes", "many"], ["--target", "a b"], ["--target", "x-->"], ["-o", "xml"]]
    {
        let said = world.diff(&[&["--base", "HEAD"][..], &bad].concat());
        assert_eq!(said.code, Some(64), "{bad:?}: {said:?}");
    }
    let json: Value = serde_json::from_str(&world.diff(&["--base", "HEAD", "-o", "json"]).out).unwrap();
    assert_eq!((&json["kind"], &json["objects"]), (&"Diff".into(), &Value::Array(vec![])));
}

/// A file alone is no state of the machine: every pod without a manifest in it would be one to delete.
#[test]
fn a_file_in_place_of_a_directory_is_an_error_with_a_way_out() {
    let world = World::full();
    let with =
        "error: cannot read the manifests of PLACE/m/pod.yaml: it is not a directory\n  help: name the directory ";
    for (args, help) in [
        (
            &["--base", "HEAD~1", "--head", "HEAD"][..],
            "the file is in: a pod that has no manifest there is one to delete",
        ),
        (&["--base", "HEAD~1"], "the file is in: a pod that has no manifest there is one to delete"),
        (&[], "that holds the manifests"),
    ] {
        let said = world.place.run(&[&["diff", "m/pod.yaml"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?} {}", said.err);
        let expected =
            format!("{}{help}\n", with.replace("PLACE", world.place.path("").to_str().unwrap().trim_end_matches('/')));
        assert_eq!(said.err, expected, "{args:?}");
    }
}

/// A pod for machines with a label, one for those without a taint, and one of another machine.
const ASKING: &str = "apiVersion: v1
kind: Pod
metadata: {name: fast}
spec:
  nodeSelector: {disktype: ssd}
  containers: [{name: c, image: \"nginx:1.29\"}]
---
apiVersion: v1
kind: Pod
metadata: {name: away}
spec:
  nodeName: edge-8
  containers: [{name: c, image: \"nginx:1.29\"}]
";

#[test]
fn a_revision_with_a_pod_that_pod_security_refuses_is_not_compared() {
    let world = World::new();
    world.place.write("machine.yaml", "podSecurity: baseline\n");
    let shared = "\napiVersion: v1\nkind: Pod\nmetadata: {name: shared}\nspec:\n  hostPID: true\n  containers: [{name: c, image: \"nginx:1.29\"}]\n";
    world.place.write("m/shared.yaml", shared);
    world.repo.commit("shared");
    assert_eq!(world.diff(&["--base", "HEAD~1"]).code, Some(1));
    let told = world.diff(&["--base", "HEAD~1", "--config", "machine.yaml"]);
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{told:?}");
    let words = "shared.yaml:6:3: error: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert!(told.err.contains("the manifests would be refused:") && told.err.contains(words), "{}", told.err);

    // A namespace that asks for more than its pods can give, and changed alone.
    let namespace = |mode: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels:\n    pod-security.kubernetes.io/{mode}: \
             baseline\n"
        )
    };
    world.place.write("m/default.yaml", &namespace("warn"));
    world.repo.commit("warn");
    let told = world.diff(&["--base", "HEAD~1"]);
    assert!(told.err.contains("shared.yaml:6:3: warning: would violate PodSecurity"), "{told:?}");
    world.place.write("m/default.yaml", &namespace("enforce"));
    world.repo.commit("enforce");
    let told = world.diff(&["--base", "HEAD~1"]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains(words), "{}", told.err);
    // The other way round there is nothing to refuse.
    let back = world.diff(&["--base", "HEAD", "--head", "HEAD~1"]);
    assert_ne!(back.code, Some(2), "{back:?}");
}

#[test]
fn a_machine_that_changed_is_the_cause_of_what_it_changes() {
    let world = World::new();
    world.place.write("m/asking.yaml", ASKING);
    world.repo.commit("second");
    world.place.write("old.yaml", "nodeName: edge-7\ntaints: [{key: a, effect: NoSchedule}]\n");
    world.place.write("new.yaml", "nodeName: edge-7\nlabels: {disktype: ssd}\n");
    world.place.write("fleet.yaml", "nodeName: edge-7\nplacement: fleet\n");
    let diff = |args: &[&str]| world.diff(&[&["--base", "HEAD"], args].concat());

    let same = diff(&["--config", "new.yaml"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.out.contains("3 unchanged\n"), "{}", same.out);

    let args = ["--base-config", "old.yaml", "--config", "new.yaml"];
    let text = diff(&args);
    assert_eq!(text.code, Some(1), "{text:?}");
    // The scheduler speaks of taints first.
    assert!(text.out.starts_with("+ Pod default/fast  create  spec.tolerations (node taints)\n"), "{}", text.out);
    assert!(text.out.contains("+ Pod default/web  create  spec.tolerations (node taints)\n"), "{}", text.out);
    assert!(!text.out.contains("@@"), "no line of a manifest differs: {}", text.out);

    let args = ["--base-config", "fleet.yaml", "--config", "new.yaml"];
    let text = diff(&args);
    let line = "+ Pod default/fast  create  spec.nodeSelector[disktype] (node labels)\n";
    assert!(text.out.starts_with(line), "{}", text.out);
    assert!(text.out.contains("1 to create, 0 to update in place"), "{}", text.out);
    let markdown = diff(&[&args[..], &["-o", "markdown"]].concat()).out;
    assert!(markdown.contains("`spec.nodeSelector[disktype]` (node labels)"), "{markdown}");
    assert!(markdown.contains("\nPods that are not for this machine: 1.\n"), "{markdown}");
    let json: Value = serde_json::from_str(&diff(&[&args[..], &["-o", "json"]].concat()).out).unwrap();
    assert_eq!(json["objects"][0]["changes"][0]["cause"], serde_json::json!({"kind": "nodeLabels"}));
    assert_eq!(json["counts"][0]["notForThisMachine"], 1);
    crate::report::diff::schema::fits(&json);

    // The other way round what ran runs on.
    let back = diff(&["--base-config", "new.yaml", "--config", "old.yaml"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.err.contains("the pod stays Pending"), "{}", back.err);
    // Under another name it is another machine, of which more has to be known.
    let unnamed = diff(&["--node-name", "edge-8"]);
    assert_eq!(unnamed.code, Some(2));
    assert!(unnamed.err.contains("does not say what labels and taints it has"), "{}", unnamed.err);
    let named = diff(&["--config", "new.yaml", "--node-name", "edge-8"]);
    assert!(named.out.contains("3 unchanged\n"), "{}", named.out);
    assert_eq!(world.place.run(&["diff", "m", "--base-config", "old.yaml"]).code, Some(64));
}

#[test]
fn what_is_not_known_of_the_machine_is_said() {
    let world = World::new();
    let note = "Pods ask for a name or labels of their machine that are not known here";
    let diff = |args: &[&str]| world.diff(&[&["--base", "HEAD~1"], args].concat());
    world.place.write("m/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n");
    world.repo.commit("second");
    assert!(!diff(&[]).out.contains(note), "no pod asks");
    world.place.write("m/asking.yaml", ASKING);
    world.repo.commit("third");
    let unknown = diff(&[]);
    assert!(unknown.out.contains(note) && unknown.out.contains("+ Pod default/away  create\n"), "{}", unknown.out);
    world.place.write("c.yaml", "labels: {disktype: hdd}\n");
    assert!(diff(&["--config", "c.yaml"]).out.contains(note), "its name is not known");
    let known = diff(&["--config", "c.yaml", "--node-name", "edge-7"]);
    assert!(!known.out.contains(note) && !known.out.contains("default/away"), "{}", known.out);
    assert!(known.out.contains("1 not for this machine"), "{}", known.out);
}

#[test]
fn a_pod_for_which_there_is_no_room_is_told_before_it_waits() {
    let world = World::new();
    let asking = |name: &str, cpu: &str| {
        let resources = format!("    resources: {{requests: {{cpu: {cpu}}}}}\n");
        POD.replace("name: web", &format!("name: {name}")) + &resources
    };
    world.place.write("m/first.yaml", &asking("first", "1500m"));
    world.repo.commit("second");
    world.place.write("m/second.yaml", &asking("second", "1"));
    world.repo.commit("third");
    world.place.write("two.yaml", "nodeName: edge-7\nallocatable: {cpu: \"2\"}\n");
    world.place.write("half.yaml", "nodeName: edge-7\nallocatable: {cpu: 500m}\n");
    world.place.write("four.yaml", "nodeName: edge-7\nallocatable: {cpu: \"4\"}\n");

    // What did not change takes room, too.
    let waits = "warning: the pod stays Pending: it asks for 1 of cpu, and too much of 2 is taken";
    let told = world.diff(&["--base", "HEAD~1", "--config", "two.yaml"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains(waits) && told.err.matches("stays Pending").count() == 1, "{}", told.err);
    assert!(told.out.contains("+ Pod default/second  create"), "{}", told.out);
    let told = world.diff(&["--base", "HEAD~1", "--config", "four.yaml"]);
    assert!(!told.err.contains("Pending"), "{}", told.err);

    // A machine with more room lets it in, and one with less leaves what runs where it is.
    let told = world.diff(&["--base", "HEAD", "--base-config", "two.yaml", "--config", "four.yaml"]);
    assert!(told.out.starts_with("+ Pod default/second  create  spec.containers (node resources)\n"), "{}", told.out);
    let json = world.diff(&["--base", "HEAD", "--base-config", "two.yaml", "--config", "four.yaml", "-o", "json"]).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["objects"][0]["changes"][0]["cause"], serde_json::json!({"kind": "nodeResources"}));
    crate::report::diff::schema::fits(&json);
    let told = world.diff(&["--base", "HEAD", "--base-config", "four.yaml", "--config", "half.yaml"]);
    assert_eq!(told.code, Some(0), "{told:?}");

    // What never fits is known without anything that runs.
    let told = world.place.run(&["validate", "m", "--config", "half.yaml"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    for (name, cpu) in [("first", "1500m"), ("second", "1")] {
        let words = format!("it asks for {cpu} of cpu, and this machine has 500m for pods");
        assert!(told.out.contains(&format!("m/{name}.yaml")) && told.out.contains(&words), "{}", told.out);
    }
    let told = world.place.run(&["validate", "m", "--config", "two.yaml"]);
    assert!(!told.out.contains("Pending"), "one by one they fit: {}", told.out);

    // Under another name it waits for nothing but the end of the one before, and what runs with less than it asks for is told.
    for name in ["first", "second"] {
        std::fs::remove_file(world.place.path(&format!("m/{name}.yaml"))).unwrap();
    }
    world.place.write("m/one.yaml", &asking("one", "1500m"));
    world.repo.commit("fourth");
    let told = world.diff(&["--base", "HEAD~1", "--config", "two.yaml"]);
    assert!(told.code == Some(1) && !told.err.contains("Pending"), "{told:?}");
    world.place.write("m/one.yaml", &asking("one", "3"));
    world.repo.commit("fifth");
    let told = world.diff(&["--base", "HEAD~1", "--config", "two.yaml"]);
    let keeps = "warning: the pod keeps its cpu and memory: Node didn't have enough capacity: cpu, requested: 3000";
    assert!(told.err.contains(keeps) && !told.err.contains("Pending"), "{}", told.err);
}
