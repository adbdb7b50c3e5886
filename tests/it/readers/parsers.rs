//! Readers that stand alone: text or a file in, a value or an error out.

use std::path::Path;

use podwright::backend::LedgerFile;
use podwright::image::{Limits, Store};
use podwright::model::{Kind, PodUid, Reference, StatusDocument, quantity};
use podwright::net::files::Dns;
use podwright::net::lease::Leases;
use podwright::net::subnet::Subnet;
use podwright::net::subnet6::Subnet6;
use podwright::port::LedgerStore;
use podwright::report::{Listed, crilog, event_object, event_record};
use podwright::serve::{FieldSelector, LabelSelector, events, snapshot};
use podwright::source::read_paths;
use serde_json::{Value, json};

use super::foreign::Foreign;
use crate::support::images::{Layer, docker_archive, oci_archive};
use crate::support::is_root;

pub fn configuration() -> Foreign {
    const SAMPLE: &str = r#"{"apiVersion": "podwright.dev/v1alpha1", "kind": "Config", "nodeName": "edge-7",
        "labels": {"site": "north"}, "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
        "allocatable": {"cpu": 2, "memory": "4Gi"}, "subnet": "10.88.0.0/24", "ipv6Subnet": "none", "allowHostImage": true,
        "coveredPaths": ["/root"], "resync": "90s", "statusFile": "/var/status.yaml", "logFormat": "json"}"#;
    const WORDS: &[&str] = &[
        "apiVersion: podwright.dev/v1alpha1\n",
        "kind: Config\n",
        "nodeName: ",
        "labels: ",
        "taints:\n",
        "- ",
        "key: a\n",
        "subnet: ",
        "10.0.0.0/8",
        "/33",
        "resync: ",
        "1h",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\n",
        "  ",
        "*a",
        "&a ",
        "é",
        "---\n",
    ];
    Foreign::new(SAMPLE, WORDS, |bytes| match podwright::config::parse("c.yaml", bytes) {
        Ok(config) => format!("{config:?}"),
        Err(diagnostics) => diagnostics.0.iter().map(ToString::to_string).collect(),
    })
}

pub fn ignore_rules() -> Foreign {
    const WORDS: &[&str] = &[
        "a.yaml", "*", "**", "/", "!", "#", "\\", "[", "]", "[!a-", "{a,b", "}", "?", " ", "\r", "\n", "\u{feff}", "é",
    ];
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("sub")).unwrap();
    for name in ["a.yaml", "sub/a.yaml", "sub/b.json"] {
        std::fs::write(place.path().join(name), "{}").unwrap();
    }
    Foreign::new("*.json\n!keep.yaml\n/sub/[a-c].yaml\n", WORDS, move |bytes| {
        std::fs::write(place.path().join(".podwrightignore"), bytes).unwrap();
        format!("{:?}", read_paths(&[place.path().to_owned()]).map(|snapshot| snapshot.ignored))
    })
}

pub fn durations() -> Foreign {
    use clap::Parser as _;
    const WORDS: &[&str] = &["1", "9", "18446744073709551615", "h", "m", "s", "ms", ".", "-", "+", " ", "é", "d"];
    Foreign::text("1h30m", WORDS, |text| {
        let arguments = ["podwright".to_owned(), "down".to_owned(), format!("--timeout={text}")];
        match podwright::cli::args::Cli::try_parse_from(arguments) {
            Ok(cli) => format!("{cli:?}"),
            Err(error) => error.to_string(),
        }
    })
}

const SELECTORS: &[&str] = &[
    "a",
    "app.kubernetes.io/name",
    "=",
    "==",
    "!=",
    "!",
    " in ",
    " notin ",
    "(",
    ")",
    ",",
    " ",
    "metadata.name",
    "status.phase",
    "x",
    "é",
    "/",
    "\u{0}",
];

fn object() -> Value {
    json!({"metadata": {"name": "x", "labels": {"a": "x", "b": 1}}, "status": {"phase": "Running"}})
}

pub fn label_selectors() -> Foreign {
    Foreign::text("a=b,c!=d,e in (f,g),h notin (i),j,!k", SELECTORS, |text| match LabelSelector::parse(text) {
        Ok(selector) => format!("{selector:?} {}", selector.matches(&object())),
        Err(error) => error,
    })
}

pub fn field_selectors() -> Foreign {
    Foreign::text("metadata.name=x,status.phase!=Failed", SELECTORS, |text| {
        match FieldSelector::parse(Listed::Kind(Kind::Pod), text) {
            Ok(selector) => format!("{selector:?} {}", selector.matches(&object())),
            Err(error) => error,
        }
    })
}

