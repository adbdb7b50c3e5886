//! The one place where adapters are opened and put together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::events::{self, Events};
use super::lock::RootLock;
use super::saver::Saver;
use super::settings::Settings;
use super::statuses::Statuses;
use super::{keeper, lock, logging, manifests, rest};
use crate::backend::native::{Native, NativeOptions};
use crate::backend::{Keys, LedgerFile};
use crate::control::{self, Agent, Kubelet, KubeletParts, Parts, Progress, on_a_thread};
use crate::manifest::Reader;
use crate::model::{NodeInfo, Projection};
use crate::port::{PortError, Source, Tokens as _};
use crate::serve::{BackendLogs, OpenId, Server};
use crate::source::{Directory, StatusFile};
use crate::sys::clock::SystemClock;
use crate::sys::{process, resident};

/// How many pods and containers are started at the same time.
const STARTS: usize = 8;
/// Threads of the runtime: podwright waits far more than it computes.
const THREADS: usize = 2;
/// How long a thread for work that blocks is kept without any.
const IDLE_THREAD: Duration = Duration::from_secs(1);
/// How long the tasks beside the loop may take at the end.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// The machine's side, open and ours alone.
pub struct Engine {
    pub settings: Settings,
    pub native: Arc<Native>,
    keys: Arc<Keys>,
    instance: String,
    /// Given back when everything else is done.
    _lock: RootLock,
}

impl Engine {
    /// Opens the root for a command that changes pods.
    ///
    /// # Errors
    /// When the root cannot be used or somebody else works on it.
    pub fn open(settings: Settings, verb: &'static str) -> Result<Self, CliError> {
        process::close_memory();
        let layout = &settings.layout;
        layout.prepare()?;
        let lock = lock::take(layout, verb)?;
        let instance = layout.instance()?;
        let native = Native::open(NativeOptions {
            state: layout.state.clone(),
            run: layout.run.clone(),
            exe: "/proc/self/exe".into(),
            instance: instance.clone(),
            allow_host_image: settings.allow_host_image,
            covered: settings.covered.clone(),
            log_limits: settings.log_limits,
            pod_pids_limit: settings.pod_pids_limit,
            first_user_id: settings.first_user_id,
            pull: settings.pull.clone(),
            subnet: settings.subnet.clone(),
            ipv6_subnet: settings.ipv6_subnet.clone(),
            node: settings.node.clone(),
        })?;
        let keys = Arc::new(Keys::new(layout.pki()));
        Ok(Self { settings, native, keys, instance, _lock: lock })
    }

    /// Workers that begin no pod. Needs a runtime.
    pub fn kubelet(&self) -> Arc<Kubelet> {
        self.kubelet_of(self.settings.node.clone())
    }

    fn kubelet_of(&self, node: NodeInfo) -> Arc<Kubelet> {
        Kubelet::start(KubeletParts {
            backend: self.native.clone(),
            clock: Arc::new(SystemClock),
            tokens: self.keys.clone(),
            node,
            instance: self.instance.clone(),
            resync: self.resync(),
            starts: STARTS,
        })
    }

    /// The machine with its certificate, and what verifiers of tokens are told. Neither is worth a pod: an agent without them
    /// keeps all that run, and tries again.
    fn identity(&self) -> (NodeInfo, OpenId) {
        let root_ca = self.keys.root_ca().unwrap_or_else(|error| {
            tracing::error!("{error}; new pods are without the certificate until it can be had");
            String::new()
        });
        if let Err(error) = self.keys.public() {
            tracing::error!("{error}; pods that need a token wait for it, and those that run are kept");
        }
        let node = NodeInfo { root_ca: root_ca.into(), ..self.settings.node.clone() };
        let keys = Arc::clone(&self.keys);
        let keys = Arc::new(move || keys.public().into_iter().collect::<Vec<_>>());
        let openid = OpenId { issuer: node.issuer().to_owned(), keys };
        (node, openid)
    }

    fn resync(&self) -> Duration {
        self.settings.resync.unwrap_or(Duration::ZERO)
    }

