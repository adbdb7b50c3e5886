//! What probes make of a pod's status, its row, its description and its events.

use podwright::model::{
    ContainerKind, ContainerState, EventRecord, HandlerAnswer, HandlerOutcome, ObservedPod, ProbeKind, Probed,
    ProbedContainers, Reason, Stopping,
};
use podwright::report::{PodView, describe_pod, events_between, pod_object, pod_row, probe_event, shown};
use serde_json::{Value, json};

use super::fixture::{admitted, at, instance, node, observed, running};

/// A sidecar with a startup probe, a container with a readiness probe, one with none.
fn pod(policy: &str, states: [Option<ContainerState>; 3]) -> ObservedPod {
    let probe = json!({"tcpSocket": {"port": 80}});
    let spec = json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "side", "image": "nginx", "restartPolicy": "Always", "startupProbe": probe}],
        "containers": [{"name": "a", "image": "nginx", "readinessProbe": probe}, {"name": "b", "image": "nginx"}],
    });
    let mut pod = observed(admitted("web", json!({}), spec));
    let all = [("a", ContainerKind::App), ("b", ContainerKind::App), ("side", ContainerKind::Sidecar)];
    let made = all.into_iter().zip(states);
    pod.containers = made.filter_map(|((name, kind), state)| Some(instance(name, kind, 0, state?))).collect();
    pod
}

