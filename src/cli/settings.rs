//! What the command line means: flags over the configuration over what the machine says. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{AgentArgs, Global, LogFormat};
use super::layout::Layout;
use super::machine::Machine;
use super::node;
use crate::config::Config;
use crate::model::{EvictionSettings, EvictionThreshold, NodeInfo, PullSettings};
use crate::shim::LogLimits;

/// How often everything is looked at again when nobody says.
const RESYNC: Duration = Duration::from_secs(60);
/// How many pods a node takes by default, as the kubelet has it.
const PODS: u32 = 110;

/// Everything a command that runs pods needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub layout: Layout,
    pub node: NodeInfo,
    pub subnet: Option<String>,
    pub ipv6_subnet: Option<String>,
    pub allow_host_image: bool,
    /// What pods on the host image must not see, besides podwright's own directories.
    pub covered: Vec<PathBuf>,
    pub log_limits: LogLimits,
    /// Processes of a pod; `None` for no limit.
    pub pod_pids_limit: Option<u32>,
    /// The first user id of pods with `hostUsers: false`; `None` for the default.
    pub first_user_id: Option<u32>,
    /// `None` switches the resync off.
    pub resync: Option<Duration>,
    /// `None` for status.yaml in the directory of manifests.
    pub status_file: Option<PathBuf>,
    pub log_format: LogFormat,
    pub verbose: u8,
    pub pull: PullSettings,
}

/// What was typed, as far as settings go.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    pub global: &'a Global,
    /// Of the commands that have them.
    pub agent: Option<&'a AgentArgs>,
    pub resync: Option<Duration>,
}

/// Works the settings out. Relative paths count from `current`.
pub fn settings(typed: Typed<'_>, config: &Config, machine: &Machine, current: &Path) -> Settings {
    let Typed { global, agent, resync } = typed;
    let flag = |pick: fn(&AgentArgs) -> Option<String>| agent.and_then(pick);
    let resync = resync.or(config.resync).unwrap_or(RESYNC);
    let status_file = agent.and_then(|a| a.status_file.clone()).or_else(|| config.status_file.clone());
    Settings {
        layout: Layout::new(global.root.as_deref(), current),
        node: node(config, flag(|a| a.node_name.clone()).as_deref(), machine),
        subnet: flag(|a| a.subnet.clone()).or_else(|| config.subnet.clone()),
        ipv6_subnet: flag(|a| a.ipv6_subnet.clone()).or_else(|| config.ipv6_subnet.clone()),
        allow_host_image: agent.is_some_and(|a| a.allow_host_image) || config.allow_host_image,
        covered: config.covered_paths.clone(),
        log_limits: log_limits(config),
        pod_pids_limit: config.pod_pids_limit,
        first_user_id: config.first_user_id,
        resync: (!resync.is_zero()).then_some(resync),
        status_file: status_file.map(|path| current.join(path)),
        log_format: agent.and_then(|a| a.log_format).or(config.log_format).unwrap_or_default(),
        verbose: global.verbose,
        pull: config.pull.clone(),
    }
}

/// The machine that pods run on.
pub fn node(config: &Config, name: Option<&str>, machine: &Machine) -> NodeInfo {
    let name = name.or(config.node_name.as_deref()).map_or_else(|| machine.host_name.to_lowercase(), str::to_owned);
    NodeInfo {
        labels: node::labels(config, &name, machine.architecture),
        taints: config.taints.clone(),
        fleet: config.fleet,
        pod_security: config.pod_security.unwrap_or_default(),
        limit_range: config.limit_range.clone(),
        allowed_unsafe_sysctls: config.allowed_unsafe_sysctls.clone(),
        ips: machine.ips.clone(),
        allocatable: offered(machine).into_iter().chain(config.allocatable.clone()).collect(),
        capacity: offered(machine),
        system: machine.system.clone(),
        issuer: config.service_account_issuer.clone().unwrap_or_default(),
        eviction: eviction(config),
        name,
        ..NodeInfo::default()
    }
}

/// The thresholds of the configuration, and the kubelet's where it asks for them. By itself a machine has none: what runs on a
/// disk that is nearly full is not ended by another version of this program.
fn eviction(config: &Config) -> EvictionSettings {
    let default = EvictionSettings::of_the_kubelet();
    let mut hard = config.eviction_hard.clone();
    for threshold in default.hard.into_iter().filter(|_| config.merge_eviction) {
        hard.entry(threshold.signal).or_insert(Some(threshold.value));
    }
    let is_on = |(signal, value)| Some(EvictionThreshold { signal, value: value? });
    EvictionSettings {
        hard: hard.into_iter().filter_map(is_on).collect(),
        transition: config.eviction_transition.unwrap_or(default.transition),
    }
}

fn log_limits(config: &Config) -> LogLimits {
    let default = LogLimits::default();
    LogLimits {
        max_size: config.container_log_max_size.unwrap_or(default.max_size),
        max_files: config.container_log_max_files.unwrap_or(default.max_files),
    }
}

