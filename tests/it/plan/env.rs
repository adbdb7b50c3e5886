//! Variables, commands and mounts as a container gets them.

use podwright::model::{ContainerStart, Masked, MountMode, MountSource, PodAction, Propagation, Sandbox, SubPath};
use serde_json::{Value, json};

use super::world::World;
use crate::admit::without_tokens::{admitted, pod_of};

fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "from m", "z": "$(k)"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": {"k": "from n"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "aHVudGVyMg==", "bin": "/w=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t"}, "data": {"p": "dA=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m", "namespace": "other"}, "data": {"p": "dA=="}}),
    ]
}

/// The start of the one container with these fields, or the message it waits with.
fn start(container: Value) -> Result<ContainerStart, String> {
    let mut c = json!({"name": "c", "image": "i:1"});
    c.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut all = objects();
    all.push(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"app": "web"}, "annotations": {"a.b/c": "note"}},
        "spec": {"containers": [c, {"name": "d", "image": "i:1", "resources": {"limits": {"cpu": "3"}}}], "serviceAccountName": "robot", "volumes": [
            {"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x"}},
            {"name": "m", "configMap": {"name": "m"}}, {"name": "s", "secret": {"secretName": "s"}},
            {"name": "a", "projected": {"sources": [{"secret": {"name": "s"}}]}}, {"name": "p", "downwardAPI": {"items": []}},
            {"name": "i", "image": {"reference": "files:1"}},
        ]},
    }));
    let admitted = admitted(&all);
    let pod = pod_of(&admitted, "default", "p");
    let mut world = World::new(&pod, &admitted.data);
    let first = world.plan();
    world.perform_steps(&first.steps);
    let plan = world.plan();
    let found = plan.steps.iter().find_map(|step| match &step.action {
        PodAction::StartContainer(start) if start.name == "c" => Some((**start).clone()),
        _ => None,
    });
    found.ok_or_else(|| {
        let (reason, message) = plan.waiting["c"].clone();
        assert_eq!(reason, "CreateContainerConfigError");
        message
    })
}

fn env_of(container: Value) -> Vec<(String, String)> {
    let start = start(container).unwrap();
    start.env.iter().map(|e| (e.name.clone(), e.value.reveal().clone())).collect()
}

fn value(from: Value) -> Value {
    json!({"env": [{"name": "V", "valueFrom": from}]})
}

#[test]
fn each_source_gives_its_value() {
    let field = |path: &str| value(json!({"fieldRef": {"fieldPath": path}}));
    let limits = |resource: &str, divisor: &str| {
        let mut c = value(json!({"resourceFieldRef": {"resource": resource, "divisor": divisor}}));
        c["resources"] = json!({"limits": {"cpu": "1500m", "memory": "64Mi"}});
        c
    };
    let rows = [
        (json!({"env": [{"name": "V", "value": "x"}]}), "x"),
        (json!({"env": [{"name": "V"}]}), ""),
        (value(json!({"configMapKeyRef": {"name": "m", "key": "k"}})), "from m"),
        (value(json!({"secretKeyRef": {"name": "s", "key": "p"}})), "hunter2"),
        (field("metadata.name"), "p"),
        (field("metadata.namespace"), "default"),
        (field("metadata.labels['app']"), "web"),
        (field("metadata.labels['none']"), ""),
        (field("metadata.annotations['a.b/c']"), "note"),
        (field("metadata.annotations['none']"), ""),
        (field("spec.nodeName"), "edge-1"),
        (field("spec.serviceAccountName"), "robot"),
        (field("status.hostIP"), "192.0.2.7"),
        (field("status.hostIPs"), "192.0.2.7,fd00::7"),
        (field("status.podIP"), "10.0.0.5"),
        (field("status.podIPs"), "10.0.0.5"),
        (limits("limits.cpu", "1"), "2"),
        (limits("limits.cpu", "1m"), "1500"),
        (limits("limits.memory", "1Mi"), "64"),
        (limits("requests.cpu", "0"), "2"),
        (value(json!({"resourceFieldRef": {"resource": "limits.cpu"}})), "2"),
        (value(json!({"resourceFieldRef": {"resource": "requests.cpu"}})), "0"),
        (value(json!({"resourceFieldRef": {"resource": "limits.cpu", "containerName": ""}})), "2"),
        (value(json!({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "c"}})), "2"),
        (value(json!({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "d"}})), "3"),
    ];
    for (container, expected) in rows {
        assert_eq!(env_of(container.clone()), [("V".to_owned(), expected.to_owned())], "{container}");
    }
    let uid = env_of(field("metadata.uid"));
    assert_eq!(uid[0].1.len(), 36);
}

