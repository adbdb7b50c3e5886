//! What a pod is: containers that share, volumes, order, restarts, stops.

use std::time::Duration;

use rustix::process::Signal;

use super::harness::{World, run, signal, walk};

#[test]
fn e2e_containers_of_a_pod_share_localhost_a_host_name_and_shared_memory() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[(
        "pod.yaml",
        r#"
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 0
  hostname: twin
  containers:
  - name: server
    image: busybox
    command: [sh, -c, "mkdir /www; echo page > /www/index.html; echo word > /dev/shm/word; httpd -p 127.0.0.1:8000 -h /www; sleep 100000"]
  - name: client
    image: busybox
    command: [sleep, "100000"]
"#,
    )]);
    world.start();
    world.wait_row("pair", "2/2", "Running");
    let page = world.wait("the page on localhost", || {
        let output =
            world.output(&["exec", "pair", "-c", "client", "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8000/"]);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    });
    assert_eq!(page, "page\n");
    assert_eq!(world.exec("pair", "client", &["cat", "/dev/shm/word"]), "word\n");
    assert_eq!(world.exec("pair", "client", &["hostname"]), "twin\n");
    // An own process namespace each, unless asked otherwise.
    let processes = world.exec("pair", "client", &["ps"]);
    assert!(!processes.contains("httpd"), "{processes}");
}

/// Two nginx containers: `back` listens on a UNIX socket in an emptyDir, `front` passes requests on to it.
const SOCKET: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data:
  back.conf: |
    events {}
    http { server { listen unix:/sockets/back.sock; location / { return 200 "through the socket\n"; } } }
  front.conf: |
    events {}
    http { server { listen 8080; location / { proxy_pass http://unix:/sockets/back.sock:/; } } }
---
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: sockets, emptyDir: {}}
  - {name: conf, configMap: {name: conf}}
  containers:
  - name: back
    image: nginx
    args: [nginx, -c, /conf/back.conf, -g, daemon off;]
    volumeMounts: [{name: sockets, mountPath: /sockets}, {name: conf, mountPath: /conf}]
  - name: front
    image: nginx
    args: [nginx, -c, /conf/front.conf, -g, daemon off;]
    volumeMounts: [{name: sockets, mountPath: /sockets}, {name: conf, mountPath: /conf}]
"#;

#[test]
fn e2e_a_unix_socket_in_an_empty_dir_joins_two_containers() {
    let Some(mut world) = World::new() else { return };
    world.load("nginx");
    world.commit(&[("pod.yaml", SOCKET)]);
    world.start();
    world.wait_row("pair", "2/2", "Running");
    let ip = world.pod("pair").unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    world.wait("the answer through both", || world.page(&ip, 8080).ends_with("through the socket\n").then_some(()));
}

#[test]
fn e2e_the_presets_variable_is_in_the_environment_of_each_container() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[(
        "all.yaml",
        r#"
apiVersion: settings.k8s.io/v1alpha1
kind: PodPreset
metadata: {name: db}
spec:
  selector: {matchLabels: {app: web}}
  env: [{name: DB_PORT, value: "6379"}]
  envFrom: [{configMapRef: {name: more}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: more}
data: {COLOR: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: busybox, command: [sleep, "100000"]}
  - {name: b, image: busybox, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {app: other}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: busybox, command: [sleep, "100000"]}
"#,
    )]);
    world.start();
    world.wait_row("web", "2/2", "Running");
    world.wait_row("other", "1/1", "Running");
    for container in ["a", "b"] {
        let env = world.exec("web", container, &["env"]);
        assert!(env.lines().any(|l| l == "DB_PORT=6379"), "{container}: {env}");
        assert!(env.lines().any(|l| l == "COLOR=blue"), "{container}: {env}");
    }
    assert!(!world.exec("other", "a", &["env"]).contains("DB_PORT"));
}

/// A pod that reads a ConfigMap and a Secret in every way there is.
const READER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, "100000"]
    env:
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: cred, key: password}}}
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: conf, key: greeting}}}
    - {name: BOTH, value: "$(GREETING)-$$(GREETING)-$(MISSING)"}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    envFrom: [{prefix: P_, configMapRef: {name: conf}}]
    volumeMounts:
    - {name: conf, mountPath: /conf}
    - {name: cred, mountPath: /cred, readOnly: true}
    - {name: conf, mountPath: /one, subPath: greeting}
    - {name: maybe, mountPath: /maybe}
  volumes:
  - {name: maybe, configMap: {name: maybe, optional: true}}
  - {name: conf, configMap: {name: conf}}
  - {name: cred, secret: {secretName: cred, defaultMode: 0400, items: [{key: user, path: as/who, mode: 0440}, {key: password, path: word}, {key: script, path: run, mode: 0500}]}}