/// What the machine has at all. Pods may have all of it, unless the configuration says otherwise.
fn offered(machine: &Machine) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("pods".to_owned(), PODS.to_string())]);
    if machine.cpus > 0 {
        all.insert("cpu".to_owned(), machine.cpus.to_string());
    }
    if machine.memory > 0 {
        all.insert("memory".to_owned(), format!("{}Ki", machine.memory));
    }
    all
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Verb};
    use super::*;
    use crate::model::{EvictionSignal, ThresholdValue};

    fn machine() -> Machine {
        let ips = vec!["192.0.2.7".parse().unwrap()];
        Machine { host_name: "Edge-7".into(), architecture: "arm64", cpus: 2, memory: 1024, ips, ..Machine::default() }
    }

    fn of(args: &str, config: &Config) -> Settings {
        let cli = Cli::try_parse_from(args.split_whitespace()).unwrap();
        let (agent, resync) = match &cli.verb {
            Verb::Run(run) => (Some(&run.agent), run.resync),
            Verb::Apply(apply) => (Some(&apply.agent), None),
            _ => (None, None),
        };
        settings(Typed { global: &cli.global, agent, resync }, config, &machine(), Path::new("/here"))
    }

    #[test]
    fn without_flags_and_configuration_the_machine_decides() {
        let found = of("podwright run d", &Config::default());
        assert_eq!(found.layout, Layout::new(None, Path::new("/")));
        assert_eq!(found.node.name, "edge-7");
        assert_eq!(found.node.ips, machine().ips);
        let expected = [("cpu", "2"), ("memory", "1024Ki"), ("pods", "110")];
        assert_eq!(found.node.allocatable, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!((found.subnet, found.allow_host_image), (None, false));
        assert_eq!((found.resync, found.status_file), (Some(RESYNC), None));
        assert_eq!((found.log_format, found.verbose), (LogFormat::Text, 0));
        assert_eq!(found.node.eviction, EvictionSettings::default());
    }

    #[test]
    fn thresholds_are_those_of_the_configuration_and_the_kubelets_where_it_asks_for_them() {
        let mut config = Config::default();
        let kubelet = EvictionSettings::of_the_kubelet();
        let hard = |config: &Config| of("podwright run d", config).node.eviction.hard;
        assert_eq!(hard(&config), []);
        config.merge_eviction = true;
        assert_eq!(hard(&config), kubelet.hard);
        // What is written holds, and so does what is switched off.
        let more = ThresholdValue::Quantity { amount: 1 << 30, shown: "1Gi".into() };
        config.eviction_hard.insert(EvictionSignal::MemoryAvailable, Some(more.clone()));
        config.eviction_hard.insert(EvictionSignal::ImagefsAvailable, None);
        let own = EvictionThreshold { signal: EvictionSignal::MemoryAvailable, value: more };
        let rest = kubelet.hard.iter().skip(1).filter(|hard| hard.signal != EvictionSignal::ImagefsAvailable);
        assert_eq!(hard(&config), [&own].into_iter().chain(rest).cloned().collect::<Vec<_>>());
        config.merge_eviction = false;
        assert_eq!(hard(&config), [own]);
        config.eviction_transition = Some(Duration::from_secs(7));
        assert_eq!(of("podwright run d", &config).node.eviction.transition, Duration::from_secs(7));
    }

    #[test]
    fn flags_win_over_the_configuration_and_it_wins_over_the_machine() {
        let config = Config {
            node_name: Some("configured".into()),
            subnet: Some("10.1.0.0/24".into()),
            resync: Some(Duration::ZERO),
            status_file: Some("/var/status.yaml".into()),
            log_format: Some(LogFormat::Json),
            allow_host_image: true,
            covered_paths: vec!["/etc/ssl/private".into()],
            allocatable: [("memory".to_owned(), "1Gi".to_owned())].into(),
            ..Config::default()
        };
        let found = of("podwright run d", &config);
        assert_eq!((found.node.name.as_str(), found.subnet.as_deref()), ("configured", Some("10.1.0.0/24")));
        assert_eq!((found.resync, found.log_format, found.allow_host_image), (None, LogFormat::Json, true));
        assert_eq!(found.status_file.as_deref(), Some(Path::new("/var/status.yaml")));
        assert_eq!(found.covered, config.covered_paths);
        let memory = found.node.allocatable.get("memory").map(String::as_str);
        assert_eq!((memory, found.node.allocatable.get("cpu").map(String::as_str)), (Some("1Gi"), Some("2")));

        let typed = "podwright run d --node-name typed --subnet 10.2.0.0/24 --resync 5s --status-file out.yaml \
                     --log-format text --root pods -vv";
        let found = of(typed, &config);
        assert_eq!((found.node.name.as_str(), found.subnet.as_deref()), ("typed", Some("10.2.0.0/24")));
        assert_eq!((found.resync, found.log_format), (Some(Duration::from_secs(5)), LogFormat::Text));
        assert_eq!(found.status_file.as_deref(), Some(Path::new("/here/out.yaml")));
        assert_eq!((found.layout.run.as_path(), found.verbose), (Path::new("/here/pods/run"), 2));
    }

    #[test]
    fn commands_without_agent_flags_have_the_configuration_alone() {
        let config = Config { allow_host_image: true, ..Config::default() };
        assert!(of("podwright down", &config).allow_host_image);
        assert!(!of("podwright down", &Config::default()).allow_host_image);
    }
}
