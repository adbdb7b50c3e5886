//! Which places are asked for an image: the mirrors of its registry in their order, then the registry.

use std::path::PathBuf;

use crate::model::{EVERY_REGISTRY, Mirror, PullSettings, Reference, RegistryEntry, host_and_port, is_loopback};

/// Where docker.io lives.
const DOCKER_HOST: &str = "registry-1.docker.io";
const DOCKER: &str = "docker.io";

/// A repository at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::image) struct Endpoint {
    /// In plain HTTP.
    pub(super) plain: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    /// Host and port as they are written in an address.
    pub(super) authority: String,
    /// The repository there.
    pub(super) repository: String,
    /// The registry that a mirror stands for.
    pub(super) stands_for: Option<String>,
    /// Under what its credentials are kept.
    pub(super) account: String,
    pub(super) ca: Option<PathBuf>,
    /// Hosts that the configuration has spoken to in plain HTTP.
    pub(super) insecure: Vec<String>,
}

impl Endpoint {
    /// Whether a token service may be told in plain HTTP who we are: only one that is on this machine, or of a host that is
    /// spoken to so anyway. Any other one the registry could have made up.
    pub(super) fn trusts_in_plain(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let same = |other: &str| other.eq_ignore_ascii_case(host);
        self.plain && (same(&self.host) || is_loopback(host) || self.insecure.iter().any(|other| same(other)))
    }

    /// The address of a path below `/v2/REPOSITORY/`.
    pub(super) fn address(&self, path: &str) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        let stands_for = self.stands_for.as_ref().map(|name| format!("?ns={name}")).unwrap_or_default();
        format!("{scheme}://{}/v2/{}/{path}{stands_for}", self.authority, self.repository)
    }
}

/// The places of an image, the first to be asked first. Empty when its registry may not be asked and has no mirror.
pub(in crate::image) fn endpoints(reference: &Reference, settings: &PullSettings) -> Vec<Endpoint> {
    let name = reference.registry();
    let entry = find(settings, name).or_else(|| find(settings, EVERY_REGISTRY));
    let mirrors = entry.map(|entry| entry.mirrors.as_slice()).unwrap_or_default();
    let mut all: Vec<Endpoint> =
        mirrors.iter().filter_map(|mirror| of_mirror(mirror, reference, (entry, settings))).collect();
    if !entry.is_some_and(|entry| entry.mirrors_only) {
        all.extend(of_registry(reference, (entry, settings)));
    }
    all
}

fn find<'a>(settings: &'a PullSettings, name: &str) -> Option<&'a RegistryEntry> {
    settings.registries.iter().find(|entry| entry.name == name)
}

/// The hosts of entries and mirrors that are spoken to in plain HTTP.
fn insecure(settings: &PullSettings) -> Vec<String> {
    let entries = settings.registries.iter().filter(|entry| entry.insecure).map(|entry| entry.name.as_str());
    let mirrors = settings.registries.iter().flat_map(|entry| &entry.mirrors).filter(|mirror| mirror.insecure);
    let all = entries.chain(mirrors.map(|mirror| mirror.host.as_str()));
    all.filter_map(|name| Some(host_and_port(name)?.0.to_owned())).collect()
}

fn of_mirror(
    mirror: &Mirror,
    reference: &Reference,
    (entry, settings): (Option<&RegistryEntry>, &PullSettings),
) -> Option<Endpoint> {
    let (host, _) = host_and_port(&mirror.host)?;
    let slash = if mirror.prefix.is_empty() { "" } else { "/" };
    // A mirror with an entry of its own is trusted as that says.
    let own = find(settings, &mirror.host).or(entry);
    Some(Endpoint {
        plain: mirror.insecure,
        host: host.to_owned(),
        authority: mirror.host.clone(),
        repository: format!("{}{slash}{}", mirror.prefix, reference.path()),
        stands_for: Some(reference.registry().to_owned()),
        account: mirror.host.clone(),
        ca: own.and_then(|entry| entry.ca.clone()),
        insecure: insecure(settings),
    })
}

