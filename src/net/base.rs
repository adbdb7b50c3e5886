//! What all pods of a root share: the subnet and the bridge.

use std::io;
use std::time::Duration;

use tracing::warn;

use super::link::Links;
use super::network::{Inner, Network, failed};
use super::subnet::{Refusal, Situation, Subnet, choose};
use super::sysctl;
use crate::port::{ErrorKind, PortError};
use crate::sys::netns::NetNs;

/// How often and for how long another root of the machine is waited for while it chooses its subnet.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Ethernet's, where the machine has no default route.
const USUAL_MTU: u32 = 1500;

/// The bridge, ready for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) index: u32,
    pub(super) subnet: Subnet,
    /// The default route's: what pods send must get through there.
    pub(super) mtu: u32,
}

/// A refused subnet, as an error with its way out.
pub(super) fn refused(refusal: Refusal) -> PortError {
    let waiting = "CreatePodSandboxError";
    match refusal {
        Refusal::Clash(subnet, taken) => {
            let message = format!("it overlaps {taken}");
            PortError::new(ErrorKind::Conflict, "use subnet", subnet.to_string(), message)
                .with_help("choose a `subnet` that the machine does not use")
        }
        Refusal::InUse { wish, current, pods } => {
            let message = format!("{pods} pods of this root are connected to {current}");
            PortError::new(ErrorKind::Conflict, "use subnet", wish.to_string(), message)
                .with_help("stop them with `podwright down` before changing `subnet`")
        }
        Refusal::NoneLeft => {
            let message = "the machine's routes overlap every subnet podwright chooses by itself";
            PortError::new(ErrorKind::Exhausted, "use subnet", "of its own choice", message)
                .with_help("set `subnet` to one that the machine does not use")
        }
    }
    .waiting(waiting)
}

impl Network {
    /// Makes the bridge, with its address, unless it is there as this process has made it.
    pub(super) async fn ensure_bridge(&self, inner: &mut Inner, links: &Links) -> Result<Base, PortError> {
        let at = |step: &'static str| move |e: io::Error| failed("set up bridge", &self.bridge, step, &e);
        let found = links.get(&self.bridge).await.map_err(at("look for it"))?;
        if let (Some(base), Some(link)) = (inner.base, &found)
            && base.index == link.index
            && link.up
        {
            return Ok(base);
        }
        if found.as_ref().is_some_and(|l| !l.is_bridge) {
            let message = "a link of this name exists and is no bridge";
            return Err(PortError::new(ErrorKind::Conflict, "set up bridge", &self.bridge, message)
                .with_help("remove it: `ip link del`")
                .waiting("CreatePodSandboxError"));
        }
        // From the look at the routes until our own is there: two roots must not find the same subnet free.
        let _lock = self.lock_namespace().await?;
        let subnet = self.choose_subnet(inner, links, found.is_some()).await?;
        let mtu = default_mtu(links).await.map_err(at("look for the default route"))?;
        let [a, b, c, d] = subnet.gateway().octets();
        links.add_bridge(&self.bridge, [0x0a, 0x58, a, b, c, d], mtu).await.map_err(at("make it"))?;
        let link = links.get(&self.bridge).await.map_err(at("look for it"))?;
        let link = link.ok_or_else(|| at("it disappeared")(io::ErrorKind::NotFound.into()))?;
        links.set_address(link.index, subnet.gateway(), subnet.prefix()).await.map_err(at("give it its address"))?;
        links.up(link.index, "bridge").await.map_err(at("turn it on"))?;
        self.set_kernel(inner)?;
        let base = Base { index: link.index, subnet, mtu };
        inner.base = Some(base);
        Ok(base)
    }

    async fn lock_namespace(&self) -> Result<NetNs, PortError> {
        let at = |e: io::Error| failed("set up bridge", &self.bridge, "lock the network namespace", &e);
        let own = NetNs::own().map_err(at)?;
        for _ in 0..LOCK_TRIES {
            if own.try_lock().map_err(at)? {
                return Ok(own);
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        Err(at(io::Error::new(io::ErrorKind::TimedOut, "another process has held the lock for long")))
    }

    /// Chooses the subnet and remembers it. Addresses of another subnet are forgotten: nobody is connected to it.
    async fn choose_subnet(&self, inner: &mut Inner, links: &Links, bridge: bool) -> Result<Subnet, PortError> {
        let taken = links.taken(&self.bridge).await;
        let taken = taken.map_err(|e| failed("set up bridge", &self.bridge, "list routes", &e))?;
        let remembered = inner.leases.subnet;
        let pods = inner.leases.addresses();
        let subnet =
            choose(&Situation { wish: self.wish, remembered, bridge, pods, taken: &taken }).map_err(refused)?;
        if remembered != Some(subnet) {
            let mut leases = inner.leases.clone();
            leases.subnet = Some(subnet);
            leases.next = 0;
            leases.pods.values_mut().for_each(|l| l.address = None);
            self.keep(inner, leases)?;
        }
        Ok(subnet)
    }

    /// Turns on what the kernel must do for pods, and off what it must not do for the bridge. The machine's settings are
    /// remembered first; one that cannot be changed costs pods the outside, not their start.
    fn set_kernel(&self, inner: &mut Inner) -> Result<(), PortError> {
        if sysctl::read(sysctl::IP_FORWARD).is_ok_and(|v| v == "0") {
            let mut leases = inner.leases.clone();
            leases.restore_forwarding = true;
            self.keep(inner, leases)?;
        }
        if let Err(error) = sysctl::set(sysctl::IP_FORWARD, "1") {
            warn!(bridge = self.bridge, %error, "cannot turn on IP forwarding: pods do not reach the outside");
        }
        // A pod must not become the machine's router by announcing itself as one.
        let _ = sysctl::set(&format!("ipv6/conf/{}/disable_ipv6", self.bridge), "1");
        Ok(())
    }
}

async fn default_mtu(links: &Links) -> io::Result<u32> {
    let Some(index) = links.default_link().await? else { return Ok(USUAL_MTU) };
    let all = links.list().await?;
    Ok(all.iter().find(|l| l.index == index).map_or(USUAL_MTU, |l| l.mtu))
}
