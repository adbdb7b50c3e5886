//! The sandbox of a pod: the infra process, its namespaces, network and shared memory.
//!
//! `sandbox.json` is written last. Whatever an interrupted start left behind is found without it: the process by its
//! cgroup, the address by the pod's uid, the mount by its place.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;

use super::paths::{INFRA, InstanceName, Paths, shown};
use super::records::{self, SANDBOX, SandboxRecord, Stored};
use super::{Inner, blocking, end, etc, here, observe, settle, subpath, sysctls, users, verdicts};
use crate::model::{PodAmounts, PodKey, PodRecord, PodUid};
use crate::net;
use crate::port::{ErrorKind, PortError};
use crate::sys::infra::{self, Infra, InfraSpec, Net};
use crate::sys::netns::NetNs;
use crate::sys::{cgroup, effect, limits, mount, pidfd, process};

const RUN: &str = "run sandbox of pod";
const STOP: &str = "stop sandbox of pod";
const WAITING: &str = "CreatePodSandboxError";
/// The way out where a pod cannot have user ids of its own.
const NEEDS_USERS: &str =
    "`podwright doctor` says whether this machine makes user namespaces, which `hostUsers: false` takes";
/// The size of a pod's `/dev/shm`, as with containerd.
const SHM_SIZE: u64 = 64 << 20;
/// How long an infra process may take from its death to its zombie.
const REAP_PATIENCE: Duration = Duration::from_secs(1);

/// Starts the sandbox, or completes what an earlier call began. Blocks.
pub(super) fn run(inner: &Arc<Inner>, key: &PodKey, uid: &PodUid, attempt: u32) -> Result<(), PortError> {
    let record = inner.read_record(key, uid)?;
    if let Stored::There(old) = observe::sandbox_record(&inner.paths, uid)?
        && observe::infra_lives(&old)
    {
        if old.attempt == attempt {
            return Ok(());
        }
        let message = format!("sandbox {} still runs, and {attempt} was asked for", old.attempt);
        return Err(PortError::new(ErrorKind::Conflict, RUN, key.to_string(), message).waiting(WAITING));
    }
    let spec = record.realised.effective.open().spec.unwrap_or_default();
    settle_meanwhile(inner, &record);
    let made = make(inner, &record, &spec).and_then(|made| configured(&record, &spec, made));
    match made {
        Ok((infra, ips)) => keep(inner, &record, attempt, (&infra, ips)),
        Err(error) => {
            // Nothing half-made stays: the next try starts from the beginning.
            if let Err(error) = here(release(inner, uid)) {
                tracing::warn!(pod = %key, "{error}");
            }
            Err(error)
        }
    }
}

/// The infra process, and the pod's addresses. Where the network namespace is owned by nobody but the machine, it is connected
/// while the process is made: each takes about as long.
fn make(inner: &Arc<Inner>, record: &PodRecord, spec: &PodSpec) -> Result<(Infra, Vec<IpAddr>), PortError> {
    let ports = net::host_ports(spec)?;
    if spec.host_network == Some(true) {
        let infra = prepare(inner, record, spec, || Ok(Net::Machine))?;
        here(inner.network.host_network_ports(&record.uid, &ports))?;
        return Ok((infra, inner.node.host_ips()));
    }
    if users::are_own(spec) {
        let infra = prepare(inner, record, spec, || Ok(Net::Own))?;
        let ips = here(inner.network.attach(&record.uid, infra, &ports))?;
        return Ok((infra, ips));
    }
    let (made, namespace) = mpsc::channel();
    let (connected, ips) = mpsc::channel();
    let (own, key, uid) = (inner.clone(), record.key.clone(), record.uid.clone());
    drop(tokio::task::spawn_blocking(move || {
        let failed = |e| {
            let error = PortError::io(RUN, key.to_string(), &e).waiting(WAITING);
            let is_denied = error.kind == ErrorKind::Denied;
            if is_denied { error.with_help(super::open::NEEDS_ROOT).see_doctor() } else { error.see_doctor() }
        };
        let ips = NetNs::make().map(Arc::new).map_err(failed).and_then(|namespace| {
            // Nobody waits for it when the cgroups could not be made.
            let _ = made.send(Arc::clone(&namespace));
            here(own.network.attach_namespace(&uid, &namespace, &ports))
        });
        // The other side waits to the end.
        let _ = connected.send(ips);
    }));
    let is_there = Cell::new(true);
    let infra = prepare(inner, record, spec, || {
        namespace.recv().map(Net::Made).map_err(|_| {
            is_there.set(false);
            no_namespace(record)
        })
    });
    if infra.is_ok() {
        make_first_cgroup(inner, record, spec);
    }
    let ips = ips.recv().unwrap_or_else(|_| Err(no_namespace(record)));
    match (infra, ips) {
        (Ok(infra), Ok(ips)) => Ok((infra, ips)),
        // Why there is no namespace is told by whoever was to make it.
        (Err(error), _) if is_there.get() => Err(error),
        (_, Err(error)) | (Err(error), _) => Err(error),
    }
}

