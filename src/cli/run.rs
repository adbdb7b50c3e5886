//! `run`: the agent.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::RunArgs;
use super::engine::{self, Engine};
use super::error::{CliError, Ending};
use super::logging::Quiet;
use super::probe;
use super::settings::Settings;
use crate::source::{DEBOUNCE, Directory, Watch};

/// Runs the agent until SIGTERM, SIGINT or SIGHUP. The pods stay.
pub fn run(args: &RunArgs, settings: Settings) -> Result<Ending, CliError> {
    engine::log(&settings, Quiet::No);
    // First of all: without it a directory that can be read is of no use here.
    probe::can_run_pods("run")?;
    let (directory, status) = engine::directory(&args.agent.directory, args.agent.worktree, &settings)?;
    let engine = Engine::open(settings, "run")?;
    engine::runtime()?.block_on(async {
        let failed = |e: std::io::Error| CliError::new(format!("cannot wait for signals: {e}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        // Kept although nothing may ring them: a closed channel would say that the watch has ended.
        let (bell, silence) = mpsc::channel(1);
        let (_watch, hints) = match watch(args, &engine.settings, &directory) {
            Some((watch, hints)) => (Some(watch), hints),
            None => (None, silence),
        };
        let path = directory.path().display().to_string();
        let mut live = engine.start(Arc::new(directory), status, hints).await?;
        tracing::info!(directory = path, root = %engine.settings.layout.state.display(), "the agent runs");
        let outcome = tokio::select! {
            _ = terminate.recv() => Ok(Ending::Success),
            _ = interrupt.recv() => Ok(Ending::Success),
            _ = hangup.recv() => Ok(Ending::Success),
            error = live.broken() => Err(error),
        };
        tracing::info!("the agent ends; its pods go on");
        let stopped = live.stop();
        tokio::select! {
            () = stopped => {}
            // Whoever asks twice does not want to wait.
            _ = interrupt.recv() => return Ok(Ending::Interrupted),
        }
        drop(bell);
        outcome
    })
}

/// The watch, unless it was switched off or the system gives none.
fn watch(args: &RunArgs, settings: &Settings, directory: &Directory) -> Option<(Watch, mpsc::Receiver<()>)> {
    let found = if args.no_watch { None } else { Some(Watch::start(directory, DEBOUNCE)) };
    let missing = match found {
        Some(Ok(watch)) => return Some(watch),
        Some(Err(error)) => error.to_string(),
        None => "the directory is not watched".to_owned(),
    };
    match settings.resync {
        Some(every) => tracing::warn!("{missing}; changes are found every {} s", every.as_secs_f32()),
        None => tracing::warn!("{missing}, and the resync is off: changes are found when the agent is started again"),
    }
    None
}
