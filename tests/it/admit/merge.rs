//! The merge table: every case of the upstream admission test, then the facts around it.

use podwright::admit::admit;
use podwright::model::{AdmittedPod, Packed, Severity};
use serde_json::{Value, json};

use super::{admitted, desired, pod_of};

pub(super) fn pod(spec: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "namespace", "labels": {"security": "S2"}},
        "spec": spec,
    })
}

pub(super) fn preset(name: &str, mut spec: Value) -> Value {
    if spec.get("selector").is_none() {
        spec["selector"] = json!({"matchExpressions": [{"key": "security", "operator": "In", "values": ["S2"]}]});
    }
    json!({
        "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset",
        "metadata": {"name": name, "namespace": "namespace"}, "spec": spec,
    })
}

/// A pod whose one container has this list.
pub(super) fn with(list: &str, value: &Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    if !value.is_null() {
        container[list] = value.clone();
    }
    pod(json!({"containers": [container]}))
}

pub(super) fn admit_one(objects: &[Value]) -> std::sync::Arc<AdmittedPod> {
    pod_of(&admitted(objects), "namespace", "p")
}

pub(super) fn spec(pod: &AdmittedPod) -> Value {
    serde_json::to_value(&pod.spec).unwrap()["spec"].take()
}

pub(super) fn env(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn mounts(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, path)| json!({"name": name, "mountPath": path})).collect()
}

pub(super) fn empty_dirs(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "emptyDir": {}})).collect()
}

pub(super) fn from(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(prefix, name)| match *prefix {
            "" => json!({"configMapRef": {"name": name}}),
            prefix => json!({"prefix": prefix, "configMapRef": {"name": name}}),
        })
        .collect()
}

/// Name, list, the pod's entries, the preset's entries, the result; `None` for a conflict.
type Row = (&'static str, &'static str, Value, Value, Option<Value>);

