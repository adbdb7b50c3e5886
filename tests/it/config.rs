//! The configuration file.

use std::path::Path;
use std::time::Duration;

use podwright::cli::args::LogFormat;
use podwright::config::{Config, ConfigError, load, parse};
use podwright::model::{
    EvictionSignal, LimitRangeItem, LimitType, Mirror, PodSecurityLevel, PullSettings, RegistryEntry, Taint,
    ThresholdValue,
};
use serde_json::Value;

const FULL: &str = r#"
apiVersion: podwright.dev/v1alpha1
kind: Config
nodeName: edge-7
labels:
  site: north
  example.com/role: ""
taints:
- key: dedicated
  value: line-3
  effect: NoSchedule
- {key: example.com/x, effect: PreferNoSchedule}
allocatable:
  cpu: 2
  memory: 4Gi
  example.com/gpu: "1"
subnet: 10.88.0.0/24
ipv6Subnet: fd3b:72c5:9e10::/64
allowHostImage: true
coveredPaths: [/etc/ssl/private, /root]
containerLogMaxSize: 20Mi
containerLogMaxFiles: 3
podPidsLimit: 1024
firstUserId: 131072
serviceAccountIssuer: https://edge-7.example/pods
evictionHard: {pid.available: 1000, memory.available: 200Mi, nodefs.available: "7.5%", imagefs.available: 0%}
mergeDefaultEvictionSettings: true
evictionPressureTransitionPeriod: 2m
resync: 90s
statusFile: /var/status.yaml
logFormat: json
registries:
- name: docker.io
  mirrors: ["https://mirror.example/hub", "http://10.0.0.5:5000"]
  mirrorsOnly: true
- {name: "registry.example:5000", ca: /etc/ssl/registry.pem}
- {name: "10.0.0.6:5000", insecure: true}
- name: "*"
registryCredentials: /etc/podwright/docker.json
offlinePull: strict
placement: fleet
podSecurity: baseline
allowedUnsafeSysctls: [net.core.somaxconn, "kernel.msg*"]
limitRange:
  limits:
  - {type: Container, default: {cpu: 1}, defaultRequest: {cpu: 100m}, min: {memory: 16Mi}, max: {memory: 1Gi}}
  - {type: Pod, max: {cpu: 4}, maxLimitRequestRatio: {cpu: "10"}}
"#;

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/config.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether the schema takes a document, as an editor would see it.
fn fits(text: &str) -> bool {
    let value: Value = serde_yaml::from_str(text).unwrap();
    jsonschema::validator_for(&schema()).unwrap().is_valid(&value)
}

/// What [`FULL`] says about pulling.
fn pull() -> PullSettings {
    let entry = |name: &str| RegistryEntry { name: name.into(), ..RegistryEntry::default() };
    let mirrors = ["https://mirror.example/hub", "http://10.0.0.5:5000"].map(|m| Mirror::parse(m).unwrap()).to_vec();
    let registries = vec![
        RegistryEntry { mirrors, mirrors_only: true, ..entry("docker.io") },
        RegistryEntry { ca: Some("/etc/ssl/registry.pem".into()), ..entry("registry.example:5000") },
        RegistryEntry { insecure: true, ..entry("10.0.0.6:5000") },
        entry("*"),
    ];
    PullSettings { registries, credentials: Some("/etc/podwright/docker.json".into()), strict_offline: true }
}

/// What [`FULL`] says of amounts, with what follows from it.
fn limit_range() -> Vec<LimitRangeItem> {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let container = LimitRangeItem {
        default: text(&[("cpu", "1"), ("memory", "1Gi")]),
        default_request: text(&[("cpu", "100m"), ("memory", "1Gi")]),
        min: text(&[("memory", "16Mi")]),
        max: text(&[("memory", "1Gi")]),
        ..LimitRangeItem::new(LimitType::Container)
    };
    let pod = LimitRangeItem {
        max: text(&[("cpu", "4")]),
        max_limit_request_ratio: text(&[("cpu", "10")]),
        ..LimitRangeItem::new(LimitType::Pod)
    };
    vec![container, pod]
}