"#;

#[test]
fn e2e_config_maps_and_secrets_reach_volumes_and_env_and_secrets_never_the_disk() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let objects = |greeting: &str| {
        format!(
            r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: conf}}
data: {{greeting: {greeting}, path.with.dots: deep}}
---
apiVersion: v1
kind: Secret
metadata: {{name: cred}}
stringData: {{password: planted-c1oudc0w}}
data: {{user: YWRtaW4=, script: IyEvYmluL3NoCmVjaG8gcmFuCg==}}
"#
        )
    };
    world.commit(&[("objects.yaml", &objects("hello")), ("pod.yaml", READER)]);
    world.start();
    world.wait_row("reader", "1/1", "Running");
    let before = world.identities();
    let sh = |script: &str| world.exec("reader", "c", &["sh", "-c", script]);
    assert_eq!(sh("cat /conf/greeting /conf/path.with.dots"), "hellodeep");
    assert_eq!(sh("cat /cred/as/who /cred/word /one"), "adminplanted-c1oudc0whello");
    assert_eq!(sh("/cred/run"), "ran\n");
    assert_eq!(sh("stat -L -c %a /conf/greeting /cred/as/who /cred/word"), "644\n440\n400\n");
    assert_eq!(
        sh("echo $PASSWORD $GREETING $BOTH $NAME $P_greeting"),
        "planted-c1oudc0w hello hello-$(GREETING)-$(MISSING) reader hello\n"
    );
    let ip = world.pod("reader").unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(sh("echo $IP"), format!("{ip}\n"));
    for place in ["/cred/x", "/conf/x", "/conf/..data/greeting", "/one"] {
        let said = sh(&format!("(echo y > {place}) 2>&1; true"));
        assert!(said.contains("Read-only file system"), "{place}: {said}");
    }
    // Secrets live on tmpfs only: no file of the root that is on a disk holds one.
    let disk = rustix_dev(&world.root());
    for path in walk(&world.root()) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let planted = bytes.windows(16).any(|w| w == b"planted-c1oudc0w");
        assert!(!planted || rustix_dev(&path) != disk, "{} holds a secret", path.display());
    }
    assert!(!world.log().contains("planted-c1oudc0w"));
    let status = std::fs::read_to_string(world.repo().join("status.yaml")).unwrap();
    assert!(!status.contains("planted-c1oudc0w"));
    assert!(!world.ok(&["describe", "pod", "reader"]).contains("planted-c1oudc0w"));
    // Data changes in place: volumes follow, the process stays, its environment and subPath too.
    world.commit(&[("objects.yaml", &objects("goodbye"))]);
    world.wait("the new data", || (sh("cat /conf/greeting") == "goodbye").then_some(()));
    assert_eq!(sh("cat /one"), "hello");
    assert_eq!(world.identities(), before);
    // What is optional comes and goes.
    assert_eq!(sh("ls /maybe"), "");
    let maybe = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: maybe}\ndata: {key: there}\n";
    world.commit(&[("maybe.yaml", maybe)]);
    world.wait("the optional data", || (sh("cat /maybe/key 2>&1; true") == "there").then_some(()));
    world.commit(&[("maybe.yaml", "")]);
    world.wait("its end", || sh("ls /maybe").is_empty().then_some(()));
    assert_eq!(world.identities(), before);
}

/// The device a file is on.
fn rustix_dev(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|m| m.dev()).unwrap_or_default()
}

#[test]
fn e2e_init_containers_run_in_order_before_the_others() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[(
        "pod.yaml",
        r#"
apiVersion: v1
kind: Pod
metadata: {name: ordered}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: first, image: busybox, command: [sh, -c, "sleep 0.3; echo first >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  - {name: second, image: busybox, command: [sh, -c, "echo second >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - {name: main, image: busybox, command: [cat, /v/log], volumeMounts: [{name: v, mountPath: /v}]}
"#,
    )]);
    world.start();
    world.wait_row("ordered", "0/1", "Completed");
    assert_eq!(world.ok(&["logs", "ordered"]), "first\nsecond\n");
    world.wait_phase("ordered", "Succeeded");
}

#[test]
fn e2e_a_failing_init_container_stops_a_pod_that_never_restarts() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[(
        "pod.yaml",
        r#"
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec:
  restartPolicy: Never
  initContainers: [{name: first, image: busybox, command: [sh, -c, "exit 3"]}]
  containers: [{name: main, image: busybox, command: [sleep, "100000"]}]
"#,
    )]);
    world.start();
    world.wait_row("broken", "0/1", "Init:Error");
    world.wait_phase("broken", "Failed");
    let pod = world.pod("broken").unwrap();
    assert_eq!(pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
}