/// The same with what the pod sets of the kernel.
fn configured(
    record: &PodRecord,
    spec: &PodSpec,
    made: (Infra, Vec<IpAddr>),
) -> Result<(Infra, Vec<IpAddr>), PortError> {
    match sysctls::set(spec, made.0) {
        Ok(()) => Ok(made),
        Err(error) => Err(PortError::io(RUN, record.key.to_string(), &error).waiting(WAITING)),
    }
}

/// Makes the cgroup of a new pod's first container while the network is made: what its start would take longest for.
fn make_first_cgroup(inner: &Inner, record: &PodRecord, spec: &PodSpec) {
    let first = spec.init_containers.iter().flatten().chain(&spec.containers).next();
    let is_new = || !inner.paths.containers(&record.uid).exists();
    let name = first.filter(|_| is_new()).and_then(|c| InstanceName::new(&record.uid, &c.name, 0).ok());
    if let Some(name) = name {
        // The start makes what is missing, and says what is wrong.
        let _ = inner.paths.container_cgroup(&name).and_then(|path| cgroup::create(&path));
    }
}

fn no_namespace(record: &PodRecord) -> PortError {
    let message = "its network namespace could not be made";
    PortError::new(ErrorKind::Internal, RUN, record.key.to_string(), message).waiting(WAITING)
}

/// Has the record of the pod put on the disk. There is time until a container starts, which waits for it.
fn settle_meanwhile(inner: &Arc<Inner>, record: &PodRecord) {
    let (own, key, uid) = (inner.clone(), record.key.clone(), record.uid.clone());
    let settled = inner.settled(&uid);
    drop(tokio::task::spawn_blocking(move || match settle::begin(&own.paths, &uid, &settled) {
        // The pod was removed meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(pod = %key, %error, "its record is not on the disk; it is written again before a container starts, or when the pod is looked at")
        }
        Ok(()) => {}
    }));
}

/// The infra process in its namespaces, with the pod's shared memory.
fn prepare(
    inner: &Arc<Inner>,
    record: &PodRecord,
    spec: &PodSpec,
    network: impl FnOnce() -> Result<Net, PortError>,
) -> Result<Infra, PortError> {
    let (paths, key, uid) = (&inner.paths, &record.key, &record.uid);
    let failed = |e: &std::io::Error| PortError::io(RUN, key.to_string(), e).waiting(WAITING);
    let pod = inner.levels.enter(paths, record, spec).map_err(|e| failed(&e).see_doctor())?;
    let cgroup = format!("{pod}/{INFRA}");
    // Of an earlier try.
    end_processes(&cgroup).map_err(|e| failed(&e).see_doctor())?;
    if let Some(most) = inner.pod_pids_limit {
        let limited = limits::set_pids(&pod, most);
        limited.map_err(|e| failed(&e).with_help("leave `podPidsLimit` out of the configuration").see_doctor())?;
    }
    let host_ipc = spec.host_ipc == Some(true);
    if !host_ipc {
        make_shm(&paths.shm(uid)).map_err(|e| failed(&e).see_doctor())?;
    }
    let host_network = spec.host_network == Some(true);
    let users = users::are_own(spec).then(|| users::take(inner, uid)).transpose();
    let users = users.map_err(|e| e.waiting(WAITING))?;
    let infra = infra::start(&InfraSpec {
        empty: paths.empty(),
        net: network()?,
        ipc: !host_ipc,
        uts: (!host_network).then(|| etc::hostname(spec, key)),
        pid: spec.share_process_namespace == Some(true) && spec.host_pid != Some(true),
        users,
        cgroup: cgroup.clone(),
    });
    infra.map_err(|e| {
        let error = failed(&e);
        if is_of_memory(&e, &cgroup, spec) {
            let message = format!("the limit of memory of its containers together is too low for a pod: {e}");
            return PortError { message, ..error };
        }
        match (error.kind, users) {
            (_, Some(_)) => error.with_help(NEEDS_USERS),
            (ErrorKind::Denied, None) => error.with_help(super::open::NEEDS_ROOT).see_doctor(),
            (_, None) => error.see_doctor(),
        }
    })
}

/// Whether an infra process could not be started since its pod may use too little memory for one: then the kernel makes no
/// cgroup, or kills who is in it.
fn is_of_memory(error: &std::io::Error, cgroup: &str, spec: &PodSpec) -> bool {
    let is_limited = PodAmounts::of(spec, &BTreeMap::new()).memory_limit.is_some();
    let is_short =
        || error.kind() == std::io::ErrorKind::OutOfMemory || cgroup::oom_kills(cgroup).is_ok_and(|kills| kills > 0);
    is_limited && is_short()
}

