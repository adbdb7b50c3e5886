//! Pods on this machine, without any other runtime: infra processes, shims, images, volumes and a bridge put together.
//!
//! Nothing is remembered in memory that is not on disk or in the kernel: records say what was meant ([`records`]), locks
//! and process numbers say what lives ([`observe`]). So an agent that is started again adopts what runs, and a verb that is
//! repeated finds its own work done.
//!
//! | place | what |
//! |---|---|
//! | `pods/<uid>/record.json` | the pod; removed last |
//! | `pods/<uid>/sandbox.json` | the infra process, written when its network is there |
//! | `pods/<uid>/users.json` | the user ids of a pod that has its own, see `users` |
//! | `pods/<uid>/etc/` | hosts, hostname, resolv.conf |
//! | `pods/<uid>/containers/<name>/<attempt>/` | one instance, see [`crate::shim`] |
//! | `logs/<namespace>_<name>_<uid>/<container>/<attempt>.log` | its log |
//! | `images/`, `volumes/`, `network/` | see there |
//! | `seccomp/` | profiles that the machine's owner has put there |
//! | run: `pods/<uid>/shm`, `volumes/` | tmpfs |
//! | run: `pods/<uid>/probes.json` | what its probes say, see `verdicts` |
//! | run: `pods/<uid>/subpaths-<name>-<attempt>/` | parts of volumes while a container starts |
//! | `damaged/` | the newest pods whose record could not be read, with their data |
//!
//! Work that blocks runs on blocking threads. The verbs of one pod that change something wait for each other and run to
//! their end even when the caller goes away; those of different pods run side by side.

mod adopt;
mod end;
mod env_file;
mod etc;
mod handler;
mod image;
mod image_volume;
mod leavings;
mod levels;
mod machine;
mod mount_points;
mod network;
mod observe;
mod once;
mod open;
mod paths;
mod pressure;
mod records;
mod resize;
mod rootfs;
mod sandbox;
mod settle;
mod sight;
mod signal;
pub mod spec;
mod start;
mod subpath;
mod sysctls;
mod termination;
pub mod user;
mod users;
mod verbs;
mod verdicts;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::leavings::Leavings;
use self::levels::Levels;
pub use self::machine::capability_set;
pub use self::network::{PodNetwork, pod_network};
use self::observe::{Found, Seen};
use self::once::Once;
use self::paths::Paths;
use self::records::Stored;
use self::settle::Settled;
use self::sight::{Marks, Sights};
use self::watch::Hub;
use crate::image::{HostImage, Puller, Store};
use crate::model::{NodeInfo, ObservedPod, PodKey, PodRecord, PodUid, PullSettings, Sandbox};
use crate::net::{Network, Wishes};
use crate::port::{ErrorKind, PortError};
use crate::shim::LogLimits;
use crate::sys::pidfd;
use crate::volume::Volumes;

/// How long an observation waits for a container that is just being started.
const START_PATIENCE: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(20);

/// What a native backend is made of.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// What outlives the machine: an absolute path.
    pub state: PathBuf,
    /// What ends with it: an absolute path, best on a tmpfs.
    pub run: PathBuf,
    /// The podwright program, which is started again as a shim.
    pub exe: PathBuf,
    /// The root's instance id, 8 hexadecimal digits.
    pub instance: String,
    /// Whether `podwright.invalid/host`, the machine's own root file system, may be used as an image.
    pub allow_host_image: bool,
    /// Paths that containers on the host image do not see, besides `state` and `run`.
    pub covered: Vec<PathBuf>,
    /// How much of each container's log is kept.
    pub log_limits: LogLimits,
    /// How many processes and threads a pod may have; `None` for as many as the machine takes.
    pub pod_pids_limit: Option<u32>,
    /// The first of the user ids that pods with `hostUsers: false` have, a multiple of 65,536; `None` for the default.
    pub first_user_id: Option<u32>,
    /// Where images are pulled from.
    pub pull: PullSettings,
    /// The wished subnet of the pods.
    pub subnet: Option<String>,
    /// The wished one of IPv6, or `none`.
    pub ipv6_subnet: Option<String>,
    /// The machine as its pods see it; its addresses are those of pods with hostNetwork.
    pub node: NodeInfo,
}

/// The native backend of one root.
#[derive(Debug)]
pub struct Native {
    inner: Arc<Inner>,
}

