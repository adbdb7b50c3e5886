//! Who may change the pods of a root: one process at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::CliError;
use super::layout::Layout;
use crate::port::PortError;
use crate::sys::{effect, lock, process};

/// How long the children of a process that is gone may take until they are programs of their own: until then they have its
/// lock.
const LAST_CHILDREN: Duration = Duration::from_secs(5);

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct RootLock(#[allow(dead_code)] File);

/// Takes the lock for a command.
///
/// # Errors
/// When another process holds it; the sentence names that process and the way out.
pub fn take(layout: &Layout, verb: &str) -> Result<RootLock, CliError> {
    let path = layout.lock();
    let failed = |e: &io::Error| CliError::from(PortError::io("lock", path.display().to_string(), e));
    let deadline = Instant::now() + LAST_CHILDREN;
    let file = loop {
        match lock::acquire(&path).map_err(|e| failed(&e))? {
            Some(file) => break file,
            None if Instant::now() < deadline && !is_alive(&holder(&path)) => {}
            None => return Err(held(&path, &layout.state, verb)),
        }
    };
    // Of whoever held it before: it is at the start of the file.
    let holder = format!("{} {verb}\n", std::process::id());
    let written = effect::truncate(&file, 0).and_then(|()| effect::write(&file, holder.as_bytes()));
    written.map_err(|e| failed(&e))?;
    Ok(RootLock(file))
}

/// Who wrote that it holds the lock: process and verb.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    // Without its content the sentence is poorer, not wrong.
    let _ = File::open(path).and_then(|file| file.take(64).read_to_string(&mut text));
    text
}

/// Whether that process lives. Who did not write anything may.
fn is_alive(holder: &str) -> bool {
    let pid = holder.split(' ').next().and_then(|pid| pid.parse().ok());
    pid.is_none_or(|pid| process::start_ticks(pid).is_some())
}

fn held(path: &Path, root: &Path, verb: &str) -> CliError {
    let text = holder(path);
    let (pid, holder) = text.trim().split_once(' ').unwrap_or(("unknown", "another command"));
    let error = |what: &str| CliError::new(format!("{what} the pods of {} (process {pid})", root.display()));
    match (holder, verb) {
        ("run", "run") => error("an agent runs already on").hint(format!("use that one, or stop it with `kill {pid}`")),
        ("run", "apply") => error("an agent runs on").hint(format!(
            "commit the change and it will be applied; or stop the agent with `kill {pid}`, its pods go on"
        )),
        ("run", _) => error("an agent runs on").hint(format!(
            "stop it first, its pods go on: `systemctl stop podwright` for a service, else `kill {pid}`"
        )),
        _ => error(&format!("`podwright {holder}` is working on")).hint("wait until it is done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_to_its_children_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), Path::new("/"));
        let left = take(&layout, "run").unwrap();
        // No process has this number: it is larger than they get.
        std::fs::write(layout.lock(), "4194305 run").unwrap();
        let waiting = std::thread::spawn(move || take(&layout, "run").map(drop));
        std::thread::sleep(Duration::from_millis(400));
        drop(left);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), Path::new("/"));
        let first = take(&layout, "run").unwrap();
        let error = take(&layout, "down").unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.contains(&format!("(process {pid})")) && error.contains("systemctl stop"), "{error}");
        assert!(error.contains(&format!("`kill {pid}`")), "{error}");
        drop(first);
        let _second = take(&layout, "apply").unwrap();
        assert!(take(&layout, "run").unwrap_err().to_string().contains("`podwright apply` is working"));
    }
}
