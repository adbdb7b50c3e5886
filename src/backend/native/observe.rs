//! What the records and the kernel say about a pod. Read-only, but for damaged records, which are set aside.
//!
//! A container lives as long as its monitor holds the lock of its instance directory:
//!
//! | `exit.json` | lock | `started.json` | state |
//! |---|---|---|---|
//! | yes | | | Exited |
//! | no | held | yes | Running |
//! | no | held | no | a start in flight: look again; Created when it stays so |
//! | no | free | yes | Lost |
//! | no | free | no | Created; Lost when its record is of an earlier boot or damaged: `started.json` is of this boot only |

use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use sha2::{Digest, Sha256};

use super::paths::{InstanceName, Paths, is_uid};
use super::records::{self, CONTAINER, EXIT, LOCK, POD, SANDBOX, STARTED, SandboxRecord, Stored};
use super::termination;
use crate::model::{
    ContainerKind, ContainerRecord, ContainerState, ExitRecord, ImageSource, ObservedContainer, ObservedPod, PodRecord,
    PodUid, Sandbox, Versioned, is_sidecar,
};
use crate::port::{ErrorKind, PortError};
use crate::shim::Started;
use crate::sys::{lock, process};

const OPERATION: &str = "read the record of pod";
/// In place of a boot's name that nobody knows: it is not this one.
const UNKNOWN_BOOT: &str = "unknown";

/// The state of one instance on disk.
#[derive(Debug)]
pub(super) enum State {
    Exited(ExitRecord),
    Running(Started),
    /// A shim holds the lock and has not started the container yet.
    InFlight,
    Lost,
    Created,
}

/// One pod as seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) pod: ObservedPod,
    /// Monitors that live: process number and instance.
    pub(super) monitors: Vec<(i32, InstanceName)>,
    /// The infra process that lives: number and start time.
    pub(super) infra: Option<(i32, u64)>,
    /// Some instance is being started.
    pub(super) in_flight: bool,
    /// Nothing remains to be done about it at the next look, even if no file changes until then.
    pub(super) is_whole: bool,
}

/// What stands in a pod's directory.
#[derive(Debug)]
pub(super) enum Found {
    Pod(Box<Seen>),
    /// No record: a pod that was never made, or is all but gone.
    Nothing,
    /// The record cannot be understood: why.
    Damaged(String),
}

pub(super) fn failed(uid: &PodUid) -> impl Fn(io::Error) -> PortError + '_ {
    move |error| PortError::io(OPERATION, uid.to_string(), &error)
}

/// The uids that have a directory, with or without a record.
pub(super) fn uids(paths: &Paths) -> Result<Vec<PodUid>, PortError> {
    let names = records::directories(&paths.pods());
    let names = names.map_err(|e| PortError::io("list pods in", paths.pods().display().to_string(), &e))?;
    Ok(names.into_iter().filter(|name| is_uid(name)).map(PodUid).collect())
}

/// Reads a pod's record alone.
pub(super) fn record(paths: &Paths, uid: &PodUid) -> Result<Stored<PodRecord>, PortError> {
    let dir = paths.pod(uid);
    let stored = records::read::<PodRecord>(&dir, POD).map_err(failed(uid))?;
    // A record of a later version may miss or add fields: its number is asked for on its own.
    let version = match &stored {
        Stored::There(record) => record.version,
        Stored::Missing => return Ok(stored),
        Stored::Damaged(_) => match records::read::<Versioned>(&dir, POD).map_err(failed(uid))?.ok() {
            Some(it) => it.version,
            None => return Ok(stored),
        },
    };
    if version > PodRecord::VERSION {
        let message = format!("it has version {version}, and this program knows versions up to {}", PodRecord::VERSION);
        return Err(PortError::new(ErrorKind::Invalid, OPERATION, uid.to_string(), message)
            .with_help("run the newer podwright that wrote it, or remove its pods with that one's `podwright down`"));
    }
    match stored {
        Stored::There(record) if record.uid != *uid => Ok(Stored::Damaged("it is another pod's".to_owned())),
        other => Ok(other),
    }
}

/// Looks at one pod.
pub(super) fn look(paths: &Paths, uid: &PodUid) -> Result<Found, PortError> {
    let record = match record(paths, uid)? {
        Stored::There(record) => record,
        Stored::Missing => return Ok(Found::Nothing),
        Stored::Damaged(why) => return Ok(Found::Damaged(why)),
    };
    let stored = sandbox_record(paths, uid)?;
    let pod = ObservedPod { record, sandbox: Sandbox::Absent, containers: Vec::new() };
    let mut seen = Seen { pod, monitors: Vec::new(), infra: None, in_flight: false, is_whole: true };
    (seen.pod.sandbox, seen.infra) = sandbox(&seen.pod.record, &stored);
    for name in instances(paths, uid)? {
        instance(paths, &mut seen, name).map_err(failed(uid))?;
    }
    let last = stored.ok().map(|sandbox| sandbox.attempt);
    count_sandboxes(&mut seen.pod, last);
    seen.pod.containers.sort_by(|a, b| (&a.record.name, a.record.attempt).cmp(&(&b.record.name, b.record.attempt)));
    Ok(Found::Pod(Box::new(seen)))
}

