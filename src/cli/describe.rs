//! `describe pod`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use super::args::DescribeArgs;
use super::error::{CliError, Ending};
use super::get::kind_and_names;
use super::layout::Layout;
use super::look::{self, Source};
use super::printer;
use crate::model::{EventRecord, Kind};
use crate::report::{Listed, describe_pod, event_record};
use crate::serve::{Client, ListOptions, plural};

const PODS: Listed = Listed::Kind(Kind::Pod);

/// Runs `describe`.
pub fn run(args: &DescribeArgs, layout: &Layout) -> Result<Ending, CliError> {
    let (listed, names) = kind_and_names(&args.kind, &args.names)?;
    if listed != PODS {
        let kind = plural(listed);
        return Err(CliError::new(format!("{kind} are not described"))
            .hint(format!("`podwright get {kind} NAME -o yaml` shows everything of one")));
    }
    let namespace = &args.namespace.namespace;
    let (texts, ending) = look::block_on(async {
        match look::source(layout).await? {
            Source::Agent(client) => from_agent(&client, namespace, &names).await,
            Source::LastReport(report) => {
                look::note_last_report(&report);
                let now = Timestamp::now();
                let here = report.pods.iter().filter(|p| p.metadata.namespace.as_ref() == Some(namespace));
                let all: Vec<&Pod> = here.collect();
                if names.is_empty() {
                    return Ok((all.iter().map(|p| describe_pod(p, &[], now)).collect(), Ending::Success));
                }
                let (mut texts, mut ending) = (Vec::new(), Ending::Success);
                for name in &names {
                    match all.iter().find(|p| p.metadata.name.as_ref() == Some(name)) {
                        Some(pod) => texts.push(describe_pod(pod, &[], now)),
                        None => {
                            printer::failure(&CliError::not_found("pods", name));
                            ending = Ending::Failed;
                        }
                    }
                }
                Ok((texts, ending))
            }
        }
    })?;
    if texts.is_empty() && ending == Ending::Success {
        printer::note(&format!("No resources found in {namespace} namespace."));
    }
    printer::out(&texts.join("\n\n"))?;
    Ok(ending)
}

async fn from_agent(client: &Client, namespace: &str, names: &[String]) -> Result<(Vec<String>, Ending), CliError> {
    let mut objects = Vec::new();
    let mut ending = Ending::Success;
    if names.is_empty() {
        objects = client.list(PODS, Some(namespace), &ListOptions::default()).await?.items;
    }
    for name in names {
        match client.get(PODS, namespace, name).await {
            Ok(object) => objects.push(object),
            Err(error) => {
                printer::failure(&error.into());
                ending = Ending::Failed;
            }
        }
    }
    let mut texts = Vec::new();
    for object in objects {
        let pod = Pod::deserialize(&object).map_err(|e| CliError::new(format!("the agent's answer is no pod: {e}")))?;
        let events = events(client, namespace, &pod).await?;
        texts.push(describe_pod(&pod, &events, Timestamp::now()));
    }
    Ok((texts, ending))
}

/// The events of this incarnation of a pod.
async fn events(client: &Client, namespace: &str, pod: &Pod) -> Result<Vec<EventRecord>, CliError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let fields = format!("involvedObject.name={name},involvedObject.namespace={namespace},involvedObject.uid={uid}");
    let options = ListOptions { label_selector: None, field_selector: Some(fields) };
    let list = client.list(Listed::Event, Some(namespace), &options).await?;
    Ok(list.items.iter().filter_map(event_record).collect())
}
