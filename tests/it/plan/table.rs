//! The table of updates, row by row in its own words: what changes in a pod's manifest and what that takes.

use podwright::model::{Cause, FieldChange, FleetPlan, Verb};
use podwright::plan::{converged, fleet};
use serde_json::{Value, json};

use super::change::set;
use super::world::at;
use crate::admit::without_tokens::admitted;

/// The pod of the table.
pub(super) fn base() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"app": "web"}, "annotations": {"note": "1"}},
        "spec": {
            "initContainers": [{"name": "init", "image": "setup:1"}, {"name": "side", "image": "proxy:1", "restartPolicy": "Always"}],
            "containers": [
                {"name": "a", "image": "nginx:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                 "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}},
                {"name": "b", "image": "redis:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            ],
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            "activeDeadlineSeconds": 600,
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "configMap": {"name": "m"}}, {"name": "s", "secret": {"secretName": "s"}}],
        },
    })
}

pub(super) fn objects(pod: Value) -> Vec<Value> {
    vec![
        pod,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "1"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "1"}}),
    ]
}

fn line(change: &FieldChange) -> String {
    let container = change.container.as_ref().map_or(String::new(), |name| format!(" of {name}"));
    let cause = match &change.cause {
        Cause::Preset { name } => format!(" by preset {name}"),
        Cause::Data { object, keys } => format!(" by {object} {}", keys.join(",")),
        other => other.of_node().map_or(String::new(), |node| format!(" by {node}")),
    };
    let note = change.note.as_ref().map_or(String::new(), |note| format!(" (note: {note})"));
    let instead = change.avoidable.as_ref().map_or(String::new(), |text| format!(" (instead: {text})"));
    format!("{}{container}{cause}{note}{instead}", change.field)
}

fn told(plan: &FleetPlan) -> String {
    let Some(action) = plan.actions.first() else { return Verb::Unchanged.as_str().to_owned() };
    let lines: Vec<String> = action.changes().iter().map(line).collect();
    format!("{}: {}", action.verb().as_str(), lines.join(", "))
}

pub(super) fn compare(before: &[Value], after: &[Value]) -> String {
    told(&fleet(&admitted(after), &converged(&admitted(before), at(0))))
}

const MOUNTED: &str = "(instead: in a mounted ConfigMap a value changes without a restart)";
const NEW_DATA: &str = "(instead: new data under the old name reaches the files without a restart)";
const KEEP: &str = "(instead: tolerations may be added: keep those of before beside the new ones)";
const ORDER: &str = "(instead: nothing but the order differs: the order of before needs no new pod)";
const ORDER_TOO: &str = "(instead: the order differs, too: in the order of before the rest needs no new pod)";