fn merge_table() -> Vec<Row> {
    let ours = [("abc", "value2"), ("ABC", "value3")];
    let simply = ("simply-mounted-volume", "/opt/");
    let etc = ("etc-volume", "/etc/");
    let host_vol3 = json!([
        {"name": "vol3", "hostPath": {"path": "/etc/apparmor.d"}}, {"name": "vol2", "emptyDir": {}}
    ]);
    let amount = |field: Value| json!([{"name": "A", "valueFrom": {"resourceFieldRef": field}}]);
    let none = Value::Null;
    #[rustfmt::skip]
    let rows = vec![
        ("MergeEnv/empty original", "env", none.clone(), env(&ours), Some(env(&ours))),
        ("MergeEnv/good merge", "env", env(&[("abcd", "value2"), ("hello", "value3")]), env(&ours),
            Some(env(&[("abcd", "value2"), ("hello", "value3"), ours[0], ours[1]]))),
        ("MergeEnv/conflict", "env", env(&[("abc", "value3")]), env(&ours), None),
        ("MergeEnv/one is exact same", "env", env(&[("abc", "value2"), ("hello", "value3")]), env(&ours),
            Some(env(&[("abc", "value2"), ("hello", "value3"), ours[1]]))),
        ("MergeEnvFrom/empty original", "envFrom", none.clone(), from(&[("", "abc"), ("pre_", "abc")]),
            Some(from(&[("", "abc"), ("pre_", "abc")]))),
        ("MergeEnvFrom/good merge", "envFrom", from(&[("", "thing")]), from(&[("", "abc"), ("pre_", "abc")]),
            Some(from(&[("", "thing"), ("", "abc"), ("pre_", "abc")]))),
        ("MergeVolumeMounts/empty original", "volumeMounts", none.clone(), mounts(&[simply]), Some(mounts(&[simply]))),
        ("MergeVolumeMounts/good merge", "volumeMounts", mounts(&[etc]), mounts(&[simply]), Some(mounts(&[etc, simply]))),
        ("MergeVolumeMounts/conflict", "volumeMounts", mounts(&[etc]), mounts(&[simply, ("etc-volume", "/things/")]), None),
        ("MergeVolumeMounts/conflict on mount path", "volumeMounts", mounts(&[etc]),
            mounts(&[simply, ("things-volume", "/etc/")]), None),
        ("MergeVolumeMounts/one is exact same", "volumeMounts", mounts(&[etc]), mounts(&[simply, etc]),
            Some(mounts(&[etc, simply]))),
        ("MergeVolumes/empty original", "volumes", none.clone(), empty_dirs(&["vol", "vol2"]),
            Some(empty_dirs(&["vol", "vol2"]))),
        ("MergeVolumes/good merge", "volumes", empty_dirs(&["vol3", "vol4"]), empty_dirs(&["vol", "vol2"]),
            Some(empty_dirs(&["vol3", "vol4", "vol", "vol2"]))),
        ("MergeVolumes/conflict", "volumes", empty_dirs(&["vol3", "vol4"]), host_vol3, None),
        ("MergeVolumes/one is exact same", "volumes", empty_dirs(&["vol3", "vol4"]), empty_dirs(&["vol3", "vol2"]),
            Some(empty_dirs(&["vol3", "vol4", "vol2"]))),
        // Facts beyond the upstream table.
        ("one volume at two paths within a preset", "volumeMounts", none.clone(), mounts(&[("v", "/a"), ("v", "/b")]), None),
        ("a trailing slash makes another path", "volumeMounts", mounts(&[("a", "/etc")]), mounts(&[("b", "/etc/")]),
            Some(mounts(&[("a", "/etc"), ("b", "/etc/")]))),
        ("a default written out is no conflict", "volumeMounts", mounts(&[etc]),
            json!([{"name": "etc-volume", "mountPath": "/etc/", "readOnly": false}]), Some(mounts(&[etc]))),
        ("an empty medium written out is no conflict", "volumes", empty_dirs(&["v"]),
            json!([{"name": "v", "emptyDir": {"medium": ""}}]), Some(empty_dirs(&["v"]))),
        ("a divisor of zero written out is no conflict", "env", amount(json!({"resource": "limits.cpu"})),
            amount(json!({"resource": "limits.cpu", "divisor": "0"})), Some(amount(json!({"resource": "limits.cpu"})))),
        ("a source is another volume than the default one", "volumes", json!([{"name": "v"}]), empty_dirs(&["v"]),
            Some(json!([{"name": "v"}]))),
        ("equal envFrom entries stay one", "envFrom", from(&[("", "abc")]), from(&[("", "abc")]), Some(from(&[("", "abc")]))),
        ("envFrom that differs in optional only", "envFrom", from(&[("", "abc")]),
            json!([{"configMapRef": {"name": "abc", "optional": true}}]), None),
        ("a secret and a config map of one name", "envFrom", from(&[("", "abc")]), json!([{"secretRef": {"name": "abc"}}]),
            Some(json!([{"configMapRef": {"name": "abc"}}, {"secretRef": {"name": "abc"}}]))),
    ];
    rows
}

#[test]
fn each_list_merges_as_upstream_does() {
    for (name, list, ours, theirs, expected) in merge_table() {
        let at_pod = list == "volumes";
        let pod = match at_pod {
            true => {
                let mut pod = with("x", &Value::Null);
                if !ours.is_null() {
                    pod["spec"]["volumes"] = ours.clone();
                }
                pod
            }
            false => with(list, &ours),
        };
        let result = admit_one(&[pod, preset("a", json!({list: theirs}))]);
        let spec = spec(&result);
        let merged = if at_pod { &spec["volumes"] } else { &spec["containers"][0][list] };
        match expected {
            Some(expected) => {
                assert_eq!(*merged, expected, "{name}");
                assert_eq!((result.applied.len(), result.skipped.len()), (1, 0), "{name}");
            }
            None => {
                assert_eq!(*merged, ours, "{name}: unchanged");
                assert_eq!((result.applied.len(), result.skipped.len()), (0, 1), "{name}");
                assert!(!result.skipped[0].conflicts.is_empty(), "{name}");
            }
        }
    }
}