/// What a field is in a pod with this network whose sandbox has these addresses.
fn pod_ip(field: &str, host_network: bool, addresses: &[&str]) -> String {
    let from = json!({"fieldRef": {"fieldPath": field}});
    let admitted = admitted(&[json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"hostNetwork": host_network,
        "containers": [{"name": "c", "image": "i:1", "env": [{"name": "V", "valueFrom": from}]}]},
    })]);
    let mut world = World::new(&pod_of(&admitted, "default", "p"), &admitted.data);
    let first = world.plan();
    world.perform_steps(&first.steps);
    let Sandbox::Ready { ips, .. } = &mut world.pod.as_mut().unwrap().sandbox else { panic!("no sandbox") };
    *ips = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let start = world.plan().steps.into_iter().find_map(|step| match step.action {
        PodAction::StartContainer(start) => Some(start),
        _ => None,
    });
    start.unwrap().env[0].value.reveal().clone()
}

#[test]
fn a_pod_on_the_machines_network_has_the_machines_address() {
    let both = ["10.0.0.5", "fd00::5"];
    for (host_network, addresses, one, all) in [
        (true, &[][..], "192.0.2.7", "192.0.2.7,fd00::7"),
        (true, &["192.0.2.9"], "192.0.2.9", "192.0.2.9"),
        (false, &both[..1], "10.0.0.5", "10.0.0.5"),
        (false, &both, "10.0.0.5", "10.0.0.5,fd00::5"),
        (false, &[], "", ""),
    ] {
        assert_eq!(pod_ip("status.podIP", host_network, addresses), one);
        assert_eq!(pod_ip("status.podIPs", host_network, addresses), all);
    }
}

