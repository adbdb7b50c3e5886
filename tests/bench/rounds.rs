//! What a round costs, on the backend in memory.
//!
//! ```sh
//! cargo bench --bench rounds                    # 1000 pods, 31 rounds
//! cargo bench --bench rounds -- --pods 3000
//! ```
//!
//! - *Warm*: the real loop with its real status file and 1,000 pods that run. A hint, and nothing changed: the source is
//!   read, the pods are observed and planned, projection and status document made, the file looked at and not written.
//! - *Cold*: the same stages from nothing, with every pod yet to be created, beside the reading of the YAML alone, in the
//!   same run: reading is what nobody can save.
//!
//! - *Peak*: resident memory of the warm agent at its highest, from its first round on, beside the bytes of the manifests.
//!   The limit counts from 10,000 pods on.
//!
//! CPU is that of the whole process, medians. With more pods the limits of time grow with their number. Exit code: 0 when
//! every limit holds, 1 when one does not, 64 for a wrong argument.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use podwright::admit::admit;
use podwright::backend::fake::{Fake, FakeTokens, VirtualClock};
use podwright::control::{Agent, Kubelet, KubeletParts, Parts, on_a_thread, run};
use podwright::manifest::Reader;
use podwright::model::{
    AdmittedPod, BlobId, Desired, Diagnostics, Durable, NodeInfo, ObservedPod, Projection, Revision, RevisionKind,
    Snapshot, SourceFile, StatusDocument,
};
use podwright::plan::fleet;
use podwright::port::{LedgerStore, PortError, ReadError, Source, StatusSink};
use podwright::report::{PodView, ProjectInput, StatusInput, project, shown, status_document};
use podwright::source::{StatusFile, Trust};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Milliseconds of CPU a warm round may take, for each 1,000 pods.
const WARM: f64 = 10.0;
/// How many times the reading a cold round may take.
const COLD: f64 = 1.3;
/// How many times the bytes of the manifests an agent with so many pods may take. With fewer most of it is the program itself.
const MEMORY: f64 = 20.0;
const MANY: usize = 10_000;
const ROUNDS: usize = 31;
const COLD_ROUNDS: usize = 7;

fn main() -> ExitCode {
    let mut pods = 1000;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next().and_then(|n| n.parse().ok())) {
            ("--pods", Some(n @ 1..=20_000)) => pods = n,
            _ => {
                eprintln!("rounds: takes --pods N, from 1 to 20000");
                return ExitCode::from(64);
            }
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("podwright bench: cargo bench --bench rounds -- --pods {pods} (load {})", load.trim());
    let snapshot = snapshot(pods);
    // First, for the peak is that of the whole process.
    let warm = warm(&snapshot);
    let memory = memory(&snapshot);
    let cold = cold(&snapshot);
    let limit = WARM * f64::max(1.0, pods as f64 / 1000.0);
    if cold <= COLD && warm <= limit && (pods < MANY || memory <= MEMORY) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

// --- the manifests

/// One file per pod: a container with variables, probes, resources and volumes; a config map and a preset for each ten.
fn snapshot(pods: usize) -> Snapshot {
    let mut files = Vec::new();
    let mut add = |path: String, text: String| {
        let blob = BlobId::of_text(&format!("{:040x}", files.len()));
        files.push(SourceFile { path: Arc::from(path), blob, bytes: Arc::from(text.into_bytes()) });
    };
    for group in 0..pods.div_ceil(10) {
        add(format!("group-{group:04}/config.yaml"), config_map(group));
        if group % 10 == 0 {
            add(format!("group-{group:04}/preset.yaml"), preset(group));
        }
        for n in group * 10..pods.min(group * 10 + 10) {
            add(format!("group-{group:04}/pod-{n:05}.yaml"), pod(n, group));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let revision = Revision { kind: RevisionKind::Commit, id: "1".repeat(40), subject: None, branch: None };
    Snapshot { revision, files, local: Default::default(), uncommitted: vec![], ignored: vec![] }
}

fn config_map(group: usize) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-{group:04}\ndata:\n  app.conf: |\n    listen = 8080\n    \
         group = {group}\n  MODE: production\n"
    )
}

fn preset(group: usize) -> String {
    format!(
        "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata:\n  name: preset-{group:04}\nspec:\n  selector:\n    \
         matchLabels:\n      group: \"{group}\"\n  env:\n    - name: DB_PORT\n      value: \"6379\"\n  volumeMounts:\n    - \
         mountPath: /cache\n      name: cache\n  volumes:\n    - name: cache\n      emptyDir: {{}}\n"
    )
}

fn pod(n: usize, group: usize) -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata:
  name: pod-{n:05}
  labels:
    app: pod-{n:05}
    group: "{group}"
  annotations:
    example.com/owner: team-{group}
spec:
  terminationGracePeriodSeconds: 5
  containers:
    - name: app
      image: registry.example.com/team-{group}/app:{n}
      command: ["/bin/app", "--listen", ":8080"]
      env:
        - name: MODE
          valueFrom:
            configMapKeyRef: {{name: config-{group:04}, key: MODE}}
        - name: INDEX
          value: "{n}"
      ports:
        - containerPort: 8080
          name: http
      resources:
        limits: {{cpu: 500m, memory: 64Mi}}
        requests: {{cpu: 100m, memory: 32Mi}}
      volumeMounts:
        - name: config
          mountPath: /etc/app
        - name: scratch
          mountPath: /tmp
    - name: sidecar
      image: registry.example.com/shared/log:1
      args: [--follow, /tmp/app.log]
      volumeMounts:
        - name: scratch
          mountPath: /tmp
  volumes:
    - name: config
      configMap:
        name: config-{group:04}
        defaultMode: 0644
    - name: scratch
      emptyDir: {{}}
"#
    )
}

