//! Whether the machine has IPv6 for its pods, and what is changed of its settings for them.
//!
//! Pods reach the outside only through a machine that passes packets on (`net.ipv6.conf.all.forwarding`), and one that does
//! takes no more router advertisements where `accept_ra` is 1: a machine that has its own address and default route from
//! them would lose both. Each such link gets 2 first, which means "take them all the same" (Linux, ip-sysctl), so that
//! nothing changes for the machine; both are undone with the last pod's network.

use std::io;

use super::sysctl;

/// The least that IPv6 wants of a link (RFC 8200, 5).
const LEAST_MTU: u32 = 1280;
const ALL_DISABLED: &str = "ipv6/conf/all/disable_ipv6";
/// Whether packets are passed on between links.
pub(super) const FORWARDING: &str = "ipv6/conf/all/forwarding";

/// Why the machine has no IPv6 for pods; `None` when it has. `disabled` is the value of `net.ipv6.conf.all.disable_ipv6`, if
/// there is one, `mtu` that of the bridge. A machine without an IPv6 address of its own has it too: pods reach each other
/// and the machine.
pub fn lack(disabled: Option<&str>, mtu: u32) -> Option<&'static str> {
    match disabled {
        None => Some("the kernel has no IPv6"),
        Some("0") if mtu < LEAST_MTU => Some("the way out takes packets of less than 1280 bytes only"),
        Some("0") => None,
        Some(_) => Some("net.ipv6.conf.all.disable_ipv6 is 1"),
    }
}

/// The same of this machine.
pub(super) fn lack_here(mtu: u32) -> Option<&'static str> {
    lack(sysctl::read(ALL_DISABLED).ok().as_deref(), mtu)
}

fn accept_ra(link: &str) -> String {
    format!("ipv6/conf/{link}/accept_ra")
}

/// Those of the links that would take no more router advertisements if the machine passed packets on.
pub(super) fn listeners<'a>(links: impl Iterator<Item = &'a str>) -> Vec<String> {
    links.filter(|link| sysctl::read(&accept_ra(link)).is_ok_and(|v| v == "1")).map(str::to_owned).collect()
}

/// Has the link take router advertisements whether or not the machine passes packets on; or as it was before.
pub(super) fn listen_always(link: &str, always: bool) -> io::Result<()> {
    match sysctl::set(&accept_ra(link), if always { "2" } else { "1" }) {
        // The link is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether the machine lets nobody change its settings, as most containers have it; another failure may pass.
pub(super) fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Prepares the bridge: no pod becomes the machine's router by announcing itself as one.
pub(super) fn prepare_bridge(bridge: &str, on: bool) -> io::Result<()> {
    if on {
        sysctl::set(&accept_ra(bridge), "0")?;
    }
    sysctl::set(&format!("ipv6/conf/{bridge}/disable_ipv6"), if on { "0" } else { "1" })
}

/// Prepares the namespace of the calling thread for a pod's link that is yet to come: neither does a pod become another
/// one's router. A kernel that begins with IPv6 off (`ipv6.disable_ipv6=1`) does so in each namespace.
pub(super) fn prepare_pod() -> io::Result<()> {
    sysctl::set(ALL_DISABLED, "0")?;
    sysctl::set(&accept_ra("default"), "0")
}
