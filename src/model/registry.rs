//! Where images are pulled from, as the configuration says it.

use std::net::IpAddr;
use std::path::PathBuf;

/// The name that stands for every registry without an entry of its own.
pub const EVERY_REGISTRY: &str = "*";

/// What the configuration says about pulling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullSettings {
    pub registries: Vec<RegistryEntry>,
    /// A file in the form of docker's config.json; `None` for the places where docker has it.
    pub credentials: Option<PathBuf>,
    /// An image that must be asked for again and cannot be, since its registry is out of reach, is an error although it is
    /// here, as Kubernetes has it.
    pub strict_offline: bool,
}

/// One registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryEntry {
    /// Host and port as in the names of images, or [`EVERY_REGISTRY`].
    pub name: String,
    /// Asked in this order before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// The registry itself is never asked.
    pub mirrors_only: bool,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    /// It is spoken to in plain HTTP.
    pub insecure: bool,
}

/// A place that has what a registry has: `http[s]://HOST[:PORT][/PREFIX]`. The prefix stands before the names of
/// repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub insecure: bool,
    /// Host and port as they are written.
    pub host: String,
    /// Without slashes at its ends; empty for none.
    pub prefix: String,
}

impl Mirror {
    /// Reads a mirror as a configuration spells it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (insecure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("it begins neither with https:// nor with http://"),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        if host_and_port(host).is_none() {
            return Err("its host is no name or address, with a port or without");
        }
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let is_part = |part: &str| !part.is_empty() && part.chars().all(is_plain) && part.chars().any(|c| c != '.');
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err("what follows its host is no beginning of the name of a repository");
        }
        Ok(Self { insecure, host: host.to_owned(), prefix: prefix.to_owned() })
    }
}

/// The host, without the brackets of an IPv6 address, and the port if there is one; `None` when it is none.
pub fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let end = |c: char| c.is_ascii_alphanumeric();
            let label =
                |l: &str| l.starts_with(end) && l.ends_with(end) && l.chars().all(|c| end(c) || c == '-' || c == '_');
            if host.len() > 253 || !host.split('.').all(label) {
                return None;
            }
            (host, rest)
        }
    };
    match rest {
        "" => Some((host, None)),
        rest => Some((host, Some(rest.strip_prefix(':')?.parse().ok()?))),
    }
}

/// Whether a host is this machine, whatever its network: `localhost` or a loopback address.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_scheme_a_host_and_a_prefix() {
        for (text, insecure, host, prefix) in [
            ("https://mirror.example", false, "mirror.example", ""),
            ("https://mirror.example/", false, "mirror.example", ""),
            ("http://127.0.0.1:5000", true, "127.0.0.1:5000", ""),
            ("http://[::1]:5000/a/b/", true, "[::1]:5000", "a/b"),
            ("https://h.example:8443/proxy-1", false, "h.example:8443", "proxy-1"),
        ] {
            let expected = Mirror { insecure, host: host.into(), prefix: prefix.into() };
            assert_eq!(Mirror::parse(text), Ok(expected), "{text}");
        }
        for text in [
            "mirror.example",
            "ftp://mirror.example",
            "https://",
            "https:///x",
            "https://user:word@mirror.example",
            "https://mirror.example:99999",
            "https://mirror.example:",
            "https://mirror.example/../x",
            "https://mirror.example/a//b",
            "https://mirror.example/A",
            "https://mirror.example/a?b",
            "https://[::1",
            "https://-x.example",
        ] {
            assert!(Mirror::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        assert!(["localhost", "127.0.0.1", "127.9.9.9", "::1"].into_iter().all(is_loopback));
        assert!(!["localhost.example", "10.0.0.1", "::2", "127.0.0.1.example"].into_iter().any(is_loopback));
    }
}
