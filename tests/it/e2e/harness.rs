//! A world for one test: a repository, a root directory, a network namespace, and the agent in it.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use podwright::sys::mount;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::support;

/// How long anything may take before a test calls it broken. Generous: the machine is shared.
const PATIENCE: Duration = Duration::from_secs(90);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One process of a pod, told apart from a later one with the same pid by its start time.
pub type Identity = BTreeMap<String, (i64, u64)>;

/// A repository, a root, a network namespace, and perhaps an agent.
pub struct World {
    dir: tempfile::TempDir,
    netns: String,
    agent: Option<Child>,
    extra: Vec<String>,
    /// What `PODWRIGHT_FAULT` is for the agents to come, see src/sys/effect.
    fault: Option<String>,
    /// The directory is a mount of its own.
    in_memory: bool,
}

impl World {
    /// A fresh world, or `None` (said loudly) where it cannot be made.
    pub fn new() -> Option<World> {
        Self::made(false)
    }

    /// A fresh world whose files are in memory, for tests that have many of them written down to the disk.
    pub fn in_memory() -> Option<World> {
        Self::made(true)
    }

    fn made(in_memory: bool) -> Option<World> {
        if !support::e2e() {
            return None;
        }
        let own = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let netns = format!("pwt{own}");
        run(Command::new("ip").args(["netns", "add", &netns]));
        run(Command::new("nsenter").arg(format!("--net=/run/netns/{netns}")).args(["ip", "link", "set", "lo", "up"]));
        // Without random letters, so that places in it are called the same in every world (src/sys/effect/fault.rs).
        let name = format!("podwright-e2e-{own}");
        let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
        if in_memory {
            mount::tmpfs(dir.path(), 1 << 30, 0o755).unwrap();
        }
        let extra = vec!["--allow-host-image".into()];
        let world = World { dir, netns, agent: None, extra, fault: None, in_memory };
        std::fs::create_dir_all(world.repo()).unwrap();
        run(world.git().args(["init", "-q", "-b", "main"]));
        Some(world)
    }

    /// Where the manifests live.
    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// The root directory of this world's podwright.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A directory for whatever else a test needs.
    pub fn scratch(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// Flags for `run` besides the root.
    pub fn with_flags(mut self, flags: &[&str]) -> World {
        self.extra = flags.iter().map(|f| (*f).to_owned()).collect();
        self
    }

    /// A git command on the repository, with an identity of its own.
    pub fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.current_dir(self.repo());
        for (key, value) in [
            ("GIT_AUTHOR_NAME", "tester"),
            ("GIT_AUTHOR_EMAIL", "tester@example.com"),
            ("GIT_COMMITTER_NAME", "tester"),
            ("GIT_COMMITTER_EMAIL", "tester@example.com"),
        ] {
            git.env(key, value);
        }
        git
    }