pub(super) fn full_preset() -> Value {
    preset(
        "hello",
        json!({
            "volumes": [{"name": "volume", "emptyDir": {}}],
            "env": env(&[("abcd", "value"), ("ABC", "value")]),
            "envFrom": from(&[("", "abc"), ("pre_", "abc")]),
        }),
    )
}

#[test]
fn a_conflict_leaves_the_pod_as_it_was() {
    let before = with("env", &env(&[("abc", "value2"), ("ABC", "value3")]));
    let result =
        admit_one(&[before.clone(), preset("hello", json!({"env": env(&[("abc", "value"), ("ABC", "value")])}))]);
    assert_eq!(serde_json::to_value(&result.spec).unwrap()["metadata"], before["metadata"]);
    assert_eq!(spec(&result), before["spec"]);
    let fields: Vec<&str> = result.skipped[0].conflicts.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields, ["spec.containers[0].env[abc]", "spec.containers[0].env[ABC]"]);
}

#[test]
fn mirror_pods_and_excluded_pods_get_nothing() {
    let rows = [
        ("kubernetes.io/config.mirror", "", true),
        ("kubernetes.io/config.mirror", "mirror", true),
        ("podpreset.admission.kubernetes.io/exclude", "true", true),
        ("podpreset.admission.kubernetes.io/exclude", "True", false),
        ("podpreset.admission.kubernetes.io/exclude", "false", false),
    ];
    for (key, value, untouched) in rows {
        let mut before = with("env", &Value::Null);
        before["metadata"]["annotations"] = json!({key: value});
        let result = admit_one(&[before.clone(), full_preset()]);
        assert_eq!(spec(&result) == before["spec"], untouched, "{key}={value}");
        assert_eq!(result.applied.is_empty(), untouched, "{key}={value}");
        assert!(result.skipped.is_empty());
    }
}

#[test]
fn a_pod_without_a_namespace_takes_the_presets_of_the_one_it_is_read_into() {
    let mut revision = desired(&[with("env", &Value::Null), preset("a", json!({"env": env(&[("A", "1")])}))]);
    let (_, pod) = revision.pods.values_mut().next().unwrap();
    let mut open = pod.open();
    open.metadata.namespace = None;
    *pod = Packed::new(&open);
    let result = pod_of(&admit(&revision).unwrap(), "namespace", "p");
    assert_eq!(result.applied.len(), 1);
    let mut other = preset("a", json!({"env": env(&[("A", "1")])}));
    other["metadata"]["namespace"] = json!("different");
    let mut revision = desired(&[with("env", &Value::Null), other]);
    let (_, pod) = revision.pods.values_mut().next().unwrap();
    let mut open = pod.open();
    open.metadata.namespace = None;
    *pod = Packed::new(&open);
    assert!(pod_of(&admit(&revision).unwrap(), "namespace", "p").applied.is_empty());
}

#[test]
fn an_empty_selector_matches_every_pod_even_without_labels() {
    let mut bare = with("env", &Value::Null);
    bare["metadata"].as_object_mut().unwrap().shift_remove("labels");
    let result = admit_one(&[bare, preset("a", json!({"selector": {}, "env": env(&[("A", "1")])}))]);
    assert_eq!(result.applied[0].name, "a");
}