#[test]
fn every_key_is_read() {
    let config = parse("c.yaml", FULL.as_bytes()).unwrap();
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let taint = |key: &str, value: Option<&str>, effect: &str| Taint {
        key: key.into(),
        value: value.map(str::to_owned),
        effect: effect.into(),
    };
    let amount = |amount, shown: &str| ThresholdValue::Quantity { amount, shown: shown.into() };
    let thresholds = [
        (EvictionSignal::MemoryAvailable, Some(amount(200 << 20, "200Mi"))),
        (EvictionSignal::NodefsAvailable, Some(ThresholdValue::Part(75_000_000))),
        (EvictionSignal::ImagefsAvailable, None),
        (EvictionSignal::PidAvailable, Some(amount(1000, "1k"))),
    ];
    let expected = Config {
        node_name: Some("edge-7".into()),
        labels: text(&[("site", "north"), ("example.com/role", "")]),
        taints: vec![
            taint("dedicated", Some("line-3"), "NoSchedule"),
            taint("example.com/x", None, "PreferNoSchedule"),
        ],
        fleet: true,
        pod_security: Some(PodSecurityLevel::Baseline),
        allowed_unsafe_sysctls: vec!["net.core.somaxconn".into(), "kernel.msg*".into()],
        allocatable: text(&[("cpu", "2"), ("memory", "4Gi"), ("example.com/gpu", "1")]),
        limit_range: limit_range(),
        subnet: Some("10.88.0.0/24".into()),
        ipv6_subnet: Some("fd3b:72c5:9e10::/64".into()),
        allow_host_image: true,
        covered_paths: vec!["/etc/ssl/private".into(), "/root".into()],
        container_log_max_size: Some(20 << 20),
        container_log_max_files: Some(3),
        pod_pids_limit: Some(1024),
        first_user_id: Some(131_072),
        service_account_issuer: Some("https://edge-7.example/pods".into()),
        eviction_hard: thresholds.into(),
        merge_eviction: true,
        eviction_transition: Some(Duration::from_secs(120)),
        resync: Some(Duration::from_secs(90)),
        status_file: Some("/var/status.yaml".into()),
        log_format: Some(LogFormat::Json),
        pull: pull(),
    };
    assert_eq!(config, expected);
    assert!(fits(FULL));
}

#[test]
fn the_schema_has_the_keys_that_are_read_and_no_other() {
    let document: Value = serde_yaml::from_str(FULL).unwrap();
    let mut read: Vec<&String> = document.as_object().unwrap().keys().collect();
    let schema = schema();
    let mut named: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    read.sort();
    named.sort();
    assert_eq!(read, named);
}

#[test]
fn what_is_wrong_is_told_by_the_reader_and_by_the_schema() {
    for (text, message, help) in [
        ("nodename: x", "unknown key `nodename`", "did you mean `nodeName`?"),
        ("anything: x", "unknown key `anything`", "the keys are apiVersion, kind,"),
        ("apiVersion: v1", "it must be `podwright.dev/v1alpha1`", "leave the line out"),
        ("kind: Pod", "it must be `Config`", "leave the line out"),
        ("nodeName: Edge_7", "`Edge_7` is no name for a node", "lower-case"),
        ("nodeName: 7", "expected text, found a number", "quote it"),
        ("labels: [a]", "expected a mapping, found a list", "key: value"),
        ("labels: {a: -x}", "`-x` is no value of a label", "letters"),
        ("labels: {a: true}", "expected text, found a boolean", "quote it"),
        ("labels: {a: 1}", "expected text, found a number", "quote it"),
        ("labels: {-a: x}", "`-a` is no name of a label", "letters"),
        ("taints: {a: b}", "expected a list, found a mapping", "- "),
        ("taints: [a]", "expected a mapping, found text", "effect"),
        ("taints: [{key: a}]", "missing key `effect`", "add `effect`"),
        ("taints: [{effect: NoSchedule}]", "missing key `key`", "add `key`"),
        ("taints: [{key: a, effect: Never}]", "`Never` is no effect of a taint", "NoSchedule"),
        ("taints: [{key: a, effect: noexecute}]", "`noexecute` is no effect of a taint", "NoExecute"),
        ("placement: fleets", "it must be `pending` or `fleet`", "one of the two"),
        ("taints: [{key: a, effect: NoSchedule, valeu: b}]", "unknown key `valeu`", "did you mean `value`?"),
        ("allocatable: {memory: 4GB}", "`4GB` is no quantity", "4Gi"),
        ("allocatable: {cpu: 1.5.2}", "`1.5.2` is no quantity", "500m"),
        ("allocatable: {cpu: -1}", "expected text, found a number", "quote it"),
        ("subnet: 10", "expected text, found a number", "quote it"),
        ("allowHostImage: 'yes'", "expected true or false, found text", "without quotes"),
        ("coveredPaths: /root", "expected a list, found text", "- "),
        ("coveredPaths: [root]", "`root` is no absolute path", "`/`"),
        ("containerLogMaxSize: ten", "`ten` is no quantity", "4Gi"),
        ("containerLogMaxSize: 1024", "`1024` is no size for a log", "from 64Ki to 1Ti"),
        ("evictionHard: [a]", "expected a mapping, found a list", "memory.available: 100Mi"),
        ("evictionHard: {memory.availble: 1Gi}", "unknown key `memory.availble`", "did you mean `memory.available`?"),
        ("evictionHard: {memory.available: much}", "`much` is no threshold", "a quantity above zero"),
        ("evictionHard: {nodefs.available: 101%}", "`101%` is no threshold", "from 0% to 100%"),
        ("evictionHard: {nodefs.available: true}", "expected text, found a boolean", "quote it"),
        ("containerLogMaxFiles: 1", "it must be a whole number from 2 to 64", "5 is the default"),
        ("containerLogMaxFiles: '5'", "it must be a whole number from 2 to 64", "5 is the default"),
        ("podPidsLimit: -1", "it must be a whole number from 16 to 4194304", "there is no limit"),
        ("firstUserId: 0", "it must be a whole number from 65536 to 4294836224", "the machine's"),
        ("firstUserId: 4294901760", "it must be a whole number from 65536 to 4294836224", "1879048192"),
        ("firstUserId: 100000", "it must be a multiple of 65536", "1879048192"),
        ("serviceAccountIssuer: http://a", "`http://a` is no https:// URL", "https://edge-7.example"),
        ("serviceAccountIssuer: https://a?b", "`https://a?b` is no https:// URL", "without query"),
        ("statusFile: out.yaml", "`out.yaml` is no absolute path", "`/`"),
        ("logFormat: yaml", "it must be `text` or `json`", "one of the two"),
        ("mirrors: [{registry: a}]", "unknown key `mirrors`", "entry of `registries`"),
        ("registries: a", "expected a list, found text", "- "),
        ("registries: [docker.io]", "expected a mapping, found text", "name"),
        ("registries: [{mirrors: []}]", "missing key `name`", "\"*\""),
        ("registries: [{name: docker.io/library}]", "`docker.io/library` is no name of a registry", "docker.io"),
        ("registries: [{name: hub}]", "`hub` is no name of a registry", "docker.io"),
        ("registries: [{name: a.b, mirror: []}]", "unknown key `mirror`", "did you mean `mirrors`?"),
        ("registries: [{name: a.b, mirrors: [m.example]}]", "`m.example` is no mirror: it begins neither", "https://"),
        (
            "registries: [{name: a.b, mirrors: ['https://u:p@m.example']}]",
            "`https://u:p@m.example` is no mirror: its host",
            "https://",
        ),
        ("registries: [{name: a.b, insecure: 1}]", "expected true or false, found a number", "without quotes"),
        ("registries: [{name: a.b, ca: ca.pem}]", "`ca.pem` is no absolute path", "`/`"),
        ("registries: [{name: '*', insecure: true}]", "not every registry can be insecure", "one by one"),
        ("registryCredentials: config.json", "`config.json` is no absolute path", "`/`"),
        ("offlinePull: never", "it must be `present` or `strict`", "one of the two"),
        ("- a", "the configuration is a mapping of keys", "nodeName"),
    ] {
        is_refused(text, message, help);
    }
}

