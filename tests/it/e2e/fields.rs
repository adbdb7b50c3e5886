//! Fields of pods and containers, each by what a process in the container sees of it.

use rustix::process::Signal;

use super::harness::{World, run, signal, start_time};

/// A pod of busybox containers that sleep; `spec` and `container` are flow mappings' contents.
fn pod(name: &str, spec: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n{spec}  containers:\n  - name: c\n    image: busybox\n{container}"
    )
}

const SLEEP: &str = "    command: [sleep, \"100000\"]\n";

#[test]
fn e2e_names_are_resolved_as_the_pod_says() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let own = "  hostname: left\n  subdomain: shop\n  hostAliases: [{ip: 10.1.2.3, hostnames: [foo.remote, bar.remote]}]\n  dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.53], searches: [shop.example], options: [{name: ndots, value: \"2\"}, {name: edns0}]}\n";
    let added = "  dnsPolicy: Default\n  dnsConfig: {searches: [more.example], nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3]}\n";
    world.commit(&[
        ("own.yaml", &pod("own", own, SLEEP)),
        ("added.yaml", &pod("added", added, SLEEP)),
        ("plain.yaml", &pod("plain", "", SLEEP)),
        ("whole.yaml", &pod("whole", "  subdomain: shop\n  setHostnameAsFQDN: true\n", SLEEP)),
        (
            "other.yaml",
            &pod("other", "  hostname: left\n  subdomain: shop\n  hostnameOverride: db.example.com\n", SLEEP),
        ),
    ]);
    world.start();
    for name in ["own", "added", "plain", "whole", "other"] {
        world.wait_row(name, "1/1", "Running");
    }
    let resolver = world.exec("own", "c", &["cat", "/etc/resolv.conf"]);
    let mut lines: Vec<&str> = resolver.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["nameserver 192.0.2.53", "options ndots:2 edns0", "search shop.example"]);
    world.wait_described(
        "plain",
        "cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
    );
    // Those of the machine come first, and no resolver takes more than three.
    if podwright::net::files::node_resolv_conf().lines().any(|line| line.starts_with("nameserver ")) {
        world.wait_described("added", "Nameserver limits were exceeded");
    }
    for name in ["own", "added"] {
        assert!(!world.ok(&["describe", "pod", name]).contains("MissingClusterDNS"), "{name}");
    }
    let hosts = world.exec("own", "c", &["cat", "/etc/hosts"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(hosts.lines().any(|l| words(l) == ["10.1.2.3", "foo.remote", "bar.remote"]), "{hosts}");
    let ip = world.pod("own").unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    let named = hosts.lines().find(|l| words(l).first() == Some(&ip)).unwrap_or_else(|| panic!("{hosts}"));
    assert!(words(named).iter().any(|w| w == "left") && named.contains("left.shop.default.svc"), "{hosts}");
    assert_eq!(world.exec("own", "c", &["hostname"]), "left\n");
    assert_eq!(world.exec("plain", "c", &["hostname"]), "plain\n");
    for (pod, name, line) in [
        ("whole", "whole.shop.default.svc.cluster.local", "whole.shop.default.svc.cluster.local\twhole"),
        ("other", "db.example.com", "db.example.com"),
    ] {
        let seen = world.exec(pod, "c", &["sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME"]);
        assert_eq!(seen, format!("{name}\n").repeat(3), "{pod}");
        let ip = world.pod(pod).unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
        let hosts = world.exec(pod, "c", &["cat", "/etc/hosts"]);
        assert!(hosts.lines().any(|l| l == format!("{ip}\t{line}")), "{hosts}");
    }
    let resolver = world.exec("added", "c", &["cat", "/etc/resolv.conf"]);
    let search = resolver.lines().find(|l| l.starts_with("search ")).unwrap_or_else(|| panic!("{resolver}"));
    assert!(search.split_whitespace().any(|w| w == "more.example"), "{resolver}");
}

#[test]
fn e2e_the_environment_holds_what_the_pod_says_and_no_service_links() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pod.yaml", &pod("p", "", &format!("{SLEEP}    env: [{{name: OWN, value: here}}]\n")))]);
    world.start();
    world.wait_row("p", "1/1", "Running");
    let env = world.exec("p", "c", &["env"]);
    assert!(env.lines().any(|l| l == "OWN=here"), "{env}");
    assert!(!env.contains("_SERVICE_HOST"), "there are no services to link to: {env}");
}

