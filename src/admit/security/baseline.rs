//! What the level `baseline` forbids.

use k8s_openapi::api::core::v1::{LifecycleHandler, PodSpec, Probe, SELinuxOptions};

use super::controls::{Seen, Violation};
use super::setters::{Setters, containers, contexts, plural, quoted};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const CAPABILITIES: [&str; 13] = [
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
/// Types of SELinux with the minor version that first has them.
const TYPES: [(&str, u32); 5] =
    [("", 0), ("container_t", 0), ("container_init_t", 0), ("container_kvm_t", 0), ("container_engine_t", 31)];
/// Settings of the kernel that are a pod's own, with the minor version that first has them.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

/// The pointer to an annotation.
fn annotation(key: &str) -> String {
    format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Whether a pod has user ids of its own, which some controls take for protection enough.
pub(super) fn has_own_users(spec: &PodSpec) -> bool {
    spec.host_users == Some(false)
}

/// Whether a profile of seccomp or AppArmor is one that a pod may choose.
fn is_profile(kind: &str) -> bool {
    ["RuntimeDefault", "Localhost"].contains(&kind)
}

/// Fields and annotations: the annotation is still heeded by Kubernetes.
pub(super) fn app_armor(Seen { metadata, spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    if let Some(profile) = of_pod.filter(|profile| !is_profile(&profile.type_)) {
        setters.pod("/spec/securityContext/appArmorProfile/type");
        setters.values.insert(profile.type_.clone());
    }
    for (at, container, context) in contexts(spec) {
        let profile = context.and_then(|context| context.app_armor_profile.as_ref());
        if let Some(profile) = profile.filter(|profile| !is_profile(&profile.type_)) {
            setters.container(container, format!("{at}/securityContext/appArmorProfile/type"));
            setters.values.insert(profile.type_.clone());
        }
    }
    let is_fine = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = metadata.annotations.iter().flatten();
    let annotations: Vec<_> =
        annotations.filter(|(key, value)| key.starts_with(APP_ARMOR) && !is_fine(value)).collect();
    let mut who = if setters.is_empty() { vec![] } else { vec![setters.who()] };
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
    }
    let mut values: Vec<String> = setters.values.iter().cloned().collect();
    values.extend(annotations.iter().map(|(key, value)| format!("{key}={value:?}")));
    annotations.iter().for_each(|(key, _)| setters.pod(annotation(key)));
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    setters
        .against(reason, |_| format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)))
}

pub(super) fn capabilities(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    for (at, container, context) in contexts(spec) {
        let added = context.and_then(|context| context.capabilities.as_ref()?.add.as_ref());
        for (n, name) in added.into_iter().flatten().enumerate().filter(|(_, n)| !CAPABILITIES.contains(&n.as_str())) {
            setters.container(container, format!("{at}/securityContext/capabilities/add/{n}"));
            setters.values.insert(name.clone());
        }
    }
    setters.against("non-default capabilities", |found| {
        let values = quoted(&found.values);
        format!("{} must not include {values} in securityContext.capabilities.add", found.those())
    })
}

pub(super) fn host_namespaces(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let mut shared = Vec::new();
    for (field, value) in [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)] {
        if value == Some(true) {
            setters.pod(format!("/spec/{field}"));
            shared.push(format!("{field}=true"));
        }
    }
    setters.against("host namespaces", |_| shared.join(", "))
}

pub(super) fn host_paths(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let mut names = Vec::new();
    let volumes = spec.volumes.iter().flatten().enumerate();
    for (n, volume) in volumes.filter(|(_, volume)| volume.host_path.is_some()) {
        setters.pod(format!("/spec/volumes/{n}/hostPath"));
        names.push(&volume.name);
    }
    setters.against("hostPath volumes", |_| format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names)))
}

/// Each container that has some, and the numbers in the order of their digits.
pub(super) fn host_ports(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    for (at, container) in containers(spec) {
        for (n, port) in container.ports.iter().flatten().enumerate() {
            if let Some(number) = port.host_port.filter(|port| *port != 0) {
                setters.container(container, format!("{at}/ports/{n}/hostPort"));
                setters.values.insert(number.to_string());
            }
        }
    }
    setters.against("hostPort", |found| {
        let numbers: Vec<&str> = found.values.iter().map(String::as_str).collect();
        let uses = plural("uses", "use", found.containers.len());
        let ports = plural("hostPort", "hostPorts", numbers.len());
        format!("{} {uses} {ports} {}", found.those(), numbers.join(", "))
    })
}