// --- measuring

/// CPU time of this process, in milliseconds.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let ms = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 * 1000.0 + t.tv_usec() as f64 / 1000.0;
    ms(usage.user_time()) + ms(usage.system_time())
}

/// How many times the bytes of the manifests this process has taken at most so far.
fn memory(snapshot: &Snapshot) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak = peak.unwrap().parse::<f64>().unwrap() * 1024.0;
    let bytes: usize = snapshot.files.iter().map(|file| file.bytes.len()).sum();
    let ratio = peak / bytes as f64;
    println!("peak         {:>8.1} MB, the manifests with it", peak / 1e6);
    println!("             {ratio:>8.1} times their {:.1} MB, limit {MEMORY} from {MANY} pods on", bytes as f64 / 1e6);
    ratio
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn node() -> NodeInfo {
    NodeInfo { name: "edge-1".into(), ips: vec!["192.0.2.7".parse().unwrap()], ..NodeInfo::default() }
}

// --- cold

/// How many times the reading a whole round is.
///
/// Both sides are measured alike: until their results are there. What they made is given back afterwards, and that is told
/// beside them, for an agent keeps it until the next revision.
fn cold(snapshot: &Snapshot) -> f64 {
    const STAGES: [&str; 5] = ["reading", "admit", "plan", "project", "status"];
    let (mut times, mut freeing) = (vec![Vec::new(); STAGES.len()], Vec::new());
    for _ in 0..COLD_ROUNDS {
        let mut marks = vec![cpu()];
        let mut reader = Reader::new();
        let desired = reader.read(snapshot);
        marks.push(cpu());
        let made = stages(&desired, &mut marks);
        let end = cpu();
        assert!(!desired.diagnostics.has_errors(), "{:?}", desired.diagnostics);
        drop((reader, desired, made));
        freeing.push(cpu() - end);
        marks.windows(2).zip(&mut times).for_each(|(pair, times)| times.push(pair[1] - pair[0]));
    }
    let stages: Vec<f64> = times.iter().cloned().map(median).collect();
    let whole = median((0..COLD_ROUNDS).map(|round| times.iter().map(|times| times[round]).sum()).collect());
    let ratio = whole / stages[0];
    let named: Vec<String> = STAGES.iter().zip(&stages).map(|(name, time)| format!("{name} {time:.1}")).collect();
    println!("cold round   {whole:>8.1} ms CPU: {}", named.join(", "));
    println!("             {ratio:>8.2} times the reading, limit {COLD}; giving all back {:.1} ms", median(freeing));
    ratio
}

