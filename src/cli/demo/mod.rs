//! `demo`: the main job on examples/quickstart, told step by step, each with the command it stands for.
//!
//! The agent is the real one, started as a process of its own on a temporary repository and a temporary root. Where the
//! kernel refuses namespaces only what needs none is shown, and the exit code says that it was not everything.

mod leaks;
mod repo;
mod stage;

use tokio::signal::unix::{SignalKind, signal};

use super::error::{CliError, Ending};
use super::{printer, probe};
use crate::model::RUN_AS_ROOT;
use leaks::Traces;
use repo::Repo;
use stage::{Stage, say, typed};

const NAME: &str = "podwright-demo";
const OLD_PORT: &str = "6379";
const NEW_PORT: &str = "6380";
const FIRST: &str = "a website and its preset";
const SECOND: &str = "the database moves to another port";
/// What shows the preset inside of the container: its variable and its mount.
const INSIDE: &str = "env | grep DB_PORT; grep -ow /cache /proc/self/mounts";

/// Runs `demo`.
pub fn run() -> Result<Ending, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(format!("cannot start the runtime: {e}")))?;
    match probe::directory_for_pods(NAME) {
        Ok(directory) => runtime.block_on(play(directory, whole)),
        Err(why) => {
            let directory = std::env::temp_dir().join(format!("{NAME}-{}", std::process::id()));
            std::fs::create_dir(&directory)
                .map_err(|e| CliError::new(format!("cannot make {}: {e}", directory.display())))?;
            runtime.block_on(play(directory, async |stage: &mut Stage| without_pods(stage, &why).await))
        }
    }
}

/// Plays a script and clears the stage whatever happens, signals included.
async fn play(
    directory: std::path::PathBuf,
    script: impl AsyncFnOnce(&mut Stage) -> Result<Ending, CliError>,
) -> Result<Ending, CliError> {
    let mut stage = Stage::new(directory)?;
    let outcome = tokio::select! {
        outcome = script(&mut stage) => outcome,
        asked = interrupted() => asked.and(Err(CliError::silent(Ending::Interrupted))),
    };
    let cleared = stage.clear().await;
    match (outcome, cleared) {
        (Err(error), Err(left)) => {
            printer::failure(&left);
            Err(error)
        }
        (Ok(_), Err(left)) => Err(left),
        (outcome, Ok(())) => outcome,
    }
}

