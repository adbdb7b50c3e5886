//! A real checkout, the real reader, watcher, ledger and status file; only the containers are not.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use podwright::backend::LedgerFile;
use podwright::backend::fake::{Fake, FakeTokens};
use podwright::control::{Agent, Kubelet, KubeletParts, Parts, Progress, Verdict, on_a_thread, run};
use podwright::manifest::Reader;
use podwright::model::{NodeInfo, PodKey, StatusDocument};
use podwright::source::{DEBOUNCE, Directory, Options, StatusFile, Watch};
use podwright::sys::clock::SystemClock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {role: frontend}
spec:
  containers:
  - name: app
    image: nginx:1
";

const PRESET: &str = "apiVersion: settings.k8s.io/v1alpha1
kind: PodPreset
metadata:
  name: allow-database
spec:
  selector:
    matchLabels: {role: frontend}
  env:
  - {name: DB_PORT, value: \"6379\"}
";

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(dir: &Path, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "-m", "a change"]);
    git(dir, &["rev-parse", "HEAD"])
}

async fn until(progress: &mut watch::Receiver<Arc<Progress>>, wanted: impl FnMut(&Progress) -> bool) {
    let mut wanted = wanted;
    let found = tokio::time::timeout(PATIENCE, progress.wait_for(|p| wanted(p))).await.is_ok();
    assert!(found, "never: {:#?}", progress.borrow());
}

fn at(revision: &str, wanted: impl Fn(&Progress) -> bool) -> impl Fn(&Progress) -> bool {
    let revision = revision.to_owned();
    move |p| p.attempted.as_ref().is_some_and(|r| r.id == revision) && wanted(p)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_become_pods_and_a_status_file_without_a_resync() {
    let temp = tempfile::tempdir().unwrap();
    let checkout = temp.path().canonicalize().unwrap().join("fleet");
    std::fs::create_dir(&checkout).unwrap();
    git(&checkout, &["init", "--quiet", "--initial-branch=main", "."]);
    let first = commit(&checkout, &[("pod.yaml", POD), ("preset.yaml", PRESET)]);
    let directory = Directory::open(&checkout, Options::default()).unwrap();
    let (_watch, hints) = Watch::start(&directory, DEBOUNCE).unwrap();
    let clock = Arc::new(SystemClock);
    let fake = Fake::new(clock.clone());
    let kubelet = Kubelet::start(KubeletParts {
        backend: fake.clone(),
        clock: clock.clone(),
        tokens: Arc::new(FakeTokens::default()),
        node: NodeInfo { name: "edge-1".into(), ..NodeInfo::default() },
        instance: "0123abcd".into(),
        resync: Duration::ZERO,
        starts: 4,
    });
    let mut reader = Reader::new();
    let status = StatusFile::of(&directory);
    let agent = Agent::new(Parts {
        source: Arc::new(directory),
        parse: Box::new(move |snapshot| reader.read(snapshot)),
        blocking: on_a_thread,
        kubelet,
        sink: Arc::new(status.clone()),
        ledger: Arc::new(LedgerFile::new(temp.path().join("ledger.json"))),
        clock,
        node: NodeInfo { name: "edge-1".into(), ..NodeInfo::default() },
        resync: Duration::ZERO,
    });
    let mut progress = agent.progress();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(run(agent, hints, cancel.clone()));

    until(&mut progress, at(&first, Progress::is_done)).await;
    let web = PodKey::new("default", "web");
    let env = fake.started(&web, "app").unwrap().env;
    assert_eq!(env.iter().find(|v| v.name == "DB_PORT").unwrap().value.reveal(), "6379");
    let uid = fake.pod(&web).unwrap().record.uid;

    let second = commit(&checkout, &[("pod.yaml", &POD.replace("nginx:1", "nginx:2"))]);
    until(&mut progress, at(&second, Progress::is_done)).await;
    assert_eq!(fake.pod(&web).unwrap().record.uid, uid);
    assert_eq!(fake.pod(&web).unwrap().latest("app").unwrap().record.image, "nginx:2");

    let running = fake.processes();
    let third = commit(&checkout, &[("pod.yaml", &POD.replace("image:", "imagee:"))]);
    until(&mut progress, at(&third, |p| matches!(p.verdict, Verdict::Refused(_)))).await;
    assert_eq!(fake.processes(), running);

    cancel.cancel();
    task.await.unwrap();
    assert_eq!(fake.processes(), running);
    let text = std::fs::read_to_string(status.path()).unwrap();
    let document: StatusDocument = serde_yaml::from_str(&text).unwrap();
    assert_eq!(document.last_attempted_revision, Some(third));
    assert_eq!(document.last_applied_revision, Some(second));
    assert!(document.errors.iter().any(|e| e.starts_with("pod.yaml:9:")), "{:?}", document.errors);
    assert_eq!(git(&checkout, &["status", "--porcelain"]), "");
}