/// What follows the reading, with the time after each stage; the results live as long as the caller wants.
fn stages(desired: &Desired, marks: &mut Vec<f64>) -> impl Sized + use<> {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let admitted = admit(desired).unwrap();
    marks.push(cpu());
    let plan = fleet::<ObservedPod>(&admitted, &[]);
    marks.push(cpu());
    let (node, waiting) = (node(), Default::default());
    let show = |pod: &Arc<AdmittedPod>| {
        let view = PodView {
            admitted: Some(pod),
            observed: None,
            waiting: &waiting,
            holds: &[],
            probed: &Default::default(),
            node: &node,
            now,
        };
        Arc::new(shown(&view))
    };
    let pods: Vec<_> = admitted.pods.values().map(show).collect();
    let input = ProjectInput { admitted: Some(&admitted), pods: &pods, events: &[], node: &node, now };
    let projection = project(&input, &Projection::default());
    marks.push(cpu());
    let document = status_document(&StatusInput {
        node: &node,
        durable: &Durable::default(),
        admitted: Some(&admitted),
        pods: &pods,
        unsettled: &[],
        refused: &Diagnostics::default(),
        failure: None,
        uncommitted: &[],
        actions: &[],
    });
    marks.push(cpu());
    assert_eq!((plan.actions.len(), document.pods.len()), (pods.len(), pods.len()));
    assert!(projection.objects.len() > pods.len());
    (admitted, plan, pods, projection, document)
}

// --- warm

struct Fixed(Snapshot);

#[async_trait]
impl Source for Fixed {
    async fn read(&self) -> Result<Snapshot, ReadError> {
        Ok(self.0.clone())
    }

    async fn read_at(&self, _: &str) -> Result<Option<Snapshot>, ReadError> {
        Ok(None)
    }
}

struct Memory;

#[async_trait]
impl LedgerStore for Memory {
    async fn load(&self) -> Result<Durable, PortError> {
        Ok(Durable::default())
    }

    async fn save(&self, _: &Durable) -> Result<(), PortError> {
        Ok(())
    }
}

/// The real status file, and a word to the bench about each document: whether it was written.
struct Told(StatusFile, mpsc::UnboundedSender<bool>);

#[async_trait]
impl StatusSink for Told {
    async fn publish(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError> {
        let wrote = self.0.publish(document).await?;
        let _ = self.1.send(wrote);
        Ok(wrote)
    }
}

/// Milliseconds of CPU of one round in which nothing changed.
fn warm(snapshot: &Snapshot) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let fake = Fake::new(clock.clone());
        let place = tempfile::tempdir().unwrap();
        let (told, mut documents) = mpsc::unbounded_channel();
        let file = StatusFile::new(&place.path().join("status.yaml"), Trust::default());
        let kubelet = Kubelet::start(KubeletParts {
            backend: fake.clone(),
            clock: clock.clone(),
            tokens: Arc::new(FakeTokens::default()),
            node: node(),
            instance: "0123abcd".into(),
            resync: Duration::ZERO,
            starts: 64,
        });
        let mut reader = Reader::new();
        let agent = Agent::new(Parts {
            source: Arc::new(Fixed(snapshot.clone())),
            parse: Box::new(move |snapshot| reader.read(snapshot)),
            blocking: on_a_thread,
            kubelet,
            sink: Arc::new(Told(file, told)),
            ledger: Arc::new(Memory),
            clock,
            node: node(),
            resync: Duration::ZERO,
        });
        let (mut progress, projection) = (agent.progress(), agent.projection());
        let (hints, receiver) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(agent, receiver, cancel.clone()));
        let running = progress.wait_for(|p| p.is_done() && !p.pods.is_empty()).await.unwrap().pods.len();
        // Whatever waits to be written is written.
        tokio::time::sleep(Duration::from_secs(600)).await;
        while documents.try_recv().is_ok() {}
        fake.forget_calls();
        let version = projection.borrow().resource_version;
        let (mut used, mut wall) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (begin, since) = (cpu(), Instant::now());
            hints.send(()).await.unwrap();
            assert!(!documents.recv().await.unwrap(), "the status file was written though nothing changed");
            // What follows the document ends before a clock that stands is moved on.
            tokio::time::sleep(Duration::from_millis(1)).await;
            used.push(cpu() - begin);
            wall.push(since.elapsed().as_secs_f64() * 1000.0);
        }
        assert!(fake.calls().iter().all(|call| !call.verb.changes()), "something was done though nothing changed");
        assert_eq!(projection.borrow().resource_version, version);
        cancel.cancel();
        task.await.unwrap();
        let (used, wall) = (median(used), median(wall));
        let each = used * 1000.0 / running as f64;
        println!("warm round   {used:>8.2} ms CPU, {wall:.2} ms wall, {running} pods run");
        println!("             {each:>8.2} ms for each 1,000 pods, limit {WARM}");
        used
    })
}
