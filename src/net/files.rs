//! The files about names that every container sees: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, byte for byte
//! as the kubelet and containerd write them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodSpec};

/// The longest host name Linux takes; Kubernetes cuts a pod's name to it.
const MAX_HOSTNAME: usize = 63;
/// The same for one that is a whole name (`fqdnMaxLen` of the kubelet).
pub const MAX_FULL_HOSTNAME: usize = 64;
/// What libc's resolver reads (`MAXNS`).
const MAX_NAMESERVERS: usize = 3;
/// Kubernetes' limits of the search list.
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
const MANAGED: &str = "# Kubernetes-managed hosts file.\n";
const MANAGED_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const LOCAL_NAMES: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                           fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// The pod's host name: `hostnameOverride` of the spec as it is, else its `hostname` or the pod's name, cut to 63 characters,
/// without `-` and `.` at its end. A hostNetwork pod has the machine's instead.
pub fn pod_hostname(spec: &PodSpec, pod_name: &str) -> String {
    if let Some(name) = &spec.hostname_override {
        return name.clone();
    }
    let name = spec.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_name);
    let cut: String = name.chars().take(MAX_HOSTNAME).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// What the kernel calls the pod: its host name, with `setHostnameAsFQDN` and a domain the whole name. One that the kernel does
/// not take is an error of the manifest.
pub fn kernel_hostname(spec: &PodSpec, pod_name: &str, domain: Option<&str>) -> String {
    let name = pod_hostname(spec, pod_name);
    let domain = domain.filter(|_| spec.set_hostname_as_fqdn == Some(true));
    let whole = domain.map(|domain| format!("{name}.{domain}"));
    whole.filter(|whole| whole.len() <= MAX_FULL_HOSTNAME).unwrap_or(name)
}

/// The content of `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// The domain of a pod with a `subdomain`: `sub.namespace.svc.cluster.local`. None with `hostnameOverride`.
pub fn pod_domain(spec: &PodSpec, namespace: &str, cluster_domain: &str) -> Option<String> {
    if spec.hostname_override.is_some() {
        return None;
    }
    let subdomain = spec.subdomain.as_deref().filter(|s| !s.is_empty())?;
    Some(format!("{subdomain}.{namespace}.svc.{cluster_domain}"))
}

/// What `/etc/hosts` is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hosts<'a> {
    pub ips: &'a [IpAddr],
    pub hostname: &'a str,
    /// From [`pod_domain`].
    pub domain: Option<&'a str>,
    pub aliases: &'a [HostAlias],
    /// The machine's own `/etc/hosts`, for a pod with hostNetwork.
    pub host_network: Option<&'a str>,
}

/// The content of `/etc/hosts`.
pub fn hosts_file(hosts: &Hosts<'_>) -> String {
    let mut out = match hosts.host_network {
        Some(node) => format!("{MANAGED_HOST_NETWORK}{node}"),
        None => format!("{MANAGED}{LOCAL_NAMES}"),
    };
    if hosts.host_network.is_none() {
        let name = hosts.hostname;
        for ip in hosts.ips {
            out.push_str(&match hosts.domain {
                Some(domain) => format!("{ip}\t{name}.{domain}\t{name}\n"),
                None => format!("{ip}\t{name}\n"),
            });
        }
    }
    if !hosts.aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in hosts.aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            out.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    out
}

/// What a pod asks of its resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns<'a> {
    /// `ClusterFirst` when `None`.
    pub policy: Option<&'a str>,
    pub host_network: bool,
    pub config: Option<&'a PodDNSConfig>,
    /// The machine's `resolv.conf`, see [`node_resolv_conf`].
    pub node: &'a str,
}

/// A pod's `resolv.conf` and what Kubernetes would say about it in events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub text: String,
    /// The pod asked for cluster DNS, which does not exist here: it got the machine's (event `MissingClusterDNS`).
    pub missing_cluster_dns: bool,
    /// Names that did not fit, one sentence per list (event `DNSConfigForming`).
    pub left_out: Vec<String>,
}

