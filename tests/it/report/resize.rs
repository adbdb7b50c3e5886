//! What a status and the events say of cpu and memory that change: each state of a container, and each way from one look at
//! a pod to the next.

use podwright::model::{ContainerKind, ContainerState, Hold, HoldKind, ObservedPod, Resources, Stopping};
use podwright::report::{PodView, events_between, pod_object, waiting_events};
use serde_json::{Value, json};

use super::fixture::{admitted, at, exited, instance, node, observed, running};

fn resources(memory: &str) -> Option<Resources> {
    let limits = json!({"name": "c", "resources": {"limits": {"memory": memory}}});
    Some(Resources::of(&serde_json::from_value(limits).unwrap()))
}

/// A pod that was given 2Mi at second 10, with a container that has `memory`.
fn pod(state: ContainerState, memory: Option<Resources>) -> ObservedPod {
    let limits = json!({"limits": {"memory": "2Mi", "ephemeral-storage": "1Gi"}});
    let spec = json!({"containers": [{"name": "c", "image": "nginx", "resources": limits}]});
    let mut pod = observed(admitted("web", json!({}), spec));
    pod.record.resized_at = Some(at(10));
    pod.record.generation = 2;
    let mut container = instance("c", ContainerKind::App, 0, state);
    container.record.resources = memory;
    pod.containers.push(container);
    pod
}

fn stopped(mut pod: ObservedPod) -> ObservedPod {
    pod.containers[0].record.stopping = Some(Stopping::new(at(11), 30, ""));
    pod
}

fn shown(pod: &ObservedPod, holds: &[Hold]) -> Value {
    let waiting = std::collections::BTreeMap::new();
    let view = PodView {
        admitted: None,
        observed: Some(pod),
        waiting: &waiting,
        holds,
        probed: &Default::default(),
        node: &node(),
        now: at(60),
    };
    serde_json::to_value(pod_object(&view)).unwrap()["status"].take()
}

/// The limit of memory in the status, and since when a resize is under way.
fn told(pod: &ObservedPod) -> (String, Option<String>) {
    let status = shown(pod, &[]);
    let limits = &status["containerStatuses"][0]["resources"]["limits"];
    assert_eq!(limits["ephemeral-storage"], "1Gi", "what is not resized stays as it is written");
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    let progress = conditions.find(|c| c["type"] == "PodResizeInProgress");
    let since = progress.map(|c| {
        assert_eq!((&c["status"], &c["observedGeneration"], &c["reason"]), (&json!("True"), &json!(2), &Value::Null));
        c["lastTransitionTime"].as_str().unwrap().to_owned()
    });
    (limits["memory"].as_str().unwrap_or_default().to_owned(), since)
}

const SINCE: &str = "2026-01-02T03:00:10Z";

#[test]
fn the_status_has_what_a_container_has_and_whether_that_changes() {
    let due = || resources("1Mi");
    let mut never_resized = pod(running(2), due());
    never_resized.record.resized_at = None;
    let rows = [
        ("it has it", pod(running(2), resources("2Mi")), ("2Mi", None)),
        ("in other words", pod(running(2), resources("2048Ki")), ("2048Ki", None)),
        ("not yet", pod(running(2), due()), ("1Mi", Some(SINCE))),
        ("it is told to stop for it", stopped(pod(running(2), due())), ("1Mi", Some(SINCE))),
        ("it has stopped for it", stopped(pod(exited(143, 20), due())), ("2Mi", Some(SINCE))),
        ("it ended by itself", pod(exited(1, 20), due()), ("2Mi", None)),
        ("what it has is not on record", pod(running(2), None), ("2Mi", None)),
        ("it was never resized", never_resized, ("1Mi", None)),
    ];
    for (title, pod, (memory, since)) in rows {
        // What has ended or is going is given nothing any more, and that is no end of a resize.
        let mut ended = pod.clone();
        ended.record.terminal = Some("Failed".to_owned());
        assert_eq!(told(&ended).1, None, "{title}, and the pod has ended");
        let events = events_between(Some(&pod), Some(&ended), ("edge-1", at(60)));
        assert!(events.iter().all(|event| event.reason != "ResizeCompleted"), "{title}: {events:?}");
        assert_eq!(told(&pod), (memory.to_owned(), since.map(str::to_owned)), "{title}");
    }
    let mut before_its_start = pod(running(2), due());
    before_its_start.containers.clear();
    let status = shown(&before_its_start, &[]);
    assert_eq!(status["containerStatuses"][0]["resources"], Value::Null);
    assert_eq!(status["conditions"].as_array().unwrap().len(), 5);
}