#[test]
fn e2e_a_pod_is_shown_to_its_containers_in_files_and_variables() {
    let Some(world) = World::new() else { return };
    let config = world.scratch().join("config.yaml");
    std::fs::write(&config, "nodeName: edge-7\nallocatable: {memory: 3Gi}\n").unwrap();
    let flag = config.to_str().unwrap().to_owned();
    let mut world = world.with_flags(&["--config", &flag]);
    world.load("busybox");
    let env = |name: &str, from: &str| format!("    - {{name: {name}, valueFrom: {{{from}}}}}\n");
    let field = |name: &str, path: &str| env(name, &format!("fieldRef: {{fieldPath: {path}}}"));
    let variables = [
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("HOST", "status.hostIP"),
        field("HOSTS", "status.hostIPs"),
        field("IP", "status.podIP"),
        field("POD_UID", "metadata.uid"),
        field("RACK", "\"metadata.labels['rack']\""),
        env("CPU", "resourceFieldRef: {resource: limits.cpu, divisor: 1m}"),
        env("MEMORY", "resourceFieldRef: {containerName: other, resource: limits.memory, divisor: 1Mi}"),
    ];
    let mounts = "    volumeMounts:\n    - {name: own, mountPath: /own}\n    - {name: logs, mountPath: /logs, subPathExpr: $(NODE)/$(POD_UID)}\n    - {name: logs, mountPath: /all}\n";
    let other = "  - {name: other, image: busybox, command: [sleep, \"100000\"]}\n";
    let volumes = "  volumes:\n  - {name: logs, emptyDir: {}}\n  - name: own\n    downwardAPI:\n      items:\n      - {path: name, mode: 0400, fieldRef: {fieldPath: metadata.name}}\n      - {path: limits/cpu, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}\n";
    let limited = |cpu: &str| {
        let own = format!("{SLEEP}    resources: {{limits: {{cpu: {cpu}}}}}\n    env:\n{}{mounts}", variables.concat());
        let text = pod("p", "", &(own + other)) + volumes;
        text.replace("metadata: {name: p}", "metadata: {name: p, labels: {rack: rack-22}}")
    };
    let unknown = format!("{SLEEP}    volumeMounts: [{{name: logs, mountPath: /logs, subPathExpr: $(NO)}}]\n");
    world.commit(&[
        ("pod.yaml", &limited("500m")),
        ("unknown.yaml", &(pod("unknown", "", &unknown) + "  volumes: [{name: logs, emptyDir: {}}]\n")),
    ]);
    world.start();
    world.wait_row("p", "2/2", "Running");
    let before = world.identities();
    let seen = world.pod("p").unwrap();
    // A machine without a network has no address.
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (uid, host, ip) =
        (text(&seen["metadata"]["uid"]), text(&seen["status"]["hostIP"]), text(&seen["status"]["podIP"]));
    let hosts = seen["status"]["hostIPs"].as_array().into_iter().flatten();
    let hosts: Vec<String> = hosts.map(|host| text(&host["ip"])).collect();
    assert!(!uid.is_empty() && !ip.is_empty());
    let sh = |script: &str| world.exec("p", "c", &["sh", "-c", script]);
    assert_eq!(
        sh("echo \"$NODE|$ACCOUNT|$HOST|$HOSTS|$IP|$POD_UID|$RACK|$CPU|$MEMORY\""),
        format!("edge-7|default|{host}|{}|{ip}|{uid}|rack-22|500|3072\n", hosts.join(","))
    );
    assert_eq!(sh("cat /own/name; echo; cat /own/limits/cpu; stat -L -c %a /own/name"), "p\n500400\n");
    assert_eq!(sh(&format!("touch /logs/here; ls /all/edge-7/{uid}")), "here\n");
    world.wait_row("unknown", "0/1", "CreateContainerConfigError");
    world.wait_described("unknown", "missing value for NO");
    // An amount that changes in place reaches the file.
    world.commit(&[("pod.yaml", &limited("600m"))]);
    world.wait("the new amount", || (sh("cat /own/limits/cpu") == "600").then_some(()));
    assert_eq!(sh("tr '\\0' '\\n' < /proc/1/environ | grep ^CPU="), "CPU=500\n");
    assert_eq!(world.identities(), before, "nothing was started again");
}

