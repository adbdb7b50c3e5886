//! Other amounts of cpu and memory for a container that runs.

use std::io;

use super::Inner;
use super::end::subject;
use super::observe::{self, State};
use super::paths::InstanceName;
use super::records::{self, CONTAINER};
use super::spec;
use crate::model::{ContainerRecord, PodUid, ResizeOrder};
use crate::port::{ErrorKind, PortError, memory_in_use};
use crate::sys::limits::{self, Limits};

const OPERATION: &str = "resize container";

/// Writes the limits into the cgroup, then those of the pod with it, then into the record: what is cut short in between is
/// done again.
pub(super) fn resize(inner: &Inner, uid: &PodUid, order: &ResizeOrder) -> Result<(), PortError> {
    let name = InstanceName::new(uid, &order.name, order.attempt)?;
    let dir = inner.paths.instance_dir(&name);
    let failed = |e: io::Error| PortError::io(OPERATION, subject(&name), &e);
    let state = observe::state(&dir).map_err(failed)?;
    let Some(record) = records::read::<ContainerRecord>(&dir, CONTAINER).map_err(failed)?.ok() else {
        return Err(PortError::new(ErrorKind::NotFound, OPERATION, subject(&name), "it has no record"));
    };
    if !matches!(state, State::Running(_)) {
        return Ok(());
    }
    let invalid = |e: spec::SpecError| PortError::new(ErrorKind::Invalid, OPERATION, subject(&name), e.to_string());
    let Some(pod) = observe::record(&inner.paths, uid)?.ok() else {
        return Err(PortError::new(ErrorKind::Corrupt, OPERATION, subject(&name), "its pod has no record"));
    };
    let pod = pod.realised.effective.open().spec.unwrap_or_default();
    let wanted = spec::limits(&order.resources.under(&pod)).map_err(invalid)?;
    let cgroup = inner.paths.container_cgroup(&name).map_err(failed)?;
    check(&cgroup, &order.name, wanted).map_err(failed)?.map_or(Ok(()), Err)?;
    if let Err(error) = limits::set(&cgroup, wanted) {
        // Memory was taken meanwhile: the kernel of version 1 has the last word.
        let in_use = (error.kind() == io::ErrorKind::ResourceBusy).then(|| refusal(&cgroup, &order.name, wanted));
        return Err(in_use.flatten().unwrap_or_else(|| failed(error)));
    }
    inner.levels.follow(&inner.paths, uid, order)?;
    if record.resources.as_ref() == Some(&order.resources) {
        return Ok(());
    }
    let record = ContainerRecord { resources: Some(order.resources.clone()), ..record };
    records::write(&dir, CONTAINER, &record).map_err(failed)
}

/// Why a lower limit of memory would take away what is in use. Version 2 of cgroups would kill for it.
fn check(cgroup: &str, container: &str, wanted: Limits) -> io::Result<Option<PortError>> {
    let (Some(limit), Some(now)) = (wanted.memory, limits::memory(cgroup)?) else { return Ok(None) };
    let limit = u64::try_from(limit).unwrap_or(0);
    let refused = limit < now.limit && now.usage >= limit;
    Ok(refused.then(|| memory_in_use(container, limit, now.usage)))
}

/// The same of a limit that the kernel refused.
fn refusal(cgroup: &str, container: &str, wanted: Limits) -> Option<PortError> {
    let usage = limits::memory(cgroup).ok()??.usage;
    let limit = u64::try_from(wanted.memory?).ok()?;
    Some(memory_in_use(container, limit, usage))
}
