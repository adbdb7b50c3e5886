//! A virtual machine that has booted and mounted no disk yet, written down: from there others go on, each with a disk of its
//! own, in a small part of the time that a boot takes.
//!
//! Its memory is a file, of which those that go on have copies; what else there is, qemu writes by way of a migration.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::machine::{Disk, MOUNT, Machine};

/// How long qemu may take to answer. Generous: it does so in milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// A machine that has booted.
pub struct Booted<'a> {
    root: &'a Path,
    memory: PathBuf,
    state: PathBuf,
    /// The names that the kernel gave to what are boots to those who work there.
    boots: Mutex<BTreeSet<String>>,
}

impl<'a> Booted<'a> {
    /// Boots a machine on a root file system, with a disk that it does not mount, and writes down in a directory how it is then.
    pub fn new(root: &'a Path, disk: &Path, dir: &Path) -> Booted<'a> {
        let (memory, state) = (dir.join("booted.memory"), dir.join("booted.state"));
        let (mut arguments, socket) = (memory_from(&memory, "on"), dir.join("booted.qmp"));
        arguments.extend(monitored_by(&socket));
        let mut machine = Machine::start(root, Disk::Plain(disk), &dir.join("booted.console"), &arguments);
        machine.wait_until_ready();
        // What all of them read from their disk.
        machine.ok("cat /usr/bin/podwright /usr/sbin/nft >/dev/null");
        let mut monitor = Monitor::connect(&socket);
        monitor.ask("migrate", json!({"uri": format!("exec:cat >{}", state.display())}));
        monitor.wait("query-migrate", "completed");
        Booted { root, memory, state, boots: Mutex::default() }
    }

    /// A machine that goes on from there with a disk for `/var`. What the kernel and the agent say is added to the file
    /// `console`.
    pub fn go_on(&self, disk: Disk<'_>, console: &Path) -> Machine {
        let (mut arguments, socket) = (memory_from(&self.memory, "off"), console.with_extension("qmp"));
        arguments.extend(monitored_by(&socket));
        arguments.extend(["-incoming", "defer"].map(str::to_owned));
        let mut machine = Machine::start(self.root, disk, console, &arguments);
        let mut monitor = Monitor::connect(&socket);
        monitor.ask("migrate-incoming", json!({"uri": format!("exec:cat {}", self.state.display())}));
        // What is said to it before is lost.
        monitor.wait("query-status", "running");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let boot = machine
            .ok(&format!("date -s @{now} >/dev/null && reseed && {MOUNT} && cat /proc/sys/kernel/random/boot_id"));
        assert!(self.boots.lock().unwrap().insert(boot.clone()), "two machines have the boot id {boot}");
        machine
    }
}

/// Has a machine use a file as its memory: `share` says whether it changes the file.
fn memory_from(file: &Path, share: &str) -> Vec<String> {
    let memory = format!("memory-backend-file,id=memory,size=512M,mem-path={},share={share}", file.display());
    ["-machine", "pc,memory-backend=memory", "-object", &memory].map(str::to_owned).to_vec()
}

fn monitored_by(socket: &Path) -> [String; 2] {
    ["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())]
}

/// What qemu takes commands from: <https://www.qemu.org/docs/master/interop/qmp-spec.html>.
struct Monitor {
    commands: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to a machine that was just started.
    fn connect(socket: &Path) -> Monitor {
        let deadline = Instant::now() + PATIENCE;
        let commands = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{}: {error}", socket.display()),
            }
            std::thread::sleep(POLL);
        };
        commands.set_read_timeout(Some(PATIENCE)).unwrap();
        let answers = BufReader::new(commands.try_clone().unwrap());
        let mut monitor = Monitor { commands, answers };
        monitor.ask("qmp_capabilities", json!({}));
        // The memory is in its file.
        let capability = json!({"capability": "x-ignore-shared", "state": true});
        monitor.ask("migrate-set-capabilities", json!({"capabilities": [capability]}));
        monitor
    }

    /// Asks until the status is this one.
    fn wait(&mut self, command: &str, status: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let how = self.ask(command, json!({}));
            if how["status"] == status {
                return;
            }
            assert!(how["status"] != "failed" && Instant::now() < deadline, "{status} is waited for: {how}");
            std::thread::sleep(POLL);
        }
    }

    /// Has a command done, and gives what it returned.
    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.commands, "{}", json!({"execute": command, "arguments": arguments})).unwrap();
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).unwrap();
            let answer: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command}: {error}: {line}"));
            // A greeting and events come between.
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(returned) = answer.get("return") {
                return returned.clone();
            }
        }
    }
}