#[test]
fn e2e_the_group_of_a_pod_has_its_volumes_and_no_path_of_the_machine() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let host = world.scratch().join("host");
    std::fs::create_dir(&host).unwrap();
    let objects = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {key: \"1\"}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: cred}\nstringData: {word: hidden}\n";
    let volumes = format!(
        "  volumes:\n  - {{name: conf, configMap: {{name: conf, defaultMode: 0400}}}}\n  - {{name: all, projected: {{sources: [{{secret: {{name: cred}}}}, \
         {{downwardAPI: {{items: [{{path: name, fieldRef: {{fieldPath: metadata.name}}}}]}}}}]}}}}\n  - {{name: disk, emptyDir: {{}}}}\n  \
         - {{name: memory, emptyDir: {{medium: Memory}}}}\n  - {{name: host, hostPath: {{path: {}}}}}\n",
        host.display()
    );
    let mounts = "    volumeMounts: [{name: conf, mountPath: /conf}, {name: all, mountPath: /all}, {name: disk, mountPath: /disk}, {name: disk, mountPath: /part, subPath: part}, {name: memory, mountPath: /memory}, {name: host, mountPath: /host}]\n";
    let context = "  securityContext: {runAsUser: 1001, runAsGroup: 1002, fsGroup: 1234, supplementalGroups: [1003]}\n";
    let text = |name: &str, more: &str| pod(name, &(context.to_owned() + more), &format!("{SLEEP}{mounts}")) + &volumes;
    world.commit(&[
        ("objects.yaml", objects),
        ("shared.yaml", &text("shared", "")),
        ("own.yaml", &text("own", "  hostUsers: false\n")),
    ]);
    world.start();
    for name in ["shared", "own"] {
        world.wait_row(name, "1/1", "Running");
        let sh = |script: &str| world.exec(name, "c", &["sh", "-c", script]);
        assert_eq!(sh("id -u; id -g; id -G"), "1001\n1002\n1002 1003 1234\n", "{name}");
        // The files are readable by the group, and directories of a volume that can be written to are open to it.
        assert_eq!(
            sh(
                "cd /; touch disk/made memory/made part/made; cat conf/key all/word all/name; echo; stat -L -c '%n %g %a' conf conf/..data conf/key all/word disk memory part disk/made memory/made part/made"
            ),
            format!(
                "1hidden{name}\nconf 1234 2777\nconf/..data 1234 2755\nconf/key 1234 440\nall/word 1234 644\ndisk 1234 2777\n\
                 memory 1234 2777\npart 1234 2777\ndisk/made 1234 644\nmemory/made 1234 644\npart/made 1234 644\n"
            )
        );
        assert_eq!(sh("stat -c '%g %a' /host"), "0 755\n", "{name}");
    }
    // The new files, too.
    world.commit(&[("objects.yaml", &objects.replace("\"1\"", "\"2\""))]);
    for name in ["shared", "own"] {
        let sh = |script: &str| world.exec(name, "c", &["sh", "-c", script]);
        world.wait("the new data", || (sh("cat /conf/key") == "2").then_some(()));
        assert_eq!(sh("stat -L -c '%g %a' /conf/..data /conf/key"), "1234 2755\n1234 440\n", "{name}");
    }
}

#[test]
fn e2e_users_and_capabilities_are_what_the_pod_says() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let context = "  securityContext: {runAsUser: 1001, runAsGroup: 1002, supplementalGroups: [1003, 1004], runAsNonRoot: true}\n";
    let more = "  - {name: other, image: busybox, command: [sleep, \"100000\"], securityContext: {runAsUser: 2001, runAsGroup: 2002}}\n";
    let confined = "    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {add: [NET_ADMIN], drop: [ALL]}}\n";
    world.commit(&[
        ("users.yaml", &(pod("users", context, SLEEP) + more)),
        ("confined.yaml", &pod("confined", "", &format!("{SLEEP}{confined}"))),
        ("mighty.yaml", &pod("mighty", "", &format!("{SLEEP}    securityContext: {{privileged: true}}\n"))),
        ("plain.yaml", &pod("plain", "", SLEEP)),
        ("root.yaml", &pod("root", "  securityContext: {runAsNonRoot: true}\n", SLEEP)),
    ]);
    world.start();
    for (name, ready) in [("users", "2/2"), ("confined", "1/1"), ("mighty", "1/1"), ("plain", "1/1")] {
        world.wait_row(name, ready, "Running");
    }
    let status = |pod: &str, container: &str, field: &str| {
        let text = world.exec(pod, container, &["cat", "/proc/1/status"]);
        let line = text.lines().find(|l| l.starts_with(&format!("{field}:"))).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let number = |pod: &str, field: &str| u64::from_str_radix(&status(pod, "c", field)[0], 16).unwrap();
    assert_eq!(status("users", "c", "Uid")[0], "1001");
    assert_eq!(status("users", "c", "Gid")[0], "1002");
    let groups = status("users", "c", "Groups");
    assert!(["1003", "1004"].iter().all(|g| groups.iter().any(|own| own == g)), "{groups:?}");
    assert_eq!(
        (status("users", "other", "Uid")[0].as_str(), status("users", "other", "Gid")[0].as_str()),
        ("2001", "2002")
    );
    let net_admin = 1 << 12;
    assert_eq!(number("confined", "CapBnd"), net_admin);
    assert_eq!(number("confined", "CapEff"), net_admin);
    assert_eq!(number("plain", "CapEff") & net_admin, 0);
    assert_eq!((number("confined", "NoNewPrivs"), number("plain", "NoNewPrivs")), (1, 0));
    assert!(number("mighty", "CapEff") & (1 << 21) != 0, "a privileged container has CAP_SYS_ADMIN");
    let touch = ["sh", "-c", "touch /x 2>&1; true"];
    assert!(world.exec("confined", "c", &touch).contains("Read-only file system"));
    assert_eq!(world.exec("plain", "c", &touch), "");
    world.wait_row("root", "0/1", "CreateContainerConfigError");
}

