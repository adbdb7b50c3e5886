//! A root of its own for each test, in a network namespace of its own, with a check that nothing of it is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, VolumeMount};
use nix::sched::{CloneFlags, unshare};
use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{
    AdmittedPod, ContainerKind, ContainerStart, ContainerState, ExitRecord, Masked, ObservedContainer, ObservedPod,
    Packed, PodKey, PodRecord, PodUid, Sandbox, SignalOrder, SourceRef, VolumeMountPlan,
};
use podwright::model::{
    ImageSource, MountMode, MountSource, NodeInfo, Propagation, PullSettings, RegistryEntry, Signal, SubPath,
};
use podwright::port::ContainerBackend;
use podwright::shim::LogLimits;
use podwright::sys::{cgroup, mount};
use serde_json::{Value, json};

use crate::e2e::picture;

pub const HOST: &str = "podwright.invalid/host";
/// For a loaded machine; only what hangs waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The directories of one root.
pub struct Root {
    pub temp: tempfile::TempDir,
    pub instance: String,
}

/// Runs a test on a root of its own; then nothing of it may be left on the machine.
pub fn on_root(test: impl AsyncFnOnce(&Root) + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let root = Root::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(&root));
        runtime.shutdown_timeout(Duration::from_secs(5));
        root.check_leaks();
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// The network of a test is its own, and begins without a loopback that is up.
pub fn with_loopback(test: impl AsyncFnOnce(&Root) + Send + 'static) {
    on_root(async |root| {
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        test(root).await;
    });
}

/// Waits for something that must happen; what is waited for is said when it does not.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Nobody may be asked for images: no test of these talks to a registry.
pub fn nobody() -> PullSettings {
    let entry = RegistryEntry { name: "*".into(), mirrors_only: true, ..RegistryEntry::default() };
    PullSettings { registries: vec![entry], ..PullSettings::default() }
}

impl Root {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("{:05x}{count:03x}", std::process::id() & 0xf_ffff);
        // Without random letters, so that places in it are called the same in every run (src/sys/effect/fault.rs).
        let name = format!("podwright-native-{}-{count}", std::process::id());
        Self { temp: tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap(), instance }
    }

    pub fn state(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    pub fn pod_dir(&self, pod: &TestPod) -> PathBuf {
        self.state().join("pods").join(&pod.uid().0)
    }

    pub fn instance_dir(&self, pod: &TestPod, container: &str, attempt: u32) -> PathBuf {
        self.pod_dir(pod).join("containers").join(container).join(attempt.to_string())
    }

    /// The cgroup of a pod of a class: `besteffort/`, `burstable/`, or nothing for a guaranteed one.
    pub fn cgroup_in(&self, class: &str, pod: &TestPod) -> String {
        format!("/podwright-{}/{class}pod{}", self.instance, pod.uid())
    }

    /// The cgroup of a pod that asks for nothing.
    pub fn cgroup(&self, pod: &TestPod) -> String {
        self.cgroup_in("besteffort/", pod)
    }

    pub fn options(&self) -> NativeOptions {
        NativeOptions {
            state: self.state(),
            run: self.state().join("run"),
            exe: env!("CARGO_BIN_EXE_podwright").into(),
            instance: self.instance.clone(),
            allow_host_image: true,
            covered: Vec::new(),
            log_limits: LogLimits::default(),
            pod_pids_limit: None,
            first_user_id: None,
            pull: nobody(),
            subnet: None,
            ipv6_subnet: None,
            node: NodeInfo { ips: vec!["192.0.2.7".parse().unwrap()], ..NodeInfo::default() },
        }
    }

    /// The backend as a newly started agent has it.
    pub fn open(&self) -> Arc<Native> {
        Native::open(self.options()).unwrap()
    }

    /// What removed pods must not leave, looked at while what belongs to all of them is still there: files, mounts, addresses,
    /// links, rules, cgroups, processes.
    pub fn check_pods_are_gone(&self) {
        let state = self.state();
        for place in ["pods", "volumes", "run"] {
            let left: Vec<PathBuf> = below(&state.join(place)).into_iter().filter(|p| is_of_a_pod(p)).collect();
            assert!(left.is_empty(), "files are left: {left:#?}");
        }
        let leases = std::fs::read_to_string(state.join("network/leases.json")).unwrap_or_default();
        assert!(!leases.contains("\"uid-"), "addresses are left: {leases}");
        let pairs = said_by("ip", &["-o", "link", "show", "type", "veth"]);
        assert!(pairs.is_empty(), "links are left: {pairs}");
        let rules = rules();
        assert!(!rules.contains("elements"), "rules are left: {rules}");
        let (mut lines, group) = (Vec::new(), format!("podwright-{}", self.instance));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.temp.path().to_str().unwrap();
        let left: Vec<&str> = mounts.lines().filter(|l| l.contains(own) && is_of_a_pod(Path::new(l))).collect();
        assert!(left.is_empty(), "mounts are left: {left:#?}");
        for hierarchy in mounts.lines().filter(|l| l.contains(" - cgroup")) {
            picture::groups(&Path::new(hierarchy.split(' ').nth(4).unwrap()).join(&group), &mut lines);
        }
        // Of the root's own cgroups there are some, with nobody in them.
        lines.retain(|line| is_of_a_pod(Path::new(line)) || !line.ends_with("[]"));
        picture::processes(self.temp.path(), &group, &mut lines);
        lines.retain(|line| !line.starts_with("namespaces ") || !line.ends_with(" 0"));
        assert!(lines.is_empty(), "cgroups or processes are left: {lines:#?}");
    }

    fn check_leaks(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = self.temp.path().to_str().unwrap();
        let left: Vec<&str> = mounts.lines().filter(|l| l.contains(place)).collect();
        assert!(left.is_empty(), "mounts are left: {left:#?}");
        let cgroup = format!("podwright-{}", self.instance);
        for hierarchy in mounts.lines().filter(|l| l.contains(" - cgroup")) {
            let mount = Path::new(hierarchy.split(' ').nth(4).unwrap());
            assert!(!mount.join(&cgroup).exists(), "the cgroup {cgroup} is left in {}", mount.display());
        }
        let links = said_by("ip", &["-o", "link"]);
        assert!(!links.contains("pw"), "links are left: {links}");
        let rules = rules();
        assert!(rules.is_empty(), "rules are left: {rules}");
    }
}

