//! Kubernetes' defaults: the pod that runs, out of the pod that was written.
//!
//! What is filled in and with which value are facts of Kubernetes 1.36 (`pkg/apis/core/v1/defaults.go`). Nothing here
//! changes a field that says something: [`of_zeros`] takes out those that the API does not keep.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, PodSpec, Probe, ProjectedVolumeSource, ResourceFieldSelector, ResourceRequirements, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::model::{AmountList, OF_PODS, containers_total, quantity};

/// Permission bits of a projected file: 0644.
const FILE_MODE: i32 = 0o644;

/// Step: values that the API cannot tell from none, for their fields are no pointers there (`omitempty`): to write one down
/// changes nothing.
pub(super) fn of_zeros(spec: &mut PodSpec) {
    [&mut spec.host_network, &mut spec.host_pid, &mut spec.host_ipc].into_iter().for_each(no_flag);
    [&mut spec.hostname, &mut spec.subdomain, &mut spec.node_name, &mut spec.priority_class_name]
        .into_iter()
        .chain([&mut spec.restart_policy, &mut spec.dns_policy])
        .for_each(no_text);
    no_amounts(&mut spec.overhead);
    spec.volumes.iter_mut().flatten().for_each(no_zeros);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        [&mut container.stdin, &mut container.stdin_once, &mut container.tty].into_iter().for_each(no_flag);
        [&mut container.working_dir, &mut container.termination_message_path]
            .into_iter()
            .chain([&mut container.termination_message_policy, &mut container.image_pull_policy])
            .for_each(no_text);
        let probes = [&mut container.startup_probe, &mut container.liveness_probe, &mut container.readiness_probe];
        let probes = probes.into_iter().flatten().filter_map(|probe| {
            [&mut probe.initial_delay_seconds, &mut probe.timeout_seconds, &mut probe.period_seconds]
                .into_iter()
                .chain([&mut probe.success_threshold, &mut probe.failure_threshold])
                .for_each(no_number);
            probe.http_get.as_mut()
        });
        let hooks = container.lifecycle.iter_mut().flat_map(|hooks| [&mut hooks.post_start, &mut hooks.pre_stop]);
        let hooks = hooks.flatten().filter_map(|hook| hook.http_get.as_mut());
        for get in probes.chain(hooks) {
            [&mut get.scheme, &mut get.path].into_iter().for_each(no_text);
        }
        for port in container.ports.iter_mut().flatten() {
            port.host_port = port.host_port.filter(|port| *port != 0);
            [&mut port.host_ip, &mut port.name, &mut port.protocol].into_iter().for_each(no_text);
        }
        container.env_from.iter_mut().flatten().for_each(|source| no_text(&mut source.prefix));
        for mount in container.volume_mounts.iter_mut().flatten() {
            no_flag(&mut mount.read_only);
            [&mut mount.sub_path, &mut mount.sub_path_expr].into_iter().for_each(no_text);
        }
        let sources = container.env.iter_mut().flatten().filter_map(|env| env.value_from.as_mut());
        sources.filter_map(|source| source.resource_field_ref.as_mut()).for_each(no_divisor);
        if let Some(resources) = &mut container.resources {
            [&mut resources.limits, &mut resources.requests].into_iter().for_each(no_amounts);
        }
    }
    if let Some(resources) = &mut spec.resources {
        [&mut resources.limits, &mut resources.requests].into_iter().for_each(no_amounts);
    }
}

fn no_number(field: &mut Option<i32>) {
    *field = field.filter(|number| *number != 0);
}

/// The same of a volume.
fn no_zeros(volume: &mut Volume) {
    volume.empty_dir.iter_mut().for_each(|source| no_text(&mut source.medium));
    let projected = volume.projected.iter_mut().flat_map(|volume| volume.sources.iter_mut().flatten());
    let projected = projected.filter_map(|source| source.downward_api.as_mut()).flat_map(|files| &mut files.items);
    let own = volume.downward_api.iter_mut().flat_map(|files| &mut files.items);
    own.chain(projected).flatten().filter_map(|file| file.resource_field_ref.as_mut()).for_each(no_divisor);
}

/// A map without entries is none.
fn no_amounts(field: &mut Option<BTreeMap<String, Quantity>>) {
    *field = field.take().filter(|amounts| !amounts.is_empty());
}

