//! `logs`: through the agent while it answers, else from the files that the records name.

mod lines;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::args::LogsArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::look::{self, Source};
use super::{container, printer, records};
use crate::model::{Kind, PodKey, PodRecord};
use crate::report::Listed;
use crate::serve::{Client, LabelSelector, ListOptions, LogRequest, LogStream, Progress, stream_file};
use lines::Lines;

/// Pieces of followed logs that wait to be printed.
const WAITING: usize = 16;

/// Lines from the end of each log when pods are selected by their labels, as kubectl has it.
const SELECTED_TAIL: i64 = 10;

/// Runs `logs`.
pub fn run(args: &LogsArgs, layout: &Layout) -> Result<Ending, CliError> {
    let wanted = Wanted::of(args)?;
    let request = request(args, PodKey::new(&args.namespace.namespace, ""), Timestamp::now())?;
    look::block_on(async {
        let (logs, pods) = match look::source(layout).await? {
            Source::Agent(client) => {
                let pods = wanted.of_agent(&client, &request.pod.namespace).await?;
                (Logs::Agent(client), pods)
            }
            Source::LastReport(report) => {
                look::note_last_report(&report);
                let records = wanted.on_record(layout, &request.pod.namespace)?;
                let pods = records.values().map(|record| record.realised.effective.open()).collect();
                (Logs::Files { layout: layout.clone(), records: Arc::new(records) }, pods)
            }
        };
        if pods.is_empty() {
            printer::note(&format!("No resources found in {} namespace.", request.pod.namespace));
            return Ok(Ending::Success);
        }
        let printing = Printing { logs, prefix: args.prefix, ignore_errors: args.ignore_errors };
        let requests = requests(args, &request, &pods)?;
        if args.follow && requests.len() > 1 {
            printing.side_by_side(requests).await
        } else {
            printing.in_turn(requests).await
        }
    })
}

