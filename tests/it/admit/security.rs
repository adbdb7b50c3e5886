//! Pod Security: each control of the standards, who asks for a standard, and what becomes of a pod.

mod table;

use podwright::admit::{Admitter, admit, admit_on, admit_what_can_be, pod_security_controls as controls};
use podwright::manifest::support::fields;
use podwright::model::{Diagnostic, Diagnostics, Kind, NodeInfo, PodSecurityLevel, Severity};
use serde_json::{Value, json};

use super::desired;

/// Labels of Pod Security, without their prefix.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The namespace `default` with labels of Pod Security, without their prefix.
fn namespace(labels: Labels<'_>) -> Value {
    let labels: Value = labels.iter().map(|(k, v)| (format!("pod-security.kubernetes.io/{k}"), json!(v))).collect();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": labels}})
}

/// A pod that keeps to every control there is.
fn good() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "i:1", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}],
        },
    })
}

/// The same with other fields; `null` takes one away, and lists are merged item by item.
fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                match value {
                    Value::Null => drop(into.remove(key)),
                    value => merge(into.entry(key.as_str()).or_insert(Value::Null), value),
                }
            }
        }
        (Value::Array(into), Value::Array(more)) => {
            for (index, value) in more.iter().enumerate() {
                match into.get_mut(index) {
                    Some(item) => merge(item, value),
                    None => into.push(value.clone()),
                }
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn pod(more: &Value) -> Value {
    let mut pod = good();
    merge(&mut pod, more);
    pod
}

fn machine(level: PodSecurityLevel) -> NodeInfo {
    NodeInfo { name: "edge-1".into(), pod_security: level, ..NodeInfo::default() }
}

fn messages(diagnostics: &Diagnostics) -> Vec<&str> {
    diagnostics.0.iter().map(|diagnostic| diagnostic.message.as_str()).collect()
}

/// What admission refuses of some objects.
fn refused(objects: &[Value], node: Option<&NodeInfo>) -> Vec<Diagnostic> {
    match admit_on(&desired(objects), node) {
        Ok(admitted) => {
            assert_eq!(messages(&admitted.diagnostics), [""; 0]);
            vec![]
        }
        Err(diagnostics) => diagnostics.0,
    }
}

#[test]
fn the_fields_of_each_control_are_fields_of_a_pod() {
    let known: Vec<String> = fields(Kind::Pod).into_iter().map(|(path, _)| path).collect();
    let is_known = |path: &str| known.iter().any(|other| other == path.trim_end_matches("[]"));
    for control in controls() {
        assert!(!control.fields.is_empty() && !control.allowed.is_empty() && !control.name.is_empty());
        for field in control.fields.iter().filter(|field| !field.starts_with("metadata.annotations[")) {
            let places = match field.strip_prefix('@') {
                Some(rest) => ["containers", "initContainers"].map(|list| format!("spec.{list}[]{rest}")).to_vec(),
                None => vec![(*field).to_owned()],
            };
            assert!(places.iter().all(|place| is_known(place)), "{}: {field}", control.id);
        }
    }
    let order = |level| controls().iter().filter(move |c| c.level == level).map(|c| c.id).collect::<Vec<_>>();
    assert!(order(PodSecurityLevel::Baseline).is_sorted() && order(PodSecurityLevel::Restricted).is_sorted());
    assert!(controls().is_sorted_by_key(|control| control.level));
}

/// A pod as most are written.
fn bare() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1"}]}})
}

#[test]
fn every_control_that_a_pod_breaks_is_told_at_its_field_with_the_way_out() {
    let found = refused(&[bare(), namespace(&[("enforce", "restricted")])], None);
    let told: Vec<(&str, &str)> =
        found.iter().map(|d| (d.message.as_str(), d.field.as_deref().unwrap_or_default())).collect();
    let those = "containers \"c\", \"d\" must set securityContext";
    let expected = [
        (
            "allowPrivilegeEscalation != false",
            format!("({those}.allowPrivilegeEscalation=false)"),
            "allowPrivilegeEscalation",
        ),
        ("unrestricted capabilities", format!("({those}.capabilities.drop=[\"ALL\"])"), "capabilities.drop"),
        ("runAsNonRoot != true", format!("(pod or {those}.runAsNonRoot=true)"), "runAsNonRoot"),
        (
            "seccompProfile",
            format!("(pod or {those}.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"),
            "seccompProfile.type",
        ),
    ];
    let expected: Vec<(String, String)> = expected
        .into_iter()
        .map(|(reason, detail, field)| {
            let message = format!("violates PodSecurity \"restricted:latest\": {reason} {detail}");
            (message, format!("spec.containers[0].securityContext.{field}"))
        })
        .collect();
    assert_eq!(told, expected.iter().map(|(m, f)| (m.as_str(), f.as_str())).collect::<Vec<_>>());
    for diagnostic in &found {
        assert_eq!((diagnostic.rule, diagnostic.severity), ("pod-security", Severity::Error));
        assert_eq!(diagnostic.object.as_ref().map(ToString::to_string).as_deref(), Some("Pod default/p"));
        // The container, since nothing of what is missing was written.
        let place = &diagnostic.place.as_ref().unwrap().at;
        assert_eq!((&*place.path, place.line > 1), ("0.yaml", true), "{place}");
        let help = diagnostic.help.as_ref().unwrap();
        assert!(help.starts_with("allowed: ") && help.contains("; also at 0.yaml:"), "{help}");
        let asked = "; the namespace default has the label pod-security.kubernetes.io/enforce: restricted (1.yaml:";
        assert!(help.contains(asked), "{help}");
    }
}

#[test]
fn a_namespace_without_labels_and_a_machine_without_a_ceiling_ask_for_nothing() {
    let privileged =
        pod(&json!({"spec": {"hostPID": true, "containers": [{"securityContext": {"privileged": true}}]}}));
    assert_eq!(refused(std::slice::from_ref(&privileged), None), []);
    assert_eq!(refused(&[privileged.clone(), namespace(&[])], Some(&machine(PodSecurityLevel::Privileged))), []);
    assert_eq!(refused(&[privileged.clone(), namespace(&[("enforce", "privileged")])], None), []);
    // A version alone asks for nothing.
    assert_eq!(refused(&[privileged.clone(), namespace(&[("enforce-version", "v1.20")])], None), []);
    let mut other = namespace(&[("enforce", "restricted")]);
    other["metadata"]["name"] = "other".into();
    assert_eq!(refused(&[privileged, other], None), []);
}

#[test]
fn a_ceiling_holds_whatever_the_namespace_says() {
    let shared = || pod(&json!({"spec": {"hostPID": true}}));
    let baseline = machine(PodSecurityLevel::Baseline);
    let words = "PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    for labels in [&[][..], &[("enforce", "privileged")]] {
        let found = refused(&[shared(), namespace(labels)], Some(&baseline));
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(one.message, format!("violates {words}"));
        assert_eq!(one.field.as_deref(), Some("spec.hostPID"));
        let help = one.help.as_ref().unwrap();
        assert!(help.ends_with("; the configuration of the machine says `podSecurity: baseline`"), "{help}");
    }
    // A stricter namespace says it all.
    let found = refused(&[shared(), namespace(&[("enforce", "restricted")])], Some(&baseline));
    assert_eq!(
        found.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(),
        [format!("violates {}", words.replace("baseline", "restricted"))]
    );
    // One that is stricter, and older, leaves something to the ceiling.
    let asks =
        json!({"spec": {"hostPID": true, "containers": [{"livenessProbe": {"httpGet": {"port": 1, "host": "h"}}}]}});
    let old = namespace(&[("enforce", "restricted"), ("enforce-version", "v1.33")]);
    let found = refused(&[pod(&asks), old], Some(&baseline));
    let mut standards: Vec<&str> = found.iter().map(|d| d.message.split('"').nth(1).unwrap()).collect();
    standards.sort_unstable();
    assert_eq!(standards, ["baseline:latest", "restricted:v1.33"]);
    // Another machine's pod is another machine's business.
    let away = pod(&json!({"spec": {"hostPID": true, "nodeName": "edge-2"}}));
    let admitted = admit_on(&desired(std::slice::from_ref(&away)), Some(&baseline)).unwrap();
    assert_eq!(admitted.diagnostics.0.iter().map(|d| d.rule).collect::<Vec<_>>(), ["not-placed"]);
    assert_eq!(
        refused(&[away, namespace(&[("enforce", "baseline")])], Some(&baseline)).len(),
        2,
        "and not its namespace's"
    );
}