#[test]
fn e2e_a_container_starts_where_and_as_it_says() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let there = "    command: [sh, -c, \"pwd; sleep 100000\"]\n    workingDir: /var/spool\n";
    let once = "    command: [sh, -c, \"read line; echo got $line; cat; echo ended; sleep 100000\"]\n    stdin: true\n    stdinOnce: true\n";
    world.commit(&[("there.yaml", &pod("there", "", there)), ("once.yaml", &pod("once", "", once))]);
    world.start();
    world.wait_row("there", "1/1", "Running");
    world.wait_row("once", "1/1", "Running");
    world.wait("its directory", || (world.ok(&["logs", "there"]) == "/var/spool\n").then_some(()));
    // Nobody is attached: the input stays open.
    assert_eq!(world.ok(&["logs", "once"]), "");
}

/// The cgroup directory of a process for a controller, and whether it is of version 1.
fn cgroup_of(pid: i64, controller: &str) -> (std::path::PathBuf, bool) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap().trim_start_matches('/'));
        if controllers.split(',').any(|c| c == controller) {
            return (std::path::Path::new("/sys/fs/cgroup").join(controllers).join(path), true);
        }
    }
    let line = text.lines().find(|l| l.starts_with("0::")).unwrap();
    (std::path::Path::new("/sys/fs/cgroup").join(line[3..].trim_start_matches('/')), false)
}

#[test]
fn e2e_limits_reach_the_cgroup() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let resources = "    resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 0.25, memory: 32Mi}}\n";
    world.commit(&[("pod.yaml", &pod("p", "", &format!("{SLEEP}{resources}")))]);
    world.start();
    world.wait_row("p", "1/1", "Running");
    let (pid, start) = *world.identities().values().next().unwrap();
    assert_eq!(start_time(pid), Some(start));
    let read = |controller: &str, old: &str, new: &str| {
        let (directory, is_old) = cgroup_of(pid, controller);
        let path = directory.join(if is_old { old } else { new });
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    let weight = read("cpu", "cpu.shares", "cpu.weight");
    assert!(["256", "10"].contains(&weight.as_str()), "a quarter of a core is 256 shares: {weight}");
}

