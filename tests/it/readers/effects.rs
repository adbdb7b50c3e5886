//! What was read goes on: through admission, plan and report, where a value that nobody meant must do no harm either.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use podwright::admit::admit;
use podwright::manifest::Reader;
use podwright::model::{
    BlobId, ContainerRecord, ContainerState, DataObjects, Durable, ExitRecord, NodeInfo, ObservedContainer,
    ObservedPod, PodMemory, PodRecord, Projection, Reason, Revision, RevisionKind, Sandbox, Snapshot, SourceFile,
};
use podwright::plan::{PodInput, Target, converged, fleet, pod as plan_pod};
use podwright::report::{
    PodView, ProjectInput, StatusInput, describe_pod, events_between, pod_object, pod_row, project, shown_pod,
    status_document,
};
use serde_json::{Value, json};

use super::foreign::Foreign;

/// The record of a pod.
pub const POD: &str = r#"{"version": 1, "key": {"namespace": "default", "name": "web"}, "uid": "u-1",
    "createdAt": "2026-01-02T03:04:05Z", "revision": "r1", "generation": 1, "sandboxAttempts": 1,
    "deletion": {"requestedAt": "2026-01-02T04:04:05Z", "graceSeconds": 30, "reason": "removed"},
    "envDigests": {"a": "x"}, "realised": {"key": {"namespace": "default", "name": "web"},
    "source": {"path": "web.yaml", "document": 0, "line": 1, "column": 1},
    "spec": {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [{"name": "a", "image": "x"}]}},
    "effective": {"metadata": {"name": "web", "namespace": "default", "labels": {"a": "b"}}, "spec": {
    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "activeDeadlineSeconds": 100,
    "containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": "$(B)"}],
    "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]}},
    "applied": [{"name": "p", "version": "1"}], "skipped": [], "provenance": [], "digest": "d"}}"#;

/// The record of one instance of its container.
pub const CONTAINER: &str = r#"{"name": "a", "kind": "app", "attempt": 0, "id": "x", "sandboxAttempt": 0, "image": "x",
    "imageId": "x", "createdAt": "2026-01-02T03:04:05Z", "backoff": "PT10S", "logPath": "/dev/null",
    "stopping": {"since": "2026-01-02T04:04:05Z", "graceSeconds": 30, "reason": "removed"}}"#;

/// How it ended.
pub const EXIT: &str = r#"{"exitCode": 137, "signal": 9, "oomKilled": false, "startedAt": "2026-01-02T03:04:06Z",
    "finishedAt": "2026-01-02T03:04:07Z", "reason": "Error", "message": "m"}"#;