fn make_shm(shm: &Path) -> std::io::Result<()> {
    effect::make_dirs(shm, 0o755)?;
    if mount::is_mounted(shm)? {
        return Ok(());
    }
    mount::tmpfs(shm, SHM_SIZE, 0o1777)
}

/// Writes down a sandbox that is complete, and watches it.
fn keep(inner: &Inner, record: &PodRecord, attempt: u32, (infra, ips): (&Infra, Vec<IpAddr>)) -> Result<(), PortError> {
    let (key, uid) = (&record.key, &record.uid);
    let failed = |e: std::io::Error| PortError::io(RUN, key.to_string(), &e).waiting(WAITING);
    let sandbox = SandboxRecord {
        attempt,
        pid: infra.pid,
        start_ticks: infra.start_ticks,
        boot_id: process::boot_id(),
        started_at: Timestamp::now(),
        ips,
    };
    records::write_for_this_boot(&inner.paths.pod(uid), SANDBOX, &sandbox).map_err(failed)?;
    match pidfd::open_same(infra.pid, infra.start_ticks) {
        Ok(fd) => inner.hub.watch(key, uid, infra.pid, fd),
        // Dead already: the next look says so.
        Err(_) => inner.hub.tell(key),
    }
    Ok(())
}

/// Ends the sandbox and forgets it.
pub(super) async fn stop(inner: Arc<Inner>, key: PodKey) -> Result<(), PortError> {
    let Some(uid) = inner.find(&key).await? else { return Ok(()) };
    let (check, pod) = (inner.clone(), uid.clone());
    blocking(move || end::all_over(&check, &pod, STOP)).await?;
    release(&inner, &uid).await?;
    blocking(move || {
        count(&inner, &key, &uid)?;
        records::remove(&inner.paths.pod(&uid), SANDBOX).map_err(|e| PortError::io(STOP, key.to_string(), &e))
    })
    .await
}

/// Writes down how many sandboxes there were, before nothing tells it any more.
fn count(inner: &Inner, key: &PodKey, uid: &PodUid) -> Result<(), PortError> {
    let Stored::There(sandbox) = observe::sandbox_record(&inner.paths, uid)? else { return Ok(()) };
    let Stored::There(mut record) = observe::record(&inner.paths, uid)? else { return Ok(()) };
    if record.sandbox_attempts > sandbox.attempt {
        return Ok(());
    }
    record.sandbox_attempts = sandbox.attempt.saturating_add(1);
    settle::write(&inner.paths, &record, &inner.settled(uid)).map_err(|e| PortError::io(STOP, key.to_string(), &e))
}

/// Ends the infra process and gives back what it held. Repeating it is fine, and so is nothing there.
pub(super) async fn release(inner: &Arc<Inner>, uid: &PodUid) -> Result<(), PortError> {
    let (paths, pod) = (inner.paths.clone(), uid.clone());
    blocking(move || kill(&paths, &pod)).await?;
    inner.network.detach(uid).await?;
    let (paths, pod) = (inner.paths.clone(), uid.clone());
    blocking(move || unmount(&paths, &pod)).await
}

fn kill(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    let failed = |e: std::io::Error| PortError::io(STOP, uid.to_string(), &e);
    let cgroup = paths.infra_cgroup(uid).map_err(failed)?;
    end_processes(&cgroup).and_then(|()| cgroup::remove(&cgroup)).map_err(failed)
}

/// Ends what is in the cgroup of an infra process.
fn end_processes(cgroup: &str) -> std::io::Result<()> {
    if cgroup::dirs(cgroup)?.is_empty() {
        return Ok(());
    }
    // It may be a child of this process: then it must not stay a zombie.
    let children: Vec<_> = cgroup::pids(cgroup)?.into_iter().flat_map(pidfd::open).collect();
    cgroup::kill_all(cgroup)?;
    for child in &children {
        // It leaves the cgroup a moment before it can be waited for.
        let deadline = Instant::now() + REAP_PATIENCE;
        while !pidfd::exited(child)? && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        pidfd::reap(child)?;
    }
    Ok(())
}

/// Unmounts and removes the pod's run-time directory.
fn unmount(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    let dir = paths.run_pod(uid);
    let failed = |e: std::io::Error| PortError::io("clear", shown(&dir), &e);
    mount::unmount(&paths.shm(uid)).map_err(failed)?;
    subpath::release_all(&dir).map_err(failed)?;
    verdicts::forget(&dir).map_err(failed)?;
    effect::remove_dir(&paths.shm(uid)).and_then(|()| effect::remove_dir(&dir)).map_err(failed)
}
