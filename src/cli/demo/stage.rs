//! Where the demo plays: a temporary directory, this program as the commands a reader would type, and the agent.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::cli::error::CliError;
use crate::cli::layout::Layout;
use crate::cli::printer;
use crate::model::Kind;
use crate::report::Listed;
use crate::serve::Client;

/// How long a step may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How many lines of the agent's log a failure shows.
const LOG_LINES: usize = 20;

/// A temporary directory with the repository `pods` and the root `root` in it, and perhaps an agent.
pub struct Stage {
    directory: PathBuf,
    program: PathBuf,
    agent: Option<Child>,
}

impl Stage {
    /// The stage in a directory that was made for it.
    pub fn new(directory: PathBuf) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(|e| CliError::new(format!("cannot find this program: {e}")))?;
        Ok(Self { directory, program, agent: None })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The repository.
    pub fn repo(&self) -> PathBuf {
        self.directory.join("pods")
    }

    /// The directories of the demo's root.
    pub fn layout(&self) -> Layout {
        Layout::new(Some(&self.directory.join("root")), Path::new("/"))
    }

    fn podwright(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        // The commands shown are complete with this one variable.
        command.env("PODWRIGHT_ROOT", self.directory.join("root"));
        command
    }

    /// Runs a command of ours, shows the line a reader would type and what came out, and expects an exit code.
    pub async fn show(&self, args: &[&str], code: i32) -> Result<String, CliError> {
        typed("podwright", args)?;
        let output = self.podwright(args).output().await.map_err(|e| not_started(&e))?;
        let text = both(&output);
        printer::out(&text)?;
        if output.status.code() == Some(code) {
            return Ok(text);
        }
        Err(CliError::new(format!("`podwright {}` ended with {}, not with {code}", args.join(" "), output.status)))
    }

    /// Starts the agent in a session of its own: Ctrl-C reaches the demo, and the demo ends the agent.
    pub fn start_agent(&mut self) -> Result<(), CliError> {
        let args = ["run", "pods", "--allow-host-image"];
        typed("podwright", &[&args[..], &["&"]].concat())?;
        let log = std::fs::File::create(self.log());
        let log = log.map_err(|e| CliError::new(format!("cannot write {}: {e}", self.log().display())))?;
        let child = self.podwright(&args).stdout(Stdio::null()).stderr(log).process_group(0).spawn();
        self.agent = Some(child.map_err(|e| not_started(&e))?);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Waits until the pod is ready and has another uid than `before`; gives its uid.
    pub async fn ready(&mut self, name: &str, before: Option<&str>) -> Result<String, CliError> {
        let client = Client::new(self.layout().socket());
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(pod) = client.get(Listed::Kind(Kind::Pod), "default", name).await
                && let Some(uid) = pod["metadata"]["uid"].as_str().filter(|uid| Some(*uid) != before)
                && is_ready(&pod)
            {
                return Ok(uid.to_owned());
            }
            if let Some(agent) = &mut self.agent
                && let Ok(Some(status)) = agent.try_wait()
            {
                self.agent = None;
                return Err(self.with_log(&format!("the agent ended with {status}")));
            }
            if tokio::time::Instant::now() >= end {
                return Err(self.with_log(&format!("pod {name} was not ready within {} s", PATIENCE.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the status file says Ready about the newest revision.
    pub async fn settled(&self, revision: &str) -> Result<String, CliError> {
        let path = self.repo().join("status.yaml");
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let status: crate::model::StatusDocument = match serde_yaml::from_str(&text) {
                Ok(status) => status,
                Err(error) if tokio::time::Instant::now() >= end => {
                    return Err(self.with_log(&format!("{} is no status: {error}", path.display())));
                }
                Err(_) => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            let applied = status.last_applied_revision.as_ref().is_some_and(|r| r.starts_with(revision));
            if applied && status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True") {
                return Ok(text);
            }
            if tokio::time::Instant::now() >= end {
                return Err(self.with_log("the status file does not become Ready"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the agent with SIGTERM and expects exit code 0.
    pub async fn stop_agent(&mut self) -> Result<(), CliError> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        typed("kill", &["-TERM", "%1"])?;
        if let Some(pid) = agent.id().and_then(|pid| i32::try_from(pid).ok()) {
            let sent = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            sent.map_err(|e| CliError::new(format!("cannot signal the agent: {}", e.desc())))?;
        }
        match tokio::time::timeout(PATIENCE, agent.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.with_log(&format!("the agent ended with {status}, not with 0"))),
            Ok(Err(error)) => Err(CliError::new(format!("cannot wait for the agent: {error}"))),
            Err(_) => Err(self.with_log(&format!("the agent did not end within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Ends whatever is left of the demo, silently; `Err` says what would not go.
    pub async fn clear(&mut self) -> Result<(), CliError> {
        if let Some(mut agent) = self.agent.take() {
            // It may have ended by itself; what counts is that it is gone.
            let _ = agent.kill().await;
        }
        let mut left = None;
        if self.layout().state.exists() {
            let down = self.podwright(&["down"]).output().await.map_err(|e| not_started(&e))?;
            left = (!down.status.success()).then(|| both(&down));
        }
        if let Some(said) = left {
            let place = self.directory.display();
            return Err(CliError::new(format!("the demo could not clean up {place}: {}", said.trim()))
                .hint(format!("`podwright down --root {place}/root` tries it again")));
        }
        match std::fs::remove_dir_all(&self.directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(CliError::new(format!("cannot remove {}: {e}", self.directory.display())))
            }
            _ => Ok(()),
        }
    }

    /// An error with the end of the agent's log.
    fn with_log(&self, what: &str) -> CliError {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        tail.iter().fold(CliError::new(what), |error, line| error.hint(format!("agent: {line}")))
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn not_started(error: &std::io::Error) -> CliError {
    CliError::new(format!("cannot start this program anew: {error}"))
}

fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A line of the narration.
pub fn say(text: &str) -> Result<(), CliError> {
    printer::out(&format!("\n{text}\n"))
}

/// A command line as a reader would type it.
pub fn typed(program: &str, args: &[&str]) -> Result<(), CliError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=~^%&,".contains(c);
    let mut line = format!("$ {program}");
    for arg in args {
        line.push(' ');
        if !arg.is_empty() && arg.chars().all(plain) {
            line.push_str(arg);
        } else {
            line.push_str(&format!("'{arg}'"));
        }
    }
    printer::out(&format!("{line}\n"))
}
