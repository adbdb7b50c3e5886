//! `apply`: the agent's own loop, ended when everything is as it should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::args::ApplyArgs;
use super::engine::{self, Engine, Live};
use super::error::{CliError, Ending};
use super::logging::Quiet;
use super::manifests::{self, Verdict};
use super::settings::Settings;
use super::{printer, probe};
use crate::control::{PodProgress, PodStanding, Progress, Verdict as Standing};
use crate::model::{FleetPlan, PodKey, Snapshot, Verb};
use crate::plan;
use crate::port::{ContainerBackend, ReadError, Source};
use crate::report;

/// What was read is what is applied, however the directory changes meanwhile.
struct Pinned(Snapshot);

#[async_trait]
impl Source for Pinned {
    async fn read(&self) -> Result<Snapshot, ReadError> {
        Ok(self.0.clone())
    }

    async fn read_at(&self, revision: &str) -> Result<Option<Snapshot>, ReadError> {
        Ok((self.0.revision.id == revision).then(|| self.0.clone()))
    }
}

/// How waiting ended.
enum Outcome {
    Done,
    /// A pod ended badly and will not run again, or the revision cannot be applied.
    InVain,
    NotInTime,
    Interrupted,
}

/// Runs `apply`.
pub fn run(args: &ApplyArgs, settings: Settings) -> Result<Ending, CliError> {
    engine::log(&settings, Quiet::Yes);
    // First of all: without it a directory that can be read is of no use here.
    probe::can_run_pods("apply")?;
    let (directory, status) = engine::directory(&args.agent.directory, args.agent.worktree, &settings)?;
    let snapshot = directory.read_now()?;
    let mut admitted = match manifests::judge(&snapshot, Some(&settings.node)) {
        Verdict::Valid(admitted) => admitted,
        Verdict::Refused(diagnostics) => return Err(CliError::refused(&diagnostics)),
    };
    manifests::tell_uncommitted(&snapshot);
    let engine = Engine::open(settings, "apply")?;
    engine::runtime()?.block_on(async {
        let observed = engine.native.list().await?;
        manifests::make_room(&mut admitted, &observed, Some(&engine.settings.node));
        printer::note_text(&report::diagnostics_text(&admitted.diagnostics));
        let plan = plan::fleet(&admitted, &observed);
        // Kept open: a closed channel would say that the watch has ended.
        let (_bell, silence) = mpsc::channel(1);
        let mut live = engine.start(Arc::new(Pinned(snapshot)), status, silence).await?;
        let told = printer::out(&actions(&plan));
        let outcome = match told {
            Ok(()) => wait(&mut live, args.wait, args.timeout).await,
            Err(error) => Err(error),
        };
        let last = live.progress.borrow().clone();
        live.stop().await;
        verdict(outcome?, &last, args.timeout)
    })
}

/// A line per pod, as kubectl prints it.
fn actions(plan: &FleetPlan) -> String {
    let mut verbs: BTreeMap<&PodKey, &str> = plan.unchanged.iter().map(|key| (key, "unchanged")).collect();
    let mut deleted = String::new();
    for action in &plan.actions {
        match action.verb() {
            Verb::Delete => deleted.push_str(&format!("pod/{} deleted\n", action.key().name)),
            Verb::Unchanged => {}
            verb => {
                verbs.insert(action.key(), if verb == Verb::Create { "created" } else { "configured" });
            }
        }
    }
    verbs.iter().fold(deleted, |text, (key, verb)| text + &format!("pod/{} {verb}\n", key.name))
}

async fn wait(live: &mut Live, until_ready: bool, timeout: Duration) -> Result<Outcome, CliError> {
    let mut progress = live.progress.clone();
    let deadline = Instant::now() + timeout;
    loop {
        let now = progress.borrow_and_update().clone();
        if now.is_done() || (!until_ready && is_under_way(&now)) {
            return Ok(Outcome::Done);
        }
        if now.is_hopeless() || matches!(now.verdict, Standing::Failed(_)) {
            return Ok(Outcome::InVain);
        }
        // Cancel-safe: the next turn looks at everything anew.
        tokio::select! {
            changed = timeout_at(deadline, progress.changed()) => if changed.is_err() { return Ok(Outcome::NotInTime) },
            error = live.broken() => return Err(error),
            _ = tokio::signal::ctrl_c() => return Ok(Outcome::Interrupted),
        }
    }
}

/// Whether every pod has begun, or says what it waits for: as far as `apply` goes without `--wait`.
fn is_under_way(progress: &Progress) -> bool {
    let begun = |pod: &Arc<PodProgress>| match pod.standing {
        PodStanding::Ready | PodStanding::Succeeded | PodStanding::Elsewhere | PodStanding::Failed => true,
        PodStanding::Leaving => false,
        PodStanding::Progressing if pod.past => false,
        PodStanding::Progressing => {
            pod.stuck
                || !matches!(pod.status.as_str(), "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating")
        }
    };
    progress.verdict == Standing::Applied && progress.pods.iter().all(begun)
}

