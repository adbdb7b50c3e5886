//! Values that are not honoured although their field is.

use std::net::Ipv6Addr;

use super::never;
use crate::manifest::problem::{Finding, quoted};
use crate::manifest::rules::{View, containers};
use crate::model::sysctl::{Namespace, is_name, with_dots};
use crate::model::{BIDIRECTIONAL, Kind, LAST_WORDS, OWN_PLACES, TOKEN_PATH, is_below};

pub(super) fn check(kind: Kind, root: &View<'_>, out: &mut Vec<Finding>) {
    let Some(spec) = root.get("spec") else { return };
    match kind {
        Kind::Pod => {
            let containers = containers(&spec);
            containers.iter().for_each(|container| resources(container, out));
            huge_pages(&spec, out);
            for container in &containers {
                // One without privileges is refused for that.
                if container.get("securityContext").is_some_and(|context| context.is_true("privileged")) {
                    propagation((kind, &spec), container, out);
                }
            }
            if !spec.is_true("hostNetwork") {
                containers.iter().for_each(|container| host_addresses(container, out));
            }
            readiness_gates(&spec, out);
            comparisons(&spec, out);
            priority_class(&spec, out);
            sysctls(&spec, out);
            annotations(root, out);
        }
        Kind::PodPreset => propagation((kind, &spec), &spec, out),
        _ => return,
    }
    spec.list("volumes").iter().filter_map(|volume| volume.get("emptyDir")).for_each(|source| {
        empty_dir(kind, &source, out);
    });
}

/// A directory on the disk, or a tmpfs.
fn empty_dir(kind: Kind, source: &View<'_>, out: &mut Vec<Finding>) {
    if let Some(medium) = source.get("medium")
        && let Some(text) = medium.text().filter(|text| text.starts_with("HugePages"))
    {
        out.push(never(kind, &medium, &format!("the medium {}", quoted(text)), "use `Memory`"));
    }
}

