//! The agent killed at every effect it has on the machine, each effect failing once, and the machine restarted: whatever was
//! cut short, the next agent comes to the same end, and nothing is left behind.
//!
//! A world goes through phases. In each, the agent is started again and again, and dies at the first fault point (see
//! src/sys/effect) that it has not died at in this phase, until there is none left. Then the machine must look as it looks
//! when nobody was killed. A point is an effect with its place, before or after; the second of two equal ones in a phase is
//! passed. All of it is in memory, so that a few thousand agents do not wait for a disk.
//!
//! Every point is had by every fault: death, a restart of the machine, and each error of a disk. What they wait for is not
//! the processors, so a few worlds stand side by side: with a share of the points each, or an error each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use podwright::sys::{cgroup, mount, users};

use super::harness::{World, run, text, walk};
use super::phases::{
    self, CREATE, CREATE_WITH_USERS, Phase, RECREATE, RECREATE_AMID_RESTARTS, REMOVE, REMOVE_AMID_RESTARTS, RESTART,
    UPDATE, only_pod,
};
use super::picture::picture;
use crate::{points as written, support};

/// For one phase on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(400);
/// An agent that did nothing for so long waits for something.
const QUIET: Duration = Duration::from_millis(400);
/// What could not be cleared away is within so long.
const NEXT_TRY: Duration = Duration::from_millis(1500);
/// ENOSPC, EIO and EROFS.
const ERRORS: [&str; 3] = ["28", "5", "30"];
/// How long an agent is given whose effects failed, and that does not say so.
const SILENT: Duration = Duration::from_secs(5);

fn points(world: &World) -> PathBuf {
    world.scratch().join("points")
}

/// The points that were met in this phase, those among them that were to be passed.
fn met(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(points(world)).unwrap_or_default();
    written::plain(&text).lines().map(str::to_owned).collect()
}

/// The effects that these are points of.
fn effects(world: &World) -> BTreeSet<String> {
    written::effects(&std::fs::read_to_string(points(world)).unwrap_or_default())
}

/// Of so many points one, and which.
pub type Share = (u64, u64);

const ALL: Share = (1, 0);
/// For each of three worlds.
const SHARES: [Share; 3] = [(3, 0), (3, 1), (3, 2)];

/// What happens to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing, but its points are written down.
    Record,
    Kill(Share),
    /// It is killed, and the machine is started anew.
    Reboot(Share),
    /// The effect is not had, and ends with one of these errors after the other. An agent that waits for its next try is
    /// replaced by one that does not.
    Fail(&'static str),
}

impl Fault {
    fn value(self, points: &Path) -> String {
        let points = points.display();
        match self {
            Fault::Record => format!("agent:record:{points}"),
            Fault::Kill((of, which)) | Fault::Reboot((of, which)) => format!("agent:kill%{of}+{which}:{points}"),
            Fault::Fail(errors) => format!("agent:fail:{errors}:{points}"),
        }
    }
}

/// Brings a phase to its end. How many points there were.
pub fn settle(world: &mut World, phase: &Phase, fault: Fault) -> usize {
    let _ = std::fs::remove_file(points(world));
    (phase.change)(world);
    world.set_fault(Some(fault.value(&points(world))));
    let deadline = Instant::now() + PATIENCE;
    while !live(world, phase, fault, deadline) {
        if matches!(fault, Fault::Reboot(_)) {
            reboot(world);
        }
    }
    met(world).len()
}

/// Whether an agent has said that it tries again what failed.
fn waits(log: &str) -> bool {
    ["next try", "is tried again", "do not depend on it"].iter().any(|words| log.contains(words))
}

/// Whether something that was to be removed is still there: the agent's next try comes within seconds.
fn has_leavings(world: &World) -> bool {
    let is_left = |path: &PathBuf| {
        let path = path.to_string_lossy();
        ["/.removing-", "/subpaths-"].iter().any(|part| path.contains(part))
    };
    ["pods", "run/pods"].iter().any(|place| directories(&world.root().join(place)).iter().any(is_left))
}