/// Of which pods logs are wanted.
enum Wanted<'a> {
    Named(&'a str),
    /// By their labels; the text and what it means.
    Selected(&'a str, LabelSelector),
}

impl<'a> Wanted<'a> {
    fn of(args: &'a LogsArgs) -> Result<Self, CliError> {
        match (args.pod.as_deref(), args.selector.as_deref().filter(|text| !text.is_empty())) {
            (Some(word), None) => Ok(Self::Named(container::pod_name(word))),
            (None, Some(text)) => {
                LabelSelector::parse(text).map(|selector| Self::Selected(text, selector)).map_err(CliError::usage)
            }
            (Some(_), Some(_)) => Err(CliError::usage("only a selector (-l) or a POD name is allowed")),
            (None, None) => Err(CliError::usage("POD is a required argument for the logs command")
                .hint("name a pod, or select some by their labels with --selector")),
        }
    }

    async fn of_agent(&self, client: &Client, namespace: &str) -> Result<Vec<Pod>, CliError> {
        let kind = Listed::Kind(Kind::Pod);
        let objects = match self {
            Self::Named(name) => vec![client.get(kind, namespace, name).await?],
            Self::Selected(text, _) => {
                let options = ListOptions { label_selector: Some((*text).to_owned()), ..ListOptions::default() };
                client.list(kind, Some(namespace), &options).await?.items
            }
        };
        let no_pod = |e| CliError::new(format!("the agent's answer is no pod: {e}"));
        objects.iter().map(|object| Pod::deserialize(object).map_err(no_pod)).collect()
    }

    /// By name, so in the order of their names.
    fn on_record(&self, layout: &Layout, namespace: &str) -> Result<BTreeMap<String, PodRecord>, CliError> {
        let selector = match self {
            Self::Named(name) => {
                let record = records::pod(layout, &PodKey::new(namespace, *name))?;
                return Ok(BTreeMap::from([(record.key.name.clone(), record)]));
            }
            Self::Selected(_, selector) => selector,
        };
        let labels = |record: &PodRecord| {
            let pod: Pod = record.realised.effective.open();
            json!({"metadata": {"labels": pod.metadata.labels}})
        };
        let mut records = records::pods(layout)?;
        records.retain(|record| record.key.namespace == namespace && selector.matches(&labels(record)));
        // Of two with one name the newer one, which comes last.
        Ok(records.into_iter().map(|record| (record.key.name.clone(), record)).collect())
    }
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
    let tail = args.tail.unwrap_or(if args.pod.is_none() { SELECTED_TAIL } else { -1 });
    let tail_lines = match tail {
        -1 => None,
        lines => Some(number(lines, "--tail must be greater than or equal to -1")?),
    };
    let limit = args.limit_bytes.filter(|bytes| *bytes != 0);
    let limit_bytes = limit.map(|bytes| number(bytes, "--limit-bytes must be greater than 0")).transpose()?;
    let LogsArgs { follow, previous, timestamps, .. } = *args;
    Ok(LogRequest { follow, previous, timestamps, tail_lines, limit_bytes, since, ..LogRequest::new(pod, "") })
}

/// The same for each container of each pod that is meant.
fn requests(args: &LogsArgs, request: &LogRequest, pods: &[Pod]) -> Result<Vec<LogRequest>, CliError> {
    let wanted = args.container.as_deref().or(args.positional_container.as_deref());
    let mut requests = Vec::new();
    for pod in pods {
        let names = if args.all_containers {
            container::all(pod)
        } else {
            let chosen = container::choose(pod, wanted, container::unknown_to_logs)?;
            chosen.missing.iter().chain(&chosen.note).for_each(|note| printer::note(note));
            vec![chosen.name]
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let pod = PodKey::new(&request.pod.namespace, name);
        requests.extend(names.into_iter().map(|c| LogRequest { pod: pod.clone(), container: c, ..request.clone() }));
    }
    let (count, limit) = (requests.len(), args.max_log_requests);
    if args.follow && count > 1 && count > limit {
        return Err(CliError::new(format!(
            "you are attempting to follow {count} log streams, but maximum allowed concurrency is {limit}, use --max-log-requests to increase the limit"
        )));
    }
    Ok(requests)
}

/// Where logs are read.
#[derive(Clone)]
enum Logs {
    Agent(Client),
    /// Of the pods on record that are meant, by name.
    Files {
        layout: Layout,
        records: Arc<BTreeMap<String, PodRecord>>,
    },
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
            Logs::Files { layout, records } => {
                let name = &request.pod.name;
                let record = records.get(name).ok_or_else(|| CliError::not_found("pods", name))?;
                from_files(layout, record, request).await
            }
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
        let words = ["podwright", "logs"].iter().chain(flags);
        match Cli::try_parse_from(words).map(|cli| cli.verb) {
            Ok(Verb::Logs(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn asked(flags: &[&str]) -> Result<LogRequest, String> {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        request(&args(&[&["web"][..], flags].concat()), PodKey::new("default", "web"), now).map_err(|e| e.to_string())
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
        let pod = |name: &str| -> Pod {
            let pod = json!({"metadata": {"name": name}, "spec": {
                "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}});
            serde_json::from_value(pod).unwrap()
        };
        let names = |flags: &[&str], pods: &[Pod]| {
            let request = LogRequest::new(PodKey::new("default", ""), "");
            let requests = requests(&args(flags), &request, pods).map_err(|e| e.to_string())?;
            let names = requests.into_iter().map(|r| format!("{}/{}", r.pod.name, r.container));
            Ok::<String, String>(names.collect::<Vec<_>>().join(" "))
        };
        let one = [pod("x")];
        assert_eq!(names(&["x", "--all-containers"], &one).as_deref(), Ok("x/i x/a x/b"));
        assert_eq!(names(&["x", "--all-containers=false", "-c", "b"], &one).as_deref(), Ok("x/b"));
        assert_eq!(names(&["x", "--all-containers", "--max-log-requests=2"], &one).as_deref(), Ok("x/i x/a x/b"));
        let refused = names(&["x", "--all-containers", "-f", "--max-log-requests=2"], &one).unwrap_err();
        assert!(refused.contains("to follow 3 log streams, but maximum allowed concurrency is 2"), "{refused}");
        let two = [pod("x"), pod("y")];
        assert_eq!(names(&["-l", "k", "-c", "b"], &two).as_deref(), Ok("x/b y/b"));
        assert_eq!(names(&["-l", "k"], &two).as_deref(), Ok("x/a y/a"));
        let refused = names(&["-l", "k", "--all-containers", "-f"], &two).unwrap_err();
        assert!(refused.contains("to follow 6 log streams, but maximum allowed concurrency is 5"), "{refused}");
    }

    #[test]
    fn pods_are_named_or_selected() {
        let wanted = |flags: &[&str]| match Wanted::of(&args(flags)) {
            Ok(Wanted::Named(name)) => format!("named {name}"),
            Ok(Wanted::Selected(text, _)) => format!("selected {text}"),
            Err(error) => error.to_string(),
        };
        for (flags, expected) in [
            (&["pod/web"][..], "named web"),
            (&["web", "-l", ""], "named web"),
            (&["-l", "app=web"], "selected app=web"),
            (&["web", "-l", "app"], "error: only a selector (-l) or a POD name is allowed\n"),
            (&["web", "a", "-l", "app"], "error: only a selector (-l) or a POD name is allowed\n"),
        ] {
            assert_eq!(wanted(flags), expected, "{flags:?}");
        }
        assert!(wanted(&[]).starts_with("error: POD is a required argument for the logs command\n"));
        assert!(wanted(&["-l", "a=("]).contains("unable to parse requirement"));
    }

    #[test]
    fn of_selected_pods_the_last_lines_are_shown() {
        let tail = |flags: &[&str]| {
            let request = request(&args(flags), PodKey::new("default", ""), Timestamp::UNIX_EPOCH);
            request.unwrap().tail_lines
        };
        for (flags, lines) in [
            (&["web"][..], None),
            (&["-l", "app"], Some(10)),
            (&["-l", "app", "--tail=3"], Some(3)),
            (&["-l", "app", "--tail=-1"], None),
            (&["web", "-l", ""], None),
        ] {
            assert_eq!(tail(flags), lines, "{flags:?}");
        }
    }
}