/// What a container has mounted below such a place would be the machine's as well, and stay there: its own files and volumes
/// among it.
fn propagation((kind, spec): (Kind, &View<'_>), of: &View<'_>, out: &mut Vec<Finding>) {
    let has_token =
        kind == Kind::Pod && spec.get("automountServiceAccountToken").is_none_or(|given| given.value != false);
    let token = has_token.then_some(TOKEN_PATH);
    let mounts = of.list("volumeMounts");
    let log = of.text_of("terminationMessagePath").filter(|path| !path.is_empty()).unwrap_or(LAST_WORDS);
    for mount in &mounts {
        let told = mount.get("mountPropagation").filter(|propagation| propagation.text() == Some(BIDIRECTIONAL));
        let (Some(propagation), Some(place)) = (told, mount.text_of("mountPath")) else { continue };
        let others = mounts.iter().filter_map(|other| other.text_of("mountPath"));
        let mut others = others.chain(OWN_PLACES).chain([log]).chain(token);
        if let Some(below) = others.find(|other| is_below(other, place)) {
            let help = if below == TOKEN_PATH {
                "that would be mounted on the machine, too: write `automountServiceAccountToken: false`, or mount the volume at a \
                 directory of its own"
            } else {
                "that would be mounted on the machine, too: mount the volume at a directory of its own"
            };
            let (place, below) = (quoted(place), quoted(below));
            let what = format!("the propagation Bidirectional at {place}, with {below} of the container below it,");
            out.push(never(kind, &propagation, &what, help));
        }
    }
}

/// Of a pod as a whole, cpu and memory reach the cgroup. What it cannot have is told by the rules.
fn huge_pages(spec: &View<'_>, out: &mut Vec<Finding>) {
    for list in ["limits", "requests"].into_iter().filter_map(|list| spec.path(&["resources", list])) {
        for (name, amount) in list.entries().filter(|(name, _)| name.starts_with("hugepages-")) {
            let what = format!("the resource {}", quoted(name));
            out.push(never(Kind::Pod, &amount, &what, "cpu and memory are limited"));
        }
    }
}

/// cpu and memory reach the cgroup, and a pod that takes more of the disk than it may is evicted; nothing else is limited.
fn resources(container: &View<'_>, out: &mut Vec<Finding>) {
    for list in ["limits", "requests"].into_iter().filter_map(|list| container.path(&["resources", list])) {
        for (name, amount) in list.entries() {
            match name {
                "cpu" | "memory" | "ephemeral-storage" => {}
                other => {
                    let what = format!("the resource {}", quoted(other));
                    // Those with a domain are of device plugins.
                    let is_device = other.contains('/');
                    let instead =
                        if is_device { "a device comes with a hostPath volume" } else { "cpu and memory are limited" };
                    out.push(never(Kind::Pod, &amount, &what, instead));
                }
            }
        }
    }
}

/// Linux leads nothing from `::1` to a pod, since it has no `route_localnet` for IPv6, and nothing that came to an address of
/// one link alone.
fn host_addresses(container: &View<'_>, out: &mut Vec<Finding>) {
    for address in container.list("ports").iter().filter_map(|port| port.get("hostIP")) {
        let Some(ip) = address.text().and_then(|text| text.parse::<Ipv6Addr>().ok()) else { continue };
        let help = match ip {
            Ipv6Addr::LOCALHOST => "use 127.0.0.1",
            _ if ip.is_unicast_link_local() => "use an address that is not link-local",
            _ => continue,
        };
        out.push(never(Kind::Pod, &address, &format!("a host port at {}", quoted(&ip.to_string())), help));
    }
}

/// Tolerations that compare numbers (`TaintTolerationComparisonOperators`), which Kubernetes itself does not take unless asked.
fn comparisons(spec: &View<'_>, out: &mut Vec<Finding>) {
    for operator in spec.list("tolerations").iter().filter_map(|toleration| toleration.get("operator")) {
        if let Some(word @ ("Gt" | "Lt")) = operator.text() {
            let what = format!("the operator {word} of a toleration");
            out.push(never(Kind::Pod, &operator, &what, "use Equal or Exists"));
        }
    }
}

/// The classes that there are without a PriorityClass, which no manifest is here.
const PRIORITY_CLASSES: [&str; 2] = ["system-node-critical", "system-cluster-critical"];

/// Another class says nothing of how important a pod is when one has to go.
fn priority_class(spec: &View<'_>, out: &mut Vec<Finding>) {
    let Some(class) = spec.get("priorityClassName") else { return };
    if let Some(text) = class.text().filter(|text| !text.is_empty() && !PRIORITY_CLASSES.contains(text)) {
        let message = format!("the priority class {} has no effect here: nobody says what it stands for", quoted(text));
        let finding = Finding::warning("no-effect", &class.pointer(), message);
        out.push(finding.help("write the number as `priority`, which decides who is evicted first"));
    }
}

/// The conditions of a pod that are known before it is said to be ready: the only ones that a gate can wait for here.
const KNOWN_CONDITIONS: [&str; 2] = ["PodReadyToStartContainers", "Initialized"];

/// A gate is met by whoever sets its condition, such as a load balancer, through an API server.
fn readiness_gates(spec: &View<'_>, out: &mut Vec<Finding>) {
    for gate in spec.list("readinessGates").iter().filter_map(|gate| gate.get("conditionType")) {
        if let Some(text) = gate.text().filter(|text| !KNOWN_CONDITIONS.contains(text)) {
            let message = format!("nobody sets the condition {} here: the pod will never be ready", quoted(text));
            out.push(Finding::warning("never-ready", &gate.pointer(), message));
        }
    }
}

/// Settings of the whole machine.
fn sysctls(spec: &View<'_>, out: &mut Vec<Finding>) {
    let Some(context) = spec.get("securityContext") else { return };
    for name in context.list("sysctls").iter().filter_map(|sysctl| sysctl.get("name")) {
        let Some(text) = name.text().filter(|text| is_name(text)) else { continue };
        if Namespace::of(&with_dots(text)).is_none() {
            let what = format!("the sysctl {}", quoted(text));
            out.push(never(Kind::Pod, &name, &what, "it is the whole machine's: set it there"));
        }
    }
}

/// Annotations that once asked for what a field asks for today, and the field.
const OLD_SPELLINGS: [(&str, &str); 4] = [
    ("container.apparmor.security.beta.kubernetes.io/", "appArmorProfile"),
    ("container.seccomp.security.alpha.kubernetes.io/", "seccompProfile"),
    ("seccomp.security.alpha.kubernetes.io/pod", "seccompProfile"),
    ("security.alpha.kubernetes.io/", "sysctls"),
];

/// Whoever wrote one of these relies on it. AppArmor's still works in Kubernetes, the others do not.
fn annotations(root: &View<'_>, out: &mut Vec<Finding>) {
    let Some(annotations) = root.path(&["metadata", "annotations"]) else { return };
    for (key, value) in annotations.entries() {
        let Some((_, field)) = OLD_SPELLINGS.iter().find(|(old, _)| key.starts_with(old)) else { continue };
        if value.text() == Some("unconfined") {
            continue;
        }
        if *field == "appArmorProfile" {
            out.push(never(Kind::Pod, &value, &format!("the annotation {}", quoted(key)), "no profile is applied"));
        } else {
            let message = format!("the annotation {} has no effect, here and in Kubernetes today", quoted(key));
            let finding = Finding::warning("no-effect", &value.pointer(), message).at_key();
            out.push(finding.help(format!("remove it; the field is `{field}`")));
        }
    }
}
