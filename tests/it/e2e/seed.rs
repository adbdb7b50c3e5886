//! The seed document's manifests, unchanged, each with what its transcript shows.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::harness::{World, run, text};
use crate::support::terminal::Terminal;

pub fn seed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/seed").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn e2e_seed_website_pod_gets_the_allow_database_preset() {
    let Some(mut world) = World::new() else { return };
    world.load("nginx");
    world.commit(&[("preset.yaml", &seed("preset.yaml")), ("pod.yaml", &seed("pod.yaml"))]);
    world.start();
    world.wait_row("website", "1/1", "Running");

    let pod = world.pod("website").unwrap();
    assert_eq!(pod["apiVersion"], "v1");
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["metadata"]["name"], "website");
    assert_eq!(pod["metadata"]["labels"]["app"], "website");
    assert_eq!(pod["metadata"]["labels"]["role"], "frontend");
    let version = &pod["metadata"]["annotations"]["podpreset.admission.kubernetes.io/podpreset-allow-database"];
    assert!(version.as_str().is_some_and(|v| !v.is_empty()), "{version}");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["name"], "website");
    assert_eq!(container["image"], "nginx");
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/cache");
    assert_eq!(container["volumeMounts"][0]["name"], "cache-volume");
    assert_eq!(container["ports"][0]["containerPort"], 80);
    assert_eq!(container["env"][0]["name"], "DB_PORT");
    assert_eq!(container["env"][0]["value"], "6379");
    assert_eq!(pod["spec"]["volumes"][0]["name"], "cache-volume");
    assert!(pod["spec"]["volumes"][0]["emptyDir"].is_object());

    let yaml = world.ok(&["get", "pod", "website", "-o", "yaml"]);
    assert!(yaml.contains("podpreset.admission.kubernetes.io/podpreset-allow-database:"), "{yaml}");
    let env = world.exec("website", "website", &["env"]);
    assert!(env.lines().any(|l| l == "DB_PORT=6379"), "{env}");
    let mounts = world.exec("website", "website", &["cat", "/proc/self/mountinfo"]);
    assert!(mounts.lines().any(|l| l.split_whitespace().nth(4) == Some("/cache")), "{mounts}");

    world.wait("the preset in the status file", || {
        let status = std::fs::read_to_string(world.repo().join("status.yaml")).ok()?;
        status.contains("name: allow-database").then_some(())
    });
}

#[test]
fn e2e_seed_two_containers_share_a_directory() {
    let Some(mut world) = World::new() else { return };
    let _data = Data::alone();
    world.load("nginx");
    world.load("debian");
    world.commit(&[("two-containers.yaml", &seed("two-containers.yaml"))]);
    world.start();
    world.wait_row("two-containers", "1/2", "NotReady");

    // A missing untyped hostPath is created, and the debian container has written into it.
    assert_eq!(std::fs::read_to_string("/data/index.html").unwrap(), "Hello from the debian container\n");
    let pod = world.pod("two-containers").unwrap();
    assert_eq!(pod["status"]["phase"], "Running");
    let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
    let debian = statuses.iter().find(|s| s["name"] == "debian-container").unwrap();
    assert_eq!(debian["state"]["terminated"]["exitCode"], 0);
    assert_eq!(debian["state"]["terminated"]["reason"], "Completed");
    assert_eq!(debian["restartCount"], 0);
    let nginx = statuses.iter().find(|s| s["name"] == "nginx-container").unwrap();
    assert_eq!(nginx["ready"], true);

    // The page answers on the pod's address.
    let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
    let page = world.wait("the page", || {
        let page = world.page(&ip, 80);
        page.starts_with("HTTP/1.").then_some(page)
    });
    assert!(page.contains("200 OK") && page.ends_with("Hello from the debian container\n"), "{page}");
}

/// The machine's `/data`, which two-containers.yaml makes: one test has it at a time, and none leaves it.
pub struct Data {
    _alone: MutexGuard<'static, ()>,
}

impl Data {
    pub fn alone() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!Path::new("/data").exists(), "/data exists: the seed's manifest expects to make it");
        Self { _alone: alone }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all("/data");
    }
}

/// What the document makes with `kubectl create secret`: name, file and content.
pub const SECRETS: [(&str, &str, &str); 2] = [("user", "username.txt", "admin"), ("pass", "password.txt", "c1oudc0w!")];

pub fn secret(name: &str, key: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{key}: {value}}}\n")
}