#[test]
fn e2e_what_a_pod_may_use_as_a_whole_reaches_its_cgroup() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let whole = "  resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 250m, memory: 32Mi}}\n";
    let seen = "    env: [{name: MOST, valueFrom: {resourceFieldRef: {resource: limits.memory}}}]\n";
    world.commit(&[("pod.yaml", &pod("p", whole, &format!("{SLEEP}{seen}")))]);
    world.start();
    world.wait_row("p", "1/1", "Running");
    let (pid, _) = *world.identities().values().next().unwrap();
    let read = |of_pod: bool, controller: &str, old: &str, new: &str| {
        let (own, is_old) = cgroup_of(pid, controller);
        let directory = if of_pod { own.parent().unwrap() } else { &own };
        let path = directory.join(if is_old { old } else { new });
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    };
    // The container has none of its own, and finds those of its pod.
    for of_pod in [true, false] {
        assert_eq!(read(of_pod, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string(), "{of_pod}");
        let quota = read(of_pod, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{of_pod} {quota}");
    }
    let weight = read(true, "cpu", "cpu.shares", "cpu.weight");
    assert!(["256", "10"].contains(&weight.as_str()), "a quarter of a core is 256 shares: {weight}");
    assert_eq!(world.exec("p", "c", &["sh", "-c", "echo $MOST"]).trim(), (64 << 20).to_string());
    assert_eq!(world.pod("p").unwrap()["status"]["qosClass"], "Burstable");
    // A container that gets a limit of one resource keeps its pod's of the other.
    let own = "    resources: {limits: {cpu: 200m}}\n";
    world.commit(&[("pod.yaml", &pod("p", whole, &format!("{SLEEP}{seen}{own}")))]);
    world.wait("the container's own limit", || {
        ["20000", "20000 100000"].contains(&read(false, "cpu", "cpu.cfs_quota_us", "cpu.max").as_str()).then_some(())
    });
    assert_eq!(read(false, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    let described = world.ok(&["describe", "pod", "p"]);
    assert!(described.contains("Resources:\n  Limits:\n    cpu:     500m\n    memory:  64Mi\n"), "{described}");
}

#[test]
fn e2e_a_limit_of_memory_too_low_for_a_pod_is_said_and_harms_nobody_else() {
    let Some(mut world) = World::new() else { return };
    let pods = [("none", "1"), ("little", "32k"), ("enough", "64Mi")].map(|(name, memory)| {
        let resources = format!("    resources: {{limits: {{memory: {memory}}}}}\n");
        pod(name, "", &format!("{SLEEP}{resources}")).replace("busybox", "podwright.invalid/host")
    });
    world.commit(&[("pods.yaml", &pods.join("---\n"))]);
    world.start();
    for name in ["none", "little"] {
        world.wait_described(name, "the limit of memory of its containers together is too low for a pod: ");
    }
    world.wait_row("enough", "1/1", "Running");
    assert_eq!(world.stop(), Some(0));
}

#[test]
fn e2e_cpu_and_memory_change_while_a_container_runs() {
    let Some(world) = World::new() else { return };
    // Two containers with 1.5 cores each: more than small machines have.
    let config = world.scratch().join("config.yaml");
    std::fs::write(&config, "allocatable: {cpu: \"8\"}\n").unwrap();
    let flag = config.to_str().unwrap().to_owned();
    let mut world = world.with_flags(&["--allow-host-image", "--config", &flag]);
    let pod = |cpu: &str, memory: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n    resizePolicy: [{{resourceName: cpu, restartPolicy: NotRequired}}, {{resourceName: memory, restartPolicy: NotRequired}}]\n    resources: {{limits: {{cpu: {cpu}, memory: {memory}}}}}\n  - name: strict\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n    resizePolicy: [{{resourceName: memory, restartPolicy: RestartContainer}}]\n    resources: {{limits: {{cpu: {cpu}, memory: 64Mi}}}}\n"
        )
    };
    world.commit(&[("pod.yaml", &pod("500m", "64Mi"))]);
    world.start();
    world.wait_row("p", "2/2", "Running");
    let before = world.identities();
    let uid = world.pod("p").unwrap()["metadata"]["uid"].clone();
    let mib = |count: u64| (count << 20).to_string();
    let weight = |text: &str, shares: &str, weight: &str| assert!([shares, weight].contains(&text), "{text}");
    let (memory, quota, shares) = limits(&world, "c");
    assert_eq!((memory, quota.as_str()), (mib(64), "50000"));
    weight(&shares, "512", "59");

    // More of both, then less: the processes stay, the limits are others.
    for (cpu, memory, expected, shares, by_weight) in
        [("1500m", "128Mi", (mib(128), "150000"), "1536", "138"), ("250m", "96Mi", (mib(96), "25000"), "256", "35")]
    {
        world.commit(&[("pod.yaml", &pod(cpu, memory))]);
        world.wait("the limits", || {
            (limits(&world, "c").0 == expected.0 && limits(&world, "strict").1 == expected.1).then_some(())
        });
        let now = limits(&world, "c");
        assert_eq!((now.0, now.1.as_str()), expected);
        weight(&now.2, shares, by_weight);
        assert_eq!(world.identities(), before, "no process is another one");
        let shown = world.wait("the status", || {
            let pod = world.pod("p")?;
            let own = &pod["status"]["containerStatuses"][0];
            (own["resources"]["limits"]["memory"] == memory).then(|| pod.clone())
        });
        let own = &shown["status"]["containerStatuses"][0];
        assert_eq!((&own["allocatedResources"]["memory"], &own["restartCount"]), (&memory.into(), &0.into()));
        assert_eq!(shown["metadata"]["uid"], uid);
    }
    world.wait_described("p", "ResizeCompleted");
    // The words of the record outlive the agent: nothing is done again, and a crash starts it with what it has now.
    world.kill();
    world.start();
    assert_eq!(world.identities(), before);
    let first = pid_of(&world, "c").unwrap();
    signal(u32::try_from(first).unwrap(), Signal::KILL);
    world.wait("the restart", || (pid_of(&world, "c").is_some_and(|now| now != first)).then_some(()));
    assert_eq!(limits(&world, "c").0, mib(96));

    // What asks for it restarts, once and alone.
    let strict = pid_of(&world, "strict").unwrap();
    let c = pid_of(&world, "c").unwrap();
    world.commit(&[("pod.yaml", &pod("250m", "96Mi").replace("memory: 64Mi", "memory: 80Mi"))]);
    world.wait("the restart", || (pid_of(&world, "strict").is_some_and(|now| now != strict)).then_some(()));
    assert_eq!((limits(&world, "strict").0, pid_of(&world, "c").unwrap()), (mib(80), c));
    let restarts = || {
        let pod = world.pod("p").unwrap();
        let all = pod["status"]["containerStatuses"].as_array().unwrap().clone();
        all.iter().map(|own| own["restartCount"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    world.wait("its count", || (restarts() == [1, 1]).then_some(()));
    world.wait_described("p", "Container strict resize requires restart");

    // Memory in use is not taken away.
    world.commit(&[("pod.yaml", &pod("250m", "8Ki").replace("memory: 64Mi", "memory: 80Mi"))]);
    world.wait_described("p", "cannot decrease memory limits: attempting to set container");
    assert_eq!((limits(&world, "c").0, pid_of(&world, "c").unwrap()), (mib(96), c));
}

#[test]
fn e2e_a_pod_that_asks_has_a_container_restarted_for_new_data() {
    let Some(mut world) = World::new() else { return };
    let map = |word: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{word: {word}}}\n");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {podwright.dev/restart-on-data-change: \"true\"}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n    envFrom: [{configMapRef: {name: m}}]\n  - name: other\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n";
    world.commit(&[("map.yaml", &map("one")), ("pod.yaml", pod)]);
    world.start();
    world.wait_row("p", "2/2", "Running");
    let [c, other] = ["c", "other"].map(|name| pid_of(&world, name).unwrap());
    assert!(world.exec("p", "c", &["env"]).contains("word=one\n"));
    world.commit(&[("map.yaml", &map("two"))]);
    world.wait("the restart", || (pid_of(&world, "c").is_some_and(|now| now != c)).then_some(()));
    assert_eq!(pid_of(&world, "other").unwrap(), other);
    assert!(world.exec("p", "c", &["env"]).contains("word=two\n"));
    world.wait_described("p", "Container c takes data that changed, will be restarted");
}

fn pid_of(world: &World, name: &str) -> Option<i64> {
    let now = world.identities();
    now.iter().find(|(key, _)| key.contains(&format!("/{name}/"))).map(|(_, (pid, _))| *pid)
}

/// What the cgroup of a container says: bytes of memory, quota and shares (or weight) of cpu.
fn limits(world: &World, name: &str) -> (String, String, String) {
    let pid = pid_of(world, name).unwrap_or_else(|| panic!("{name} does not run"));
    let read = |controller: &str, old: &str, new: &str| {
        let (directory, is_old) = cgroup_of(pid, controller);
        let path = directory.join(if is_old { old } else { new });
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    };
    let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max").trim_end_matches(" 100000").to_owned();
    (read("memory", "memory.limit_in_bytes", "memory.max"), quota, read("cpu", "cpu.shares", "cpu.weight"))
}

#[test]
fn e2e_the_last_words_of_a_container_are_kept() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let script = |path: &str, code: u32| {
        format!("    command: [sh, -c, \"echo from the log; echo from the file > {path}; exit {code}\"]\n")
    };
    let silent =
        "    command: [sh, -c, \"echo from the log; exit 3\"]\n    terminationMessagePolicy: FallbackToLogsOnError\n";
    let never = "  restartPolicy: Never\n";
    world.commit(&[
        ("usual.yaml", &pod("usual", never, &script("/dev/termination-log", 1))),
        (
            "own.yaml",
            &pod("own", never, &format!("{}    terminationMessagePath: /tmp/words\n", script("/tmp/words", 0))),
        ),
        ("silent.yaml", &pod("silent", never, silent)),
    ]);
    world.start();
    world.wait_row("usual", "0/1", "Error");
    world.wait_row("own", "0/1", "Completed");
    world.wait_row("silent", "0/1", "Error");
    let words = |name: &str| {
        let pod = world.pod(name).unwrap();
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(words("usual"), "from the file\n");
    assert_eq!(words("own"), "from the file\n");
    assert_eq!(words("silent"), "from the log\n");
}

#[test]
fn e2e_a_pod_past_its_deadline_fails() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pod.yaml", &pod("late", "  activeDeadlineSeconds: 2\n", SLEEP))]);
    world.start();
    world.wait_phase("late", "Failed");
    world.wait("its end", || world.identities().is_empty().then_some(()));
    world.wait("its cause", || (world.pod("late")?["status"]["reason"] == "DeadlineExceeded").then_some(()));
}

#[test]
fn e2e_a_sidecar_runs_beside_the_others() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let shared = world.scratch().join("v");
    std::fs::create_dir(&shared).unwrap();
    let inits = format!(
        "  restartPolicy: Never\n  volumes: [{{name: v, hostPath: {{path: {}}}}}]\n  initContainers:\n  - {{name: side, image: busybox, restartPolicy: Always, command: [sh, -c, \"echo up > /v/side; sleep 100000\"], volumeMounts: [{{name: v, mountPath: /v}}]}}\n  - {{name: after, image: busybox, command: [sh, -c, \"until test -s /v/side; do sleep 0.1; done; cat /v/side\"], volumeMounts: [{{name: v, mountPath: /v}}]}}\n",
        shared.display()
    );
    let main = "    command: [sh, -c, \"cat /v/side; until test -e /v/go; do sleep 0.1; done\"]\n    volumeMounts: [{name: v, mountPath: /v}]\n";
    world.commit(&[("pod.yaml", &pod("p", &inits, main))]);
    world.start();
    world.wait_row("p", "2/2", "Running");
    assert_eq!(world.ok(&["logs", "p", "-c", "after"]), "up\n");
    // Not by a command in the container, which would end with it.
    std::fs::write(shared.join("go"), "").unwrap();
    // The sidecar ends with the last container and keeps nobody waiting.
    world.wait_phase("p", "Succeeded");
    world.wait("the sidecar to end", || world.identities().is_empty().then_some(()));
}

#[test]
fn e2e_the_pull_policy_decides_what_an_absent_image_means() {
    let Some(mut world) = World::new() else { return };
    let with = |name: &str, policy: &str| {
        pod(name, "", &format!("    imagePullPolicy: {policy}\n")).replace("image: busybox", "image: absent:1")
    };
    world.commit(&[("never.yaml", &with("never", "Never")), ("maybe.yaml", &with("maybe", "IfNotPresent"))]);
    world.start();
    world.wait_row("never", "0/1", "ErrImageNeverPull");
    world.wait("the other one", || {
        let (_, status, _) = world.row("maybe")?;
        ["ErrImagePull", "ImagePullBackOff"].contains(&status.as_str()).then_some(())
    });
}

#[test]
fn e2e_hooks_of_each_kind_are_run_around_a_container() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.load("nginx");
    let out = world.scratch().join("out");
    std::fs::create_dir(&out).unwrap();
    let spec = format!(
        "  terminationGracePeriodSeconds: 20\n  os: {{name: linux}}\n  volumes: [{{name: out, hostPath: {{path: {}}}}}]\n  \
         initContainers:\n  - {{name: web, image: nginx, restartPolicy: Always, volumeMounts: [{{name: out, mountPath: /var/log/nginx}}]}}\n",
        out.display()
    );
    let script = "trap 'echo usr1 >> /out/told; exit 0' USR1; echo up >> /out/told; while :; do sleep 1; done";
    let container = format!(
        "    command: [sh, -c, \"{script}\"]\n    volumeMounts: [{{name: out, mountPath: /out}}]\n    lifecycle:\n      \
         postStart: {{sleep: {{seconds: 4}}}}\n      preStop: {{httpGet: {{port: 80, path: /bye}}}}\n      stopSignal: SIGUSR1\n"
    );
    let manifest = pod("hooks", &spec, &container).replacen("  terminationGracePeriodSeconds: 0\n", "", 1);
    let other = ("other.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: other\n");
    world.commit(&[("pod.yaml", &manifest), other]);
    world.start();
    // It runs, and counts as running when its hook is done.
    world.wait_row("hooks", "1/2", "PodInitializing");
    let told = || std::fs::read_to_string(out.join("told")).unwrap_or_default();
    world.wait("the container's own program", || (told() == "up\n").then_some(()));
    world.wait_row("hooks", "2/2", "Running");
    run(world.git().args(["rm", "-q", "pod.yaml"]));
    world.commit(&[other]);
    world.wait_gone("hooks");
    assert_eq!(told(), "up\nusr1\n", "the signal of the container");
    let asked = std::fs::read_to_string(out.join("access.log")).unwrap();
    assert!(asked.contains("\"GET /bye HTTP/1.1\"") && asked.contains("kube-lifecycle/1.36"), "{asked}");
}