#[test]
fn one_conflict_keeps_every_matching_preset_out() {
    let good = preset("good", json!({"env": env(&[("GOOD", "1")])}));
    let bad = preset("bad", json!({"env": env(&[("abc", "other")])}));
    let before = with("env", &env(&[("abc", "value2")]));
    let admitted = admitted(&[before.clone(), good, bad.clone()]);
    let result = pod_of(&admitted, "namespace", "p");
    assert_eq!(spec(&result), before["spec"]);
    assert!(result.applied.is_empty() && result.spec.open().metadata.annotations.is_none());
    let skipped: Vec<(&str, usize)> = result.skipped.iter().map(|s| (s.name.as_str(), s.conflicts.len())).collect();
    assert_eq!(skipped, [("bad", 1), ("good", 0)]);
    assert_eq!(result.skipped[1].reason, "PodPreset bad matches too and conflicts");
    let told = "spec.containers[0].env[abc] is \"value2\" in the pod (0.yaml:15:1) and \"other\" in PodPreset bad \
                (2.yaml:9:1)";
    assert_eq!(result.skipped[0].reason, format!("conflict: {told}"));
    let [conflict] = &result.skipped[0].conflicts[..] else { panic!("{:?}", result.skipped) };
    assert_eq!((conflict.to_string().as_str(), conflict.key.as_str()), (told, "abc"));
    assert_eq!((conflict.existing.preset.as_deref(), conflict.wanted.preset.as_deref()), (None, Some("bad")));
    let (ours, theirs) = (line(&before, "/spec/containers/0/env/0"), line(&bad, "/spec/env/0"));
    assert_eq!((&*conflict.existing.at.path, conflict.existing.at.line), ("0.yaml", ours));
    assert_eq!((&*conflict.wanted.at.path, conflict.wanted.at.line), ("2.yaml", theirs));
    // A warning at each of the two places.
    let warnings: Vec<(Severity, String)> = admitted
        .diagnostics
        .0
        .iter()
        .map(|d| (d.severity, format!("{} {} {}", d.rule, d.place.as_ref().unwrap().at, d.message)))
        .collect();
    let at_pod = "preset-conflict 0.yaml:15:1 spec.containers[0].env[abc] is \"value2\" here and \"other\" in PodPreset \
                  bad (2.yaml:9:1): no PodPreset is merged into Pod namespace/p";
    let at_preset = "preset-conflict 2.yaml:9:1 spec.env[abc] is \"other\" in this PodPreset and \"value2\" in Pod \
                     namespace/p (0.yaml:15:1): no PodPreset is merged into what conflicts";
    assert_eq!(warnings, [(Severity::Warning, at_pod.to_owned()), (Severity::Warning, at_preset.to_owned())]);
    for warning in &admitted.diagnostics.0 {
        let help = "make both sides equal, or exclude the pod with the annotation \
                    podpreset.admission.kubernetes.io/exclude: \"true\"";
        assert_eq!(warning.help.as_deref(), Some(help));
    }
}

/// Where a field stands in the file of its object.
fn line(object: &Value, pointer: &str) -> u32 {
    let desired = desired(std::slice::from_ref(object));
    let pods = desired.pods.values().map(|(object, _)| object);
    let object = pods.chain(desired.presets.values().map(|(object, _)| object)).next().unwrap();
    object.places.get(pointer).unwrap().0
}

#[test]
fn presets_conflict_with_each_other_too() {
    let one = preset("one", json!({"env": env(&[("A", "1")])}));
    let two = preset("two", json!({"env": env(&[("A", "2")])}));
    let result = admit_one(&[with("env", &Value::Null), one, two]);
    assert!(spec(&result)["containers"][0].get("env").is_none());
    let told = "conflict: spec.containers[0].env[A] is \"1\" in PodPreset one (1.yaml:9:1) and \"2\" in PodPreset two \
                (2.yaml:9:1)";
    let skipped: Vec<_> =
        result.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str(), s.conflicts.len())).collect();
    assert_eq!(skipped, [("one", told, 0), ("two", told, 1)]);
}