#[derive(Default)]
struct Resolver {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// The content of `/etc/resolv.conf`.
pub fn resolv_conf(dns: &Dns<'_>) -> ResolvConf {
    let policy = dns.policy.filter(|p| !p.is_empty()).unwrap_or("ClusterFirst");
    let wants_cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !dns.host_network);
    let mut resolver = if policy == "None" { Resolver::default() } else { parse(dns.node) };
    if let Some(config) = dns.config {
        extend(&mut resolver.nameservers, config.nameservers.as_deref().unwrap_or_default());
        extend(&mut resolver.searches, config.searches.as_deref().unwrap_or_default());
        for option in config.options.iter().flatten() {
            let Some(name) = option.name.as_deref().filter(|n| !n.is_empty()) else { continue };
            set_option(&mut resolver.options, name, option.value.as_deref());
        }
    }
    let left_out = limit(&mut resolver);
    ResolvConf { text: render(&resolver), missing_cluster_dns: wants_cluster, left_out }
}

/// The machine's `resolv.conf` as pods can use it: systemd-resolved writes its own address on loopback into
/// `/etc/resolv.conf`, where no pod can reach it, and the real servers into another file.
pub fn node_resolv_conf() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let text = read("/etc/resolv.conf");
    let stub = parse(&text).nameservers;
    if !stub.is_empty() && stub.iter().all(|s| s == "127.0.0.53") {
        let real = read("/run/systemd/resolve/resolv.conf");
        if !parse(&real).nameservers.is_empty() {
            return real;
        }
    }
    text
}

/// Reads a resolv.conf as the kubelet does: servers add up, the last search list wins, options are merged by name.
fn parse(text: &str) -> Resolver {
    let mut out = Resolver::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                extend(&mut out.nameservers, &words.next().map(str::to_owned).into_iter().collect::<Vec<_>>())
            }
            Some("search") => {
                out.searches = Vec::new();
                // A single dot stands for "no search list" and stays as it is.
                let names: Vec<String> =
                    words.map(|w| if w == "." { w.to_owned() } else { w.trim_end_matches('.').to_owned() }).collect();
                extend(&mut out.searches, &names);
            }
            Some("options") => {
                for word in words {
                    let (name, value) = word.split_once(':').map_or((word, None), |(n, v)| (n, Some(v)));
                    set_option(&mut out.options, name, value);
                }
            }
            _ => {}
        }
    }
    out
}

fn extend(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// Sets an option, in the place of one with the same name.
fn set_option(options: &mut Vec<String>, name: &str, value: Option<&str>) {
    let text = match value.filter(|v| !v.is_empty()) {
        Some(value) => format!("{name}:{value}"),
        None => name.to_owned(),
    };
    match options.iter_mut().find(|o| o.split(':').next() == Some(name)) {
        Some(old) => *old = text,
        None => options.push(text),
    }
}

/// Cuts the lists to what a resolver reads; the sentences are Kubernetes' own.
fn limit(resolver: &mut Resolver) -> Vec<String> {
    let mut left_out = Vec::new();
    if resolver.nameservers.len() > MAX_NAMESERVERS {
        resolver.nameservers.truncate(MAX_NAMESERVERS);
        left_out.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            resolver.nameservers.join(" ")
        ));
    }
    let before = resolver.searches.len();
    resolver.searches.truncate(MAX_SEARCHES);
    while resolver.searches.join(" ").len() > MAX_SEARCH_CHARS {
        resolver.searches.pop();
    }
    if resolver.searches.len() < before {
        left_out.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            resolver.searches.join(" ")
        ));
    }
    left_out
}

/// In the order containerd writes them.
fn render(resolver: &Resolver) -> String {
    let mut out = String::new();
    if !resolver.searches.is_empty() {
        out.push_str(&format!("search {}\n", resolver.searches.join(" ")));
    }
    for server in &resolver.nameservers {
        out.push_str(&format!("nameserver {server}\n"));
    }
    if !resolver.options.is_empty() {
        out.push_str(&format!("options {}\n", resolver.options.join(" ")));
    }
    out
}