#[test]
fn what_a_preset_brings_is_told_where_the_preset_says_it() {
    let preset = json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "logs"},
        "spec": {"selector": {}, "volumes": [{"name": "v", "hostPath": {"path": "/var/log"}}]}});
    let found = refused(&[good(), namespace(&[("enforce", "baseline")]), preset], None);
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(one.message, "violates PodSecurity \"baseline:latest\": hostPath volumes (volume \"v\")");
    assert_eq!(&*one.place.as_ref().unwrap().at.path, "2.yaml");
    assert!(one.help.as_ref().unwrap().contains("; PodPreset logs brings it"), "{one:?}");
}

#[test]
fn what_defaults_fill_in_counts() {
    // With the network of the machine each port is one of it.
    let shared = pod(&json!({"spec": {"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]}}));
    let found = refused(&[shared, namespace(&[("enforce", "baseline")])], None);
    let mut details: Vec<&str> = found.iter().map(|d| d.message.split_once(": ").unwrap().1).collect();
    details.sort_unstable();
    assert_eq!(details, ["host namespaces (hostNetwork=true)", "hostPort (container \"c\" uses hostPort 80)"]);
    // A volume that says nothing is an emptyDir.
    let empty = pod(&json!({"spec": {"volumes": [{"name": "v"}]}}));
    assert_eq!(refused(&[empty, namespace(&[("enforce", "restricted")])], None), []);
}

#[test]
fn warnings_and_audits_refuse_nothing() {
    let shared = || pod(&json!({"spec": {"hostPID": true}}));
    let warning = "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    let admitted = admit(&desired(&[shared(), namespace(&[("warn", "baseline")])])).unwrap();
    assert_eq!((messages(&admitted.diagnostics), messages(&admitted.audits)), (vec![warning], vec![]));
    assert_eq!(admitted.diagnostics.0[0].severity, Severity::Warning);

    let audited = warning.replace("latest", "v1.20");
    let labels = [("audit", "baseline"), ("audit-version", "v1.20")];
    let admitted = admit(&desired(&[shared(), namespace(&labels)])).unwrap();
    assert_eq!((messages(&admitted.diagnostics), messages(&admitted.audits)), (vec![], vec![audited.as_str()]));

    // A pod that is refused is not warned of.
    let labels = [("enforce", "baseline"), ("warn", "restricted")];
    let found = admit(&desired(&[shared(), namespace(&labels)])).unwrap_err();
    assert_eq!(messages(&found), [warning.replace("would violate", "violates")]);
}

#[test]
fn labels_that_cannot_be_read_count_as_kubernetes_takes_them() {
    let rows: [(Labels<'_>, &[&str]); 5] = [
        (&[("enforce", "Baseline")], &["violates PodSecurity \"restricted:latest\""]),
        (&[("enforce", "baseline"), ("enforce-version", "1.20")], &[]),
        (&[("warn", "x")], &[]),
        (&[("audit", "x")], &[]),
        (&[("enforce", "restricted"), ("enforce-version", "new")], &["violates PodSecurity \"restricted:latest\""]),
    ];
    let rooted = pod(&json!({"spec": {"securityContext": {"runAsNonRoot": null}}}));
    for (labels, expected) in rows {
        let admitted = admit_what_can_be(&desired(&[rooted.clone(), namespace(labels)]), None);
        let told: Vec<&str> = admitted.diagnostics.0.iter().map(|d| d.message.split_once(": ").unwrap().0).collect();
        assert_eq!(told, *expected, "{labels:?}");
        assert!(admitted.audits.0.is_empty());
    }
}

#[test]
fn who_keeps_nothing_keeps_the_pods_that_are_told_of() {
    let shared = pod(&json!({"spec": {"hostPID": true}}));
    let rows: [(Labels<'_>, PodSecurityLevel, bool); 6] = [
        (&[], PodSecurityLevel::Privileged, true),
        (&[("enforce", "baseline")], PodSecurityLevel::Privileged, false),
        (&[("warn", "baseline")], PodSecurityLevel::Privileged, false),
        // Of audits nobody hears but an agent.
        (&[("audit", "baseline")], PodSecurityLevel::Privileged, true),
        (&[], PodSecurityLevel::Baseline, false),
        (&[("enforce", "privileged")], PodSecurityLevel::Restricted, false),
    ];
    for (labels, ceiling, quiet) in rows {
        for (pod, quiet) in [(&shared, quiet), (&good(), true)] {
            let desired = desired(&[pod.clone(), namespace(labels)]);
            let node = machine(ceiling);
            let (object, packed) = desired.pods.values().next().unwrap();
            let admitter = Admitter::new(&desired, Some(&node));
            assert_eq!(admitter.says_nothing(object, Some(&packed.open())), quiet, "{labels:?} {ceiling:?}");
            assert_eq!(admit_on(&desired, Some(&node)).is_ok_and(|a| a.diagnostics.0.is_empty()), quiet);
        }
    }
}

#[test]
fn unsafe_sysctls_are_what_the_machine_allows() {
    let sysctls = |names: &[&str]| -> Value {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        pod(&json!({"spec": {"securityContext": {"sysctls": list}}}))
    };
    let node = |patterns: &[&str]| NodeInfo {
        name: "edge-1".into(),
        allowed_unsafe_sysctls: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        ..NodeInfo::default()
    };
    let words = |name: &str| format!("forbidden sysctl: \"{name}\" not allowlisted");
    let rows: [(&[&str], &[&str], &[&str]); 7] = [
        (&["net.ipv4.tcp_rmem", "net/ipv4/tcp_wmem", "kernel.shm_rmid_forced"], &[], &[]),
        (&["net.core.somaxconn", "kernel.msgmax"], &[], &["net.core.somaxconn", "kernel.msgmax"]),
        (&["net/core/somaxconn"], &[], &["net.core.somaxconn"]),
        (&["net/core/somaxconn"], &["net.core.somaxconn"], &[]),
        (&["net.core.somaxconn"], &["net/core/*"], &[]),
        (&["kernel.msgmax", "kernel.sem"], &["kernel.msg*"], &["kernel.sem"]),
        // What is the machine's is nobody's to allow.
        (&["vm.swappiness"], &["*"], &["vm.swappiness"]),
    ];
    for (names, patterns, expected) in rows {
        let found = refused(&[sysctls(names)], Some(&node(patterns)));
        let told: Vec<&str> = found.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(told, expected.iter().map(|name| words(name)).collect::<Vec<_>>(), "{names:?} {patterns:?}");
        assert!(found.iter().all(|d| d.rule == "sysctl-forbidden" && d.severity == Severity::Error));
        let desired = desired(&[sysctls(names)]);
        let (object, packed) = desired.pods.values().next().unwrap();
        let quiet = Admitter::new(&desired, Some(&node(patterns))).says_nothing(object, Some(&packed.open()));
        assert_eq!(quiet, expected.is_empty(), "{names:?}");
    }
    // Nobody knows what the machine allows.
    let admitted = admit(&desired(&[sysctls(&["kernel.sem"])])).unwrap();
    assert_eq!(messages(&admitted.diagnostics), ["the sysctl \"kernel.sem\" is set only by a machine that allows it"]);
    let away = {
        let mut pod = sysctls(&["kernel.sem"]);
        pod["spec"]["nodeName"] = "edge-2".into();
        pod
    };
    assert!(admit_on(&desired(&[away]), Some(&node(&[]))).is_ok(), "another machine's");
}