#[test]
fn e2e_seed_nginx_shares_its_process_namespace() {
    let Some(mut world) = World::new() else { return };
    world.load("nginx");
    world.load("busybox");
    world.commit(&[("nginx.yaml", &seed("nginx.yaml"))]);
    world.start();
    world.wait_row("nginx", "2/2", "Running");
    assert_eq!(world.row("nginx").unwrap().2, "0");

    world.wait("nginx's worker", || {
        world.exec("nginx", "shell", &["ps", "ax"]).contains("nginx: worker process").then_some(())
    });
    let processes = typed_into_shell(&world, "ps ax");
    let mut lines = processes.lines();
    // Debian builds its busybox without the TIME column of the seed's.
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().filter(|word| *word != "TIME").collect();
    assert_eq!(header, ["PID", "USER", "COMMAND"]);
    let before = processes.lines().next().unwrap().split_whitespace().count() - 1;
    let command_of = |line: &str| line.split_whitespace().skip(before).collect::<Vec<_>>().join(" ");
    let first = lines.next().unwrap();
    assert_eq!(first.split_whitespace().next(), Some("1"), "{processes}");
    assert_eq!(command_of(first), "/pause", "{processes}");
    let user_of = |command: &str| {
        let line =
            processes.lines().find(|l| command_of(l) == command).unwrap_or_else(|| panic!("{command}: {processes}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // As the pause image of today's Kubernetes, and not root as in the seed's day.
    assert_eq!(user_of("/pause"), "65535");
    assert_eq!(user_of("nginx: master process nginx -g daemon off;"), "root");
    // The image's nginx user is no user of the shell's image: its number is shown, as in the seed's.
    assert_eq!(user_of("nginx: worker process"), "101");
    assert_eq!(user_of("sh"), "root");
    // Debian's shell has a ps of its own.
    assert_eq!(user_of("{ps} sh"), "root");

    // The shell container has a terminal, and so has `exec -it`.
    let mut terminal = Terminal::new();
    let mut exec = terminal.spawn(&mut world.podwright(&["exec", "-it", "nginx", "-c", "shell", "--", "tty"]));
    terminal.shows("/dev/pts/");
    assert!(exec.wait().unwrap().success());

    // Deleting the manifest deletes the pod.
    run(world.git().args(["rm", "-q", "nginx.yaml"]));
    world.commit(&[("other.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: other\n")]);
    world.wait_gone("nginx");
}

/// What the shell of the pod `nginx` says to a command that is typed into it by `attach`, which is then left.
fn typed_into_shell(world: &World, command: &str) -> String {
    let mut terminal = Terminal::new();
    terminal.resize(24, 120);
    let mut attach = terminal.spawn(&mut world.podwright(&["attach", "-it", "nginx", "-c", "shell"]));
    terminal.shows_at_last("try pressing enter.\r\n");
    world.wait("raw mode", || (!terminal.echoes()).then_some(()));
    terminal.types(&format!("echo beg''in; {command}; echo en''d\r"));
    let said = terminal.shows_at_last("\nend\r\n").replace('\r', "");
    terminal.types("\x10\x11");
    assert!(attach.wait().unwrap().success());
    let from = said.find("\nbegin\n").unwrap_or_else(|| panic!("{said}")) + "\nbegin\n".len();
    said[from..said.rfind("end\n").unwrap()].to_owned()
}

#[test]
fn e2e_seed_host_pod_shares_the_machines_namespaces() {
    let Some(mut world) = World::new() else { return };
    world.load("nginx");
    world.load("busybox");
    world.commit(&[("host.yaml", &seed("host.yaml"))]);
    world.start();
    world.wait_row("nginx", "2/2", "Running");
    assert_eq!(world.row("nginx").unwrap().2, "0");
    let machine = run(std::process::Command::new("uname").arg("-n"));
    assert_eq!(typed_into_shell(&world, "hostname"), machine);
    // The machine's process, IPC and network namespaces: the same links as the agent's.
    for namespace in ["pid", "ipc"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap();
        let theirs = world.exec("nginx", "shell", &["readlink", &format!("/proc/self/ns/{namespace}")]);
        assert_eq!(theirs.trim(), own.to_str().unwrap());
    }
    let net = run(world.inside("readlink").arg("/proc/self/ns/net"));
    assert_eq!(world.exec("nginx", "shell", &["readlink", "/proc/self/ns/net"]), net);
}

#[test]
fn e2e_seed_a_projected_volume_shows_two_secrets() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let [user, pass] = SECRETS.map(|(name, key, value)| secret(name, key, value));
    world.commit(&[("secret.yaml", &seed("secret.yaml")), ("user.yaml", &user)]);
    world.start();
    // The kubelet waits for the other one.
    world.wait_row("test-projected-volume", "0/1", "ContainerCreating");
    world.commit(&[("pass.yaml", &pass)]);
    world.wait_row("test-projected-volume", "1/1", "Running");
    let before = world.identities();
    let sh = |script: &str| world.exec("test-projected-volume", "test-secret-volume", &["sh", "-c", script]);
    assert_eq!(sh("ls /projected-volume/"), "password.txt\nusername.txt\n");
    assert_eq!(sh("cat /projected-volume/username.txt /projected-volume/password.txt"), "adminc1oudc0w!");
    assert_eq!(sh("stat -L -c %a /projected-volume/password.txt"), "644\n");
    let said = sh("(echo y > /projected-volume/x) 2>&1; true");
    assert!(said.contains("Read-only file system"), "{said}");
    world.commit(&[("pass.yaml", &secret("pass", "password.txt", "another"))]);
    let followed = || (sh("cat /projected-volume/password.txt") == "another").then_some(());
    world.wait("the new password", followed);
    assert_eq!(world.identities(), before, "nothing was started again");
}

/// `/etc/podinfo/labels` of the document, its ConfigMap `ui-config` and its Secret `mysecret`.
#[test]
fn e2e_seed_the_labels_of_a_pod_are_in_a_file_and_follow_a_commit() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let podinfo = seed("downward_api.yaml").replace("k8s.gcr.io/busybox", "busybox");
    let properties = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/seed/ui.properties");
    let from_file = format!("--from-file={}", properties.display());
    let config = world.ok(&["create", "configmap", "ui-config", &from_file, "--dry-run=client", "-o", "yaml"]);
    let reader = "apiVersion: v1\nkind: Pod\nmetadata: {name: reader}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: busybox\n    \
                  command: [sleep, \"100000\"]\n    env: [{name: USER_OF, valueFrom: {secretKeyRef: {name: mysecret, key: user}}}]\n    volumeMounts: [{name: ui, mountPath: /ui}, {name: my, mountPath: /my}]\n  \
                  volumes:\n  - {name: ui, configMap: {name: ui-config}}\n  - {name: my, secret: {secretName: mysecret}}\n";
    world.commit(&[
        ("downward_api.yaml", &podinfo),
        ("ui-config.yaml", &config),
        ("mysecret.yaml", &seed("mysecret.yaml")),
        ("reader.yaml", reader),
    ]);
    world.start();
    world.wait_row("test-downwardapi-volume", "1/1", "Running");
    world.wait_row("reader", "1/1", "Running");
    let before = world.identities();
    let name = "test-downwardapi-volume";
    let sh = |script: &str| world.exec(name, "client-container", &["sh", "-c", script]);
    let labels = "cluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\"";
    assert_eq!(sh("cat /etc/podinfo/labels"), labels);
    world.wait("the transcript", || world.ok(&["logs", name]).contains(labels).then_some(()));
    assert_eq!(sh("readlink /etc/podinfo/labels; stat -f -c %T /etc/podinfo"), "..data/labels\ntmpfs\n");
    // As with the kubelet, whatever the mount asks.
    let said = sh("(echo y > /etc/podinfo/labels) 2>&1; true");
    assert!(said.contains("Read-only file system"), "{said}");
    let of_reader = |command: &[&str]| world.exec("reader", "c", command);
    assert_eq!(of_reader(&["cat", "/ui/ui.properties"]), std::fs::read_to_string(&properties).unwrap());
    assert_eq!(of_reader(&["sh", "-c", "ls /my; cat /my/user; echo \" $USER_OF\""]), "pass\nuser\nadmin admin\n");

    let files = [
        ("downward_api.yaml", podinfo.replace("rack: rack-22", "rack: \"23\"")),
        ("mysecret.yaml", seed("mysecret.yaml").replace("user: YWRtaW4=", "user: bm9ib2R5")),
    ];
    world.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str())));
    world.wait("the new label", || sh("cat /etc/podinfo/labels").contains("rack=\"23\"").then_some(()));
    world.wait("the new user", || (of_reader(&["cat", "/my/user"]) == "nobody").then_some(()));
    // A variable stays as it was.
    assert_eq!(of_reader(&["sh", "-c", "tr '\\0' '\\n' < /proc/1/environ | grep USER_OF"]), "USER_OF=admin\n");
    assert_eq!(world.identities(), before, "nothing was started again");
}