fn is_in_trouble(pod: &PodProgress) -> bool {
    pod.standing == PodStanding::Failed || pod.stuck
}

fn verdict(outcome: Outcome, progress: &Progress, timeout: Duration) -> Result<Ending, CliError> {
    if let Some(failure) = &progress.status_failure {
        printer::note(&format!("warning: {failure}"));
    }
    match outcome {
        // A pod that says what keeps it from running will not run by itself once this process has ended.
        Outcome::Done if progress.unready().any(is_in_trouble) => {
            Err(unready("not every pod could be started", progress))
        }
        Outcome::Done => Ok(Ending::Success),
        Outcome::Interrupted => Err(CliError::silent(Ending::Interrupted)),
        Outcome::InVain => Err(match &progress.verdict {
            Standing::Refused(diagnostics) => CliError::refused(diagnostics),
            Standing::Failed(message) => CliError::new(message.clone()),
            Standing::Pending | Standing::Applied => unready("the pods do not become ready", progress),
        }),
        Outcome::NotInTime => {
            let sentence = format!("not ready within {} s", timeout.as_secs_f32());
            Err(unready(&sentence, progress).ending(Ending::NotReadyInTime))
        }
    }
}

/// An error with a line for each pod that is not ready.
fn unready(sentence: &str, progress: &Progress) -> CliError {
    let mut text = format!("error: {sentence}\n");
    for pod in progress.unready() {
        let why = if pod.message.is_empty() { String::new() } else { format!(": {}", pod.message) };
        text.push_str(&format!("  pod/{} {}{why}\n", pod.key.name, pod.status));
    }
    CliError::verbatim(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(pods: &[(&str, PodStanding, &str)]) -> Progress {
        let pod = |(name, standing, status): &(&str, PodStanding, &str)| PodProgress {
            key: PodKey::new("default", *name),
            standing: *standing,
            status: (*status).to_owned(),
            message: if *status == "ErrImagePull" { "no such image".to_owned() } else { String::new() },
            stuck: *status == "ErrImagePull",
            past: status.starts_with("OutOf"),
        };
        Progress {
            verdict: Standing::Applied,
            pods: pods.iter().map(pod).map(Arc::new).collect(),
            ..Progress::default()
        }
    }

    #[test]
    fn without_wait_apply_ends_when_every_pod_has_begun_or_says_what_it_waits_for() {
        use PodStanding::{Failed, Leaving, Progressing, Ready, Succeeded};
        for (pods, expected) in [
            (&[("a", Ready, "Running"), ("b", Succeeded, "Completed"), ("c", Failed, "Error")][..], true),
            (&[("a", Progressing, "ContainerCreating")], false),
            (&[("a", Progressing, "Pending")], false),
            (&[("a", Progressing, "ErrImagePull")], true),
            (&[("a", Progressing, "Init:0/1")], true),
            (&[("a", Leaving, "Running")], false),
            // A new one takes its place, for there is room.
            (&[("a", Progressing, "OutOfcpu")], false),
        ] {
            assert_eq!(is_under_way(&progress(pods)), expected, "{pods:?}");
        }
        assert!(!is_under_way(&Progress::default()), "nothing was read yet");
    }

    #[test]
    fn without_wait_a_pod_that_cannot_run_is_an_error() {
        let mut now = progress(&[("web", PodStanding::Ready, "Running"), ("b", PodStanding::Progressing, "Init:0/1")]);
        assert_eq!(verdict(Outcome::Done, &now, Duration::ZERO).unwrap(), Ending::Success);
        // A busy host port: the container waits as any other, the pod is stuck.
        Arc::make_mut(&mut now.pods[1]).status = "ContainerCreating".to_owned();
        assert!(!is_under_way(&now));
        Arc::make_mut(&mut now.pods[1]).stuck = true;
        assert!(is_under_way(&now));
        let error = verdict(Outcome::Done, &now, Duration::ZERO).unwrap_err();
        assert_eq!(error.ending, Ending::Failed);
        assert_eq!(error.to_string(), "error: not every pod could be started\n  pod/b ContainerCreating\n");
    }

    #[test]
    fn a_deadline_that_passes_names_the_pods_and_why() {
        let progress =
            progress(&[("web", PodStanding::Ready, "Running"), ("broken", PodStanding::Progressing, "ErrImagePull")]);
        let error = verdict(Outcome::NotInTime, &progress, Duration::from_secs(2)).unwrap_err();
        assert_eq!(error.ending, Ending::NotReadyInTime);
        assert_eq!(error.to_string(), "error: not ready within 2 s\n  pod/broken ErrImagePull: no such image\n");
    }
}
