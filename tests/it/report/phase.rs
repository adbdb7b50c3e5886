//! The phase and the conditions, row by row.

use k8s_openapi::api::core::v1::Pod;
use podwright::model::{
    AllRestarted, ContainerKind, ContainerState, Deletion, ObservedPod, PodRecord, Reason, Sandbox, Stopping,
    TerminalCause,
};
use podwright::report::pod_row;
use serde_json::json;

use super::fixture::{admitted, at, exited, instance, object, observed, scripted};

fn phase(pod: &Pod) -> String {
    pod.status.as_ref().unwrap().phase.clone().unwrap()
}

/// restartPolicy, init containers, app containers → phase.
const PHASES: &[(&str, &str, &str, &str)] = &[
    ("Always", "", "a", "Pending"),
    ("Always", "", "a=made", "Pending"),
    ("Always", "", "a=run", "Running"),
    ("Always", "", "a=run b", "Pending"),
    ("Always", "", "a=run b=run", "Running"),
    ("Always", "", "a=run b=exit1", "Running"),
    ("Always", "", "a=exit0", "Running"),
    ("Always", "", "a=exit1!", "Running"),
    ("Always", "", "a=exit1! b=run", "Running"),
    ("OnFailure", "", "a=exit0", "Running"),
    ("OnFailure", "", "a=exit1", "Running"),
    ("OnFailure", "", "a=exit1! b=exit0", "Running"),
    ("OnFailure", "", "a=exit0 b=exit0", "Running"),
    ("OnFailure", "", "a=exit0 b=run", "Running"),
    // That all is over is shown once it is on record: what was stopped for another image, say, begins again.
    ("Never", "", "a=exit0", "Running"),
    ("Never", "", "a=exit1", "Running"),
    ("Never", "", "a=exit0 b=exit1", "Running"),
    ("Never", "", "a=exit1 b=run", "Running"),
    ("Never", "", "a=exit0 b", "Pending"),
    ("Never", "", "a=lost", "Running"),
    ("Always", "", "a=lost", "Running"),
    ("Always", "i", "a", "Pending"),
    ("Always", "i=run", "a", "Pending"),
    ("Always", "i=exit0", "a", "Pending"),
    ("Always", "i=exit0", "a=run", "Running"),
    ("Always", "i=exit1!", "a", "Pending"),
    ("OnFailure", "i=exit1!", "a", "Pending"),
    ("Never", "i=exit1", "a", "Pending"),
    ("Never", "i=exit0 j=exit1", "a", "Pending"),
    ("Never", "i=exit0 j=run", "a", "Pending"),
    // Once an app container ran, an init container whose record is gone counts as done.
    ("Always", "i", "a=run", "Running"),
    ("Always", "s+", "a", "Pending"),
    ("Always", "s+=run", "a", "Pending"),
    ("Always", "s+=run", "a=run", "Running"),
    // A sidecar that is down does not take back a phase reached.
    ("Always", "s+=exit1!", "a=run", "Running"),
    ("Never", "s+=exit1!", "a=run", "Running"),
    ("Always", "s+=exit1!", "a", "Pending"),
    ("Always", "s+=run t+", "a", "Pending"),
    // What still runs runs, be it a sidecar alone; how it ends does not count.
    ("Never", "s+=run", "a=exit0", "Running"),
    ("Never", "s+=run", "a=exit1", "Running"),
    ("OnFailure", "s+=run", "a=exit0", "Running"),
    ("Never", "s+=exit1", "a=exit1", "Running"),
    ("OnFailure", "s+=exit1", "a=exit0", "Running"),
    ("Never", "s+=exit1", "a=exit0", "Running"),
];

#[test]
fn the_phase_follows_the_containers() {
    for (policy, init, apps, expected) in PHASES {
        let (_, pod) = scripted(policy, init, apps);
        assert_eq!(phase(&pod), *expected, "{policy} [{init}] [{apps}]");
    }
}

#[test]
fn a_pod_going_away_restarts_nothing() {
    for (policy, init, apps, expected) in [
        ("Always", "", "a=exit0", "Succeeded"),
        ("Never", "", "a=exit0 b=exit0", "Succeeded"),
        ("Never", "", "a=exit0 b=exit1", "Failed"),
        ("Never", "", "a=lost", "Failed"),
        ("OnFailure", "i=exit1", "a", "Failed"),
        ("Always", "", "a=exit137", "Failed"),
        ("OnFailure", "", "a=exit1", "Failed"),
        ("Always", "", "a=run", "Running"),
        ("Always", "s+=run", "a=exit0", "Running"),
        ("Always", "s+=exit137", "a=exit0", "Succeeded"),
    ] {
        let (mut pod, _) = scripted(policy, init, apps);
        pod.record.deletion = Some(Deletion { requested_at: at(20), grace_seconds: 30, reason: "removed".into() });
        assert_eq!(phase(&object(&pod, &[])), expected, "{policy} [{init}] {apps}");
    }
}

