//! The images that a container needs before it starts: those of the volumes that it mounts, then the one that it is made of. In
//! this order the kubelet makes them present (pkg/kubelet/kuberuntime/kuberuntime_manager.go, `SyncPod`); a volume that shows an
//! image holds up nothing but the containers that mount it.

use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, PodSpec, Volume};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    /// The volume that shows it; `None` for the one that the container is made of.
    pub(super) volume: Option<&'a str>,
    pub(super) image: &'a str,
    pub(super) policy: &'a str,
}

impl<'a> Wanted<'a> {
    fn new(volume: Option<&'a str>, image: Option<&'a String>, policy: Option<&'a String>) -> Self {
        let policy = policy.map_or("IfNotPresent", String::as_str);
        Self { volume, image: image.map_or("", String::as_str), policy }
    }
}

/// All of them, each volume once, in the order of the pod.
pub(super) fn of<'a>(container: &'a Container, spec: &'a PodSpec) -> impl Iterator<Item = Wanted<'a>> {
    let is_mounted =
        move |volume: &Volume| container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
    let volumes = spec.volumes.iter().flatten().filter(move |volume| is_mounted(volume));
    let shown = volumes.filter_map(|volume| {
        let source = volume.image.as_ref()?;
        Some(Wanted::new(Some(&volume.name), source.reference.as_ref(), source.pull_policy.as_ref()))
    });
    shown.chain([Wanted::new(None, container.image.as_ref(), container.image_pull_policy.as_ref())])
}

/// The image that a volume of the pod shows, if it is one that does.
pub(super) fn of_volume<'a>(pod: &'a Pod, name: &str) -> Option<&'a ImageVolumeSource> {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.find(|volume| volume.name == name)?.image.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_needs_the_images_of_the_volumes_that_it_mounts_and_then_its_own() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [
                {"name": "c", "image": "c:1", "imagePullPolicy": "Always", "volumeMounts": [
                    {"name": "b", "mountPath": "/b"}, {"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/c"},
                    {"name": "empty", "mountPath": "/e"},
                ]},
                {"name": "d", "image": "d:1"},
            ],
            "volumes": [
                {"name": "a", "image": {"reference": "a:1", "pullPolicy": "Never"}}, {"name": "empty", "emptyDir": {}},
                {"name": "b", "image": {"reference": "b:1"}}, {"name": "other", "image": {"reference": "x:1"}},
            ],
        }))
        .unwrap();
        let needs = |index: usize| -> Vec<_> {
            of(&spec.containers[index], &spec).map(|w| (w.volume, w.image, w.policy)).collect()
        };
        let volumes = [(Some("a"), "a:1", "Never"), (Some("b"), "b:1", "IfNotPresent")];
        assert_eq!(needs(0), [&volumes[..], &[(None, "c:1", "Always")]].concat());
        assert_eq!(needs(1), [(None, "d:1", "IfNotPresent")]);
    }
}
