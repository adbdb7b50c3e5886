//! The commands against a running agent, as a person types them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::harness::{World, run, text};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
  annotations: {kubectl.kubernetes.io/default-container: gone}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: podwright.invalid/host, command: [sh, -c, "echo out; echo err >&2; printf part; while true; do sleep 0.2; echo tick; done"]}
  - {name: b, image: podwright.invalid/host, command: [sleep, "100000"]}
"#;

/// The machine, with what it is made of and the pod `web`.
fn nodes(world: &World) {
    let nodes = world.ok(&["get", "nodes", "-o", "wide"]);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let runtime = concat!("podwright://", env!("CARGO_PKG_VERSION"));
    assert!(nodes.contains(&format!(" {} ", kernel.trim())) && nodes.contains(runtime), "{nodes}");
    let node = world.ok(&["describe", "node"]);
    assert!(node.contains(kernel.trim()) && node.contains("Capacity:\n"), "{node}");
    assert!(node.contains("Non-terminated Pods:") && node.contains("default"), "{node}");
    assert!(node.lines().any(|l| l.split_whitespace().take(2).eq(["default", "web"])), "{node}");
}

#[test]
fn e2e_get_describe_logs_and_exec_speak_as_kubectl_does() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "2/2", "Running");
    let table = world.ok(&["get", "pods"]);
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    let wide = world.ok(&["get", "pods", "-A", "-o", "wide"]);
    let header: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[..8], ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]);
    assert_eq!(world.ok(&["get", "pods", "-o", "name"]), "pod/web\n");
    assert_eq!(world.ok(&["get", "pods", "-l", "app=web", "-o", "name"]), "pod/web\n");
    let none = world.output(&["get", "pods", "-l", "app=none"]);
    assert!(text(&none).contains("No resources found in default namespace."), "{}", text(&none));
    let missing = world.output(&["get", "pods", "nope"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&missing.stderr), "Error from server (NotFound): pods \"nope\" not found\n");

    nodes(&world);
    let event = world.ok(&["describe", "events"]);
    assert!(event.contains("Involved Object:\n") && event.contains("Reason:"), "{event}");
    let described = world.ok(&["describe", "pod", "web"]);
    for line in ["Name:", "Namespace:", "Status:", "IP:", "Containers:", "Conditions:", "Volumes:", "Events:"] {
        assert!(described.lines().any(|l| l.starts_with(line)), "{line}: {described}");
    }
    let logs = world.ok(&["logs", "web", "-c", "a"]);
    assert!(logs.starts_with("out\nerr\n") || logs.starts_with("err\nout\n"), "{logs}");
    let which = world.output(&["logs", "web"]);
    let said = String::from_utf8_lossy(&which.stderr);
    let chosen = "Default container name \"gone\" not found in pod web\nDefaulted container \"a\" out of: a, b\n";
    assert_eq!(said, chosen, "of these commands `kubectl logs` alone tells of a default that is not there");
    let mut follow = world.podwright(&["logs", "-f", "web", "-c", "a"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let ticks = lines.map_while(Result::ok).filter(|l| l.ends_with("tick")).take(3).count();
    assert_eq!(ticks, 3);
    follow.kill().unwrap();
    follow.wait().unwrap();

    let selected = world.ok(&["logs", "-l", "app=web", "--all-containers", "--prefix", "--tail=1"]);
    assert!(selected.starts_with("[pod/web/a] ") && selected.lines().count() == 1, "{selected}");
    let none = world.output(&["logs", "-l", "app=none"]);
    assert_eq!((text(&none).as_str(), none.status.code()), ("No resources found in default namespace.\n", Some(0)));
    let mut follow = world
        .podwright(&["logs", "-f", "-l", "app in (web)", "--all-containers", "--prefix"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let ticks =
        lines.map_while(Result::ok).filter(|l| l.starts_with("[pod/web/a] ") && l.ends_with("tick")).take(12).count();
    assert_eq!(ticks, 12);
    follow.kill().unwrap();
    follow.wait().unwrap();

    let exit = world.output(&["exec", "web", "--", "sh", "-c", "echo here; exit 7"]);
    assert_eq!(String::from_utf8_lossy(&exit.stdout), "here\n");
    let said = "Defaulted container \"a\" out of: a, b\ncommand terminated with exit code 7\n";
    assert_eq!((String::from_utf8_lossy(&exit.stderr).as_ref(), exit.status.code()), (said, Some(7)));
    let status = world.ok(&["status"]);
    assert!(status.contains("web") && status.contains("Ready"), "{status}");
    let usage = world.output(&["get", "--no-such-flag"]);
    assert_eq!(usage.status.code(), Some(64));
    // Exec and logs need no agent.
    world.kill();
    assert_eq!(world.exec("web", "b", &["echo", "still"]), "still\n");
    assert!(world.ok(&["logs", "web", "-c", "a"]).contains("tick"));
    let table = world.output(&["get", "pods"]);
    assert!(text(&table).contains("Unknown"), "{}", text(&table));
    let status = world.output(&["status"]);
    assert!(text(&status).contains("Unknown") && text(&status).contains("ago"), "{}", text(&status));
}

#[test]
fn e2e_diff_names_the_field_and_the_preset_that_cause_a_recreate() {
    let Some(world) = World::new() else { return };
    world.commit(&[("pod.yaml", POD)]);
    let repo = world.repo();
    let repo = repo.to_str().unwrap();
    world.ok(&["apply", repo, "--allow-host-image", "--wait", "--timeout", "60s"]);
    let same = world.output(&["diff", repo]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    world.commit(&[(
        "preset.yaml",
        "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {name: db}\nspec:\n  selector: {matchLabels: {app: web}}\n  env: [{name: DB_PORT, value: \"6379\"}]\n",
    )]);
    let differs = world.output(&["diff", repo]);
    let said = text(&differs);
    assert_eq!(differs.status.code(), Some(1), "{said}");
    for word in ["recreate", "env", "PodPreset db", "+", "DB_PORT"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let offline = world.output(&["diff", "--base", "HEAD~1", repo]);
    assert_eq!(offline.status.code(), Some(1), "{}", text(&offline));
    assert!(text(&offline).contains("PodPreset db"), "{}", text(&offline));
    assert_eq!(world.identities().len(), 2);
}

#[test]
fn e2e_the_status_is_written_where_it_is_asked_for_and_watched() {
    let Some(world) = World::new() else { return };
    let elsewhere = world.scratch().join("elsewhere.yaml");
    let flag = elsewhere.display().to_string();
    let mut world = world.with_flags(&["--allow-host-image", "--status-file", &flag, "-v"]);
    world.commit(&[("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: empty}\n")]);
    world.write("extra.yaml", "not committed");
    world.start();
    let mut watch = world.podwright(&["status", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    run(world.git().args(["add", "ns.yaml"]));
    world.write("pod.yaml", POD);
    run(world.git().args(["add", "pod.yaml"]));
    run(world.git().args(["commit", "-q", "-m", "a pod"]));
    let running = lines.map_while(Result::ok).find(|l| l.contains("web") && l.contains("2/2"));
    assert!(running.is_some());
    watch.kill().unwrap();
    watch.wait().unwrap();
    let written = world.wait("the status elsewhere", || {
        std::fs::read_to_string(&elsewhere).ok().filter(|t| t.contains("2/2") && t.contains("extra.yaml"))
    });
    assert!(written.contains("kind: Status"), "{written}");
    assert!(!world.repo().join("status.yaml").exists());
    // What was not read is counted and named; -v says more than the actions.
    let log = world.log();
    assert!(log.contains("count=1") && log.contains("extra.yaml"), "{log}");
    assert!(log.contains("DEBUG"), "{log}");
    assert_eq!(world.stop(), Some(0));
    let repo = world.repo();
    let apply = world.output(&["apply", repo.to_str().unwrap(), "--allow-host-image", "--wait"]);
    assert!(text(&apply).contains("uncommitted and not read (1): extra.yaml"), "{}", text(&apply));
}

#[test]
fn e2e_get_watch_shows_a_pod_coming_up() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: empty}\n")]);
    world.start();
    let mut watch = world.podwright(&["get", "pods", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    world.commit(&[("pod.yaml", POD)]);
    let running = lines.map_while(Result::ok).find(|l| l.contains("2/2") && l.contains("Running"));
    assert!(running.is_some_and(|l| l.starts_with("web")));
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn e2e_images_are_listed_loaded_from_standard_input_and_removed() {
    let Some(world) = World::new() else { return };
    let archive = super::harness::archive("busybox");
    let file = std::fs::File::open(archive).unwrap();
    let output = world.podwright(&["image", "load", "-"]).stdin(file).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let list = world.ok(&["image", "ls"]);
    assert!(list.contains("busybox"), "{list}");
    world.ok(&["image", "rm", "busybox"]);
    assert!(!world.ok(&["image", "ls"]).contains("busybox"));
    let missing = world.output(&["image", "rm", "busybox"]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
}
