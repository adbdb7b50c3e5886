//! What a machine lacks for pods, what each lack costs, and the way out: one table, for `podwright doctor`.

use serde::Serialize;
use serde_json::json;

use super::tabs;
use crate::model::{INSTALL_NFT, MachineFacts, Overlay, RUN_AS_ROOT, Space, kept_free};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    /// Pods run, without something.
    Lacking,
    /// No pod can run.
    Blocking,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub check: &'static str,
    pub health: Health,
    pub found: String,
    /// What pods do without; empty when nothing is lacking.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cost: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub way_out: &'static str,
}

/// What a check says: health, what was found, the cost and the way out.
type Verdict = (Health, String, &'static str, &'static str);

/// A check, and whether it fails for want of rights in a process that has few.
struct Check(&'static str, bool, fn(&MachineFacts) -> Verdict);

/// The checks, in the order in which they are shown.
const CHECKS: [Check; 18] = [
    Check("kernel", false, kernel),
    Check("capabilities", true, capabilities),
    Check("namespaces", true, namespaces),
    Check("user namespaces", false, user_namespaces),
    Check("overlay", true, overlay),
    Check("cgroups", true, cgroups),
    Check("cgroup controllers", false, controllers),
    Check("seccomp", false, seccomp),
    Check("links", true, links),
    Check("nftables", true, nftables),
    Check("forwarding", true, forwarding),
    Check("ipv6", false, ipv6),
    Check("clock", false, clock),
    Check("space", false, space),
    Check("swap", false, swap),
    Check("open files", false, open_files),
    Check("watches", false, watches),
    Check("boot id", false, boot_id),
];

/// Without it there are neither namespaces nor mounts.
const ADMIN: &str = "SYS_ADMIN";
/// What a fleet of a hundred pods needs: an agent holds a few descriptors for each container.
const OPEN_FILES: u64 = 4096;
/// A clock before this was never set: 2026-01-01.
const EARLIEST: i64 = 1_767_225_600;
/// Files that a small image needs.
const FREE_FILES: u64 = 10_000;
/// The controllers that pods have limits by, and what each lack costs.
const CONTROLLERS: [(&str, &str); 3] =
    [("cpu", "limits of cpu"), ("memory", "limits of memory"), ("pids", "podPidsLimit")];

fn ok(found: impl Into<String>) -> Verdict {
    (Health::Ok, found.into(), "", "")
}

fn kernel(facts: &MachineFacts) -> Verdict {
    if facts.missing_calls.is_empty() {
        return ok(format!("Linux {}", facts.kernel));
    }
    let found = format!("Linux {} lacks {}", facts.kernel, facts.missing_calls.join(", "));
    (Health::Blocking, found, "no pod can run", "use Linux 5.12 or newer; inside of a container, allow these calls")
}

fn capabilities(facts: &MachineFacts) -> Verdict {
    if facts.missing_capabilities.is_empty() {
        return ok("all that are needed");
    }
    let found = format!("without {}", facts.missing_capabilities.join(", "));
    if facts.missing_capabilities.contains(&ADMIN) {
        return (Health::Blocking, found, "no pod can run", RUN_AS_ROOT);
    }
    (Health::Lacking, found, "a container that needs them does not start, or its image cannot be unpacked", RUN_AS_ROOT)
}

fn namespaces(facts: &MachineFacts) -> Verdict {
    match &facts.namespaces {
        Ok(()) => ok("of mounts, network, IPC, host name and processes"),
        Err(why) => (Health::Blocking, why.clone(), "no pod can run", RUN_AS_ROOT),
    }
}

fn user_namespaces(facts: &MachineFacts) -> Verdict {
    match &facts.user_namespaces {
        Ok(()) => ok("can be made, and files shown with their ids"),
        Err(why) => (
            Health::Lacking,
            why.clone(),
            "a pod with `hostUsers: false` does not start",
            "raise /proc/sys/user/max_user_namespaces, or look at what the distribution restricts them by; files are shown \
             with other ids by ext4, xfs, btrfs and others, and by tmpfs since Linux 6.3",
        ),
    }
}

fn overlay(facts: &MachineFacts) -> Verdict {
    let way_out =
        "name a directory on a local file system such as ext4 or xfs with --root; `modprobe overlay` loads the module";
    match &facts.overlay {
        Ok(Overlay::OnDisk) => ok(format!("in {}", facts.root)),
        Ok(Overlay::InMemory(why)) => (
            Health::Lacking,
            format!("{why}, but in memory"),
            "what containers write takes memory, and an image whose layers hide files of lower ones is not unpacked",
            way_out,
        ),
        Err(why) => (Health::Blocking, why.clone(), "no container gets its root file system", way_out),
    }
}

fn cgroups(facts: &MachineFacts) -> Verdict {
    let versions: Vec<String> = facts.cgroup_versions.iter().map(|version| format!("version {version}")).collect();
    match &facts.cgroup {
        Ok(()) => ok(versions.join(" and ")),
        Err(why) => (
            Health::Blocking,
            why.clone(),
            "containers cannot be told apart, limited or ended as a whole",
            "mount cgroups for writing: `mount -t cgroup2 none /sys/fs/cgroup`, as systemd does it",
        ),
    }
}

fn controllers(facts: &MachineFacts) -> Verdict {
    let missing: Vec<&str> =
        CONTROLLERS.iter().filter(|(name, _)| !facts.controllers.contains(*name)).map(|(_, what)| *what).collect();
    if missing.is_empty() {
        return ok(CONTROLLERS.map(|(name, _)| name).join(", "));
    }
    let found = format!("none for {}", missing.join(", "));
    let way_out = "enable the controllers: on some boards with cgroup_enable=memory on the kernel's command line";
    (Health::Lacking, found, "a container that asks for these does not start", way_out)
}

fn seccomp(facts: &MachineFacts) -> Verdict {
    if ["allow", "errno", "kill_process"].iter().all(|action| facts.seccomp_actions.contains(*action)) {
        return ok("filters system calls");
    }
    (
        Health::Lacking,
        "the kernel filters no system calls".to_owned(),
        "a container starts only with the seccompProfile Unconfined, or privileged",
        "use a kernel with CONFIG_SECCOMP_FILTER, 4.14 or newer",
    )
}

fn links(facts: &MachineFacts) -> Verdict {
    match &facts.links {
        Ok(()) => ok("bridges and veth pairs can be made"),
        Err(why) => (
            Health::Lacking,
            why.clone(),
            "only pods with hostNetwork run",
            "`modprobe bridge veth` loads the modules; a container needs CAP_NET_ADMIN",
        ),
    }
}

fn nftables(facts: &MachineFacts) -> Verdict {
    let cost = "pods do not reach the outside, and a pod with a host port is refused";
    match &facts.nft {
        Some(Ok(())) => ok("tables can be made"),
        Some(Err(why)) => (Health::Lacking, why.clone(), cost, "use a kernel with nf_tables and its NAT"),
        None => (Health::Lacking, "there is no program nft".to_owned(), cost, INSTALL_NFT),
    }
}

fn forwarding(facts: &MachineFacts) -> Verdict {
    match &facts.forwarding {
        Ok(()) => ok("can be turned on"),
        Err(why) => (
            Health::Lacking,
            why.clone(),
            "pods do not reach the outside, and nothing outside reaches their host ports",
            "set net.ipv4.ip_forward to 1 on the machine",
        ),
    }
}

fn ipv6(facts: &MachineFacts) -> Verdict {
    match &facts.ipv6 {
        Ok(()) => ok("pods have addresses of both families, unless `ipv6Subnet` is none"),
        Err(why) => (
            Health::Lacking,
            why.clone(),
            "pods have IPv4 addresses alone, and one with a host port at an address of IPv6 is refused",
            "use a kernel with IPv6, and set net.ipv6.conf.all.disable_ipv6 to 0",
        ),
    }
}

fn clock(facts: &MachineFacts) -> Verdict {
    let cost = "certificates of registries may count as not valid, and times in events and status are wrong";
    let way_out = "run a time service such as systemd-timesyncd or chrony";
    match facts.synchronised {
        _ if facts.now < EARLIEST => (Health::Lacking, "it was never set".to_owned(), cost, way_out),
        Some(false) => (Health::Lacking, "nothing keeps it right".to_owned(), cost, way_out),
        Some(true) => ok("kept right"),
        None => ok("set"),
    }
}

fn space(facts: &MachineFacts) -> Verdict {
    let Space { free, total, free_files, is_read_only } = match &facts.space {
        Ok(space) => *space,
        Err(why) => return (Health::Blocking, why.clone(), "no pod can run", "name another directory with --root"),
    };
    let found = format!("{} of {} free in {}", bytes(free), bytes(total), facts.root);
    if is_read_only {
        let way_out = "mount its file system for writing, or name another directory with --root";
        return (Health::Blocking, format!("{} cannot be written to", facts.root), "no pod can run", way_out);
    }
    let no_files = free_files.filter(|files| *files < FREE_FILES);
    if free < kept_free(total) || no_files.is_some() {
        let found = no_files.map_or(found.clone(), |files| format!("{found}, for {files} files"));
        let way_out = "make room: `podwright image prune` removes images that no pod uses";
        return (Health::Lacking, found, "no image is pulled or loaded, and containers may fail to write", way_out);
    }
    ok(found)
}

fn swap(facts: &MachineFacts) -> Verdict {
    if !facts.swaps {
        return ok("none");
    }
    let way_out = "turn it off with swapoff, or encrypt it";
    (Health::Lacking, "memory may be written to disk".to_owned(), "so may values of Secrets", way_out)
}

fn open_files(facts: &MachineFacts) -> Verdict {
    let found = format!("at most {}", facts.open_files);
    if facts.open_files >= OPEN_FILES {
        return ok(found);
    }
    let way_out = "raise it with `ulimit -n`, or LimitNOFILE= of the service";
    (Health::Lacking, found, "many pods at one time may not start", way_out)
}

fn watches(facts: &MachineFacts) -> Verdict {
    match &facts.watch {
        Ok(()) => ok("directories can be watched"),
        Err(why) => (
            Health::Lacking,
            why.clone(),
            "commits are found once in each --resync interval only",
            "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches",
        ),
    }
}

fn boot_id(facts: &MachineFacts) -> Verdict {
    if facts.boot_id {
        return ok("tells one boot from another");
    }
    (
        Health::Lacking,
        "there is no /proc/sys/kernel/random/boot_id".to_owned(),
        "images are looked through again at each start of the agent",
        "mount /proc as a whole",
    )
}

/// A number of bytes in a unit that people read.
fn bytes(count: u64) -> String {
    let (unit, name) =
        [(30, "GiB"), (20, "MiB"), (10, "KiB")].into_iter().find(|(shift, _)| count >> shift > 0).unwrap_or((0, "B"));
    format!("{} {name}", count >> unit)
}

/// What each check finds.
pub fn examine(facts: &MachineFacts) -> Vec<Finding> {
    let is_confined = facts.missing_capabilities.contains(&ADMIN);
    let finding = |Check(check, needs_rights, look): &Check| {
        let (health, found, cost, way_out) = look(facts);
        let way_out = if health > Health::Ok && *needs_rights && is_confined { RUN_AS_ROOT } else { way_out };
        Finding { check, health, found, cost, way_out }
    };
    CHECKS.iter().map(finding).collect()
}

/// The worst of all.
pub fn health(findings: &[Finding]) -> Health {
    findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Ok)
}

