//! READY, STATUS and RESTARTS: each branch of kubectl's algorithm.

use k8s_openapi::api::core::v1::Pod;
use podwright::model::Kind;
use podwright::report::{Listed, TableOptions, as_unknown, objects_table, pod_row, pods_table};
use serde_json::{Value, json};

use super::fixture::{at, scripted};

fn pod(spec: Value, status: Value) -> Pod {
    let value = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec, "status": status});
    serde_json::from_value(value).unwrap()
}

fn waiting(name: &str, reason: &str) -> Value {
    json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason}}})
}

fn ended(name: &str, code: i32, reason: &str, signal: i32) -> Value {
    json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}})
}

fn runs(name: &str, ready: bool, restarts: i32) -> Value {
    json!({"name": name, "image": "", "imageID": "", "ready": ready, "started": ready, "restartCount": restarts,
        "state": {"running": {}}})
}

fn containers(names: &str) -> Vec<Value> {
    let one = |n: &str| match n.strip_suffix('+') {
        Some(sidecar) => json!({"name": sidecar, "restartPolicy": "Always"}),
        None => json!({"name": n}),
    };
    names.split_whitespace().map(one).collect()
}

/// A pod with these container names and statuses, and what its row says.
fn expect(names: (&str, &str), phase: &str, statuses: (&[Value], &[Value]), expected: (&str, &str)) {
    expect_with(names, json!({"phase": phase}), statuses, expected);
}

fn expect_with(names: (&str, &str), mut status: Value, statuses: (&[Value], &[Value]), expected: (&str, &str)) {
    let spec = json!({"initContainers": containers(names.0), "containers": containers(names.1)});
    status["initContainerStatuses"] = json!(statuses.0);
    status["containerStatuses"] = json!(statuses.1);
    let row = pod_row(&pod(spec, status.clone()), at(60));
    assert_eq!((row.status.as_str(), row.ready.as_str()), expected, "{status}");
}

#[test]
fn without_container_statuses_the_status_column_is_the_phase_or_the_pods_reason() {
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    expect(("", "a"), "Pending", (&[], &[]), ("Pending", "0/1"));
    expect_with(("", "a"), json!({"phase": "Failed", "reason": "Evicted"}), (&[], &[]), ("Evicted", "0/1"));
    let status = json!({"phase": "Pending", "conditions": gated});
    expect_with(("", "a"), status, (&[], &[]), ("SchedulingGated", "0/1"));
}

#[test]
fn app_containers_decide_the_status_column() {
    let done = || ended("a", 0, "Completed", 0);
    let a = ("", "a");
    expect(a, "Running", (&[], &[runs("a", true, 0)]), ("Running", "1/1"));
    expect(a, "Pending", (&[], &[waiting("a", "ErrImagePull")]), ("ErrImagePull", "0/1"));
    expect(a, "Running", (&[], &[waiting("a", "CrashLoopBackOff")]), ("CrashLoopBackOff", "0/1"));
    expect(a, "Failed", (&[], &[ended("a", 1, "Error", 0)]), ("Error", "0/1"));
    expect(a, "Failed", (&[], &[ended("a", 3, "", 0)]), ("ExitCode:3", "0/1"));
    expect(a, "Failed", (&[], &[ended("a", 137, "", 9)]), ("Signal:9", "0/1"));
    expect(a, "Succeeded", (&[], &[done()]), ("Completed", "0/1"));
    let two = ("", "a b");
    expect(two, "Running", (&[], &[done(), runs("b", true, 0)]), ("NotReady", "1/2"));
    expect(two, "Running", (&[], &[done(), runs("b", false, 0)]), ("Completed", "0/2"));
    expect(two, "Failed", (&[], &[done(), ended("b", 2, "Error", 0)]), ("Error", "0/2"));
    expect(two, "Running", (&[], &[ended("a", 2, "Error", 0), runs("b", true, 0)]), ("Error", "1/2"));
    // The first container with something to say wins.
    let both = [waiting("a", "ErrImagePull"), waiting("b", "ContainerCreating")];
    expect(two, "Pending", (&[], &both), ("ErrImagePull", "0/2"));
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    expect_with(two, ready, (&[], &[done(), runs("b", true, 0)]), ("Running", "1/2"));
}

