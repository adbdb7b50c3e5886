//! Pods and observations for the tests of `report` and `serve`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use podwright::model::{
    AdmittedPod, AppliedPreset, ContainerKind, ContainerRecord, ContainerState, ExitRecord, ImageSource, NodeInfo,
    ObservedContainer, ObservedPod, Packed, PodKey, PodRecord, PodUid, Sandbox, SourceRef,
};
use podwright::report::{PodView, pod_object};
use serde_json::{Value, json};

pub fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

pub fn node() -> NodeInfo {
    NodeInfo {
        name: "edge-1".into(),
        ips: vec!["192.168.7.2".parse().unwrap(), "fd00::2".parse().unwrap(), "192.168.7.3".parse().unwrap()],
        ..NodeInfo::default()
    }
}

pub fn admitted(name: &str, metadata: Value, spec: Value) -> AdmittedPod {
    let mut value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    value["metadata"]["name"] = json!(name);
    value["metadata"]["namespace"] = json!("default");
    let pod: Packed<Pod> = serde_json::from_value(value).unwrap();
    AdmittedPod {
        key: PodKey::new("default", name),
        source: SourceRef { path: format!("{name}.yaml").as_str().into(), document: 0, line: 1, column: 1 },
        spec: pod.clone(),
        effective: pod,
        applied: vec![AppliedPreset { name: "allow-database".into(), version: "abc123".into() }],
        skipped: Vec::new(),
        provenance: Vec::new(),
        digest: "d".into(),
        unplaced: None,
        pending_resize: None,
    }
}

pub fn observed(pod: AdmittedPod) -> ObservedPod {
    ObservedPod {
        record: PodRecord {
            version: PodRecord::VERSION,
            key: pod.key.clone(),
            uid: PodUid("0e0c9a5e-1111-4222-8333-444455556666".into()),
            created_at: at(0),
            placed_at: None,
            revision: "r1".into(),
            realised: Arc::new(pod),
            generation: 1,
            resized_at: None,
            sandbox_attempts: 1,
            deletion: None,
            terminal: None,
            terminal_cause: None,
            data_digests: None,
            all_restarted: None,
            bounds_storage: false,
            waits: None,
        },
        sandbox: Sandbox::Ready { attempt: 0, pid: 100, started_at: at(1), ips: vec!["10.88.0.5".parse().unwrap()] },
        containers: Vec::new(),
    }
}

pub fn instance(name: &str, kind: ContainerKind, attempt: u32, state: ContainerState) -> ObservedContainer {
    ObservedContainer {
        record: ContainerRecord {
            name: name.into(),
            kind,
            attempt,
            id: format!("{name}-{attempt}"),
            sandbox_attempt: 0,
            round: 0,
            image: "nginx".into(),
            image_id: "sha256:0123".into(),
            image_source: ImageSource::Present,
            volume_images: Default::default(),
            created_at: at(2),
            boot_id: String::new(),
            backoff: SignedDuration::ZERO,
            log_path: String::new(),
            resources: None,
            data: None,
            stopping: None,
        },
        state,
        earlier_boot: false,
    }
}

pub fn running(seconds: i64) -> ContainerState {
    ContainerState::Running { pid: 200, started_at: at(seconds) }
}

pub fn exited(code: i32, seconds: i64) -> ContainerState {
    ContainerState::Exited(ExitRecord {
        exit_code: code,
        signal: (code > 128).then_some(code - 128),
        oom_killed: false,
        started_at: Some(at(seconds - 5)),
        finished_at: at(seconds),
        reason: None,
        message: None,
    })
}

pub fn object(pod: &ObservedPod, waiting: &[(&str, &str, &str)]) -> Pod {
    let waiting = waiting.iter().map(|(c, r, m)| ((*c).to_owned(), ((*r).to_owned(), (*m).to_owned()))).collect();
    pod_object(&PodView {
        admitted: None,
        observed: Some(pod),
        waiting: &waiting,
        holds: &[],
        probed: &Default::default(),
        node: &node(),
        now: at(60),
    })
}

/// A pod from a short script: `init` and `app` words are `name`, `name+` (sidecar), then `=state` where state is
/// `run`, `exit0`, `exit1`, `exit137`, `made`, `lost`, `oom`, nothing for never started; `!` marks "waits for restart". What
/// follows the policy after a `=` is the phase on record.
pub fn scripted(policy: &str, init: &str, apps: &str) -> (ObservedPod, Pod) {
    let (policy, terminal) = policy.split_once('=').map_or((policy, None), |(policy, phase)| (policy, Some(phase)));
    let mut waiting: Vec<(String, String)> = Vec::new();
    let mut containers = Vec::new();
    let mut list = |words: &str, app: bool| -> Vec<Value> {
        words
            .split_whitespace()
            .map(|word| {
                let (name, state) = word.split_once('=').unwrap_or((word, ""));
                let sidecar = name.ends_with('+');
                let name = name.trim_end_matches('+');
                let kind = match (app, sidecar) {
                    (true, _) => ContainerKind::App,
                    (false, true) => ContainerKind::Sidecar,
                    (false, false) => ContainerKind::Init,
                };
                let (state, waits) = state.strip_suffix('!').map_or((state, false), |s| (s, true));
                if waits {
                    waiting.push((name.to_owned(), "CrashLoopBackOff".to_owned()));
                }
                let state = match state {
                    "run" => Some(running(5)),
                    "made" => Some(ContainerState::Created),
                    "lost" => Some(ContainerState::Lost),
                    "oom" => match exited(137, 10) {
                        ContainerState::Exited(exit) => {
                            Some(ContainerState::Exited(ExitRecord { oom_killed: true, ..exit }))
                        }
                        other => Some(other),
                    },
                    "" => None,
                    exit => Some(exited(exit.strip_prefix("exit").unwrap().parse().unwrap(), 10)),
                };
                containers.extend(state.map(|s| instance(name, kind, 0, s)));
                let mut value = json!({"name": name, "image": "nginx"});
                if sidecar {
                    value["restartPolicy"] = json!("Always");
                }
                value
            })
            .collect()
    };
    let (init, apps) = (list(init, false), list(apps, true));
    let mut spec = json!({"restartPolicy": policy, "containers": apps});
    if !init.is_empty() {
        spec["initContainers"] = json!(init);
    }
    let mut pod = observed(admitted("web", json!({}), spec));
    containers.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    pod.containers = containers;
    pod.record.terminal = terminal.map(str::to_owned);
    let waiting: Vec<(&str, &str, &str)> = waiting.iter().map(|(n, r)| (n.as_str(), r.as_str(), "")).collect();
    let object = object(&pod, &waiting);
    (pod, object)
}