/// The row of the table, what is set before and after, and what is told; `null` takes a field away.
type Row = (&'static str, Vec<(&'static str, Value)>, Vec<(&'static str, Value)>, String);

fn row(title: &'static str, pointer: &'static str, value: Value, told: &str) -> Row {
    (title, vec![], vec![(pointer, value)], told.to_owned())
}

/// What may be updated, some of it within bounds.
#[rustfmt::skip]
fn mutable() -> Vec<Row> {
    let gate = |names: &[&str]| Value::from(names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>());
    let ephemeral = |image: &str| json!([{"name": "debug", "image": image}]);
    vec![
        row("labels", "/metadata/labels/app", json!("shop"), "update in place: metadata.labels[app]"),
        row("a label more", "/metadata/labels/tier", json!("x"), "update in place: metadata.labels[tier]"),
        row("a label less", "/metadata/labels/app", Value::Null, "update in place: metadata.labels[app]"),
        row("no labels", "/metadata/labels", Value::Null, "update in place: metadata.labels[app]"),
        row("annotations", "/metadata/annotations/note", Value::Null, "update in place: metadata.annotations[note]"),
        row("an annotation changed", "/metadata/annotations/note", json!("2"), "update in place: metadata.annotations[note]"),
        row("containers[].image", "/spec/containers/0/image", json!("nginx:2"), "restart container: spec.containers[0].image of a"),
        row("the image of another container", "/spec/containers/1/image", json!("redis:2"), "restart container: spec.containers[1].image of b"),
        ("containers[].image, any restartPolicy", vec![("/spec/restartPolicy", json!("Never"))],
            vec![("/spec/restartPolicy", json!("Never")), ("/spec/containers/0/image", json!("nginx:2"))],
            "restart container: spec.containers[0].image of a".into()),
        row("sidecar image", "/spec/initContainers/1/image", json!("proxy:2"), "restart container: spec.initContainers[1].image of side"),
        row("init image", "/spec/initContainers/0/image", json!("setup:2"),
            "update in place: spec.initContainers[0].image of init (note: an init container that has run does not run again)"),
        ("activeDeadlineSeconds set", vec![("/spec/activeDeadlineSeconds", Value::Null)], vec![], "update in place: spec.activeDeadlineSeconds".into()),
        row("activeDeadlineSeconds lowered", "/spec/activeDeadlineSeconds", json!(599), "update in place: spec.activeDeadlineSeconds"),
        row("activeDeadlineSeconds raised", "/spec/activeDeadlineSeconds", json!(601), "recreate: spec.activeDeadlineSeconds"),
        row("activeDeadlineSeconds removed", "/spec/activeDeadlineSeconds", Value::Null, "recreate: spec.activeDeadlineSeconds"),
        row("tolerations added", "/spec/tolerations/1", json!({"key": "x", "operator": "Exists"}), "update in place: spec.tolerations"),
        row("tolerationSeconds edited", "/spec/tolerations/0/tolerationSeconds", json!(6), "update in place: spec.tolerations"),
        row("tolerations edited", "/spec/tolerations/0/key", json!("x"), &format!("recreate: spec.tolerations {KEEP}")),
        row("tolerations removed", "/spec/tolerations", Value::Null, &format!("recreate: spec.tolerations {KEEP}")),
        row("terminationGracePeriodSeconds", "/spec/terminationGracePeriodSeconds", json!(29), "recreate: spec.terminationGracePeriodSeconds"),
        ("terminationGracePeriodSeconds negative -> 1", vec![("/spec/terminationGracePeriodSeconds", json!(-5))],
            vec![("/spec/terminationGracePeriodSeconds", json!(1))], "update in place: spec.terminationGracePeriodSeconds".into()),
        ("terminationGracePeriodSeconds negative -> 2", vec![("/spec/terminationGracePeriodSeconds", json!(-5))],
            vec![("/spec/terminationGracePeriodSeconds", json!(2))], "recreate: spec.terminationGracePeriodSeconds".into()),
        ("terminationGracePeriodSeconds 0 -> 1", vec![("/spec/terminationGracePeriodSeconds", json!(0))],
            vec![("/spec/terminationGracePeriodSeconds", json!(1))], "recreate: spec.terminationGracePeriodSeconds".into()),
        ("schedulingGates removed", vec![("/spec/schedulingGates", gate(&["a", "b"]))], vec![("/spec/schedulingGates", gate(&["b"]))],
            "update in place: spec.schedulingGates".into()),
        ("schedulingGates all removed", vec![("/spec/schedulingGates", gate(&["a"]))], vec![], "update in place: spec.schedulingGates".into()),
        ("schedulingGates renamed", vec![("/spec/schedulingGates", gate(&["a"]))], vec![("/spec/schedulingGates", gate(&["b"]))],
            "recreate: spec.schedulingGates".into()),
        row("schedulingGates added", "/spec/schedulingGates", gate(&["a"]), "recreate: spec.schedulingGates"),
        row("ephemeralContainers appended", "/spec/ephemeralContainers", ephemeral("i:1"), "update in place: spec.ephemeralContainers"),
        ("ephemeralContainers changed", vec![("/spec/ephemeralContainers", ephemeral("i:1"))], vec![("/spec/ephemeralContainers", ephemeral("i:2"))],
            "recreate: spec.ephemeralContainers".into()),
        ("ephemeralContainers removed", vec![("/spec/ephemeralContainers", ephemeral("i:1"))], vec![], "recreate: spec.ephemeralContainers".into()),
        row("cpu/memory resources", "/spec/containers/0/resources/limits/memory", json!("65Mi"),
            "update in place: spec.containers[0].resources.limits.memory of a"),
        ("the heaviest counts", vec![], vec![("/metadata/labels/app", json!("x")), ("/spec/containers/0/image", json!("nginx:2"))],
            "restart container: metadata.labels[app], spec.containers[0].image of a".into()),
    ]
}

/// What is immutable.
#[rustfmt::skip]
fn immutable() -> Vec<Row> {
    vec![
        row("resizePolicy", "/spec/containers/0/resizePolicy", json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]), "recreate: spec.containers[0].resizePolicy of a"),
        row("restartPolicy", "/spec/restartPolicy", json!("Never"), "recreate: spec.restartPolicy"),
        row("restartPolicy of a container", "/spec/initContainers/1/restartPolicy", Value::Null, "recreate: spec.initContainers[1].restartPolicy of side"),
        row("probes", "/spec/containers/0/livenessProbe", json!({"exec": {"command": ["x"]}}), "recreate: spec.containers[0].livenessProbe of a"),
        row("env", "/spec/containers/0/env/0/value", json!("9"), &format!("recreate: spec.containers[0].env[A].value of a {MOUNTED}")),
        row("env of an init container", "/spec/initContainers/0/env", json!([{"name": "A", "value": "1"}]), "recreate: spec.initContainers[0].env[A] of init"),
        row("env added", "/spec/containers/0/env/2", json!({"name": "C", "value": "3"}), "recreate: spec.containers[0].env[C] of a"),
        row("env removed", "/spec/containers/0/env", json!([{"name": "B", "value": "2"}]), "recreate: spec.containers[0].env[A] of a"),
        row("env reordered", "/spec/containers/0/env", json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]), &format!("recreate: spec.containers[0].env of a {ORDER}")),
        ("env with a name twice", vec![("/spec/containers/0/env/2", json!({"name": "A", "value": "3"}))],
            vec![("/spec/containers/0/env/2", json!({"name": "A", "value": "4"}))], format!("recreate: spec.containers[0].env[2].value of a {MOUNTED}")),
        row("command", "/spec/containers/0/command", json!(["x"]), "recreate: spec.containers[0].command of a"),
        row("args", "/spec/containers/0/args", json!(["x"]), "recreate: spec.containers[0].args of a"),
        row("workingDir", "/spec/containers/0/workingDir", json!("/x"), "recreate: spec.containers[0].workingDir of a"),
        row("imagePullPolicy", "/spec/containers/0/imagePullPolicy", json!("Never"), "recreate: spec.containers[0].imagePullPolicy of a"),
        row("tty", "/spec/containers/0/tty", json!(true), "recreate: spec.containers[0].tty of a"),
        row("ports", "/spec/containers/0/ports", json!([{"containerPort": 80}]), "recreate: spec.containers[0].ports of a"),
        row("mounts", "/spec/containers/0/volumeMounts", json!([{"name": "v", "mountPath": "/v"}]), "recreate: spec.containers[0].volumeMounts[/v] of a"),
        row("a mount read only", "/spec/containers/1/volumeMounts/0/readOnly", json!(true), "recreate: spec.containers[1].volumeMounts[/v].readOnly of b"),
        row("securityContext", "/spec/containers/0/securityContext", json!({"runAsUser": 1}), "recreate: spec.containers[0].securityContext of a"),
        row("securityContext of the pod", "/spec/securityContext", json!({"fsGroup": 1}), "recreate: spec.securityContext"),
        row("volumes", "/spec/volumes/0/emptyDir/medium", json!("Memory"), "recreate: spec.volumes[v].emptyDir.medium"),
        row("volumes: another source", "/spec/volumes/0", json!({"name": "v", "hostPath": {"path": "/x"}}), "recreate: spec.volumes[v].emptyDir, spec.volumes[v].hostPath"),
        row("volumes: another ConfigMap", "/spec/volumes/1/configMap/name", json!("m2"), &format!("recreate: spec.volumes[m].configMap.name {NEW_DATA}")),
        row("volumes: another Secret", "/spec/volumes/2/secret/secretName", json!("s2"), &format!("recreate: spec.volumes[s].secret.secretName {NEW_DATA}")),
        ("volumes: another image", vec![("/spec/volumes/0", json!({"name": "v", "image": {"reference": "files:1"}}))],
            vec![("/spec/volumes/0", json!({"name": "v", "image": {"reference": "files:2"}}))], "recreate: spec.volumes[v].image.reference".to_owned()),
        row("volumes: another mode", "/spec/volumes/1/configMap/defaultMode", json!(256), "recreate: spec.volumes[m].configMap.defaultMode"),
        row("hostNetwork", "/spec/hostNetwork", json!(true), "recreate: spec.hostNetwork"),
        row("hostPID", "/spec/hostPID", json!(true), "recreate: spec.hostPID"),
        row("shareProcessNamespace", "/spec/shareProcessNamespace", json!(true), "recreate: spec.shareProcessNamespace"),
        row("hostIPC", "/spec/hostIPC", json!(true), "recreate: spec.hostIPC"),
        row("hostUsers", "/spec/hostUsers", json!(false), "recreate: spec.hostUsers"),
        row("dnsPolicy", "/spec/dnsPolicy", json!("Default"), "recreate: spec.dnsPolicy"),
        row("dnsConfig", "/spec/dnsConfig", json!({"searches": ["x"]}), "recreate: spec.dnsConfig"),
        row("hostname", "/spec/hostname", json!("h"), "recreate: spec.hostname"),
        row("serviceAccountName", "/spec/serviceAccountName", json!("x"), "recreate: spec.serviceAccountName"),
        row("runtimeClassName", "/spec/runtimeClassName", json!("x"), "recreate: spec.runtimeClassName"),
        row("a container added", "/spec/containers/2", json!({"name": "c", "image": "i"}), "recreate: spec.containers[2] of c"),
        row("a container removed", "/spec/containers/1", Value::Null, "recreate: spec.containers[1] of b"),
        row("a container renamed", "/spec/containers/1/name", json!("c"), "recreate: spec.containers[1] of b, spec.containers[1] of c"),
        ("containers reordered", vec![("/spec/containers", json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]))],
            vec![("/spec/containers", json!([{"name": "b", "image": "i"}, {"name": "a", "image": "i"}]))], format!("recreate: spec.containers {ORDER}")),
        ("containers reordered, one with another image", vec![("/spec/containers", json!([{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]))],
            vec![("/spec/containers", json!([{"name": "b", "image": "i:2"}, {"name": "a", "image": "i:1"}]))], format!("recreate: spec.containers {ORDER_TOO}")),
        ("init containers reordered, one with another image", vec![], vec![("/spec/initContainers", json!([
            {"name": "side", "image": "proxy:1", "restartPolicy": "Always"}, {"name": "init", "image": "setup:2"}]))], format!("recreate: spec.initContainers {ORDER_TOO}")),
        ("a sidecar reordered, with another image", vec![], vec![("/spec/initContainers", json!([
            {"name": "side", "image": "proxy:2", "restartPolicy": "Always"}, {"name": "init", "image": "setup:1"}]))], format!("recreate: spec.initContainers {ORDER_TOO}")),
        ("containers reordered, one with another command", vec![("/spec/containers", json!([{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]))],
            vec![("/spec/containers", json!([{"name": "b", "image": "i:1", "command": ["x"]}, {"name": "a", "image": "i:1"}]))],
            "recreate: spec.containers[0].command of b".to_owned()),
        row("nodeName", "/spec/nodeName", json!("n"), "recreate: spec.nodeName"),
        row("nodeSelector", "/spec/nodeSelector", json!({"kubernetes.io/os": "linux"}), "recreate: spec.nodeSelector[kubernetes.io/os]"),
    ]
}