pub fn image_references() -> Foreign {
    const WORDS: &[&str] = &[
        "nginx",
        "registry.example.com",
        ":5000",
        ":",
        "/",
        "@",
        "sha256:",
        "0123456789abcdef",
        "A",
        "..",
        "-",
        "_",
        "é",
        " ",
        "[::1]",
    ];
    let digest = "0".repeat(64);
    Foreign::text(&format!("registry.example.com:5000/a/b:1@sha256:{digest}"), WORDS, |text| {
        match Reference::parse(text) {
            Ok(reference) => format!("{reference:?} {reference}"),
            Err(error) => format!("{} {}", error.what, error.help),
        }
    })
}

pub fn quantities() -> Foreign {
    const WORDS: &[&str] = &[
        "1",
        "9",
        "0",
        ".",
        "-",
        "+",
        "e",
        "E",
        "Ki",
        "Ei",
        "m",
        "n",
        "k",
        "99999999999999999999999999999999999999",
        " ",
        "é",
    ];
    Foreign::text("1.5Gi", WORDS, |text| {
        let resources = json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": text, "memory": "1"}}}]});
        let class = podwright::model::qos_class(&serde_json::from_value(resources).unwrap());
        format!("{:?} {:?} {class}", quantity::of(&json!(text)), quantity::bytes(text))
    })
}

pub fn subnets() -> Foreign {
    const WORDS: &[&str] = &["10.88.0.0", "/24", "/", "0", "255", ".", "33", "-1", "::", "é"];
    Foreign::text("10.88.0.0/24", WORDS, |text| match text.parse::<Subnet>() {
        Ok(subnet) => format!("{:?} {} {:?}", subnet, subnet.gateway(), subnet.offset(subnet.gateway())),
        Err(error) => error,
    })
}

pub fn ipv6_subnets() -> Foreign {
    const WORDS: &[&str] = &["fd00:1:2:3::", "/64", "/", "0", "ffff", ":", "::", "65", "-1", "10.0.0.0", "é"];
    Foreign::text("fd00:1:2:3::/64", WORDS, |text| match text.parse::<Subnet6>() {
        Ok(subnet) => format!("{subnet:?} {} {}", subnet.gateway(), subnet.overlaps(subnet.gateway(), 128)),
        Err(error) => error,
    })
}

pub fn events() -> Foreign {
    const SAMPLE: &str = r#"{"involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "d", "name": "x",
        "fieldPath": "spec.containers{a}"}, "type": "Warning", "reason": "BackOff", "message": "m", "count": 3,
        "source": {"component": "kubelet"}, "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:06Z"}"#;
    Foreign::new(SAMPLE, &["{", "}", "1"], |bytes| {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return String::new() };
        format!("{:?}", event_record(&value))
    })
}

fn archives(sample: Vec<u8>) -> Foreign {
    let place = tempfile::tempdir().unwrap();
    let limits = Limits { layer_bytes: 1 << 20, archive_bytes: 4 << 20, entries: 200, layers: 5, ..Limits::default() };
    let store = Store::open(&place.path().join("images"), None).unwrap().with_limits(limits);
    let read = move |bytes: &[u8]| {
        // Layers keep their owners, which only root can give them.
        let said = format!("{:?}", store.load(bytes, None));
        let left: Vec<_> = std::fs::read_dir(place.path().join("images/tmp")).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(is_root() || said.starts_with("Err"), "{said}");
        said
    };
    Foreign { sample, ..Foreign::new("", &["ustar", "\0", "{", "manifest.json", "oci-layout", "\u{1f}"], read) }
        .cases(150)
}

pub fn oci_archives() -> Foreign {
    archives(oci_archive("x", &[Layer::new().dir("etc").file("etc/x", "y").tar()], json!({"User": "1:2"})))
}

pub fn docker_archives() -> Foreign {
    archives(docker_archive(&["x:1"], &[Layer::new().dir("etc").file("etc/x", "y").tar()], json!({"Env": ["A=b"]})))
}

pub fn image_index() -> Foreign {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("images");
    let store = Store::open(&path, None).unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    let sample = json!({"version": 1, "images": {"docker.io/library/x:1": {"manifest": digest, "config": digest}}});
    Foreign::new(&sample.to_string(), &["{", "}", "\"", ":", "images", "version", "1"], move |bytes| {
        let _ = &place;
        std::fs::write(path.join("index.json"), bytes).unwrap();
        format!("{:?} {:?}", store.list(), store.resolve("x:1"))
    })
}

