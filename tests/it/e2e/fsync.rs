//! What is to outlive a power cut is on the disk before it has its name, and its name before anything else is done. `strace`
//! tells what the agent, its shims and monitors ask of the kernel, in order; the rules are those of POSIX, which promises
//! less than the file systems that the tests run on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use super::harness::{World, archive, signal};
use super::strace::{Asked, asked, below, open_path, strace};
use crate::support::images::{Layer, Layout, Packing, arch};
use crate::support::registry::Server;

const PODS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: VALUE}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {label: VALUE}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: config, configMap: {name: settings}}]
  containers:
  - name: app
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "sleep COMMAND & wait; exit 1"]
    ports: [{containerPort: 8080, hostPort: 8080}]
    volumeMounts: [{name: config, mountPath: /config}]
"#;

const OTHER: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {key: three}\n";

/// Names that a power cut may take back or leave empty, by what is in them, with the reason.
pub const MAY_BE_LOST: &[(&str, &str)] = &[
    ("/run/", "it ends with the machine"),
    ("/snapshot.json", "the last report to commands that find no agent: without it they read the records"),
    ("/sandbox.json", "of a process of this boot"),
    ("/started.json", "of a process of this boot"),
    ("/bundle/", "what a container of this boot was started with"),
    ("/volumes/", "volumes are compared with what they are to hold before a container runs"),
    ("/leases.json", "after a power cut nobody has an address; the subnet is in subnet.json"),
    (".seen", "a note that a layer was read: without it the layer is read again"),
    ("/.removing-", "on its way out"),
    ("/images/downloads/", "what is downloaded is asked for its digest before it is used, and downloaded again"),
    ("/lock", "nothing is in it"),
    ("/mount-points/", "nothing is in them, and what is missing is made at each start"),
];

/// Names that are on the disk some time later: before the container's program runs.
const NAMED_LATER: &[&str] = &["record.json"];

/// What a traced process asked for.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// A file holds something that its disk may not.
    Write(PathBuf),
    /// A file's bytes, or a directory's names, are on the disk.
    Sync(PathBuf),
    SyncAll,
    Rename(PathBuf, PathBuf),
    /// Some other change of names.
    Change(PathBuf),
}

fn call(name: &str, arguments: &[&str], result: &str) -> Option<Call> {
    Some(match (name, arguments) {
        ("write" | "pwrite64" | "writev" | "ftruncate" | "fallocate" | "sendfile", [file, ..]) => {
            Call::Write(open_path(file)?)
        }
        ("copy_file_range", [_, _, file, ..]) => Call::Write(open_path(file)?),
        ("open" | "openat" | "openat2", _) if arguments.iter().any(|a| a.contains("O_CREAT")) => {
            Call::Write(open_path(result)?)
        }
        ("fsync" | "fdatasync", [file]) => Call::Sync(open_path(file)?),
        ("syncfs", _) => Call::SyncAll,
        ("rename", [from, to]) => Call::Rename(from.trim_matches('"').into(), to.trim_matches('"').into()),
        ("renameat" | "renameat2", [from, old, to, new, ..]) => Call::Rename(below(from, old)?, below(to, new)?),
        ("mkdirat" | "unlinkat", [dir, path, ..]) | ("symlinkat", [_, dir, path]) => Call::Change(below(dir, path)?),
        ("mkdir" | "unlink" | "rmdir", [path, ..]) => Call::Change(path.trim_matches('"').into()),
        _ => return None,
    })
}

/// What was asked for, with the threads that did.
fn calls(log: &str) -> Vec<(u32, Call)> {
    let of = |asked: Asked| {
        let arguments: Vec<&str> = asked.arguments.iter().map(String::as_str).collect();
        Some((asked.thread, call(&asked.name, &arguments, &asked.result)?))
    };
    asked(log).into_iter().filter_map(of).collect()
}

