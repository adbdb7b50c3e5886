//! `delete` and `down`: pods stopped and removed, by the directory or all of them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use jiff::Timestamp;

use super::args::{DeleteArgs, DownArgs};
use super::engine::{self, Engine};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::logging::Quiet;
use super::manifests::{self, Verdict};
use super::settings::Settings;
use super::{printer, probe};
use crate::control::{Removed, remove_pods};
use crate::model::PodKey;
use crate::port::ContainerBackend;
use crate::serve::events;
use crate::sys::effect;

/// Runs `delete`: a pod of the directory that does not run is an error, as it is for kubectl.
pub fn delete(args: &DeleteArgs, settings: Settings) -> Result<Ending, CliError> {
    engine::log(&settings, Quiet::Yes);
    // First of all: without it a directory that can be read is of no use here.
    probe::can_run_pods("delete")?;
    let (directory, _) = engine::directory(&args.directory, args.worktree, &settings)?;
    let admitted = match manifests::judge(&directory.read_now()?, Some(&settings.node)) {
        Verdict::Valid(admitted) => admitted,
        Verdict::Refused(diagnostics) => return Err(CliError::refused(&diagnostics)),
    };
    let wanted: BTreeSet<PodKey> = admitted.pods.keys().cloned().collect();
    let engine = Engine::open(settings, "delete")?;
    engine::runtime()?.block_on(async {
        let running: BTreeSet<PodKey> = engine.native.list().await?.iter().map(|pod| pod.record.key.clone()).collect();
        let removed = remove(&engine, Some(&wanted), (args.grace.limit(), args.timeout)).await?;
        let is_here = |key: &&PodKey| admitted.pods.get(*key).is_some_and(|pod| !pod.is_elsewhere());
        let missing: Vec<&PodKey> = wanted.difference(&running).filter(is_here).collect();
        for key in &missing {
            printer::failure(&CliError::not_found("pods", &key.name));
        }
        tell(&removed, args.timeout)?;
        Ok(if missing.is_empty() { Ending::Success } else { Ending::Failed })
    })
}

/// Runs `down`: afterwards nothing of this root is left outside of its own directory.
pub fn down(args: &DownArgs, settings: Settings) -> Result<Ending, CliError> {
    engine::log(&settings, Quiet::Yes);
    if !settings.layout.state.exists() {
        printer::note(&format!("nothing was ever run below {}", settings.layout.state.display()));
        return Ok(Ending::Success);
    }
    probe::can_run_pods("down")?;
    let engine = Engine::open(settings, "down")?;
    engine::runtime()?.block_on(async {
        let removed = remove(&engine, None, (args.grace.limit(), args.timeout)).await?;
        tell(&removed, args.timeout)?;
        engine.native.teardown_root().await?;
        forget_reports(&engine.settings.layout)?;
        Ok(Ending::Success)
    })
}

/// The last report, the last status and the events are about pods that are gone.
fn forget_reports(layout: &Layout) -> Result<(), CliError> {
    for path in [layout.snapshot(), layout.status(), layout.events(), events::aside(&layout.events())] {
        match effect::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(CliError::new(format!("cannot remove {}: {e}", path.display())));
            }
            _ => {}
        }
    }
    match effect::remove_dir(&layout.run) {
        // Not empty: what is in there is not ours.
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(CliError::new(format!("cannot remove {}: {e}", layout.run.display())))
        }
        _ => Ok(()),
    }
}

async fn remove(
    engine: &Engine,
    which: Option<&BTreeSet<PodKey>>,
    (grace, timeout): (Option<i64>, Duration),
) -> Result<Removed, CliError> {
    let kubelet = engine.kubelet();
    let deadline = Timestamp::now().checked_add(timeout).ok();
    let removed = tokio::select! {
        removed = remove_pods(&kubelet, which, grace, deadline) => removed?,
        _ = tokio::signal::ctrl_c() => return Err(CliError::silent(Ending::Interrupted)),
    };
    kubelet.shutdown(Duration::from_secs(5)).await;
    Ok(removed)
}

/// A line per pod, as kubectl prints it, and an error when some would not go.
fn tell(removed: &Removed, timeout: Duration) -> Result<(), CliError> {
    let lines: String = removed.gone.iter().map(|key| format!("pod \"{}\" deleted\n", key.name)).collect();
    printer::out(&lines)?;
    if removed.left.is_empty() {
        return Ok(());
    }
    let mut text = format!("error: not gone within {} s\n", timeout.as_secs_f32());
    for (key, why) in &removed.left {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        text.push_str(&format!("  pod/{}{why}\n", key.name));
    }
    Err(CliError::verbatim(text))
}