pub(super) fn sandbox_record(paths: &Paths, uid: &PodUid) -> Result<Stored<SandboxRecord>, PortError> {
    records::read(&paths.pod(uid), SANDBOX).map_err(failed(uid))
}

/// Whether the recorded infra process still runs.
pub(super) fn infra_lives(record: &SandboxRecord) -> bool {
    record.boot_id == process::boot_id() && record.infra().check().is_ok()
}

/// There were as many sandboxes as the pod's record says, or as its last one and its containers tell: nothing else is
/// written when one starts.
fn count_sandboxes(pod: &mut ObservedPod, last: Option<u32>) {
    let told = pod.containers.iter().map(|c| c.record.sandbox_attempt).chain(last).max();
    let there_were = told.map_or(0, |attempt| attempt.saturating_add(1));
    pod.record.sandbox_attempts = pod.record.sandbox_attempts.max(there_were);
}

fn sandbox(record: &PodRecord, stored: &Stored<SandboxRecord>) -> (Sandbox, Option<(i32, u64)>) {
    match stored {
        Stored::Missing => (Sandbox::Absent, None),
        // Whatever runs, its number is lost: it is as good as dead, and a new one is made.
        Stored::Damaged(_) => (Sandbox::Dead { attempt: record.sandbox_attempts.saturating_sub(1) }, None),
        Stored::There(infra) if infra_lives(infra) => {
            let (attempt, pid, started_at) = (infra.attempt, infra.pid, infra.started_at);
            (Sandbox::Ready { attempt, pid, started_at, ips: infra.ips.clone() }, Some((pid, infra.start_ticks)))
        }
        Stored::There(infra) => (Sandbox::Dead { attempt: infra.attempt }, None),
    }
}

/// Every instance directory of a pod.
pub(super) fn instances(paths: &Paths, uid: &PodUid) -> Result<Vec<InstanceName>, PortError> {
    let containers = paths.containers(uid);
    let mut out = Vec::new();
    for container in records::directories(&containers).map_err(failed(uid))? {
        for attempt in records::directories(&containers.join(&container)).map_err(failed(uid))? {
            // Only what this program could have made: no `+1` and no `01`.
            let number = attempt.parse::<u32>().ok().filter(|n| n.to_string() == attempt);
            if let Some(name) = number.and_then(|n| InstanceName::new(uid, &container, n).ok()) {
                out.push(name);
            }
        }
    }
    Ok(out)
}

/// Adds one instance.
fn instance(paths: &Paths, seen: &mut Seen, name: InstanceName) -> io::Result<()> {
    let dir = paths.instance_dir(&name);
    let state = state(&dir)?;
    let record = match records::read(&dir, CONTAINER)? {
        Stored::There(record) => record,
        // A start that was cut short before it began; the directory goes with the next start or with the pod.
        Stored::Missing if matches!(state, State::Created) => return Ok(()),
        // A start that has just begun, or one whose agent and shim have ended: then it is reaped as what it is shown as here.
        Stored::Missing if matches!(state, State::InFlight) => made_up(paths, &seen.pod, &name)?,
        // It was removed meanwhile.
        Stored::Missing if !dir.exists() => return Ok(()),
        Stored::Missing => restore(paths, seen, &name, None)?,
        Stored::Damaged(why) => restore(paths, seen, &name, Some(&why))?,
    };
    let earlier_boot = has_another_boot(&dir, &record)?;
    let state = match state {
        State::Exited(mut exit) => {
            if exit.message.is_none() {
                let effective = seen.pod.record.realised.effective.open();
                let container = effective.spec.as_ref().and_then(|s| container(s, &name.container)).map(|(c, _)| c);
                let text = termination::message(container, &exit, &dir, Path::new(&record.log_path));
                exit.message = Some(text).filter(|t| !t.is_empty());
            }
            ContainerState::Exited(exit)
        }
        State::Running(started) => {
            seen.monitors.push((started.monitor_pid, name));
            ContainerState::Running { pid: started.pid, started_at: started.started_at }
        }
        State::InFlight => {
            seen.in_flight = true;
            ContainerState::Created
        }
        State::Lost => ContainerState::Lost,
        State::Created => ContainerState::Created,
    };
    seen.pod.containers.push(ObservedContainer { record, state, earlier_boot });
    Ok(())
}

