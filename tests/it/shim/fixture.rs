//! A place for containers of a test: directories, cgroups, infra processes; nothing of it is left at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use podwright::model::{
    AdmittedPod, ContainerKind, ContainerRecord, ExitRecord, ImageSource, Packed, PodKey, PodRecord, PodUid, SourceRef,
};
use podwright::port::PortError;
use podwright::shim::{LogLimits, Shim, ShimRequest, Started};
use podwright::sys::infra::{Infra, InfraSpec, Net};
use podwright::sys::{cgroup, infra, lock, pidfd};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;

pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_podwright"))
}

/// Waits for something that must happen; what is waited for is said when it does not.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Place {
    pub temp: TempDir,
    pub cgroup: String,
    infras: Vec<Infra>,
}

impl Place {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("empty")).unwrap();
        Self { temp, cgroup: format!("/podwright-test{}.{count}", std::process::id()), infras: Vec::new() }
    }

    pub fn infra_spec(&self) -> InfraSpec {
        InfraSpec {
            empty: self.temp.path().join("empty"),
            net: Net::Own,
            ipc: true,
            uts: Some("pod-name".into()),
            pid: false,
            users: None,
            cgroup: format!("{}/infra{}", self.cgroup, self.infras.len()),
        }
    }

    pub fn infra(&mut self, edit: impl FnOnce(&mut InfraSpec)) -> Infra {
        let mut spec = self.infra_spec();
        edit(&mut spec);
        let infra = infra::start(&spec).unwrap();
        self.infras.push(infra);
        infra
    }

    /// A container that runs `script` with `sh -c` on the machine's root file system.
    pub fn container(&self, name: &str, script: &str) -> Container {
        Container::new(self, name, &["/bin/sh", "-c", script])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        cgroup::kill_all(&self.cgroup).unwrap();
        for infra in &self.infras {
            if let Ok(fd) = pidfd::open(infra.pid) {
                pidfd::reap(&fd).unwrap();
            }
        }
        cgroup::remove(&self.cgroup).unwrap();
    }
}

pub struct Container {
    pub request: ShimRequest,
    pub dir: PathBuf,
    /// The cgroup of shims and monitors.
    pub monitors: String,
}

/// The spec of an ordinary container in a process namespace of its own.
fn spec(args: &[&str]) -> Value {
    let caps =
        ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GREETING=hello world"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}},
        "root": {"path": "rootfs", "readonly": false},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    })
}

impl Container {
    pub fn new(place: &Place, name: &str, args: &[&str]) -> Self {
        let dir = place.temp.path().join("pods").join(name).join("containers/main/0");
        std::fs::create_dir_all(&dir).unwrap();
        let request = ShimRequest {
            id: format!("{}-{name}", &place.cgroup[1..]),
            instance_dir: dir.clone(),
            spec: serde_json::from_value(spec(args)).unwrap(),
            infra: None,
            lowers: vec!["/".into()],
            images: Vec::new(),
            covered: Vec::new(),
            log_path: dir.join("log"),
            log_limits: LogLimits::default(),
            stdin: false,
            stdin_once: false,
            cgroup: format!("{}/{name}", place.cgroup),
        };
        Self { request, dir, monitors: format!("{}/monitors", place.cgroup) }
    }

