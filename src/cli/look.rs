//! Looking at an agent: through its API while it answers, else at its last report and the records.

use std::collections::BTreeMap;
use std::future::Future;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::error::CliError;
use super::layout::Layout;
use super::{printer, records};
use crate::model::{Kind, NodeInfo, ObservedPod, PodRecord, Sandbox};
use crate::report::duration::human_duration;
use crate::report::{Listed, PodView, as_unknown, pod_object};
use crate::serve::{Client, ClientError, plural, snapshot};

/// Runs a command that talks to an agent, on this thread alone.
pub fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(work)
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoAgent { socket, message } => {
                CliError::new(format!("no agent answers on {}: {message}", socket.display()))
                    .hint("start one with `podwright run DIR`")
            }
            ClientError::Status { .. } => CliError::verbatim(format!("{error}\n")),
            ClientError::Protocol(_) => CliError::new(error.to_string()),
        }
    }
}

/// Whom to ask.
pub enum Source {
    Agent(Client),
    /// Nobody answers: this is what was known last.
    LastReport(LastReport),
}

/// What is known of the pods while no agent reports.
#[derive(Debug)]
pub struct LastReport {
    /// Every pod on record, STATUS Unknown unless it had ended for good.
    pub pods: Vec<Pod>,
    /// The age of the report in words, for standard error.
    pub words: String,
}

impl LastReport {
    /// The same pods as the API's JSON.
    pub fn objects(&self) -> Vec<Value> {
        self.pods.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect()
    }
}

/// The agent, or its last report if none answers.
///
/// # Errors
/// When there is no agent and nothing on record either.
pub async fn source(layout: &Layout) -> Result<Source, CliError> {
    let client = Client::new(layout.socket());
    match client.version().await {
        Ok(_) => Ok(Source::Agent(client)),
        Err(error @ ClientError::NoAgent { .. }) => match last_report(layout, Timestamp::now())? {
            Some(report) => Ok(Source::LastReport(report)),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// What was known last; `None` when no agent was ever here.
///
/// # Errors
/// When it cannot be read.
pub fn last_report(layout: &Layout, now: Timestamp) -> Result<Option<LastReport>, CliError> {
    let last = snapshot::load(&layout.snapshot())?;
    let records = records::pods(layout)?;
    if last.is_none() && records.is_empty() {
        return Ok(None);
    }
    let reported_at = last.as_ref().map(|s| s.reported_at);
    let known = last.map(|s| s.unknown_pods()).unwrap_or_default();
    let words = match reported_at {
        Some(at) => {
            let ago = human_duration(now.as_second().saturating_sub(at.as_second()).max(0));
            format!("no agent answers on {}; its last report was {ago} ago", layout.socket().display())
        }
        None => format!("no agent answers on {}; this is what is on record", layout.socket().display()),
    };
    Ok(Some(LastReport { pods: records.iter().map(|r| pod(r, &known, now)).collect(), words }))
}

/// A pod on record as it must be shown: from the last report if that knew it, else from the record.
fn pod(record: &PodRecord, known: &[Pod], now: Timestamp) -> Pod {
    if let Some(pod) = known.iter().find(|p| p.metadata.uid.as_deref() == Some(&record.uid.0)) {
        return pod.clone();
    }
    let observed = ObservedPod { record: record.clone(), sandbox: Sandbox::Absent, containers: Vec::new() };
    let (waiting, probed, node) = (BTreeMap::new(), BTreeMap::new(), NodeInfo::default());
    let view = PodView {
        admitted: None,
        observed: Some(&observed),
        waiting: &waiting,
        holds: &[],
        probed: &probed,
        node: &node,
        now,
    };
    as_unknown(&pod_object(&view))
}

/// What is asked in vain while no agent answers.
pub fn unanswered(what: &str, layout: &Layout) -> CliError {
    CliError::new(format!("{what}, and none answers on {}", layout.socket().display()))
        .hint("start one with `podwright run DIR`")
}

/// While no agent answers nothing is known but pods.
///
/// # Errors
/// When something else is asked for.
pub fn only_pods(listed: Listed, layout: &Layout) -> Result<(), CliError> {
    match listed {
        Listed::Kind(Kind::Pod) => Ok(()),
        _ => Err(unanswered(&format!("{} are known to a running agent only", plural(listed)), layout)),
    }
}

/// Says beside the output that it is not from a running agent.
pub fn note_last_report(report: &LastReport) {
    printer::note(&report.words);
}