/// Whether the agent has begun.
fn answers(world: &World) -> bool {
    std::os::unix::net::UnixStream::connect(world.root().join("run/api.sock")).is_ok()
}

/// One agent: whether it brought the phase to its end and then ended in peace.
fn live(world: &mut World, phase: &Phase, fault: Fault, deadline: Instant) -> bool {
    let (told, began) = (world.log_length(), Instant::now());
    world.spawn();
    let mut done = None;
    loop {
        if let Some(status) = world.ended() {
            let killed = status.code().is_none();
            assert!(killed || matches!(fault, Fault::Fail(_)), "{}: {status}\n{}", phase.name, world.log());
            return false;
        }
        // What is done may have been done by an agent before: this one is to have looked at everything.
        if (phase.is_done)(world) && answers(world) && !has_leavings(world) {
            let quiet = if matches!(fault, Fault::Fail(_)) { NEXT_TRY } else { QUIET };
            if done.get_or_insert_with(Instant::now).elapsed() > quiet {
                return world.stop() == Some(0);
            }
        } else {
            done = None;
            if matches!(fault, Fault::Fail(_)) && (waits(&world.log_from(told)) || began.elapsed() > SILENT) {
                world.kill();
                return false;
            }
        }
        if Instant::now() > deadline {
            let last: Vec<String> = met(world).into_iter().rev().take(5).collect();
            panic!("{} has no end; the last points: {last:?}\n{}\n{}", phase.name, phases::status(world), world.log());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a restart of the machine leaves: the files of the root, written in another boot, without those of its run-time
/// directory.
pub fn reboot(world: &World) {
    if world.root().join("instance").exists() {
        let top = format!("/podwright-{}", phases::instance(world));
        cgroup::kill_all(&top).unwrap();
        cgroup::remove(&top).unwrap();
    }
    for place in mount::points().unwrap().iter().rev().filter(|p| p.starts_with(world.root())) {
        mount::unmount(place).unwrap();
    }
    if world.root().join("run").exists() {
        std::fs::remove_dir_all(world.root().join("run")).unwrap();
    }
    let links = run(world.inside("ip").args(["-br", "link"]));
    for link in links.lines().filter_map(|l| l.split(['@', ' ']).next()).filter(|l| l.starts_with("pw")) {
        // The other end of a pair goes with it.
        let _ = world.inside("ip").args(["link", "del", link]).output();
    }
    let settings = "nft flush ruleset && echo 0 > /proc/sys/net/ipv4/ip_forward && \
                    { [ ! -e /proc/sys/net/ipv6 ] || { cd /proc/sys/net/ipv6/conf && \
                    echo 0 > all/forwarding && echo 1 > all/accept_ra && echo 1 > default/accept_ra; }; }";
    run(world.inside("sh").args(["-c", settings]));
    let now = podwright::sys::process::boot_id();
    for record in walk(&world.root().join("pods")) {
        if let Ok(text) = std::fs::read_to_string(&record) {
            std::fs::write(&record, text.replace(&now, "00000000-0000-4000-8000-000000000000")).unwrap();
        }
    }
}

/// Whether this program has fault points, and the machine what the phases need.
fn can_run() -> bool {
    if !cfg!(debug_assertions) {
        support::skip("a release has no fault points");
        return false;
    }
    true
}

/// Every directory below one.
fn directories(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(entry.path());
            found.extend(directories(&entry.path()));
        }
    }
    found
}

fn differences(expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    let gone = expected.difference(found).map(|line| format!("- {line}"));
    gone.chain(found.difference(expected).map(|line| format!("+ {line}"))).collect()
}

/// The picture of a world that had more tries than another: a sandbox that failed gave its address back, and so have the
/// pod's link and rules another one; an instance that was lost has a successor.
pub fn whichever_try(world: &World) -> BTreeSet<String> {
    const NUMBERED: &[&str] =
        &["10.213.0.", "SUBNET6::", "INSTANCE00", "\"next\": ", "/app/", "/first/", "/app-", "/first-"];
    let hide = |line: &String| {
        NUMBERED.iter().fold(line.clone(), |line, start| {
            let mut parts = line.split(start);
            let first = parts.next().unwrap_or_default().to_owned();
            // The number of a link is a hexadecimal one, and so is that of an address of IPv6.
            let radix = if ["INSTANCE00", "SUBNET6::"].contains(start) { 16 } else { 10 };
            let is_digit = |c: char| c.is_digit(radix);
            parts.fold(first, |line, rest| line + start + "#" + rest.trim_start_matches(is_digit))
        })
    };
    picture(world).iter().map(hide).collect()
}

pub fn assert_same(expected: &BTreeSet<String>, found: &BTreeSet<String>, phase: &Phase, world: &World) {
    let left = differences(expected, found);
    assert!(left.is_empty(), "after {}: {left:#?}\n{}", phase.name, world.log());
}

/// What a world is expected to look like after each phase, and how many points there are in it where nothing happens.
type Expected = Vec<(Phase, BTreeSet<String>, usize)>;

/// Of the points of a phase each share of three, or each error, meets so many at least: one of six.
const FEWEST: usize = 6;

/// How it looks when nothing happens to anybody.
fn in_peace(world: &mut World, phases: &[Phase], look: fn(&World) -> BTreeSet<String>) -> Expected {
    let go = |phase: &Phase| {
        let points = settle(world, phase, Fault::Record);
        (*phase, look(world), points)
    };
    phases.iter().map(go).collect()
}

/// A world for each fault, side by side, each brought through the phases and then to its own end. At which effects it was that
/// somebody had it.
fn amid(
    faults: &[Fault],
    expected: &Expected,
    look: fn(&World) -> BTreeSet<String>,
    last: impl Fn(&mut World, Fault) + Sync,
) -> BTreeSet<String> {
    let all = Mutex::new(BTreeSet::new());
    let go = |fault: Fault| {
        let mut world = World::in_memory().expect("another world");
        for (phase, expected, points) in expected {
            let (before, began) = (world.identities(), Instant::now());
            let met = settle(&mut world, phase, fault);
            all.lock().unwrap().extend(effects(&world));
            let makes_one = [CREATE.name, RECREATE.name].contains(&phase.name);
            if matches!(fault, Fault::Reboot(_)) && makes_one && !has_lost_one(&world) {
                // No point of this share is met after the container's start.
                reboot(&world);
                settle(&mut world, &Phase { is_done: has_lost_one, ..AGAIN }, Fault::Record);
            }
            println!("{}, {fault:?}: {met} points, {points} in peace, {} s", phase.name, began.elapsed().as_secs());
            assert!(met * FEWEST >= *points && met > 0, "{}, {fault:?}: {met} points of {points}", phase.name);
            assert_same(expected, &look(&world), phase, &world);
            if phase.name == UPDATE.name && !matches!(fault, Fault::Reboot(_)) {
                assert_eq!(before, world.identities(), "a container was restarted");
            }
        }
        last(&mut world, fault);
    };
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || go(*fault));
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn e2e_an_agent_killed_at_every_effect_comes_to_the_same_end() {
    if !can_run() {
        return;
    }
    let Some(mut peaceful) = World::in_memory() else { return };
    let expected = in_peace(&mut peaceful, &[CREATE, UPDATE, RESTART, RECREATE, REMOVE], picture);
    let killed = amid(&SHARES.map(Fault::Kill), &expected, picture, |_, _| {});
    written::check("agent", &killed);
}

#[test]
fn e2e_effects_that_each_fail_once_come_to_the_same_end() {
    if !can_run() {
        return;
    }
    let Some(mut peaceful) = World::in_memory() else { return };
    let expected = in_peace(&mut peaceful, &[CREATE, UPDATE, RESTART, RECREATE, REMOVE], whichever_try);
    amid(&ERRORS.map(Fault::Fail), &expected, whichever_try, |_, _| {});
}

#[test]
fn e2e_what_could_not_be_removed_is_at_a_later_try_of_the_same_agent() {
    if !can_run() {
        return;
    }
    let (Some(mut peaceful), Some(mut world)) = (World::in_memory(), World::in_memory()) else { return };
    for world in [&mut peaceful, &mut world] {
        settle(world, &CREATE, Fault::Record);
    }
    settle(&mut peaceful, &REMOVE, Fault::Record);
    let fails = |point: &String| {
        let is_removal = ["before unlink ", "before rmdir "].iter().any(|start| point.starts_with(start));
        is_removal && point.contains(".removing")
    };
    let (failing, passed): (Vec<String>, Vec<String>) = met(&peaceful).into_iter().partition(fails);
    assert!(failing.iter().any(|point| point.ends_with("pods/.removing#")), "{failing:#?}");
    std::fs::write(points(&world), passed.join("\n") + "\n").unwrap();
    world.set_fault(Some(Fault::Fail("28,5,30").value(&points(&world))));
    world.spawn();
    (REMOVE.change)(&world);
    world.wait("the end of the pod", || (REMOVE.is_done)(&world).then_some(()));
    let left: Vec<&String> = failing.iter().filter(|point| !met(&world).contains(point)).collect();
    assert!(left.is_empty(), "these did not fail: {left:#?}");
    assert_eq!(world.stop(), Some(0));
    assert_same(&picture(&peaceful), &picture(&world), &REMOVE, &world);
}

/// The range of the pod on record, and that of its sandbox.
fn user_ids(world: &World) -> (u64, u64) {
    let pod = only_pod(world, "pods").unwrap();
    let number = |file: &str, field: &str| {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(pod.join(file)).unwrap()).unwrap();
        record[field].as_u64().unwrap()
    };
    let infra = i32::try_from(number("sandbox.json", "pid")).unwrap();
    (number("users.json", "firstId"), users::first_id_of(infra).unwrap().unwrap().into())
}

