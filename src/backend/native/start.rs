//! One container from its plan to its running process.
//!
//! Everything that can be wrong with the plan is found before anything is written. Then come the instance directory, the shim,
//! which takes the lock, and the record, before the shim may let the container's program run: what is cut short in between is
//! seen as `Created`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::image_volume::{Part, Shown};
use super::leavings::{self, Leaving};
use super::observe::{self, State};
use super::paths::InstanceName;
use super::records::{self, CONTAINER, EXIT};
use super::rootfs::Rootfs;
use super::spec::{self, Bind, Input, OwnFiles, SpecError};
use super::subpath::Held;
use super::user::{self, Accounts, Identity, Wish};
use super::{Inner, env_file, etc, image, machine, settle, users};
use crate::image::Image;
use crate::model::{
    ContainerRecord, ContainerStart, ExitRecord, MountMode, MountSource, PodKey, PodUid, Resources, SubPath,
};
use crate::port::{ErrorKind, PortError};
use crate::shim::{self, Shim, ShimRequest};
use crate::sys::beneath::Dir;
use crate::sys::infra::Infra;
use crate::sys::{bounded, effect, limits, lock};

pub(super) const OPERATION: &str = "start container";
const CONFIG: &str = "CreateContainerConfigError";
pub(super) const CREATE: &str = "CreateContainerError";
/// The largest account file of an image that is read.
const ACCOUNT_FILE: u64 = 4 << 20;
/// The largest seccomp profile that is read.
const PROFILE: u64 = 1 << 20;

/// A start in the making.
struct Start<'a> {
    inner: &'a Arc<Inner>,
    key: &'a PodKey,
    pod: &'a PodSpec,
    container: &'a Container,
    plan: &'a ContainerStart,
    /// The pod's round of restarts.
    round: u32,
    name: InstanceName,
    dir: PathBuf,
    cgroup: String,
}

/// The sandbox as the start needs it.
struct Sandbox {
    infra: Infra,
    attempt: u32,
    ips: Vec<std::net::IpAddr>,
    /// The first of the pod's own user ids, if it has some.
    first_id: Option<u32>,
}

/// Creates and starts an instance. One that exists already is left as it is.
pub(super) fn start(inner: &Arc<Inner>, key: &PodKey, uid: &PodUid, plan: &ContainerStart) -> Result<(), PortError> {
    let subject = format!("{key}/{}", plan.name);
    let fail = |kind, message: &str| PortError::new(kind, OPERATION, subject.clone(), message);
    let record = inner.read_record(key, uid)?;
    let name = InstanceName::new(uid, &plan.name, plan.attempt)?;
    let dir = inner.paths.instance_dir(&name);
    if !matches!(observe::state(&dir).map_err(|e| PortError::io(OPERATION, subject.clone(), &e))?, State::Created) {
        return Ok(());
    }
    if let Some(other) = running(inner, &name).map_err(|e| PortError::io(OPERATION, subject.clone(), &e))? {
        return Err(fail(ErrorKind::Conflict, &format!("instance {other} of it runs")));
    }
    let effective = record.realised.effective.open();
    let pod = effective.spec.as_ref();
    let pod = pod.ok_or_else(|| fail(ErrorKind::Invalid, "the pod has no spec").waiting(CONFIG))?;
    let found = observe::container(pod, &plan.name);
    let (container, _) = found.ok_or_else(|| fail(ErrorKind::NotFound, "the pod has no such container"))?;
    let sandbox = sandbox(inner, uid, pod)?;
    let sandbox = sandbox.ok_or_else(|| fail(ErrorKind::Unavailable, "the pod's sandbox does not run"))?;
    let cgroup = inner.paths.container_cgroup(&name).map_err(|e| PortError::io(OPERATION, subject.clone(), &e))?;
    let bound = env_file::bind(inner, uid, plan);
    let bound = bound.map_err(|message| fail(ErrorKind::Invalid, &message).waiting(CONFIG))?;
    Start { inner, key, pod, container, plan: &bound, round: record.round(), name, dir, cgroup }.run(&sandbox)
}

/// Another instance of the same container that runs.
fn running(inner: &Inner, name: &InstanceName) -> io::Result<Option<u32>> {
    let siblings = inner.paths.containers(&name.uid).join(&name.container);
    for attempt in records::directories(&siblings)? {
        let Ok(attempt) = attempt.parse::<u32>() else { continue };
        let sibling = InstanceName { attempt, ..name.clone() };
        if attempt != name.attempt
            && matches!(observe::state(&inner.paths.instance_dir(&sibling))?, State::Running(_) | State::InFlight)
        {
            return Ok(Some(attempt));
        }
    }
    Ok(None)
}