#[test]
fn what_is_missing_is_told_in_the_words_of_kubelet() {
    let rows = [
        (value(json!({"configMapKeyRef": {"name": "no", "key": "k"}})), "configmap \"no\" not found"),
        (value(json!({"configMapKeyRef": {"name": "m", "key": "no"}})), "couldn't find key no in ConfigMap default/m"),
        (value(json!({"secretKeyRef": {"name": "no", "key": "k"}})), "secret \"no\" not found"),
        (value(json!({"secretKeyRef": {"name": "s", "key": "no"}})), "couldn't find key no in Secret default/s"),
        (value(json!({"fieldRef": {"fieldPath": "status.phase"}})), "unsupported fieldPath: status.phase"),
        (
            value(json!({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "no"}})),
            "container no not found",
        ),
        (json!({"envFrom": [{"configMapRef": {"name": "no"}}]}), "configmap \"no\" not found"),
        (json!({"envFrom": [{"secretRef": {"name": "no"}}]}), "secret \"no\" not found"),
        (
            value(json!({"secretKeyRef": {"name": "s", "key": "bin"}})),
            "key bin of secret \"s\" is not UTF-8 text and cannot be a variable; mount it as a file",
        ),
        (json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(NO)"}]}), "missing value for NO"),
        (
            json!({"env": [{"name": "D", "value": ".."}], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "a/$(D)"}]}),
            "unable to provision SubPath `a/$(D)`: must not contain '..'",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "/etc"}]}),
            "error SubPath `/etc` must not be an absolute path",
        ),
        (
            json!({"env": [{"name": "D", "value": "/etc"}], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(D)"}]}),
            "error SubPath `$(D)` must not be an absolute path",
        ),
        (
            // What is empty is no value; each is named once, in order.
            json!({"env": [{"name": "E", "value": ""}, {"name": "D", "value": "x"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(Z)/$(E)/$(D)/$(E)"}]}),
            "missing value for E, Z",
        ),
        (
            value(json!({"resourceFieldRef": {"resource": "limits.pods"}})),
            "unsupported container resource : limits.pods",
        ),
    ];
    for (container, expected) in rows {
        assert_eq!(start(container.clone()).unwrap_err(), expected, "{container}");
    }
}

#[test]
fn what_is_optional_may_be_missing() {
    let rows = [
        value(json!({"configMapKeyRef": {"name": "no", "key": "k", "optional": true}})),
        value(json!({"configMapKeyRef": {"name": "m", "key": "no", "optional": true}})),
        value(json!({"secretKeyRef": {"name": "no", "key": "k", "optional": true}})),
        value(json!({"secretKeyRef": {"name": "s", "key": "no", "optional": true}})),
        json!({"envFrom": [{"configMapRef": {"name": "no", "optional": true}}, {"secretRef": {"name": "no", "optional": true}}]}),
    ];
    for container in rows {
        assert_eq!(env_of(container.clone()), [], "{container}");
    }
}

#[test]
fn sources_come_first_later_ones_win_and_variables_beat_them() {
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    assert_eq!(
        env_of(json!({"envFrom": [{"configMapRef": {"name": "m"}}, {"configMapRef": {"name": "n"}},
            {"prefix": "S_", "secretRef": {"name": "t"}}]})),
        pairs(&[("k", "from n"), ("z", "$(k)"), ("S_p", "t")])
    );
    assert_eq!(
        env_of(json!({"envFrom": [{"configMapRef": {"name": "n"}}], "env": [
            {"name": "BEFORE", "value": "$(LATER) $(k)"}, {"name": "k", "value": "own"},
            {"name": "AFTER", "value": "$(k) $$(k) $(BEFORE)"}, {"name": "LATER", "value": "x"},
        ]})),
        pairs(&[("k", "own"), ("BEFORE", "$(LATER) from n"), ("AFTER", "own $(k) $(LATER) from n"), ("LATER", "x"),])
    );
}

#[test]
fn command_args_and_sub_paths_see_every_variable() {
    let start = start(json!({
        "command": ["sh", "-c", "echo $(V) $(NO) $$(V)"], "args": ["$(V)"],
        "env": [{"name": "V", "value": "x"}],
        "volumeMounts": [
            {"name": "v", "mountPath": "/a", "subPathExpr": "d/$(V)/$$(V)", "readOnly": true}, {"name": "v", "mountPath": "/b"},
        ],
    }))
    .unwrap();
    let reveal = |words: Option<Vec<podwright::model::Masked<String>>>| -> Option<Vec<String>> {
        words.map(|words| words.iter().map(|w| w.reveal().clone()).collect())
    };
    assert_eq!(reveal(start.command), Some(vec!["sh".into(), "-c".into(), "echo x $(NO) $(V)".into()]));
    assert_eq!(reveal(start.args), Some(vec!["x".into()]));
    let mounts: Vec<_> = start
        .mounts
        .iter()
        .map(|m| {
            let MountSource::Volume { name, sub_path } = &m.source else { panic!("{m:?}") };
            let path = sub_path.as_ref().map(|part| part.path.reveal().as_str());
            (name.as_str(), path, m.mount_path.as_str(), m.mode.read_only)
        })
        .collect();
    assert_eq!(mounts, [("v", Some("d/x/$(V)"), "/a", true), ("v", None, "/b", false)]);
}

/// Whatever it is refused for, and whoever prints what a container would have been started with.
#[test]
fn the_value_of_a_secret_in_a_sub_path_is_in_no_message() {
    let container = |volume: &str, expr: &str| {
        json!({"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}],
            "volumeMounts": [{"name": volume, "mountPath": "/v", "subPathExpr": expr}]})
    };
    for volume in ["v", "i"] {
        for expr in ["/$(P)", "../$(P)", "$(P)/..", "$(P)/$(NO)"] {
            let why = start(container(volume, expr)).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        let start = start(container(volume, "d/$(P)")).unwrap();
        let (MountSource::Volume { sub_path, .. } | MountSource::Image { sub_path, .. }) = &start.mounts[0].source;
        let part = sub_path.as_ref().unwrap();
        assert_eq!((part.written.as_str(), part.path.reveal().as_str()), ("d/$(P)", "d/hunter2"));
        assert!(!format!("{start:?}").contains("hunter2"));
    }
}

#[test]
fn volumes_of_the_agents_files_are_read_only_whatever_is_asked() {
    let rows = [
        ("v", None, false),
        ("v", Some(true), true),
        ("h", None, false),
        ("h", Some(false), false),
        ("h", Some(true), true),
        ("m", None, true),
        ("m", Some(false), true),
        ("s", None, true),
        ("s", Some(false), true),
        ("s", Some(true), true),
        ("a", Some(false), true),
        ("p", Some(false), true),
        ("i", None, true),
        ("i", Some(false), true),
    ];
    for (name, asked, expected) in rows {
        let mount = json!({"name": name, "mountPath": "/a", "readOnly": asked});
        let mounts = start(json!({"volumeMounts": [mount]})).unwrap().mounts;
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].mode.read_only, expected, "{name} {asked:?}");
    }
}

#[test]
fn mounts_are_passed_on_and_read_only_as_the_kubelet_has_it() {
    let mode = |fields: Value, privileged: bool| {
        let mut mount = json!({"name": "h", "mountPath": "/a"});
        mount.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let security = json!({"privileged": privileged});
        start(json!({"volumeMounts": [mount], "securityContext": security})).map(|start| start.mounts[0].mode)
    };
    let plain = MountMode::default();
    let read_only = MountMode { read_only: true, ..plain };
    let recursive = MountMode { recursively: true, ..read_only };
    let told = |propagation| MountMode { propagation, ..plain };
    let refused = |why: &str| Err(format!("failed to resolve recursive read-only mode: volume \"h\" {why}"));
    for (fields, privileged, expected) in [
        (json!({}), false, Ok(plain)),
        (json!({"mountPropagation": "None", "recursiveReadOnly": "Disabled"}), false, Ok(plain)),
        (json!({"mountPropagation": "HostToContainer"}), false, Ok(told(Propagation::HostToContainer))),
        (json!({"mountPropagation": "Bidirectional"}), true, Ok(told(Propagation::Bidirectional))),
        (
            json!({"mountPropagation": "Bidirectional"}),
            false,
            Err("Bidirectional mount propagation is available only to privileged containers".to_owned()),
        ),
        (json!({"readOnly": true, "recursiveReadOnly": "Disabled"}), false, Ok(read_only)),
        (json!({"readOnly": true, "recursiveReadOnly": "Enabled"}), false, Ok(recursive)),
        (
            json!({"readOnly": true, "recursiveReadOnly": "IfPossible", "mountPropagation": "None"}),
            false,
            Ok(recursive),
        ),
        (
            json!({"recursiveReadOnly": "Enabled"}),
            false,
            refused("requested recursive read-only mode, but it is not read-only"),
        ),
        (
            json!({"readOnly": true, "recursiveReadOnly": "IfPossible", "mountPropagation": "HostToContainer"}),
            false,
            refused(
                "requested recursive read-only mode, but it is not compatible with propagation \"HostToContainer\"",
            ),
        ),
    ] {
        assert_eq!(mode(fields.clone(), privileged), expected, "{fields}");
    }
}

#[test]
fn a_value_that_is_in_a_file_is_known_when_the_container_starts_and_used_everywhere() {
    let file = |name: &str, volume: &str, optional: bool| {
        let reference = json!({"volumeName": volume, "path": "dir/f", "key": "K", "optional": optional});
        json!({"name": name, "valueFrom": {"fileKeyRef": reference}})
    };
    let plan = start(json!({
        "env": [
            {"name": "B", "value": "old"}, file("A", "v", false), file("B", "v", true), {"name": "C", "value": "<$(A)$(B)$$(A)>"},
        ],
        "command": ["echo", "$(A)"], "args": ["$(B)"],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "x/$(A)"}],
    }))
    .unwrap();
    let asked: Vec<_> = plan
        .late
        .iter()
        .map(|late| (late.name.as_str(), late.volume.as_str(), late.path.as_str(), late.key.as_str(), late.optional))
        .collect();
    assert_eq!(asked, [("A", "v", "dir/f", "K", false), ("B", "v", "dir/f", "K", true)]);
    let told = |values: [Option<&str>; 2]| {
        let start = plan.with_late(&values.map(|value| value.map(str::to_owned))).unwrap();
        let env = start.env.iter().map(|one| format!("{}={}", one.name, one.value.reveal()));
        let words = start.command.iter().chain(&start.args).flatten().map(|word| word.reveal().clone());
        let MountSource::Volume { sub_path, .. } = &start.mounts[0].source else { panic!("{start:?}") };
        let path = sub_path.iter().map(|part| part.path.reveal().clone());
        env.chain(words).chain(path).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told([Some("1"), Some("2")]), "B=2 A=1 C=<12$(A)> echo 1 2 x/1");
    assert_eq!(told([Some("1"), None]), "B=old A=1 C=<1old$(A)> echo 1 old x/1");
    for volume in ["no", "h", "i"] {
        let told = start(json!({"env": [file("A", volume, true)]})).unwrap_err();
        assert_eq!(told, format!("cannot find the volume \"{volume}\" referenced by FileKeyRef"));
    }
}

#[test]
fn what_has_a_nul_starts_nothing_whatever_is_in_files() {
    let file = json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "f", "key": "K"}}});
    for (fields, why) in [
        (json!({"env": [file, {"name": "B", "value": "\0$0\0"}]}), "variable B has a NUL byte"),
        (json!({"env": [file, {"name": "B", "value": "$(A)\0"}]}), "variable B has a NUL byte"),
        (json!({"env": [file], "command": ["x"], "args": ["\0$0\0"]}), "a word of the command has a NUL byte"),
        (
            json!({"env": [file], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "\0$0\0"}]}),
            "a subPath has a NUL byte",
        ),
    ] {
        assert_eq!(start(fields.clone()).unwrap_err(), why, "{fields}");
    }
}

