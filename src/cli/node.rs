//! The machine as far as it decides which pods run on it.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::CliError;
use crate::config::{self, Config};
use crate::model::{NodeInfo, well_known};

/// A machine as its configuration tells it to who is elsewhere. What it says nothing of is not guessed; `None` when it says
/// nothing of what decides which pods run there.
pub fn told(config: &Config, name: Option<&str>) -> Option<NodeInfo> {
    let name = name.or(config.node_name.as_deref()).unwrap_or_default();
    let says_nothing = name.is_empty() && config.labels.is_empty() && config.taints.is_empty() && !config.fleet;
    let says_nothing = says_nothing && config.pod_security.is_none() && config.allowed_unsafe_sysctls.is_empty();
    let says_nothing = says_nothing && config.allocatable.is_empty() && config.limit_range.is_empty();
    // What is known of none of them is empty.
    let (labels, untold): (BTreeMap<_, _>, BTreeMap<_, _>) = labels(config, name, "")
        .into_iter()
        .partition(|(key, value)| !value.is_empty() || config.labels.contains_key(key));
    (!says_nothing).then(|| NodeInfo {
        name: name.to_owned(),
        labels,
        taints: config.taints.clone(),
        fleet: config.fleet,
        pod_security: config.pod_security.unwrap_or_default(),
        limit_range: config.limit_range.clone(),
        allowed_unsafe_sysctls: config.allowed_unsafe_sysctls.clone(),
        allocatable: config.allocatable.clone(),
        untold: untold.into_keys().collect(),
        ..NodeInfo::default()
    })
}

/// The machine of a configuration that somebody named, for commands that are as good on any other machine: whose own
/// configuration says nothing here.
///
/// # Errors
/// When it cannot be read, or a name comes without one: what labels that machine has would be a guess.
pub fn named(config: Option<&Path>, name: Option<&str>) -> Result<Option<NodeInfo>, CliError> {
    match (config, name) {
        (Some(path), name) => Ok(told(&config::load(Some(path))?, name)),
        (None, None) => Ok(None),
        (None, Some(name)) => {
            let error = CliError::usage(format!("--node-name {name} does not say what labels and taints it has"));
            Err(error.hint("name its configuration with --config"))
        }
    }
}

/// This machine, as an agent on it would have it; elsewhere than on Linux what is told of it.
pub fn here(config: &Config, name: Option<&str>) -> Option<NodeInfo> {
    #[cfg(target_os = "linux")]
    return Some(super::settings::node(config, name, &super::machine::Machine::probe()));
    #[cfg(not(target_os = "linux"))]
    told(config, name)
}

/// The labels that the kubelet would give the machine, and those of the configuration, which win.
pub fn labels(config: &Config, name: &str, architecture: &str) -> BTreeMap<String, String> {
    use well_known::{ARCH, HOSTNAME, OLD_ARCH, OLD_OS, OS};
    let own = [(HOSTNAME, name), (OS, "linux"), (ARCH, architecture), (OLD_OS, "linux"), (OLD_ARCH, architecture)];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.into_iter().chain(config.labels.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nothing_is_guessed_of_a_machine_that_is_elsewhere() {
        assert_eq!(told(&Config::default(), None), None);
        let os = [("beta.kubernetes.io/os", "linux"), ("kubernetes.io/os", "linux")];
        let untold = |keys: &[&str]| -> BTreeSet<String> { keys.iter().map(|key| (*key).to_owned()).collect() };
        let arch = ["beta.kubernetes.io/arch", "kubernetes.io/arch"];

        let named = told(&Config::default(), Some("edge-7")).unwrap();
        assert_eq!(named.name, "edge-7");
        assert_eq!(named.labels, text(&[&os[..], &[("kubernetes.io/hostname", "edge-7")]].concat()));
        assert_eq!(named.untold, untold(&arch));

        let labels = text(&[("site", "north"), ("empty", ""), ("kubernetes.io/arch", "arm64")]);
        let config = Config { labels: labels.clone(), ..Config::default() };
        let found = told(&config, None).unwrap();
        assert_eq!((found.name.as_str(), found.fleet), ("", false));
        assert_eq!(found.labels, labels.into_iter().chain(text(&os)).collect());
        assert_eq!(found.untold, untold(&[arch[0], "kubernetes.io/hostname"]));

        // Each alone says something.
        let config = Config { node_name: Some("a".into()), ..Config::default() };
        assert_eq!(told(&config, None).map(|node| node.name), Some("a".into()));
        assert_eq!(told(&config, Some("b")).map(|node| node.name), Some("b".into()), "what was typed wins");
        assert!(told(&Config { fleet: true, ..Config::default() }, None).is_some_and(|node| node.fleet));
        let level = crate::model::PodSecurityLevel::Baseline;
        let config = Config { pod_security: Some(level), ..Config::default() };
        assert_eq!(told(&config, None).map(|node| node.pod_security), Some(level));
        let allocatable = text(&[("cpu", "2")]);
        let config = Config { allocatable: allocatable.clone(), ..Config::default() };
        assert_eq!(told(&config, None).map(|node| node.allocatable), Some(allocatable));
        let taint = crate::model::Taint { key: "a".into(), value: None, effect: "NoSchedule".into() };
        let config = Config { taints: vec![taint.clone()], ..Config::default() };
        assert_eq!(told(&config, None).map(|node| node.taints), Some(vec![taint]));
    }

    #[test]
    fn what_is_configured_wins_over_the_labels_of_every_machine() {
        let config = Config { labels: text(&[("kubernetes.io/arch", "x"), ("a", "b")]), ..Config::default() };
        let expected = [
            ("a", "b"),
            ("beta.kubernetes.io/arch", "arm64"),
            ("beta.kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "x"),
            ("kubernetes.io/hostname", "edge-7"),
            ("kubernetes.io/os", "linux"),
        ];
        assert_eq!(labels(&config, "edge-7", "arm64"), text(&expected));
    }
}
