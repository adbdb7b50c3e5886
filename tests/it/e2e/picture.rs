//! What the machine looks like: everything a world has on it, as lines that are the same in two worlds with the same pods.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use podwright::net::subnet6::candidates;

use super::harness::{World, run};

/// Every file and directory of the root, every mount below it, namespaces that are kept, cgroups with the names of their
/// processes, processes in none of them, links with addresses, the rules,
/// and conversations with the host port of UDP. Numbers that differ by nature are left out: uids, times, the instance.
pub fn picture(world: &World) -> BTreeSet<String> {
    let root = world.root();
    let instance = std::fs::read_to_string(root.join("instance")).unwrap_or_default().trim().to_owned();
    let mut lines = Vec::new();
    files(&root, Path::new(""), &mut lines);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines() {
        let (point, kind) = (line.split(' ').nth(4).unwrap(), line.split(" - ").nth(1).unwrap());
        if let Ok(place) = Path::new(point).strip_prefix(&root) {
            lines.push(format!("mount {} {}", place.display(), kind.split(' ').next().unwrap()));
        }
        // Namespaces that are kept without a process, wherever that is.
        if kind.starts_with("nsfs") && !instance.is_empty() && point.contains(&instance) {
            lines.push(format!("kept {point}"));
        }
        if kind.starts_with("cgroup") {
            groups(&Path::new(point).join(format!("podwright-{instance}")), &mut lines);
        }
    }
    processes(&root, &format!("podwright-{instance}"), &mut lines);
    let addresses = run(world.inside("ip").args(["-br", "address"]));
    lines.extend(addresses.lines().map(|l| {
        // Whether a link is up the kernel tells up to a second late.
        let words = l.split_whitespace().filter(|w| !w.starts_with("fe80") && !["UP", "DOWN", "UNKNOWN"].contains(w));
        let words: Vec<&str> = words.collect();
        format!("link {}", words.join(" ").split('@').next().unwrap_or_default())
    }));
    lines.extend(conversations(world));
    lines.extend(run(world.inside("nft").args(["list", "ruleset"])).lines().map(|l| format!("rule {}", l.trim())));
    lines.iter().map(|line| of_any_instance(&normal(line), &instance)).collect()
}

/// The conversations by UDP with the pod's host port (see `phases`) that the kernel knows of, if it tells.
pub fn conversations(world: &World) -> Vec<String> {
    let known = run(world.inside("sh").args(["-c", "cat /proc/net/nf_conntrack 2> /dev/null || true"]));
    let of_udp = |line: &&str| line.contains(" udp ") && line.contains(" dport=8053 ");
    known.lines().filter(of_udp).map(|_| "conversation udp 8053".to_owned()).collect()
}

/// A line without the name of an instance, which decides about the subnet of IPv6 too.
pub fn of_any_instance(line: &str, instance: &str) -> String {
    let subnet6 = candidates(instance).next().unwrap().address(0).to_string();
    line.replace(&subnet6, "SUBNET6::").replace(instance, "INSTANCE")
}

