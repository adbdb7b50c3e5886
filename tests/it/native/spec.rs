//! The OCI runtime spec of a container, whole, for pods of different kinds.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Capabilities, Pod};
use podwright::backend::native::spec::{
    Bind, CapabilityError, CgroupView, HostDevice, Input, OwnFiles, SpecError, build, capabilities, command_line,
};
use podwright::backend::native::user::Identity;
use podwright::image::ImageConfig;
use podwright::model::{ContainerKind, ContainerStart, EnvValue, ImageSource, Masked, MountMode, Propagation};
use serde_json::{Value, json};

/// Everything but SYS_RESOURCE, as on a machine that keeps it back.
const BOUNDING: u64 = ((1 << 41) - 1) & !(1 << 24);

fn words(list: &[&str]) -> Vec<Masked<String>> {
    list.iter().map(|w| Masked::new((*w).to_owned())).collect()
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["serve".into()],
        env: vec![("PATH".into(), "/bin".into()), ("MODE".into(), "image".into())],
        working_dir: "/srv".into(),
        ..ImageConfig::default()
    }
}

fn plan() -> ContainerStart {
    ContainerStart {
        name: "app".into(),
        kind: ContainerKind::App,
        attempt: 0,
        backoff: SignedDuration::ZERO,
        command: None,
        args: None,
        env: vec![EnvValue { name: "MODE".into(), value: Masked::new("pod".into()) }],
        late: Vec::new(),
        mounts: Vec::new(),
        data: None,
        image_source: ImageSource::Present,
    }
}

/// Builds the spec of the only container of a pod of this spec.
fn spec_with(pod: Value, binds: &[Bind]) -> Result<Value, SpecError> {
    spec_on(&CgroupView::Unified, pod, binds)
}

fn spec_on(cgroups: &CgroupView, pod: Value, binds: &[Bind]) -> Result<Value, SpecError> {
    spec_of(pod, (cgroups, binds), (&plan(), &image()))
}

fn spec_of(
    pod: Value,
    (cgroups, binds): (&CgroupView, &[Bind]),
    (start, image): (&ContainerStart, &ImageConfig),
) -> Result<Value, SpecError> {
    let pod: Pod = serde_json::from_value(json!({ "spec": pod })).unwrap();
    let pod = pod.spec.unwrap();
    let devices = [HostDevice { path: "/dev/sda".into(), kind: 'b', major: 8, minor: 0, mode: 0o660, uid: 0, gid: 6 }];
    let built = build(&Input {
        pod: &pod,
        container: &pod.containers[0],
        start,
        image,
        identity: &Identity { uid: 101, gid: 102, groups: vec![33, 102], home: Some("/home/app".into()) },
        hostname: "web",
        infra_pid: 4711,
        first_id: (pod.host_users == Some(false)).then_some(1 << 20),
        binds,
        files: OwnFiles {
            etc: Path::new("/s/etc"),
            termination_log: Path::new("/s/termination-log"),
            shm: Path::new("/r/shm"),
        },
        cgroups,
        bounding: BOUNDING,
        local_seccomp: Some("{}"),
        memory: 8 << 30,
        devices: &devices,
    });
    // What is built is what the shim can read.
    if let Ok(json) = &built {
        serde_json::from_value::<podwright::shim::oci::Spec>(json.clone()).unwrap();
    }
    built
}

fn spec(pod: Value) -> Value {
    spec_with(pod, &[]).unwrap()
}

fn default_capabilities() -> Value {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ];
    names.iter().map(|n| format!("CAP_{n}")).collect()
}

fn bind(source: &str, destination: &str, access: &str) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", access] })
}