    /// Starts the loop and what stands beside it: the API on its socket and the last report on disk.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub async fn start(
        &self,
        source: Arc<dyn Source>,
        status: StatusFile,
        hints: mpsc::Receiver<()>,
    ) -> Result<Live, PortError> {
        let layout = &self.settings.layout;
        let server = Server::bind(&layout.socket()).await?;
        let mut reader = Reader::with_threads(manifests::threads());
        let (node, openid) = self.identity();
        let (kubelet, told) = (self.kubelet_of(node.clone()), events::recall(&layout.events()));
        kubelet.recall(told.clone());
        let agent = Agent::new(Parts {
            source,
            parse: Box::new(move |snapshot| reader.read(snapshot)),
            blocking: on_a_thread,
            kubelet,
            sink: Arc::new(Statuses::new(status, layout.status())),
            ledger: Arc::new(LedgerFile::new(layout.ledger())),
            clock: Arc::new(SystemClock),
            node,
            resync: self.resync(),
        });
        let (projection, progress) = (agent.projection(), agent.progress());
        let (cancel, over) = (CancellationToken::new(), CancellationToken::new());
        let logs = Arc::new(BackendLogs { backend: self.native.clone() });
        let server = tokio::spawn(serve(server, (projection.clone(), logs, openid)));
        resident::map_in_parts();
        // Nobody waits for its end: it keeps nothing.
        tokio::spawn(rest::give_back_when_quiet());
        let events = Events::new(layout.events(), told);
        let events = tokio::spawn(keeper::keep(events, projection.clone(), over.clone()));
        let saver = tokio::spawn(keeper::keep(Saver::new(layout.snapshot()), projection, over.clone()));
        let agent = tokio::spawn(control::run(agent, hints, cancel.clone()));
        Ok(Live { progress, cancel, over, agent, server, savers: [saver, events] })
    }
}

type Served = (watch::Receiver<Arc<Projection>>, Arc<BackendLogs>, OpenId);

async fn serve(server: Server, (projection, logs, openid): Served) {
    if let Err(error) = server.serve(projection, logs, openid).await {
        tracing::error!("{error}; pods are kept, but get, describe and logs find no agent");
    }
}

/// A running loop.
pub struct Live {
    pub progress: watch::Receiver<Arc<Progress>>,
    cancel: CancellationToken,
    over: CancellationToken,
    agent: JoinHandle<()>,
    server: JoinHandle<()>,
    /// They write when the loop has ended.
    savers: [JoinHandle<()>; 2],
}

impl Live {
    /// Resolves when the loop has ended by itself, which only a bug makes it do.
    pub async fn broken(&mut self) -> CliError {
        match (&mut self.agent).await {
            Ok(()) => CliError::new("the agent's loop ended by itself"),
            Err(error) => CliError::new(format!("the agent's loop broke: {error}")),
        }
    }

    /// Ends the loop: steps under way are finished, the last report is written, the pods stay.
    pub async fn stop(self) {
        self.cancel.cancel();
        if !self.agent.is_finished() {
            // A loop that broke was told by `broken` already.
            let _ = self.agent.await;
        }
        self.server.abort();
        self.over.cancel();
        let [report, events] = self.savers;
        if tokio::time::timeout(LAST_TASKS, async { tokio::join!(report, events) }).await.is_err() {
            tracing::warn!("the last report or the last events were not written in time");
        }
    }
}

/// The runtime of a command that works on pods, which may run for years.
pub fn runtime() -> Result<Runtime, CliError> {
    resident::stay_small();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_keep_alive(IDLE_THREAD)
        .enable_all()
        .build()
        .map_err(|e| CliError::new(format!("cannot start the runtime: {e}")))
}

/// Switches logging on as the settings say.
pub fn log(settings: &Settings, quiet: logging::Quiet) {
    logging::start(settings.log_format, settings.verbose, quiet);
}

/// Opens the directory of manifests with its status file.
///
/// # Errors
/// When it is none or cannot be read.
pub fn directory(path: &Path, worktree: bool, settings: &Settings) -> Result<(Directory, StatusFile), CliError> {
    let options = crate::source::Options {
        worktree,
        status_file: settings.status_file.clone(),
        local: Some(settings.layout.local()),
        ..crate::source::Options::default()
    };
    let directory = Directory::open(path, options)?;
    let status = StatusFile::of(&directory);
    Ok((directory, status))
}