/// A request that leaves the pod would be made by the machine, which reaches what the pod does not.
pub(super) fn hosts(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    for (at, container) in containers(spec) {
        let probes = [
            ("livenessProbe", &container.liveness_probe),
            ("readinessProbe", &container.readiness_probe),
            ("startupProbe", &container.startup_probe),
        ];
        let probes = probes.into_iter().filter_map(|(field, probe)| Some((field, of_probe(probe.as_ref()?))));
        let hooks = container
            .lifecycle
            .iter()
            .flat_map(|hooks| [("lifecycle/postStart", &hooks.post_start), ("lifecycle/preStop", &hooks.pre_stop)]);
        let hooks = hooks.filter_map(|(field, hook)| Some((field, of_hook(hook.as_ref()?))));
        for (field, asked) in probes.chain(hooks) {
            for (kind, host) in asked.into_iter().filter_map(|(kind, host)| Some((kind, host.clone()?))) {
                if !host.is_empty() {
                    setters.container(container, format!("{at}/{field}/{kind}/host"));
                    setters.values.insert(host);
                }
            }
        }
    }
    // Kubernetes sorts the containers of this control.
    setters.containers.sort();
    setters.against("probe or lifecycle host", |found| {
        let uses = plural("uses", "use", found.containers.len());
        let what = plural("probe or lifecycle host", "probe or lifecycle hosts", found.values.len());
        format!("{} {uses} {what} {}", found.those(), quoted(&found.values))
    })
}

/// The hosts that are asked, each with the way.
type Asked<'p> = [(&'static str, &'p Option<String>); 2];

fn of_probe(probe: &Probe) -> Asked<'_> {
    let http = probe.http_get.as_ref().map_or(&None, |get| &get.host);
    [("httpGet", http), ("tcpSocket", probe.tcp_socket.as_ref().map_or(&None, |socket| &socket.host))]
}

fn of_hook(hook: &LifecycleHandler) -> Asked<'_> {
    let http = hook.http_get.as_ref().map_or(&None, |get| &get.host);
    [("httpGet", http), ("tcpSocket", hook.tcp_socket.as_ref().map_or(&None, |socket| &socket.host))]
}

pub(super) fn privileged(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    for (at, container, context) in contexts(spec) {
        if context.and_then(|context| context.privileged) == Some(true) {
            setters.container(container, format!("{at}/securityContext/privileged"));
        }
    }
    setters.against("privileged", |found| format!("{} must not set securityContext.privileged=true", found.those()))
}

/// Before v1.35 the user ids of a pod made no difference.
pub(super) fn proc_mount(seen: Seen<'_>) -> Option<Violation> {
    if seen.minor >= 35 && has_own_users(seen.spec) {
        return None;
    }
    super::restricted::proc_mount(seen)
}