#[test]
fn e2e_restart_policies_do_what_they_say() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let pod = |name: &str, policy: &str, code: u32| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  restartPolicy: {policy}\n  containers:\n  - {{name: c, image: busybox, command: [sh, -c, \"echo run; exit {code}\"]}}\n"
        )
    };
    world.commit(&[
        ("a.yaml", &pod("never-good", "Never", 0)),
        ("b.yaml", &pod("never-bad", "Never", 5)),
        ("c.yaml", &pod("onfailure-good", "OnFailure", 0)),
        ("d.yaml", &pod("onfailure-bad", "OnFailure", 6)),
        ("e.yaml", &pod("always-good", "Always", 0)),
    ]);
    world.start();
    world.wait_row("never-good", "0/1", "Completed");
    world.wait_row("never-bad", "0/1", "Error");
    world.wait_row("onfailure-good", "0/1", "Completed");
    for name in ["onfailure-bad", "always-good"] {
        world.wait(&format!("{name} to crash-loop"), || {
            let (_, status, restarts) = world.row(name)?;
            (status == "CrashLoopBackOff" && restarts.parse::<u32>().unwrap() >= 1).then_some(())
        });
    }
    let pod = world.pod("onfailure-bad").unwrap();
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 6);
    let message = container["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off ")
            && message.contains(" restarting failed container=c pod=onfailure-bad_default("),
        "{message}"
    );
    assert_eq!(world.pod("never-bad").unwrap()["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(world.ok(&["logs", "-p", "always-good"]), "run\n");
}

#[test]
fn e2e_a_stop_is_graceful_and_the_grace_period_ends() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let scratch = world.scratch().join("seen");
    std::fs::create_dir_all(&scratch).unwrap();
    let pod = |name: &str, script: &str, grace: u32| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: {grace}\n  volumes: [{{name: v, hostPath: {{path: {}, type: Directory}}}}]\n  containers:\n  - {{name: c, image: busybox, command: [sh, -c, \"{script}\"], volumeMounts: [{{name: v, mountPath: /v}}]}}\n",
            scratch.display()
        )
    };
    let polite = "trap 'echo bye > /v/polite; exit 0' TERM; while true; do sleep 0.1; done";
    let stubborn = "trap 'echo no > /v/stubborn' TERM; while true; do sleep 0.1; done";
    world.commit(&[("polite.yaml", &pod("polite", polite, 60)), ("stubborn.yaml", &pod("stubborn", stubborn, 2))]);
    world.start();
    world.wait_row("polite", "1/1", "Running");
    world.wait_row("stubborn", "1/1", "Running");
    std::thread::sleep(Duration::from_millis(500));
    run(world.git().args(["rm", "-q", "polite.yaml", "stubborn.yaml"]));
    world.commit(&[("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: left}\n")]);
    world.wait_gone("polite");
    assert_eq!(std::fs::read_to_string(scratch.join("polite")).unwrap(), "bye\n");
    world.wait_gone("stubborn");
    assert_eq!(std::fs::read_to_string(scratch.join("stubborn")).unwrap(), "no\n");
    assert!(world.identities().is_empty());
}

#[test]
fn e2e_the_host_image_hides_our_own_directories_and_configured_paths() {
    let Some(world) = World::new() else { return };
    let hidden = world.scratch().join("hidden");
    std::fs::create_dir_all(&hidden).unwrap();
    std::fs::write(hidden.join("key"), "planted-on-the-host").unwrap();
    let config = world.scratch().join("config.yaml");
    std::fs::write(&config, format!("allowHostImage: true\ncoveredPaths: [{}]\n", hidden.display())).unwrap();
    let config = config.to_str().unwrap().to_owned();
    let mut world = world.with_flags(&["--config", &config]);
    world.commit(&[(
        "pod.yaml",
        r#"
apiVersion: v1
kind: Secret
metadata: {name: cred}
stringData: {password: planted-c1oudc0w}
---
apiVersion: v1
kind: Pod
metadata: {name: holder}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: podwright.invalid/host, command: [sleep, "100000"], volumeMounts: [{name: s, mountPath: /mnt}]}]
  volumes: [{name: s, secret: {secretName: cred}}]
---
apiVersion: v1
kind: Pod
metadata: {name: thief}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: podwright.invalid/host, command: [sleep, "100000"]}]
"#,
    )]);
    world.start();
    world.wait_row("holder", "1/1", "Running");
    world.wait_row("thief", "1/1", "Running");
    let root = world.root().display().to_string();
    let script = format!(
        "find {root} {} -type f 2>/dev/null | head; touch {root}/x 2>&1; touch {}/x 2>&1; true",
        hidden.display(),
        hidden.display()
    );
    let found = world.exec("thief", "c", &["sh", "-c", &script]);
    assert!(found.lines().all(|l| l.starts_with("touch:") && l.contains("Read-only file system")), "{found}");
    // What is written goes into the private layer, not onto the machine.
    let marker = world.scratch().join("marker").display().to_string();
    world.exec("thief", "c", &["touch", &marker]);
    assert!(!std::path::Path::new(&marker).exists());
    assert_eq!(world.exec("holder", "c", &["cat", "/mnt/password"]), "planted-c1oudc0w");
    // Mounts below / are absent.
    assert_eq!(world.exec("thief", "c", &["sh", "-c", "ls -A /dev/shm"]), "");
}

