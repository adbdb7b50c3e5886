//! The mounts of a container: which part of which volume, where, and what may be done with it. The messages are the kubelet's
//! (pkg/kubelet/kubelet_pods.go, `makeMounts`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::{expand, images};
use crate::model::{
    BIDIRECTIONAL, Masked, MountMode, MountSource, Propagation, SubPath, VolumeMountPlan, is_of_the_agent, late,
    no_bidirectional,
};

/// The value of a variable.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Every mount of a container, or why it cannot be created (`CreateContainerConfigError`).
pub(super) fn of(container: &Container, pod: &Pod, lookup: Lookup<'_>) -> Result<Vec<VolumeMountPlan>, String> {
    let mounts = container.volume_mounts.iter().flatten();
    let plan = |mount: &VolumeMount| {
        let image = images::of_volume(pod, &mount.name);
        let read_only = mount.read_only == Some(true) || image.is_some() || is_always_read_only(pod, &mount.name);
        let recursively = is_recursive(mount)
            .map_err(|why| format!("failed to resolve recursive read-only mode: volume \"{}\" {why}", mount.name))?;
        // The machine mounts nothing in an image that could be passed on.
        let propagation = Some(propagation(mount, container, pod)?).filter(|_| image.is_none()).unwrap_or_default();
        let (name, sub_path) = (mount.name.clone(), part_of(mount, lookup)?);
        Ok(VolumeMountPlan {
            source: match image.map(|image| image.reference.clone().unwrap_or_default()) {
                Some(image) => MountSource::Image { volume: name, image, sub_path },
                None => MountSource::Volume { name, sub_path },
            },
            mount_path: mount.mount_path.clone(),
            mode: MountMode { read_only, recursively, propagation },
        })
    };
    mounts.map(plan).collect()
}

/// The part of a volume that a mount shows. A variable without a value leads nowhere
/// (pkg/kubelet/container/helpers.go, `ExpandContainerVolumeMounts`). The messages have the path as it is written: the kubelet
/// tells the value of a variable there, which may be a Secret's.
fn part_of(mount: &VolumeMount, lookup: Lookup<'_>) -> Result<Option<SubPath>, String> {
    let (written, path) = match mount.sub_path_expr.as_deref().filter(|expr| !expr.is_empty()) {
        Some(expr) => {
            let (path, missing) = expand::expand(expr, |name| lookup(name).filter(|value| !value.is_empty()));
            let missing: BTreeSet<&str> = missing.into_iter().collect();
            if !missing.is_empty() {
                return Err(format!("missing value for {}", Vec::from_iter(missing).join(", ")));
            }
            (expr, path)
        }
        None => {
            let path = mount.sub_path.as_deref().unwrap_or_default();
            (path, path.to_owned())
        }
    };
    if written.contains('\0') {
        return Err("a subPath has a NUL byte".to_owned());
    }
    late::check_sub_path(written, &path)?;
    let is_part = !path.is_empty();
    Ok(is_part.then(|| SubPath { written: written.to_owned(), path: Masked::new(path) }))
}

fn is_always_read_only(pod: &Pod, volume: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|v| v.name == volume).any(is_of_the_agent)
}

/// Whether what is mounted below is read-only, too (`resolveRecursiveReadOnly`). Whatever runs containers here can do it, so
/// that what is asked for if possible is.
fn is_recursive(mount: &VolumeMount) -> Result<bool, String> {
    let propagation = mount.mount_propagation.as_deref().unwrap_or("None");
    match mount.recursive_read_only.as_deref() {
        None | Some("" | "Disabled") => Ok(false),
        Some(_) if mount.read_only != Some(true) => {
            Err("requested recursive read-only mode, but it is not read-only".to_owned())
        }
        Some(_) if propagation != "None" => Err(format!(
            "requested recursive read-only mode, but it is not compatible with propagation \"{propagation}\""
        )),
        Some("IfPossible" | "Enabled") => Ok(true),
        Some(other) => Err(format!("requested an unknown recursive read-only mode \"{other}\"")),
    }
}

/// Mounts that reach the machine are for who may make them there anyway: the API admits no others, and a preset cannot either.
fn propagation(mount: &VolumeMount, container: &Container, pod: &Pod) -> Result<Propagation, String> {
    match mount.mount_propagation.as_deref() {
        None | Some("" | "None") => Ok(Propagation::None),
        Some("HostToContainer") => Ok(Propagation::HostToContainer),
        Some(BIDIRECTIONAL) => {
            let refused = pod.spec.as_ref().and_then(|spec| no_bidirectional(spec, container, mount));
            refused.map_or(Ok(Propagation::Bidirectional), Err)
        }
        Some(other) => Err(format!("unknown mount propagation \"{other}\" of volume \"{}\"", mount.name)),
    }
}
