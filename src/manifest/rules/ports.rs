//! Rules for ports.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Subject, View, containers, names, shape};
use crate::manifest::problem::{Finding, quoted};

/// A port that a pod takes on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manifest) struct HostPort {
    pub(in crate::manifest) port: i64,
    pub(in crate::manifest) protocol: String,
    /// `None` for every address; `0.0.0.0` and `::` for every one of their family.
    pub(in crate::manifest) ip: Option<IpAddr>,
    /// Whether it is taken as long as the pod runs: an init container lets go of it.
    pub(in crate::manifest) lasting: bool,
    pub(in crate::manifest) pointer: String,
}

impl HostPort {
    /// `80/TCP`, with the address when it has one.
    pub(in crate::manifest) fn shown(&self) -> String {
        let ip = self.ip.map_or_else(String::new, |ip| format!(" on {ip}"));
        format!("{}/{}{ip}", self.port, self.protocol)
    }
}

/// Ports that are taken, each with who took it first.
#[derive(Debug)]
pub(in crate::manifest) struct Taken<'p, T> {
    by_port: HashMap<(i64, &'p str), Holders<T>>,
}

#[derive(Debug)]
struct Holders<T> {
    everywhere: Option<T>,
    at: BTreeMap<IpAddr, T>,
}

/// The address that stands for all of the family.
fn all(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

impl<'p, T: Copy> Taken<'p, T> {
    pub(in crate::manifest) fn new() -> Self {
        Self { by_port: HashMap::new() }
    }

    /// Who has a port that cannot be had beside this one.
    pub(in crate::manifest) fn clash(&self, port: &'p HostPort) -> Option<T> {
        let holders = self.by_port.get(&(port.port, port.protocol.as_str()))?;
        holders.everywhere.or_else(|| match port.ip {
            Some(ip) if ip.is_unspecified() => {
                holders.at.iter().find(|(other, _)| other.is_ipv4() == ip.is_ipv4()).map(|(_, holder)| *holder)
            }
            Some(ip) => holders.at.get(&ip).or_else(|| holders.at.get(&all(ip))).copied(),
            None => holders.at.values().next().copied(),
        })
    }

    /// Takes a port, unless it is taken.
    pub(in crate::manifest) fn take(&mut self, port: &'p HostPort, holder: T) {
        let holders = self
            .by_port
            .entry((port.port, &port.protocol))
            .or_insert_with(|| Holders { everywhere: None, at: BTreeMap::new() });
        match port.ip {
            Some(ip) => drop(holders.at.entry(ip).or_insert(holder)),
            None => drop(holders.everywhere.get_or_insert(holder)),
        }
    }
}

/// The host ports of a pod. On the host's network every port is one.
pub(in crate::manifest) fn host_ports(spec: &View<'_>) -> Vec<HostPort> {
    let host_network = spec.is_true("hostNetwork");
    let mut found = Vec::new();
    for container in containers(spec) {
        let is_init = container.is_below(&["spec", "initContainers"]);
        let lasting = !is_init || container.text_of("restartPolicy") == Some("Always");
        for port in container.list("ports") {
            let number = port.integer_of("hostPort").filter(|number| *number != 0);
            let Some(number) = number.or_else(|| port.integer_of("containerPort").filter(|_| host_network)) else {
                continue;
            };
            let ip = port.text_of("hostIP").and_then(|ip| ip.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical());
            found.push(HostPort {
                port: number,
                protocol: port.text_of("protocol").unwrap_or("TCP").to_owned(),
                ip,
                lasting,
                pointer: port.get("hostPort").as_ref().unwrap_or(&port).pointer(),
            });
        }
    }
    found
}

/// Names of ports are unique within their container, addresses are addresses.
pub(super) fn names(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let mut seen = BTreeMap::new();
        for port in container.list("ports") {
            if let Some(name) = port.get("name").filter(|name| name.text() != Some("")) {
                shape(&name, "the port name", names::port_name, out);
                if let Some(text) = name.text()
                    && seen.insert(text, ()).is_some()
                {
                    out.push(name.error("duplicate-name", format!("port name {} is already used", quoted(text))));
                }
            }
            let ip = port.get("hostIP").filter(|ip| ip.text() != Some(""));
            if let Some(ip) = ip
                && let Some(text) = ip.text().filter(|text| text.parse::<IpAddr>().is_err())
            {
                out.push(ip.error("address", format!("{} is no IP address", quoted(text))));
            }
        }
    }
}

/// Containers of a pod share one network: a port that two of them name can be had by one alone. Kubernetes warns, for it
/// cannot know who listens. Init containers are over by then.
pub(super) fn named_twice(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let mut seen: BTreeMap<(i64, &str), String> = BTreeMap::new();
    for container in containers(&spec) {
        let is_init = container.is_below(&["spec", "initContainers"]);
        for port in container.list("ports") {
            if port.has("hostIP") && port.integer_of("hostPort").unwrap_or(0) == 0 {
                let at = port.get("hostIP").unwrap_or_else(|| port.clone());
                let message = "`hostIP` without `hostPort` says nothing";
                let help = "remove it, or add `hostPort`";
                out.push(Finding::warning("contradiction", &at.pointer(), message).at_key().help(help));
            }
            let Some(number) = port.integer_of("containerPort") else { continue };
            if is_init && container.text_of("restartPolicy") != Some("Always") {
                continue;
            }
            let protocol = port.text_of("protocol").unwrap_or("TCP");
            let here = container.text_of("name").unwrap_or_default();
            match seen.get(&(number, protocol)) {
                Some(first) => {
                    let message = format!("port {number}/{protocol} is named by the container {first} too");
                    let pointer = port.get("containerPort").as_ref().unwrap_or(&port).pointer();
                    out.push(Finding::warning("duplicate-port", &pointer, message));
                }
                None => drop(seen.insert((number, protocol), quoted(here))),
            }
        }
    }
}

pub(super) fn in_one_pod(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let mut ports = host_ports(&spec);
    ports.retain(|port| port.lasting);
    let mut taken = Taken::new();
    for port in &ports {
        let clash = taken.clash(port);
        taken.take(port, ());
        if clash.is_some() {
            let message = format!("host port {} is already taken by this pod", port.shown());
            out.push(Finding::error("host-port", &port.pointer, message).help("choose another port"));
        }
    }
}

/// With the host's network a container listens on the machine itself: there is nothing to map.
pub(super) fn on_the_host_network(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec").filter(|spec| spec.is_true("hostNetwork")) else { return };
    for port in containers(&spec).iter().flat_map(|container| container.list("ports")) {
        let host = port.integer_of("hostPort").filter(|host| *host != 0);
        if let (Some(host), Some(inner)) = (host, port.integer_of("containerPort"))
            && host != inner
        {
            let at = port.get("hostPort").unwrap_or_else(|| port.clone());
            let message =
                format!("with `hostNetwork` the `hostPort` must equal the `containerPort` {inner}, not {host}");
            out.push(at.error("host-port", message).help("remove `hostPort`"));
        }
    }
}