#[test]
fn the_condition_has_the_reason_of_the_last_failure_only_while_it_is_there() {
    let hold = |reason: &str| Hold {
        kind: HoldKind::Waiting,
        container: String::new(),
        reason: reason.into(),
        message: "no".into(),
        until: None,
    };
    let condition = |pod: &ObservedPod, holds: &[Hold]| {
        let status = shown(pod, holds);
        let found =
            status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodResizeInProgress").cloned();
        found.map(|c| (c["reason"].clone(), c["message"].clone()))
    };
    let due = pod(running(2), resources("1Mi"));
    assert_eq!(condition(&due, &[hold("FailedSync"), hold("ResizeError")]), Some((json!("Error"), json!("no"))));
    assert_eq!(condition(&due, &[hold("FailedSync")]), Some((Value::Null, Value::Null)));
    assert_eq!(condition(&pod(running(2), resources("2Mi")), &[hold("ResizeError")]), None);
}

#[test]
fn a_resize_is_told_when_it_begins_and_when_it_is_done() {
    let mut before = pod(running(2), resources("1Mi"));
    before.record.resized_at = None;
    let (due, done) = (pod(running(2), resources("1Mi")), pod(running(2), resources("2Mi")));
    let mut again = due.clone();
    again.record.resized_at = Some(at(30));
    let reasons = |old: Option<&ObservedPod>, new: &ObservedPod| -> Vec<String> {
        let events = events_between(old, Some(new), ("edge-1", at(40)));
        events.into_iter().filter(|e| e.reason.starts_with("Resize")).map(|e| e.reason).collect()
    };
    let (started, completed) = ("ResizeStarted", "ResizeCompleted");
    assert_eq!(reasons(Some(&before), &due), [started]);
    assert_eq!(reasons(Some(&due), &done), [completed]);
    assert_eq!(reasons(Some(&before), &done), [started, completed]);
    assert_eq!(reasons(Some(&due), &again), [started]);
    assert_eq!(reasons(Some(&done), &done), [""; 0]);
    assert_eq!(reasons(None, &due), [""; 0], "a pod that is adopted was resized long ago");
    let events = events_between(Some(&before), Some(&done), ("edge-1", at(40)));
    let own = r#"{"containers":[{"name":"c","resources":{"limits":{"ephemeral-storage":"1Gi","memory":"2Mi"}}}],"generation":2}"#;
    let told: Vec<_> = events.iter().map(|e| (e.message.as_str(), e.first, e.field_path.as_deref())).collect();
    assert_eq!(
        told,
        [
            (format!("Pod resize started: {own}").as_str(), at(10), None),
            (format!("Pod resize completed: {own}").as_str(), at(40), None),
        ]
    );
    let why = [(String::new(), ("ResizeError".to_owned(), "no".to_owned()))].into();
    let [event] = &waiting_events(&due, &Default::default(), &why, at(40))[..] else { panic!("one event") };
    assert_eq!(event.reason, "ResizeError");
    assert_eq!(event.message, format!("Pod resize error: {},\"error\":\"no\"}}", own.trim_end_matches('}')));
}

#[test]
fn a_stop_tells_what_it_is_for() {
    let killing = |pod: &ObservedPod| -> String {
        let events = events_between(None, Some(pod), ("edge-1", at(40)));
        events.into_iter().find(|e| e.reason == "Killing").unwrap().message
    };
    let stopped_with = |policy: Value, memory: &str| {
        let container =
            json!({"name": "c", "image": "nginx", "resizePolicy": policy, "resources": {"limits": {"memory": "2Mi"}}});
        let mut pod = observed(admitted("web", json!({}), json!({"containers": [container]})));
        let mut own = instance("c", ContainerKind::App, 0, running(2));
        own.record.resources = resources(memory);
        pod.containers.push(own);
        stopped(pod)
    };
    let restart = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    assert_eq!(killing(&stopped_with(restart.clone(), "1Mi")), "Container c resize requires restart");
    assert_eq!(killing(&stopped_with(restart.clone(), "2Mi")), "Stopping container c");
    assert_eq!(killing(&stopped_with(json!([]), "1Mi")), "Stopping container c");
    let mut going = stopped_with(restart, "1Mi");
    going.record.deletion =
        Some(podwright::model::Deletion { requested_at: at(11), grace_seconds: 1, reason: String::new() });
    assert_eq!(killing(&going), "Stopping container c");
}