#[test]
fn a_plain_container() {
    let set = default_capabilities();
    let expected = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": 101, "gid": 102, "additionalGids": [33, 102] },
            "args": ["/entry", "serve"],
            "env": ["PATH=/bin", "HOSTNAME=web", "MODE=pod", "HOME=/home/app"],
            "cwd": "/srv",
            "oomScoreAdj": 1000,
            "capabilities": { "bounding": set, "effective": set, "permitted": set, "inheritable": [], "ambient": [] }
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
            },
            {
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
            },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            bind("/s/etc/hosts", "/etc/hosts", "rw"),
            bind("/s/etc/hostname", "/etc/hostname", "rw"),
            bind("/s/etc/resolv.conf", "/etc/resolv.conf", "rw"),
            bind("/r/shm", "/dev/shm", "rw"),
            bind("/s/termination-log", "/dev/termination-log", "rw"),
            {
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
            }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }], "cpu": { "shares": 2 } },
            "namespaces": [
                { "type": "pid" },
                { "type": "network", "path": "/proc/4711/ns/net" },
                { "type": "uts", "path": "/proc/4711/ns/uts" },
                { "type": "ipc", "path": "/proc/4711/ns/ipc" },
                { "type": "mount" },
                { "type": "cgroup" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        },
        "annotations": { "podwright.dev/seccomp": "RuntimeDefault" }
    });
    assert_eq!(spec(json!({ "containers": [{ "name": "app" }] })), expected);
}

#[test]
fn a_privileged_container() {
    let plain = spec(json!({ "containers": [{ "name": "app" }] }));
    let built = spec(json!({ "containers": [{
        "name": "app",
        "securityContext": { "privileged": true, "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } }
    }] }));
    let bounding = built["process"]["capabilities"]["bounding"].as_array().unwrap();
    assert_eq!(bounding.len(), 40, "all there are but the one the machine keeps back");
    assert!(!bounding.contains(&json!("CAP_SYS_RESOURCE")));
    assert_eq!(built["process"].get("noNewPrivileges"), None);
    let mut expected = plain;
    let everything = built["process"]["capabilities"].clone();
    expected["process"]["capabilities"] = everything;
    for place in ["/sys", "/sys/fs/cgroup"] {
        let mounts = expected["mounts"].as_array_mut().unwrap();
        let mount = mounts.iter_mut().find(|m| m["destination"] == place).unwrap();
        *mount["options"].as_array_mut().unwrap().last_mut().unwrap() = json!("rw");
    }
    // Made anew without a cgroup namespace it would give the machine's own mount its options.
    let cgroups = expected["mounts"].as_array_mut().unwrap().iter_mut().find(|m| m["type"] == "cgroup").unwrap();
    cgroups["type"] = json!("bind");
    cgroups["source"] = json!("/sys/fs/cgroup");
    cgroups["options"] = json!(["rbind", "rprivate", "nosuid", "noexec", "nodev", "relatime", "rw"]);
    let namespaces = expected["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|n| n["type"] != "cgroup");
    expected["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    expected["linux"]["devices"] = json!([{
        "path": "/dev/sda", "type": "b", "major": 8, "minor": 0, "fileMode": 0o660, "uid": 0, "gid": 6
    }]);
    expected["annotations"] = json!({ "podwright.dev/seccomp": "Unconfined" });
    let linux = expected["linux"].as_object_mut().unwrap();
    linux.remove("maskedPaths");
    linux.remove("readonlyPaths");
    assert_eq!(built, expected);
}

#[test]
fn nothing_is_masked_for_a_container_that_asks_for_it_in_a_pod_with_users_of_its_own() {
    for (own, kind, masked) in [
        (true, "Unmasked", false),
        (true, "Default", true),
        // One that is refused elsewhere stays masked.
        (false, "Unmasked", true),
    ] {
        let container = json!({ "name": "app", "securityContext": { "procMount": kind } });
        let built = spec(json!({ "hostUsers": !own, "containers": [container] }));
        let linux = built["linux"].as_object().unwrap();
        let found = ["maskedPaths", "readonlyPaths"].map(|list| linux.contains_key(list));
        assert_eq!(found, [masked; 2], "{own} {kind}");
    }
}

