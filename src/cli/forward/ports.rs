//! Which ports and addresses `port-forward` was asked for. The words of what is wrong are kubectl's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use super::super::error::CliError;

/// One port here and its counterpart in the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    /// 0 until a free one was chosen.
    pub(super) local: u16,
    pub(super) remote: u16,
}

/// Where is listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// One of those that `localhost` stands for: another one will do as well.
    pub(super) optional: bool,
}

/// Reads `[LOCAL:]REMOTE`, with the names that the pod's containers give their ports.
pub(super) fn forwards(words: &[String], pod: &Pod) -> Result<Vec<Forward>, CliError> {
    words.iter().map(|word| forward(word, pod)).collect::<Result<_, _>>().map_err(CliError::new)
}

fn forward(word: &str, pod: &Pod) -> Result<Forward, String> {
    let (local, remote) = match word.split(':').collect::<Vec<_>>()[..] {
        [both] => (None, both),
        [local, remote] => (Some(local), remote),
        _ => return Err(format!("invalid port format '{word}'")),
    };
    if remote.is_empty() {
        return Err("remote port cannot be empty".to_owned());
    }
    let is_number = remote.bytes().all(|b| b.is_ascii_digit());
    let text = remote;
    let remote = match is_number {
        true => number("remote", text)?,
        false => named(text, pod)?,
    };
    if remote == 0 {
        return Err("remote port must be > 0".to_owned());
    }
    let protocols = ports(pod).filter(|p| p.container_port == i32::from(remote));
    let mut protocols = protocols.map(|p| p.protocol.as_deref().unwrap_or("TCP")).peekable();
    if protocols.peek().is_some() && protocols.all(|p| p == "UDP") {
        return Err(format!("UDP protocol is not supported for {text}"));
    }
    let local = match local {
        None => remote,
        Some("") => 0,
        Some(local) => number("local", local)?,
    };
    Ok(Forward { local, remote })
}

fn number(which: &str, text: &str) -> Result<u16, String> {
    let wrong = || format!("error parsing {which} port '{text}': it is no number from 0 to 65535");
    text.parse().ok().filter(|_| !text.starts_with('+')).ok_or_else(wrong)
}

fn ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.as_ref();
    let apps = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    apps.iter().chain(init).flat_map(|c: &Container| c.ports.iter().flatten())
}

fn named(name: &str, pod: &Pod) -> Result<u16, String> {
    let found = ports(pod).find(|p| p.name.as_deref() == Some(name));
    let found = found.and_then(|p| u16::try_from(p.container_port).ok());
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    found.ok_or_else(|| format!("Pod '{pod}' does not have a named port '{name}'"))
}

/// Reads the addresses of `--address`; `localhost` stands for both loopback addresses.
pub(super) fn addresses(words: &[String]) -> Result<Vec<Address>, CliError> {
    let mut found: Vec<Address> = Vec::new();
    for word in words {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        match word.parse() {
            _ if word == "localhost" => found.extend(loopback.map(|ip| Address { ip, optional: true })),
            Ok(ip) => found.push(Address { ip, optional: false }),
            Err(_) => return Err(CliError::new(format!("{word} is not a valid IP"))),
        }
    }
    // An address that was named itself stays one that must be.
    found.sort_by_key(|a| (a.ip, a.optional));
    found.dedup_by_key(|a| a.ip);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let pod = json!({"metadata": {"name": "web"}, "spec": {
            "containers": [
                {"name": "a", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]},
                {"name": "b", "ports": [{"name": "dns", "containerPort": 5353, "protocol": "UDP"},
                    {"containerPort": 5353, "protocol": "TCP"}]}],
            "initContainers": [{"name": "side", "ports": [{"name": "metrics", "containerPort": 9100}]}]}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn ports_are_read_as_kubectl_reads_them() {
        for (word, expected) in [
            ("8080", Ok((8080, 8080))),
            ("8888:5000", Ok((8888, 5000))),
            (":5000", Ok((0, 5000))),
            ("0:5000", Ok((0, 5000))),
            ("http", Ok((80, 80))),
            ("8080:http", Ok((8080, 80))),
            (":metrics", Ok((0, 9100))),
            ("5353", Ok((5353, 5353))),
            ("8080:", Err("remote port cannot be empty")),
            ("", Err("remote port cannot be empty")),
            ("1:2:3", Err("invalid port format '1:2:3'")),
            ("0", Err("remote port must be > 0")),
            ("80:0", Err("remote port must be > 0")),
            ("53", Err("UDP protocol is not supported for 53")),
            ("https", Err("Pod 'web' does not have a named port 'https'")),
            ("65536", Err("error parsing remote port '65536': it is no number from 0 to 65535")),
            ("x:80", Err("error parsing local port 'x': it is no number from 0 to 65535")),
            ("+1:80", Err("error parsing local port '+1': it is no number from 0 to 65535")),
            ("-1:80", Err("error parsing local port '-1': it is no number from 0 to 65535")),
        ] {
            let expected = expected.map(|(local, remote)| Forward { local, remote }).map_err(str::to_owned);
            assert_eq!(forward(word, &pod()), expected, "{word}");
        }
    }

    #[test]
    fn addresses_are_ips_or_localhost() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let shown = |a: &Address| format!("{}{}", a.ip, if a.optional { "?" } else { "" });
            addresses(&words).map(|all| all.iter().map(shown).collect::<Vec<_>>().join(" ")).map_err(|e| e.to_string())
        };
        for (words, expected) in [
            (&["localhost"][..], Ok("127.0.0.1? ::1?")),
            (&["localhost", "127.0.0.1", "10.1.2.3"], Ok("10.1.2.3 127.0.0.1 ::1?")),
            (&["::", "0.0.0.0", "::"], Ok("0.0.0.0 ::")),
            (&["example.org"], Err("error: example.org is not a valid IP\n")),
        ] {
            assert_eq!(read(words).as_deref(), expected.map_err(|e: &str| e.to_owned()).as_deref(), "{words:?}");
        }
    }
}