/// What a text is refused with, by the reader, and that the schema does not take it either.
fn is_refused(text: &str, message: &str, help: &str) {
    let errors = parse("c.yaml", text.as_bytes()).unwrap_err();
    let [error] = errors.0.as_slice() else { panic!("{text}: {errors:?}") };
    assert!(error.message.starts_with(message), "{text}: {}", error.message);
    assert!(error.help.as_ref().is_some_and(|h| h.contains(help)), "{text}: {:?}", error.help);
    assert!(!fits(text), "the schema takes {text}");
}

#[test]
fn what_pods_may_ask_of_a_machine_is_checked_by_both() {
    for (text, message, help) in [
        ("allowedUnsafeSysctls: net.*", "expected a list, found text", "- "),
        ("allowedUnsafeSysctls: ['net core']", "`net core` is no name of a sysctl", "kernel.msg*"),
        ("allowedUnsafeSysctls: ['*']", "`*` is no name of a sysctl", "kernel.msg*"),
        ("allowedUnsafeSysctls: [vm.swappiness]", "`vm.swappiness` is the whole machine's", "fs.mqueue."),
        ("podSecurity: Baseline", "it must be `privileged`, `baseline` or `restricted`", "one of them"),
        ("podSecurity: true", "it must be `privileged`, `baseline` or `restricted`", "one of them"),
        ("limitRange: []", "expected a mapping, found a list", "LimitRange"),
        ("limitRange: {limit: []}", "unknown key `limit`", "did you mean `limits`?"),
        ("limitRange: {limits: {}}", "expected a list, found a mapping", "- "),
        ("limitRange: {limits: [a]}", "expected a mapping, found text", "type"),
        ("limitRange: {limits: [{max: {cpu: 1}}]}", "missing key `type`", "type: Container"),
        ("limitRange: {limits: [{type: Node}]}", "it must be `Container` or `Pod`", "one of the two"),
        ("limitRange: {limits: [{type: Pod, maximum: {}}]}", "unknown key `maximum`", "the keys are type"),
        (
            "limitRange: {limits: [{type: Container, max: {hugepages-2Mi: 2Mi}}]}",
            "no container here is given `hugepages-2Mi`",
            "cpu, memory",
        ),
        ("limitRange: {limits: [{type: Pod, max: {cpu: one}}]}", "`one` is no quantity", "500m"),
        (
            "limitRange: {limits: [{type: Pod, default: {cpu: 1}}]}",
            "cpu: may not be specified when `type` is 'Pod'",
            "correct one",
        ),
    ] {
        is_refused(text, message, help);
    }
}

