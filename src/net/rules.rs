//! Putting the table in place, and what depends on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use tracing::{debug, warn};

use super::conntrack;
use super::network::{Inner, Network};
use super::nft::{self, NftError};
use super::ruleset::{Ruleset, render, render_change, render_removal};
use super::sysctl;
use super::{HostPort, Protocol};
use crate::model::INSTALL_NFT;
use crate::port::{ErrorKind, PortError};

/// UDP ports that lead elsewhere than before.
fn changed_udp(before: &[(HostPort, IpAddr)], now: &[(HostPort, IpAddr)]) -> BTreeSet<u16> {
    let gone = before.iter().filter(|f| !now.contains(f));
    let new = now.iter().filter(|f| !before.contains(f));
    gone.chain(new).filter(|(port, _)| port.protocol == Protocol::Udp).map(|(port, _)| port.host_port).collect()
}

/// Who needs the rules: what it means when they cannot be put in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A pod with host ports: an error.
    HostPorts,
    /// The way out of a new pod: a warning, given once.
    WayOut,
    /// Nobody anew: a warning, given once, if host ports are lost; the rest was said when its pods were attached.
    Upkeep,
}

/// On a thread of its own: those for what blocks may all wait for the network, whose guard is held meanwhile.
async fn forget_udp(ports: BTreeSet<u16>) -> std::io::Result<()> {
    let (told, done) = tokio::sync::oneshot::channel();
    let forget = move || drop(told.send(conntrack::forget_udp(&ports)));
    std::thread::Builder::new().name("conntrack".to_owned()).spawn(forget)?;
    done.await.map_err(std::io::Error::other)?
}

impl Network {
    /// Puts the rules of all leases in place, if they differ from those this process has put there.
    pub(super) async fn apply_rules(&self, inner: &mut Inner, need: Need) -> Result<(), PortError> {
        let Some(subnet) = inner.leases.subnet else { return Ok(()) };
        let forwards = inner.leases.forwards();
        let (table, bridge, subnet6) = (&self.table, &self.bridge, inner.leases.subnet6);
        let rules = Ruleset { table, bridge, subnet, subnet6, forwards: &forwards };
        let text = render(&rules);
        if inner.applied.as_ref() == Some(&text) {
            return Ok(());
        }
        let known = inner.applied.take().is_some();
        if forwards.is_empty() {
            self.route_loopback(false)?;
        }
        if let Err(error) = self.put_rules(&rules, known.then_some(&inner.forwards[..])).await {
            match need {
                Need::HostPorts => return Err(self.no_host_ports(&error)),
                Need::Upkeep if forwards.is_empty() => {
                    debug!(bridge = self.bridge, "no rules: nothing needs them anew")
                }
                Need::WayOut | Need::Upkeep => self.warn_once(&error),
            }
            return Ok(());
        }
        if !forwards.is_empty() {
            // Only now: the rule that keeps pods from the machine's loopback is there.
            self.route_loopback(true)?;
        }
        inner.applied = Some(text);
        let changed = changed_udp(&std::mem::replace(&mut inner.forwards, forwards.clone()), &forwards);
        if !changed.is_empty() {
            // Whoever asks again with another port of his own is led right anyway.
            if let Err(error) = forget_udp(changed).await {
                debug!(%error, "UDP conversations go on as they were begun");
            }
        }
        Ok(())
    }

    /// Changes the table. One that cannot be changed, since somebody else has done that or a program of another version has
    /// made it, is made anew.
    async fn put_rules(&self, rules: &Ruleset<'_>, before: Option<&[(HostPort, IpAddr)]>) -> Result<(), NftError> {
        match nft::run(self.nft.as_deref(), &render_change(rules, before)).await {
            Err(NftError::Refused(_)) => {
                let anew = render_removal(rules.table) + &render(rules);
                nft::run(self.nft.as_deref(), &anew).await
            }
            other => other,
        }
    }

    /// Removes the table. Without nft there is none.
    pub(super) async fn remove_rules(&self) -> Result<(), PortError> {
        match nft::run(self.nft.as_deref(), &render_removal(&self.table)).await {
            Ok(()) | Err(NftError::Missing) => Ok(()),
            Err(NftError::Refused(why) | NftError::Failed(why)) => {
                Err(PortError::new(ErrorKind::Denied, "remove nftables table", &self.table, why))
            }
        }
    }

    /// Whether `127.0.0.1:port` may lead into the bridge.
    fn route_loopback(&self, on: bool) -> Result<(), PortError> {
        let name = format!("ipv4/conf/{}/route_localnet", self.bridge);
        match sysctl::set(&name, if on { "1" } else { "0" }) {
            Err(error) if on => {
                warn!(bridge = self.bridge, %error, "cannot set {name}: host ports do not answer at 127.0.0.1");
                Ok(())
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(PortError::io("set", name, &error).waiting("CreatePodSandboxError"))
            }
            _ => Ok(()),
        }
    }

    fn no_host_ports(&self, error: &NftError) -> PortError {
        let (message, help) = match error {
            NftError::Missing => ("host ports need the program nft, which is not installed".to_owned(), INSTALL_NFT),
            NftError::Refused(why) => {
                (format!("nft refused the rules: {why}"), "the kernel needs nf_tables with nat, masquerade and fib")
            }
            NftError::Failed(why) => {
                (format!("nft did not run to its end: {why}"), "see whether `nft list ruleset` works")
            }
        };
        PortError::new(ErrorKind::Denied, "serve host ports of", &self.bridge, message)
            .with_help(help)
            .see_doctor()
            .waiting("CreatePodSandboxError")
    }

    fn warn_once(&self, error: &NftError) {
        if self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        match error {
            NftError::Missing => warn!("no program nft: pods do not reach the outside; {INSTALL_NFT}"),
            NftError::Refused(why) => warn!("nft refused the rules, pods do not reach the outside: {why}"),
            NftError::Failed(why) => warn!("nft did not run to its end, pods do not reach the outside: {why}"),
        }
    }
}