/// What the verbs share.
#[derive(Debug)]
struct Inner {
    paths: Paths,
    exe: PathBuf,
    log_limits: LogLimits,
    pod_pids_limit: Option<u32>,
    node: NodeInfo,
    images: Arc<Store>,
    puller: Arc<Puller>,
    volumes: Volumes,
    network: Network,
    hub: Arc<Hub>,
    /// Which uid a name has.
    index: Mutex<BTreeMap<PodKey, PodUid>>,
    /// One lock per pod for the verbs that change something.
    verbs: Mutex<BTreeMap<PodKey, Arc<tokio::sync::Mutex<()>>>>,
    /// Whether the directory of a pod was synced since this process began, or it is just being done.
    settled: Mutex<BTreeMap<PodUid, Arc<Mutex<Settled>>>>,
    /// What was seen of the pods.
    sights: Sights,
    /// Which user ids pods get.
    user_ids: users::Ids,
    /// The pods that have a cgroup, by what they ask for.
    levels: Levels,
    /// What could not be cleared away yet.
    leavings: Leavings,
    /// Every record was read once, and what belongs to no pod was cleared away: before that no verb begins.
    adopted: Once,
    /// Held while it is looked what the machine has left, and while room is made: what hangs is not begun once more.
    looking: pressure::Alone,
    /// In memory and on the disk.
    reclaiming: [pressure::Alone; 2],
}

/// What a look at one pod gives.
enum Look {
    /// With whether some instance is being started.
    Pod(Arc<ObservedPod>, bool),
    Nothing,
    Damaged(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Native {
    /// Opens a root: makes its directories, checks that pods can run here, opens images, volumes and network. Nothing that
    /// runs is touched.
    ///
    /// # Errors
    /// `Denied` without the rights or on a read-only file system, `Exhausted` on a full one, `Invalid` when a newer
    /// program wrote the records, `Conflict` for a subnet that the machine uses.
    pub fn open(options: NativeOptions) -> Result<Arc<Self>, PortError> {
        let NativeOptions {
            state,
            run,
            exe,
            instance,
            allow_host_image,
            mut covered,
            log_limits,
            pod_pids_limit,
            first_user_id,
            pull,
            subnet,
            ipv6_subnet,
            node,
        } = options;
        let paths = Paths { state, run, instance };
        open::prepare(&paths)?;
        covered.extend([paths.state.clone(), paths.run.clone()]);
        let host = allow_host_image.then_some(HostImage { covered });
        let images = Arc::new(Store::open(&paths.state.join("images"), host)?);
        let inner = Inner {
            puller: Puller::new(Arc::clone(&images), pull),
            images,
            volumes: Volumes::new(paths.state.join("volumes"), paths.run.join("volumes")),
            network: Network::open(
                &paths.instance,
                &paths.state,
                Wishes { subnet: subnet.as_deref(), ipv6_subnet: ipv6_subnet.as_deref() },
            )?,
            exe,
            log_limits,
            pod_pids_limit,
            node,
            hub: Arc::default(),
            index: Mutex::default(),
            verbs: Mutex::default(),
            settled: Mutex::default(),
            sights: Sights::default(),
            user_ids: users::Ids::from(first_user_id),
            levels: Levels::default(),
            leavings: Leavings::default(),
            adopted: Once::default(),
            looking: pressure::Alone::default(),
            reclaiming: Default::default(),
            paths,
        };
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }

    /// Removes everything the root has on the machine once its last pod is gone: bridge, rules, cgroups, mounts, run-time
    /// directories. Images and settings stay.
    ///
    /// # Errors
    /// `Conflict` while there are pods.
    pub async fn teardown_root(&self) -> Result<(), PortError> {
        adopt::teardown(&self.inner).await
    }

    /// The image store of this root.
    pub fn images(&self) -> &Store {
        &self.inner.images
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.inner.hub.close();
    }
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    joined(tokio::task::spawn_blocking(work)).await
}

/// Waits on this thread, one for what blocks, for work that asks the kernel: its answers come at once, and where the program's
/// own runtime takes them each wakes another thread. What is spawned by such work ends with it.
fn here<T>(work: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| PortError::io("wait for", "the kernel", &e))?.block_on(work)
}

async fn joined<T>(
    task: impl Future<Output = Result<Result<T, PortError>, tokio::task::JoinError>>,
) -> Result<T, PortError> {
    match task.await {
        Ok(result) => result,
        Err(error) => {
            let message = format!("a task of the native backend ended early: {error}");
            Err(PortError::new(ErrorKind::Internal, "finish", "a step", message))
        }
    }
}

impl Inner {
    fn no_pod(key: &PodKey) -> PortError {
        PortError::new(ErrorKind::NotFound, "find pod", key.to_string(), "there is no record of it")
    }