#[test]
fn a_seccomp_profile_is_the_containers_own_then_the_pods_then_the_default() {
    let profile = |pod: Value, own: Value| {
        let container = json!({ "name": "app", "securityContext": own });
        spec_with(json!({ "securityContext": pod, "containers": [container] }), &[])
            .map(|built| built["annotations"]["podwright.dev/seccomp"].as_str().unwrap().to_owned())
    };
    let of = |kind: &str| json!({ "seccompProfile": { "type": kind } });
    let privileged = json!({ "privileged": true, "seccompProfile": { "type": "RuntimeDefault" } });
    for (pod, own, expected) in [
        (json!({}), json!({}), "RuntimeDefault"),
        (of("Unconfined"), json!({}), "Unconfined"),
        (of("Unconfined"), of("RuntimeDefault"), "RuntimeDefault"),
        (of("RuntimeDefault"), of("Unconfined"), "Unconfined"),
        (of("RuntimeDefault"), privileged, "Unconfined"),
        (json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": "p.json" } }), json!({}), "{}"),
    ] {
        assert_eq!(profile(pod.clone(), own.clone()).as_deref(), Ok(expected), "{pod} {own}");
    }
    for kind in ["Localhost", "runtime/default"] {
        let error = profile(json!({}), of(kind)).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no seccomp profile {kind:?}"));
    }
}

#[test]
fn namespaces_of_the_machine_and_shared_ones() {
    let namespaces = |extra: Value| {
        let mut pod = json!({ "containers": [{ "name": "app" }] });
        pod.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let built = spec(pod);
        let list = built["linux"]["namespaces"].as_array().unwrap().clone();
        let text = |n: &Value| match n["path"].as_str() {
            Some(path) => format!("{}={path}", n["type"].as_str().unwrap()),
            None => n["type"].as_str().unwrap().to_owned(),
        };
        list.iter().map(text).collect::<Vec<String>>().join(" ")
    };
    let net = "network=/proc/4711/ns/net uts=/proc/4711/ns/uts";
    let ipc = "ipc=/proc/4711/ns/ipc";
    let rows = [
        (json!({}), format!("pid {net} {ipc} mount cgroup")),
        (json!({ "hostNetwork": true }), format!("pid {ipc} mount cgroup")),
        (json!({ "hostPID": true }), format!("{net} {ipc} mount cgroup")),
        (json!({ "hostIPC": true }), format!("pid {net} mount cgroup")),
        (json!({ "hostNetwork": true, "hostPID": true, "hostIPC": true }), "mount cgroup".to_owned()),
        (json!({ "hostUsers": true }), format!("pid {net} {ipc} mount cgroup")),
        (json!({ "hostUsers": false }), format!("pid {net} {ipc} mount user=/proc/4711/ns/user cgroup")),
        (json!({ "shareProcessNamespace": true }), format!("pid=/proc/4711/ns/pid {net} {ipc} mount cgroup")),
    ];
    for (extra, expected) in rows {
        assert_eq!(namespaces(extra.clone()), expected, "{extra}");
    }
}

#[test]
fn command_and_args_follow_kubernetes_rules() {
    let rows: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &["/entry", "serve"]),
        (&["/bin/x"], &[], &["/bin/x"]),
        (&[], &["a", "b"], &["/entry", "a", "b"]),
        (&["/bin/x"], &["a"], &["/bin/x", "a"]),
    ];
    for (command, args, expected) in rows {
        let given = |list: &[&str]| (!list.is_empty()).then(|| words(list));
        let line = command_line(given(command).as_deref(), given(args).as_deref(), &image()).unwrap();
        assert_eq!(line, expected);
        // An empty list is none.
        assert_eq!(command_line(Some(&words(command)), Some(&words(args)), &image()).unwrap(), expected);
    }
    let bare = ImageConfig::default();
    assert_eq!(command_line(None, None, &bare), Err(SpecError::NoCommand));
    assert_eq!(command_line(None, Some(&words(&["a"])), &bare).unwrap(), ["a"]);
    let cmd_only = ImageConfig { cmd: vec!["sh".into()], ..ImageConfig::default() };
    assert_eq!(command_line(None, None, &cmd_only).unwrap(), ["sh"]);
    assert_eq!(command_line(None, Some(&words(&["a"])), &cmd_only).unwrap(), ["a"]);
}

