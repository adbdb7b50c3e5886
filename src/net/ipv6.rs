//! Whether the machine has IPv6 for its pods, and what is changed of its settings for them.
//!
//! Pods reach the outside only through a machine that passes packets on (`net.ipv6.conf.all.forwarding`), and one that does
//! takes no more router advertisements where `accept_ra` is 1: a machine that has its own address and default route from
//! them would lose both. Each such link gets 2 first, which means "take them all the same" (Linux, ip-sysctl), and so do
//! those that are yet to come (`default`), so that nothing changes for the machine. Both are undone with the last pod's
//! network, but for what somebody else has changed since; a link that has come since keeps 2, which means the same as 1 to a
//! machine that passes nothing on.

use std::io;

use super::link::POD_LINK;
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

/// What counts for links that are yet to come. No link can have this name.
const DEFAULT: &str = "default";

fn accept_ra(link: &str) -> String {
    format!("ipv6/conf/{link}/accept_ra")
}

fn disabled(link: &str) -> String {
    format!("ipv6/conf/{link}/disable_ipv6")
}

/// Sets it of a link that may be gone, or not there yet.
fn set_if_there(name: &str, value: &str) -> io::Result<()> {
    match sysctl::set(name, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn accepts(link: &str, value: &str) -> bool {
    sysctl::read(&accept_ra(link)).is_ok_and(|v| v == value)
}

/// Those of the links, and of links to come, that would take no more router advertisements if the machine passed packets on.
pub(super) fn listeners<'a>(links: impl Iterator<Item = &'a str>) -> Vec<String> {
    links.chain([DEFAULT]).filter(|link| accepts(link, "1")).map(str::to_owned).collect()
}

/// Has the link take router advertisements whether or not the machine passes packets on.
pub(super) fn listen_always(link: &str) -> io::Result<()> {
    set_if_there(&accept_ra(link), "2")
}

/// Undoes that, unless somebody else has set it by now.
pub(super) fn listen_as_before(link: &str) -> io::Result<()> {
    if accepts(link, "2") { set_if_there(&accept_ra(link), "1") } else { Ok(()) }
}

/// Whether the machine lets nobody change its settings, as most containers have it; another failure may pass.
pub(super) fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Has the machine take no router advertisements from the link: no pod becomes its router by announcing itself as one. A link
/// without IPv6 may get it later.
pub(super) fn listen_never(link: &str) -> io::Result<()> {
    set_if_there(&accept_ra(link), "0")
}

/// Prepares the bridge; `on` says whether it gets an address.
pub(super) fn prepare_bridge(bridge: &str, on: bool) -> io::Result<()> {
    listen_never(bridge)?;
    sysctl::set(&disabled(bridge), if on { "0" } else { "1" })
}

/// Prepares the namespace of the calling thread for a pod's link, which may be there: neither does a pod become another one's
/// router, which can be had without an address of ours, too. `on` says whether it gets one. A kernel that begins with IPv6
/// off (`ipv6.disable_ipv6=1`) does so in each namespace.
pub(super) fn prepare_pod(on: bool) -> io::Result<()> {
    if on {
        set_if_there(ALL_DISABLED, "0")?;
        set_if_there(&disabled(POD_LINK), "0")?;
    }
    [DEFAULT, POD_LINK].into_iter().try_for_each(listen_never)
}