#[test]
fn init_containers_decide_the_status_column_until_they_are_done() {
    let done = || ended("i", 0, "Completed", 0);
    let two = ("i j", "a");
    expect(two, "Pending", (&[runs("i", false, 0), waiting("j", "PodInitializing")], &[]), ("Init:0/2", "0/1"));
    expect(two, "Pending", (&[done(), waiting("j", "PodInitializing")], &[]), ("Init:1/2", "0/1"));
    let one = ("i", "a");
    expect(one, "Pending", (&[waiting("i", "ImagePullBackOff")], &[]), ("Init:ImagePullBackOff", "0/1"));
    expect(one, "Failed", (&[ended("i", 1, "Error", 0)], &[]), ("Init:Error", "0/1"));
    expect(one, "Failed", (&[ended("i", 1, "", 0)], &[]), ("Init:ExitCode:1", "0/1"));
    expect(one, "Failed", (&[ended("i", 137, "", 9)], &[]), ("Init:Signal:9", "0/1"));
    expect(one, "Running", (&[done()], &[runs("a", true, 0)]), ("Running", "1/1"));
    let sidecar = ("s+", "a");
    expect(sidecar, "Pending", (&[runs("s", false, 0)], &[]), ("Init:0/1", "0/2"));
    expect(sidecar, "Running", (&[runs("s", true, 0)], &[runs("a", true, 0)]), ("Running", "2/2"));
    // Initialized once: a sidecar that is down does not hide the app containers' readiness.
    let status = json!({"phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}]});
    let down = [waiting("s", "CrashLoopBackOff")];
    expect_with(sidecar, status, (&down, &[runs("a", true, 0)]), ("Init:CrashLoopBackOff", "1/2"));
}

#[test]
fn a_pod_going_away_is_terminating_unless_it_ended_or_its_node_is_lost() {
    for (status, expected) in [
        (json!({"phase": "Running"}), "Terminating"),
        (json!({"phase": "Running", "reason": "NodeLost"}), "Unknown"),
        (json!({"phase": "Succeeded"}), "Succeeded"),
    ] {
        let mut pod = pod(json!({"containers": containers("a")}), status);
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
        assert_eq!(pod_row(&pod, at(60)).status, expected);
    }
}

#[test]
fn restarts_count_apps_and_sidecars_and_tell_the_last_one() {
    let mut app = runs("a", true, 3);
    app["lastState"] = json!({"terminated": {"exitCode": 1, "finishedAt": at(50).to_string()}});
    let status = json!({
        "phase": "Running",
        "initContainerStatuses": [ended("i", 0, "Completed", 0), runs("s", true, 2)],
        "containerStatuses": [app],
    });
    let spec = json!({"initContainers": containers("i s+"), "containers": containers("a")});
    let row = pod_row(&pod(spec, status), at(60));
    assert_eq!((row.restarts.as_str(), row.restart_count), ("5 (10s ago)", 5));
}

#[test]
fn the_tables_are_laid_out_as_kubectl_does() {
    let (_, web) = scripted("Always", "", "a=run b=run");
    let (_, mut job) = scripted("Never=Failed", "", "a=exit1");
    job.metadata.name = Some("a-longer-name".into());
    let rows = [pod_row(&web, at(100)), pod_row(&job, at(4000))];
    assert_eq!(
        pods_table(&rows, TableOptions::default()),
        "NAME            READY   STATUS    RESTARTS   AGE\n\
         web             2/2     Running   0          100s\n\
         a-longer-name   0/1     Error     0          66m\n"
    );
    let wide = TableOptions { wide: true, namespaces: true, no_headers: false };
    assert_eq!(
        pods_table(&rows[..1], wide),
        "NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE    IP          NODE     NOMINATED NODE   READINESS GATES\n\
         default     web    2/2     Running   0          100s   10.88.0.5   edge-1   <none>           <none>\n"
    );
    let bare = TableOptions { no_headers: true, ..TableOptions::default() };
    assert_eq!(pods_table(&rows[..1], bare), "web   2/2   Running   0     100s\n");
}

#[test]
fn other_kinds_have_their_own_columns() {
    let created = at(0).to_string();
    let meta = |name: &str| json!({"name": name, "namespace": "default", "creationTimestamp": created});
    for (kind, object, expected) in [
        (
            Kind::ConfigMap,
            json!({"metadata": meta("cm"), "data": {"a": "1", "b": "2"}, "binaryData": {"c": ""}}),
            "NAME   DATA   AGE\ncm     3      60s\n",
        ),
        (
            Kind::Secret,
            json!({"metadata": meta("s"), "type": "Opaque", "data": {"a": "eA=="}}),
            "NAME   TYPE     DATA   AGE\ns      Opaque   1      60s\n",
        ),
        (Kind::ServiceAccount, json!({"metadata": meta("sa")}), "NAME   AGE\nsa     60s\n"),
        (Kind::PodPreset, json!({"metadata": meta("allow-database")}), "NAME             AGE\nallow-database   60s\n"),
        (
            Kind::Namespace,
            json!({"metadata": meta("default"), "status": {"phase": "Active"}}),
            "NAME      STATUS   AGE\ndefault   Active   60s\n",
        ),
    ] {
        let text = objects_table(Listed::Kind(kind), &[object], TableOptions::default(), at(60));
        assert_eq!(text, expected, "{kind}");
    }
    let event = json!({
        "metadata": {"name": "web.1", "namespace": "default"}, "type": "Normal", "reason": "Started", "count": 1,
        "message": "Container started", "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"},
        "source": {"component": "kubelet", "host": "edge-1"}, "lastTimestamp": created, "firstTimestamp": created,
    });
    let wide = TableOptions { wide: true, ..TableOptions::default() };
    assert_eq!(
        objects_table(Listed::Event, std::slice::from_ref(&event), TableOptions::default(), at(60)),
        "LAST SEEN   TYPE     REASON    OBJECT    MESSAGE\n60s         Normal   Started   pod/web   Container started\n"
    );
    assert_eq!(
        objects_table(Listed::Event, &[event], wide, at(60)),
        "LAST SEEN   TYPE     REASON    OBJECT    SUBOBJECT            SOURCE            MESSAGE             FIRST SEEN   COUNT   NAME\n\
         60s         Normal   Started   pod/web   spec.containers{a}   kubelet, edge-1   Container started   60s          1       web.1\n"
    );
}

#[test]
fn nodes_have_their_roles_from_their_labels() {
    let node = |name: &str, labels: Value, spec: Value, status: Value| json!({"metadata": {"name": name, "labels": labels, "creationTimestamp": at(0).to_string()}, "spec": spec, "status": status});
    let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
    let known = json!({
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
        "addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "192.0.2.7"}],
        "nodeInfo": {"kubeletVersion": "v0.1.0", "osImage": "Debian", "kernelVersion": "6.1", "containerRuntimeVersion": "p://1"},
    });
    let roles = json!({
        "node-role.kubernetes.io/gateway": "", "kubernetes.io/role": "edge", "node-role.kubernetes.io/": "",
        "kubernetes.io/os": "linux",
    });
    let nodes = [
        node("a", roles, json!({}), known),
        node("b", json!({"kubernetes.io/role": ""}), json!({"unschedulable": true}), ready("False")),
        node("c", json!({}), json!({}), ready("Unknown")),
        node("d", json!({}), json!({}), json!({})),
    ];
    let table = |options| objects_table(Listed::Node, &nodes, options, at(60));
    assert_eq!(
        table(TableOptions::default()),
        "NAME   STATUS                        ROLES          AGE   VERSION\n\
         a      Ready                         edge,gateway   60s   v0.1.0\n\
         b      NotReady,SchedulingDisabled   <none>         60s   <unknown>\n\
         c      NotReady                      <none>         60s   <unknown>\n\
         d      Unknown                       <none>         60s   <unknown>\n"
    );
    let wide = table(TableOptions { wide: true, ..TableOptions::default() });
    let lines: Vec<Vec<&str>> = wide.lines().map(|line| line.split_whitespace().skip(4).collect()).collect();
    let header = ["VERSION", "INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"];
    assert_eq!(lines[0], header);
    assert_eq!(lines[1], ["v0.1.0", "192.0.2.7", "<none>", "Debian", "6.1", "p://1"]);
    assert_eq!(lines[4], ["<unknown>", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]);
}

#[test]
fn without_an_agent_a_pod_is_unknown_unless_it_had_ended() {
    let (_, web) = scripted("Always", "i=exit0", "a=run b=exit1!");
    let row = pod_row(&as_unknown(&web), at(60));
    assert_eq!((row.status.as_str(), row.ready.as_str()), ("Unknown", "0/2"));
    let (_, job) = scripted("Never=Succeeded", "", "a=exit0");
    assert_eq!(pod_row(&as_unknown(&job), at(60)).status, "Completed");
}

#[test]
fn a_node_is_listed_with_its_roles_and_what_it_is_made_of() {
    let labels = json!({"node-role.kubernetes.io/gateway": "", "kubernetes.io/role": "edge", "node-role.kubernetes.io/": "x", "a": "b"});
    let node = json!({
        "metadata": {"name": "edge-1", "labels": labels, "creationTimestamp": at(0).to_string()},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
            "nodeInfo": {"kubeletVersion": "v1", "osImage": "One Linux", "kernelVersion": "6.12", "containerRuntimeVersion": "r://1"},
        },
    });
    let options = TableOptions { wide: true, no_headers: true, ..TableOptions::default() };
    let row = objects_table(Listed::Node, &[node], options, at(60));
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let expected =
        ["edge-1", "NotReady", "edge,gateway", "60s", "v1", "192.0.2.7", "<none>", "One Linux", "6.12", "r://1"];
    assert_eq!(cells, expected);
}