/// What a program prints; one that fails has not looked.
fn said_by(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The rules of this network namespace. Without `nft` nobody could make one: it is the only way to them that there is here.
fn rules() -> String {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|dir| dir.join("nft").exists()) {
        said_by("nft", &["list", "ruleset"])
    } else {
        String::new()
    }
}

/// Everything below a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}

/// Whether a place has the name of a pod of these tests.
fn is_of_a_pod(place: &Path) -> bool {
    place.to_str().is_some_and(|place| place.contains("uid-"))
}

impl Drop for Root {
    /// A test that failed must not leave its pods on the machine.
    fn drop(&mut self) {
        let top = format!("/podwright-{}", self.instance);
        let _ = cgroup::kill_all(&top).and_then(|()| cgroup::remove(&top));
        for place in mount::points().unwrap_or_default().iter().rev().filter(|p| p.starts_with(self.temp.path())) {
            let _ = mount::unmount(place);
        }
    }
}

/// A pod as admission would hand it over.
#[derive(Clone)]
pub struct TestPod {
    pub record: PodRecord,
}

impl TestPod {
    /// A pod with this spec. A container without an image runs on the machine's own root file system.
    pub fn new(name: &str, mut spec: Value) -> Self {
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container.get("image").is_none() {
                    container["image"] = HOST.into();
                }
            }
        }
        let key = PodKey::new("default", name);
        let pod: Packed<Pod> = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "default" }, "spec": spec
        }))
        .unwrap();
        let realised = AdmittedPod {
            key: key.clone(),
            source: SourceRef { path: "pod.yaml".into(), document: 0, line: 1, column: 1 },
            spec: pod.clone(),
            effective: pod,
            applied: Vec::new(),
            skipped: Vec::new(),
            provenance: Vec::new(),
            digest: String::new(),
            unplaced: None,
            pending_resize: None,
        };
        let record = PodRecord {
            version: PodRecord::VERSION,
            placed_at: None,
            uid: PodUid(format!("uid-{name}")),
            key,
            created_at: Timestamp::now(),
            revision: "test".into(),
            realised: Arc::new(realised),
            generation: 1,
            resized_at: None,
            sandbox_attempts: 0,
            deletion: None,
            terminal: None,
            terminal_cause: None,
            data_digests: None,
            all_restarted: None,
            bounds_storage: false,
            waits: None,
        };
        Self { record }
    }

    /// A pod of one container, `app`, that runs a script on the machine's root file system.
    pub fn script(name: &str, script: &str) -> Self {
        Self::new(name, json!({ "containers": [{ "name": "app", "command": ["/bin/sh", "-c", script] }] }))
    }

    pub fn key(&self) -> &PodKey {
        &self.record.key
    }

    pub fn uid(&self) -> &PodUid {
        &self.record.uid
    }

    /// The plan to start a container, as its spec says.
    pub fn plan(&self, name: &str, attempt: u32) -> ContainerStart {
        let spec = self.record.realised.effective.open().spec.unwrap();
        let container = spec.containers.iter().find(|c| c.name == name).unwrap();
        let words =
            |list: &Option<Vec<String>>| list.as_ref().map(|l| l.iter().cloned().map(Masked::new).collect::<Vec<_>>());
        let shown = |name: &str| {
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == name)?;
            volume.image.as_ref()?.reference.clone()
        };
        let source = |m: &VolumeMount| match shown(&m.name) {
            Some(image) => MountSource::Image { volume: m.name.clone(), image, sub_path: part_of(m) },
            None => MountSource::Volume { name: m.name.clone(), sub_path: part_of(m) },
        };
        let mounts = container.volume_mounts.iter().flatten().map(|m| VolumeMountPlan {
            source: source(m),
            mount_path: m.mount_path.clone(),
            mode: MountMode {
                read_only: m.read_only == Some(true),
                recursively: m.recursive_read_only.as_deref() == Some("Enabled"),
                propagation: match m.mount_propagation.as_deref() {
                    Some("HostToContainer") => Propagation::HostToContainer,
                    Some("Bidirectional") => Propagation::Bidirectional,
                    _ => Propagation::None,
                },
            },
        });
        ContainerStart {
            name: name.into(),
            kind: ContainerKind::App,
            attempt,
            backoff: SignedDuration::ZERO,
            command: words(&container.command),
            args: words(&container.args),
            env: Vec::new(),
            late: Vec::new(),
            mounts: mounts.collect(),
            data: None,
            image_source: ImageSource::Present,
        }
    }

    /// Record and sandbox.
    pub async fn create(&self, native: &Native) {
        native.put_record(&self.record).await.unwrap();
        native.run_sandbox(self.key(), 0).await.unwrap();
    }

    pub async fn start(&self, native: &Native, name: &str, attempt: u32) {
        native.start_container(self.key(), &self.plan(name, attempt)).await.unwrap();
    }

    pub async fn look(&self, native: &Native) -> ObservedPod {
        Arc::unwrap_or_clone(native.observe(self.key()).await.unwrap().expect("the pod has a record"))
    }

    pub async fn container(&self, native: &Native, name: &str) -> ObservedContainer {
        self.look(native).await.latest(name).cloned().expect("the container has an instance")
    }

    /// The process number of a container that runs.
    pub async fn pid(&self, native: &Native, name: &str) -> i32 {
        match self.container(native, name).await.state {
            ContainerState::Running { pid, .. } => pid,
            other => panic!("{name} does not run: {other:?}"),
        }
    }

    pub async fn infra(&self, native: &Native) -> i32 {
        match self.look(native).await.sandbox {
            Sandbox::Ready { pid, .. } => pid,
            other => panic!("no sandbox: {other:?}"),
        }
    }

    pub async fn exit(&self, native: &Native, name: &str) -> ExitRecord {
        until(&format!("the end of {name}"), async || self.container(native, name).await.exit().cloned()).await
    }

    /// The log of the newest instance as plain text.
    pub async fn log(&self, native: &Native, name: &str) -> String {
        let path = self.container(native, name).await.record.log_path;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|l| format!("{}\n", l.splitn(4, ' ').nth(3).unwrap_or_default())).collect()
    }

    pub async fn wait_log(&self, native: &Native, name: &str, text: &str) -> String {
        until(text, async || Some(self.log(native, name).await).filter(|l| l.contains(text))).await
    }

    /// Runs `app` to its end: how it ended, and its log.
    pub async fn run(&self, native: &Native) -> (ExitRecord, String) {
        self.create(native).await;
        self.start(native, "app", 0).await;
        let exit = self.exit(native, "app").await;
        (exit, self.log(native, "app").await)
    }

    pub async fn signal(&self, native: &Native, name: &str, signal: Signal) {
        let attempt = self.container(native, name).await.record.attempt;
        let order = SignalOrder { name: name.into(), attempt, signal, grace_seconds: 5, reason: "test".into() };
        native.signal_container(self.key(), &order).await.unwrap();
    }

    /// Ends and removes the pod.
    pub async fn remove(&self, native: &Native) {
        let live: Vec<ObservedContainer> =
            self.look(native).await.containers.into_iter().filter(ObservedContainer::is_live).collect();
        for container in live {
            let name = &container.record.name;
            match container.state {
                ContainerState::Running { .. } => self.signal(native, name, Signal::Kill).await,
                _ => native.reap_container(self.key(), name, container.record.attempt).await.unwrap(),
            }
            self.exit(native, name).await;
        }
        native.stop_sandbox(self.key()).await.unwrap();
        until("the pod to go", async || native.remove_pod(self.key()).await.ok()).await;
    }
}

/// The part of a volume that a mount of these tests shows: with an expression, what no error may show.
fn part_of(mount: &VolumeMount) -> Option<SubPath> {
    let path = mount.sub_path.clone()?;
    let written = mount.sub_path_expr.clone().unwrap_or_else(|| path.clone());
    Some(SubPath { written, path: Masked::new(path) })
}

pub fn is_alive(pid: i32) -> bool {
    podwright::sys::process::start_ticks(pid).is_some()
}
