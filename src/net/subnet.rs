//! Subnets of the pod network, as plain arithmetic.
//!
//! Without a wish the first of these that overlaps nothing is taken: 10.213.0.0/24 to 10.213.63.0/24, then 172.29.0.0/24
//! to 172.29.63.0/24, then 192.168.64.0/24 to 192.168.95.0/24. None of them is the default of another container tool;
//! three ranges, since a company's route often covers a whole private range.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest subnet: 65,533 pods.
const MIN_PREFIX: u8 = 16;
/// The smallest subnet: 5 pods.
const MAX_PREFIX: u8 = 29;
/// Where the default routes are: a route shorter than this stands for "everything else", such as the halves
/// 0.0.0.0/1 and 128.0.0.0/1 that VPNs use.
const DEFAULT_ROUTES_BELOW: u8 = 8;

/// An IPv4 subnet from /16 to /29.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl Subnet {
    const fn new(a: u8, b: u8, c: u8, prefix: u8) -> Self {
        Self { network: u32::from_be_bytes([a, b, c, 0]), prefix }
    }

    /// Length of the network part.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address `offset` after the subnet's own.
    pub fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network.wrapping_add(offset))
    }

    /// The bridge's address, the first one.
    pub fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Offsets of the addresses pods may have: all but the subnet's own, the gateway and the broadcast address.
    pub fn offsets(self) -> std::ops::RangeInclusive<u32> {
        2..=(!mask(self.prefix) - 1)
    }

    /// The offset of an address that is in the subnet.
    pub fn offset(self, address: Ipv4Addr) -> Option<u32> {
        let address = u32::from(address);
        (address & mask(self.prefix) == self.network).then_some(address & !mask(self.prefix))
    }

    /// Whether an address is in both.
    pub fn overlaps(self, network: Ipv4Addr, prefix: u8) -> bool {
        let common = mask(self.prefix.min(prefix));
        self.network & common == u32::from(network) & common
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not an IPv4 subnet such as 10.213.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        if !(MIN_PREFIX..=MAX_PREFIX).contains(&prefix) {
            return Err(format!("the subnet {text} is not between /{MIN_PREFIX} and /{MAX_PREFIX}"));
        }
        let subnet = Self { network: u32::from(address) & mask(prefix), prefix };
        if subnet.network != u32::from(address) {
            return Err(format!("{text} names an address within a subnet, the subnet is {subnet}"));
        }
        if address.octets()[0] == 0 || address.is_loopback() || address.octets()[0] >= 224 {
            return Err(format!("no machine can have addresses of {text}"));
        }
        Ok(subnet)
    }
}

/// The subnets tried without a wish, in order.
pub fn candidates() -> impl Iterator<Item = Subnet> {
    let first = (0..64).map(|n| Subnet::new(10, 213, n, 24));
    let second = (0..64).map(|n| Subnet::new(172, 29, n, 24));
    first.chain(second).chain((64..96).map(|n| Subnet::new(192, 168, n, 24)))
}

/// What a range of addresses is taken by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub network: IpAddr,
    pub prefix: u8,
    /// The link's name; empty for a route without one (`unreachable`, `blackhole`).
    pub link: String,
    /// An address of the link, not a route.
    pub is_address: bool,
}

impl fmt::Display for Taken {
    /// `the route 10.0.0.0/8 of eth0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_address { "address" } else { "route" };
        write!(f, "the {what} {}/{}", self.network, self.prefix)?;
        if self.link.is_empty() { f.write_str(" without a link") } else { write!(f, " of {}", self.link) }
    }
}

/// What of the machine the subnet overlaps.
pub fn clash(subnet: Subnet, taken: &[Taken]) -> Option<&Taken> {
    let overlaps = |t: &Taken| matches!(t.network, IpAddr::V4(network) if subnet.overlaps(network, t.prefix));
    taken.iter().find(|t| (t.is_address || t.prefix >= DEFAULT_ROUTES_BELOW) && overlaps(t))
}

/// What is known when a subnet is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation<'a> {
    /// From the configuration.
    pub wish: Option<Subnet>,
    /// Chosen earlier.
    pub remembered: Option<Subnet>,
    /// Whether the bridge exists, so that pods may be connected to it.
    pub bridge: bool,
    /// How many pods have an address of the remembered subnet.
    pub pods: usize,
    /// What the machine uses, without our own bridge.
    pub taken: &'a [Taken],
}

/// Why there is no subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<S> {
    /// The wish overlaps something of the machine.
    Clash(S, Taken),
    /// Pods are connected to another subnet than the one wished for.
    InUse { wish: S, current: S, pods: usize },
    /// Every candidate overlaps something of the machine.
    NoneLeft,
}

/// Which subnet the bridge gets. A remembered one is kept while it is still free, and as long as pods are connected.
///
/// # Errors
/// See [`Refusal`].
pub fn choose(now: &Situation<'_>) -> Result<Subnet, Refusal<Subnet>> {
    let connected = now.bridge && now.pods > 0;
    if let Some(wish) = now.wish {
        match now.remembered {
            Some(current) if current == wish && now.bridge => return Ok(wish),
            Some(current) if current != wish && connected => {
                return Err(Refusal::InUse { wish, current, pods: now.pods });
            }
            _ => {}
        }
        return match clash(wish, now.taken) {
            Some(taken) => Err(Refusal::Clash(wish, taken.clone())),
            None => Ok(wish),
        };
    }
    if let Some(current) = now.remembered
        && (connected || clash(current, now.taken).is_none())
    {
        return Ok(current);
    }
    candidates().find(|c| clash(*c, now.taken).is_none()).ok_or(Refusal::NoneLeft)
}