#[test]
fn a_preset_that_conflicts_with_many_pods_is_told_once_at_its_own_place() {
    let mut objects: Vec<Value> = (0..5)
        .map(|n| {
            let mut pod = with("env", &env(&[("abc", "ours")]));
            pod["metadata"]["name"] = json!(format!("p{n}"));
            pod
        })
        .collect();
    objects.push(preset("bad", json!({"env": env(&[("abc", "theirs")])})));
    let admitted = admitted(&objects);
    let at = |path: &str| {
        let found = admitted.diagnostics.0.iter().filter(|d| &*d.place.as_ref().unwrap().at.path == path);
        found.map(|d| d.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!((admitted.diagnostics.0.len(), at("3.yaml").len()), (6, 1));
    let expected = "spec.env[abc] is \"theirs\" in this PodPreset and \"ours\" in Pod namespace/p0 (0.yaml:15:1), \
                    \"ours\" in Pod namespace/p1 (1.yaml:15:1), \"ours\" in Pod namespace/p2 (2.yaml:15:1) and 2 more: no \
                    PodPreset is merged into what conflicts";
    assert_eq!(at("5.yaml"), [expected]);
}

#[test]
fn the_key_of_an_env_from_entry_is_told_by_its_parts() {
    let source = |optional: bool| json!([{"prefix": "P_", "secretRef": {"name": "s", "optional": optional}}]);
    let result = admit_one(&[with("envFrom", &source(true)), preset("a", json!({"envFrom": source(false)}))]);
    let conflict = &result.skipped[0].conflicts[0];
    assert_eq!(conflict.field, "spec.containers[0].envFrom[prefix P_, secretRef s]");
    assert_eq!(conflict.key, "prefix P_, secretRef s");
}

#[test]
fn long_values_are_cut() {
    let long = "x".repeat(5000);
    let result = admit_one(&[
        with("env", &env(&[("A", &long)])),
        preset("a", json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})),
    ]);
    let conflict = &result.skipped[0].conflicts[0];
    assert_eq!(conflict.existing.value.chars().count(), 203);
    assert_eq!(conflict.wanted.value, r#"{"secretKeyRef":{"key":"k","name":"s"}}"#);
}

#[test]
fn a_mount_whose_volume_a_preset_would_have_brought_is_an_error() {
    let mounting = || {
        let mut pod = with("env", &env(&[("A", "ours")]));
        pod["spec"]["containers"][0]["volumeMounts"] = mounts(&[("own", "/own"), ("cache", "/cache")]);
        pod["spec"]["volumes"] = empty_dirs(&["own"]);
        pod
    };
    let giver = || preset("giver", json!({"volumes": empty_dirs(&["cache"]), "env": env(&[("A", "ours")])}));
    assert!(admit(&desired(&[mounting(), giver()])).is_ok());
    let refused = |objects: &[Value]| {
        let errors = admit(&desired(objects)).unwrap_err().0;
        let errors: Vec<_> = errors.into_iter().filter(|d| d.severity == Severity::Error).collect();
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(error.rule, "preset-volume");
        assert_eq!(error.field.as_deref(), Some("spec.containers[0].volumeMounts[1].name"));
        error.message.clone()
    };
    let conflict = refused(&[mounting(), giver(), preset("other", json!({"env": env(&[("A", "theirs")])}))]);
    assert!(
        conflict.starts_with("the pod has no volume \"cache\": PodPreset giver would bring it, but no PodPreset is")
    );
    assert!(conflict.contains("\"theirs\" in PodPreset other (2.yaml:"), "{conflict}");
    let mut excluded = mounting();
    excluded["metadata"]["annotations"] = json!({"podpreset.admission.kubernetes.io/exclude": "true"});
    assert!(refused(&[excluded, giver()]).ends_with("but the pod's annotations keep PodPresets out"));
}

#[test]
fn a_mount_that_would_tell_the_machine_is_checked_with_all_that_presets_bring() {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path, "mountPropagation": "Bidirectional"});
    let pod_with = |privileged: bool, own: &Value| {
        pod(json!({
            "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": privileged}, "volumeMounts": own}],
            "volumes": empty_dirs(&["own"]),
        }))
    };
    let giver = |mount: &Value| preset("giver", json!({"volumes": empty_dirs(&["v"]), "volumeMounts": [mount]}));
    let (at_cache, plain) = (mounts(&[("own", "/data/cache")]), json!([]));
    let told = |privileged: bool, own: &Value, brought: &Value| {
        let errors = match admit(&desired(&[pod_with(privileged, own), giver(brought)])) {
            Ok(_) => return String::new(),
            Err(found) => found.0.into_iter().filter(|d| d.severity == Severity::Error).collect::<Vec<_>>(),
        };
        let [error] = &errors[..] else { panic!("{errors:?}") };
        error.message.clone()
    };
    let begins = "container \"c\" cannot have the mounts and volumes that PodPreset giver brings: Bidirectional mount propagation is";
    let below = |place: &str, below: &str| {
        format!(
            "{begins} not available at {place:?}: what the container has at {below:?} would be mounted on the machine, too"
        )
    };
    assert_eq!(told(true, &plain, &mount("v", "/data")), "");
    assert_eq!(told(false, &plain, &mount("v", "/data")), format!("{begins} available only to privileged containers"));
    assert_eq!(told(true, &at_cache, &mount("v", "/data")), below("/data", "/data/cache"));
    // The one that tells may be the pod's own.
    let own = json!([mount("own", "/data")]);
    assert_eq!(told(true, &own, &json!({"name": "v", "mountPath": "/data/x"})), below("/data", "/data/x"));
    assert_eq!(told(true, &own, &json!({"name": "v", "mountPath": "/x"})), "");
    // What it tells of may be the preset's volume.
    let pod = pod_with(true, &json!([mount("v", "/data")]));
    let volume = |source: Value| preset("giver", json!({"volumes": [source]}));
    let errors = |source: Value| match admit(&desired(&[pod.clone(), volume(source)])) {
        Ok(_) => String::new(),
        Err(found) => found.0.into_iter().map(|d| d.message).collect::<Vec<_>>().join("; "),
    };
    assert_eq!(errors(json!({"name": "v", "emptyDir": {}})), "");
    let of_the_agent = errors(json!({"name": "v", "configMap": {"name": "m", "optional": true}}));
    assert_eq!(
        of_the_agent,
        format!("{begins} not available to the volume \"v\", whose files are written by the agent")
    );
}

