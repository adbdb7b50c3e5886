//! The projection: versions, uids and what is served; and events.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use podwright::model::{
    Admitted, DataObjects, Diagnostics, EventRecord, Kind, NodeInfo, NodeSystem, ObjectKey, Packed, Projection,
    Revision, RevisionKind, ShownPod,
};
use podwright::report::{
    EventLog, PodView, ProjectInput, adoption_events, describe_node, event_object, event_record, events_between,
    exceeded_event, pod_object, project, resolver_events, shown, shown_pod, waiting_events,
};
use serde_json::{Value, json};

use super::fixture::{admitted, at, exited, instance, node, object, observed, running, scripted};
use jiff::SignedDuration;
use podwright::model::{
    ContainerKind, Deletion, ImageSource, ObservedPod, ResolverNotes, Sandbox, Stopping, TerminalCause,
};

fn revision(objects: &[(Kind, &str, Value)]) -> Admitted {
    let objects = objects.iter().map(|(kind, name, value)| {
        let namespace = if kind.namespaced() { "default" } else { "" };
        let key = ObjectKey { kind: *kind, namespace: namespace.into(), name: (*name).into() };
        let mut value = value.clone();
        value["apiVersion"] = json!(kind.api_version());
        value["kind"] = json!(kind.as_str());
        value["metadata"] = json!({"name": name, "namespace": namespace});
        (key, Arc::new(value))
    });
    Admitted {
        revision: Revision { kind: RevisionKind::Commit, id: "r".into(), subject: None, branch: None },
        pods: Default::default(),
        data: Arc::new(DataObjects::default()),
        objects: objects.collect(),
        sources: Default::default(),
        unread: Default::default(),
        is_untold: false,
        audits: Diagnostics::default(),
        diagnostics: Diagnostics::default(),
    }
}

fn next(admitted: &Admitted, second: i64, previous: &Projection) -> Projection {
    let (_, pod) = scripted("Always", "", "a=run");
    let shown = Arc::new(shown_pod(pod, None));
    let input = ProjectInput { admitted: Some(admitted), pods: &[shown], events: &[], node: &node(), now: at(second) };
    project(&input, previous)
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    let namespace = if kind.namespaced() { "default" } else { "" };
    ObjectKey { kind, namespace: namespace.into(), name: name.into() }
}