/// What breaks the rules below a root, and every name that something was renamed to.
fn judge(calls: &[(u32, Call)], root: &Path) -> (Vec<String>, BTreeSet<PathBuf>) {
    let (mut wrong, mut renamed) = (Vec::new(), BTreeSet::new());
    let mut unwritten: BTreeSet<&PathBuf> = BTreeSet::new();
    // By thread: the name that is not on the disk yet, and its directory.
    let mut unnamed: BTreeMap<u32, &PathBuf> = BTreeMap::new();
    // By anybody: these may wait.
    let mut later: BTreeSet<&PathBuf> = BTreeSet::new();
    let excused = |path: &Path| MAY_BE_LOST.iter().any(|(part, _)| path.to_string_lossy().contains(part));
    for (thread, call) in calls {
        match call {
            Call::Sync(path) => {
                unwritten.remove(path);
                later.retain(|name| name.parent() != Some(path));
                if unnamed.get(thread).is_some_and(|name| name.parent() == Some(path)) {
                    unnamed.remove(thread);
                }
                continue;
            }
            Call::SyncAll => {
                unwritten.clear();
                later.clear();
                unnamed.remove(thread);
                continue;
            }
            Call::Write(path) | Call::Change(path) | Call::Rename(_, path) if !path.starts_with(root) => continue,
            Call::Write(path) => {
                unwritten.insert(path);
            }
            Call::Rename(..) | Call::Change(_) => {}
        }
        if let Some(name) = unnamed.remove(thread) {
            wrong.push(format!("{}: its name is not on the disk when {call:?} follows", name.display()));
        }
        let Call::Rename(from, to) = call else { continue };
        if !excused(to) {
            renamed.insert(to.strip_prefix(root).unwrap().to_owned());
            if let Some(file) = unwritten.iter().find(|file| file.starts_with(from)) {
                wrong.push(format!("{}: {} is not on the disk when it gets its name", to.display(), file.display()));
            }
            if NAMED_LATER.iter().any(|end| to.ends_with(end)) {
                later.insert(to);
            } else {
                unnamed.insert(*thread, to);
            }
        }
        unwritten.retain(|file| !file.starts_with(from));
    }
    wrong.extend(
        unnamed
            .into_values()
            .chain(later)
            .map(|name| format!("{}: its name is not on the disk at the end", name.display())),
    );
    (wrong, renamed)
}

/// A registry with an image of two layers.
fn two_layers() -> Server {
    let layer = |name: &str| (Layer::new().dir("etc").file(&format!("etc/{name}"), name).tar(), Packing::Gzip);
    let mut layout = Layout::new();
    let image = layout.image(&[layer("one"), layer("two")], serde_json::json!({}), arch());
    Server::of(&layout, &image, |_| None)
}

/// Follows the agent and whatever it starts.
fn follow(world: &World, log: &Path) -> Child {
    let child = strace(log, 0).args(["-p", &world.agent_pid().to_string()]).stderr(Stdio::null()).spawn().unwrap();
    let tasks = format!("/proc/{}/task", world.agent_pid());
    let is_traced = |task: std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("status")).is_ok_and(|s| !s.contains("TracerPid:\t0"))
    };
    world.wait("all threads to be followed", || {
        std::fs::read_dir(&tasks).unwrap().flatten().all(is_traced).then_some(())
    });
    child
}