fn files(dir: &Path, at: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let place = at.join(entry.file_name());
        // The last report, the events and the notes of where something was read are written now and then.
        if ["run/api.sock", "run/events.json", "snapshot.json"].iter().any(|p| place == Path::new(p)) {
            continue;
        }
        let kind = entry.file_type().unwrap();
        let what = if kind.is_dir() {
            "directory"
        } else if kind.is_symlink() {
            "link"
        } else {
            "file"
        };
        let mode = if kind.is_symlink() { 0 } else { entry.metadata().unwrap().permissions().mode() & 0o7777 };
        lines.push(format!("{what} {} {mode:o}", place.display()));
        if kind.is_dir() {
            files(&entry.path(), &place, lines);
        }
        if place.ends_with("network/leases.json") {
            lines.extend(std::fs::read_to_string(entry.path()).unwrap().lines().map(|l| format!("lease {}", l.trim())));
        }
        if place.ends_with("key") && !kind.is_dir() {
            lines.push(format!("holds {}: {}", place.display(), std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// The cgroups from this one on, with the names of their processes.
pub fn groups(dir: &Path, lines: &mut Vec<String>) {
    let Ok(pids) = std::fs::read_to_string(dir.join("cgroup.procs")) else { return };
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    let mut names: Vec<String> = pids.lines().map(name).filter(|n| !n.is_empty()).collect();
    names.sort();
    lines.push(format!("cgroup {} {names:?}", dir.display()));
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            groups(&entry.path(), lines);
        }
    }
}

/// The processes of this root that are in none of its cgroups, and how many namespaces all of its processes have. A process
/// is of this root when it is in a cgroup of it, was started with its path, or stands on a root file system in it.
pub fn processes(root: &Path, cgroup: &str, lines: &mut Vec<String>) {
    let root = root.to_str().unwrap();
    let mut namespaces = BTreeSet::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
        let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
        let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
        let stands_on = || text("mountinfo").lines().any(|l| l.split(' ').nth(4) == Some("/") && l.contains(root));
        // One that has ended keeps its process namespace until it is waited for, which is its parent's business.
        if text("status").contains("State:\tZ") {
            continue;
        }
        let is_inside = text("cgroup").contains(cgroup);
        if !is_inside && (text("cmdline").contains(root) || stands_on()) {
            lines.push(format!("outside of its cgroups {}", text("comm").trim()));
        } else if !is_inside {
            continue;
        }
        let kinds = ["net", "mnt", "ipc", "uts", "pid", "cgroup"].map(|kind| process.join("ns").join(kind));
        namespaces.extend(kinds.iter().filter_map(|kind| std::fs::read_link(kind).ok()));
    }
    for kind in ["net", "mnt", "ipc", "uts", "pid", "cgroup"] {
        let count =
            namespaces.iter().filter(|n| n.to_str().is_some_and(|n| n.starts_with(&format!("{kind}:")))).count();
        lines.push(format!("namespaces {kind} {count}"));
    }
}

#[test]
fn e2e_a_picture_shows_namespaces_and_processes_that_are_left() {
    let Some(mut world) = World::in_memory() else { return };
    world.commit(&[("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: empty}\n")]);
    world.start();
    assert_eq!(world.stop(), Some(0));
    let before = picture(&world);
    let instance = std::fs::read_to_string(world.root().join("instance")).unwrap();
    let kept = world.scratch().join(format!("kept-{}", instance.trim()));
    std::fs::write(&kept, "").unwrap();
    run(Command::new("mount").args(["--bind", "/proc/self/ns/net"]).arg(&kept));
    let mut left = Command::new("sleep").arg("600").arg0(world.root()).spawn().unwrap();
    let after = picture(&world);
    left.kill().unwrap();
    left.wait().unwrap();
    run(Command::new("umount").arg(&kept));
    let more: Vec<&str> = after.difference(&before).map(String::as_str).collect();
    let kept = format!("kept {}", kept.display().to_string().replace(instance.trim(), "INSTANCE"));
    for line in [kept.as_str(), "outside of its cgroups sleep", "namespaces net 1"] {
        assert!(more.contains(&line), "{line} in {more:#?}");
    }
}

/// `UID` for uids, `..DATE` for the directories of projected files.
pub fn normal(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let uid = rest.get(..36).filter(|text| is_uid(text));
        let date = rest.strip_prefix("..").filter(|r| r.starts_with(|c: char| c.is_ascii_digit()));
        let length = match (uid, date) {
            (Some(uid), _) => {
                out.push_str("UID");
                uid.len()
            }
            (None, Some(date)) => {
                out.push_str("..DATE");
                2 + date.find(|c: char| !c.is_ascii_digit() && !"_.".contains(c)).unwrap_or(date.len())
            }
            (None, None) => {
                out.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

fn is_uid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