pub fn log_lines() -> Foreign {
    const WORDS: &[&str] =
        &["2026-01-02T03:04:05.0Z", " ", "stdout", "stderr", "F", "P", ":", "\n", "text", "\u{0}", "é"];
    Foreign::new("2026-01-02T03:04:05.0Z stdout F text\n", WORDS, |bytes| {
        let mut out = Vec::new();
        let continued = bytes.split_inclusive(|b| *b == b'\n').fold(false, |continued, line| {
            assert!(crilog::parse(line).is_none_or(|entry| entry.text.len() <= line.len()));
            crilog::render(line, true, continued, &mut out)
        });
        format!("{continued} {}", String::from_utf8_lossy(&out))
    })
}

pub fn resolv_conf() -> Foreign {
    const WORDS: &[&str] =
        &["nameserver", "search", "options", "ndots:5", " ", "\t", "\n", "#", ";", "10.0.0.1", "a.b", "é"];
    Foreign::text("nameserver 10.0.0.1\nsearch a.b c\noptions ndots:5 # x\n", WORDS, |node| {
        let made = podwright::net::files::resolv_conf(&Dns {
            policy: Some("Default"),
            host_network: false,
            config: None,
            node,
        });
        made.text
    })
}

/// A file in a directory of its own, written anew for each reading.
fn file(name: &'static str, sample: &str, read: impl Fn(&Path) -> String + 'static) -> Foreign {
    let place = tempfile::tempdir().unwrap();
    Foreign::new(sample, &["{", "}", "[", "]", "\"", ":", ",", "null", "version", "1"], move |bytes| {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    })
}

pub fn ledger() -> Foreign {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sample = json!({"lastApplied": {"kind": "commit", "id": "1", "subject": "s", "branch": "main"}});
    file("ledger.json", &sample.to_string(), move |path| {
        format!("{:?}", runtime.block_on(LedgerFile::new(path).load()))
    })
}

pub fn kept_events() -> Foreign {
    const SAMPLE: &str = r#"{"version": 1, "events": [{"object": {"kind": "Pod", "namespace": "d", "name": "x"}, "uid": "u",
        "fieldPath": "spec.containers{a}", "kind": "Warning", "reason": "BackOff", "message": "m", "component": "kubelet",
        "first": "2026-01-02T03:04:05Z", "last": "2026-01-02T03:04:06Z", "count": 2}]}"#;
    file("events.json", SAMPLE, |path| match events::load(path) {
        Ok(found) => format!("{:?}", found.iter().map(|event| event_object(event, 1, "edge-1")).collect::<Vec<_>>()),
        Err(error) => error.to_string(),
    })
}

pub fn snapshot() -> Foreign {
    const SAMPLE: &str = r#"{"apiVersion": "podwright.dev/v1alpha1", "kind": "ProjectionSnapshot", "resourceVersion": 1,
        "reportedAt": "2026-01-02T03:04:05Z", "pods": [{"metadata": {"name": "a"}, "spec": {"containers": []}}]}"#;
    file("snapshot.json", SAMPLE, |path| match snapshot::load(path) {
        Ok(found) => format!("{:?}", found.map(|snapshot| snapshot.unknown_pods().len())),
        Err(error) => error.to_string(),
    })
}

/// What `status` reads.
pub const STATUS: &str = r#"{"apiVersion": "podwright.dev/v1alpha1", "kind": "Status", "node": "n", "conditions": [
    {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
    "lastAppliedRevision": "r", "errors": ["e"], "pods": [{"namespace": "d", "name": "x", "uid": "u", "phase": "Running",
    "status": "Running", "ready": "1/1", "restarts": 1, "conditions": [], "containers": [{"name": "a", "image": "i",
    "ready": true, "restartCount": 1, "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}], "skippedPresets": [
    {"name": "p", "reason": "r"}]}], "lastActions": [{"time": "2026-01-02T03:04:05Z", "pod": "d/x", "action": "create",
    "reason": "r"}]}"#;

pub fn status_document() -> Foreign {
    Foreign::new(STATUS, &["pods:", "\n", "- ", "{", "}", ": ", "*a", "&a "], |bytes| {
        format!("{:?}", serde_yaml::from_slice::<StatusDocument>(bytes))
    })
}

pub fn leases() -> Foreign {
    const SAMPLE: &str = r#"{"version": 1, "subnet": "10.88.0.0/29", "subnet6": "fd00:1::/64", "next": 5, "pods": {"u": {
        "address": "10.88.0.2", "address6": "fd00:1::2", "ports": [{"protocol": "TCP", "hostPort": 80, "hostIp": "::",
        "containerPort": 8080}]}}}"#;
    Foreign::new(SAMPLE, &["{", "}", "1"], |bytes| {
        let Ok(mut leases) = serde_json::from_slice::<Leases>(bytes) else { return String::new() };
        let uid = PodUid("new".to_owned());
        let given = (leases.allocate(&uid), leases.allocate6(&uid, leases.subnet6));
        format!("{given:?} {:?} {}", leases.forwards(), leases.addresses())
    })
}