#[test]
fn presets_are_merged_in_the_order_of_their_names_into_init_containers_as_well() {
    let pod = pod(json!({
        "initContainers": [{"name": "i", "image": "i"}, {"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}],
    }));
    let result = admit_one(&[
        pod,
        preset("z", json!({"env": env(&[("Z", "1")])})),
        preset("a", json!({"env": env(&[("A", "1")])})),
    ]);
    let spec = spec(&result);
    for pointer in ["/initContainers/0", "/initContainers/1", "/containers/0", "/containers/1"] {
        assert_eq!(spec.pointer(pointer).unwrap()["env"], env(&[("A", "1"), ("Z", "1")]), "{pointer}");
    }
    let names: Vec<&str> = result.applied.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["a", "z"]);
}

#[test]
fn ephemeral_containers_get_nothing() {
    let before = pod(json!({
        "containers": [{"name": "c", "image": "i"}], "ephemeralContainers": [{"name": "e", "image": "i"}],
    }));
    let result = admit_one(&[before.clone(), preset("a", json!({"env": env(&[("A", "1")])}))]);
    assert_eq!(spec(&result)["ephemeralContainers"], before["spec"]["ephemeralContainers"]);
    assert_eq!(spec(&result)["containers"][0]["env"], env(&[("A", "1")]));
}

#[test]
fn both_sides_are_compared_with_their_defaults() {
    let field = |version: Value| json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": version}}}]);
    let plain = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let secret = |mode: Value| json!([{"name": "v", "secret": {"secretName": "s", "defaultMode": mode}}]);
    let rows = [
        ("env", plain.clone(), field(json!("v1")), true),
        ("env", plain, field(json!("v2")), false),
        ("env", json!([{"name": "A"}]), env(&[("A", "")]), true),
        ("env", json!([{"name": "A"}]), env(&[("A", "x")]), false),
        (
            "envFrom",
            json!([{"secretRef": {"name": "s"}}]),
            json!([{"secretRef": {"name": "s", "optional": false}}]),
            true,
        ),
        ("volumes", json!([{"name": "v", "secret": {"secretName": "s"}}]), secret(json!(420)), true),
        ("volumes", json!([{"name": "v", "secret": {"secretName": "s"}}]), secret(json!(256)), false),
        (
            "volumes",
            json!([{"name": "v", "hostPath": {"path": "/x"}}]),
            json!([{"name": "v", "hostPath": {"path": "/x", "type": ""}}]),
            true,
        ),
    ];
    for (list, ours, theirs, equal) in rows {
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            let mut pod = with("x", &Value::Null);
            let target = if list == "volumes" { &mut pod["spec"] } else { &mut pod["spec"]["containers"][0] };
            target[list] = ours.clone();
            let result = admit_one(&[pod.clone(), preset("a", json!({list: theirs}))]);
            assert_eq!(spec(&result), pod["spec"], "{list} {ours} {theirs}: as it was written");
            assert_eq!(result.skipped.is_empty(), equal, "{list} {ours} {theirs}");
        }
    }
}