#[test]
fn a_sidecar_that_starts_in_another_sandbox_takes_the_pod_back_to_pending() {
    let (mut pod, _) = scripted("Always", "s+=run", "a=exit1!");
    let mut record = serde_json::to_value(&pod.record).unwrap();
    let sidecar = &mut record["realised"]["effective"]["spec"]["initContainers"][0];
    // It has not started yet, as nobody has asked its probe.
    sidecar["startupProbe"] = serde_json::json!({"exec": {"command": ["x"]}});
    pod.record = serde_json::from_value(record).unwrap();
    let phase = |pod: &ObservedPod| phase(&object(pod, &[("a", "CrashLoopBackOff", "")]));
    assert_eq!(phase(&pod), "Running", "it ran, and its sidecar begins again");
    pod.sandbox = Sandbox::Ready { attempt: 1, pid: 100, started_at: at(30), ips: Vec::new() };
    pod.containers.iter_mut().filter(|c| c.record.name == "s").for_each(|c| c.record.sandbox_attempt = 1);
    assert_eq!(phase(&pod), "Pending", "the init containers are at work again");
    let mut again = instance("a", ContainerKind::App, 1, exited(1, 40));
    again.record.sandbox_attempt = 1;
    pod.containers.push(again);
    assert_eq!(phase(&pod), "Running");
}

#[test]
fn a_terminal_phase_never_changes_back() {
    let (mut pod, _) = scripted("Never", "", "a=run");
    pod.record.terminal = Some("Failed".into());
    assert_eq!(phase(&object(&pod, &[])), "Failed");
}

#[test]
fn a_pod_that_was_too_slow_says_so() {
    let (mut pod, before) = scripted("Never=Succeeded", "", "a=exit0");
    let told = |pod: &Pod| {
        let status = pod.status.clone().unwrap();
        (status.phase, status.reason, status.message)
    };
    assert_eq!(told(&before), (Some("Succeeded".into()), None, None));
    pod.record.terminal = Some("Failed".into());
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    pod.record.terminal_cause = Some(TerminalCause::new("DeadlineExceeded", message.clone()));
    // It outlives the agent; a record of an earlier one has none.
    let mut record = serde_json::to_value(&pod.record).unwrap();
    assert_eq!(serde_json::from_value::<PodRecord>(record.clone()).unwrap(), pod.record);
    let expected = (Some("Failed".into()), Some("DeadlineExceeded".into()), Some(message));
    assert_eq!(told(&object(&pod, &[])), expected);
    record.as_object_mut().unwrap().remove("terminalCause").unwrap();
    assert_eq!(serde_json::from_value::<PodRecord>(record).unwrap().terminal_cause, None);
}

/// The conditions as `Type=Status(Reason)@seconds`.
fn conditions(pod: &Pod) -> Vec<String> {
    let told = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
    told.iter()
        .map(|c| {
            let since = c.last_transition_time.as_ref().unwrap().0.as_second() - at(0).as_second();
            let reason = c.reason.as_deref().map(|r| format!("({r})")).unwrap_or_default();
            format!("{}={}{reason}@{since}", c.type_, c.status)
        })
        .collect()
}

/// restartPolicy, init containers, app containers → Initialized, Ready and ContainersReady with the second they changed.
const CONDITIONS: &[(&str, &str, &str, &str, &str)] = &[
    ("Always", "", "a", "True@0", "False(ContainersNotReady)@0"),
    ("Always", "", "a=run", "True@0", "True@5"),
    ("Always", "i=run", "a", "False(ContainersNotInitialized)@0", "False(ContainersNotReady)@0"),
    ("Always", "i=exit0", "a=run b=exit1!", "True@10", "False(ContainersNotReady)@10"),
    ("Always", "s+=run", "a=run", "True@5", "True@5"),
    ("Always", "s+=exit1!", "a=run", "True@0", "False(ContainersNotReady)@10"),
    ("Never=Succeeded", "i=exit0", "a=exit0", "True(PodCompleted)@10", "False(PodCompleted)@10"),
    ("Never=Failed", "", "a=exit1", "True@0", "False(PodFailed)@10"),
];

