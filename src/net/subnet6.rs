//! The IPv6 subnet of the pod network, as plain arithmetic.
//!
//! Without a wish it is a unique local prefix (RFC 4193) whose global id is a digest of the root's instance id, so that two
//! machines, and two roots of one machine, have different ones. A pod's address has the offset of its IPv4 address: the
//! one lease decides about both.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::subnet::{Refusal, Taken};

/// Length of the network part, of every link that hosts are on (RFC 4291, 2.5.1).
pub const PREFIX: u8 = 64;
/// Where the routes are that stand for "everything else" or for all unique local addresses (fc00::/7, fd00::/8), which some
/// networks have: a prefix of our own within them is nobody else's.
const GENERAL_ROUTES_BELOW: u8 = 16;
/// How many prefixes are tried without a wish.
const CANDIDATES: u32 = 16;

/// An IPv6 subnet, a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6(u64);

impl Subnet6 {
    /// The address `offset` after the subnet's own.
    pub fn address(self, offset: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from(self.0) << 64 | u128::from(offset))
    }

    /// The bridge's address, the first one.
    pub fn gateway(self) -> Ipv6Addr {
        self.address(1)
    }

    /// Whether an address is in both.
    pub fn overlaps(self, network: Ipv6Addr, prefix: u8) -> bool {
        let other = (network.to_bits() >> 64) as u64;
        let apart = 64 - u32::from(prefix.min(PREFIX));
        (self.0 ^ other).checked_shr(apart).unwrap_or(0) == 0
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{PREFIX}", self.address(0))
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> String {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Subnet6 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not an IPv6 subnet such as fd3b:72c5:9e10::/64");
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let address: Ipv6Addr = address.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        if prefix != PREFIX {
            return Err(format!("the subnet {text} is not a /{PREFIX}"));
        }
        let subnet = Self((address.to_bits() >> 64) as u64);
        if subnet.address(0) != address {
            return Err(format!("{text} names an address within a subnet, the subnet is {subnet}"));
        }
        // Unique local addresses and global ones (IANA's 2000::/3).
        if !address.is_unique_local() && address.segments()[0] >> 13 != 1 {
            return Err(format!("no machine can have addresses of {text}"));
        }
        Ok(subnet)
    }
}

/// What the configuration says of IPv6 for pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish6 {
    /// When the machine has it, with a subnet of podwright's choice.
    #[default]
    Auto,
    /// `none`: never.
    Off,
    Subnet(Subnet6),
}

impl FromStr for Wish6 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self::Off) } else { text.parse().map(Self::Subnet) }
    }
}

/// The subnets tried without a wish, in order.
pub fn candidates(instance: &str) -> impl Iterator<Item = Subnet6> {
    (0..CANDIDATES).map(move |n| {
        let digest = Sha256::digest(format!("podwright IPv6 {instance} {n}"));
        // fd, 40 bits of global id, subnet 0.
        let id = digest.iter().take(5).fold(0xfd, |id: u64, byte| id << 8 | u64::from(*byte));
        Subnet6(id << 16)
    })
}

/// What of the machine the subnet overlaps.
pub fn clash(subnet: Subnet6, taken: &[Taken]) -> Option<&Taken> {
    let overlaps = |t: &Taken| matches!(t.network, IpAddr::V6(network) if subnet.overlaps(network, t.prefix));
    taken.iter().find(|t| (t.is_address || t.prefix >= GENERAL_ROUTES_BELOW) && overlaps(t))
}

/// What is known when a subnet is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation6<'a> {
    pub wish: Wish6,
    /// Whether the machine has IPv6, see [`super::ipv6::lack`].
    pub available: bool,
    pub instance: &'a str,
    /// Chosen earlier.
    pub remembered: Option<Subnet6>,
    /// Whether the bridge exists.
    pub bridge: bool,
    /// How many pods have an address of the remembered subnet.
    pub pods: usize,
    /// What the machine uses, without our own bridge.
    pub taken: &'a [Taken],
}

/// The subnet that new pods get their IPv6 addresses from, `None` for IPv4 alone. A remembered one is kept while it is still
/// free, and as long as pods are connected.
///
/// # Errors
/// See [`Refusal`].
pub fn choose(now: &Situation6<'_>) -> Result<Option<Subnet6>, Refusal<Subnet6>> {
    if !now.available {
        return Ok(None);
    }
    let connected = now.bridge && now.pods > 0;
    match (now.wish, now.remembered) {
        (Wish6::Off, _) => return Ok(None),
        (Wish6::Subnet(wish), Some(current)) if wish != current && connected => {
            return Err(Refusal::InUse { wish, current, pods: now.pods });
        }
        (Wish6::Subnet(wish), current) => {
            return match clash(wish, now.taken) {
                Some(taken) if !(now.bridge && current == Some(wish)) => Err(Refusal::Clash(wish, taken.clone())),
                _ => Ok(Some(wish)),
            };
        }
        (Wish6::Auto, Some(current)) if connected || clash(current, now.taken).is_none() => return Ok(Some(current)),
        (Wish6::Auto, _) => {}
    }
    candidates(now.instance).find(|c| clash(*c, now.taken).is_none()).map(Some).ok_or(Refusal::NoneLeft)
}