/// A divisor of 0 is none.
fn no_divisor(reference: &mut ResourceFieldSelector) {
    reference.divisor = reference.divisor.take().filter(|divisor| quantity::nanos(&divisor.0) != Some(0));
}

fn no_flag(field: &mut Option<bool>) {
    *field = field.filter(|is_set| *is_set);
}

fn no_text(field: &mut Option<String>) {
    *field = field.take().filter(|text| !text.is_empty());
}

/// Step: defaults of the volumes.
pub(super) fn of_volumes(spec: &mut PodSpec) {
    spec.volumes.iter_mut().flatten().for_each(default_volume);
}

/// Step: defaults of containers and init containers.
pub(super) fn of_containers(spec: &mut PodSpec) {
    let host_network = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        default_container(container, host_network);
    }
}

fn text(field: &mut Option<String>, value: &str) {
    field.get_or_insert_with(|| value.to_owned());
}

/// Step: defaults of the pod itself.
pub(super) fn of_the_pod(spec: &mut PodSpec) {
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    // `serviceAccount` is the old spelling; the API keeps both equal.
    let account = spec.service_account_name.clone().or_else(|| spec.service_account.clone());
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    spec.service_account_name = Some(account.clone());
    spec.service_account = Some(account);
    if spec.priority_class_name.is_none() {
        spec.priority.get_or_insert(0);
        text(&mut spec.preemption_policy, "PreemptLowerPriority");
    }
}

/// Step: what a pod asks for as a whole, where it has limits as a whole: what its containers ask for together, or else the limit
/// (`defaultPodRequests` in pkg/apis/core/v1/defaults.go of 1.36).
pub(super) fn of_the_whole(spec: &mut PodSpec) {
    let Some(limits) = AmountList::Limits.of_pod(spec).filter(|limits| !limits.is_empty()).cloned() else { return };
    let asked = OF_PODS.map(|name| (name, asked_together(spec, name)));
    let requests = spec.resources.get_or_insert_default().requests.get_or_insert_default();
    for (name, amount) in asked {
        if let Some(amount) = amount.or_else(|| limits.get(name).cloned()) {
            requests.entry(name.to_owned()).or_insert(amount);
        }
    }
}

/// What the containers ask for of a resource together; `None` when none of them asks for any.
fn asked_together(spec: &PodSpec, name: &str) -> Option<Quantity> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let first = containers.filter_map(|c| AmountList::Requests.of(c)?.get(name)).next()?;
    let total = containers_total(spec, AmountList::Requests, name);
    Some(Quantity(quantity::written(total, quantity::is_binary(&first.0))))
}

fn default_container(container: &mut Container, host_network: bool) {
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    let policy = pull_policy(container.image.as_deref().unwrap_or_default());
    text(&mut container.image_pull_policy, policy);
    for port in container.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    default_resources(container.resources.get_or_insert_default());
    container.env.iter_mut().flatten().for_each(default_env);
    for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe] {
        probe.iter_mut().for_each(default_probe);
    }
    container.lifecycle.iter_mut().for_each(default_lifecycle);
}

/// Requests that are not given equal the limits.
fn default_resources(resources: &mut ResourceRequirements) {
    if let Some(limits) = &resources.limits {
        let requests = resources.requests.get_or_insert_default();
        for (name, quantity) in limits {
            requests.entry(name.clone()).or_insert_with(|| quantity.clone());
        }
    }
}

fn default_probe(probe: &mut Probe) {
    probe.timeout_seconds.get_or_insert(1);
    probe.period_seconds.get_or_insert(10);
    probe.success_threshold.get_or_insert(1);
    probe.failure_threshold.get_or_insert(3);
    if let Some(get) = &mut probe.http_get {
        text(&mut get.path, "/");
        text(&mut get.scheme, "HTTP");
    }
    if let Some(grpc) = &mut probe.grpc {
        text(&mut grpc.service, "");
    }
}

fn default_lifecycle(lifecycle: &mut Lifecycle) {
    let handlers: [&mut Option<LifecycleHandler>; 2] = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
    for get in handlers.into_iter().flatten().filter_map(|handler| handler.http_get.as_mut()) {
        text(&mut get.path, "/");
        text(&mut get.scheme, "HTTP");
    }
}