/// What `doctor` prints.
pub fn doctor_text(findings: &[Finding]) -> String {
    let word = |health| match health {
        Health::Ok => "ok",
        Health::Lacking => "lacking",
        Health::Blocking => "blocking",
    };
    let row =
        |finding: &Finding| vec![finding.check.to_owned(), word(finding.health).to_owned(), finding.found.clone()];
    let header = ["CHECK", "HEALTH", "FOUND"].map(str::to_owned).to_vec();
    let mut out = tabs::table(&std::iter::once(header).chain(findings.iter().map(row)).collect::<Vec<_>>());
    for finding in findings.iter().filter(|finding| finding.health != Health::Ok) {
        let Finding { check, cost, way_out, .. } = finding;
        out.push_str(&format!("\n{check}: {cost}\n  the way out: {way_out}\n"));
    }
    out.push_str(match health(findings) {
        Health::Ok => "\nPods can run here; nothing is lacking.\n",
        Health::Lacking => "\nPods can run here, without what is said above.\n",
        Health::Blocking => "\nNo pod can run here.\n",
    });
    out
}

/// The same for programs, in the form of `schemas/doctor.json`.
pub fn doctor_json(findings: &[Finding]) -> String {
    format!("{:#}\n", json!({ "health": health(findings), "checks": findings }))
}