fn sandbox(inner: &Inner, uid: &PodUid, pod: &PodSpec) -> Result<Option<Sandbox>, PortError> {
    let record = observe::sandbox_record(&inner.paths, uid)?.ok().filter(observe::infra_lives);
    let Some(record) = record else { return Ok(None) };
    let first_id = match users::are_own(pod) {
        true => Some(users::of_sandbox(uid, record.infra())?),
        false => None,
    };
    Ok(Some(Sandbox { infra: record.infra(), attempt: record.attempt, ips: record.ips, first_id }))
}

impl Start<'_> {
    fn subject(&self) -> String {
        format!("{}/{}", self.key, self.plan.name)
    }

    fn io(&self, waiting: &'static str) -> impl Fn(io::Error) -> PortError {
        let subject = self.subject();
        move |error| PortError::io(OPERATION, subject.clone(), &error).waiting(waiting)
    }

    fn refuse(&self, waiting: &'static str, message: String) -> PortError {
        PortError::new(ErrorKind::Invalid, OPERATION, self.subject(), message).waiting(waiting)
    }

    fn run(&self, sandbox: &Sandbox) -> Result<(), PortError> {
        let paths = &self.inner.paths;
        // It gets ready meanwhile.
        let shim = Shim::begin(&self.inner.exe, &paths.monitors_cgroup());
        let reference = self.container.image.as_deref().unwrap_or_default();
        let image = image::resolve(self.inner, reference)?;
        let rootfs = Rootfs::open(&image.lower).map_err(self.io(CREATE))?;
        let identity = self.identity(&image, &rootfs)?;
        // Parts of volumes are held until the container has them.
        let left = || self.inner.later(Leaving::Parts(self.name.uid.clone()));
        let mut held = Held::new(paths.sub_paths(&self.name), &left).map_err(self.io(CREATE))?;
        let mut shown = Shown::default();
        let mut binds = self.volumes(&mut held, &mut shown)?;
        let anonymous = self.anonymous(&image, &binds);
        binds.extend(anonymous.iter().map(|(_, bind)| bind.clone()));
        let spec = self.spec(sandbox, &image, &identity, &binds)?;

        etc::write(&paths.etc(&self.name.uid), self.pod, self.key, &sandbox.ips).map_err(self.io(CREATE))?;
        self.make_directories(&rootfs, &anonymous).map_err(self.io(CREATE))?;
        let request = ShimRequest {
            id: observe::instance_id(paths, &self.name),
            instance_dir: self.dir.clone(),
            spec,
            infra: Some(sandbox.infra),
            lowers: self.layers(&image),
            images: std::mem::take(&mut shown.images),
            covered: image.covered.clone(),
            log_path: paths.log(self.key, &self.name),
            log_limits: self.inner.log_limits,
            stdin: self.container.stdin == Some(true),
            stdin_once: self.container.stdin_once == Some(true),
            cgroup: self.cgroup.clone(),
        };
        let mut is_recorded = false;
        let record = || {
            self.write_down(sandbox, &image, &shown).map_err(self.io(CREATE))?;
            is_recorded = true;
            Ok(())
        };
        let started = shim.start(&request, record);
        drop(held);
        match started {
            Ok(started) => {
                self.inner.watch_monitor(self.key, &self.name, started.monitor_pid);
                Ok(())
            }
            Err(error) if is_recorded => Err(self.start_failed(error)),
            // What has no record has no end either: it is tried again.
            Err(error) => Err(error),
        }
    }

    /// The layers of its root file system, topmost first. The machine's own one has what is mounted on.
    fn layers(&self, image: &Image) -> Vec<PathBuf> {
        let lowest = (!image.host).then(|| self.inner.paths.points());
        image.lower.iter().cloned().chain(lowest).collect()
    }

    /// A start that failed is an instance that ended: its exit record tells, and the restart policy decides.
    fn start_failed(&self, error: PortError) -> PortError {
        // Another start of the same instance: that one tells how it ends. Or this one came to no end, and is tried again.
        if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Unavailable) {
            return error;
        }
        let exit = ExitRecord {
            exit_code: 128,
            signal: None,
            oom_killed: false,
            started_at: None,
            finished_at: Timestamp::now(),
            reason: Some("StartError".to_owned()),
            message: Some(error.message.clone()),
        };
        let written = match observe::state(&self.dir) {
            // The shim could not write it, or never came to life.
            Ok(State::Created) => records::write(&self.dir, EXIT, &exit),
            other => other.map(|_| ()),
        };
        if let Err(error) = written {
            tracing::warn!(container = self.subject(), %error, "a failed start could not be written down");
        }
        // Its cgroup was made for its view of them, and nobody else may have come to remove it.
        if let Err(error) = leavings::clear_ended(&self.inner.paths, &self.name) {
            tracing::warn!("{error}; it is tried again until it is done");
            self.inner.later(Leaving::Ended(self.name.clone()));
        }
        error
    }

    fn identity(&self, image: &Image, rootfs: &Rootfs) -> Result<Identity, PortError> {
        let read = |path: &str| rootfs.read(Path::new(path), ACCOUNT_FILE);
        let passwd = read("etc/passwd").map_err(self.io(CONFIG))?.unwrap_or_default();
        let group = read("etc/group").map_err(self.io(CONFIG))?.unwrap_or_default();
        let wish = Wish::of(self.pod, self.container);
        user::resolve(&wish, &image.config.user, &Accounts { passwd: &passwd, group: &group })
            .and_then(|identity| match users::are_own(self.pod) {
                true => users::check(&identity).map(|()| identity),
                false => Ok(identity),
            })
            .map_err(|message| self.refuse(CONFIG, message))
    }

    /// The pod's volumes in this container.
    fn volumes(&self, held: &mut Held<'_>, shown: &mut Shown) -> Result<Vec<Bind>, PortError> {
        let mut out = Vec::new();
        for mount in &self.plan.mounts {
            let source = match &mount.source {
                MountSource::Volume { name, sub_path } => self.volume(name, sub_path.as_ref(), held)?,
                MountSource::Image { volume, image, sub_path } => {
                    let part = Part { volume, image, sub_path: sub_path.as_ref() };
                    shown.add(self.inner, &self.dir, &part)?
                }
            };
            // The kubelet begins at the root, too.
            let destination = Path::new("/").join(&mount.mount_path);
            out.push(Bind { source, destination, mode: mount.mode });
        }
        Ok(out)
    }

    /// A volume of the pod, or a part of it.
    fn volume(&self, name: &str, part: Option<&SubPath>, held: &mut Held<'_>) -> Result<PathBuf, PortError> {
        let Some(volume) = self.inner.volumes.path(&self.name.uid, name) else {
            let message = format!("volume {name} was not made");
            return Err(PortError::new(ErrorKind::Unavailable, OPERATION, self.subject(), message));
        };
        match part {
            None => Ok(volume),
            Some(part) => held.bind(&volume, part.path.reveal()).map_err(|e| {
                let what = format!("failed to prepare subPath {:?} of volume {name}: {e}", part.written);
                self.refuse(CONFIG, what)
            }),
        }
    }

    /// The volumes the image declares and the pod does not mount: each an empty directory of this instance. With the path
    /// in the image.
    fn anonymous(&self, image: &Image, binds: &[Bind]) -> Vec<(PathBuf, Bind)> {
        let mut out = Vec::new();
        for (number, place) in image.config.volumes.iter().enumerate() {
            let destination: PathBuf = Path::new("/").join(place).components().collect();
            let plain = destination.components().all(|c| c != std::path::Component::ParentDir);
            let mounted = binds.iter().any(|b| b.destination.components().collect::<PathBuf>() == destination);
            if plain && !mounted && destination != Path::new("/") {
                let source = self.dir.join("volumes").join(number.to_string());
                out.push((destination.clone(), Bind { source, destination, mode: MountMode::default() }));
            }
        }
        out
    }

    fn spec(
        &self,
        sandbox: &Sandbox,
        image: &Image,
        identity: &Identity,
        binds: &[Bind],
    ) -> Result<shim::oci::Spec, PortError> {
        let paths = &self.inner.paths;
        let host_ipc = self.pod.host_ipc == Some(true);
        let shm = if host_ipc { PathBuf::from("/dev/shm") } else { paths.shm(&self.name.uid) };
        let devices = match spec::is_privileged(self.container) {
            true => machine::devices().map_err(self.io(CREATE))?,
            false => Vec::new(),
        };
        let cgroups = machine::cgroup_view(&self.cgroup, &paths.cgroup_stand()).map_err(self.io(CREATE))?;
        limits::set_oom_group(&self.cgroup).map_err(self.io(CREATE))?;
        let local_seccomp = self.local_seccomp()?;
        let json = spec::build(&Input {
            pod: self.pod,
            container: self.container,
            start: self.plan,
            image: &image.config,
            identity,
            hostname: &etc::hostname(self.pod, self.key),
            infra_pid: sandbox.infra.pid,
            first_id: sandbox.first_id,
            binds,
            files: OwnFiles {
                etc: &paths.etc(&self.name.uid),
                termination_log: &self.dir.join(shim::MESSAGE_SOURCE),
                shm: &shm,
            },
            cgroups: &cgroups,
            bounding: machine::capability_set("CapBnd").map_err(self.io(CREATE))?,
            local_seccomp: local_seccomp.as_deref(),
            memory: machine::memory(),
            devices: &devices,
        });
        let json = json.map_err(|e| match e {
            SpecError::NoCommand | SpecError::Capability(_) | SpecError::Seccomp(_) | SpecError::Told(..) => {
                self.refuse(CREATE, e.to_string())
            }
            SpecError::Quantity(..) => self.refuse(CONFIG, e.to_string()),
        })?;
        // The message of a failed conversion could quote a value of the environment.
        serde_json::from_value(json).map_err(|_| {
            PortError::new(ErrorKind::Internal, OPERATION, self.subject(), "the OCI spec was built wrongly")
                .waiting(CREATE)
        })
    }

    /// The seccomp profile that the container names of those on this machine, checked: it is applied whole or not at all.
    fn local_seccomp(&self) -> Result<Option<String>, PortError> {
        let profile = spec::seccomp(self.pod, self.container).map_err(|e| self.refuse(CREATE, e.to_string()))?;
        let spec::Seccomp::Localhost(name) = profile else { return Ok(None) };
        let dir = self.inner.paths.seccomp();
        let place = dir.join(name);
        let unusable = |why: String| self.refuse(CREATE, format!("seccomp profile {}: {why}", place.display()));
        let read = || {
            let file = Dir::open(&dir)?.open_file(Path::new(name))?;
            let length = file.metadata()?.len();
            Ok::<_, io::Error>((bounded::read(file, PROFILE)?, length))
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let help = format!("put the file below {}, or name another profile", dir.display());
                Err(unusable("there is no such file".to_owned()).with_help(help))
            }
            Err(error) => Err(unusable(error.to_string())),
            Ok((None, length)) => {
                Err(unusable(format!("it is of {length} bytes, and no more than {PROFILE} are read of a profile")))
            }
            Ok((Some(bytes), _)) => {
                let text = String::from_utf8(bytes).map_err(|_| unusable("it is no text".to_owned()))?;
                shim::check_seccomp(&text).map(Some).map_err(unusable)
            }
        }
    }

    fn make_directories(&self, rootfs: &Rootfs, anonymous: &[(PathBuf, Bind)]) -> io::Result<()> {
        let private = |dir: &Path| effect::make_dirs(dir, 0o700);
        private(&self.dir)?;
        if let Some(logs) = self.inner.paths.log(self.key, &self.name).parent() {
            private(logs)?;
        }
        for (place, bind) in anonymous {
            private(&bind.source)?;
            let (uid, gid, mode) = rootfs.directory(place)?.unwrap_or((0, 0, 0o755));
            effect::change_owner_of(&bind.source, uid, gid)?;
            effect::change_mode_of(&bind.source, mode)?;
        }
        Ok(())
    }

    /// Waits until the disk has the records of the pod and of the instance.
    fn write_down(&self, sandbox: &Sandbox, image: &Image, shown: &Shown) -> io::Result<()> {
        let uid = &self.name.uid;
        settle::settle(&self.inner.paths, uid, &self.inner.settled(uid))?;
        self.write_record(sandbox, image, shown)
    }

    /// The instance's record.
    fn write_record(&self, sandbox: &Sandbox, image: &Image, shown: &Shown) -> io::Result<()> {
        let paths = &self.inner.paths;
        let record = ContainerRecord {
            name: self.plan.name.clone(),
            kind: self.plan.kind,
            attempt: self.plan.attempt,
            id: observe::instance_id(paths, &self.name),
            sandbox_attempt: sandbox.attempt,
            round: self.round,
            image: self.container.image.clone().unwrap_or_default(),
            image_id: image.id.clone(),
            image_source: self.plan.image_source.clone(),
            volume_images: shown.ids.clone(),
            created_at: Timestamp::now(),
            boot_id: observe::own_boot(),
            backoff: self.plan.backoff,
            log_path: paths.log(self.key, &self.name).display().to_string(),
            resources: Some(Resources::of(self.container)),
            data: self.plan.data.clone(),
            stopping: None,
        };
        records::write(&self.dir, CONTAINER, &record)
    }
}

impl Inner {
    /// Watches a monitor by its number, which is its own as long as the instance's lock is held. Whether it need not be tried
    /// again.
    pub(super) fn watch_monitor(&self, key: &PodKey, name: &InstanceName, pid: i32) -> bool {
        if self.hub.watches(&name.uid, pid) {
            return true;
        }
        let is_held = || lock::is_held(&self.paths.instance_dir(name).join(records::LOCK));
        let found = crate::sys::pidfd::open(pid).and_then(|fd| Ok(is_held()?.then_some(fd)));
        self.watch_process(key, (&name.uid, pid), found)
    }
}