pub(super) fn se_linux(Seen { spec, minor, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let [mut has_user, mut has_role] = [false; 2];
    let is_known = |kind: &str| TYPES.iter().any(|(known, since)| *known == kind && *since <= minor);
    // What is wrong with the options at a pointer, and their type where it is.
    let mut wrong = |options: &SELinuxOptions, at: &str| -> (Vec<String>, Option<String>) {
        let kind = options.type_.clone().filter(|kind| !is_known(kind));
        let is_set = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
        let (user, role) = (is_set(&options.user), is_set(&options.role));
        has_user |= user;
        has_role |= role;
        let fields = [(kind.is_some(), "type"), (user, "user"), (role, "role")].into_iter().filter(|(bad, _)| *bad);
        (fields.map(|(_, field)| format!("{at}/securityContext/seLinuxOptions/{field}")).collect(), kind)
    };
    if let Some(options) = spec.security_context.as_ref().and_then(|context| context.se_linux_options.as_ref()) {
        let (fields, kind) = wrong(options, "/spec");
        fields.into_iter().for_each(|field| setters.pod(field));
        setters.values.extend(kind);
    }
    for (at, container, context) in contexts(spec) {
        let Some(options) = context.and_then(|context| context.se_linux_options.as_ref()) else { continue };
        let (fields, kind) = wrong(options, &at);
        fields.into_iter().for_each(|field| setters.container(container, field));
        setters.values.extend(kind);
    }
    setters.against("seLinuxOptions", |found| {
        let mut data = Vec::new();
        if !found.values.is_empty() {
            data.push(format!("{} {}", plural("type", "types", found.values.len()), quoted(&found.values)));
        }
        data.extend(has_user.then(|| "user may not be set".to_owned()));
        data.extend(has_role.then(|| "role may not be set".to_owned()));
        format!("{} set forbidden securityContext.seLinuxOptions: {}", found.who(), data.join("; "))
    })
}

/// Annotations before v1.19, the fields since.
pub(super) fn seccomp(seen: Seen<'_>) -> Option<Violation> {
    if seen.minor < 19 {
        return seccomp_annotations(seen);
    }
    seccomp_setters(seen.spec).against("seccompProfile", bad_seccomp)
}

/// What is said of profiles that nobody may choose.
pub(super) fn bad_seccomp(found: &Setters) -> String {
    let values = quoted(&found.values);
    format!("{} must not set securityContext.seccompProfile.type to {values}", found.who())
}

/// Who chooses a profile that nobody may choose.
pub(super) fn seccomp_setters(spec: &PodSpec) -> Setters {
    let mut setters = Setters::default();
    let of_pod = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    if let Some(profile) = of_pod.filter(|profile| !is_profile(&profile.type_)) {
        setters.pod("/spec/securityContext/seccompProfile/type");
        setters.values.insert(profile.type_.clone());
    }
    for (at, container, context) in contexts(spec) {
        let profile = context.and_then(|context| context.seccomp_profile.as_ref());
        if let Some(profile) = profile.filter(|profile| !is_profile(&profile.type_)) {
            setters.container(container, format!("{at}/securityContext/seccompProfile/type"));
            setters.values.insert(profile.type_.clone());
        }
    }
    setters
}

fn seccomp_annotations(Seen { metadata, spec, .. }: Seen<'_>) -> Option<Violation> {
    let keys = containers(spec).map(|(_, container)| format!("{SECCOMP}{}", container.name));
    let is_fine =
        |value: &str| ["runtime/default", "docker/default"].contains(&value) || value.starts_with("localhost/");
    let mut setters = Setters::default();
    for key in std::iter::once(SECCOMP_OF_POD.to_owned()).chain(keys) {
        let value = metadata.annotations.as_ref().and_then(|all| all.get(&key));
        if let Some(value) = value.filter(|value| !is_fine(value)) {
            setters.pod(annotation(&key));
            setters.values.insert(format!("{key}={value:?}"));
        }
    }
    setters.against("seccompProfile", |found| {
        let values: Vec<&str> = found.values.iter().map(String::as_str).collect();
        format!("forbidden {} {}", plural("annotation", "annotations", values.len()), values.join(", "))
    })
}

pub(super) fn sysctls(Seen { spec, minor, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let mut names = Vec::new();
    let set = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten()).enumerate();
    let is_known = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    for (n, sysctl) in set.filter(|(_, sysctl)| !is_known(&sysctl.name)) {
        setters.pod(format!("/spec/securityContext/sysctls/{n}/name"));
        names.push(sysctl.name.as_str());
    }
    setters.against("forbidden sysctls", |_| names.join(", "))
}

pub(super) fn host_process(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let of_pod = spec.security_context.as_ref().and_then(|context| context.windows_options.as_ref());
    if of_pod.and_then(|options| options.host_process) == Some(true) {
        setters.pod("/spec/securityContext/windowsOptions/hostProcess");
    }
    for (at, container, context) in contexts(spec) {
        let options = context.and_then(|context| context.windows_options.as_ref());
        if options.and_then(|options| options.host_process) == Some(true) {
            setters.container(container, format!("{at}/securityContext/windowsOptions/hostProcess"));
        }
    }
    setters.against("hostProcess", |found| {
        format!("{} must not set securityContext.windowsOptions.hostProcess=true", found.who())
    })
}