#[test]
fn conditions_name_what_is_missing_and_since_when() {
    for (policy, init, apps, initialized, ready) in CONDITIONS {
        let (_, pod) = scripted(policy, init, apps);
        let expected = [
            "PodReadyToStartContainers=True@1".to_owned(),
            format!("Initialized={initialized}"),
            format!("Ready={ready}"),
            format!("ContainersReady={ready}"),
            "PodScheduled=True@0".to_owned(),
        ];
        assert_eq!(conditions(&pod), expected, "{policy} [{init}] [{apps}]");
    }
}

#[test]
fn conditions_name_the_containers() {
    let messages = |init, apps| {
        let (_, pod) = scripted("Always", init, apps);
        let told = pod.status.unwrap().conditions.unwrap();
        told.into_iter().filter_map(|c| c.message).collect::<Vec<String>>()
    };
    let unready = "containers with unready status: [a b]";
    assert_eq!(messages("i=exit0 j=run k", "a b"), ["containers with incomplete status: [j k]", unready, unready]);
    assert_eq!(messages("", "a=run b=exit1!"), ["containers with unready status: [b]"; 2]);
}

#[test]
fn a_dead_sandbox_is_not_ready_to_start_containers() {
    let (mut pod, _) = scripted("Always", "", "a=exit137");
    pod.sandbox = Sandbox::Dead { attempt: 0 };
    let pod = object(&pod, &[]);
    assert_eq!(conditions(&pod)[0], "PodReadyToStartContainers=False@10");
    assert_eq!(pod.status.unwrap().pod_ip, None);
}

#[test]
fn container_states_show_the_last_two_instances() {
    let (mut pod, _) = scripted("Always", "", "a");
    pod.containers = vec![
        instance("a", ContainerKind::App, 3, exited(1, 30)),
        instance("a", ContainerKind::App, 4, exited(137, 50)),
    ];
    let show = |pod: &Pod| {
        let status = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].clone();
        let state = |s: Option<k8s_openapi::api::core::v1::ContainerState>| {
            let s = s.unwrap_or_default();
            let ended = s.terminated.map(|t| format!("{} {}", t.reason.unwrap(), t.exit_code));
            ended.or(s.waiting.map(|w| w.reason.unwrap())).unwrap_or_default()
        };
        (state(status.state), state(status.last_state), status.restart_count, status.container_id.unwrap())
    };
    let id = "podwright://a-4".to_owned();
    assert_eq!(show(&object(&pod, &[])), ("Error 137".into(), "Error 1".into(), 4, id.clone()));
    let waits = object(&pod, &[("a", "CrashLoopBackOff", "back-off 10s")]);
    assert_eq!(show(&waits), ("CrashLoopBackOff".into(), "Error 137".into(), 4, id));
}

#[test]
fn the_object_does_not_depend_on_the_time_of_day_and_names_the_machine() {
    let (observed, pod) = scripted("Always", "", "a=run");
    assert_eq!(object(&observed, &[]), pod);
    let status = pod.status.unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("10.88.0.5"));
    assert_eq!(status.host_ip.as_deref(), Some("192.168.7.2"));
    let hosts: Vec<String> = status.host_ips.unwrap().into_iter().map(|h| h.ip).collect();
    assert_eq!(hosts, ["192.168.7.2", "fd00::2"]);
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("edge-1"));
}

#[test]
fn a_gate_is_met_by_a_condition_that_is_known() {
    let ready = |gates: &[&str], apps| {
        let (mut pod, _) = scripted("Always", "i=run", apps);
        let gates: Vec<_> = gates.iter().map(|gate| json!({"conditionType": gate})).collect();
        let spec = json!({"readinessGates": gates, "initContainers": [{"name": "i", "image": "nginx"}],
            "containers": [{"name": "a", "image": "nginx"}]});
        pod.record.realised = observed(admitted("web", json!({}), spec)).record.realised;
        let pod = object(&pod, &[]);
        let told = pod.status.as_ref().unwrap().conditions.clone().unwrap();
        let of = |kind: &str| {
            let condition = told.iter().find(|c| c.type_ == kind).unwrap();
            format!(
                "{} {}",
                condition.reason.clone().unwrap_or(condition.status.clone()),
                condition.message.clone().unwrap_or_default()
            )
        };
        assert!(of("ContainersReady").starts_with(if apps == "a=run" { "True" } else { "ContainersNotReady" }));
        (of("Ready"), pod_row(&pod, at(60)).readiness_gates)
    };
    let missing = |gate: &str| format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.");
    assert_eq!(ready(&[], "a=run"), ("True ".into(), "<none>".into()));
    assert_eq!(ready(&["x.io/a"], "a=run"), (format!("ReadinessGatesNotReady {}", missing("x.io/a")), "0/1".into()));
    let both = format!("ReadinessGatesNotReady {}, {}", missing("b"), missing("a"));
    assert_eq!(ready(&["b", "Initialized", "a"], "a=run"), (both, "1/3".into()));
    assert_eq!(ready(&["Initialized", "PodReadyToStartContainers"], "a=run"), ("True ".into(), "2/2".into()));
    // Containers come first, and are what it is said to wait for.
    let unready = "ContainersNotReady containers with unready status: [a]".to_owned();
    assert_eq!(ready(&["x.io/a"], "a"), (unready, "0/1".into()));
}