#[test]
fn e2e_the_host_image_is_off_unless_allowed() {
    let Some(world) = World::new() else { return };
    let mut world = world.with_flags(&[]);
    world.commit(&[(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, image: podwright.invalid/host, command: [sleep, \"9\"]}]\n",
    )]);
    world.start();
    world.wait_described("p", "--allow-host-image");
    assert!(world.identities().is_empty());
}

#[test]
fn e2e_a_changed_preset_recreates_the_pod_and_a_label_does_not() {
    let Some(mut world) = World::new() else { return };
    let files = |port: &str, label: &str| {
        format!(
            "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {{name: db}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  env: [{{name: DB_PORT, value: \"{port}\"}}]\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: web, labels: {{app: web, v: \"{label}\"}}, annotations: {{note: \"{label}\"}}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: c, image: podwright.invalid/host, command: [sleep, \"100000\"]}}]\n"
        )
    };
    world.commit(&[("all.yaml", &files("1", "1"))]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    let first = world.identities();
    let uid = world.pod("web").unwrap()["metadata"]["uid"].clone();
    world.commit(&[("all.yaml", &files("1", "2"))]);
    let changed = world.wait("the label", || {
        Some(world.pod("web")?["metadata"].clone()).filter(|metadata| metadata["labels"]["v"] == "2")
    });
    assert_eq!((&changed["annotations"]["note"], world.identities()), (&"2".into(), first));
    world.commit(&[("all.yaml", &files("2", "2"))]);
    world.wait("the new pod", || {
        let pod = world.pod("web")?;
        (pod["metadata"]["uid"] != uid && pod["status"]["phase"] == "Running").then_some(())
    });
    world.wait_row("web", "1/1", "Running");
    assert!(world.exec("web", "c", &["env"]).contains("DB_PORT=2"));
    let status = world.wait("the reason in the status file", || {
        std::fs::read_to_string(world.repo().join("status.yaml")).ok().filter(|t| t.contains("PodPreset db"))
    });
    assert!(status.contains("recreate"), "{status}");
}

#[test]
fn e2e_a_new_image_restarts_one_container_in_place() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.load("debian");
    let pod = |image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: a, image: {image}, command: [sleep, \"100000\"]}}\n  - {{name: b, image: busybox, command: [sleep, \"100000\"]}}\n"
        )
    };
    world.commit(&[("pod.yaml", &pod("busybox"))]);
    world.start();
    world.wait_row("web", "2/2", "Running");
    let uid = world.pod("web").unwrap()["metadata"]["uid"].clone();
    let before = world.identities();
    world.commit(&[("pod.yaml", &pod("debian"))]);
    world.wait("the restart", || (world.row("web")?.2.starts_with('1')).then_some(()));
    world.wait_row("web", "2/2", "Running");
    assert_eq!(world.pod("web").unwrap()["metadata"]["uid"], uid);
    let after = world.identities();
    let b: Vec<_> = before.iter().filter(|(k, _)| k.contains("/b/")).collect();
    assert_eq!(after.iter().filter(|(k, _)| k.contains("/b/")).collect::<Vec<_>>(), b);
    assert!(!world.exec("web", "a", &["cat", "/etc/debian_version"]).is_empty());
}

#[test]
fn e2e_a_dead_infra_process_means_a_new_sandbox() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{name: c, image: podwright.invalid/host, command: [sleep, \"100000\"]}]\n",
    )]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    let before = world.identities();
    let sandbox = walk(&world.root().join("pods")).into_iter().find(|p| p.ends_with("sandbox.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(sandbox).unwrap()).unwrap();
    signal(u32::try_from(record["pid"].as_u64().unwrap()).unwrap(), Signal::KILL);
    world.wait("a new container", || {
        let now = world.identities();
        (now.len() == 1 && now != before).then_some(())
    });
    world.wait_row("web", "1/1", "Running");
}
