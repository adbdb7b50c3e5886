//! What each lack of a machine means, row by row.

use podwright::model::{MachineFacts, Overlay, Space};
use podwright::report::{Health, doctor_json, doctor_text, examine, health};
use serde_json::Value;

const GIB: u64 = 1 << 30;

fn set<const N: usize>(words: [&str; N]) -> std::collections::BTreeSet<String> {
    words.map(str::to_owned).into()
}

/// A machine on which everything is as it should be.
fn whole() -> MachineFacts {
    MachineFacts {
        kernel: "6.1.0-amd64".into(),
        missing_calls: Vec::new(),
        missing_capabilities: Vec::new(),
        namespaces: Ok(()),
        user_namespaces: Ok(()),
        root: "/var/lib/podwright".into(),
        overlay: Ok(Overlay::OnDisk),
        cgroup_versions: [2].into(),
        controllers: set(["cpu", "memory", "pids", "io"]),
        cgroup: Ok(()),
        seccomp_actions: set(["kill_process", "errno", "log", "allow"]),
        links: Ok(()),
        nft: Some(Ok(())),
        forwarding: Ok(()),
        ipv6: Ok(()),
        now: 1_800_000_000,
        synchronised: Some(true),
        space: Ok(Space { free: 10 * GIB, total: 100 * GIB, free_files: Some(1_000_000), is_read_only: false }),
        swaps: false,
        open_files: 20_000,
        watch: Ok(()),
        boot_id: true,
    }
}

fn no(why: &str) -> Result<(), String> {
    Err(why.to_owned())
}

/// A change of the machine, the check it concerns, and whether it blocks, with words of what was found, costs and helps.
type Row = (fn(&mut MachineFacts), &'static str, Health, [&'static str; 3]);

const ROWS: &[Row] = &[
    (|f| f.missing_calls = vec!["openat2"], "kernel", Health::Blocking, ["lacks openat2", "no pod", "Linux 5.12"]),
    (
        |f| f.missing_calls = vec!["mount_setattr"],
        "kernel",
        Health::Blocking,
        ["lacks mount_setattr", "no pod", "5.12"],
    ),
    (
        |f| f.missing_capabilities = vec!["CHOWN", "SYS_ADMIN"],
        "capabilities",
        Health::Blocking,
        ["without CHOWN, SYS_ADMIN", "no pod", "as root"],
    ),
    (
        |f| f.missing_capabilities = vec!["MKNOD"],
        "capabilities",
        Health::Lacking,
        ["without MKNOD", "container", "root"],
    ),
    (|f| f.namespaces = no("refused"), "namespaces", Health::Blocking, ["refused", "no pod", "root"]),
    (
        |f| f.user_namespaces = no("refused"),
        "user namespaces",
        Health::Lacking,
        ["refused", "hostUsers: false", "max_user_namespaces"],
    ),
    (
        |f| f.overlay = Ok(Overlay::InMemory("refused".into())),
        "overlay",
        Health::Lacking,
        ["refused, but in memory", "takes memory", "--root"],
    ),
    (|f| f.overlay = Err("refused".into()), "overlay", Health::Blocking, ["refused", "root file system", "--root"]),
    (|f| f.cgroup = no("refused"), "cgroups", Health::Blocking, ["refused", "limited", "cgroup2"]),
    (
        |f| f.controllers = set(["cpu", "pids"]),
        "cgroup controllers",
        Health::Lacking,
        ["limits of memory", "does not start", "cgroup_enable=memory"],
    ),
    (
        |f| f.controllers = set(["memory"]),
        "cgroup controllers",
        Health::Lacking,
        ["limits of cpu, podPidsLimit", "does not start", "enable"],
    ),
    (
        |f| f.seccomp_actions = set([]),
        "seccomp",
        Health::Lacking,
        ["no system calls", "Unconfined", "CONFIG_SECCOMP_FILTER"],
    ),
    (|f| f.links = no("refused"), "links", Health::Lacking, ["refused", "hostNetwork", "modprobe"]),
    (|f| f.nft = None, "nftables", Health::Lacking, ["no program nft", "host port", "apt-get install nftables"]),
    (|f| f.nft = Some(no("no NAT")), "nftables", Health::Lacking, ["no NAT", "host port", "nf_tables"]),
    (|f| f.forwarding = no("read-only"), "forwarding", Health::Lacking, ["read-only", "the outside", "ip_forward"]),
    (|f| f.ipv6 = no("no IPv6"), "ipv6", Health::Lacking, ["no IPv6", "IPv4 addresses alone", "disable_ipv6"]),
    (|f| f.now = 1_000_000, "clock", Health::Lacking, ["never set", "certificates", "time service"]),
    (|f| f.synchronised = Some(false), "clock", Health::Lacking, ["nothing keeps", "certificates", "time service"]),
    (|f| f.space = Err("/x: gone".into()), "space", Health::Blocking, ["/x: gone", "no pod", "--root"]),
    (
        |f| f.space.as_mut().unwrap().is_read_only = true,
        "space",
        Health::Blocking,
        ["cannot be written to", "no pod", "for writing"],
    ),
    (
        |f| f.space.as_mut().unwrap().free = (256 << 20) - 1,
        "space",
        Health::Lacking,
        ["255 MiB of 100 GiB", "no image is pulled", "image prune"],
    ),
    (
        |f| f.space = Ok(Space { free: GIB / 50 - 1, total: GIB, free_files: None, is_read_only: false }),
        "space",
        Health::Lacking,
        ["20 MiB of 1 GiB", "no image is pulled", "image prune"],
    ),
    (
        |f| f.space.as_mut().unwrap().free_files = Some(9_999),
        "space",
        Health::Lacking,
        ["for 9999 files", "no image is pulled", "image prune"],
    ),
    (|f| f.swaps = true, "swap", Health::Lacking, ["written to disk", "Secrets", "swapoff"]),
    (|f| f.open_files = 4_095, "open files", Health::Lacking, ["4095", "may not start", "ulimit"]),
    (|f| f.watch = no("too many"), "watches", Health::Lacking, ["too many", "--resync", "max_user_watches"]),
    (|f| f.boot_id = false, "boot id", Health::Lacking, ["boot_id", "each start", "/proc"]),
];

