//! A virtual machine with a serial line on which it runs scripts. qemu translates its instructions: no hardware helps.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine;

use super::disk::target;

/// How long a script, or the machine's start, may take before a test calls it broken. Generous: nothing is quick there.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a machine that has booted mounts its disk with.
pub(super) const MOUNT: &str = "mount -t ext4 /dev/vdb /var";
/// Characters of a line that the machine's terminal surely takes.
const LINE: usize = 512;

/// A virtual machine that runs.
pub struct Machine {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    console: std::path::PathBuf,
}

/// The disk that the machine writes to.
#[derive(Clone, Copy)]
pub enum Disk<'a> {
    Plain(&'a Path),
    /// Everything that is written to it is written down in another file, too, see [`super::log`].
    Logged(&'a Path, &'a Path),
}

impl Disk<'_> {
    fn argument(self) -> String {
        // Nothing that is on the host's mind has to reach its disk.
        match self {
            Disk::Plain(path) => {
                format!("driver=raw,node-name=var,cache.no-flush=on,file.driver=file,file.filename={}", path.display())
            }
            Disk::Logged(path, log) => format!(
                "driver=blklogwrites,node-name=var,log-sector-size=512,file.driver=file,file.filename={},\
                 file.cache.no-flush=on,log.driver=file,log.filename={},log.cache.no-flush=on",
                path.display(),
                log.display()
            ),
        }
    }
}

impl Machine {
    /// Starts a machine on a root file system and a disk for `/var`, and waits until it takes scripts. What the kernel and
    /// the agent say is added to the file `console`.
    pub fn boot(root: &Path, disk: Disk<'_>, console: &Path) -> Machine {
        let mut machine = Self::start(root, disk, console, &[]);
        machine.wait_until_ready();
        machine.ok(MOUNT);
        machine
    }

    /// Waits until a machine that was started takes scripts.
    pub(super) fn wait_until_ready(&self) {
        self.printed("the machine to start", |line| line == "@@ ready");
    }

    /// Starts a machine, with more arguments for qemu.
    pub(super) fn start(root: &Path, disk: Disk<'_>, console: &Path, more: &[String]) -> Machine {
        let vm = target().join("test-vm");
        // The machine ends with the thread that started it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh"]).arg(vm.join("qemu/run"));
        command.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512", "-nodefaults", "-no-user-config"]);
        // A host with much to do is late with ticks of the clock, for which a kernel may give up its start.
        let kernel = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check";
        command.args(["-display", "none", "-no-reboot", "-append", kernel]);
        command.arg("-kernel").arg(vm.join("vmlinuz")).arg("-initrd").arg(vm.join("initrd"));
        command.args(["-chardev", &format!("file,id=console,append=on,path={}", console.display())]);
        command.args(["-serial", "chardev:console", "-serial", "stdio"]);
        let root = format!("driver=raw,node-name=root,read-only=on,file.driver=file,file.filename={}", root.display());
        for (name, argument) in [("root", root), ("var", disk.argument())] {
            command.args(["-blockdev", &argument, "-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        let mut child = command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Machine { child, input, lines, console: console.to_owned() }
    }

    /// Runs a script, which must succeed, and gives what it printed.
    pub fn ok(&mut self, script: &str) -> String {
        let (code, printed) = self.run(script);
        assert_eq!(code, 0, "{script}:\n{printed}\nconsole:\n{}", self.console());
        printed
    }

    /// Runs a script and gives its exit code and what it printed.
    pub fn run(&mut self, script: &str) -> (i32, String) {
        self.begin(script);
        self.end(script)
    }

    /// Has the machine begin with a script.
    pub fn begin(&mut self, script: &str) {
        let text = base64::engine::general_purpose::STANDARD.encode(script);
        for line in text.as_bytes().chunks(LINE) {
            self.input.write_all(&[line, b"\n"].concat()).unwrap();
        }
        self.input.write_all(b".\n").unwrap();
    }

    /// Waits for the end of a script that was begun.
    pub fn end(&mut self, script: &str) -> (i32, String) {
        let (mut printed, last) = self.printed(script, |line| line.starts_with("@@ end "));
        if printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        (last.trim_start_matches("@@ end ").trim().parse().unwrap(), printed.join("\n"))
    }

    /// Waits for a line, and gives those before it with it.
    pub fn printed(&self, what: &str, is_last: impl Fn(&str) -> bool) -> (Vec<String>, String) {
        let deadline = Instant::now() + PATIENCE;
        let mut printed = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_last(&line) => return (printed, line),
                Ok(line) => printed.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {what}\n{printed:?}\n{}", self.console()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the machine ended: {what}\n{printed:?}\n{}", self.console())
                }
            }
        }
    }

    /// Gives the machine this long, then cuts its power.
    pub fn cut(mut self, after: Duration) {
        std::thread::sleep(after);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What the kernel and the agent said, the last of it.
    pub fn console(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(80)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
