//! One row for each thing that a control lets pass or refuses.

use std::collections::BTreeMap;

use podwright::admit::{admit, pod_security_controls as controls};
use podwright::model::{Diagnostics, PodSecurityLevel};
use serde_json::{Value, json};

use super::{messages, namespace, pod};
use crate::admit::desired;

/// The control, the version of the standards, what the pod has besides, and what is said of it: nothing when it passes.
struct Row(&'static str, &'static str, Value, Option<&'static str>);

fn spec(more: Value) -> Value {
    json!({ "spec": more })
}

/// Of the one container.
fn container(more: Value) -> Value {
    json!({"spec": {"containers": [more]}})
}

/// The security context of the one container.
fn context(more: Value) -> Value {
    container(json!({ "securityContext": more }))
}

/// The security context of the pod.
fn of_pod(more: Value) -> Value {
    spec(json!({ "securityContext": more }))
}

/// The same of the pod, of the container and of an init container, which is good otherwise.
fn everywhere(of_pod: Value, more: &Value) -> Value {
    let mut init = json!({"name": "i", "image": "i:1", "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    super::merge(&mut init["securityContext"], more);
    json!({"spec": {"securityContext": of_pod, "initContainers": [init], "containers": [{"securityContext": more}]}})
}

fn annotated(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

fn of_profiles() -> Vec<Row> {
    let (armor, seccomp) =
        (|kind| json!({"appArmorProfile": {"type": kind}}), |kind| json!({"seccompProfile": {"type": kind}}));
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    vec![
        Row("appArmorProfile", "latest", everywhere(armor("RuntimeDefault"), &armor("Localhost")), None),
        Row("appArmorProfile", "latest", annotated(json!({key: "localhost/x"})), None),
        Row("appArmorProfile", "latest", annotated(json!({key: ""})), None),
        Row(
            "appArmorProfile",
            "latest",
            everywhere(armor("Unconfined"), &armor("Unconfined")),
            Some(
                "forbidden AppArmor profile (pod and containers \"i\", \"c\" must not set AppArmor profile type to \"Unconfined\")",
            ),
        ),
        Row(
            "appArmorProfile",
            "v1.0",
            annotated(json!({key: "unconfined"})),
            Some(
                "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
                 \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")",
            ),
        ),
        Row("seccompProfile_baseline", "latest", everywhere(seccomp("Localhost"), &seccomp("RuntimeDefault")), None),
        Row("seccompProfile_baseline", "latest", of_pod(json!({"seccompProfile": null})), None),
        Row(
            "seccompProfile_baseline",
            "latest",
            everywhere(seccomp("Unconfined"), &json!({})),
            Some("seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")"),
        ),
        Row("seccompProfile_baseline", "v1.18", everywhere(seccomp("Unconfined"), &json!({})), None),
        Row(
            "seccompProfile_baseline",
            "v1.18",
            annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined",
                "container.seccomp.security.alpha.kubernetes.io/c": "docker/default"})),
            Some("seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"),
        ),
        Row(
            "seccompProfile_baseline",
            "v1.19",
            annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})),
            None,
        ),
        Row(
            "seccompProfile_restricted",
            "latest",
            everywhere(json!({"seccompProfile": null}), &seccomp("Localhost")),
            None,
        ),
        Row("seccompProfile_restricted", "latest", of_pod(seccomp("Localhost")), None),
        Row("seccompProfile_restricted", "v1.18", of_pod(json!({"seccompProfile": null})), None),
        Row(
            "seccompProfile_restricted",
            "latest",
            of_pod(json!({"seccompProfile": null})),
            Some(
                "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
            ),
        ),
        Row(
            "seccompProfile_restricted",
            "v1.19",
            context(seccomp("Unconfined")),
            Some("seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")"),
        ),
    ]
}

