//! The network of one root: attach, detach, release, down.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use tokio::sync::Mutex;
use tracing::warn;

use super::base::{self, Base, refused};
use super::lease::{Leases, Taken};
use super::link::{Link, Links};
use super::pod::{self, Pod};
use super::rules::Need;
use super::store::Store;
use super::subnet::{Situation, Subnet, choose};
use super::subnet6::{self, Situation6, Wish6};
use super::{HostPort, busy, ipv6, nft};
use crate::model::PodUid;
use crate::port::{ErrorKind, PortError};
use crate::sys::infra::Infra;
use crate::sys::netns::NetNs;

/// Kubernetes' waiting reason of a pod without a network.
const WAITING: &str = "CreatePodSandboxError";
/// Digits that follow the bridge's name in the name of a pod's link: the offset of its address in the subnet.
const LINK_DIGITS: usize = 5;

/// The bridge, addresses and host ports of one root. Nothing of it exists before the first pod is attached.
#[derive(Debug)]
pub struct Network {
    pub(super) bridge: String,
    pub(super) table: String,
    pub(super) wish: Option<Subnet>,
    pub(super) wish6: Wish6,
    pub(super) store: Store,
    /// The nft program, if there is one.
    pub(super) nft: Option<PathBuf>,
    /// Whether the lack of nft, or of its consent, was reported.
    pub(super) warned: AtomicBool,
    pub(super) inner: Mutex<Inner>,
}

/// The subnets that the configuration names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    pub subnet: Option<&'a str>,
    /// A /64, or `none`.
    pub ipv6_subnet: Option<&'a str>,
}

/// What changes.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) leases: Leases,
    /// The bridge as this process has set it up.
    pub(super) base: Option<Base>,
    /// The ruleset as this process has last put it in place.
    pub(super) applied: Option<String>,
    /// The host ports of that ruleset.
    pub(super) forwards: Vec<(HostPort, IpAddr)>,
}

/// An error of the system during one step.
pub(super) fn failed(operation: &'static str, subject: impl Display, step: &str, error: &io::Error) -> PortError {
    let mut out = PortError::io(operation, subject.to_string(), error).waiting(WAITING);
    out.message = format!("{step}: {error}");
    // What is gone, or in the way, is no lack.
    let may_lack = matches!(out.kind, ErrorKind::Denied | ErrorKind::Exhausted | ErrorKind::Internal);
    if may_lack { out.see_doctor() } else { out }
}

