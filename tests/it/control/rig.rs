//! A machine in memory with an agent on it: directory, backend, ledger and status file are values of the test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use podwright::backend::fake::{Fake, FakeTokens, VirtualClock};
use podwright::control::{Agent, Blocking, Kubelet, KubeletParts, Parts, Progress, on_a_thread, run};
use podwright::model::{
    BlobId, Desired, Diagnostic, Diagnostics, Durable, NodeInfo, ObservedPod, Place, PodKey, Projection, Revision,
    RevisionKind, Severity, Snapshot, SourceFile, SourceRef, StatusDocument,
};
use podwright::port::{Clock, ContainerBackend, ErrorKind, LedgerStore, PortError, ReadError, Source, StatusSink};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admit::without_tokens::desired;

/// No test waits longer than this, on a clock that costs nothing.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn key(name: &str) -> PodKey {
    PodKey::new("default", name)
}

/// A pod of one container named `app`.
pub(crate) fn pod(name: &str, image: &str) -> Value {
    pod_with(name, json!({"containers": [{"name": "app", "image": image}]}))
}

pub(crate) fn pod_with(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A manifest that cannot be read.
pub(crate) fn broken() -> Value {
    json!({"kind": "Pod", "broken": true})
}

pub(crate) fn failed(operation: &'static str) -> PortError {
    PortError::new(ErrorKind::Unavailable, operation, "the test", "told to")
}

/// A directory with a history.
#[derive(Default)]
pub(crate) struct Directory {
    commits: Mutex<Vec<Snapshot>>,
    pub(crate) vanished: Mutex<bool>,
    /// Older revisions cannot be read.
    pub(crate) shallow: Mutex<bool>,
    pub(crate) reads: AtomicUsize,
}

impl Directory {
    /// A new revision with these objects; returns its id.
    pub(crate) fn commit(&self, objects: &[Value]) -> String {
        let mut commits = self.commits.lock().unwrap();
        let id = format!("{:040x}", commits.len() + 1);
        let file = |(index, object): (usize, &Value)| {
            let bytes = object.to_string();
            SourceFile {
                path: Arc::from(format!("{index}.yaml")),
                blob: BlobId::of_text(&bytes),
                bytes: Arc::from(bytes.into_bytes()),
            }
        };
        commits.push(Snapshot {
            revision: Revision { kind: RevisionKind::Commit, id: id.clone(), subject: None, branch: None },
            files: objects.iter().enumerate().map(file).collect(),
            local: Default::default(),
            uncommitted: vec![],
            ignored: vec![],
        });
        id
    }
}

#[async_trait]
impl Source for Directory {
    async fn read(&self) -> Result<Snapshot, ReadError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if *self.vanished.lock().unwrap() {
            return Err(ReadError::Failed(failed("read directory")));
        }
        Ok(self.commits.lock().unwrap().last().expect("a commit").clone())
    }

    async fn read_at(&self, revision: &str) -> Result<Option<Snapshot>, ReadError> {
        if *self.vanished.lock().unwrap() {
            return Err(ReadError::Failed(failed("read directory")));
        }
        if *self.shallow.lock().unwrap() {
            return Ok(None);
        }
        Ok(self.commits.lock().unwrap().iter().find(|c| c.revision.id == revision).cloned())
    }
}

/// Reads the JSON of the test's commits.
fn parse(snapshot: &Snapshot) -> Desired {
    let values: Vec<Value> = snapshot.files.iter().map(|f| serde_json::from_slice(&f.bytes).unwrap()).collect();
    let bad = values.iter().position(|v| v.get("broken").is_some());
    let good: Vec<Value> = values.into_iter().filter(|v| v.get("broken").is_none()).collect();
    let mut desired = Desired { revision: snapshot.revision.clone(), ..desired(&good) };
    if let Some(index) = bad {
        let at = SourceRef { path: Arc::from(format!("{index}.yaml")), document: 0, line: 3, column: 5 };
        desired.diagnostics = Diagnostics(vec![Diagnostic {
            severity: Severity::Error,
            rule: "unknown-field",
            message: "unknown field \"broken\"".into(),
            help: None,
            place: Some(Place { at, text: Arc::from(""), width: 1 }),
            object: None,
            field: None,
        }]);
    }
    desired
}

/// The status file.
#[derive(Default)]
pub(crate) struct Sink {
    /// Every version that was written.
    pub(crate) written: Mutex<Vec<StatusDocument>>,
    pub(crate) full: Mutex<bool>,
}

impl Sink {
    pub(crate) fn count(&self) -> usize {
        self.written.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> StatusDocument {
        self.written.lock().unwrap().last().expect("a status document").clone()
    }

    /// The condition that is True.
    pub(crate) fn condition(&self) -> String {
        let last = self.last();
        last.conditions.iter().find(|c| c.status == "True").unwrap().kind.clone()
    }
}

#[async_trait]
impl StatusSink for Sink {
    async fn publish(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError> {
        if *self.full.lock().unwrap() {
            return Err(failed("write status"));
        }
        let mut written = self.written.lock().unwrap();
        let differs = written.last() != Some(&**document);
        if differs {
            written.push((**document).clone());
        }
        Ok(differs)
    }
}

/// The durable ledger; each save notes how many calls the backend had had by then.
pub(crate) struct Ledger {
    fake: Arc<Fake>,
    pub(crate) value: Mutex<Durable>,
    pub(crate) saves: Mutex<Vec<(Durable, usize)>>,
    pub(crate) full: Mutex<bool>,
}

#[async_trait]
impl LedgerStore for Ledger {
    async fn load(&self) -> Result<Durable, PortError> {
        Ok(self.value.lock().unwrap().clone())
    }