#[test]
fn e2e_an_agent_killed_while_a_pod_gets_its_user_ids_leaks_none() {
    if !can_run() {
        return;
    }
    let (Some(mut peaceful), Some(mut world)) = (World::in_memory(), World::in_memory()) else { return };
    settle(&mut peaceful, &CREATE_WITH_USERS, Fault::Record);
    let concerns = |point: &String| {
        ["users.json", "clone pause", "uid_map", "gid_map", "sandbox.json"].iter().any(|word| point.contains(word))
    };
    let (killing, passed): (Vec<String>, Vec<String>) = met(&peaceful).into_iter().partition(concerns);
    for one in [
        "before rename pods/#/users.json",
        "after write proc/#/uid_map",
        "before write proc/#/gid_map",
        "after clone pause",
    ] {
        assert!(killing.iter().any(|point| point == one), "{one} is not among {killing:#?}");
    }
    std::fs::write(points(&world), passed.join("\n") + "\n").unwrap();
    (CREATE_WITH_USERS.change)(&world);
    world.set_fault(Some(Fault::Kill(ALL).value(&points(&world))));
    let deadline = Instant::now() + PATIENCE;
    let mut recorded = BTreeSet::new();
    while !live(&mut world, &CREATE_WITH_USERS, Fault::Kill(ALL), deadline) {
        let place = only_pod(&world, "pods").map(|pod| pod.join("users.json"));
        recorded.extend(place.and_then(|place| std::fs::read(place).ok()));
    }
    let left: Vec<&String> = killing.iter().filter(|point| !met(&world).contains(point)).collect();
    assert!(left.is_empty(), "nobody died at {left:#?}");
    written::check("users", &effects(&world));
    assert_eq!(recorded.len(), 1, "the pod got other ids after a death");
    let (on_record, sandbox) = user_ids(&world);
    assert_eq!(on_record, sandbox);
    settle(&mut world, &REMOVE, Fault::Record);
    // What ended without its agent may be a zombie for a while.
    world.wait("nobody to have them", || {
        users::ranges_in_use().unwrap().iter().all(|(first, _)| u64::from(*first) != sandbox).then_some(())
    });
}