const MANIFEST: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}, "stringData": {"l": "w"}},
    {"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "p"}, "spec": {
    "selector": {"matchLabels": {"a": "b"}}, "env": [{"name": "P", "value": "1"}],
    "volumes": [{"name": "w", "emptyDir": {}}], "volumeMounts": [{"name": "w", "mountPath": "/w"}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {
    "initContainers": [{"name": "i", "image": "i:1", "restartPolicy": "Always"}],
    "containers": [{"name": "a", "image": "x:1", "command": ["a", "$(P)"], "ports": [{"containerPort": 80}],
    "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "C_"}],
    "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}]}}]}"#;

fn now() -> Timestamp {
    "2026-01-02T05:04:05Z".parse().unwrap()
}

fn node() -> NodeInfo {
    NodeInfo { name: "n".into(), ips: vec!["192.0.2.7".parse().unwrap()], ..NodeInfo::default() }
}

/// One file from its bytes to the status document, and the pods planned as if they ran.
pub fn manifests() -> Foreign {
    const WORDS: &[&str] = &[
        "apiVersion: v1\n",
        "kind: Pod\n",
        "kind: Secret\n",
        "metadata:\n",
        "  name: web\n",
        "spec:\n",
        "  containers:\n",
        "  - name: c\n",
        "    image: i:1\n",
        "data:\n",
        "  k: ",
        "dg==\n",
        "---\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "&a ",
        "*a ",
        "<<: *a\n",
        "|\n",
        "\"",
        "0644",
        "yes",
        "~",
        "é",
        "\n",
        "  ",
        "- ",
    ];
    Foreign::new(MANIFEST, WORDS, |bytes| {
        let file = SourceFile { path: "a.yaml".into(), blob: BlobId::of_text("b"), bytes: bytes.into() };
        let revision = Revision { kind: RevisionKind::Content, id: "r".into(), subject: None, branch: None };
        let snapshot =
            Snapshot { revision, files: vec![file], local: Default::default(), uncommitted: vec![], ignored: vec![] };
        let desired = Reader::new().read(&snapshot);
        let admitted = match admit(&desired) {
            Ok(admitted) => admitted,
            Err(diagnostics) => return diagnostics.0.iter().map(ToString::to_string).collect(),
        };
        assert!(fleet(&admitted, &converged(&admitted, now())).actions.is_empty());
        let mut said: String = admitted.diagnostics.0.iter().map(ToString::to_string).collect();
        for pod in converged(&admitted, now()) {
            said += &everything(&pod, &admitted.data);
        }
        said
    })
}

/// A pod's record, a container's and its exit record, all from one tree, and what is made of them.
pub fn records() -> Foreign {
    let tree = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let sample = json!({"pod": tree(POD), "container": tree(CONTAINER), "exit": tree(EXIT)});
    Foreign::new(&sample.to_string(), &["{", "}", "1"], |bytes| {
        let tree: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let Ok(record) = serde_json::from_value::<PodRecord>(tree["pod"].clone()) else { return String::new() };
        let container = serde_json::from_value::<ContainerRecord>(tree["container"].clone());
        let exit = serde_json::from_value::<ExitRecord>(tree["exit"].clone());
        let running = ContainerState::Running { pid: 1, started_at: record.created_at };
        let state = exit.map_or(running, ContainerState::Exited);
        let containers =
            container.map(|record| ObservedContainer { record, state, earlier_boot: false }).into_iter().collect();
        let sandbox = Sandbox::Ready { attempt: 0, pid: 1, started_at: record.created_at, ips: vec![] };
        everything(&ObservedPod { record, sandbox, containers }, &DataObjects::default())
    })
    .cases(1000)
}

/// All plans for a pod and all that is shown of it.
fn everything(pod: &ObservedPod, data: &DataObjects) -> String {
    let (node, record, memory) = (node(), &pod.record, PodMemory::default());
    let (reason, removed) = (Reason::Unchanged, Reason::PodRemoved);
    let run = Target::Run { pod: &record.realised, revision: "r", reason: &reason };
    let mut said = String::new();
    let mut waiting = BTreeMap::new();
    for (target, data) in [(run, Some(data)), (run, None), (Target::Gone { reason: &removed }, Some(data))] {
        let plan = plan_pod(&PodInput {
            key: &record.key,
            target,
            observed: Some(pod),
            data,
            memory: &memory,
            node: &node,
            instance: "0123abcd",
            now: now(),
        });
        said += &format!("{:?} {:?}", plan.holds, plan.wake_at);
        waiting.extend(plan.waiting);
    }
    let view = PodView {
        admitted: Some(&record.realised),
        observed: Some(pod),
        waiting: &waiting,
        holds: &[],
        probed: &Default::default(),
        node: &node,
        now: now(),
    };
    let object = pod_object(&view);
    said += &format!("{:?}", pod_row(&object, now()));
    said += &describe_pod(&object, &[], now());
    said += &format!("{:?}", events_between(None, Some(pod), ("edge-1", now())));
    let pods = [Arc::new(shown_pod(object, view.admitted))];
    let input = ProjectInput { admitted: None, pods: &pods, events: &[], node: &node, now: now() };
    for projected in project(&input, &Projection::default()).objects.values() {
        said += &projected.value.to_string();
    }
    let document = status_document(&StatusInput {
        node: &node,
        durable: &Durable::default(),
        admitted: None,
        pods: &pods,
        unsettled: &[],
        refused: &Default::default(),
        failure: None,
        uncommitted: &[],
        actions: &[],
    });
    said + &serde_yaml::to_string(&document).unwrap()
}