#[test]
fn capabilities_are_added_and_dropped_as_containerd_does() {
    const CHOWN: u64 = 1;
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_TIME: u64 = 1 << 25;
    let default = capabilities(None, BOUNDING).unwrap();
    let set = |add: &[&str], drop: &[&str]| {
        let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        capabilities(Some(&Capabilities { add: list(add), drop: list(drop) }), BOUNDING)
    };
    let rows: [(&[&str], &[&str], u64); 9] = [
        (&[], &[], default),
        (&["NET_ADMIN"], &[], default | NET_ADMIN),
        (&["CAP_SYS_TIME", "net_admin"], &[], default | SYS_TIME | NET_ADMIN),
        (&[], &["CHOWN"], default & !CHOWN),
        (&[], &["ALL"], 0),
        (&["NET_ADMIN"], &["all"], NET_ADMIN),
        (&["ALL"], &[], BOUNDING),
        (&["ALL"], &["CHOWN", "NO_SUCH"], BOUNDING & !CHOWN),
        (&["ALL"], &["ALL"], 0),
    ];
    for (add, drop, expected) in rows {
        assert_eq!(set(add, drop), Ok(expected), "{add:?} {drop:?}");
    }
    assert_eq!(set(&["FLY"], &[]), Err(CapabilityError::Unknown("FLY".into())));
    assert_eq!(set(&["SYS_RESOURCE"], &[]), Err(CapabilityError::Withheld("SYS_RESOURCE".into())));
    assert_eq!(capabilities(None, CHOWN), Ok(CHOWN), "never more than this process may hand out");
}

#[test]
fn a_program_named_by_a_variable_is_shown_as_the_pod_names_it() {
    let bare = ImageConfig { entrypoint: vec![], ..image() };
    let given = |command: &str| words(&[command]);
    let rows = [
        (json!({ "command": ["$(P)", "x"] }), (Some(given("hunter2")), None), image(), json!("$(P)")),
        (json!({ "command": ["sh", "$(P)"] }), (Some(given("sh")), None), image(), Value::Null),
        (json!({ "args": ["$(P)"] }), (None, Some(given("hunter2"))), bare, json!("$(P)")),
        (json!({ "args": ["$(P)"] }), (None, Some(given("hunter2"))), image(), Value::Null),
    ];
    for (mut container, (command, args), image, expected) in rows {
        container["name"] = "app".into();
        let (pod, start) = (json!({ "containers": [container] }), ContainerStart { command, args, ..plan() });
        let built = spec_of(pod.clone(), (&CgroupView::Unified, &[]), (&start, &image)).unwrap();
        assert_eq!(built["process"]["shown"], expected, "{pod}");
    }
}

#[test]
fn fields_that_change_the_process() {
    let built = spec(json!({ "containers": [{
        "name": "app", "tty": true, "workingDir": "/work",
        "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true },
        "resources": { "limits": { "cpu": "500m", "memory": "64Mi" }, "requests": { "cpu": "100m" } }
    }] }));
    assert_eq!(built["process"]["terminal"], true);
    assert_eq!(built["process"]["cwd"], "/work");
    assert_eq!(built["process"]["noNewPrivileges"], true);
    assert_eq!(
        built["process"]["env"],
        json!(["PATH=/bin", "HOSTNAME=web", "TERM=xterm", "MODE=pod", "HOME=/home/app"])
    );
    assert_eq!(built["root"]["readonly"], true);
    assert_eq!(built["linux"]["resources"]["cpu"], json!({ "shares": 102, "quota": 50_000, "period": 100_000 }));
    assert_eq!(built["linux"]["resources"]["memory"], json!({ "limit": 67_108_864 }));
    let hosts = built["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/etc/hosts").unwrap().clone();
    assert_eq!(hosts, bind("/s/etc/hosts", "/etc/hosts", "rw"), "the kubelet's can be written to");
    // Left out and not false: a seccomp filter would not load.
    let allowed = json!({ "name": "app", "securityContext": { "allowPrivilegeEscalation": true } });
    assert_eq!(spec(json!({ "containers": [allowed] }))["process"].get("noNewPrivileges"), None);
    let odd = json!({ "name": "app", "resources": { "limits": { "memory": "lots" } } });
    let error = spec_with(json!({ "containers": [odd] }), &[]).unwrap_err();
    assert_eq!(error.to_string(), "resources.limits.memory: \"lots\" is no quantity");
}