fn of_capabilities() -> Vec<Row> {
    let add = |names: &[&str]| context(json!({"capabilities": {"add": names}}));
    let all = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    vec![
        Row("capabilities_baseline", "latest", add(&all), None),
        Row(
            "capabilities_baseline",
            "latest",
            add(&["NET_RAW", "CHOWN", "BPF"]),
            Some(
                "non-default capabilities (container \"c\" must not include \"BPF\", \"NET_RAW\" in \
                 securityContext.capabilities.add)",
            ),
        ),
        Row("capabilities_restricted", "latest", add(&["NET_BIND_SERVICE"]), None),
        Row("capabilities_restricted", "v1.21", context(json!({"capabilities": null})), None),
        Row(
            "capabilities_restricted",
            "latest",
            json!({"spec": {"os": {"name": "windows"}, "containers": [
            {"securityContext": {"capabilities": null}}]}}),
            None,
        ),
        Row(
            "capabilities_restricted",
            "v1.24",
            json!({"spec": {"os": {"name": "windows"}, "containers": [{"securityContext": {"capabilities": null}}]}}),
            Some("unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])"),
        ),
        Row(
            "capabilities_restricted",
            "latest",
            context(json!({"capabilities": {"drop": null, "add": ["CHOWN"]}})),
            Some(
                "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]; container \
                 \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
            ),
        ),
    ]
}

fn of_the_machine() -> Vec<Row> {
    let ports = |ports: &[u32]| -> Value {
        let list: Vec<Value> = ports.iter().map(|port| json!({"containerPort": 80, "hostPort": port})).collect();
        container(json!({ "ports": list }))
    };
    let probe = |host: &str| {
        container(json!({
            "readinessProbe": {"tcpSocket": {"port": 1, "host": host}},
            "lifecycle": {"preStop": {"httpGet": {"port": 1, "host": host}}},
        }))
    };
    let host_path =
        || spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]}));
    vec![
        Row("hostNamespaces", "latest", spec(json!({"hostNetwork": false, "hostPID": false, "hostIPC": false})), None),
        Row(
            "hostNamespaces",
            "latest",
            spec(json!({"hostNetwork": true, "hostPID": true, "hostIPC": true})),
            Some("host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)"),
        ),
        Row(
            "hostPathVolumes",
            "latest",
            spec(json!({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]})),
            None,
        ),
        Row("hostPathVolumes", "latest", host_path(), Some("hostPath volumes (volume \"v\")")),
        Row("hostPorts", "latest", ports(&[0]), None),
        Row(
            "hostPorts",
            "latest",
            ports(&[9, 80, 9, 443]),
            Some("hostPort (container \"c\" uses hostPorts 443, 80, 9)"),
        ),
        Row("hostProbesAndHostLifecycle", "latest", probe(""), None),
        Row("hostProbesAndHostLifecycle", "v1.33", probe("h"), None),
        Row(
            "hostProbesAndHostLifecycle",
            "v1.34",
            probe("h"),
            Some("probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")"),
        ),
        Row(
            "hostProbesAndHostLifecycle",
            "latest",
            container(json!({
                "livenessProbe": {"httpGet": {"port": 1, "host": "b"}},
                "startupProbe": {"tcpSocket": {"port": 1, "host": "a"}},
                "lifecycle": {"postStart": {"tcpSocket": {"port": 1, "host": "c"}}},
            })),
            Some("probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"a\", \"b\", \"c\")"),
        ),
    ]
}

fn of_privileges() -> Vec<Row> {
    vec![
        Row("privileged", "latest", context(json!({"privileged": false})), None),
        Row(
            "privileged",
            "latest",
            everywhere(json!({}), &json!({"privileged": true})),
            Some("privileged (containers \"i\", \"c\" must not set securityContext.privileged=true)"),
        ),
        Row("windowsHostProcess", "latest", of_pod(json!({"windowsOptions": {"hostProcess": false}})), None),
        Row(
            "windowsHostProcess",
            "latest",
            everywhere(
                json!({"windowsOptions": {"hostProcess": true}}),
                &json!({"windowsOptions": {"hostProcess": true}}),
            ),
            Some(
                "hostProcess (pod and containers \"i\", \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
            ),
        ),
    ]
}

