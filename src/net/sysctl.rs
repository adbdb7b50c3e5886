//! Kernel settings of the machine's own network namespace.

use std::io;
use std::path::Path;

use crate::sys::effect;

/// Whether packets are passed on between links.
pub(super) const IP_FORWARD: &str = "ipv4/ip_forward";

fn path(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}

/// Reads a setting, `ipv4/ip_forward`.
pub(super) fn read(name: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(path(name))?.trim().to_owned())
}

/// Writes a setting unless it has that value: /proc/sys may be read-only and right.
pub(super) fn set(name: &str, value: &str) -> io::Result<()> {
    if read(name)? == value {
        return Ok(());
    }
    effect::write_existing(Path::new(&path(name)), value)
}