fn of_registry(reference: &Reference, (entry, settings): (Option<&RegistryEntry>, &PullSettings)) -> Option<Endpoint> {
    let account = reference.registry();
    let authority = if account == DOCKER { DOCKER_HOST } else { account };
    let (host, port) = host_and_port(authority)?;
    let ca = entry.and_then(|entry| entry.ca.clone());
    // A registry of this machine speaks plain HTTP unless something says otherwise, as containerd has it.
    let local = is_loopback(host) && ca.is_none() && port != Some(443);
    let plain = local || entry.is_some_and(|entry| entry.insecure);
    Some(Endpoint {
        plain,
        host: host.to_owned(),
        authority: authority.to_owned(),
        repository: reference.path().to_owned(),
        stands_for: None,
        account: account.to_owned(),
        ca,
        insecure: insecure(settings),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, settings: &PullSettings) -> Vec<String> {
        let all = endpoints(&Reference::parse(name).unwrap(), settings);
        all.iter().map(|e| e.address("manifests/t")).collect()
    }

    fn entry(name: &str, mirrors: &[&str]) -> RegistryEntry {
        let mirrors = mirrors.iter().map(|m| Mirror::parse(m).unwrap()).collect();
        RegistryEntry { name: name.into(), mirrors, ..RegistryEntry::default() }
    }

    #[test]
    fn without_settings_a_registry_is_asked_itself_and_in_plain_http_only_on_this_machine() {
        let none = PullSettings::default();
        for (name, address) in [
            ("nginx", "https://registry-1.docker.io/v2/library/nginx/manifests/t"),
            ("quay.example/a/b", "https://quay.example/v2/a/b/manifests/t"),
            ("10.0.0.7:5000/x", "https://10.0.0.7:5000/v2/x/manifests/t"),
            ("localhost:5000/x", "http://localhost:5000/v2/x/manifests/t"),
            ("127.0.0.1:443/x", "https://127.0.0.1:443/v2/x/manifests/t"),
            ("[::1]:5000/x", "http://[::1]:5000/v2/x/manifests/t"),
        ] {
            assert_eq!(of(name, &none), [address], "{name}");
        }
    }

    #[test]
    fn who_we_are_is_told_in_plain_http_only_where_that_was_decided() {
        let insecure = RegistryEntry { insecure: true, ..entry("tokens.example:8080", &[]) };
        let mirrored = entry("q.example", &["http://m.example:5000", "https://n.example"]);
        let settings = PullSettings { registries: vec![insecure, mirrored], ..PullSettings::default() };
        let local = &endpoints(&Reference::parse("localhost:5000/x").unwrap(), &settings)[0];
        for (host, trusted) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("Tokens.example", true),
            ("m.example", true),
            ("n.example", false),
            ("evil.example", false),
            ("10.0.0.7", false),
        ] {
            assert_eq!(local.trusts_in_plain(host), trusted, "{host}");
        }
        let tls = &endpoints(&Reference::parse("r.example/x").unwrap(), &settings)[0];
        assert!(!tls.trusts_in_plain("r.example") && !tls.trusts_in_plain("127.0.0.1"), "a step down from TLS");
    }

    #[test]
    fn mirrors_come_first_and_an_entry_of_its_own_counts_before_the_one_for_all() {
        let mut all = entry("*", &["http://127.0.0.1:5000"]);
        let insecure = RegistryEntry { insecure: true, ..entry("10.0.0.7:5000", &[]) };
        let docker = entry("docker.io", &["https://m.example/hub", "https://n.example"]);
        let registries = vec![docker, insecure, all.clone()];
        let settings = PullSettings { registries, ..PullSettings::default() };
        let expected = [
            "https://m.example/v2/hub/library/nginx/manifests/t?ns=docker.io",
            "https://n.example/v2/library/nginx/manifests/t?ns=docker.io",
            "https://registry-1.docker.io/v2/library/nginx/manifests/t",
        ];
        assert_eq!(of("nginx", &settings), expected);
        assert_eq!(of("10.0.0.7:5000/x", &settings), ["http://10.0.0.7:5000/v2/x/manifests/t"]);
        let other = ["http://127.0.0.1:5000/v2/x/manifests/t?ns=q.example", "https://q.example/v2/x/manifests/t"];
        assert_eq!(of("q.example/x", &settings), other);
        all.mirrors_only = true;
        let settings = PullSettings { registries: vec![all], ..PullSettings::default() };
        assert_eq!(of("q.example/x", &settings), other[..1]);
    }
}
