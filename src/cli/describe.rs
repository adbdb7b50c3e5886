//! `describe`: objects with what happened to them, for people.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::Value;

use super::args::DescribeArgs;
use super::error::{CliError, Ending};
use super::get::kind_and_names;
use super::layout::Layout;
use super::look::{self, LastReport, Source};
use super::printer;
use crate::model::{EventRecord, Kind};
use crate::report::{Listed, describe_account, describe_node, describe_object, describe_pod, event_record};
use crate::serve::{Client, ListOptions, is_namespaced, plural};

const PODS: Listed = Listed::Kind(Kind::Pod);
const ACCOUNTS: Listed = Listed::Kind(Kind::ServiceAccount);

/// Runs `describe`.
pub fn run(args: &DescribeArgs, layout: &Layout) -> Result<Ending, CliError> {
    let (listed, names) = kind_and_names(&args.kind, &args.names)?;
    // What kubectl tells of the others is part of what `get` prints.
    if !matches!(listed, PODS | ACCOUNTS | Listed::Node | Listed::Event | Listed::Kind(Kind::PodPreset)) {
        let kind = plural(listed);
        return Err(CliError::new(format!("{kind} are not described"))
            .hint(format!("`podwright get {kind} NAME -o yaml` shows everything of one")));
    }
    let namespace = &args.namespace.namespace;
    let (texts, ending) = look::block_on(async {
        match look::source(layout).await? {
            Source::Agent(client) => from_agent(&client, listed, namespace, &names).await,
            Source::LastReport(report) => {
                look::only_pods(listed, layout)?;
                Ok(from_report(&report, namespace, &names))
            }
        }
    })?;
    if texts.is_empty() && ending == Ending::Success {
        let place = if is_namespaced(listed) { format!(" in {namespace} namespace") } else { String::new() };
        printer::note(&format!("No resources found{place}."));
    }
    printer::out(&texts.join("\n\n"))?;
    Ok(ending)
}

fn from_report(report: &LastReport, namespace: &String, names: &[String]) -> (Vec<String>, Ending) {
    look::note_last_report(report);
    let now = Timestamp::now();
    let all: Vec<&Pod> = report.pods.iter().filter(|p| p.metadata.namespace.as_ref() == Some(namespace)).collect();
    if names.is_empty() {
        return (all.iter().map(|p| describe_pod(p, &[], now)).collect(), Ending::Success);
    }
    let (mut texts, mut ending) = (Vec::new(), Ending::Success);
    for name in names {
        match all.iter().find(|p| p.metadata.name.as_ref() == Some(name)) {
            Some(pod) => texts.push(describe_pod(pod, &[], now)),
            None => {
                printer::failure(&CliError::not_found("pods", name));
                ending = Ending::Failed;
            }
        }
    }
    (texts, ending)
}

async fn from_agent(
    client: &Client,
    listed: Listed,
    namespace: &str,
    names: &[String],
) -> Result<(Vec<String>, Ending), CliError> {
    let mut objects = Vec::new();
    let mut ending = Ending::Success;
    let namespace = if is_namespaced(listed) { namespace } else { "" };
    if names.is_empty() {
        let place = Some(namespace).filter(|namespace| !namespace.is_empty());
        objects = client.list(listed, place, &ListOptions::default()).await?.items;
    }
    for name in names {
        match client.get(listed, namespace, name).await {
            Ok(object) => objects.push(object),
            Err(error) => {
                printer::failure(&error.into());
                ending = Ending::Failed;
            }
        }
    }
    let mut texts = Vec::new();
    for object in objects {
        texts.push(match listed {
            PODS => {
                let pod = pod(&object)?;
                describe_pod(&pod, &events(client, namespace, &pod).await?, Timestamp::now())
            }
            ACCOUNTS => {
                let secrets = client.list(Listed::Kind(Kind::Secret), Some(namespace), &ListOptions::default()).await?;
                describe_account(&object, &secrets.items)
            }
            Listed::Node => {
                let (pods, events) = (pods_of(client, &object).await?, events_of(client, &object).await?);
                describe_node(&object, &pods, &events, Timestamp::now())
            }
            _ => describe_object(&object),
        });
    }
    Ok((texts, ending))
}

fn pod(object: &Value) -> Result<Pod, CliError> {
    Pod::deserialize(object).map_err(|e| CliError::new(format!("the agent's answer is no pod: {e}")))
}

/// The pods of a node, in every namespace.
async fn pods_of(client: &Client, node: &Value) -> Result<Vec<Pod>, CliError> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let options = ListOptions { label_selector: None, field_selector: Some(format!("spec.nodeName={name}")) };
    client.list(PODS, None, &options).await?.items.iter().map(pod).collect()
}

/// The events about a node, whose name is its uid in them.
async fn events_of(client: &Client, node: &Value) -> Result<Vec<EventRecord>, CliError> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let fields = format!("involvedObject.kind=Node,involvedObject.name={name}");
    let options = ListOptions { label_selector: None, field_selector: Some(fields) };
    let list = client.list(Listed::Event, None, &options).await?;
    Ok(list.items.iter().filter_map(event_record).collect())
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