#[test]
fn a_shown_pod_is_the_whole_object_whatever_of_it_is_shared() {
    let going = Deletion { requested_at: at(30), grace_seconds: 5, reason: "gone".into() };
    let spec = json!({"containers": [{"name": "a", "image": "i:1"}], "nodeName": "elsewhere", "hostNetwork": true});
    let elsewhere = observed(admitted("far", json!({"labels": {"a": "b"}}), spec));
    let mut bare = admitted("bare", json!({}), json!({"containers": []}));
    bare.effective = Packed::new(&Pod { spec: None, ..bare.effective.open() });
    let (bare, waiting, node) = (observed(bare), Default::default(), node());
    let amounts = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}});
    let much = json!({
        "containers": [{"name": "a", "image": "i:1", "resources": amounts, "env": [{"name": "A", "value": "1"}]}],
        "initContainers": [{"name": "i", "image": "i:2", "resources": amounts, "restartPolicy": "Always"}, {"name": "j"}],
        "readinessGates": [{"conditionType": "example.com/ready"}],
        "restartPolicy": "OnFailure",
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    let much = observed(admitted("much", json!({"annotations": {"a": "b"}}), much));
    let scripts =
        [("Always", "", "a=run"), ("Never", "i=exit0 s+=run", "a=exit1 b=run"), ("Never=Succeeded", "", "a=exit0")];
    let scripted = scripts.map(|(policy, init, apps)| scripted(policy, init, apps).0);
    for pod in scripted.into_iter().chain([elsewhere, bare, much]) {
        let mut ending = pod.clone();
        ending.record.deletion = Some(going.clone());
        let wanted = Some(&*pod.record.realised);
        for (admitted, observed) in
            [(wanted, Some(&pod)), (None, Some(&pod)), (wanted, None), (None, Some(&ending)), (None, None)]
        {
            let view = PodView {
                admitted,
                observed,
                waiting: &waiting,
                holds: &[],
                probed: &Default::default(),
                node: &node,
                now: at(60),
            };
            let (object, shown) = (pod_object(&view), shown(&view));
            assert_eq!(shown.object.value().to_string(), serde_json::to_string(&object).unwrap());
            let whole = shown_pod(object, admitted);
            let parts = |shown: &ShownPod| (shown.key.clone(), shown.uid.clone(), shown.standing.clone());
            assert_eq!((parts(&shown), &shown.entry), (parts(&whole), &whole.entry));
        }
    }
}

#[test]
fn only_what_changes_gets_a_new_version() {
    let first = next(
        &revision(&[(Kind::ConfigMap, "a", json!({"data": {"k": "1"}})), (Kind::ConfigMap, "b", json!({}))]),
        60,
        &Projection::default(),
    );
    let same = next(
        &revision(&[(Kind::ConfigMap, "a", json!({"data": {"k": "1"}})), (Kind::ConfigMap, "b", json!({}))]),
        90,
        &first,
    );
    assert_eq!(same.resource_version, first.resource_version);
    assert_eq!(same.objects, first.objects);
    let changed = next(
        &revision(&[(Kind::ConfigMap, "a", json!({"data": {"k": "2"}})), (Kind::ConfigMap, "b", json!({}))]),
        120,
        &same,
    );
    assert!(changed.resource_version > first.resource_version);
    let version = |p: &Projection, name| p.objects[&key(Kind::ConfigMap, name)].resource_version;
    assert_eq!(version(&changed, "a"), changed.resource_version);
    assert_eq!(version(&changed, "b"), version(&first, "b"));
    let metadata = |p: &Projection| p.objects[&key(Kind::ConfigMap, "a")].value["metadata"].clone();
    for member in ["uid", "creationTimestamp"] {
        assert_eq!(metadata(&changed)[member], metadata(&first)[member], "{member}");
    }
    assert_eq!(metadata(&changed)["resourceVersion"], changed.resource_version.to_string());
    let gone = next(&revision(&[(Kind::ConfigMap, "b", json!({}))]), 150, &changed);
    assert!(gone.resource_version > changed.resource_version);
    assert!(!gone.objects.contains_key(&key(Kind::ConfigMap, "a")));
}

#[test]
fn what_is_made_of_the_same_is_the_same_and_as_many_others_are_not() {
    let map = |name| (Kind::ConfigMap, name, json!({"data": {"k": "1"}}));
    let space = |phase: &str| (Kind::Namespace, "default", json!({"spec": {"note": phase}}));
    let made = revision(&[map("a"), map("b")]);
    let (_, pod) = scripted("Always", "", "a=run");
    let shown = Arc::new(shown_pod(pod, None));
    let made_of = |admitted: &Admitted, pods: &[Arc<ShownPod>], previous: &Projection| {
        project(&ProjectInput { admitted: Some(admitted), pods, events: &[], node: &node(), now: at(90) }, previous)
    };
    let first = made_of(&made, std::slice::from_ref(&shown), &Projection::default());
    let same = made_of(&made, std::slice::from_ref(&shown), &first);
    assert!(Arc::ptr_eq(&same.objects, &first.objects));
    assert_eq!(same.resource_version, first.resource_version);
    // As many objects, and one of them another one each time.
    let mut other = made.clone();
    let moved = other.objects.remove(&key(Kind::ConfigMap, "b")).unwrap();
    other.objects.insert(key(Kind::ConfigMap, "c"), moved);
    let (_, pod) = scripted("Always", "", "a=exit1");
    let restarted = Arc::new(shown_pod(pod, None));
    let named = revision(&[map("a"), map("b"), space("x")]);
    for (admitted, pod, changed) in [
        (&other, &shown, key(Kind::ConfigMap, "c")),
        (&made, &restarted, shown.key.object()),
        (&named, &shown, key(Kind::Namespace, "default")),
    ] {
        let next = made_of(admitted, std::slice::from_ref(pod), &same);
        assert_eq!(next.objects.len(), same.objects.len());
        assert!(next.resource_version > same.resource_version, "{changed}");
        assert_eq!(next.objects[&changed].resource_version, next.resource_version, "{changed}");
        let a = |projection: &Projection| projection.objects[&key(Kind::ConfigMap, "a")].resource_version;
        assert_eq!(a(&next), a(&same), "{changed}");
    }
}

#[test]
fn an_agent_started_later_hands_out_later_versions() {
    let admitted = revision(&[]);
    let first = next(&admitted, 60, &Projection::default());
    assert!(next(&admitted, 61, &Projection::default()).resource_version > first.resource_version);
}

#[test]
fn secrets_and_namespaces_are_served_as_an_api_server_would() {
    let admitted = revision(&[
        (Kind::Secret, "s", json!({"stringData": {"user": "admin"}, "data": {"old": "eA=="}})),
        (Kind::Namespace, "prod", json!({})),
    ]);
    let projection = next(&admitted, 60, &Projection::default());
    let secret = &projection.objects[&key(Kind::Secret, "s")].value;
    assert_eq!((&secret["data"]["user"], &secret["data"]["old"]), (&json!("YWRtaW4="), &json!("eA==")));
    assert_eq!((&secret["type"], &secret["stringData"]), (&json!("Opaque"), &Value::Null));
    let namespaces: Vec<&str> =
        projection.objects.keys().filter(|k| k.kind == Kind::Namespace).map(|k| k.name.as_str()).collect();
    assert_eq!(namespaces, ["default", "prod"]);
    assert_eq!(projection.objects[&key(Kind::Namespace, "prod")].value["status"]["phase"], "Active");
    assert_eq!(projection.node.unwrap().value["status"]["addresses"][0]["address"], "192.168.7.2");
}

fn told(events: &[EventRecord]) -> Vec<String> {
    events
        .iter()
        .map(|e| {
            let path = e.field_path.as_deref().unwrap_or("-");
            format!("{:?} {} {path} {} @{}", e.kind, e.reason, e.message, e.first.as_second() - at(0).as_second())
        })
        .collect()
}

#[test]
fn how_an_image_came_to_be_here_is_told() {
    let (born, _) = scripted("Always", "", "a");
    let with = |image_source: ImageSource| {
        let mut pod = born.clone();
        pod.containers = vec![instance("a", ContainerKind::App, 0, running(5))];
        pod.containers[0].record.image_source = image_source;
        let mut events = told(&events_between(Some(&born), Some(&pod), ("edge-1", at(50))));
        events.retain(|event| !event.contains("Created") && !event.contains("Started"));
        let conditions = object(&pod, &[]).status.unwrap().conditions.unwrap();
        let stale = conditions.into_iter().find(|c| c.type_ == "ImageStale");
        (events, stale.map(|c| (c.status, c.reason.unwrap(), c.message.unwrap())))
    };
    let pulled = |mended: Option<&str>| ImageSource::Pulled {
        took: SignedDuration::from_millis(1500),
        waited: SignedDuration::from_secs(63),
        size: 42,
        mended: mended.map(str::to_owned),
    };
    let present = "Normal Pulled spec.containers{a} Container image \"nginx\" already present on machine and can be accessed by the pod @2";
    let success = "Normal Pulled spec.containers{a} Successfully pulled image \"nginx\" in 1.5s (1m3s including waiting). Image size: 42 bytes. @2";
    assert_eq!(with(ImageSource::Present), (vec![present.to_owned()], None));
    assert_eq!(with(pulled(None)), (vec![success.to_owned()], None));
    let damaged =
        "Warning ImageDamaged spec.containers{a} Container image \"nginx\" was pulled again: it is damaged @2";
    assert_eq!(with(pulled(Some("it is damaged"))), (vec![damaged.to_owned(), success.to_owned()], None));
    let stale =
        "Warning ImageStale spec.containers{a} Container image \"nginx\" may be older than the registry's: r: gone @2";
    let condition = "image \"nginx\" of container a: r: gone".to_owned();
    assert_eq!(
        with(ImageSource::Stale { why: "r: gone".into() }),
        (
            vec![stale.to_owned(), present.to_owned()],
            Some(("True".to_owned(), "RegistryUnavailable".to_owned(), condition))
        )
    );
}

#[test]
fn a_pods_story_is_told_in_the_kubelets_words() {
    let (mut pod, _) = scripted("Always", "", "a");
    let born = pod.clone();
    assert_eq!(
        told(&events_between(None, Some(&born), ("edge-1", at(50)))),
        ["Normal Scheduled - Successfully assigned default/web to edge-1 @0"]
    );
    pod.containers = vec![instance("a", ContainerKind::App, 0, running(5))];
    assert_eq!(
        told(&events_between(Some(&born), Some(&pod), ("edge-1", at(50)))),
        [
            "Normal Pulled spec.containers{a} Container image \"nginx\" already present on machine and can be accessed by the pod @2",
            "Normal Created spec.containers{a} Container created @2",
            "Normal Started spec.containers{a} Container started @5",
        ]
    );
    assert!(events_between(Some(&pod), Some(&pod), ("edge-1", at(50))).is_empty());
    let mut stopping = pod.clone();
    stopping.record.deletion = Some(Deletion { requested_at: at(20), grace_seconds: 30, reason: "removed".into() });
    stopping.containers[0].record.stopping = Some(Stopping::new(at(21), 30, "removed"));
    assert_eq!(
        told(&events_between(Some(&pod), Some(&stopping), ("edge-1", at(50)))),
        ["Normal Killing spec.containers{a} Stopping container a @21"]
    );
    stopping.record.deletion = None;
    stopping.containers[0].record.image = "nginx:old".into();
    assert_eq!(
        told(&events_between(Some(&pod), Some(&stopping), ("edge-1", at(50)))),
        ["Normal Killing spec.containers{a} Container a definition changed, will be restarted @21"]
    );
    assert!(events_between(Some(&pod), None, ("edge-1", at(50))).is_empty());
}

#[test]
fn a_sidecar_is_called_an_init_container_when_it_changes() {
    let spec = json!({
        "initContainers": [{"name": "side", "image": "nginx", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "nginx"}],
    });
    let mut pod = observed(admitted("web", json!({}), spec));
    pod.containers = vec![instance("side", ContainerKind::Sidecar, 0, running(5))];
    let mut stopping = pod.clone();
    let record = &mut stopping.containers[0].record;
    record.image = "nginx:old".into();
    record.stopping = Some(Stopping::new(at(21), 30, "other"));
    assert_eq!(
        told(&events_between(Some(&pod), Some(&stopping), ("edge-1", at(50)))),
        ["Normal Killing spec.initContainers{side} Init container side definition changed @21"]
    );
}

#[test]
fn a_dead_sandbox_and_a_deadline_that_passed_are_told_once() {
    let spec = json!({"activeDeadlineSeconds": 30, "containers": [{"name": "a", "image": "nginx"}]});
    let mut pod = observed(admitted("web", json!({}), spec));
    pod.containers = vec![instance("a", ContainerKind::App, 0, running(5))];
    let between =
        |old: &ObservedPod, new: &ObservedPod| told(&events_between(Some(old), Some(new), ("edge-1", at(50))));
    let mut dead = pod.clone();
    dead.sandbox = Sandbox::Dead { attempt: 0 };
    let changed = "Normal SandboxChanged - Pod sandbox changed, it will be killed and re-created. @50";
    assert_eq!(between(&pod, &dead), [changed]);
    assert!(between(&dead, &dead).is_empty());
    let deadline = "Pod was active on the node longer than the specified deadline";
    let mut late = pod.clone();
    late.containers[0].record.stopping = Some(Stopping::new(at(31), 30, deadline));
    let exceeded = format!("Normal DeadlineExceeded - {deadline} @30");
    assert_eq!(between(&pod, &late), [exceeded.as_str(), "Normal Killing spec.containers{a} Stopping container a @31"]);
    let mut over = late.clone();
    over.record.terminal_cause = Some(TerminalCause::new("DeadlineExceeded", deadline));
    assert!(between(&late, &over).is_empty());
    over.containers.clear();
    pod.containers.clear();
    assert_eq!(between(&pod, &over), [exceeded.as_str()], "nothing of it ran");
}

#[test]
fn what_a_pod_does_not_get_is_told_in_the_kubelets_words() {
    let (pod, _) = scripted("Always", "", "a=run");
    let notes = |missing_cluster_dns, left_out: &[&str]| ResolverNotes {
        missing_cluster_dns,
        left_out: left_out.iter().map(|text| (*text).to_owned()).collect(),
    };
    assert!(resolver_events(&pod, &ResolverNotes::default(), at(9)).is_empty());
    assert_eq!(
        told(&resolver_events(&pod, &notes(true, &["Nameserver limits were exceeded"]), at(9))),
        [
            "Warning MissingClusterDNS - pod: \"web_default(0e0c9a5e-1111-4222-8333-444455556666)\". kubelet does not have \
             ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" \
             policy. @9",
            "Warning DNSConfigForming - Nameserver limits were exceeded @9",
        ]
    );
    assert_eq!(
        told(&[exceeded_event(&pod, at(9))]),
        ["Warning ExceededGracePeriod - Container runtime did not kill the pod within specified grace period. @9"]
    );
}

#[test]
fn a_new_agent_has_to_tell_what_was_not_told() {
    let (mut pod, _) = scripted("Always", "", "a");
    pod.containers = vec![instance("a", ContainerKind::App, 0, exited(1, 20))];
    let (now, none) = (("edge-1", at(50)), Default::default());
    let waits = [("a".to_owned(), ("CrashLoopBackOff".to_owned(), "b".to_owned()))].into();
    let all: Vec<Arc<EventRecord>> = adoption_events(&pod, &waits, &[], now).into_iter().map(Arc::new).collect();
    let reasons = |events: &[EventRecord]| events.iter().map(|e| e.reason.clone()).collect::<Vec<_>>();
    let left = |known: &[Arc<EventRecord>], waits| reasons(&adoption_events(&pod, waits, known, now));
    assert_eq!(left(&[], &waits), ["Scheduled", "Pulled", "Created", "Started", "BackOff"]);
    assert_eq!(left(&all, &waits), [""; 0]);
    assert_eq!(left(&all[1..], &none), ["Scheduled"], "what was not kept in time");
    // What the agent before worded otherwise, and what stands for several.
    let other = |index: usize, event: EventRecord| {
        let mut known = all.clone();
        known[index] = Arc::new(event);
        known
    };
    let worded = EventRecord { message: "Created container: a".into(), ..(*all[2]).clone() };
    assert_eq!(left(&other(2, worded.clone()), &none), [""; 0]);
    let combined = "(combined from similar events): Container made".to_owned();
    assert_eq!(left(&other(2, EventRecord { message: combined, last: at(9), ..worded.clone() }), &none), [""; 0]);
    assert_eq!(left(&other(2, EventRecord { last: at(1), ..worded }), &none), ["Created"]);
    // A wait from before it ended again is another one.
    let before = EventRecord { last: at(19), ..(*all[4]).clone() };
    assert_eq!(left(&other(4, before), &waits), ["BackOff"]);
    // Of another incarnation nothing was told.
    let of_another = |e: &Arc<EventRecord>| Arc::new(EventRecord { uid: "other".into(), ..(**e).clone() });
    assert_eq!(left(&all.iter().map(of_another).collect::<Vec<_>>(), &none).len(), 4);
}

#[test]
fn a_new_incarnation_begins_a_new_story() {
    let (old, _) = scripted("Always", "", "a=run");
    let mut new: ObservedPod = old.clone();
    new.record.uid.0 = "other".into();
    assert_eq!(events_between(Some(&old), Some(&new), ("edge-1", at(9))).len(), 4);
}

#[test]
fn waiting_reasons_become_events_once() {
    let (pod, _) = scripted("Always", "", "a=exit1");
    let waiting = |entries: &[(&str, &str, &str)]| {
        entries.iter().map(|(c, r, m)| ((*c).into(), ((*r).into(), (*m).into()))).collect()
    };
    let none = waiting(&[]);
    for (entry, expected) in [
        (
            ("a", "CrashLoopBackOff", "b"),
            vec![
                "Warning BackOff spec.containers{a} Back-off restarting failed container a in pod \
             web_default(0e0c9a5e-1111-4222-8333-444455556666) @50",
            ],
        ),
        (
            ("a", "ErrImagePull", "no route"),
            vec![
                "Warning Failed spec.containers{a} Failed to pull image \"nginx\": no route @50",
                "Warning Failed spec.containers{a} Error: ErrImagePull @50",
            ],
        ),
        (
            ("a", "ImagePullBackOff", "Back-off pulling image"),
            vec![
                "Normal BackOff spec.containers{a} Back-off pulling image \"nginx\" @50",
                "Warning Failed spec.containers{a} Error: ImagePullBackOff @50",
            ],
        ),
        (
            ("a", "ErrImageNeverPull", ""),
            vec![
                "Warning ErrImageNeverPull spec.containers{a} Container image \"nginx\" is not present with pull policy of \
             Never @50",
                "Warning Failed spec.containers{a} Error: ErrImageNeverPull @50",
            ],
        ),
        (
            ("a", "InvalidImageName", "no such form"),
            vec![
                "Warning InspectFailed spec.containers{a} Failed to apply default image tag \"nginx\": no such form @50",
                "Warning Failed spec.containers{a} Error: InvalidImageName @50",
            ],
        ),
        (
            ("a", "ImageInspectError", "damaged"),
            vec![
                "Warning InspectFailed spec.containers{a} Failed to inspect image \"nginx\": damaged @50",
                "Warning Failed spec.containers{a} Error: ImageInspectError @50",
            ],
        ),
        (
            ("a", "CreateContainerConfigError", "secret \"x\" not found"),
            vec!["Warning Failed spec.containers{a} Error: secret \"x\" not found @50"],
        ),
        (("", "FailedMount", "no such path"), vec!["Warning FailedMount - no such path @50"]),
        (("", "FailedSync", "no record"), vec!["Warning FailedSync - no record @50"]),
        (
            ("", "CreatePodSandboxError", "no bridge"),
            vec!["Warning FailedCreatePodSandBox - Failed to create pod sandbox: no bridge @50"],
        ),
        (("a", "ContainerCreating", ""), vec![]),
    ] {
        let new = waiting(&[entry]);
        assert_eq!(told(&waiting_events(&pod, &none, &new, at(50))), expected, "{entry:?}");
        assert!(waiting_events(&pod, &new, &new, at(51)).is_empty());
    }
}

#[test]
fn each_volume_that_cannot_be_made_is_told_by_itself() {
    let (pod, _) = scripted("Always", "", "a=exit1");
    let waits = |volumes: &[&str]| {
        volumes.iter().map(|v| (String::new(), ("FailedMount".to_owned(), format!("volume {v}")))).collect()
    };
    let (none, one, both) = (waits(&[]), waits(&["v"]), waits(&["v", "w"]));
    let events = |old, new| told(&waiting_events(&pod, old, new, at(50)));
    assert_eq!(events(&none, &both), ["Warning FailedMount - volume v @50", "Warning FailedMount - volume w @50"]);
    assert_eq!(events(&one, &both), ["Warning FailedMount - volume w @50"]);
    assert_eq!(events(&both, &both), [""; 0]);
}

#[test]
fn equal_events_are_counted_and_the_list_is_bounded() {
    let (pod, _) = scripted("Always", "", "a=run");
    let one = events_between(None, Some(&pod), ("edge-1", at(9))).remove(0);
    let mut log = EventLog::default();
    log.add(one.clone(), 2);
    log.add(EventRecord { first: at(30), last: at(30), ..one.clone() }, 2);
    let first = &log.told()[0];
    assert_eq!((log.told().len(), first.count, first.first, first.last), (1, 2, at(0), at(30)));
    for (second, message) in [(40, "x"), (50, "y")] {
        log.add(EventRecord { message: message.into(), first: at(second), last: at(second), ..one.clone() }, 2);
    }
    assert_eq!(log.told().iter().map(|e| e.message.as_str()).collect::<Vec<_>>(), ["x", "y"]);
}

/// An event of a reason, from a container.
fn unhealthy() -> EventRecord {
    let (pod, _) = scripted("Always", "", "a=run");
    EventRecord { reason: "Unhealthy".into(), ..events_between(None, Some(&pod), ("edge-1", at(9))).remove(0) }
}

fn said(path: &str, message: &str, second: i64) -> EventRecord {
    let (message, field_path) = (message.to_owned(), Some(path.to_owned()));
    EventRecord { message, field_path, first: at(second), last: at(second), ..unhealthy() }
}

fn shown_events(log: &EventLog) -> Vec<(&str, u32)> {
    log.told().iter().map(|event| (event.message.as_str(), event.count)).collect()
}

#[test]
fn many_similar_events_leave_room_for_others() {
    let mut log = EventLog::default();
    log.add(said("b", "other", 0), 1000);
    // As seldom as a source may tell them.
    (0..30).for_each(|n| log.add(said("a", &format!("text {n}"), 300 * (n + 1)), 1000));
    let mut expected: Vec<(String, u32)> = (0..8).map(|n| (format!("text {n}"), 1)).collect();
    expected.insert(0, ("other".to_owned(), 1));
    expected.push(("(combined from similar events): text 29".to_owned(), 22));
    let expected: Vec<(&str, u32)> = expected.iter().map(|(text, count)| (text.as_str(), *count)).collect();
    assert_eq!(shown_events(&log), expected, "nine, whichever container they are of, and one for the others");
    let name = |event: &EventRecord| event_object(event, 7, "edge-1")["metadata"]["name"].clone();
    let combined = log.told()[9].clone();
    assert_eq!((combined.first, combined.last), (at(300 * 9), at(9000)));
    // As long as one is told from time to time it goes on.
    log.add(said("b", "slow", 9600), 1000);
    assert_eq!(log.told()[9].message, "(combined from similar events): slow");
    assert_eq!((name(&log.told()[9]), log.told().len()), (name(&combined), 10), "one event, whatever it says");
    log.add(said("a", "set back", 9000), 1000);
    assert_eq!((log.told()[9].count, log.told()[9].last), (24, at(9600)));
    log.add(said("a", "after a pause", 9601), 1000);
    assert_eq!(shown_events(&log).last(), Some(&("after a pause", 1)));
    // One by one, and still not without end.
    (0..40).for_each(|n| log.add(said("a", &format!("later {n}"), 11_000 + 700 * n), 1000));
    let texts = shown_events(&log);
    assert_eq!((texts.len(), texts.first(), texts.last()), (25, Some(&("later 15", 1)), Some(&("later 39", 1))));
}

#[test]
fn a_source_tells_25_events_of_an_object_and_then_one_in_five_minutes() {
    let mut log = EventLog::default();
    (0..40).for_each(|n| log.add(said("a", "text", 100 + n), 1000));
    assert_eq!(shown_events(&log), [("text", 25)]);
    assert_eq!(log.told()[0].last, at(124), "what is told stays as it is");
    // What it ends for is told whatever else there was to tell.
    let killing = |second| EventRecord { reason: "Killing".into(), ..said("a", "container a failed", second) };
    (140..142).for_each(|second| log.add(killing(second), 1000));
    assert_eq!((shown_events(&log)[1], log.told().len()), (("container a failed", 1), 2));
    // Who else there is has an allowance of its own, and what is new is counted until it is told.
    let other = EventRecord { component: "podwright".into(), ..said("a", "text", 140) };
    let elsewhere = EventRecord { uid: "another".into(), ..said("a", "text", 140) };
    [other, elsewhere, said("a", "new", 141), said("a", "new", 142)].into_iter().for_each(|event| log.add(event, 1000));
    assert_eq!(shown_events(&log), [("text", 25), ("container a failed", 1), ("text", 1), ("text", 1)]);
    log.add(said("a", "new", 399), 1000);
    assert_eq!(log.told().len(), 4, "a second early");
    log.add(said("a", "new", 400), 1000);
    let told = log.told()[4].clone();
    assert_eq!((told.message.as_str(), told.count, told.first, told.last), ("new", 4, at(141), at(400)));
    log.add(said("a", "text", 699), 1000);
    assert_eq!(log.told()[0].count, 25);
    // A clock that was set back brings nothing, and takes nothing.
    log.add(said("a", "text", 0), 1000);
    log.add(said("a", "text", 700), 1000);
    assert_eq!((log.told()[0].count, log.told()[0].last), (43, at(700)), "all that was said is in the count");
    // Nor does it stand still until the clock has caught up.
    let mut log = EventLog::default();
    (0..25).for_each(|n| log.add(said("a", "text", 9_000 + n), 1000));
    [100, 300, 400].into_iter().for_each(|second| log.add(said("a", "text", second), 1000));
    assert_eq!(log.told()[0].count, 28);
}

#[test]
fn a_log_that_goes_on_has_whole_allowances_and_the_same_bounds() {
    let mut log = EventLog::default();
    (0..40).for_each(|n| log.add(said("a", "text", 100 + n), 1000));
    assert_eq!(shown_events(&log), [("text", 25)]);
    // What was not told is lost with who counted it, as with client-go.
    let mut next = EventLog::after(log.told().to_vec(), 1000);
    (0..40).for_each(|n| next.add(said("a", "text", 200 + n), 1000));
    assert_eq!((shown_events(&next), next.told()[0].first), (vec![("text", 50)], at(100)));
    // However often it begins anew, there are no more events for it.
    let mut log = EventLog::default();
    for turn in 0..30 {
        log = EventLog::after(log.told().to_vec(), 40);
        (0..9).for_each(|n| log.add(said("a", &format!("text {turn} {n}"), 10 * turn + n), 40));
        log.add(EventRecord { uid: format!("pod {turn}"), ..said("a", "text", 10 * turn) }, 40);
    }
    let similar = log.told().iter().filter(|event| event.uid == unhealthy().uid).count();
    assert_eq!((similar, log.told().len()), (25, 40));
}

#[test]
fn an_event_survives_the_api_and_keeps_its_name_over_counts() {
    let (pod, _) = scripted("Always", "", "a=run");
    for event in events_between(None, Some(&pod), ("edge-1", at(9))) {
        let object = event_object(&event, 7, "edge-1");
        let host = if event.component == "default-scheduler" { Value::Null } else { json!("edge-1") };
        assert_eq!(object["source"]["host"], host, "a machine tells it, or nobody's");
        assert_eq!(event_record(&object).as_ref(), Some(&event));
        let again = event_object(&EventRecord { count: 5, last: at(99), ..event }, 7, "edge-1");
        assert_eq!(again["metadata"]["name"], object["metadata"]["name"]);
    }
    assert_eq!(event_record(&json!({"kind": "Event"})), None);
}

#[test]
fn an_instance_that_never_started_is_a_failure() {
    let (mut pod, _) = scripted("Always", "", "a");
    let born = pod.clone();
    let mut instance = instance("a", ContainerKind::App, 0, exited(128, 10));
    if let podwright::model::ContainerState::Exited(exit) = &mut instance.state {
        exit.started_at = None;
        exit.reason = Some("StartError".into());
        exit.message = Some("exec /nope: no such file".into());
    }
    pod.containers = vec![instance];
    let events = events_between(Some(&born), Some(&pod), ("edge-1", at(50)));
    assert_eq!(told(&events)[2], "Warning Failed spec.containers{a} Error: exec /nope: no such file @10");
}

#[test]
fn a_node_tells_what_it_is_made_of_as_a_kubelet_does() {
    let amounts = |cpu: &str| [("cpu".to_owned(), cpu.to_owned())].into();
    let system = NodeSystem {
        machine_id: "m".into(),
        system_uuid: "u".into(),
        boot_id: "b".into(),
        kernel_version: "6.12.1".into(),
        os_image: "One Linux".into(),
        architecture: "arm64".into(),
    };
    let node = NodeInfo { allocatable: amounts("2"), capacity: amounts("4"), system, ..node() };
    let input = ProjectInput { admitted: None, pods: &[], events: &[], node: &node, now: at(1) };
    let shown = project(&input, &Projection::default()).node.unwrap().value.clone();
    let version = env!("CARGO_PKG_VERSION");
    let expected = json!({
        "machineID": "m", "systemUUID": "u", "bootID": "b", "kernelVersion": "6.12.1", "osImage": "One Linux",
        "architecture": "arm64", "operatingSystem": "linux", "kubeletVersion": format!("v{version}"),
        "containerRuntimeVersion": format!("podwright://{version}"),
    });
    assert_eq!(shown["status"]["nodeInfo"], expected);
    assert_eq!(
        (&shown["status"]["capacity"], &shown["status"]["allocatable"]),
        (&json!({"cpu": "4"}), &json!({"cpu": "2"}))
    );
    let described = describe_node(&shown, &[], &[], at(1));
    for line in ["Capacity:\n  cpu:  4\n", "Allocatable:\n  cpu:  2\n", "OS Image:                   One Linux\n"] {
        assert!(described.contains(line), "{described}");
    }
}
