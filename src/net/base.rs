//! What all pods of a root share: the subnet and the bridge.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tracing::warn;

use super::lease::Leases;
use super::link::Links;
use super::network::{Inner, Network, failed};
use super::subnet::{Refusal, Situation, Subnet, choose};
use super::subnet6::{Situation6, Subnet6, Wish6};
use super::{ipv6, subnet6, sysctl};
use crate::port::{ErrorKind, PortError};
use crate::sys::netns::NetNs;
use crate::sys::process;

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
    /// Of new pods; `None` for IPv4 alone.
    pub(super) subnet6: Option<Subnet6>,
    /// The same, or that of pods which have addresses although new ones get none.
    own6: Option<Subnet6>,
    /// Why there was no IPv6 when it was made.
    lack6: Option<&'static str>,
    /// The default route's: what pods send must get through there.
    pub(super) mtu: u32,
}

impl Base {
    /// The bridge's addresses, each with the length of its prefix.
    fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let own6 = self.own6.map(|s| (IpAddr::from(s.gateway()), subnet6::PREFIX));
        [(IpAddr::from(self.subnet.gateway()), self.subnet.prefix())].into_iter().chain(own6).collect()
    }
}

/// A refused subnet, as an error with its way out. `setting` is what it is called in the configuration.
pub(super) fn refused<S: Display>(refusal: Refusal<S>, setting: &'static str) -> PortError {
    let waiting = "CreatePodSandboxError";
    match refusal {
        Refusal::Clash(subnet, taken) => {
            let message = format!("it overlaps {taken}");
            PortError::new(ErrorKind::Conflict, "use subnet", subnet.to_string(), message)
                .with_help(format!("choose a `{setting}` that the machine does not use"))
        }
        Refusal::InUse { wish, current, pods } => {
            let message = format!("{pods} pods of this root are connected to {current}");
            PortError::new(ErrorKind::Conflict, "use subnet", wish.to_string(), message)
                .with_help(format!("stop them with `podwright down` before changing `{setting}`"))
        }
        Refusal::NoneLeft => {
            let message = "the machine's routes overlap every subnet podwright chooses by itself";
            PortError::new(ErrorKind::Exhausted, "use subnet", "of its own choice", message)
                .with_help(format!("set `{setting}` to one that the machine does not use"))
        }
    }
    .waiting(waiting)
}