#[test]
fn what_the_pod_mounts_replaces_a_default_and_parents_come_first() {
    let volume = |source: &str, destination: &str, read_only| Bind {
        source: source.into(),
        destination: destination.into(),
        mode: MountMode { read_only, ..MountMode::default() },
    };
    let binds = [
        volume("/v/deep", "/data/a/b", true),
        volume("/v/hosts", "/etc/hosts/", false),
        volume("/v/shm", "/dev//shm", false),
        volume("/v/data", "/data/./", false),
    ];
    let pod = json!({ "containers": [{ "name": "app", "terminationMessagePath": "/tmp/why" }] });
    let built = spec_with(pod, &binds).unwrap();
    let mounts = built["mounts"].as_array().unwrap();
    let at = |place: &str| {
        let found: Vec<usize> = (0..mounts.len()).filter(|at| mounts[*at]["destination"] == place).collect();
        assert_eq!(found.len(), 1, "{place}");
        found[0]
    };
    assert_eq!(mounts[at("/etc/hosts")], bind("/v/hosts", "/etc/hosts", "rw"));
    assert_eq!(mounts[at("/dev/shm")], bind("/v/shm", "/dev/shm", "rw"));
    assert_eq!(mounts[at("/data/a/b")], bind("/v/deep", "/data/a/b", "ro"));
    assert_eq!(mounts[at("/tmp/why")], bind("/s/termination-log", "/tmp/why", "rw"));
    assert!(at("/data") < at("/data/a/b"));
    assert!(at("/dev") < at("/dev/shm"));
    assert!(!mounts.iter().any(|m| m["destination"] == "/dev/termination-log"));
}

#[test]
fn each_mode_of_a_mount_has_its_options() {
    for (read_only, recursively, propagation, expected) in [
        (false, false, Propagation::None, ["rprivate", "rw"]),
        (true, false, Propagation::None, ["rprivate", "ro"]),
        (true, true, Propagation::None, ["rprivate", "rro"]),
        (false, false, Propagation::HostToContainer, ["rslave", "rw"]),
        (true, false, Propagation::Bidirectional, ["rshared", "ro"]),
    ] {
        let mode = MountMode { read_only, recursively, propagation };
        let binds = [Bind { source: "/v".into(), destination: "/x".into(), mode }];
        let built = spec_with(json!({ "containers": [{ "name": "app" }] }), &binds).unwrap();
        let mounts = built["mounts"].as_array().unwrap();
        let options = &mounts.iter().find(|mount| mount["destination"] == "/x").unwrap()["options"];
        assert_eq!(*options, json!(["rbind", expected[0], expected[1]]), "{mode:?}");
    }
}

