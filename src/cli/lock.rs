//! Who may change the pods of a root: one process at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::error::CliError;
use super::layout::Layout;
use crate::port::PortError;
use crate::sys::lock;

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
    let Some(mut file) = lock::acquire(&path).map_err(|e| failed(&e))? else {
        return Err(held(&path, &layout.state, verb));
    };
    let mut write = || {
        file.set_len(0)?;
        writeln!(file, "{} {verb}", std::process::id())
    };
    write().map_err(|e| failed(&e))?;
    Ok(RootLock(file))
}

fn held(path: &Path, root: &Path, verb: &str) -> CliError {
    let mut text = String::new();
    // Without its content the sentence is poorer, not wrong.
    let _ = File::open(path).and_then(|file| file.take(64).read_to_string(&mut text));
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