#[test]
fn e2e_what_outlives_a_power_cut_is_written_before_it_is_named() {
    let Some(mut world) = World::new() else { return };
    let (loading, running) = (world.scratch().join("load.trace"), world.scratch().join("run.trace"));
    let podwright = Path::new(env!("CARGO_BIN_EXE_podwright"));
    let mut load = strace(&loading, 0);
    load.arg(podwright).args(["image", "load"]).arg(archive("busybox")).arg("--root").arg(world.root());
    super::harness::run(&mut load);
    let (pulling, server) = (world.scratch().join("pull.trace"), two_layers());
    let mut pull = strace(&pulling, 0);
    pull.arg(podwright)
        .args(["image", "pull", &format!("{}/team/app:1", server.address)])
        .arg("--root")
        .arg(world.root());
    super::harness::run(&mut pull);

    world.commit(&[("pods.yaml", OTHER)]);
    world.start();
    let mut tracer = follow(&world, &running);
    let pods = |value: &str, command: &str| PODS.replace("VALUE", value).replace("COMMAND", command);
    world.commit(&[("pods.yaml", &pods("one", "100000"))]);
    world.wait_row("web", "1/1", "Running");
    // An end that a monitor writes down, and a start after it.
    let (pid, _) = *world.identities().values().next().unwrap();
    signal(u32::try_from(pid).unwrap(), Signal::KILL);
    world.wait("a restart", || world.row("web").filter(|(ready, _, restarts)| ready == "1/1" && restarts != "0"));
    world.commit(&[("pods.yaml", &pods("two", "100000"))]);
    world.wait("the new value", || (world.exec("web", "app", &["cat", "/config/key"]) == "two").then_some(()));
    world.commit(&[("pods.yaml", &pods("two", "200000"))]);
    world.wait("another pod", || world.row("web").filter(|(ready, _, restarts)| ready == "1/1" && restarts == "0"));
    world.commit(&[("pods.yaml", OTHER)]);
    world.wait_gone("web");
    assert_eq!(world.stop(), Some(0));
    // Whatever it still followed has ended.
    signal(tracer.id(), Signal::INT);
    tracer.wait().unwrap();

    let mut names = BTreeSet::new();
    for log in [&loading, &pulling, &running] {
        let calls = calls(&std::fs::read_to_string(log).unwrap());
        let (wrong, renamed) = judge(&calls, &world.root());
        assert!(wrong.is_empty(), "{}: {wrong:#?}", log.display());
        let brings_layers = log != &running;
        assert!(!brings_layers || renamed.iter().any(|path| path.starts_with("images/layers")), "{renamed:?}");
        names.extend(renamed.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)));
    }
    for expected in ["index.json", "record.json", "exit.json", "ledger.json"] {
        assert!(names.contains(expected), "{expected} was not renamed to: {names:?}");
    }
}

#[test]
fn the_rules_find_what_is_not_on_the_disk() {
    let log = "\
7 openat(AT_FDCWD</r>, \"/r/.a\", O_WRONLY|O_CREAT, 0600) = 5</r/.a>
7 write(5</r/.a>, \"\"..., 3) = 3
7 fsync(5</r/.a> <unfinished ...>
8 mkdir(\"/r/d\", 0700) = 0
7 <... fsync resumed>) = 0
7 renameat(4</r>, \".a\", 4</r>, \"a\") = 0
7 fsync(4</r>) = 0
8 openat2(4</r>, \".b\", {flags=O_WRONLY|O_CREAT|O_CLOEXEC, mode=0600, resolve=RESOLVE_BENEATH}, 24) = 6</r/.b>
8 renameat2(4</r>, \".b\", 4</r>, \"b\", 0) = 0
8 unlinkat(4</r>, \"c\", 0) = -1 ENOENT (No such file or directory)
8 unlinkat(4</r>, \"d\", AT_REMOVEDIR) = 0
7 renameat(4</r>, \".a\", 6</r/d>, \"record.json\") = 0
9 rename(\"/r/b\", \"/r/e\") = 0
";
    let (wrong, renamed) = judge(&calls(log), Path::new("/r"));
    assert_eq!(renamed, ["a", "b", "d/record.json", "e"].map(PathBuf::from).into());
    assert_eq!(
        wrong,
        [
            "/r/b: /r/.b is not on the disk when it gets its name",
            "/r/b: its name is not on the disk when Change(\"/r/d\") follows",
            "/r/e: its name is not on the disk at the end",
            "/r/d/record.json: its name is not on the disk at the end",
        ]
    );
}