/// `Always` for the tag `latest` or no tag at all, else `IfNotPresent`; a digest alone counts as a tag.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    // A colon before the last slash belongs to a registry's port.
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if digest => "IfNotPresent",
        None => "Always",
    }
}

/// A variable with its defaults: an empty value is no value, a field reference is of version v1.
pub(super) fn env_var(env: &EnvVar) -> EnvVar {
    let mut env = env.clone();
    let amount = env.value_from.as_mut().and_then(|source| source.resource_field_ref.as_mut());
    amount.into_iter().for_each(no_divisor);
    default_env(&mut env);
    env
}

fn default_env(env: &mut EnvVar) {
    if let Some(EnvVarSource { field_ref: Some(field), .. }) = &mut env.value_from {
        default_field(field);
    }
    if let Some(EnvVarSource { file_key_ref: Some(file), .. }) = &mut env.value_from {
        file.optional.get_or_insert(false);
    }
    if env.value.as_deref() == Some("") {
        env.value = None;
    }
}

fn default_field(field: &mut ObjectFieldSelector) {
    text(&mut field.api_version, "v1");
}

/// An envFrom entry with its defaults written out, for comparing.
pub(super) fn env_from(source: &EnvFromSource) -> EnvFromSource {
    let mut source = source.clone();
    text(&mut source.prefix, "");
    if let Some(map) = &mut source.config_map_ref {
        map.optional.get_or_insert(false);
    }
    if let Some(secret) = &mut source.secret_ref {
        secret.optional.get_or_insert(false);
    }
    source
}

/// A mount with its defaults written out, for comparing.
pub(super) fn volume_mount(mount: &VolumeMount) -> VolumeMount {
    let mut mount = mount.clone();
    mount.read_only.get_or_insert(false);
    text(&mut mount.sub_path, "");
    text(&mut mount.sub_path_expr, "");
    text(&mut mount.mount_propagation, "None");
    text(&mut mount.recursive_read_only, "Disabled");
    mount
}

/// A volume with its defaults, for comparing.
pub(super) fn volume(volume: &Volume) -> Volume {
    let mut volume = volume.clone();
    no_zeros(&mut volume);
    default_volume(&mut volume);
    volume
}

fn default_volume(volume: &mut Volume) {
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    } else if let Some(map) = &mut volume.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    } else if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        for field in downward.items.iter_mut().flatten().filter_map(|item| item.field_ref.as_mut()) {
            default_field(field);
        }
    } else if let Some(projected) = &mut volume.projected {
        default_projected(projected);
    } else if let Some(path) = &mut volume.host_path {
        text(&mut path.type_, "");
    } else if let Some(image) = &mut volume.image {
        let policy = pull_policy(image.reference.as_deref().unwrap_or_default());
        text(&mut image.pull_policy, policy);
    } else if is_without_source(volume) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
}

fn default_projected(projected: &mut ProjectedVolumeSource) {
    projected.default_mode.get_or_insert(FILE_MODE);
    for source in projected.sources.iter_mut().flatten() {
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(3600);
        }
        if let Some(downward) = &mut source.downward_api {
            for field in downward.items.iter_mut().flatten().filter_map(|item| item.field_ref.as_mut()) {
                default_field(field);
            }
        }
    }
}