/// The state of an instance by its files.
pub(super) fn state(dir: &Path) -> io::Result<State> {
    // An exit record that cannot be read is none: the instance counts as lost and gets another one.
    let exit = || records::read_of_shim::<ExitRecord>(dir, EXIT).map(Stored::ok);
    if let Some(exit) = exit()? {
        return Ok(State::Exited(exit));
    }
    let held = lock::is_held(&dir.join(LOCK))?;
    // Written before the lock is given up, and maybe after the first look.
    if let Some(exit) = exit()? {
        return Ok(State::Exited(exit));
    }
    Ok(match (held, records::read_of_shim::<Started>(dir, STARTED)?) {
        (true, Stored::There(started)) => State::Running(started),
        (true, Stored::Missing) => State::InFlight,
        // Somebody lives there and nobody knows who: it is killed by its cgroup.
        (true, Stored::Damaged(_)) => State::Lost,
        (false, Stored::There(_) | Stored::Damaged(_)) => State::Lost,
        (false, Stored::Missing) if may_have_run(dir)? => State::Lost,
        (false, Stored::Missing) => State::Created,
    })
}

/// Whether an instance was to start before the machine did, or nobody knows when: then nothing tells whether it came to that. A
/// version before wrote down no boot, and `started.json` so that it outlives every one.
fn may_have_run(dir: &Path) -> io::Result<bool> {
    Ok(match records::read::<ContainerRecord>(dir, CONTAINER)? {
        Stored::There(record) => !record.boot_id.is_empty() && record.boot_id != process::boot_id(),
        Stored::Damaged(_) => true,
        Stored::Missing => records::is_aside(dir, CONTAINER)?,
    })
}

/// The name of this boot as records have it. Where the kernel does not tell, each boot is another one.
pub(super) fn own_boot() -> String {
    Some(process::boot_id()).filter(|boot| !boot.is_empty()).unwrap_or_else(|| UNKNOWN_BOOT.to_owned())
}

/// Whether an instance was to start before the machine did. A version before wrote that down with the start alone.
fn has_another_boot(dir: &Path, record: &ContainerRecord) -> io::Result<bool> {
    let boot = if record.boot_id.is_empty() {
        records::read_of_shim::<Started>(dir, STARTED)?.ok().map(|started| started.boot_id)
    } else {
        Some(record.boot_id.clone())
    };
    Ok(boot.is_some_and(|boot| boot != process::boot_id()))
}

/// The container of this name and the list it stands in.
pub(super) fn container<'a>(spec: &'a PodSpec, name: &str) -> Option<(&'a Container, ContainerKind)> {
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .find(|c| c.name == name)
        .map(|c| (c, if is_sidecar(c) { ContainerKind::Sidecar } else { ContainerKind::Init }));
    init.or_else(|| spec.containers.iter().find(|c| c.name == name).map(|c| (c, ContainerKind::App)))
}

/// The id of an instance, the same for the same instance: 64 hexadecimal digits.
pub(super) fn instance_id(paths: &Paths, name: &InstanceName) -> String {
    let text = format!("{}\n{}\n{}\n{}", paths.instance, name.uid, name.container, name.attempt);
    format!("{:x}", Sha256::digest(text))
}

/// A record in the place of one that is missing or damaged, so that a container that runs goes on and is not hidden. On a disk
/// that takes nothing it is made up again at the next look.
fn restore(paths: &Paths, seen: &mut Seen, name: &InstanceName, damage: Option<&str>) -> io::Result<ContainerRecord> {
    let dir = paths.instance_dir(name);
    let place = dir.display();
    let record = made_up(paths, &seen.pod, name)?;
    let aside = damage.map_or(Ok(()), |why| {
        tracing::warn!(%place, why, "a container's record is damaged; it is set aside and written anew");
        records::set_aside(&dir, CONTAINER)
    });
    if let Err(error) = aside.and_then(|()| records::write(&dir, CONTAINER, &record)) {
        seen.is_whole = false;
        tracing::warn!(%place, %error, "a container's record could not be written anew");
    }
    Ok(record)
}

/// What can be said of an instance without its record.
fn made_up(paths: &Paths, pod: &ObservedPod, name: &InstanceName) -> io::Result<ContainerRecord> {
    let dir = paths.instance_dir(name);
    let effective = pod.record.realised.effective.open();
    let found = effective.spec.as_ref().and_then(|s| container(s, &name.container));
    let started = records::read_of_shim::<Started>(&dir, STARTED)?.ok();
    let sandbox_attempt = match pod.sandbox {
        Sandbox::Ready { attempt, .. } | Sandbox::Dead { attempt } => attempt,
        Sandbox::Absent => pod.record.sandbox_attempts.saturating_sub(1),
    };
    Ok(ContainerRecord {
        name: name.container.clone(),
        kind: found.map_or(ContainerKind::App, |(_, kind)| kind),
        attempt: name.attempt,
        id: instance_id(paths, name),
        sandbox_attempt,
        round: pod.record.round(),
        image: found.and_then(|(c, _)| c.image.clone()).unwrap_or_default(),
        image_id: String::new(),
        image_source: ImageSource::Present,
        volume_images: Default::default(),
        created_at: started.as_ref().map_or(pod.record.created_at, |s| s.started_at),
        boot_id: started.map_or_else(|| UNKNOWN_BOOT.to_owned(), |s| s.boot_id),
        backoff: jiff::SignedDuration::ZERO,
        log_path: paths.log(&pod.record.key, name).display().to_string(),
        // What it was started with is lost.
        resources: None,
        data: None,
        stopping: None,
    })
}
