//! The `nft` program: the one external program of the network.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::sys::effect;

/// nft takes milliseconds; whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where it is when PATH, as of some service managers, lacks the directories of the administrator.
const USUAL: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];
/// How much of its complaint is passed on.
const MAX_COMPLAINT: usize = 500;

/// Why the table was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NftError {
    /// There is no `nft`.
    Missing,
    /// It refused: its own words.
    Refused(String),
    /// It could not be run, or not to its end: nobody knows what it would say.
    Failed(String),
}

/// Finds the program in PATH or where it usually is.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join("nft"));
    in_path.chain(USUAL.iter().map(PathBuf::from)).find(|file| file.is_absolute() && file.is_file())
}

/// Runs a script as one transaction.
pub(super) async fn run(program: Option<&Path>, script: &str) -> Result<(), NftError> {
    let Some(program) = program.filter(|p| p.is_file()) else { return Err(NftError::Missing) };
    let failed = |e: std::io::Error| NftError::Failed(format!("cannot run {}: {e}", program.display()));
    let mut command = Command::new(program);
    command.args(["-f", "-"]).env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = effect::spawn_async(&mut command).map_err(failed)?;
    let mut stdin = child.stdin.take().expect("invariant: stdin was asked for");
    let work = async {
        effect::during("nft", "script", async {
            // A program that ends early closes its input; its status tells.
            let _ = stdin.write_all(script.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        })
        .await
    };
    let output = match tokio::time::timeout(PATIENCE, work).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => return Err(NftError::Failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    if output.status.success() {
        return Ok(());
    }
    if output.status.code().is_none() {
        return Err(NftError::Failed(format!("{} ended by a {}", program.display(), output.status)));
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let Some(first) = complaint.lines().next() else {
        return Err(NftError::Failed(format!("{} said nothing, and ended with {}", program.display(), output.status)));
    };
    Err(NftError::Refused(first.chars().take(MAX_COMPLAINT).collect()))
}