/// A file in the pod's volume, and the one that its init container writes into it.
const KEPT: &str = "disk/kept";
const FORGOTTEN: &str = "memory/forgotten";

/// A restart of the machine while nothing else happens.
const AGAIN: Phase = Phase { name: "restart of the machine", change: |_| {}, is_done: is_restarted };

fn is_restarted(world: &World) -> bool {
    (CREATE.is_done)(world) && phases::restarts(world) == Some(1)
}

/// Whether an instance of the pod's container was lost, and another one runs.
fn has_lost_one(world: &World) -> bool {
    let instances = only_pod(world, "pods").map(|pod| directories(&pod.join("containers/app"))).unwrap_or_default();
    let is_lost = instances.iter().any(|instance| instance.join("exit.json").exists());
    (CREATE.is_done)(world) && phases::restarts(world).is_some_and(|count| count > 0) && is_lost
}

#[test]
fn e2e_a_machine_that_is_restarted_at_any_effect_comes_to_the_same_end() {
    if !can_run() {
        return;
    }
    let Some(mut peaceful) = World::in_memory() else { return };
    let points = settle(&mut peaceful, &CREATE, Fault::Record);
    // At rest: the pod is the same one, its containers are started once more, and what is on the disk is kept.
    let pod = only_pod(&peaceful, "pods");
    std::fs::write(only_pod(&peaceful, "volumes").unwrap().join(KEPT), "kept").unwrap();
    std::fs::write(only_pod(&peaceful, "run/volumes").unwrap().join(FORGOTTEN), "").unwrap();
    reboot(&peaceful);
    settle(&mut peaceful, &AGAIN, Fault::Record);
    assert_eq!(only_pod(&peaceful, "pods"), pod);
    let kept = only_pod(&peaceful, "volumes").unwrap().join(KEPT);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "kept");
    std::fs::remove_file(kept).unwrap();
    assert!(!only_pod(&peaceful, "run/volumes").unwrap().join(FORGOTTEN).exists());

    let mut expected = vec![(CREATE, whichever_try(&peaceful), points)];
    expected.extend(in_peace(&mut peaceful, &[UPDATE, RECREATE], whichever_try));
    reboot(&peaceful);
    settle(&mut peaceful, &AGAIN, Fault::Record);
    expected[2] = (RECREATE_AMID_RESTARTS, whichever_try(&peaceful), expected[2].2);
    let removed = in_peace(&mut peaceful, &[REMOVE], whichever_try).remove(0).1;
    reboot(&peaceful);
    let at_rest = whichever_try(&peaceful);
    amid(&SHARES.map(Fault::Reboot), &expected, whichever_try, |world, fault| {
        settle(world, &REMOVE_AMID_RESTARTS, fault);
        // What is there for all pods comes with the first one after a restart.
        let more: Vec<String> = whichever_try(world).difference(&removed).cloned().collect();
        assert!(more.is_empty(), "{more:#?}");
        reboot(world);
        assert_same(&at_rest, &whichever_try(world), &REMOVE, world);
    });
}