fn of_the_kernel() -> Vec<Row> {
    let linux = |options: Value| json!({ "seLinuxOptions": options });
    let sysctls = |names: &[&str]| -> Value {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        of_pod(json!({ "sysctls": list }))
    };
    let unmasked = |host_users: Option<bool>| {
        let mut pod = context(json!({"procMount": "Unmasked"}));
        pod["spec"]["hostUsers"] = json!(host_users);
        pod
    };
    let refused = Some("procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")");
    let first = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    ];
    let later = [
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ];
    let kinds = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let mut rows: Vec<Row> = kinds
        .iter()
        .map(|kind| Row("seLinuxOptions", "latest", of_pod(linux(json!({"type": kind, "level": "s0"}))), None))
        .collect();
    rows.extend([
        Row(
            "seLinuxOptions",
            "v1.30",
            of_pod(linux(json!({"type": "container_engine_t"}))),
            Some("seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")"),
        ),
        Row(
            "seLinuxOptions",
            "latest",
            everywhere(linux(json!({"type": "b"})), &linux(json!({"type": "a", "user": "u", "role": "r"}))),
            Some(
                "seLinuxOptions (pod and containers \"i\", \"c\" set forbidden securityContext.seLinuxOptions: types \"a\", \"b\"; \
                 user may not be set; role may not be set)",
            ),
        ),
        Row(
            "seLinuxOptions",
            "latest",
            context(linux(json!({"user": "u"}))),
            Some("seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: user may not be set)"),
        ),
        Row("sysctls", "latest", sysctls(&[&first[..], &later].concat()), None),
        Row("sysctls", "v1.0", sysctls(&first), None),
        Row("sysctls", "v1.26", sysctls(&later[..1]), Some("forbidden sysctls (net.ipv4.ip_local_reserved_ports)")),
        Row("sysctls", "v1.28", sysctls(&later[..2]), Some("forbidden sysctls (net.ipv4.tcp_keepalive_time)")),
        Row("sysctls", "v1.31", sysctls(&later[4..]), Some("forbidden sysctls (net.ipv4.tcp_rmem, net.ipv4.tcp_wmem)")),
        Row("sysctls", "latest", sysctls(&["kernel.msgmax"]), Some("forbidden sysctls (kernel.msgmax)")),
        Row("procMount", "latest", context(json!({"procMount": "Default"})), None),
        Row("procMount", "latest", unmasked(Some(false)), None),
        Row("procMount", "v1.35", unmasked(Some(false)), None),
        Row("procMount", "v1.34", unmasked(Some(false)), refused),
        Row("procMount", "latest", unmasked(Some(true)), refused),
        Row("procMount", "latest", unmasked(None), refused),
        Row("procMount_restricted", "latest", context(json!({"procMount": "Default"})), None),
        Row("procMount_restricted", "latest", unmasked(Some(false)), refused),
    ]);
    rows
}