    async fn save(&self, durable: &Durable) -> Result<(), PortError> {
        if *self.full.lock().unwrap() {
            return Err(failed("save ledger"));
        }
        *self.value.lock().unwrap() = durable.clone();
        let changes = self.fake.calls().iter().filter(|call| call.verb.changes()).count();
        self.saves.lock().unwrap().push((durable.clone(), changes));
        Ok(())
    }
}

/// The machine. It outlives its agents.
pub(crate) struct Rig {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) sink: Arc<Sink>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) parses: Arc<AtomicUsize>,
    pub(crate) resync: Duration,
    pub(crate) blocking: Blocking,
    pub(crate) node: NodeInfo,
    /// What agents to come sign tokens with.
    pub(crate) signature: Mutex<String>,
    /// Whether they, and those that run, can sign none.
    pub(crate) broken_key: Arc<AtomicBool>,
}

/// An agent that runs.
pub(crate) struct Running {
    pub(crate) kubelet: Arc<Kubelet>,
    pub(crate) progress: watch::Receiver<Arc<Progress>>,
    pub(crate) projection: watch::Receiver<Arc<Projection>>,
    pub(crate) hints: mpsc::Sender<()>,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Rig {
    /// A machine whose directory has one commit with these objects. Nothing is looked at without a hint.
    pub(crate) fn new(objects: &[Value]) -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let fake = Fake::new(clock.clone());
        let directory = Arc::new(Directory::default());
        directory.commit(objects);
        let ledger =
            Ledger { fake: fake.clone(), value: Mutex::default(), saves: Mutex::default(), full: Mutex::default() };
        Self {
            clock,
            fake,
            directory,
            sink: Arc::default(),
            ledger: Arc::new(ledger),
            parses: Arc::default(),
            resync: Duration::ZERO,
            blocking: on_a_thread,
            node: NodeInfo {
                name: "edge-1".into(),
                ips: vec!["192.0.2.7".parse().unwrap()],
                root_ca: "certificate".into(),
                ..NodeInfo::default()
            },
            signature: Mutex::default(),
            broken_key: Arc::default(),
        }
    }

    pub(crate) fn kubelet(&self) -> Arc<Kubelet> {
        self.kubelet_over(self.fake.clone())
    }

    fn kubelet_over(&self, backend: Arc<dyn ContainerBackend>) -> Arc<Kubelet> {
        Kubelet::start(KubeletParts {
            backend,
            clock: self.clock.clone(),
            tokens: Arc::new(FakeTokens {
                word: self.signature.lock().unwrap().clone(),
                broken: self.broken_key.clone(),
            }),
            node: self.node.clone(),
            instance: "0123abcd".into(),
            resync: self.resync,
            starts: 2,
        })
    }

    pub(crate) fn start(&self) -> Running {
        self.start_over(self.fake.clone())
    }

    /// An agent that has another backend between itself and the machine.
    pub(crate) fn start_over(&self, backend: Arc<dyn ContainerBackend>) -> Running {
        let kubelet = self.kubelet_over(backend);
        let parses = self.parses.clone();
        let agent = Agent::new(Parts {
            source: self.directory.clone(),
            parse: Box::new(move |snapshot| {
                parses.fetch_add(1, Ordering::SeqCst);
                parse(snapshot)
            }),
            blocking: self.blocking,
            kubelet: kubelet.clone(),
            sink: self.sink.clone(),
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            node: self.node.clone(),
            resync: self.resync,
        });
        let (hints, receiver) = mpsc::channel(2000);
        let cancel = CancellationToken::new();
        let (progress, projection) = (agent.progress(), agent.projection());
        let task = tokio::spawn(run(agent, receiver, cancel.clone()));
        Running { kubelet, progress, projection, hints, cancel, task }
    }

    /// A new commit, and a hint at it.
    pub(crate) fn commit(&self, agent: &Running, objects: &[Value]) -> String {
        let id = self.directory.commit(objects);
        agent.hint();
        id
    }

    pub(crate) fn pod(&self, name: &str) -> ObservedPod {
        self.fake.pod(&key(name)).unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// The changing calls so far, in words.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.fake.calls().iter().filter(|call| call.verb.changes()).map(ToString::to_string).collect()
    }

    /// Lets `seconds` pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Uid of each pod.
    pub(crate) fn uids(&self) -> BTreeMap<String, String> {
        self.fake.keys().into_iter().map(|k| (k.name.clone(), self.pod(&k.name).record.uid.0.clone())).collect()
    }
}

impl Running {
    pub(crate) fn hint(&self) {
        self.hints.try_send(()).unwrap();
    }

    /// Waits until the progress is as wanted.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl FnMut(&Progress) -> bool) -> Arc<Progress> {
        let mut wanted = wanted;
        let found = tokio::time::timeout(PATIENCE, self.progress.wait_for(|p| wanted(p))).await;
        let found = found.map(|found| found.expect("the agent ended").clone());
        found.unwrap_or_else(|_| panic!("never: {what}; {:#?}", self.progress.borrow()))
    }

    /// Waits until every pod is as this revision has it.
    pub(crate) async fn done(&mut self, revision: &str) -> Arc<Progress> {
        let wanted = revision.to_owned();
        self.until(&format!("done at {revision}"), move |p| {
            p.is_done() && p.attempted.as_ref().is_some_and(|r| r.id == wanted)
        })
        .await
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

/// Whether a condition comes true, with time passing as needed.
pub(crate) async fn eventually(what: &str, mut wanted: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if wanted() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("never: {what}");
}

/// The id of the `n`th commit.
pub(crate) fn id(n: usize) -> String {
    format!("{n:040x}")
}
