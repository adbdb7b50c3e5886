//! `logs`: through the agent while it answers, else from the files that the records name.

mod lines;

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::args::LogsArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::look::{self, Source};
use super::{container, printer, records};
use crate::model::{Kind, PodKey, PodRecord};
use crate::report::Listed;
use crate::serve::{Client, LogRequest, LogStream, Progress, stream_file};
use lines::Lines;

/// Pieces of followed logs that wait to be printed.
const WAITING: usize = 16;

/// Runs `logs`.
pub fn run(args: &LogsArgs, layout: &Layout) -> Result<Ending, CliError> {
    let name = container::pod_name(&args.pod);
    let request = request(args, PodKey::new(&args.namespace.namespace, name), Timestamp::now())?;
    look::block_on(async {
        let (logs, pod) = match look::source(layout).await? {
            Source::Agent(client) => {
                let object = client.get(Listed::Kind(Kind::Pod), &request.pod.namespace, name).await?;
                let pod = Pod::deserialize(&object);
                let pod = pod.map_err(|e| CliError::new(format!("the agent's answer is no pod: {e}")))?;
                (Logs::Agent(client), pod)
            }
            Source::LastReport(report) => {
                look::note_last_report(&report);
                let record = records::pod(layout, &request.pod)?;
                let pod = record.realised.effective.open();
                (Logs::Files { layout: layout.clone(), record: Arc::new(record) }, pod)
            }
        };
        let printing = Printing { logs, prefix: args.prefix, ignore_errors: args.ignore_errors };
        let requests = requests(args, request, &pod)?;
        if args.follow && requests.len() > 1 {
            printing.side_by_side(requests).await
        } else {
            printing.in_turn(requests).await
        }
    })
}