/// What is only written in another way: a default spelled out, another notation, an empty value for none.
#[rustfmt::skip]
fn same() -> Vec<Row> {
    vec![
        row("the default grace", "/spec/terminationGracePeriodSeconds", json!(30), "unchanged"),
        row("the default restartPolicy", "/spec/restartPolicy", json!("Always"), "unchanged"),
        row("the default of a pull", "/spec/containers/0/imagePullPolicy", json!("IfNotPresent"), "unchanged"),
        row("the default account", "/spec/serviceAccountName", json!("default"), "unchanged"),
        row("a request as its limit", "/spec/containers/0/resources/requests", json!({"cpu": "1"}), "unchanged"),
        row("another notation", "/spec/containers/0/resources/limits/cpu", json!("1000m"), "unchanged"),
        row("the same quantity", "/spec/containers/0/resources/limits/memory", json!("65536Ki"), "unchanged"),
        row("a request as its limit, in another notation", "/spec/containers/0/resources/requests", json!({"cpu": "1000m"}), "unchanged"),
        row("all requests as the limits", "/spec/containers/0/resources/requests", json!({"cpu": "1e0", "memory": "65536Ki"}), "unchanged"),
        row("limits and requests in another notation", "/spec/containers/0/resources",
            json!({"limits": {"cpu": "1000m", "memory": "67108864"}, "requests": {"memory": "65536Ki", "cpu": "1.0"}}), "unchanged"),
        row("no resources", "/spec/containers/1/resources", json!({}), "unchanged"),
        row("no limits", "/spec/containers/1/resources", json!({"limits": {}, "requests": {}}), "unchanged"),
        row("no env", "/spec/containers/1/env", json!([]), "unchanged"),
        row("no command", "/spec/containers/0/command", json!([]), "unchanged"),
        row("no securityContext", "/spec/securityContext", json!({}), "unchanged"),
        row("a volume without source", "/spec/volumes/0", json!({"name": "v"}), "unchanged"),
    ]
}