/// A volume of a name and nothing else is an emptyDir.
fn is_without_source(volume: &Volume) -> bool {
    volume.empty_dir.is_none() && *volume == Volume { name: volume.name.clone(), ..Volume::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_pull_policy_follows_tag_and_digest() {
        let rows = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "Always"),
            ("nginx:1@sha256:abc", "IfNotPresent"),
        ];
        for (image, policy) in rows {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    fn effective(mut spec: PodSpec) -> PodSpec {
        [of_the_pod, of_volumes, of_containers, of_the_whole].iter().for_each(|step| step(&mut spec));
        spec
    }

    fn defaulted(spec: Value) -> Value {
        serde_json::to_value(effective(serde_json::from_value(spec).unwrap())).unwrap()
    }

    #[test]
    fn a_bare_container_gets_every_default() {
        assert_eq!(
            defaulted(json!({"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]})),
            json!({
                "containers": [{
                    "name": "c", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "enableServiceLinks": true,
                "preemptionPolicy": "PreemptLowerPriority", "priority": 0, "restartPolicy": "Always",
                "schedulerName": "default-scheduler", "securityContext": {},
                "serviceAccount": "default", "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            })
        );
    }

    #[test]
    fn each_field_takes_its_own_default() {
        let container = |extra: Value| {
            let mut c = json!({"name": "c", "image": "i:1"});
            c.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"containers": [c]})
        };
        let volume = |source: Value| {
            let mut v = json!({"name": "v"});
            v.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            json!({"containers": [], "volumes": [v]})
        };
        let host = json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]});
        let rows = [
            (
                container(json!({"resources": {"limits": {"cpu": "1"}}})),
                "/containers/0/resources/requests/cpu",
                json!("1"),
            ),
            (
                container(json!({"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}})),
                "/containers/0/resources/requests/cpu",
                json!("1"),
            ),
            (
                container(json!({"livenessProbe": {"httpGet": {"port": 80}}})),
                "/containers/0/livenessProbe",
                json!({
                    "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
                    "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                }),
            ),
            (
                container(json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]})),
                "/containers/0/env/0/valueFrom/fieldRef/apiVersion",
                json!("v1"),
            ),
            (
                container(json!({"lifecycle": {"preStop": {"httpGet": {"port": 1}}}})),
                "/containers/0/lifecycle/preStop/httpGet",
                json!({"path": "/", "port": 1, "scheme": "HTTP"}),
            ),
            (volume(json!({})), "/volumes/0/emptyDir", json!({})),
            (volume(json!({"hostPath": {"path": "/x"}})), "/volumes/0/hostPath/type", json!("")),
            (volume(json!({"secret": {"secretName": "s"}})), "/volumes/0/secret/defaultMode", json!(420)),
            (volume(json!({"configMap": {"name": "s"}})), "/volumes/0/configMap/defaultMode", json!(420)),
            (
                volume(json!({"configMap": {"name": "s", "defaultMode": 256}})),
                "/volumes/0/configMap/defaultMode",
                json!(256),
            ),
            (volume(json!({"projected": {"sources": []}})), "/volumes/0/projected/defaultMode", json!(420)),
            (volume(json!({"image": {"reference": "a:1"}})), "/volumes/0/image/pullPolicy", json!("IfNotPresent")),
            (volume(json!({"image": {"reference": "a"}})), "/volumes/0/image/pullPolicy", json!("Always")),
            (
                volume(json!({"image": {"reference": "a", "pullPolicy": "Never"}})),
                "/volumes/0/image/pullPolicy",
                json!("Never"),
            ),
            (host, "/containers/0/ports/0/hostPort", json!(80)),
            (
                json!({"containers": [], "initContainers": [{"name": "i", "image": "x"}]}),
                "/initContainers/0/imagePullPolicy",
                json!("Always"),
            ),
            (json!({"containers": [], "restartPolicy": "Never"}), "/restartPolicy", json!("Never")),
            (json!({"containers": [], "serviceAccountName": "builder"}), "/serviceAccount", json!("builder")),
        ];
        for (spec, pointer, expected) in rows {
            assert_eq!(defaulted(spec).pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn a_pod_with_limits_as_a_whole_asks_for_something_as_a_whole() {
        let rows = [
            // What a pod as a whole asks for: what it says, what its containers ask for together, or its limit.
            (
                json!({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}, "containers": [
                    {"name": "a", "resources": {"requests": {"memory": "64Mi"}}},
                    {"name": "b", "resources": {"limits": {"memory": "32Mi"}}}]}),
                "/resources/requests",
                json!({"cpu": "1", "memory": "96Mi"}),
            ),
            (
                json!({"resources": {"limits": {"cpu": "2"}}, "containers": [{"name": "a"}]}),
                "/resources",
                json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}),
            ),
            (
                json!({"resources": {"requests": {"cpu": "2"}}, "containers": [{"name": "a", "resources": {"requests": {"memory": "1"}}}]}),
                "/resources",
                json!({"requests": {"cpu": "2"}}),
            ),
        ];
        for (spec, pointer, expected) in rows {
            assert_eq!(defaulted(spec).pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let spec = json!({"hostNetwork": true, "containers": [{
            "name": "c", "image": "x", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 1}],
        }], "volumes": [{"name": "v"}]});
        let once = effective(serde_json::from_value(spec).unwrap());
        assert_eq!(effective(once.clone()), once);
    }
}
