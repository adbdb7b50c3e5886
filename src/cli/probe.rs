//! Whether this machine lets us make what containers need: found out by doing it, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::args::Attempt;
use super::error::{CliError, Ending};
use super::printer;
use crate::model::{RUN_AS_ROOT, Trial};
use crate::net;
use crate::sys::users;

/// Tries it in this process, which is of no other use afterwards.
pub fn main(attempt: Attempt, directory: Option<&Path>) -> Ending {
    match attempt_of(attempt, directory) {
        Ok(()) => Ending::Success,
        Err(what) => {
            printer::note(&what);
            Ending::Failed
        }
    }
}

fn attempt_of(attempt: Attempt, directory: Option<&Path>) -> Trial {
    let own =
        |flags, what: &str| unshare(flags).map_err(|e| format!("the kernel refuses to make {what}: {}", e.desc()));
    let own_network = || own(CloneFlags::CLONE_NEWNET, "a network namespace");
    let refused = |what: &'static str| move |e: std::io::Error| format!("the kernel refuses {what}: {e}");
    match attempt {
        Attempt::Pods => pods(directory, false),
        Attempt::PodsInMemory => pods(directory, true),
        Attempt::Users => users::attempt(directory.unwrap_or(Path::new("/"))),
        Attempt::Links => {
            own_network().and_then(|()| net::try_links().map_err(refused("a bridge with a pair of links")))
        }
        Attempt::Nft => own_network().and_then(|()| net::try_nft()),
        Attempt::Forwarding => {
            own_network().and_then(|()| net::try_forwarding().map_err(refused("to pass packets on between links")))
        }
    }
}

/// Namespaces, a private mount tree, and with `directory` an overlay over the machine's own root file system in there:
/// what is written to it is in that directory, or in memory.
fn pods(directory: Option<&Path>, in_memory: bool) -> Trial {
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
    if in_memory {
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), none).map_err(|e| failed(&e.desc()))?;
    }
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| directory.join(name));
    for made in [&upper, &work, &merged] {
        std::fs::create_dir(made).map_err(|e| failed(&e))?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|e| failed(&e.desc()))?;
    std::fs::write(merged.join("podwright-probe"), "x").map_err(|e| failed(&e))
}

/// Runs an attempt; `Err` says what was refused.
pub fn child(attempt: Attempt, directory: Option<&Path>) -> Trial {
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let output = Command::new(program)
        .args(["internal-probe", attempt.as_str()])
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

/// Refuses a command that runs pods where that is not possible.
///
/// # Errors
/// One sentence with what the kernel refuses, and the way out.
pub fn can_run_pods(verb: &str) -> Result<(), CliError> {
    child(Attempt::Pods, None).map_err(|what| {
        let error = CliError::new(format!("{verb} needs to make containers, but {what}")).hint(RUN_AS_ROOT);
        error.hint("`podwright doctor` says what else is lacking on this machine")
    })
}

/// Tries an overlay below a directory, and removes what it needed for that.
pub fn overlay_in(directory: &Path) -> Trial {
    overlay(Attempt::Pods, directory)
}

/// The same as a container falls back to, where the file system of the directory cannot hold what is written to an overlay.
pub fn overlay_in_memory(directory: &Path) -> Trial {
    overlay(Attempt::PodsInMemory, directory)
}

fn overlay(attempt: Attempt, directory: &Path) -> Trial {
    let probe = directory.join(format!(".probe-{}", std::process::id()));
    std::fs::create_dir(&probe).map_err(|e| format!("{} cannot be made: {e}", probe.display()))?;
    let tried = child(attempt, Some(&probe));
    // Its mounts ended with the process; what is left are plain directories.
    let removed = std::fs::remove_dir_all(&probe);
    tried.and_then(|()| removed.map_err(|e| format!("{} cannot be removed: {e}", probe.display())))
}

/// A fresh directory in which pods with overlays can run, below one of the usual places.
///
/// # Errors
/// Why none of them will do.
pub fn directory_for_pods(name: &str) -> Result<PathBuf, String> {
    child(Attempt::Pods, None)?;
    let mut last = "there is no directory for temporary files".to_owned();
    let places = [std::env::temp_dir(), "/var/tmp".into(), "/run".into(), "/dev/shm".into()];
    for place in places {
        let directory = place.join(format!("{name}-{}", std::process::id()));
        if let Err(error) = std::fs::create_dir(&directory) {
            last = format!("{} cannot be made: {error}", directory.display());
            continue;
        }
        match overlay_in(&directory) {
            Ok(()) => return Ok(directory),
            Err(why) => {
                let _ = std::fs::remove_dir_all(&directory);
                last = why;
            }
        }
    }
    Err(last)
}
