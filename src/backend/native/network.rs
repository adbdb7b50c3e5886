//! The network of a pod for commands that speak with what listens in it. They need no agent, and nothing of the image.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::observe;
use super::records::{self, SANDBOX, SandboxRecord};
use crate::port::PortError;
use crate::sys::netns::NetNs;
use crate::sys::pidfd;

/// A pod's network namespace.
#[derive(Debug)]
pub struct PodNetwork {
    /// The infra process by pidfd: when it ends, the network is gone.
    pub infra: OwnedFd,
    /// The machine's own for a pod with `hostNetwork`.
    pub namespace: NetNs,
}

/// The network of the pod whose records are in `pod_dir`; `None` when its sandbox does not run.
///
/// # Errors
/// When the record cannot be read, or this process may not look at the sandbox.
pub fn pod_network(pod_dir: &Path) -> Result<Option<PodNetwork>, PortError> {
    let failed = |error: io::Error| PortError::io("find the network of", pod_dir.display().to_string(), &error);
    let record = records::read::<SandboxRecord>(pod_dir, SANDBOX).map_err(failed)?;
    let Some(record) = record.ok().filter(observe::infra_lives) else { return Ok(None) };
    let Ok(infra) = pidfd::open_same(record.pid, record.start_ticks) else { return Ok(None) };
    let namespace = NetNs::of_process(record.pid);
    // The namespace is found by the process's number, which is its own as long as it lives.
    if pidfd::exited(&infra).map_err(failed)? {
        return Ok(None);
    }
    Ok(Some(PodNetwork { infra, namespace: namespace.map_err(failed)? }))
}
