//! What this machine says of itself: the defaults of the settings.

use std::net::IpAddr;

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
}

impl Machine {
    /// Asks the machine. What it does not say stays empty.
    #[cfg(target_os = "linux")]
    pub fn probe() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            host_name: name,
            architecture: crate::model::architecture(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory: total(&meminfo).unwrap_or(0),
            ips: crate::net::node_ips(),
        }
    }
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
    fn the_memory_is_the_total_in_kibibytes() {
        assert_eq!(total("MemTotal:       24668180 kB\nMemFree: 1 kB\n"), Some(24_668_180));
        assert_eq!(total("nothing"), None);
    }
}