fn of_root_and_volumes() -> Vec<Row> {
    let own = |mut pod: Value| {
        pod["spec"]["hostUsers"] = false.into();
        pod
    };
    let windows = |mut pod: Value| {
        pod["spec"]["os"] = json!({"name": "windows"});
        pod
    };
    let rooted = || everywhere(json!({"runAsUser": 0}), &json!({"runAsUser": 0}));
    let silent = || of_pod(json!({"runAsNonRoot": null}));
    let asking = || context(json!({"allowPrivilegeEscalation": null}));
    let of_type = |kind: &str, source: Value| spec(json!({"volumes": [{"name": "v", kind: source}]}));
    let allowed = [
        ("configMap", json!({"name": "m"})),
        ("csi", json!({"driver": "d"})),
        ("downwardAPI", json!({})),
        ("emptyDir", json!({})),
        ("ephemeral", json!({})),
        ("image", json!({})),
        ("persistentVolumeClaim", json!({"claimName": "c"})),
        ("projected", json!({"sources": []})),
        ("secret", json!({"secretName": "s"})),
    ];
    let mut rows: Vec<Row> = allowed
        .into_iter()
        .map(|(kind, source)| Row("restrictedVolumes", "latest", of_type(kind, source), None))
        .collect();
    let escalation = Some(
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
    );
    rows.extend([
        Row(
            "restrictedVolumes",
            "latest",
            spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {"server": "s", "path": "/"}}]})),
            Some("restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")"),
        ),
        Row(
            "restrictedVolumes",
            "v1.0",
            of_type("gitRepo", json!({"repository": "r"})),
            Some("restricted volume types (volume \"v\" uses restricted volume type \"gitRepo\")"),
        ),
        Row("allowPrivilegeEscalation", "latest", context(json!({"allowPrivilegeEscalation": false})), None),
        Row("allowPrivilegeEscalation", "v1.7", asking(), None),
        Row("allowPrivilegeEscalation", "v1.25", windows(asking()), None),
        Row("allowPrivilegeEscalation", "v1.24", windows(asking()), escalation),
        Row("allowPrivilegeEscalation", "latest", asking(), escalation),
        Row("allowPrivilegeEscalation", "v1.99", context(json!({"allowPrivilegeEscalation": true})), escalation),
        Row("runAsNonRoot", "latest", everywhere(json!({"runAsNonRoot": null}), &json!({"runAsNonRoot": true})), None),
        Row("runAsNonRoot", "latest", own(silent()), None),
        Row(
            "runAsNonRoot",
            "v1.34",
            own(silent()),
            Some("runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"),
        ),
        Row(
            "runAsNonRoot",
            "latest",
            everywhere(json!({"runAsNonRoot": false}), &json!({"runAsNonRoot": false})),
            Some("runAsNonRoot != true (pod and containers \"i\", \"c\" must not set securityContext.runAsNonRoot=false)"),
        ),
        Row("runAsUser", "latest", everywhere(json!({"runAsUser": 1}), &json!({"runAsUser": 1000})), None),
        Row("runAsUser", "latest", own(rooted()), None),
        Row("runAsUser", "v1.22", rooted(), None),
        Row("runAsUser", "v1.34", own(rooted()), Some("runAsUser=0 (pod and containers \"i\", \"c\" must not set runAsUser=0)")),
        Row("runAsUser", "latest", of_pod(json!({"runAsUser": 0})), Some("runAsUser=0 (pod must not set runAsUser=0)")),
    ]);
    rows
}

#[test]
fn every_control_of_the_standards_lets_a_pod_pass_and_refuses_one() {
    let rows =
        [of_profiles(), of_capabilities(), of_the_machine(), of_privileges(), of_the_kernel(), of_root_and_volumes()];
    let mut seen: BTreeMap<&str, [usize; 2]> = controls().iter().map(|control| (control.id, [0, 0])).collect();
    for Row(id, version, more, expected) in rows.into_iter().flatten() {
        let control = controls().iter().find(|control| control.id == id).unwrap_or_else(|| panic!("no control {id}"));
        let labels = [("enforce", control.level.as_str()), ("enforce-version", version)];
        let found = admit(&desired(&[pod(&more), namespace(&labels)])).err().unwrap_or_default();
        let expected: Vec<String> = expected
            .map(|words| format!("violates PodSecurity \"{}:{version}\": {words}", control.level.as_str()))
            .into_iter()
            .collect();
        let found = Diagnostics(found.0.into_iter().filter(|diagnostic| diagnostic.rule == "pod-security").collect());
        assert_eq!(messages(&found), expected, "{id} {version}: {more}");
        seen.get_mut(id).unwrap()[usize::from(!expected.is_empty())] += 1;
        // The level below has nothing against it.
        if control.level == PodSecurityLevel::Baseline {
            let labels = [("enforce", "privileged"), ("enforce-version", version)];
            assert!(admit(&desired(&[pod(&more), namespace(&labels)])).is_ok(), "{id} {version}: {more}");
        }
    }
    let lacking: Vec<_> = seen.iter().filter(|(_, [pass, fail])| *pass == 0 || *fail == 0).collect();
    assert!(lacking.is_empty(), "controls without a row that passes or one that fails: {lacking:?}");
    assert_eq!(seen.len(), 19);
}