    /// The uid of a pod, `None` when there is no record of it.
    async fn find(self: &Arc<Self>, key: &PodKey) -> Result<Option<PodUid>, PortError> {
        self.adopt().await?;
        Ok(lock(&self.index).get(key).cloned())
    }

    async fn uid(self: &Arc<Self>, key: &PodKey) -> Result<PodUid, PortError> {
        self.find(key).await?.ok_or_else(|| Self::no_pod(key))
    }

    fn remember(&self, key: &PodKey, uid: &PodUid) {
        lock(&self.index).insert(key.clone(), uid.clone());
    }

    /// What a verb of a pod that changes something holds meanwhile.
    fn turn(&self, key: &PodKey) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.verbs).entry(key.clone()).or_default().clone()
    }

    fn forget(&self, key: &PodKey, uid: &PodUid) {
        self.forget_uid(uid);
        lock(&self.verbs).remove(key);
    }

    /// The same of a pod whose name nobody knows any more.
    fn forget_uid(&self, uid: &PodUid) {
        lock(&self.index).retain(|_, known| known != uid);
        lock(&self.settled).remove(uid);
        self.sights.forget(uid);
    }

    /// Whether the disk has the record of a pod: for [`settle::settle`].
    fn settled(&self, uid: &PodUid) -> Arc<Mutex<Settled>> {
        lock(&self.settled).entry(uid.clone()).or_default().clone()
    }

    fn read_record(&self, key: &PodKey, uid: &PodUid) -> Result<PodRecord, PortError> {
        match observe::record(&self.paths, uid)? {
            Stored::There(record) => Ok(record),
            Stored::Missing => Err(Self::no_pod(key)),
            Stored::Damaged(why) => {
                Err(PortError::new(ErrorKind::Corrupt, "read the record of pod", key.to_string(), why))
            }
        }
    }

    /// Looks at one pod, waiting for containers that are being started, and watches what lives.
    async fn look(self: &Arc<Self>, uid: &PodUid, deadline: Instant) -> Result<Option<Arc<ObservedPod>>, PortError> {
        loop {
            let (inner, pod) = (self.clone(), uid.clone());
            let found = blocking(move || {
                let marks = Marks::of(&inner.paths, &pod);
                if let Some(known) = marks.as_ref().and_then(|marks| inner.sights.known(&pod, marks)) {
                    return Ok(Look::Pod(known, false));
                }
                Ok(match observe::look(&inner.paths, &pod)? {
                    Found::Pod(mut seen) => {
                        seen.is_whole &= inner.watch(&seen);
                        let in_flight = seen.in_flight;
                        Look::Pod(inner.sights.keep(&pod, marks, *seen), in_flight)
                    }
                    Found::Nothing => Look::Nothing,
                    Found::Damaged(why) => Look::Damaged(why),
                })
            });
            match found.await? {
                Look::Pod(_, true) if Instant::now() < deadline => tokio::time::sleep(START_PAUSE).await,
                Look::Pod(pod, _) => return Ok(Some(pod)),
                Look::Nothing => return Ok(None),
                Look::Damaged(why) => {
                    end::quarantine(self, uid, &why).await?;
                    return Ok(None);
                }
            }
        }
    }

    /// Takes over what the root has, once, and to the end even if the caller goes away: no verb begins meanwhile.
    async fn adopt(self: &Arc<Self>) -> Result<(), PortError> {
        let inner = self.clone();
        self.adopted.done(|| inner.take_over()).await
    }

    async fn take_over(self: Arc<Self>) -> Result<(), PortError> {
        let (pods, unknown) = self.look_at_each().await?;
        let inner = self.clone();
        let keep = blocking(move || {
            // Weights and limits that are wrong keep no pod from running.
            if let Err(error) = inner.levels.adopt(&inner.paths, &pods) {
                tracing::warn!("the weights and limits of pods may be wrong: {error}");
            }
            Ok(pods.iter().map(|pod| pod.record.uid.clone()).chain(unknown).collect())
        });
        adopt::sweep(&self, &keep.await?).await;
        Ok(())
    }

    /// Looks at every pod.
    async fn look_at_all(self: &Arc<Self>) -> Result<Vec<Arc<ObservedPod>>, PortError> {
        self.adopt().await?;
        Ok(self.look_at_each().await?.0)
    }

    /// Looks at every pod and renews the index. Returns the pods, and those of which not even that can be known what they are.
    async fn look_at_each(self: &Arc<Self>) -> Result<(Vec<Arc<ObservedPod>>, BTreeSet<PodUid>), PortError> {
        let inner = self.clone();
        let uids = blocking(move || observe::uids(&inner.paths)).await?;
        let deadline = Instant::now() + START_PATIENCE;
        let (mut pods, mut unknown) = (Vec::new(), BTreeSet::new());
        for uid in &uids {
            match self.look(uid, deadline).await {
                Ok(pod) => pods.extend(pod),
                Err(error) => match self.unseen(uid, error).await? {
                    Some(pod) => pods.push(pod),
                    None => drop(unknown.insert(uid.clone())),
                },
            }
        }
        pods.sort_by(|a, b| a.record.key.cmp(&b.record.key));
        self.sights.retain(&uids);
        self.remember_all(&pods);
        Ok((pods, unknown))
    }

    /// Renews the index by what was seen. What was removed meanwhile has gone out of it already, or goes after this: before that
    /// its directory does.
    fn remember_all(&self, pods: &[Arc<ObservedPod>]) {
        let mut index = lock(&self.index);
        for PodRecord { key, uid, .. } in pods.iter().map(|pod| &pod.record) {
            if index.get(key) != Some(uid) && self.paths.pod(uid).exists() {
                index.insert(key.clone(), uid.clone());
            }
        }
    }

    /// A pod of which at most the record can be read: the others are looked after nevertheless, and whoever looks at this one is
    /// told why that cannot be. `None` where the record cannot be, either: its data stays where it is. The record of a newer
    /// program is for that program.
    async fn unseen(self: &Arc<Self>, uid: &PodUid, error: PortError) -> Result<Option<Arc<ObservedPod>>, PortError> {
        let (inner, pod) = (self.clone(), uid.clone());
        match blocking(move || observe::record(&inner.paths, &pod)).await {
            Ok(Stored::There(record)) => {
                tracing::warn!(pod = %record.key, "{error}; nothing is done for it until that can be read");
                Ok(Some(Arc::new(ObservedPod { record, sandbox: Sandbox::Absent, containers: Vec::new() })))
            }
            Err(newer) if newer.kind == ErrorKind::Invalid => Err(newer),
            Ok(_) | Err(_) => {
                tracing::error!(pod = %uid, "{error}; nobody knows what this pod is until that is possible");
                Ok(None)
            }
        }
    }

    /// Tries once more to have the disk take the record of a pod, if it refused that.
    async fn settle_again(self: &Arc<Self>, key: &PodKey, uid: &PodUid) {
        let settled = self.settled(uid);
        if !settle::has_failed(&settled) {
            return;
        }
        let (inner, pod, turn) = (self.clone(), uid.clone(), self.turn(key).lock_owned().await);
        let again = blocking(move || {
            let _turn = turn;
            settle::settle(&inner.paths, &pod, &settled).map_err(observe::failed(&pod))
        });
        // It may have gone while this waited for its turn.
        if let Err(error) = again.await
            && error.kind != ErrorKind::NotFound
        {
            tracing::warn!(pod = %key, "the disk does not take its record: {error}");
        }
    }

    /// Watches what lives of a pod. Whether that could be done: if not, the next look tries again.
    fn watch(&self, seen: &Seen) -> bool {
        let record = &seen.pod.record;
        let mut is_watched = true;
        for (pid, name) in &seen.monitors {
            is_watched &= self.watch_monitor(&record.key, name, *pid);
        }
        if let Some((pid, ticks)) = seen.infra.filter(|(pid, _)| !self.hub.watches(&record.uid, *pid)) {
            is_watched &= self.watch_process(&record.key, (&record.uid, pid), pidfd::open_same(pid, ticks).map(Some));
        }
        is_watched
    }

    /// Watches a process of a pod that was found, `None` if it has ended. Whether it need not be tried again.
    fn watch_process(&self, key: &PodKey, (uid, pid): (&PodUid, i32), found: io::Result<Option<OwnedFd>>) -> bool {
        let has_ended = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
        match found {
            Ok(Some(fd)) => self.hub.watch(key, uid, pid, fd),
            Ok(None) => self.hub.tell(key),
            Err(error) if has_ended(&error) => self.hub.tell(key),
            Err(error) => {
                tracing::warn!(pod = %key, pid, %error, "its end will only be seen at the next full look");
                return false;
            }
        }
        true
    }
}
