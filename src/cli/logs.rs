//! `logs`: through the agent while it answers, else from the files that the records name.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use super::args::LogsArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::look::{self, Source};
use super::{container, printer, records};
use crate::model::{Kind, PodKey};
use crate::report::Listed;
use crate::serve::{Client, LogRequest, Progress, stream_file};

/// Runs `logs`.
pub fn run(args: &LogsArgs, layout: &Layout) -> Result<Ending, CliError> {
    let name = container::pod_name(&args.pod);
    let tail_lines = match args.tail {
        -1 => None,
        lines => Some(u64::try_from(lines).map_err(|_| CliError::usage("--tail must be at least -1"))?),
    };
    let request = LogRequest {
        follow: args.follow,
        previous: args.previous,
        timestamps: args.timestamps,
        tail_lines,
        ..LogRequest::new(PodKey::new(&args.namespace.namespace, name), "")
    };
    let wanted = args.container.as_deref().or(args.positional_container.as_deref());
    look::block_on(async {
        match look::source(layout).await? {
            Source::Agent(client) => from_agent(&client, request, wanted).await,
            Source::LastReport(report) => {
                look::note_last_report(&report);
                from_files(layout, request, wanted).await
            }
        }
    })
}

async fn from_agent(client: &Client, mut request: LogRequest, wanted: Option<&str>) -> Result<Ending, CliError> {
    let PodKey { namespace, name } = &request.pod;
    let object = client.get(Listed::Kind(Kind::Pod), namespace, name).await?;
    let pod = Pod::deserialize(&object).map_err(|e| CliError::new(format!("the agent's answer is no pod: {e}")))?;
    request.container = container::choose(&pod, wanted)?;
    let mut stream = client.log(&request).await?;
    while let Some(chunk) = stream.next().await {
        printer::bytes(&chunk?)?;
    }
    Ok(Ending::Success)
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

async fn from_files(layout: &Layout, mut request: LogRequest, wanted: Option<&str>) -> Result<Ending, CliError> {
    let record = records::pod(layout, &request.pod)?;
    request.container = container::choose(&record.realised.effective.open(), wanted)?;
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
    let mut stream = stream_file(instance.record.log_path.as_ref(), &request, progress).await?;
    while let Some(chunk) = stream.recv().await {
        let chunk = chunk.map_err(|e| CliError::new(format!("cannot read {}: {e}", instance.record.log_path)))?;
        printer::bytes(&chunk)?;
    }
    Ok(Ending::Success)
}
