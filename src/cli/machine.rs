//! What this machine says of itself: the defaults of the settings.

use std::net::IpAddr;

use crate::model::NodeSystem;

/// Files that identify a machine, the first that says something (machine_info of cadvisor, which the kubelet asks).
#[cfg(target_os = "linux")]
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
#[cfg(target_os = "linux")]
const SYSTEM_UUIDS: [&str; 4] =
    ["/sys/class/dmi/id/product_uuid", "/proc/device-tree/system-id", "/proc/device-tree/vm,uuid", "/etc/machine-id"];
#[cfg(target_os = "linux")]
const OS_RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Name, size and addresses of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// As uname(2) gives it.
    pub host_name: String,
    /// As Go names it.
    pub architecture: &'static str,
    pub cpus: usize,
    /// Kibibytes.
    pub memory: u64,
    /// The one of the default route first.
    pub ips: Vec<IpAddr>,
    pub system: NodeSystem,
}

impl Machine {
    /// Asks the machine. What it does not say stays empty.
    #[cfg(target_os = "linux")]
    pub fn probe() -> Self {
        let uname = rustix::system::uname();
        let name = uname.nodename().to_string_lossy().into_owned();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            host_name: name,
            architecture: crate::model::architecture(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory: total(&meminfo).unwrap_or(0),
            ips: crate::net::node_ips(),
            system: NodeSystem {
                machine_id: first(&MACHINE_IDS),
                system_uuid: first(&SYSTEM_UUIDS),
                boot_id: first(&["/proc/sys/kernel/random/boot_id"]),
                kernel_version: uname.release().to_string_lossy().into_owned(),
                os_image: os_image(&first(&OS_RELEASES)),
                architecture: crate::model::architecture().to_owned(),
            },
        }
    }
}

/// What the first of these files says that says something.
#[cfg(target_os = "linux")]
fn first(paths: &[&str]) -> String {
    let said = |path: &&str| {
        let text = std::fs::read_to_string(path).ok()?;
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
        (!text.is_empty()).then_some(text)
    };
    paths.iter().find_map(said).unwrap_or_default()
}

/// The name of the system for people out of its os-release file; `Linux` without one (os-release(5)).
fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="));
    let name = name.map(|name| name.trim_matches(['"', '\'']));
    name.filter(|name| !name.is_empty()).unwrap_or("Linux").to_owned()
}

/// MemTotal of /proc/meminfo.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_called_by_its_name_for_people() {
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"), "Debian GNU/Linux 13 (trixie)");
        assert_eq!(os_image("PRETTY_NAME='One Linux'"), "One Linux");
        for nothing in ["", "PRETTY_NAME=", "NAME=x\n"] {
            assert_eq!(os_image(nothing), "Linux");
        }
    }

    #[test]
    fn the_memory_is_the_total_in_kibibytes() {
        assert_eq!(total("MemTotal:       24668180 kB\nMemFree: 1 kB\n"), Some(24_668_180));
        assert_eq!(total("nothing"), None);
    }
}
