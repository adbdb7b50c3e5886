//! Whether this machine lets us make what containers need: found out by doing it, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::error::{CliError, Ending};
use super::printer;

/// Tries it in this process, which is of no other use afterwards: namespaces, a private mount tree, and with
/// `directory` an overlay over the machine's own root file system in there.
pub fn main(directory: Option<&Path>) -> Ending {
    match attempt(directory) {
        Ok(()) => Ending::Success,
        Err(what) => {
            printer::note(&what);
            Ending::Failed
        }
    }
}

fn attempt(directory: Option<&Path>) -> Result<(), String> {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    unshare(all).map_err(|e| format!("the kernel refuses to make namespaces: {}", e.desc()))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| format!("the kernel refuses to make mounts private: {}", e.desc()))?;
    let Some(directory) = directory else { return Ok(()) };
    let failed = |e: &dyn std::fmt::Display| format!("no overlay can be mounted in {}: {e}", directory.display());
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| directory.join(name));
    for made in [&upper, &work, &merged] {
        std::fs::create_dir(made).map_err(|e| failed(&e))?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|e| failed(&e.desc()))?;
    std::fs::write(merged.join("podwright-probe"), "x").map_err(|e| failed(&e))
}

/// Runs the attempt; `Err` says what was refused.
fn child(directory: Option<&Path>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let output = Command::new(program)
        .arg("internal-probe")
        .args(directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot start a process: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if said.is_empty() { format!("a process that tried it ended with {}", output.status) } else { said })
}

/// What to do where pods cannot run.
pub const WAY_OUT: &str =
    "run it as root, for example with sudo; inside of a container, that container must be a privileged one";

/// Refuses a command that runs pods where that is not possible.
///
/// # Errors
/// One sentence with what the kernel refuses, and the way out.
pub fn can_run_pods(verb: &str) -> Result<(), CliError> {
    child(None).map_err(|what| CliError::new(format!("{verb} needs to make containers, but {what}")).hint(WAY_OUT))
}

/// A fresh directory in which pods with overlays can run, below one of the usual places.
///
/// # Errors
/// Why none of them will do.
pub fn directory_for_pods(name: &str) -> Result<PathBuf, String> {
    child(None)?;
    let mut last = "there is no directory for temporary files".to_owned();
    let places = [std::env::temp_dir(), "/var/tmp".into(), "/run".into(), "/dev/shm".into()];
    for place in places {
        let directory = place.join(format!("{name}-{}", std::process::id()));
        let probe = directory.join("probe");
        if let Err(error) = std::fs::create_dir(&directory).and_then(|()| std::fs::create_dir(&probe)) {
            last = format!("{} cannot be made: {error}", directory.display());
            continue;
        }
        let tried = child(Some(&probe));
        // Its mounts ended with the process; what is left are plain directories.
        let removed = std::fs::remove_dir_all(&probe);
        match tried.and_then(|()| removed.map_err(|e| format!("{} cannot be removed: {e}", probe.display()))) {
            Ok(()) => return Ok(directory),
            Err(why) => {
                let _ = std::fs::remove_dir_all(&directory);
                last = why;
            }
        }
    }
    Err(last)
}