#[test]
fn e2e_down_killed_at_every_effect_is_finished_by_the_next_one() {
    if !can_run() {
        return;
    }
    let (Some(mut peaceful), Some(mut world)) = (World::in_memory(), World::in_memory()) else { return };
    for world in [&mut peaceful, &mut world] {
        settle(world, &CREATE, Fault::Record);
        std::fs::remove_file(points(world)).unwrap();
    }
    peaceful.ok(&["down"]);
    let (began, mut deaths) = (Instant::now(), 0);
    loop {
        let fault = Fault::Kill(ALL).value(&points(&world));
        let output = world.podwright(&["down"]).env("PODWRIGHT_FAULT", fault).output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(output.status.code().is_none(), "{}: {}", output.status, text(&output));
        deaths += 1;
    }
    println!("{deaths} deaths, {} s", began.elapsed().as_secs());
    assert_eq!(deaths, met(&world).len());
    written::check("down", &effects(&world));
    for point in ["after nft script", "after rmdir", "before unlink"] {
        assert!(met(&world).iter().any(|met| met.starts_with(point)), "nobody died {point}: {:#?}", met(&world));
    }
    assert_same(&picture(&peaceful), &picture(&world), &Phase { name: "down", ..REMOVE }, &world);
}

/// Calls of the system that fail now and then, how, and on what: everything, or what lies below the root.
const CALLS: &[(&str, &str, bool)] = &[
    ("fsync", "EIO", false),
    ("mkdirat", "ENOSPC", false),
    ("unlinkat", "EROFS", false),
    ("renameat,renameat2", "EIO", false),
    ("umount2", "EIO", false),
    ("write,pwrite64,writev", "ENOSPC", true),
    ("openat,openat2", "EROFS", true),
];