/// The document, which must be what the schema says.
fn checked(facts: &MachineFacts) -> Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/doctor.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let value: Value = serde_json::from_str(&doctor_json(&examine(facts))).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{value:#}");
    value
}

#[test]
fn each_lack_is_told_with_its_cost_and_the_way_out() {
    for (change, check, expected, words) in ROWS {
        let mut facts = whole();
        change(&mut facts);
        let findings = examine(&facts);
        let bad: Vec<_> = findings.iter().filter(|finding| finding.health != Health::Ok).collect();
        let [finding] = bad[..] else { panic!("{check}: {bad:?}") };
        assert_eq!((finding.check, finding.health, health(&findings)), (*check, *expected, *expected));
        for (text, word) in [finding.found.as_str(), finding.cost, finding.way_out].into_iter().zip(words) {
            assert!(text.contains(word), "{check}: {text:?} without {word:?}");
        }
        assert_eq!(checked(&facts)["health"], if *expected == Health::Blocking { "blocking" } else { "lacking" });
        let shown = doctor_text(&findings);
        assert!(shown.contains(finding.cost) && shown.contains(finding.way_out), "{shown}");
    }
    // Every check has a row.
    let named: std::collections::BTreeSet<&str> = ROWS.iter().map(|(_, check, ..)| *check).collect();
    let all = examine(&whole());
    let missing = all.iter().map(|f| f.check).find(|check| !named.contains(check));
    assert_eq!(missing, None);
}

#[test]
fn a_machine_that_lacks_nothing_is_shown_so() {
    let findings = examine(&whole());
    assert_eq!(health(&findings), Health::Ok);
    assert_eq!(checked(&whole())["health"], "ok");
    let shown = doctor_text(&findings);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "CHECK                HEALTH   FOUND");
    assert_eq!(lines[1], "kernel               ok       Linux 6.1.0-amd64");
    assert_eq!(lines[14], "space                ok       10 GiB of 100 GiB free in /var/lib/podwright");
    assert_eq!(lines[lines.len() - 1], "Pods can run here; nothing is lacking.");
    // A clock that nobody asks about is no lack.
    assert_eq!(health(&examine(&MachineFacts { synchronised: None, ..whole() })), Health::Ok);
}

#[test]
fn without_rights_the_way_out_is_to_have_them() {
    let facts = MachineFacts {
        missing_capabilities: vec!["SYS_ADMIN"],
        namespaces: no("refused"),
        overlay: Err("refused".to_owned()),
        nft: None,
        open_files: 1024,
        ..whole()
    };
    let findings = examine(&facts);
    for finding in findings.iter().filter(|finding| finding.health != Health::Ok) {
        assert_eq!(finding.way_out.contains("run it as root"), finding.check != "open files", "{finding:?}");
    }
}