#[test]
fn nothing_of_a_container_is_mounted_where_the_machine_is_told_of_it() {
    let at = |destination: &str, propagation| {
        let mode = MountMode { propagation, ..MountMode::default() };
        Bind { source: "/v".into(), destination: destination.into(), mode }
    };
    let (both, none) = (Propagation::Bidirectional, Propagation::None);
    for (binds, below) in [
        (vec![at("/a", both)], None),
        (vec![at("/a", both), at("/ab", none), at("/b", both)], None),
        (vec![at("/a", Propagation::HostToContainer), at("/a/b", none)], None),
        (vec![at("/a/", both), at("/a/./b", none)], Some("/a/b")),
        (vec![at("/a/b", both), at("/a", none)], None),
        (vec![at("/etc", both)], Some("/etc/hosts")),
        (vec![at("/dev", both)], Some("/dev/shm")),
        (vec![at("/sys", both)], Some("/sys/fs/cgroup")),
        (vec![at("/log", both)], Some("/log/last")),
    ] {
        let pod = json!({ "containers": [{ "name": "app", "terminationMessagePath": "/log/last" }] });
        let place = binds[0].destination.components().collect::<PathBuf>();
        let expected = below.map(|below| SpecError::Told(place, below.into()));
        assert_eq!(spec_with(pod, &binds).err(), expected, "{binds:?}");
    }
}

#[test]
fn a_volume_in_place_of_a_default_is_shown_as_it_is() {
    let volume = |at: &str| Bind { source: at.into(), destination: at.into(), mode: MountMode::default() };
    let destinations = |binds: &[Bind]| {
        let built = spec_with(json!({ "containers": [{ "name": "app" }] }), binds).unwrap();
        let mounts = built["mounts"].as_array().unwrap().clone();
        let below = |m: &Value| ["/dev", "/sys"].iter().any(|p| m["destination"].as_str().unwrap().starts_with(p));
        let mut found: Vec<String> =
            mounts.iter().filter(|m| below(m)).map(|m| format!("{} {}", m["destination"], m["type"])).collect();
        found.sort();
        found.iter().map(|f| f.replace('"', "")).collect::<Vec<_>>()
    };
    // The pod's own files stay.
    let dev = ["/dev bind", "/dev/shm bind", "/dev/termination-log bind", "/sys sysfs", "/sys/fs/cgroup cgroup"];
    assert_eq!(destinations(&[volume("/dev/")]), dev);
    let cgroups = destinations(&[volume("/sys/fs/cgroup")]);
    assert!(cgroups.contains(&"/sys/fs/cgroup bind".to_owned()), "{cgroups:?}");
    assert!(cgroups.contains(&"/dev/pts devpts".to_owned()), "{cgroups:?}");
    let split = CgroupView::Split { stand: "/r/cgroup".into(), dirs: vec![("cpu".to_owned(), "/c/cpu".into())] };
    let with = |binds: &[Bind]| {
        let built = spec_on(&split, json!({ "containers": [{ "name": "app" }] }), binds).unwrap();
        built["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["destination"].as_str().unwrap().starts_with("/sys/fs"))
            .count()
    };
    assert_eq!((with(&[]), with(&[volume("/sys/fs/cgroup")])), (2, 1));
}

#[test]
fn cgroups_of_version_1_are_shown_one_by_one_and_read_only() {
    let view = CgroupView::Split {
        stand: "/r/cgroup".into(),
        dirs: vec![("cpu".into(), "/sys/fs/cgroup/cpu/c".into()), ("memory".into(), "/sys/fs/cgroup/memory/c".into())],
    };
    for (privileged, access) in [(false, "ro"), (true, "rw")] {
        let container = json!({ "name": "app", "securityContext": { "privileged": privileged } });
        let built = spec_on(&view, json!({ "containers": [container] }), &[]).unwrap();
        let seen: Vec<String> = built["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["destination"].as_str().unwrap().starts_with("/sys/fs/cgroup"))
            .map(|m| {
                let access = m["options"].as_array().unwrap().last().unwrap();
                format!(
                    "{} {} {}",
                    m["source"].as_str().unwrap(),
                    m["destination"].as_str().unwrap(),
                    access.as_str().unwrap()
                )
            })
            .collect();
        let expected = [
            "/r/cgroup /sys/fs/cgroup ro".to_owned(),
            format!("/sys/fs/cgroup/cpu/c /sys/fs/cgroup/cpu {access}"),
            format!("/sys/fs/cgroup/memory/c /sys/fs/cgroup/memory {access}"),
        ];
        assert_eq!(seen, expected);
    }
}
