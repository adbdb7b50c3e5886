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
    pub(super) port: u16,
    /// Host and port as they are written in an address.
    pub(super) authority: String,
    /// The repository there.
    pub(super) repository: String,
    /// The registry that a mirror stands for.
    pub(super) stands_for: Option<String>,
    /// Under what its credentials are kept.
    pub(super) account: String,
    pub(super) ca: Option<PathBuf>,
}

impl Endpoint {
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
        all.extend(of_registry(reference, entry));
    }
    all
}

fn find<'a>(settings: &'a PullSettings, name: &str) -> Option<&'a RegistryEntry> {
    settings.registries.iter().find(|entry| entry.name == name)
}

fn of_mirror(
    mirror: &Mirror,
    reference: &Reference,
    (entry, settings): (Option<&RegistryEntry>, &PullSettings),
) -> Option<Endpoint> {
    let (host, port) = host_and_port(&mirror.host)?;
    let slash = if mirror.prefix.is_empty() { "" } else { "/" };
    // A mirror with an entry of its own is trusted as that says.
    let own = find(settings, &mirror.host).or(entry);
    Some(Endpoint {
        plain: mirror.insecure,
        host: host.to_owned(),
        port: port.unwrap_or(if mirror.insecure { 80 } else { 443 }),
        authority: mirror.host.clone(),
        repository: format!("{}{slash}{}", mirror.prefix, reference.path()),
        stands_for: Some(reference.registry().to_owned()),
        account: mirror.host.clone(),
        ca: own.and_then(|entry| entry.ca.clone()),
    })
}

fn of_registry(reference: &Reference, entry: Option<&RegistryEntry>) -> Option<Endpoint> {
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
        port: port.unwrap_or(if plain { 80 } else { 443 }),
        authority: authority.to_owned(),
        repository: reference.path().to_owned(),
        stands_for: None,
        account: account.to_owned(),
        ca,
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