#[test]
fn e2e_rules_restart_one_container_or_all_of_a_pod() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let shared = world.scratch().join("v");
    std::fs::create_dir(&shared).unwrap();
    let mounts = "volumeMounts: [{name: v, mountPath: /v}]";
    let rules = |action: &str, code: u32| {
        format!(
            "    restartPolicy: Never\n    restartPolicyRules: [{{action: {action}, exitCodes: {{operator: In, values: [{code}]}}}}]\n"
        )
    };
    let never = format!(
        "  restartPolicy: Never\n  volumes: [{{name: v, hostPath: {{path: {}}}}}]\n  initContainers:\n  - {{name: first, image: busybox, {mounts}, command: [sh, -c, \"echo first >> /v/NAME\"]}}\n",
        shared.display()
    );
    // It ends with a code of its rule, the first time alone, and not before the other one has begun.
    let main = |name: &str, code: u32| {
        format!(
            "    command: [sh, -c, \"echo main >> /v/{name}; test $(grep -c main /v/{name}) = 1 || exec sleep 100000; until grep -q other /v/{name}; do sleep 0.1; done; exit {code}\"]\n    {mounts}\n"
        )
    };
    // Neither its hook nor its grace period is waited for.
    let other = |name: &str| {
        format!(
            "  - name: other\n    image: busybox\n    {mounts}\n    lifecycle: {{preStop: {{exec: {{command: [touch, /v/hook]}}}}}}\n    command: [sh, -c, \"trap '' TERM; echo other >> /v/{name}; while :; do sleep 1; done\"]\n"
        )
    };
    let manifest = |name: &str, action: &str| {
        let container = format!("{}{}{}", main(name, 88), rules(action, 88), other(name));
        let pod = pod(name, &never.replace("NAME", name), &container);
        pod.replacen("terminationGracePeriodSeconds: 0", "terminationGracePeriodSeconds: 600", 1)
    };
    world.commit(&[("one.yaml", &manifest("one", "Restart")), ("all.yaml", &manifest("all", "RestartAllContainers"))]);
    world.start();
    let restarted = |name: &str, count: &str, expected: &str| {
        world.wait(&format!("{name} to restart"), || {
            let (ready, status, restarts) = world.row(name)?;
            (ready == "2/2" && status == "Running" && restarts.starts_with(count)).then_some(())
        });
        world.wait(&format!("{name} to have run {expected}"), || {
            let told = std::fs::read_to_string(shared.join(name)).unwrap();
            let mut lines: Vec<&str> = told.lines().collect();
            // Containers after the first are started side by side.
            lines.chunks_mut(3).for_each(<[_]>::sort_unstable);
            (lines.join(" ") == expected).then_some(())
        });
    };
    restarted("one", "1", "first main other main");
    restarted("all", "2", "first main other first main other");
    assert!(!shared.join("hook").exists(), "no preStop hook is run");
    let pod = world.pod("all").unwrap();
    let last = |index: usize| pod["status"]["containerStatuses"][index]["lastState"]["terminated"].clone();
    assert_eq!((&last(0)["exitCode"], &last(0)["reason"]), (&88.into(), &"Error".into()), "who asked for it");
    assert_eq!((&last(1)["exitCode"], &last(1)["reason"]), (&137.into(), &"RestartingAllContainers".into()));
    assert_eq!(pod["status"]["initContainerStatuses"][0]["restartCount"], 1);
    let condition =
        pod["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "AllContainersRestarting");
    assert_eq!(condition.unwrap()["status"], "False", "it is over");
    // Who takes them down need not wait for their grace period either.
    world.kill();
    world.ok(&["down", "--grace-period", "1"]);
    assert!(world.identities().is_empty());
}