#[test]
fn what_is_mounted_of_an_image_is_read_only_and_passed_on_to_nobody() {
    let planned = |fields: Value| {
        let mut mount = json!({"name": "i", "mountPath": "/a"});
        mount.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let security = json!({"privileged": true});
        let env = json!([{"name": "V", "value": "x"}]);
        start(json!({"volumeMounts": [mount], "securityContext": security, "env": env}))
            .map(|start| (start.mounts[0].source.clone(), start.mounts[0].mode))
    };
    let source = |part_of: Option<(&str, &str)>| {
        let (volume, image) = ("i".to_owned(), "files:1".to_owned());
        let part = |(written, path): (&str, &str)| SubPath { written: written.into(), path: Masked::new(path.into()) };
        MountSource::Image { volume, image, sub_path: part_of.map(part) }
    };
    let read_only = MountMode { read_only: true, ..MountMode::default() };
    for (fields, expected) in [
        (json!({}), Ok((source(None), read_only))),
        (json!({"subPath": "etc"}), Ok((source(Some(("etc", "etc"))), read_only))),
        (json!({"subPathExpr": "$(V)/y"}), Ok((source(Some(("$(V)/y", "x/y"))), read_only))),
        (json!({"mountPropagation": "HostToContainer"}), Ok((source(None), read_only))),
        (
            json!({"readOnly": true, "recursiveReadOnly": "Enabled"}),
            Ok((source(None), MountMode { recursively: true, ..read_only })),
        ),
        (
            json!({"mountPropagation": "Bidirectional"}),
            Err("Bidirectional mount propagation is not available to the image volume \"i\"".to_owned()),
        ),
        (json!({"subPathExpr": "$(NO)"}), Err("missing value for NO".to_owned())),
    ] {
        assert_eq!(planned(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn without_a_command_the_image_decides() {
    let start = start(json!({"command": [], "args": []})).unwrap();
    assert_eq!((start.command, start.args), (None, None));
}

#[test]
fn no_value_of_a_secret_shows_in_the_debug_output_of_a_plan() {
    let start = start(json!({
        "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}], "command": ["$(V)"],
    }))
    .unwrap();
    assert!(!format!("{start:?}").contains("hunter2"));
}

/// What the pull Secrets hold that go with the need for the only image, and the names of those that are not there.
fn pull_secrets(world: &World) -> (String, String) {
    let needs = world.plan().steps.into_iter().filter_map(|step| match step.action {
        PodAction::EnsureImage(need) => Some(need),
        _ => None,
    });
    let needs: Vec<_> = needs.collect();
    assert_eq!(needs.len(), 1);
    let found: Vec<u8> = needs[0].secrets.iter().flat_map(|secret| secret.reveal().clone()).collect();
    (String::from_utf8(found).unwrap(), needs[0].missing_secrets.join(" "))
}

#[test]
fn the_pull_secrets_of_a_pod_go_with_the_need_for_its_image_in_their_order() {
    let secret = |namespace: &str, name: &str, key: &str, text: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": {key: text}});
    let references = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let account = |name: &str, names: &[&str]| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, "imagePullSecrets": references(names)});
    let pod = |name: &str, account: &str, names: &[&str]| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], "serviceAccountName": account, "imagePullSecrets": references(names)}})
    };
    let all = [
        account("default", &["old"]),
        account("robot", &["today", "gone"]),
        secret("default", "today", ".dockerconfigjson", "1"),
        secret("default", "old", ".dockercfg", "2"),
        secret("default", "opaque", "password", "3"),
        secret("other", "foreign", ".dockerconfigjson", "4"),
        pod("own", "robot", &["old", "absent", "foreign", "opaque", "today"]),
        pod("of-account", "robot", &[]),
        pod("of-default", "", &[]),
    ];
    let admitted = admitted(&all);
    for (name, secrets, missing) in [
        ("own", "21", &["absent", "foreign"][..]),
        // Without any of its own a pod has those of its account.
        ("of-account", "1", &["gone"]),
        ("of-default", "2", &[]),
    ] {
        let mut world = World::new(&pod_of(&admitted, "default", name), &admitted.data);
        let first = world.plan();
        world.perform_steps(&first.steps);
        assert_eq!(pull_secrets(&world), (secrets.to_owned(), missing.join(" ")), "{name}");
        // A later commit gives accounts others: they count for pods that were admitted before, too.
        for account in world.data.accounts.values_mut() {
            account.pull_secrets = vec!["old".to_owned()];
        }
        let now = if name == "own" { (secrets.to_owned(), missing.join(" ")) } else { ("2".to_owned(), String::new()) };
        assert_eq!(pull_secrets(&world), now, "{name}");
    }
}