/// Resolves when somebody wants the demo to end: Ctrl-C, a closed terminal, a service manager.
async fn interrupted() -> Result<(), CliError> {
    let listen = |kind| signal(kind).map_err(|e| CliError::new(format!("cannot wait for signals: {e}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// Everything there is to see.
async fn whole(stage: &mut Stage) -> Result<Ending, CliError> {
    say("podwright demo: from a git commit to running pods, in a temporary directory")?;
    let mut repo = first_revision(stage).await?;

    say("3. The agent makes the pods of the directory, and keeps them so.")?;
    stage.start_agent()?;
    let first = stage.ready("website", None).await?;
    let mut traces = Traces::new(&stage.layout().instance()?, stage.directory());
    traces.note();
    stage.show(&["get", "pods"], 0).await?;

    say("4. The pod says nothing of a database or a cache: the preset gave it both.")?;
    let inside = stage.show(&["exec", "website", "--", "sh", "-c", INSIDE], 0).await?;
    expect(&inside, &format!("DB_PORT={OLD_PORT}"))?;
    expect(&inside, "/cache")?;

    say("5. A change is a commit. What it would do can be asked before.")?;
    let revision = second_revision(stage, &mut repo, &["diff", "pods", "--base", "HEAD", "--worktree"]).await?;
    stage.ready("website", Some(&first)).await?;
    let status = stage.settled(&revision).await?;
    traces.note();

    say("6. The agent saw it. The pod is a new one, and the last action says why.")?;
    let status_text = stage.show(&["status"], 0).await?;
    expect(&status_text, "PodPreset allow-database")?;
    let inside = stage.show(&["exec", "website", "--", "sh", "-c", INSIDE], 0).await?;
    expect(&inside, &format!("DB_PORT={NEW_PORT}"))?;
    stage.show(&["logs", "website"], 0).await?;

    say("7. The same for programs: the status file beside the manifests.")?;
    typed("cat", &["pods/status.yaml"])?;
    printer::out(&status)?;

    say("8. Without its agent a pod goes on; nobody pretends to know how it is.")?;
    stage.stop_agent().await?;
    stage.show(&["get", "pods"], 0).await?;
    let inside = stage.show(&["exec", "website", "--", "echo", "still here"], 0).await?;
    expect(&inside, "still here")?;

    say("9. The end of all pods, and a look at what they left on this machine.")?;
    stage.show(&["down"], 0).await?;
    end(stage, &traces).await
}

/// Removes the stage and counts what is left of it.
async fn end(stage: &mut Stage, traces: &Traces) -> Result<Ending, CliError> {
    stage.clear().await?;
    let mut left = traces.left();
    if stage.directory().exists() {
        left.push(format!("directory {}", stage.directory().display()));
    }
    if traces.namespaces() == 0 {
        return Err(CliError::new("the demo saw no namespace of its pods: its leak check would prove nothing"));
    }
    for line in &left {
        printer::out(&format!("left: {line}\n"))?;
    }
    printer::out(&format!("leaks: {}\n", left.len()))?;
    Ok(if left.is_empty() { Ending::Success } else { Ending::Failed })
}

/// What needs no namespaces, and the names of what does.
async fn without_pods(stage: &mut Stage, why: &str) -> Result<Ending, CliError> {
    say("podwright demo: from a git commit to what would run, in a temporary directory")?;
    let mut repo = first_revision(stage).await?;
    say("3. What admission makes of it: the preset is merged into the pod.")?;
    let rendered = stage.show(&["render", "pods"], 0).await?;
    expect(&rendered, "DB_PORT")?;
    say("4. A change is a commit. What it would do can be asked before.")?;
    second_revision(stage, &mut repo, &["diff", "pods", "--base", "HEAD", "--worktree"]).await?;
    stage.clear().await?;
    say("Not shown here: the agent, its pods, the status file and the clean end (run, get, exec, status, down).")?;
    printer::out(&format!("  why: {why}\n  the way out: {RUN_AS_ROOT}\n"))?;
    Ok(Ending::Incomplete)
}

/// A repository with the example, committed and validated.
async fn first_revision(stage: &Stage) -> Result<Repo, CliError> {
    say("1. A repository with a pod, and a preset for pods of its role.")?;
    let mut repo = Repo::create(&stage.repo())?;
    typed("cat", &["pods/pod.yaml", "pods/preset.yaml"])?;
    for (_, text) in repo::FILES {
        printer::out(text)?;
    }
    typed("git", &["-C", "pods", "add", "."])?;
    commit(&mut repo, FIRST)?;
    say("2. Is it right?")?;
    stage.show(&["validate", "pods"], 0).await?;
    Ok(repo)
}

/// The preset's variable changes: first the question what that will do, then the commit.
async fn second_revision(stage: &Stage, repo: &mut Repo, diff: &[&str]) -> Result<String, CliError> {
    typed("sed", &["-i", &format!("s/{OLD_PORT}/{NEW_PORT}/"), "pods/preset.yaml"])?;
    repo.replace("preset.yaml", OLD_PORT, NEW_PORT)?;
    let said = stage.show(diff, 1).await?;
    expect(&said, "PodPreset allow-database")?;
    typed("git", &["-C", "pods", "add", "."])?;
    commit(repo, SECOND)
}

fn commit(repo: &mut Repo, message: &str) -> Result<String, CliError> {
    typed("git", &["-C", "pods", "commit", "-m", message])?;
    let revision = repo.commit(message)?;
    printer::out(&format!("[main {revision}] {message}\n"))?;
    Ok(revision)
}

/// A demo that shows something else than it tells has failed.
fn expect(output: &str, wanted: &str) -> Result<(), CliError> {
    if output.contains(wanted) {
        return Ok(());
    }
    Err(CliError::new(format!("the output above should have shown {wanted:?}")))
}