#[test]
fn a_restart_of_all_containers_is_a_condition_while_it_kills() {
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]);
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "nginx", "restartPolicy": "Never",
        "restartPolicyRules": rules}, {"name": "b", "image": "nginx"}]});
    let (mut pod, _) = scripted("Never", "", "a=exit88 b=run");
    let told = |pod: &ObservedPod, waiting: &[(&str, &str, &str)]| conditions(&object(pod, waiting)).pop().unwrap();
    assert_eq!(told(&pod, &[]), "PodScheduled=True@0", "a pod without such a rule has no such condition");
    pod.record.realised = observed(admitted("web", json!({}), spec)).record.realised;
    assert_eq!(told(&pod, &[]), "AllContainersRestarting=False@10");
    pod.record.all_restarted = Some(AllRestarted { count: 1, at: at(11) });
    let waiting = [("a", "RestartingAllContainers", "why")];
    assert_eq!(told(&pod, &waiting), "AllContainersRestarting=True(RestartAllContainersStarted)@11");
    let message = object(&pod, &waiting).status.unwrap().conditions.unwrap().pop().unwrap().message;
    assert_eq!(message.as_deref(), Some("container exited with restart policy rule"));
    // What was killed for it is told as such, whatever its exit code says; who asked for it has its own end.
    pod.containers[1].record.stopping =
        Some(Stopping { killed_at: Some(at(11)), ..Stopping::new(at(11), 0, Reason::RestartingAll.to_string()) });
    pod.containers[1].state = exited(137, 12);
    let shown = object(&pod, &[]);
    assert_eq!(conditions(&shown).pop().unwrap(), "AllContainersRestarting=False@12");
    let ended = |name: &str| {
        let statuses = shown.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
        let status = statuses.iter().find(|status| status.name == name).unwrap();
        let ended = status.state.as_ref().unwrap().terminated.clone().unwrap();
        format!("{} {} {}", ended.exit_code, ended.reason.unwrap(), ended.message.unwrap_or_default())
    };
    assert_eq!(ended("a"), "88 Error ");
    assert_eq!(
        ended("b"),
        "137 RestartingAllContainers The container is removed because RestartAllContainers in place"
    );
    for (phase, condition) in [("Succeeded", "PodCompleted"), ("Failed", "PodFailed")] {
        pod.record.terminal = Some(phase.to_owned());
        assert_eq!(told(&pod, &[]), format!("AllContainersRestarting=False({condition})@12"));
    }
}

#[test]
fn the_last_words_of_a_pod_have_twelve_kibibytes_together() {
    let words = |containers: usize, text: &str| -> Vec<usize> {
        let spec: Vec<_> = (0..containers).map(|n| json!({"name": format!("c{n}"), "image": "i"})).collect();
        let mut pod =
            observed(admitted("web", json!({}), json!({"initContainers": spec[..1], "containers": spec[1..]})));
        for n in 0..containers {
            let kind = if n == 0 { ContainerKind::Init } else { ContainerKind::App };
            for attempt in 0..2 {
                let mut ended = instance(&format!("c{n}"), kind, attempt, exited(1, 20));
                let ContainerState::Exited(exit) = &mut ended.state else { unreachable!() };
                exit.message = Some(text.to_owned());
                pod.containers.push(ended);
            }
        }
        let status = object(&pod, &[]).status.unwrap();
        let lists = [status.init_container_statuses, status.container_statuses];
        let states = lists.into_iter().flatten().flatten().flat_map(|s| [s.state, s.last_state]);
        states.map(|state| state.unwrap().terminated.unwrap().message.unwrap().len()).collect()
    };
    let long = "x".repeat(4096);
    assert_eq!(words(3, &long), [4096; 6]);
    assert_eq!(words(4, &long), [3072; 8]);
    assert_eq!(words(4, &"\u{e9}".repeat(2048)), [3072; 8]);
    assert_eq!(words(5, &"\u{20ac}".repeat(1365)), [2457; 10], "no character is cut in two");
    assert_eq!(words(40, "short"), [5; 80]);
}
