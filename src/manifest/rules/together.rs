//! What Kubernetes refuses together, or takes with a warning because it cannot be meant.

use super::{Subject, View, names};
use crate::manifest::problem::{Finding, quoted};
use crate::model::{BIDIRECTIONAL, Kind};

/// Profiles of seccomp and AppArmor: a file is named for `Localhost`, and for nothing else.
pub(super) fn profiles(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let pod = subject.root.get("spec");
    for holder in pod.iter().chain(subject.containers()) {
        for field in ["seccompProfile", "appArmorProfile"] {
            let Some(profile) = holder.path(&["securityContext", field]) else { continue };
            let file = profile.get("localhostProfile").filter(|file| file.text() != Some(""));
            match (profile.text_of("type"), file) {
                (Some("Localhost"), None) => out.push(profile.missing("localhostProfile")),
                (Some("Localhost"), Some(file)) => {
                    let climbs = file.text().is_some_and(|t| t.starts_with('/') || t.split('/').any(|p| p == ".."));
                    if climbs {
                        let message = format!("`localhostProfile` of a {field} must be relative, without `..`");
                        out.push(file.error("path", message));
                    }
                }
                (Some(other), Some(file)) => {
                    let message = format!("`localhostProfile` is for the type Localhost, not for {}", quoted(other));
                    out.push(
                        file.error("contradiction", message).at_key().help("remove it, or write `type: Localhost`"),
                    );
                }
                _ => {}
            }
        }
    }
}

/// Mounts that are passed on, and read-only ones below a mount.
pub(super) fn mounts(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        for mount in container.list("volumeMounts") {
            let propagation = mount.get("mountPropagation");
            let word = propagation.as_ref().and_then(View::text);
            if let Some(propagation) = propagation.as_ref().filter(|_| word == Some(BIDIRECTIONAL))
                && let Some((what, help)) = not_told(subject, (container, &mount))
            {
                let message = format!("`mountPropagation: Bidirectional` {what}");
                out.push(propagation.error("contradiction", message).help(help));
            }
            let recursive =
                mount.get("recursiveReadOnly").filter(|r| matches!(r.text(), Some("IfPossible" | "Enabled")));
            let Some(recursive) = recursive else { continue };
            if !mount.is_true("readOnly") {
                let message = "`recursiveReadOnly` needs `readOnly: true`";
                out.push(recursive.error("contradiction", message).help("add `readOnly: true`"));
            } else if word.is_some_and(|word| word != "None") {
                let message = "`recursiveReadOnly` and `mountPropagation` cannot go together";
                out.push(recursive.error("contradiction", message));
            }
        }
    }
}

/// Why the machine is not told of what is mounted below a mount, and what to do.
fn not_told(
    subject: Subject<'_, '_>,
    (container, mount): (&View<'_>, &View<'_>),
) -> Option<(&'static str, &'static str)> {
    // Of what a preset brings the container decides that it is merged into.
    let privileged = subject.kind == Kind::PodPreset
        || container.get("securityContext").is_some_and(|context| context.is_true("privileged"));
    let own_users = subject.root.path(&["spec", "hostUsers"]).is_some_and(|users| users.value == false);
    let is_of_it =
        |volume: &&View<'_>| volume.text_of("name").is_some() && volume.text_of("name") == mount.text_of("name");
    let volume = subject.volumes().iter().find(is_of_it);
    let has = |field: &str| volume.is_some_and(|volume| volume.has(field));
    if !privileged {
        return Some((
            "is for privileged containers",
            "add `securityContext.privileged: true`, or write HostToContainer",
        ));
    }
    if own_users {
        return Some(("and `hostUsers: false` cannot go together", "write HostToContainer"));
    }
    if has("image") {
        return Some(("is not for a volume that shows an image", "remove it: nothing can be mounted there"));
    }
    let is_of_the_agent = ["configMap", "secret", "projected", "downwardAPI"].into_iter().any(has);
    is_of_the_agent.then_some((
        "is not for a volume whose files are written by the agent",
        "write HostToContainer, or mount an emptyDir",
    ))
}

/// How a pod is called: the settings that change its host name exclude each other.
pub(super) fn host_names(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    whole_name(subject, &spec, out);
    let Some(other) = spec.get("hostnameOverride") else { return };
    if let Some(text) = other.text().filter(|text| names::subdomain(text).is_err() || text.len() > 64) {
        let message = format!("`hostnameOverride` {} must be a DNS name of at most 64 characters", quoted(text));
        out.push(other.error("name", message));
    }
    for field in ["hostNetwork", "setHostnameAsFQDN"].into_iter().filter(|field| spec.is_true(field)) {
        let message = format!("`hostnameOverride` and `{field}: true` cannot go together");
        out.push(other.error("contradiction", message).at_key());
    }
}

/// The longest name that the kernel takes, and what stands behind the namespace in a whole one.
const LONGEST_NAME: usize = 64;
const DOMAIN: &str = "svc.cluster.local";

/// A whole name that the kernel does not take: in Kubernetes such a pod never starts.
fn whole_name(subject: Subject<'_, '_>, spec: &View<'_>, out: &mut Vec<Finding>) {
    let Some(whole) = spec.get("setHostnameAsFQDN").filter(|whole| *whole.value == true) else { return };
    let text = |view: &View<'_>, key| view.text_of(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = subject.root.get("metadata");
    let of_metadata = |key| metadata.as_ref().and_then(|metadata| text(metadata, key));
    let name = text(spec, "hostname").or_else(|| of_metadata("name"));
    let (Some(name), Some(subdomain)) = (name, text(spec, "subdomain")) else { return };
    let namespace = of_metadata("namespace").unwrap_or_else(|| "default".to_owned());
    let length = format!("{name}.{subdomain}.{namespace}.{DOMAIN}").len();
    if length > LONGEST_NAME {
        let message =
            format!("the whole host name has {length} characters, more than the {LONGEST_NAME} that a kernel takes");
        let help = "shorten `hostname` or `subdomain`, or remove `setHostnameAsFQDN`";
        out.push(whole.error("name", message).at_key().help(help));
    }
}

/// Standard input that nobody opens.
pub(super) fn standard_input(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        if container.is_true("stdinOnce")
            && !container.is_true("stdin")
            && let Some(once) = container.get("stdinOnce")
        {
            let message = "`stdinOnce` without `stdin: true` says nothing";
            let help = "remove it, or add `stdin: true`";
            out.push(Finding::warning("contradiction", &once.pointer(), message).at_key().help(help));
        }
    }
}

/// What a container may not have masked needs user ids of its own.
pub(super) fn proc_mount(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let own_users = spec.get("hostUsers").is_some_and(|users| users.value == false);
    for container in subject.containers() {
        let mount = container.path(&["securityContext", "procMount"]);
        if let Some(mount) = mount.filter(|mount| mount.text() == Some("Unmasked") && !own_users) {
            let message = "`procMount: Unmasked` needs `hostUsers: false` of the pod";
            out.push(mount.error("contradiction", message).help("remove it, or add `hostUsers: false`"));
        }
    }
}
