//! The network of one root.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::HostPort;
use crate::model::PodUid;
use crate::port::{ErrorKind, PortError};

/// The bridge, addresses and host ports of one root. Nothing of it exists before the first pod is attached.
#[derive(Debug)]
pub struct Network {
    instance: String,
    state: PathBuf,
}

impl Network {
    /// Reads what is remembered below `state` (`network/leases.json`) and checks a wished subnet against the machine.
    ///
    /// # Errors
    /// `Invalid` for a subnet that is none, `Conflict` for one that overlaps a route of the machine.
    pub fn open(instance: &str, state: &Path, _subnet: Option<&str>) -> Result<Self, PortError> {
        Ok(Self { instance: instance.to_owned(), state: state.to_owned() })
    }

    /// Connects the network namespace of a process: loopback up, `eth0` with the pod's address, default route, host
    /// ports. Repeating it completes what an earlier call began and returns the same address.
    ///
    /// # Errors
    /// `Conflict` for a busy host port, `Exhausted` without a free address, `Denied` when the machine refuses.
    pub async fn attach(&self, uid: &PodUid, _netns_pid: i32, _ports: &[HostPort]) -> Result<Vec<IpAddr>, PortError> {
        Err(self.not_there("attach pod", uid))
    }

    /// Claims the ports of a pod with hostNetwork, after checking that they are free.
    ///
    /// # Errors
    /// `Conflict` for a busy host port.
    pub async fn host_network_ports(&self, uid: &PodUid, _ports: &[HostPort]) -> Result<(), PortError> {
        Err(self.not_there("claim the host ports of pod", uid))
    }

    /// Releases link, host ports and address of a pod; also when there is nothing left of it.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn detach(&self, uid: &PodUid) -> Result<(), PortError> {
        Err(self.not_there("detach pod", uid))
    }

    /// Releases what belongs to pods other than `keep`.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn sweep(&self, _keep: &BTreeSet<PodUid>) -> Result<(), PortError> {
        Ok(())
    }

    /// Removes everything of this network from the machine and from the state directory.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn down(&self) -> Result<(), PortError> {
        Ok(())
    }

    fn not_there(&self, operation: &'static str, uid: &PodUid) -> PortError {
        let place = format!("the network of {} ({}) is not there yet", self.instance, self.state.display());
        PortError::new(ErrorKind::Unavailable, operation, uid.to_string(), place)
    }
}

/// The machine's addresses, the one of the default route first; without loopback, link-local ones and the bridges of
/// podwright.
pub fn node_ips() -> Vec<IpAddr> {
    Vec::new()
}