#[test]
fn each_row_of_the_update_table_is_the_verb_of_the_plan() {
    let mut wrong = Vec::new();
    for (title, before, after, expected) in [mutable(), immutable(), same()].concat() {
        let edited = |edits: &[(&str, Value)]| {
            let mut pod = base();
            edits.iter().for_each(|(pointer, value)| set(&mut pod, pointer, value.clone()));
            objects(pod)
        };
        let got = compare(&edited(&before), &edited(&after));
        if got != expected {
            wrong.push(format!("{title}: {got}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Wherever a pod has quantities, each with the same one in another notation, a different one, and what is told of that.
#[rustfmt::skip]
const QUANTITIES: &[(&str, &str, &str, &str, &str)] = &[
    ("spec.overhead[cpu]", "/spec/overhead/cpu", "250m", "0.25", "recreate: spec.overhead.cpu"),
    ("of the pod", "/spec/resources/limits/memory", "1Gi", "1024Mi", "recreate: spec.resources.limits.memory"),
    ("limit", "/spec/containers/0/resources/limits/memory", "1Gi", "1024Mi", "update in place: spec.containers[0].resources.limits.memory of a"),
    ("request", "/spec/containers/0/resources/requests/cpu", "0.1", "100m", "update in place: spec.containers[0].resources.requests.cpu of a"),
    ("limit of init", "/spec/initContainers/0/resources/limits/cpu", "1", "1000m", "update in place: spec.initContainers[0].resources.limits.cpu of init"),
    ("limit of a sidecar", "/spec/initContainers/1/resources/limits/cpu", "1", "1e0", "update in place: spec.initContainers[1].resources.limits.cpu of side"),
    ("of an ephemeral container", "/spec/ephemeralContainers/0/resources/limits/cpu", "1", "1000m", "recreate: spec.ephemeralContainers"),
    ("divisor", "/spec/containers/0/env/2/valueFrom/resourceFieldRef/divisor", "1", "1000m", "recreate: spec.containers[0].env[C].valueFrom.resourceFieldRef.divisor of a"),
    ("sizeLimit", "/spec/volumes/3/emptyDir/sizeLimit", "1Gi", "1048576Ki", "recreate: spec.volumes[q].emptyDir.sizeLimit"),
    ("divisor of a file", "/spec/volumes/4/downwardAPI/items/0/resourceFieldRef/divisor", "1Mi", "1024Ki", "recreate: spec.volumes[d].downwardAPI.items[0].resourceFieldRef.divisor"),
    ("divisor of a projected file", "/spec/volumes/5/projected/sources/0/downwardAPI/items/0/resourceFieldRef/divisor", "1Mi", "1024Ki",
        "recreate: spec.volumes[p].projected.sources[0].downwardAPI.items[0].resourceFieldRef.divisor"),
];

/// The pod of the table with every field there may be a quantity in.
fn measured() -> Value {
    let files =
        json!({"items": [{"path": "cpu", "resourceFieldRef": {"containerName": "a", "resource": "limits.cpu"}}]});
    let mut pod = base();
    let limits = || json!({"limits": {"cpu": "4", "memory": "4Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}});
    let edits = [
        ("/spec/resources", limits()),
        ("/spec/overhead", json!({"cpu": "1"})),
        ("/spec/containers/0/resources", limits()),
        ("/spec/initContainers/0/resources", limits()),
        ("/spec/initContainers/1/resources", limits()),
        ("/spec/ephemeralContainers", json!([{"name": "debug", "image": "i:1", "resources": limits()}])),
        (
            "/spec/containers/0/env/2",
            json!({"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}),
        ),
        ("/spec/volumes/3", json!({"name": "q", "emptyDir": {}})),
        ("/spec/volumes/4", json!({"name": "d", "downwardAPI": files})),
        ("/spec/volumes/5", json!({"name": "p", "projected": {"sources": [{"downwardAPI": files}]}})),
    ];
    edits.into_iter().for_each(|(pointer, value)| set(&mut pod, pointer, value));
    pod
}

#[test]
fn quantities_are_compared_by_their_value_wherever_they_are() {
    for (what, pointer, one, same, told) in QUANTITIES {
        let with = |quantity: &str| {
            let mut pod = measured();
            set(&mut pod, pointer, json!(quantity));
            objects(pod)
        };
        assert_eq!(compare(&with(one), &with(same)), "unchanged", "{what}");
        assert_eq!(compare(&with(same), &with(one)), "unchanged", "{what}");
        let other = compare(&with(one), &with("3"));
        assert!(other.starts_with(told), "{what}: {other}");
    }
}

/// What is judged whole is, too: a container more, and another notation in the one that stays.
#[test]
fn another_notation_is_nothing_beside_a_change_that_is_judged_whole() {
    let mut after = measured();
    set(&mut after, "/spec/ephemeralContainers/0/resources/limits/cpu", json!("4000m"));
    set(&mut after, "/spec/ephemeralContainers/1", json!({"name": "more", "image": "i:1"}));
    assert_eq!(compare(&objects(measured()), &objects(after)), "update in place: spec.ephemeralContainers");
}

#[test]
fn data_of_config_maps_and_secrets_is_updated_in_place() {
    let before = objects(base());
    let mut after = before.clone();
    after[1]["data"]["k"] = json!("2");
    after[2]["stringData"]["k"] = json!("2");
    assert_eq!(
        compare(&before, &after),
        "update in place: spec.volumes[m] by ConfigMap default/m k, spec.volumes[s] by Secret default/s k"
    );
}

fn preset(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("selector").is_none() {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "db"}, "spec": spec})
}

fn lone(app: &str, annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": app}, "annotations": annotations},
        "spec": {"containers": [{"name": "a", "image": "i:1"}]}})
}

const EXCLUDE: &str = "the annotation podpreset.admission.kubernetes.io/exclude: \"true\" on the pod keeps presets off";

#[test]
fn a_preset_recreates_exactly_the_pods_whose_merged_spec_differs() {
    let env = |value: &str| preset(json!({"env": [{"name": "DB", "value": value}]}));
    let web = || lone("web", json!({}));
    let elsewhere =
        preset(json!({"env": [{"name": "DB", "value": "1"}], "selector": {"matchLabels": {"app": "other"}}}));
    let excluded = || lone("web", json!({"podpreset.admission.kubernetes.io/exclude": "true"}));
    let always = |value: &str| preset(json!({"env": [{"name": "DB", "value": value}], "selector": {}}));
    let mirrored = || lone("web", json!({"kubernetes.io/config.mirror": ""}));
    let mirror = "metadata.annotations[kubernetes.io/config.mirror]";
    let (label, exclude) = ("metadata.labels[app]", "metadata.annotations[podpreset.admission.kubernetes.io/exclude]");
    let field = "spec.containers[0].env[DB] of a by preset db";
    let value = "spec.containers[0].env[DB].value of a by preset db";
    #[rustfmt::skip]
    let rows = [
        ("it came", vec![web()], vec![web(), env("1")], format!("recreate: {field} (instead: {EXCLUDE})")),
        ("it went", vec![web(), env("1")], vec![web()], format!("recreate: {field}")),
        ("it changed", vec![web(), env("1")], vec![web(), env("2")], format!("recreate: {value}")),
        ("its selector matches no longer", vec![web(), env("1")], vec![web(), elsewhere.clone()], format!("recreate: {field}")),
        ("its selector matches now", vec![web(), elsewhere.clone()], vec![web(), env("1")], format!("recreate: {field} (instead: {EXCLUDE})")),
        ("the pod's labels match no longer", vec![web(), env("1")], vec![lone("x", json!({})), env("1")], format!("recreate: {label}, {field}")),
        ("the pod's labels match now", vec![lone("x", json!({})), env("1")], vec![web(), env("1")], format!("recreate: {label}, {field} (instead: {EXCLUDE})")),
        ("a label and the preset, which matches both", vec![web(), always("1")], vec![lone("x", json!({})), always("2")], format!("recreate: {value}")),
        ("the pod is excluded now", vec![web(), env("1")], vec![excluded(), env("1")], format!("recreate: {exclude}, {field}")),
        ("the pod mirrors another now", vec![web(), env("1")], vec![mirrored(), env("1")], format!("recreate: {mirror}, {field}")),
        ("the pod mirrors none any more", vec![mirrored(), env("1")], vec![web(), env("1")], format!("recreate: {mirror}, {field} (instead: {EXCLUDE})")),
        ("an excluded pod", vec![excluded(), env("1")], vec![excluded(), env("2")], "unchanged".into()),
        ("a pod it does not match", vec![lone("x", json!({})), env("1")], vec![lone("x", json!({})), env("2")], "unchanged".into()),
    ];
    for (name, before, after, expected) in rows {
        assert_eq!(compare(&before, &after), expected, "{name}");
    }
}

/// The advice is followed and then does what it says: a plan without a restart.
#[test]
fn what_is_said_to_avoid_a_recreation_does() {
    let env = preset(json!({"env": [{"name": "DB", "value": "1"}]}));
    let excluded = lone("web", json!({"podpreset.admission.kubernetes.io/exclude": "true"}));
    let plan = compare(&[lone("web", json!({}))], &[excluded, env]);
    assert_eq!(plan, "update in place: metadata.annotations[podpreset.admission.kubernetes.io/exclude]");

    let mut kept = base();
    set(&mut kept, "/spec/tolerations/1", json!({"key": "new", "operator": "Exists"}));
    assert!(compare(&objects(base()), &objects(kept)).starts_with("update in place: "));

    let mut other = objects(base());
    other[1]["data"] = json!({"other": "data"});
    assert!(compare(&objects(base()), &other).starts_with("update in place: "));
}

/// With a preset applied already, the annotation would take that one off, too: it is not offered.
#[test]
fn a_second_preset_cannot_be_kept_off_alone() {
    let first = preset(json!({"env": [{"name": "DB", "value": "1"}]}));
    let mut second = preset(json!({"env": [{"name": "X", "value": "1"}]}));
    second["metadata"]["name"] = json!("more");
    let pod = lone("web", json!({}));
    assert_eq!(
        compare(&[pod.clone(), first.clone()], &[pod, first, second]),
        "recreate: spec.containers[0].env[X] of a by preset more"
    );
}

/// Where presets and the author both add to a list, the one that changed it is named.
#[test]
fn behind_a_list_is_whoever_changed_it() {
    let pod = |sources: &[&str], vars: &[&str]| {
        let sources: Vec<Value> =
            sources.iter().map(|name| json!({"configMapRef": {"name": name, "optional": true}})).collect();
        let vars: Vec<Value> = vars.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        let mut pod = lone("web", json!({}));
        pod["spec"]["containers"][0]["envFrom"] = sources.into();
        pod["spec"]["containers"][0]["env"] = vars.into();
        pod
    };
    let from = |names: &[&str]| {
        let sources: Vec<Value> =
            names.iter().map(|name| json!({"configMapRef": {"name": name, "optional": true}})).collect();
        preset(json!({"envFrom": sources}))
    };
    let vars = |name: &str, names: &[&str]| {
        let vars: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        let mut preset = preset(json!({"env": vars}));
        preset["metadata"]["name"] = json!(name);
        preset
    };
    let at = |index: usize, member: &str, by: &str| format!("spec.containers[0].envFrom[{index}]{member} of a{by}");
    let name = ".configMapRef.name";
    #[rustfmt::skip]
    let rows = [
        ("the author adds before the preset's", vec![pod(&["a"], &[]), from(&["p"])], vec![pod(&["a", "b"], &[]), from(&["p"])],
            format!("recreate: {}, {}", at(1, name, ""), at(2, "", ""))),
        ("the preset adds", vec![pod(&["a"], &[]), from(&["p"])], vec![pod(&["a"], &[]), from(&["p", "q"])],
            format!("recreate: {}", at(2, "", " by preset db"))),
        ("the preset adds in front", vec![pod(&["a"], &[]), from(&["p"])], vec![pod(&["a"], &[]), from(&["q", "p"])],
            format!("recreate: {}, {}", at(1, name, " by preset db"), at(2, "", " by preset db"))),
        ("both add: each entry tells", vec![pod(&["a"], &[]), from(&["p"])], vec![pod(&["b"], &[]), from(&["q"])],
            format!("recreate: {}, {}", at(0, name, ""), at(1, name, " by preset db"))),
        ("the author turns variables around", vec![pod(&[], &["A", "B"]), vars("db", &["P"])], vec![pod(&[], &["B", "A"]), vars("db", &["P"])],
            format!("recreate: spec.containers[0].env of a {ORDER}")),
        ("the preset turns variables around", vec![pod(&[], &["A"]), vars("db", &["P", "Q"])], vec![pod(&[], &["A"]), vars("db", &["Q", "P"])],
            "recreate: spec.containers[0].env of a by preset db".to_owned()),
        ("presets change places", vec![pod(&[], &["A"]), vars("k", &["P"]), vars("l", &["Q"])], vec![pod(&[], &["A"]), vars("m", &["P"]), vars("l", &["Q"])],
            "recreate: spec.containers[0].env of a by preset l".to_owned()),
    ];
    for (name, before, after, expected) in rows {
        assert_eq!(compare(&before, &after), expected, "{name}");
    }
}