#[test]
fn what_a_schema_cannot_say_is_told_too() {
    for (text, message) in [
        ("resync: soon", "'soon' is no duration"),
        ("evictionPressureTransitionPeriod: soon", "'soon' is no duration"),
        (
            "evictionPressureTransitionPeriod: 5m",
            "`evictionPressureTransitionPeriod` has no effect: no threshold is set",
        ),
        (
            "evictionPressureTransitionPeriod: 5m\nevictionHard: {nodefs.available: 0%}",
            "`evictionPressureTransitionPeriod` has no effect",
        ),
        ("evictionHard: {memory.available: '0'}", "`0` is no threshold"),
        ("containerLogMaxSize: 63Ki", "`63Ki` is no size for a log"),
        ("containerLogMaxSize: 2Ti", "`2Ti` is no size for a log"),
        ("subnet: 10.88.0.0", "`10.88.0.0` is no subnet: the `/` is missing"),
        ("subnet: 10.88.0.0/33", "`10.88.0.0/33` is no subnet: the prefix length"),
        ("subnet: 10.88.0.1/24", "`10.88.0.1/24` is no subnet: bits behind the prefix are set"),
        ("subnet: fd00::/64", "`fd00::/64` is no subnet: it is no IPv4"),
        ("ipv6Subnet: \"fd00::\"", "`fd00::` is no IPv6 subnet: the `/` is missing"),
        ("ipv6Subnet: 10.88.0.0/64", "`10.88.0.0/64` is no IPv6 subnet: it is no IPv6 address"),
        ("ipv6Subnet: fd00::/48", "`fd00::/48` is no IPv6 subnet: the prefix length is not 64"),
        ("ipv6Subnet: fd00::1/64", "`fd00::1/64` is no IPv6 subnet: bits behind the prefix are set"),
        ("ipv6Subnet: fe80::/64", "`fe80::/64` is no IPv6 subnet: it is neither unique local"),
        ("registries: [{name: index.docker.io}]", "`index.docker.io` is called docker.io here"),
        ("registries: [{name: a.b}, {name: a.b}]", "there is another entry for `a.b`"),
        (
            "limitRange: {limits: [{type: Container, min: {cpu: 2}, max: {cpu: 1}}]}",
            "cpu: min value 2 is greater than max value 1",
        ),
        (
            "limitRange: {limits: [{type: Container, defaultRequest: {cpu: 2}, max: {cpu: 1}}]}",
            "cpu: default request value 2 is greater than max value 1",
        ),
        ("nodeName: [", ""),
        ("nodeName: a\nnodeName: b", ""),
    ] {
        let errors = parse("c.yaml", text.as_bytes()).unwrap_err();
        assert!(errors.0[0].message.starts_with(message), "{text}: {errors:?}");
    }
}

#[test]
fn all_errors_come_at_once_each_at_its_place() {
    let text = "nodename: x\nlabels:\n  a: b\n  c: -d\nresync: soon\n";
    let errors = parse("/etc/c.yaml", text.as_bytes()).unwrap_err();
    let places: Vec<String> = errors.0.iter().map(|d| d.place.as_ref().unwrap().at.to_string()).collect();
    assert_eq!(places, ["/etc/c.yaml:1:1", "/etc/c.yaml:4:6", "/etc/c.yaml:5:9"]);
    assert_eq!(&*errors.0[1].place.as_ref().unwrap().text, "  c: -d");
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "# nothing\n", "---\n"] {
        assert_eq!(parse("c.yaml", text.as_bytes()).unwrap(), Config::default(), "{text:?}");
    }
    assert_eq!(parse("c.yaml", b"ipv6Subnet: none").unwrap().ipv6_subnet.as_deref(), Some("none"));
    assert_eq!(parse("c.yaml", b"resync: 0").unwrap().resync, Some(Duration::ZERO));
}

#[test]
fn a_named_file_must_be_there() {
    let missing = Path::new("/nonexistent/config.yaml");
    let Err(ConfigError::Unreadable(error)) = load(Some(missing)) else { panic!("a missing file was read") };
    assert!(error.to_string().contains("/nonexistent/config.yaml"), "{error}");
}