#[test]
fn e2e_seed_lifecycle_demo_is_greeted_and_asked_to_quit() {
    let Some(mut world) = World::new() else { return };
    world.load("nginx");
    let other = ("other.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: other\n");
    world.commit(&[("lifecycle-demo.yaml", &seed("lifecycle-demo.yaml")), other]);
    world.start();
    world.wait_row("lifecycle-demo", "1/1", "Running");
    let message = world.exec("lifecycle-demo", "lifecycle-demo-container", &["cat", "/usr/share/message"]);
    assert_eq!(message, "Hello from the postStart handler\n");
    let mut follow = world.podwright(&["logs", "-f", "lifecycle-demo"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run(world.git().args(["rm", "-q", "lifecycle-demo.yaml"]));
    world.commit(&[other]);
    world.wait_gone("lifecycle-demo");
    // nginx tells who asked it first: the command of the hook, which has a number in its process namespace, and not the agent,
    // which is outside of it and has none.
    let said = text(&follow.wait_with_output().unwrap());
    let asked = said.lines().find_map(|line| line.split_once("signal 3 (SIGQUIT) received from "));
    let (_, sender) = asked.unwrap_or_else(|| panic!("{said}"));
    assert!(!sender.starts_with('0') && sender.contains(", shutting down"), "{said}");
    // It quits within the time it has. The command of the hook ends with it, perhaps before it is done.
    let log = world.log();
    assert!(log.contains("run the preStop hook of container lifecycle-demo-container#0"), "{log}");
    assert!(!log.contains("kill container") && !log.contains("postStart hook failed"), "{log}");
}

#[test]
fn e2e_apply_and_delete_speak_as_kubectl_does() {
    let Some(world) = World::new() else { return };
    world.load("nginx");
    world.load("busybox");
    for manifest in ["nginx.yaml", "host.yaml"] {
        world.commit(&[("pod.yaml", &seed(manifest))]);
        apply_and_delete(&world);
    }
}

fn apply_and_delete(world: &World) {
    let repo = world.repo();
    let repo = repo.to_str().unwrap();
    let applied = world.ok(&["apply", repo, "--wait", "--timeout", "60s"]);
    assert!(applied.lines().any(|l| l == "pod/nginx created"), "{applied}");
    let again = world.ok(&["apply", repo, "--wait", "--timeout", "60s"]);
    assert!(again.lines().any(|l| l == "pod/nginx unchanged"), "{again}");
    let deleted = world.ok(&["delete", repo]);
    assert!(deleted.lines().any(|l| l == "pod \"nginx\" deleted"), "{deleted}");
    assert!(world.identities().is_empty());
}

/// The document's fragment: a pod that only runs on a node with `disktype: ssd`, and two more that name their machines.
#[test]
fn e2e_seed_a_pod_waits_for_a_machine_with_the_label_it_selects() {
    let Some(world) = World::new() else { return };
    let config = world.scratch().join("config.yaml");
    let write = |labels: &str| std::fs::write(&config, format!("nodeName: edge-7\n{labels}")).unwrap();
    write("");
    let flag = config.to_str().unwrap().to_owned();
    let mut world = world.with_flags(&["--config", &flag]);
    world.load("busybox");
    let pod = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n{more}  \
             nodeSelector: {{disktype: ssd}}\n  containers:\n  - name: c\n    image: busybox\n    command: [sleep, \"100000\"]\n"
        )
    };
    world.commit(&[
        ("fast.yaml", &pod("fast", "")),
        ("named.yaml", &pod("named", "  nodeName: edge-7\n")),
        ("away.yaml", &pod("away", "  nodeName: edge-8\n")),
    ]);
    world.start();
    world.wait_row("fast", "0/1", "Pending");
    world.wait_row("named", "0/1", "NodeAffinity");
    world.wait_row("away", "0/1", "NotForThisMachine");
    world.wait_described("fast", "1 node(s) didn't match Pod's node affinity/selector");
    assert!(world.identities().is_empty(), "nothing runs");
    let waiting = world.pod("fast").unwrap()["metadata"]["uid"].clone();
    let status = || std::fs::read_to_string(world.repo().join("status.yaml")).unwrap_or_default();
    world.wait("the status file", || status().contains("status: NotForThisMachine").then_some(()));

    // What another configuration would change is known before.
    write("labels: {disktype: ssd}\n");
    let repo = world.repo();
    let diff = world.output(&["diff", repo.to_str().unwrap(), "--config", &flag]);
    let told = String::from_utf8(diff.stdout).unwrap();
    assert!(told.contains("+ Pod default/fast  create  spec.nodeSelector[disktype] (node labels)\n"), "{told}");
    assert!(told.contains("~ Pod default/named  recreate  spec.nodeSelector[disktype] (node labels)\n"), "{told}");
    assert!(told.contains("0 unchanged, 1 not for this machine\n"), "{told}");

    world.stop();
    world.start();
    world.wait_row("fast", "1/1", "Running");
    world.wait_row("named", "1/1", "Running");
    world.wait_row("away", "0/1", "NotForThisMachine");
    assert_eq!(world.pod("fast").unwrap()["metadata"]["uid"], waiting);
    world.wait_described("fast", "spec.nodeSelector[disktype] fits this machine now (node labels)");

    // The label goes again, and the agent with it: what runs is left alone.
    let running = world.identities();
    assert!(!running.is_empty());
    write("");
    world.stop();
    world.start();
    world.wait_row("fast", "1/1", "Running");
    assert_eq!(world.identities(), running);
}