impl Network {
    /// Reads what is remembered below `state` (`network/leases.json`) and checks wished subnets against the machine.
    /// `instance` is the root's id, 8 hex digits.
    ///
    /// # Errors
    /// `Invalid` for a subnet that is none, `Conflict` for one that overlaps something of the machine or differs from
    /// the one that pods are connected to, `Corrupt` for a damaged lease file while pods may be connected.
    pub fn open(instance: &str, state: &Path, wishes: Wishes<'_>) -> Result<Self, PortError> {
        if instance.len() != 8 || !instance.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PortError::new(
                ErrorKind::Invalid,
                "open network",
                instance,
                "not an instance id of 8 hex digits",
            ));
        }
        let bridge = format!("pw{instance}");
        let wish: Option<Subnet> = read(wishes.subnet, "give a subnet such as 10.213.0.0/24")?;
        let wish6 = read(wishes.ipv6_subnet, "give a subnet such as fd3b:72c5:9e10::/64, or none")?.unwrap_or_default();
        let look = Links::blocking(async |links| {
            let wishes6 = matches!(wish6, Wish6::Subnet(_));
            let available = wishes6 && ipv6::lack_here(base::default_mtu(links).await?).is_none();
            let any = wish.is_some() || wishes6;
            let taken = if any { links.taken(&bridge, available).await? } else { Vec::new() };
            Ok((links.get(&bridge).await?.is_some(), taken, available))
        });
        let (there, taken, available) =
            look.map_err(|e| failed("open network", instance, "look at links and routes", &e))?;
        let store = Store::new(state);
        let leases = match store.read() {
            Err(error) if error.kind == ErrorKind::Corrupt && !there => {
                // The machine was restarted since: nobody is connected, so nothing is lost but the addresses.
                warn!(%error, "the pods get new addresses");
                let lasting = store.read_lasting();
                // At once: with a bridge there, the next agent would take it for that of pods that run.
                if let Err(error) = store.write(&lasting, &Leases::default()) {
                    warn!(%error, "the damaged file stays for now");
                }
                lasting
            }
            other => other?,
        };
        let network = Self {
            table: format!("podwright-{instance}"),
            bridge,
            wish,
            wish6,
            store,
            nft: nft::find(),
            warned: AtomicBool::new(false),
            inner: Mutex::default(),
        };
        if wish.is_some() {
            let pods = leases.addresses();
            choose(&Situation { wish, remembered: leases.subnet, bridge: there, pods, taken: &taken })
                .map_err(|r| refused(r, "subnet"))?;
        }
        if let Wish6::Subnet(_) = wish6 {
            let situation = network.situation6(&leases, there, available);
            subnet6::choose(&Situation6 { taken: &taken, ..situation }).map_err(|r| refused(r, "ipv6Subnet"))?;
        }
        Ok(Self { inner: Mutex::new(Inner { leases, ..Inner::default() }), ..network })
    }

    /// Uses this program instead of the `nft` that PATH names.
    #[must_use]
    pub fn with_nft(mut self, program: PathBuf) -> Self {
        self.nft = Some(program);
        self
    }

    /// Connects the network namespace of an infra process: loopback up, `eth0` with the pod's addresses, default routes, host
    /// ports. Repeating it completes what an earlier call began and returns the same addresses, IPv4's first.
    ///
    /// # Errors
    /// `NotFound` when the process has ended, `Conflict` for a busy host port or subnet, `Exhausted` without a free address,
    /// `Denied` when the machine refuses, or has no IPv6 for a host port at an address of it.
    pub async fn attach(&self, uid: &PodUid, infra: Infra, ports: &[HostPort]) -> Result<Vec<IpAddr>, PortError> {
        self.attach_namespace(uid, &pod::namespace(uid, infra)?, ports).await
    }

    /// The same of a namespace that the pod's infra process is to be in.
    ///
    /// # Errors
    /// As [`Network::attach`].
    pub async fn attach_namespace(
        &self,
        uid: &PodUid,
        namespace: &NetNs,
        ports: &[HostPort],
    ) -> Result<Vec<IpAddr>, PortError> {
        let links = open_links()?;
        let (base, address, address6) = {
            let mut inner = self.inner.lock().await;
            self.check_ports(&inner, uid, (ports, false))?;
            let base = self.ensure_bridge(&mut inner, &links).await?;
            if base.subnet6.is_some() {
                self.check_ports(&inner, uid, (ports, true))?;
            } else if let Some(port) = ports.iter().find(|p| p.host_ip.is_some_and(|ip| ip.is_ipv6())) {
                return Err(self.no_ipv6(uid, port, base.mtu));
            }
            let mut leases = inner.leases.clone();
            let Some(address) = leases.allocate(uid) else { return Err(exhausted(uid, base.subnet, &leases)) };
            let address6 = leases.allocate6(uid, base.subnet6);
            leases.claim(uid, ports);
            self.keep(&mut inner, leases)?;
            (base, address, address6)
        };
        let pod = Pod { uid, namespace, base, address, address6 };
        self.connect(&links, &pod).await?;
        let mut inner = self.inner.lock().await;
        self.apply_rules(&mut inner, if ports.is_empty() { Need::WayOut } else { Need::HostPorts }).await?;
        Ok([IpAddr::from(address)].into_iter().chain(address6.map(IpAddr::from)).collect())
    }

    /// Claims the ports of a pod with hostNetwork, after checking that they are free.
    ///
    /// # Errors
    /// `Conflict` for a busy host port.
    pub async fn host_network_ports(&self, uid: &PodUid, ports: &[HostPort]) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        self.check_ports(&inner, uid, (ports, false))?;
        if ports.is_empty() && !inner.leases.pods.contains_key(uid) {
            return Ok(());
        }
        let mut leases = inner.leases.clone();
        leases.claim(uid, ports);
        self.keep(&mut inner, leases)
    }

    /// Releases link, host ports and address of a pod; also when there is nothing left of it.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn detach(&self, uid: &PodUid) -> Result<(), PortError> {
        let link = {
            let inner = self.inner.lock().await;
            let Some(lease) = inner.leases.pods.get(uid) else { return Ok(()) };
            lease.address.zip(inner.leases.subnet).and_then(|(address, subnet)| self.link_name(subnet, address))
        };
        if let Some(name) = link {
            // Tens of milliseconds in the kernel: other pods need not wait for it.
            let links = open_links()?;
            let gone = async {
                match links.get(&name).await? {
                    Some(link) => links.remove(link.index).await,
                    None => Ok(()),
                }
            };
            gone.await.map_err(|e| failed("detach pod", uid, &format!("remove link {name}"), &e))?;
        }
        let mut inner = self.inner.lock().await;
        let mut leases = inner.leases.clone();
        let Some(lease) = leases.pods.remove(uid) else { return Ok(()) };
        self.keep(&mut inner, leases)?;
        if lease.address.is_some() && !lease.ports.is_empty() {
            self.apply_rules(&mut inner, Need::Upkeep).await?;
        }
        Ok(())
    }

    /// The pods other than `keep` that hold something.
    pub async fn strangers(&self, keep: &BTreeSet<PodUid>) -> BTreeSet<PodUid> {
        self.inner.lock().await.leases.pods.keys().filter(|uid| !keep.contains(*uid)).cloned().collect()
    }

    /// Releases what belongs to these pods or to nobody, and puts the rules in place again in case somebody has cleared
    /// them.
    ///
    /// # Errors
    /// When the machine refuses; it can be called again.
    pub async fn release(&self, gone: &BTreeSet<PodUid>) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        let mut leases = inner.leases.clone();
        leases.pods.retain(|uid, _| !gone.contains(uid));
        let links = open_links()?;
        let all = links.list().await.map_err(|e| failed("release network", &self.bridge, "list links", &e))?;
        let kept: BTreeSet<String> = leases
            .subnet
            .iter()
            .flat_map(|s| leases.pods.values().filter_map(|l| self.link_name(*s, l.address?)))
            .collect();
        for link in all.iter().filter(|l| self.is_pod_link(&l.name) && !kept.contains(&l.name)) {
            let removed = links.remove(link.index).await;
            removed.map_err(|e| failed("release network", &self.bridge, &format!("remove link {}", link.name), &e))?;
        }
        self.keep(&mut inner, leases)?;
        if inner.leases.subnet.is_some() && all.iter().any(|l| l.name == self.bridge) {
            inner.applied = None;
            self.apply_rules(&mut inner, Need::Upkeep).await?;
        }
        Ok(())
    }

    /// Removes everything of this network from the machine and from the state directory.
    ///
    /// # Errors
    /// When the machine refuses; it can be called again.
    pub async fn down(&self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().await;
        let links = open_links()?;
        let failed = |step: &str, e: &io::Error| failed("remove network", &self.bridge, step, e);
        let all = links.list().await.map_err(|e| failed("list links", &e))?;
        let ours = |l: &&Link| l.name == self.bridge || self.is_pod_link(&l.name);
        for link in all.iter().filter(ours) {
            links.remove(link.index).await.map_err(|e| failed(&format!("remove link {}", link.name), &e))?;
        }
        if self.store.exists() || all.iter().any(|l| ours(&l)) {
            self.remove_rules().await?;
        }
        if !all.iter().any(|l| l.is_bridge && !ours(&l)) {
            Self::stop_forwarding(&inner.leases).map_err(|e| failed("turn off IP forwarding", &e))?;
        }
        self.store.remove()?;
        *inner = Inner::default();
        Ok(())
    }

    /// Makes these the leases, first for an agent after this one.
    pub(super) fn keep(&self, inner: &mut Inner, mut leases: Leases) -> Result<(), PortError> {
        leases.version = leases.needed_version();
        if inner.leases != leases {
            self.store.write(&leases, &inner.leases).map_err(|e| e.waiting(WAITING))?;
            inner.leases = leases;
        }
        Ok(())
    }

    /// Refuses ports that another pod or another process has. Those that the pod itself holds were free when it got
    /// them: by now its own containers may listen there. `v6` says whether every address means those of IPv6 too.
    fn check_ports(&self, inner: &Inner, uid: &PodUid, (ports, v6): (&[HostPort], bool)) -> Result<(), PortError> {
        let refuse = |port: &HostPort, why: String, help: &str| {
            let message = format!("host port {port} {why}");
            let error = PortError::new(ErrorKind::Conflict, "attach pod", uid.to_string(), message);
            Err(error.with_help(help).waiting(WAITING))
        };
        match inner.leases.taken(uid, ports) {
            Some(Taken::ByPod(port, other)) => {
                let why = format!("is in use by another pod of this root, {other}");
                return refuse(&port, why, "give one of them another hostPort");
            }
            Some(Taken::Twice(port)) => {
                return refuse(&port, "is asked for twice by this pod".to_owned(), "remove one of the two ports");
            }
            None => {}
        }
        if inner.leases.holds(uid, ports, v6) {
            return Ok(());
        }
        match ports.iter().find(|p| busy::is_busy(p, v6)) {
            Some(port) => {
                let why = "is in use by a process of this machine".to_owned();
                let help =
                    format!("stop it (`ss -lnp` shows it: look for :{}), or use another hostPort", port.host_port);
                refuse(port, why, &help)
            }
            None => Ok(()),
        }
    }

    /// The near end's name: no two pods have the same, since no two have the same address.
    pub(super) fn link_name(&self, subnet: Subnet, address: Ipv4Addr) -> Option<String> {
        subnet.offset(address).map(|offset| format!("{}{offset:0LINK_DIGITS$}", self.bridge))
    }

    fn no_ipv6(&self, uid: &PodUid, port: &HostPort, mtu: u32) -> PortError {
        let why = ipv6::lack_here(mtu).unwrap_or("`ipv6Subnet` is none, or the bridge cannot have it");
        let message = format!("host port {port} is one of IPv6, which pods do not have here: {why}");
        PortError::new(ErrorKind::Denied, "attach pod", uid.to_string(), message)
            .with_help("`podwright doctor` says more; without `hostIP` it is served at the addresses that there are")
            .waiting(WAITING)
    }

    pub(super) fn is_pod_link(&self, name: &str) -> bool {
        name.strip_prefix(&self.bridge)
            .is_some_and(|rest| rest.len() == LINK_DIGITS && rest.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// A setting, if there is one.
fn read<T: FromStr<Err = String>>(text: Option<&str>, help: &'static str) -> Result<Option<T>, PortError> {
    let wrong = |what| PortError::new(ErrorKind::Invalid, "use subnet", text.unwrap_or_default(), what).with_help(help);
    text.map(T::from_str).transpose().map_err(wrong)
}

fn open_links() -> Result<Links, PortError> {
    Links::open().map_err(|e| failed("open", "netlink", "open a socket", &e))
}

fn exhausted(uid: &PodUid, subnet: Subnet, leases: &Leases) -> PortError {
    let message = format!("every address of {subnet} is in use, by {} pods", leases.addresses());
    PortError::new(ErrorKind::Exhausted, "attach pod", uid.to_string(), message)
        .with_help("remove pods, or choose a larger `subnet` after `podwright down`")
        .waiting(WAITING)
}

/// The machine's addresses, the one of the default route first, IPv4 before IPv6; without loopback, link-local ones and
/// podwright's bridges. Empty when they cannot be read.
pub fn node_ips() -> Vec<IpAddr> {
    let is_ours = |name: &str| {
        name.strip_prefix("pw").is_some_and(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let is_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    };
    let read = Links::blocking(async |links| {
        let ours: Vec<u32> = links.list().await?.iter().filter(|l| is_ours(&l.name)).map(|l| l.index).collect();
        let first = links.default_link().await?;
        let mut all = links.addresses().await?;
        all.retain(|a| !is_local(&a.ip) && !ours.contains(&a.link));
        all.sort_by_key(|a| (Some(a.link) != first, a.ip.is_ipv6(), a.link));
        Ok(all.iter().map(|a| a.ip).collect())
    });
    read.unwrap_or_default()
}