    /// Writes a file of the repository without committing it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes the files and commits everything.
    pub fn commit(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            self.write(path, text);
        }
        run(self.git().args(["add", "-A"]));
        run(self.git().args(["commit", "-q", "--allow-empty", "-m", "change"]));
    }

    /// This world's network namespace.
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }

    /// A program in this world's network namespace.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.netns)).arg(program);
        command
    }

    /// `podwright` with this world's root.
    pub fn podwright(&self, args: &[&str]) -> Command {
        let mut command = self.inside(env!("CARGO_BIN_EXE_podwright"));
        command.args(args_with_root(args, &self.root())).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs `podwright` and gives what came out.
    pub fn output(&self, args: &[&str]) -> Output {
        self.podwright(args).output().unwrap()
    }

    /// Runs `podwright`, expects success, gives standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "podwright {args:?}: {}\n{}", output.status, text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Loads one of the images the tests build.
    pub fn load(&self, image: &str) {
        let archive = archive(image);
        self.ok(&["image", "load", archive.to_str().unwrap()]);
    }

    /// Starts the agent and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        self.wait("the agent to answer", || self.output(&["get", "pods", "-A"]).status.success().then_some(()));
    }

    /// Starts the agent and does not wait.
    pub fn spawn(&mut self) {
        self.spawn_under(&[]);
    }

    /// Starts the agent by a program that becomes it, such as a tracer, and does not wait.
    pub fn spawn_under(&mut self, program: &[&str]) {
        assert!(self.agent.is_none(), "an agent is running already");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let repo = self.repo();
        let mut args = vec!["run", repo.to_str().unwrap()];
        args.extend(self.extra.iter().map(String::as_str));
        let mut words = program.iter().copied().chain([env!("CARGO_BIN_EXE_podwright")]);
        let mut command = self.inside(words.next().unwrap_or_default());
        command.args(words).args(args_with_root(&args, &self.root())).env("NO_COLOR", "1").stdin(Stdio::null());
        command.envs(self.fault.iter().map(|fault| ("PODWRIGHT_FAULT", fault)));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.agent = Some(child);
    }

    /// Has the agents to come pass their fault points so.
    pub fn set_fault(&mut self, fault: Option<String>) {
        self.fault = fault;
    }

    /// How the agent ended, if it has by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.agent.as_mut().expect("an agent").try_wait().unwrap()?;
        self.agent = None;
        Some(status)
    }

    /// Waits for the agent's end.
    pub fn wait_end(&mut self) -> ExitStatus {
        self.agent.take().expect("an agent").wait().unwrap()
    }

    /// The agent's process id.
    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("an agent").id()
    }

    /// Kills the agent with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        let mut agent = self.agent.take().expect("an agent");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Ends the agent with SIGTERM and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut agent = self.agent.take().expect("an agent");
        signal(agent.id(), Signal::TERM);
        agent.wait().unwrap().code()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("agent.log")
    }

    /// What the agent has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// How much the agents have logged, in bytes.
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(self.log_path()).map_or(0, |log| log.len())
    }

    /// What they have logged behind that.
    pub fn log_from(&self, length: u64) -> String {
        let mut text = Vec::new();
        let mut log = std::fs::File::open(self.log_path()).unwrap();
        log.seek(SeekFrom::Start(length)).and_then(|_| log.read_to_end(&mut text)).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until `probe` gives something.
    pub fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = probe() {
                return value;
            }
            if Instant::now() >= end {
                let pods = text(&self.output(&["get", "pods", "-A"]));
                let status = std::fs::read_to_string(self.repo().join("status.yaml")).unwrap_or_default();
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
                panic!("gave up waiting for {what}\npods:\n{pods}\nstatus:\n{status}\nlog:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The pod as the API shows it.
    pub fn pod(&self, name: &str) -> Option<Value> {
        let output = self.output(&["get", "pods", name, "-o", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The READY, STATUS and RESTARTS columns of `get pods`.
    pub fn row(&self, name: &str) -> Option<(String, String, String)> {
        let output = self.output(&["get", "pods"]);
        let table = String::from_utf8(output.stdout).unwrap();
        let line = table.lines().find(|l| l.split_whitespace().next() == Some(name))?;
        let mut cells = line.split_whitespace().skip(1).map(str::to_owned);
        Some((cells.next()?, cells.next()?, cells.next()?))
    }

    /// Waits until READY and STATUS of a pod are these.
    pub fn wait_row(&self, name: &str, ready: &str, status: &str) {
        self.wait(&format!("{name} to be {ready} {status}"), || {
            self.row(name).filter(|(r, s, _)| r == ready && s == status).map(|_| ())
        });
    }

    /// Waits until a pod is in this phase: one that is final is shown once it is on record, after the containers' ends.
    pub fn wait_phase(&self, name: &str, phase: &str) {
        self.wait(&format!("{name} to be {phase}"), || (self.pod(name)?["status"]["phase"] == phase).then_some(()));
    }

    /// Waits until the description of a pod has these words.
    pub fn wait_described(&self, name: &str, words: &str) {
        self.wait(&format!("{words} in the description of {name}"), || {
            text(&self.output(&["describe", "pod", name])).contains(words).then_some(())
        });
    }

    /// Waits until the pod is gone.
    pub fn wait_gone(&self, name: &str) {
        self.wait(&format!("{name} to be gone"), || {
            let table = self.ok(&["get", "pods"]);
            (!table.lines().any(|l| l.split_whitespace().next() == Some(name))).then_some(())
        });
    }

    /// Runs a command in a container and gives its standard output.
    pub fn exec(&self, pod: &str, container: &str, command: &[&str]) -> String {
        let mut args = vec!["exec", pod, "-c", container, "--"];
        args.extend(command);
        self.ok(&args)
    }

    /// What an HTTP server on this world's network says to a GET of `/`, with nothing but bash; empty when none answers.
    pub fn page(&self, ip: &str, port: u16) -> String {
        // Written as one: bash writes line by line, and a server that knows by the first line that it has no such page is gone
        // when the next one comes.
        let script = format!(
            "exec 3<>/dev/tcp/{ip}/{port} && printf 'GET / HTTP/1.0\\r\\nHost: {ip}\\r\\n\\r\\n' | \
             dd obs=4096 status=none >&3 && cat <&3"
        );
        let output = self.inside("bash").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The main processes of every running container, by container, with their start times.
    pub fn identities(&self) -> Identity {
        let mut found = Identity::new();
        for path in self.begun() {
            let bytes = match std::fs::read(&path) {
                // The instance was forgotten meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                bytes => bytes.unwrap(),
            };
            let record: Value = serde_json::from_slice(&bytes).unwrap();
            let pid = record["pid"].as_i64().unwrap();
            if let Some(start) = start_time(pid) {
                let name = path.parent().unwrap().strip_prefix(self.root()).unwrap().display().to_string();
                found.insert(name, (pid, start));
            }
        }
        found
    }

    /// The records of what was started and has not ended.
    fn begun(&self) -> Vec<PathBuf> {
        let is_begun = |path: &PathBuf| {
            path.file_name().is_some_and(|n| n == "started.json") && !path.with_file_name("exit.json").exists()
        };
        walk(&self.root().join("pods")).into_iter().filter(is_begun).collect()
    }

    /// Kills what runs in containers, as far as their records can be read; none but what is in a cgroup of this root.
    fn end_containers(&self) {
        let Ok(instance) = std::fs::read_to_string(self.root().join("instance")) else { return };
        let own = format!("podwright-{}", instance.trim());
        for path in self.begun() {
            let record: Option<Value> = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let Some(pid) = record.and_then(|record| i32::try_from(record["pid"].as_i64()?).ok()) else { continue };
            let is_own =
                std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&own));
            if let Some(pid) = Pid::from_raw(pid).filter(|_| is_own) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        // What ignores the stop signal would be waited for.
        self.end_containers();
        let down = self.output(&["down"]);
        let deleted = Command::new("ip").args(["netns", "del", &self.netns]).status();
        let unmounted = if self.in_memory { mount::unmount(self.dir.path()) } else { Ok(()) };
        if !std::thread::panicking() {
            assert!(down.status.success(), "podwright down: {}", text(&down));
            assert!(deleted.unwrap().success());
            unmounted.unwrap();
        } else {
            eprintln!("agent log:\n{}", self.log());
        }
    }
}

/// Sends a signal to a process that lives.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Standard output and standard error together.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every file below a directory.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return files };
    for entry in entries.flatten() {
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(|k| k.is_dir()) {
            files.extend(walk(&entry.path()));
        } else if kind.is_ok_and(|k| k.is_file()) {
            files.push(entry.path());
        }
    }
    files
}

/// Field 22 of /proc/PID/stat: when the process started, in clock ticks since boot.
pub fn start_time(pid: i64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// `--root` goes before a `--`, or the command of `exec` would get it.
fn args_with_root(args: &[&str], root: &Path) -> Vec<String> {
    let end = args.iter().position(|a| *a == "--").unwrap_or(args.len());
    let mut all: Vec<String> = args[..end].iter().map(|a| (*a).to_owned()).collect();
    all.extend(["--root".to_owned(), root.display().to_string()]);
    all.extend(args[end..].iter().map(|a| (*a).to_owned()));
    all
}

/// One of the images that tests/images/build.sh makes.
pub fn archive(image: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("test-images").join(format!("{image}.tar"));
    assert!(path.exists(), "{}: run tests/images/build.sh first", path.display());
    path
}
