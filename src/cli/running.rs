//! The running container that a command means, found by the records: no agent is asked.

use k8s_openapi::api::core::v1::Pod;

use super::error::CliError;
use super::layout::Layout;
use super::records::{self, Instance};
use super::{container, printer};
use crate::model::PodKey;
use crate::port::{ErrorKind, PortError};

/// Which container.
pub struct Wanted<'a> {
    pub pod: PodKey,
    pub container: Option<&'a str>,
    /// Do not say which container was chosen among several.
    pub quiet: bool,
    /// kubectl's words of a pod that has ended, before `a completed pod`.
    pub refusal: &'static str,
    pub unknown: container::Unknown,
}

/// A container with an instance that has not ended, as far as records go.
pub struct Found {
    pub pod: Pod,
    pub container: String,
    pub instance: Instance,
}

impl Found {
    /// A failure of what was done with the instance: that it does not run is told with a way out.
    pub fn failed(&self, error: PortError) -> CliError {
        match error.kind {
            ErrorKind::NotFound => not_running(&self.pod, &self.container, &error.message),
            _ => error.into(),
        }
    }
}

fn not_running(pod: &Pod, container: &str, why: &str) -> CliError {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    CliError::new(format!("container {container} of pod {name} does not run: {why}"))
        .hint(describe_hint(&PodKey::new(namespace, name)))
}

/// Where more is told of a pod.
pub fn describe_hint(pod: &PodKey) -> String {
    format!("`podwright describe pod {} -n {}` tells more", pod.name, pod.namespace)
}

/// Finds the newest instance of the container.
///
/// # Errors
/// When there is no such pod or container, or it does not run.
pub fn find(layout: &Layout, wanted: &Wanted<'_>) -> Result<Found, CliError> {
    let record = records::pod(layout, &wanted.pod)?;
    if let Some(phase) = &record.terminal {
        return Err(CliError::new(format!("{} a completed pod; current phase is {phase}", wanted.refusal)));
    }
    let pod = record.realised.effective.open();
    let chosen = container::choose(&pod, wanted.container, wanted.unknown)?;
    chosen.note.iter().filter(|_| !wanted.quiet).for_each(|note| printer::note(note));
    let container = chosen.name;
    let Some(instance) = records::instances(layout, &record.uid, &container)?.pop() else {
        return Err(not_running(&pod, &container, "it was not started yet"));
    };
    if let Some(exit) = instance.exit() {
        return Err(not_running(&pod, &container, &format!("it ended with exit code {}", exit.exit_code)));
    }
    Ok(Found { pod, container, instance })
}