impl Network {
    /// Makes the bridge, with its addresses, unless it is there as this process has made it.
    pub(super) async fn ensure_bridge(&self, inner: &mut Inner, links: &Links) -> Result<Base, PortError> {
        let at = |step: &'static str| move |e: io::Error| failed("set up bridge", &self.bridge, step, &e);
        let found = links.get(&self.bridge).await.map_err(at("look for it"))?;
        if let (Some(base), Some(link)) = (inner.base, &found)
            && base.index == link.index
            && link.up
            // IPv6 may have been turned on or off since.
            && base.lack6 == ipv6::lack_here(base.mtu)
            // One that was turned off and on again has lost its address of IPv6.
            && links.are_own(&base.addresses()).await
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
        let mtu = default_mtu(links).await.map_err(at("look for the default route"))?;
        let lack6 = ipv6::lack_here(mtu);
        let (subnet, mut subnet6) = self.choose_subnets(inner, links, (found.is_some(), lack6)).await?;
        let [a, b, c, d] = subnet.gateway().octets();
        links.add_bridge(&self.bridge, [0x0a, 0x58, a, b, c, d], mtu).await.map_err(at("make it"))?;
        let link = links.get(&self.bridge).await.map_err(at("look for it"))?;
        let link = link.ok_or_else(|| at("it disappeared")(io::ErrorKind::NotFound.into()))?;
        // Pods that have addresses keep them although new ones get none.
        let mut own6 = inner.leases.subnet6.filter(|_| lack6.is_none());
        if let Err(error) = ipv6::prepare_bridge(&self.bridge, own6.is_some())
            && own6.is_some()
        {
            if !ipv6::is_refused(&error) {
                return Err(at("turn on IPv6")(error));
            }
            warn!(bridge = self.bridge, %error, "cannot turn on IPv6: new pods have IPv4 alone");
            (own6, subnet6) = (None, None);
        }
        let base = Base { index: link.index, subnet, subnet6, own6, lack6, mtu };
        links.up(link.index, "bridge").await.map_err(at("turn it on"))?;
        links.set_addresses(link.index, &base.addresses()).await.map_err(at("give it its addresses"))?;
        self.forward(inner)?;
        if own6.is_some() {
            self.forward6(inner, links).await?;
        }
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

    /// Chooses the subnets and remembers them: that of all pods, and that of IPv6 for new ones. Addresses of another subnet
    /// are forgotten: nobody is connected to it.
    async fn choose_subnets(
        &self,
        inner: &mut Inner,
        links: &Links,
        (bridge, lack6): (bool, Option<&'static str>),
    ) -> Result<(Subnet, Option<Subnet6>), PortError> {
        if let (Wish6::Subnet(subnet), Some(lack)) = (self.wish6, lack6) {
            warn!("{lack}: the `ipv6Subnet` {subnet} has no effect, new pods have IPv4 alone");
        }
        let taken = links.taken(&self.bridge, lack6.is_none()).await;
        let taken = taken.map_err(|e| failed("set up bridge", &self.bridge, "list routes", &e))?;
        let mut leases = inner.leases.clone();
        leases.begin_boot(&process::boot_id());
        let (remembered, pods) = (leases.subnet, leases.addresses());
        let subnet = choose(&Situation { wish: self.wish, remembered, bridge, pods, taken: &taken });
        let subnet = subnet.map_err(|r| refused(r, "subnet"))?;
        if remembered != Some(subnet) {
            leases.subnet = Some(subnet);
            leases.next = 0;
            leases.pods.values_mut().for_each(|l| (l.address, l.address6) = (None, None));
        }
        let situation = self.situation6(&leases, bridge, lack6.is_none());
        let subnet6 = subnet6::choose(&Situation6 { taken: &taken, ..situation });
        let subnet6 = subnet6.map_err(|r| refused(r, "ipv6Subnet"))?;
        let connected = situation.bridge && situation.pods > 0;
        if subnet6 != leases.subnet6 && !(subnet6.is_none() && connected) {
            leases.subnet6 = subnet6;
            leases.pods.values_mut().for_each(|l| l.address6 = None);
        }
        self.keep(inner, leases)?;
        Ok((subnet, subnet6))
    }

    /// What is known of IPv6, but for what the machine uses.
    pub(super) fn situation6(&self, leases: &Leases, bridge: bool, available: bool) -> Situation6<'_> {
        let (remembered, pods) = (leases.subnet6, leases.addresses6());
        let instance = self.bridge.trim_start_matches("pw");
        Situation6 { wish: self.wish6, available, instance, remembered, bridge, pods, taken: &[] }
    }

    /// Has the machine pass on packets for pods. Its settings are remembered first; one that cannot be changed costs pods the
    /// outside, not their start.
    fn forward(&self, inner: &mut Inner) -> Result<(), PortError> {
        if sysctl::read(sysctl::IP_FORWARD).is_ok_and(|v| v == "0") {
            let mut leases = inner.leases.clone();
            leases.restore_forwarding = true;
            self.keep(inner, leases)?;
        }
        if let Err(error) = sysctl::set(sysctl::IP_FORWARD, "1") {
            warn!(bridge = self.bridge, %error, "cannot turn on IP forwarding: pods do not reach the outside");
        }
        Ok(())
    }

    /// The same of IPv6, with links that listen to routers listening still.
    async fn forward6(&self, inner: &mut Inner, links: &Links) -> Result<(), PortError> {
        if sysctl::read(ipv6::FORWARDING).is_ok_and(|v| v == "1") {
            return Ok(());
        }
        let all = links.list().await.map_err(|e| failed("set up bridge", &self.bridge, "list links", &e))?;
        let others = all.iter().filter(|l| l.name != "lo" && l.name != self.bridge && !self.is_pod_link(&l.name));
        let listeners = ipv6::listeners(others.map(|l| l.name.as_str()));
        let mut leases = inner.leases.clone();
        leases.restore_forwarding6 = true;
        leases.restore_accept_ra.extend(listeners.iter().cloned());
        self.keep(inner, leases)?;
        let listening = listeners.iter().try_for_each(|link| ipv6::listen_always(link));
        // Without that the machine may lose its own way out.
        if let Err(error) = listening.and_then(|()| sysctl::set(ipv6::FORWARDING, "1")) {
            warn!(bridge = self.bridge, %error, "cannot turn on IPv6 forwarding: pods do not reach the outside by IPv6");
        }
        Ok(())
    }

    /// Undoes both; not for a machine with another bridge, which may count on them by now. What was changed before the machine was
    /// started again is no longer ours.
    pub(super) fn stop_forwarding(leases: &Leases) -> io::Result<()> {
        let mut leases = leases.clone();
        leases.begin_boot(&process::boot_id());
        if leases.restore_forwarding {
            sysctl::set(sysctl::IP_FORWARD, "0")?;
        }
        if leases.restore_forwarding6 {
            sysctl::set(ipv6::FORWARDING, "0")?;
            leases.restore_accept_ra.iter().try_for_each(|link| ipv6::listen_as_before(link))?;
        }
        Ok(())
    }
}

/// The size of the largest packet that the way out takes.
pub(super) async fn default_mtu(links: &Links) -> io::Result<u32> {
    let Some(index) = links.default_link().await? else { return Ok(USUAL_MTU) };
    let all = links.list().await?;
    Ok(all.iter().find(|l| l.index == index).map_or(USUAL_MTU, |l| l.mtu))
}