#[test]
fn an_unreadable_selector_refuses_the_revision_at_its_place() {
    let selector = json!({"matchExpressions": [{"key": "security", "operator": "Near", "values": ["x"]}]});
    let bad = preset("bad", json!({"selector": selector, "env": env(&[("A", "1")])}));
    let refused = admit(&desired(&[with("env", &Value::Null), bad])).unwrap_err();
    let [error] = &refused.0[..] else { panic!("{refused:?}") };
    assert_eq!((error.severity, error.rule), (Severity::Error, "preset-selector"));
    assert_eq!(error.place.as_ref().unwrap().at.path.as_ref(), "1.yaml");
    assert!(error.message.contains("`Near`"));
}

#[test]
fn a_preset_name_too_long_for_its_annotation_is_an_error_where_it_is_applied() {
    let pods: Vec<Value> = (0..5)
        .map(|n| {
            let mut pod = with("env", &Value::Null);
            pod["metadata"]["name"] = json!(format!("p{n}"));
            pod
        })
        .collect();
    for (length, ok) in [(53, true), (54, false)] {
        let mut named = preset(&"a".repeat(length), json!({"env": env(&[("A", "1")])}));
        let result = admit(&desired(&[&pods[..], &[named.clone()]].concat()));
        assert_eq!(result.is_ok(), ok, "{length}");
        if let Err(refused) = result {
            let [error] = &refused.0[..] else { panic!("{refused:?}") };
            assert_eq!((error.rule, error.severity), ("preset-name-length", Severity::Error));
            let on = "on Pod namespace/p0, Pod namespace/p1, Pod namespace/p2 and 2 more would be invalid";
            assert!(error.message.ends_with(on), "{}", error.message);
            assert_eq!(&*error.place.as_ref().unwrap().at.path, "5.yaml");
        }
        named["spec"]["selector"] = json!({"matchLabels": {"no": "pod"}});
        assert!(admit(&desired(&[&pods[..], &[named]].concat())).is_ok(), "{length}");
    }
}

#[test]
fn a_revision_with_errors_is_not_admitted() {
    let mut revision = desired(&[with("env", &Value::Null)]);
    revision.diagnostics.0.push(podwright::model::Diagnostic {
        severity: Severity::Error,
        rule: "x",
        message: "x".into(),
        help: None,
        place: None,
        object: None,
        field: None,
    });
    assert_eq!(admit(&revision).unwrap_err(), revision.diagnostics);
}

#[test]
fn data_of_config_maps_and_secrets_is_decoded_and_string_data_wins() {
    let admitted = admitted(&[
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"a": "b2xk", "b": "Yg=="}, "stringData": {"a": "new"}}),
    ]);
    let key = |name: &str| ("default".to_owned(), name.to_owned());
    assert_eq!(admitted.data.config_maps[&key("m")].texts["k"].reveal(), b"v");
    let secret = &admitted.data.secrets[&key("s")].bytes;
    assert_eq!((secret["a"].reveal(), secret["b"].reveal()), (&b"new"[..], &b"b"[..]));
    let bad = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "#hunter2"}});
    let refused = admit(&desired(&[bad])).unwrap_err();
    assert!(refused.has_errors() && !format!("{refused:?}").contains("hunter2"));
}