    /// Changes the spec as JSON: `edit(|s| s["process"]["terminal"] = true.into())`.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::to_value(&self.request.spec).unwrap();
        edit(&mut value);
        self.request.spec = serde_json::from_value(value).unwrap();
        self
    }

    /// Joins namespaces of an infra process, by their names below `/proc/<pid>/ns`.
    pub fn join(mut self, infra: &Infra, names: &[(&str, &str)]) -> Self {
        self.request.infra = Some(*infra);
        self.edit(|s| {
            let list = s["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|n| !names.iter().any(|(kind, _)| n["type"] == *kind));
            list.extend(
                names
                    .iter()
                    .map(|(kind, file)| json!({"type": kind, "path": format!("/proc/{}/ns/{file}", infra.pid)})),
            );
        })
    }

    pub fn try_start(&self) -> Result<Started, PortError> {
        Shim::begin(exe(), &self.monitors).start(&self.request, || Ok(()))
    }

    pub fn start(&self) -> Started {
        self.try_start().unwrap()
    }

    pub fn exit(&self) -> ExitRecord {
        let path = self.dir.join("exit.json");
        let text = until("the exit record", || std::fs::read(&path).ok());
        serde_json::from_slice(&text).unwrap()
    }

    /// Waits until the lock is free: the monitor is gone.
    pub fn end(&self) -> ExitRecord {
        let exit = self.exit();
        until("the monitor's end", || (!lock::is_held(&self.dir.join("lock")).unwrap()).then_some(()));
        exit
    }

    /// Starts it, waits for its end; its log without the times.
    pub fn run(&self) -> (ExitRecord, String) {
        self.start();
        (self.end(), self.log())
    }

    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.request.log_path).unwrap_or_default();
        text.split_terminator('\n').map(|l| format!("{}\n", l.split_once(' ').unwrap().1)).collect()
    }

    /// Waits until the log holds this.
    pub fn wait_log(&self, text: &str) -> String {
        until(text, || Some(self.log()).filter(|l| l.contains(text)))
    }

    pub fn started(&self) -> Started {
        serde_json::from_slice(&std::fs::read(self.dir.join("started.json")).unwrap()).unwrap()
    }

    /// `podwright <verb>` with this root: it finds the container by the records of its pod.
    pub fn podwright(&self, verb: &str, flags: &[&str]) -> Command {
        let pod = self.dir.ancestors().nth(3).unwrap();
        let name = pod.file_name().unwrap().to_str().unwrap();
        std::fs::write(pod.join("record.json"), serde_json::to_vec(&pod_record(name)).unwrap()).unwrap();
        std::fs::write(self.dir.join("record.json"), serde_json::to_vec(&container_record()).unwrap()).unwrap();
        let mut command = Command::new(exe());
        command.arg("--root").arg(pod.ancestors().nth(2).unwrap()).arg(verb).args(flags).arg(name);
        command
    }

    /// `podwright exec`.
    pub fn exec_command(&self, flags: &[&str], command: &[&str]) -> Command {
        let mut exec = self.podwright("exec", flags);
        exec.arg("--").args(command);
        exec
    }

    pub fn exec(&self, flags: &[&str], command: &[&str]) -> Output {
        self.exec_command(flags, command).stdin(Stdio::null()).output().unwrap()
    }
}

fn pod_record(name: &str) -> PodRecord {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main"}]}});
    let pod: Packed<k8s_openapi::api::core::v1::Pod> = serde_json::from_value(pod).unwrap();
    let admitted = AdmittedPod {
        key: PodKey::new("default", name),
        source: SourceRef { path: "pod.yaml".into(), document: 0, line: 1, column: 1 },
        spec: pod.clone(),
        effective: pod,
        applied: Vec::new(),
        skipped: Vec::new(),
        provenance: Vec::new(),
        digest: "d".into(),
        unplaced: None,
        pending_resize: None,
    };
    PodRecord {
        version: PodRecord::VERSION,
        placed_at: None,
        key: admitted.key.clone(),
        uid: PodUid(name.into()),
        created_at: Timestamp::UNIX_EPOCH,
        revision: "r".into(),
        realised: Arc::new(admitted),
        generation: 1,
        resized_at: None,
        sandbox_attempts: 1,
        deletion: None,
        terminal: None,
        terminal_cause: None,
        data_digests: None,
        all_restarted: None,
        bounds_storage: false,
        waits: None,
    }
}

fn container_record() -> ContainerRecord {
    ContainerRecord {
        name: "main".into(),
        kind: ContainerKind::App,
        attempt: 0,
        id: "main-0".into(),
        sandbox_attempt: 0,
        round: 0,
        image: "image".into(),
        image_id: "sha256:0".into(),
        image_source: ImageSource::Present,
        volume_images: Default::default(),
        created_at: Timestamp::UNIX_EPOCH,
        boot_id: String::new(),
        backoff: SignedDuration::ZERO,
        log_path: "log".into(),
        resources: None,
        data: None,
        stopping: None,
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
