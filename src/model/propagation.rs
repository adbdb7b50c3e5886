//! Mounts that tell the machine of what is mounted below them (`mountPropagation: Bidirectional`), and who may have them.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use super::TOKEN_PATH;

/// What such a mount is called.
pub const BIDIRECTIONAL: &str = "Bidirectional";
/// Where every container has something mounted that is its own: one place for each directory that such places are in.
pub const OWN_PLACES: [&str; 3] = ["/etc/hosts", "/dev/shm", "/sys/fs/cgroup"];
/// Where a container leaves its last words unless it says otherwise.
pub const LAST_WORDS: &str = "/dev/termination-log";

/// Whether an absolute path leads to somewhere below another one.
pub fn is_below(path: &str, place: &str) -> bool {
    let mut elements = path.split('/').filter(|element| !matches!(*element, "" | "."));
    let mut above = place.split('/').filter(|element| !matches!(*element, "" | "."));
    above.all(|element| elements.next() == Some(element)) && elements.next().is_some()
}

/// Whether the files of a volume are written by the agent: as with the kubelet, no container writes to them.
pub fn is_of_the_agent(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
}

/// Why a container cannot have a mount that tells the machine; `None` when it can.
pub fn no_bidirectional(spec: &PodSpec, container: &Container, mount: &VolumeMount) -> Option<String> {
    let privileged = container.security_context.as_ref().and_then(|security| security.privileged) == Some(true);
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    let name = &mount.name;
    let why = if !privileged {
        "available only to privileged containers".to_owned()
    } else if spec.host_users == Some(false) {
        "not available to a pod with hostUsers: false".to_owned()
    } else if volume.is_some_and(|volume| volume.image.is_some()) {
        format!("not available to the image volume {name:?}")
    } else if volume.is_some_and(is_of_the_agent) {
        format!("not available to the volume {name:?}, whose files are written by the agent")
    } else {
        let below = own_below(spec, container, &mount.mount_path)?;
        let place = &mount.mount_path;
        format!("not available at {place:?}: what the container has at {below:?} would be mounted on the machine, too")
    };
    Some(format!("{BIDIRECTIONAL} mount propagation is {why}"))
}

/// Something of the container itself that is mounted below a place.
fn own_below<'a>(spec: &PodSpec, container: &'a Container, place: &str) -> Option<&'a str> {
    let log = container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(LAST_WORDS);
    let mounts = container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str());
    let token = (spec.automount_service_account_token != Some(false)).then_some(TOKEN_PATH);
    mounts.chain(OWN_PLACES).chain([log]).chain(token).find(|other| is_below(other, place))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn who_tells_the_machine_of_mounts_has_rights_and_a_directory_of_its_own() {
        let told = |change: Value, mount: (&str, &str)| {
            let mut spec = json!({
                "containers": [{"name": "c", "securityContext": {"privileged": true},
                    "volumeMounts": [{"name": "e", "mountPath": "/a/./b"}, {"name": mount.0, "mountPath": mount.1}]}],
                "volumes": [{"name": "e", "emptyDir": {}}, {"name": "i", "image": {"reference": "i:1"}}, {"name": "m", "configMap": {"name": "m"}}],
            });
            for (pointer, value) in change.as_object().unwrap() {
                match pointer.as_str() {
                    "hostUsers" | "automountServiceAccountToken" => spec[pointer] = value.clone(),
                    other => spec["containers"][0][other] = value.clone(),
                }
            }
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let container = &spec.containers[0];
            no_bidirectional(&spec, container, &container.volume_mounts.as_ref().unwrap()[1])
        };
        let refused = |why: &str| Some(format!("Bidirectional mount propagation is {why}"));
        let below = |place: &str, below: &str| {
            refused(&format!(
                "not available at {place:?}: what the container has at {below:?} would be mounted on the machine, too"
            ))
        };
        let none = json!({});
        for (change, mount, expected) in [
            (&none, ("e", "/x"), None),
            (&none, ("e", "/ab"), None),
            (&none, ("e", "/a/b"), None),
            (&none, ("e", "/a/"), below("/a/", "/a/./b")),
            (&none, ("e", "/etc"), below("/etc", "/etc/hosts")),
            (&none, ("e", "/dev"), below("/dev", "/dev/shm")),
            (&none, ("e", "/var/run"), below("/var/run", TOKEN_PATH)),
            (&json!({"automountServiceAccountToken": false}), ("e", "/var/run"), None),
            (&json!({"terminationMessagePath": "/log/last"}), ("e", "/log"), below("/log", "/log/last")),
            (&json!({"securityContext": {}}), ("e", "/x"), refused("available only to privileged containers")),
            (&json!({"hostUsers": false}), ("e", "/x"), refused("not available to a pod with hostUsers: false")),
            (&none, ("i", "/x"), refused("not available to the image volume \"i\"")),
            (&none, ("m", "/x"), refused("not available to the volume \"m\", whose files are written by the agent")),
        ] {
            assert_eq!(told(change.clone(), mount), expected, "{change} {mount:?}");
        }
    }
}