/// What is known of the probes: name, started, ready, since which second.
type Known<'a> = &'a [(&'a str, bool, bool, i64)];

fn told(pod: &ObservedPod, known: Known<'_>) -> String {
    let entry = |(name, started, ready, since): &(&str, bool, bool, i64)| {
        ((*name).to_owned(), Probed { started: *started, ready: *ready, since: Some(at(*since)) })
    };
    let probed: ProbedContainers = known.iter().map(entry).collect();
    let (waiting, node) = (Default::default(), node());
    let view = PodView {
        admitted: None,
        observed: Some(pod),
        waiting: &waiting,
        holds: &[],
        probed: &probed,
        node: &node,
        now: at(60),
    };
    let object = pod_object(&view);
    let status = object.status.as_ref().unwrap();
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let sign = |is, sign| if is { sign } else { "-" };
    let containers =
        containers.map(|c| format!("{}{}{}", c.name, sign(c.started == Some(true), "s"), sign(c.ready, "r")));
    let containers = containers.collect::<Vec<_>>().join(" ");
    let condition = |kind| {
        let found = status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap();
        let since = found.last_transition_time.as_ref().unwrap().0.duration_since(at(0)).as_secs();
        let message = found.message.as_ref().map_or(String::new(), |message| format!(" {message}"));
        format!("{kind}={}@{since}{message}", found.status)
    };
    let row = pod_row(&object, at(60));
    // The part that is kept for the list says the same.
    assert_eq!(shown(&view).entry.open().ready, row.ready);
    let phase = status.phase.as_deref().unwrap();
    format!("{containers}; {phase} {} {}; {}; {}", row.ready, row.status, condition("Initialized"), condition("Ready"))
}

#[test]
fn status_and_row_follow_the_probes() {
    let all = || pod("Always", [Some(running(20)), Some(running(20)), Some(running(5))]);
    let side = || pod("Always", [None, None, Some(running(5))]);
    let ended = || pod("Always", [Some(super::fixture::exited(1, 30)), Some(running(20)), Some(running(5))]);
    let unready = |names: &str| format!("containers with unready status: [{names}]");
    let rows: &[(&str, ObservedPod, Known<'_>, String)] = &[
        (
            "all is well",
            all(),
            &[("side", true, true, 9), ("a", true, true, 25)],
            "sidesr asr bsr; Running 3/3 Running; Initialized=True@5; Ready=True@25".to_owned(),
        ),
        (
            "nothing is known yet",
            all(),
            &[],
            format!("side-- as- bsr; Running 1/3 Init:0/1; Initialized=True@0; Ready=False@0 {}", unready("side a")),
        ),
        (
            "not ready yet",
            all(),
            &[("side", true, true, 9), ("a", true, false, 0)],
            format!("sidesr as- bsr; Running 2/3 Running; Initialized=True@5; Ready=False@0 {}", unready("a")),
        ),
        (
            "not ready any more",
            all(),
            &[("side", true, true, 9), ("a", true, false, 40)],
            format!("sidesr as- bsr; Running 2/3 Running; Initialized=True@5; Ready=False@40 {}", unready("a")),
        ),
        (
            "the sidecar starts",
            side(),
            &[("side", false, false, 0)],
            format!(
                "side-- a-- b--; Pending 0/3 Init:0/1; Initialized=False@0 containers with incomplete status: [side]; Ready=False@0 {}",
                unready("side a b")
            ),
        ),
        (
            "the sidecar has started",
            side(),
            &[("side", true, true, 9)],
            format!(
                "sidesr a-- b--; Pending 1/3 PodInitializing; Initialized=True@5; Ready=False@0 {}",
                unready("a b")
            ),
        ),
        (
            "what has ended is not ready whatever is known",
            ended(),
            &[("side", true, true, 9), ("a", true, true, 25)],
            format!("sidesr a-- bsr; Running 2/3 Error; Initialized=True@5; Ready=False@30 {}", unready("a")),
        ),
    ];
    for (what, pod, known, expected) in rows {
        assert_eq!(told(pod, known), *expected, "{what}");
    }
}

#[test]
fn a_pod_that_goes_is_as_ready_as_its_probes_say() {
    let mut pod = pod("Always", [Some(running(20)), Some(running(20)), Some(running(5))]);
    let deletion = json!({"requestedAt": at(30), "graceSeconds": 30, "reason": "x"});
    pod.record.deletion = serde_json::from_value(deletion).unwrap();
    let known: Known<'_> = &[("side", true, true, 9), ("a", true, true, 25)];
    assert!(told(&pod, known).contains("Running 3/3 Terminating"), "{}", told(&pod, known));
    let known: Known<'_> = &[("side", true, true, 9), ("a", true, false, 35)];
    assert!(told(&pod, known).contains("Running 2/3 Terminating"), "{}", told(&pod, known));
}

fn killing(policy: &str, container: &str, reason: &str) -> String {
    let old = pod(policy, [Some(running(20)), Some(running(20)), Some(running(5))]);
    let mut new = old.clone();
    let told = new.containers.iter_mut().find(|c| c.record.name == container).unwrap();
    told.record.stopping = Some(Stopping::new(at(40), 30, reason));
    let events = events_between(Some(&old), Some(&new), ("edge-1", at(41)));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    format!("{} {} {}", event.reason, event.field_path.as_ref().unwrap(), event.message)
}

#[test]
fn what_ends_for_its_probe_is_said_to() {
    let of = |kind| Reason::ProbeFailed { kind }.to_string();
    let rows = [
        (
            "Always",
            "a",
            of(ProbeKind::Liveness),
            "Killing spec.containers{a} Container a failed liveness probe, will be restarted",
        ),
        (
            "OnFailure",
            "a",
            of(ProbeKind::Startup),
            "Killing spec.containers{a} Container a failed startup probe, will be restarted",
        ),
        ("Never", "a", of(ProbeKind::Liveness), "Killing spec.containers{a} Container a failed liveness probe"),
        (
            "Always",
            "side",
            of(ProbeKind::Startup),
            "Killing spec.initContainers{side} Init container side failed startup probe",
        ),
        (
            "Never",
            "side",
            of(ProbeKind::Liveness),
            "Killing spec.initContainers{side} Init container side failed liveness probe",
        ),
        ("Always", "a", "removed from the manifests".to_owned(), "Killing spec.containers{a} Stopping container a"),
    ];
    for (policy, container, reason, expected) in rows {
        assert_eq!(killing(policy, container, &reason), expected);
    }
}

#[test]
fn answers_are_told_in_the_kubelets_words() {
    let pod = pod("Always", [Some(running(20)), None, None]);
    let answer = |outcome, text: &str| HandlerAnswer { outcome, text: text.to_owned() };
    let told = |kind, came: Result<&HandlerAnswer, &str>| -> Option<EventRecord> {
        probe_event(&pod, ("a", kind), came, at(30))
    };
    assert_eq!(told(ProbeKind::Liveness, Ok(&answer(HandlerOutcome::Success, "fine"))), None);
    let rows = [
        (
            ProbeKind::Liveness,
            Ok(answer(HandlerOutcome::Failure, "no such file")),
            "Unhealthy Liveness probe failed: no such file",
        ),
        (
            ProbeKind::Readiness,
            Ok(answer(HandlerOutcome::Warning, "redirected")),
            "ProbeWarning Readiness probe warning: redirected",
        ),
        (
            ProbeKind::Liveness,
            Ok(answer(HandlerOutcome::Unread, "unexpected EOF")),
            "Unhealthy Liveness probe errored and resulted in failure state: unexpected EOF",
        ),
        (ProbeKind::Startup, Err("gone"), "Unhealthy Startup probe errored and resulted in unknown state: gone"),
    ];
    for (kind, came, expected) in rows {
        let event = told(kind, came.as_ref().map_err(|error| *error)).unwrap();
        assert_eq!(format!("{} {}", event.reason, event.message), expected);
        assert_eq!(event.kind, podwright::model::EventType::Warning);
        assert_eq!(event.field_path.as_deref(), Some("spec.containers{a}"));
    }
    let long = answer(HandlerOutcome::Failure, &"\u{20ac}".repeat(1000));
    let message = told(ProbeKind::Liveness, Ok(&long)).unwrap().message;
    assert!((1020..=1024).contains(&message.len()), "{}", message.len());
}

fn described(probe: Value) -> String {
    let spec = json!({"containers": [{"name": "a", "image": "nginx", "livenessProbe": probe}]});
    let pod = observed(admitted("web", json!({}), spec));
    let text = describe_pod(&super::fixture::object(&pod, &[]), &[], at(60));
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Liveness:"));
    line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
}

#[test]
fn describe_has_probes_as_kubectl_has_them() {
    let exec = json!({"exec": {"command": ["cat", "/tmp/healthy"]}, "initialDelaySeconds": 5, "periodSeconds": 5,
        "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3});
    assert_eq!(described(exec), "exec [cat /tmp/healthy] delay=5s timeout=1s period=5s #success=1 #failure=3");
    let rest = "delay=0s timeout=1s period=10s #success=1 #failure=3";
    let http = json!({"httpGet": {"path": "/h", "port": "web", "scheme": "HTTPS"}});
    assert_eq!(described(http), format!("http-get https://:web/h {rest}"));
    let odd = json!({"httpGet": {"path": "h?a=b c%20(ü)", "port": 80, "host": "fd00::1"}});
    assert_eq!(described(odd), format!("http-get http://[fd00::1]:80/h%3Fa=b%20c%2520%28%C3%BC%29 {rest}"));
    assert_eq!(described(json!({"tcpSocket": {"port": 80}})), format!("tcp-socket :80 {rest}"));
    assert_eq!(described(json!({"grpc": {"port": 9, "service": "s"}})), format!("grpc <pod>:9 s {rest}"));
}