/// What is below the root, as words for strace: it knows no patterns. Files are written under another name at first.
fn below_the_root(world: &World) -> Vec<String> {
    let mut places = directories(&world.root());
    places.extend(walk(&world.root()).into_iter().flat_map(|file| {
        let name = format!(".{}", file.file_name().unwrap().to_string_lossy());
        [file.with_file_name(name), file]
    }));
    places.push(world.root());
    places.iter().flat_map(|place| ["-P".to_owned(), place.display().to_string()]).collect()
}

/// One agent, of whose calls each third fails from this one on, until it is done or waits for its next try. How many failed.
fn traced(world: &mut World, phase: &Phase, (call, error, below): (&str, &str, bool), first: u32) -> usize {
    let (trace, told, began) = (world.scratch().join("trace"), world.log_length(), Instant::now());
    world.set_fault(None);
    let (trace_only, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={first}+3"));
    // The agent alone, with all its threads: what it starts is left to itself at its `execve`.
    let strace = ["strace", "-D", "-f", "-b", "execve", "-qqq", "-o", trace.to_str().unwrap()];
    let places = if below { below_the_root(world) } else { Vec::new() };
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    world.spawn_under(&[&strace[..], &places, &["-e", &trace_only, "-e", &inject]].concat());
    // One that is killed before it is traced leaves a process of strace that waits for that.
    let name = format!("/proc/{}/comm", world.agent_pid());
    while world.ended().is_none() && std::fs::read_to_string(&name).is_ok_and(|name| name.starts_with("strace")) {
        std::thread::sleep(Duration::from_millis(1));
    }
    while world.ended().is_none() {
        if waits(&world.log_from(told)) || began.elapsed() > SILENT || (phase.is_done)(world) {
            world.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::fs::read_to_string(trace).unwrap_or_default().matches("(INJECTED)").count()
}

#[test]
fn e2e_calls_of_the_system_that_fail_come_to_the_same_end() {
    if !can_run() {
        return;
    }
    let (Some(mut peaceful), Some(mut world)) = (World::in_memory(), World::in_memory()) else { return };
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return support::skip("there is no strace");
    }
    let phases = [CREATE, REMOVE].map(|phase| {
        settle(&mut peaceful, &phase, Fault::Record);
        (phase, whichever_try(&peaceful))
    });
    for call in CALLS {
        let began = Instant::now();
        let mut failed = 0;
        for (phase, expected) in &phases {
            (phase.change)(&world);
            // Of each thread: those that begin look at the root first.
            failed += [2, 5, 8, 13].map(|first| traced(&mut world, phase, *call, first)).iter().sum::<usize>();
            settle(&mut world, &Phase { change: |_| {}, ..*phase }, Fault::Record);
            assert_same(expected, &whichever_try(&world), phase, &world);
        }
        println!("{call:?}: {failed} failed, {} ms", began.elapsed().as_millis());
        assert!(failed > 0, "{call:?} never failed");
    }
}