/// What is asked of each container, or why it makes no sense, in kubectl's words.
fn request(args: &LogsArgs, pod: PodKey, now: Timestamp) -> Result<LogRequest, CliError> {
    let number = |number: i64, wrong: &str| u64::try_from(number).map_err(|_| CliError::usage(wrong));
    let wanted = args.container.as_ref().or(args.positional_container.as_ref());
    if let Some(name) = wanted.filter(|_| args.all_containers) {
        let text = format!("--all-containers=true should not be specified with container name {name}");
        return Err(CliError::usage(text));
    }
    // An age of nothing is none.
    let since = match (args.since.filter(|age| !age.is_zero()), args.since_time) {
        (Some(_), Some(_)) => {
            return Err(CliError::usage("at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        (Some(age), None) => {
            let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
            Some(now.checked_sub(age).unwrap_or(Timestamp::MIN))
        }
        (None, time) => time,
    };
    let tail_lines = match args.tail {
        -1 => None,
        lines => Some(number(lines, "--tail must be greater than or equal to -1")?),
    };
    let limit = args.limit_bytes.filter(|bytes| *bytes != 0);
    let limit_bytes = limit.map(|bytes| number(bytes, "--limit-bytes must be greater than 0")).transpose()?;
    let LogsArgs { follow, previous, timestamps, .. } = *args;
    Ok(LogRequest { follow, previous, timestamps, tail_lines, limit_bytes, since, ..LogRequest::new(pod, "") })
}

/// The same for each container that is meant.
fn requests(args: &LogsArgs, request: LogRequest, pod: &Pod) -> Result<Vec<LogRequest>, CliError> {
    let wanted = args.container.as_deref().or(args.positional_container.as_deref());
    let names = if args.all_containers {
        container::all(pod)
    } else {
        let chosen = container::choose(pod, wanted)?;
        chosen.note.iter().for_each(|note| printer::note(note));
        vec![chosen.name]
    };
    let (count, limit) = (names.len(), args.max_log_requests);
    if args.follow && count > 1 && count > limit {
        return Err(CliError::new(format!(
            "you are attempting to follow {count} log streams, but maximum allowed concurrency is {limit}, use --max-log-requests to increase the limit"
        )));
    }
    Ok(names.into_iter().map(|container| LogRequest { container, ..request.clone() }).collect())
}

/// Where logs are read.
#[derive(Clone)]
enum Logs {
    Agent(Client),
    Files { layout: Layout, record: Arc<PodRecord> },
}

/// A log under way.
enum Log {
    Agent(LogStream),
    File { chunks: mpsc::Receiver<io::Result<Bytes>>, path: String },
}

impl Log {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, CliError>> {
        match self {
            Log::Agent(stream) => Some(stream.next().await?.map_err(CliError::from)),
            Log::File { chunks, path } => {
                let failed = |e: io::Error| CliError::new(format!("cannot read {path}: {e}"));
                Some(chunks.recv().await?.map_err(failed))
            }
        }
    }
}

impl Logs {
    async fn open(&self, request: &LogRequest) -> Result<Log, CliError> {
        match self {
            Logs::Agent(client) => Ok(Log::Agent(client.log(request).await?)),
            Logs::Files { layout, record } => from_files(layout, record, request).await,
        }
    }
}

/// Whether an instance has ended, by what its directory says.
struct Directory(PathBuf);

#[async_trait]
impl Progress for Directory {
    async fn ended(&self) -> bool {
        if self.0.join("exit.json").exists() {
            return true;
        }
        // Its monitor holds the lock as long as the container lives.
        match File::open(self.0.join("lock")) {
            Ok(file) => !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(_) => true,
        }
    }
}

async fn from_files(layout: &Layout, record: &PodRecord, request: &LogRequest) -> Result<Log, CliError> {
    let mut instances = records::instances(layout, &record.uid, &request.container)?;
    let newest = instances.pop();
    let instance = if request.previous { instances.pop() } else { newest };
    let Some(instance) = instance else {
        let (container, pod) = (&request.container, &request.pod.name);
        let what = if request.previous {
            format!("previous terminated container {container:?} in pod {pod:?} not found")
        } else {
            format!("container {container:?} in pod {pod:?} is waiting to start: it was not started yet")
        };
        return Err(CliError::verbatim(format!("Error from server (BadRequest): {what}\n")));
    };
    let progress = Arc::new(Directory(instance.dir));
    let chunks = stream_file(instance.record.log_path.as_ref(), request, progress).await?;
    Ok(Log::File { chunks, path: instance.record.log_path })
}

/// How logs are printed.
struct Printing {
    logs: Logs,
    prefix: bool,
    ignore_errors: bool,
}

impl Printing {
    /// What divides a container's log into pieces that can be printed between those of others.
    fn lines(&self, request: &LogRequest) -> Lines {
        let prefix = format!("[pod/{}/{}] ", request.pod.name, request.container);
        Lines::new(if self.prefix { prefix } else { String::new() })
    }

    async fn in_turn(&self, requests: Vec<LogRequest>) -> Result<Ending, CliError> {
        for request in requests {
            match self.one(&request).await {
                Err(error) if self.ignore_errors && error.ending == Ending::Failed => {
                    printer::bytes(error.to_string().as_bytes())?;
                }
                other => other?,
            }
        }
        Ok(Ending::Success)
    }

    async fn one(&self, request: &LogRequest) -> Result<(), CliError> {
        let mut log = self.logs.open(request).await?;
        // Alone and without a prefix it goes through as it comes, a line that has not ended yet too.
        let mut lines = self.prefix.then(|| self.lines(request));
        while let Some(chunk) = log.next().await {
            match &mut lines {
                Some(lines) => printer::bytes(&lines.take(&chunk?))?,
                None => printer::bytes(&chunk?)?,
            }
        }
        printer::bytes(&lines.map(Lines::rest).unwrap_or_default())
    }

    /// Follows several; a line is never torn by another one's.
    async fn side_by_side(&self, requests: Vec<LogRequest>) -> Result<Ending, CliError> {
        let (sender, mut pieces) = mpsc::channel::<Result<Vec<u8>, CliError>>(WAITING);
        let mut tasks = JoinSet::new();
        for request in requests {
            let (logs, mut lines, sender) = (self.logs.clone(), self.lines(&request), sender.clone());
            tasks.spawn(async move {
                if let Err(error) = follow(&logs, &request, &mut lines, &sender).await {
                    // Nobody is there any more when another one failed.
                    let _ = sender.send(Err(error)).await;
                }
                let _ = sender.send(Ok(lines.rest())).await;
            });
        }
        drop(sender);
        while let Some(piece) = pieces.recv().await {
            match piece {
                Ok(bytes) => printer::bytes(&bytes)?,
                Err(error) if self.ignore_errors => printer::bytes(error.to_string().as_bytes())?,
                Err(error) => return Err(error),
            }
        }
        Ok(Ending::Success)
    }
}

async fn follow(
    logs: &Logs,
    request: &LogRequest,
    lines: &mut Lines,
    sender: &mpsc::Sender<Result<Vec<u8>, CliError>>,
) -> Result<(), CliError> {
    let mut log = logs.open(request).await?;
    while let Some(chunk) = log.next().await {
        let piece = lines.take(&chunk?);
        if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::super::args::{Cli, Verb};
    use super::*;

    fn args(flags: &[&str]) -> LogsArgs {
        let words = ["podwright", "logs", "web"].iter().chain(flags);
        match Cli::try_parse_from(words).map(|cli| cli.verb) {
            Ok(Verb::Logs(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn asked(flags: &[&str]) -> Result<LogRequest, String> {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        request(&args(flags), PodKey::new("default", "web"), now).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_say_which_part_of_a_log_is_meant() {
        let plain = LogRequest::new(PodKey::new("default", "web"), "");
        let at = |time: &str| Some(time.parse().unwrap());
        for (flags, expected) in [
            (&[][..], plain.clone()),
            (&["--tail", "-1", "--limit-bytes", "0"], plain.clone()),
            (&["--since=0"], plain.clone()),
            (&["--since=0s"], plain.clone()),
            (&["--tail", "0"], LogRequest { tail_lines: Some(0), ..plain.clone() }),
            (
                &["-f", "-p", "--timestamps"],
                LogRequest { follow: true, previous: true, timestamps: true, ..plain.clone() },
            ),
            (&["--since=1m5s"], LogRequest { since: at("2026-01-02T03:03:00Z"), ..plain.clone() }),
            (
                &["--since-time", "2026-01-02T05:04:05+02:00"],
                LogRequest { since: at("2026-01-02T03:04:05Z"), ..plain.clone() },
            ),
            (&["--limit-bytes=7"], LogRequest { limit_bytes: Some(7), ..plain }),
        ] {
            assert_eq!(asked(flags), Ok(expected), "{flags:?}");
        }
        assert_eq!(asked(&["--since", "5124095576030h"]).unwrap().since, Some(Timestamp::MIN), "all there is");
    }

    #[test]
    fn flags_that_make_no_sense_are_refused_as_kubectl_does() {
        for (flags, words) in [
            (
                &["--since", "5s", "--since-time", "2026-01-02T03:04:05Z"][..],
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            (&["--all-containers", "-c", "a"], "--all-containers=true should not be specified with container name a"),
            (&["--all-containers=true", "a"], "--all-containers=true should not be specified with container name a"),
            (&["--tail=-2"], "--tail must be greater than or equal to -1"),
            (&["--limit-bytes=-1"], "--limit-bytes must be greater than 0"),
        ] {
            assert_eq!(asked(flags), Err(format!("error: {words}\n")), "{flags:?}");
        }
    }

    #[test]
    fn all_containers_are_asked_in_the_order_they_run_and_not_too_many_followed() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let names = |flags: &[&str]| {
            let args = args(flags);
            let request = LogRequest::new(PodKey::new("default", "web"), "");
            let requests = requests(&args, request, &pod).map_err(|e| e.to_string())?;
            Ok::<String, String>(requests.into_iter().map(|r| r.container).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names(&["--all-containers"]).as_deref(), Ok("i a b"));
        assert_eq!(names(&["--all-containers=false", "-c", "b"]).as_deref(), Ok("b"));
        assert_eq!(names(&["--all-containers", "--max-log-requests=2"]).as_deref(), Ok("i a b"));
        let refused = names(&["--all-containers", "-f", "--max-log-requests=2"]).unwrap_err();
        assert!(refused.contains("to follow 3 log streams, but maximum allowed concurrency is 2"), "{refused}");
    }
}
