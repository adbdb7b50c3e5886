//! Settings of the kernel that a namespace has for its own, by the names of sysctl.

use std::path::PathBuf;

/// The namespace of a pod that has a setting for its own (`node/util/sysctl` of k8s.io/component-helpers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    Ipc,
    Net,
}

impl Namespace {
    /// That of a setting by its name with dots; `None` when it is the machine's.
    pub fn of(name: &str) -> Option<Self> {
        let is_ipc =
            name == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p));
        match (is_ipc, name.starts_with("net.")) {
            (true, _) => Some(Self::Ipc),
            (false, true) => Some(Self::Net),
            (false, false) => None,
        }
    }
}

/// What the kubelet lets every pod set (`pkg/kubelet/sysctl/safe_sysctls.go` of Kubernetes 1.36).
pub const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A name with dots between its parts. Of one with slashes between them a dot is part of a part, and stands as a slash.
pub fn with_dots(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|at| name[at..].starts_with('.')) {
        return name.to_owned();
    }
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

/// The file of a setting.
pub fn file(name: &str) -> PathBuf {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let below: String = with_dots(name).chars().map(swap).collect();
    PathBuf::from("/proc/sys").join(below)
}

/// Whether one of these patterns, with `*` at the end or not, is about a name with dots.
pub fn is_among(patterns: &[String], name: &str) -> bool {
    patterns.iter().map(|pattern| with_dots(pattern)).any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    })
}

/// Whether a text is the name of a setting (`IsValidSysctlName` of Kubernetes).
pub fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = bytes.first().is_some_and(|b| inner(*b)) && bytes.last().is_some_and(|b| inner(*b));
        ends && bytes.iter().all(|b| inner(*b) || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253 && text.split(['.', '/']).all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_by_either_spelling_and_belongs_to_a_namespace() {
        for (name, dotted, place, namespace) in [
            ("net.core.somaxconn", "net.core.somaxconn", "net/core/somaxconn", Some(Namespace::Net)),
            ("net/core/somaxconn", "net.core.somaxconn", "net/core/somaxconn", Some(Namespace::Net)),
            ("net/ipv4/conf/eth0.1/mtu", "net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu", Some(Namespace::Net)),
            ("net.ipv4.conf.eth0/1.mtu", "net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu", Some(Namespace::Net)),
            ("kernel.sem", "kernel.sem", "kernel/sem", Some(Namespace::Ipc)),
            ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced", "kernel/shm_rmid_forced", Some(Namespace::Ipc)),
            ("fs.mqueue.msg_max", "fs.mqueue.msg_max", "fs/mqueue/msg_max", Some(Namespace::Ipc)),
            ("kernel.semaphores", "kernel.semaphores", "kernel/semaphores", None),
            ("vm.swappiness", "vm.swappiness", "vm/swappiness", None),
            ("kernel/domainname", "kernel.domainname", "kernel/domainname", None),
        ] {
            assert_eq!(with_dots(name), dotted);
            assert_eq!(file(name), PathBuf::from("/proc/sys").join(place), "{name}");
            assert_eq!(Namespace::of(dotted), namespace, "{name}");
        }
        assert!(SAFE.iter().all(|name| Namespace::of(name).is_some() && is_name(name)));
    }

    #[test]
    fn names_and_patterns_are_those_of_kubernetes() {
        for name in ["a", "kernel.sem", "net/ipv4/a-b_c", "a.b/c"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "a.", ".a", "a..b", "A", "a.-b", "a b", "a.*", "../x", "a/../b"] {
            assert!(!is_name(name), "{name}");
        }
        let patterns = ["kernel.msg*".to_owned(), "net/core/somaxconn".to_owned()];
        for (name, is) in [
            ("kernel.msgmax", true),
            ("kernel.sem", false),
            ("net.core.somaxconn", true),
            ("net.core.somaxconn2", false),
        ] {
            assert_eq!(is_among(&patterns, name), is, "{name}");
        }
    }
}
