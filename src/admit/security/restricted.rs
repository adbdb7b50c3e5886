//! What the level `restricted` forbids besides.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PodSpec, Volume};

use super::baseline::{bad_seccomp, has_own_users, seccomp_setters};
use super::controls::{Seen, Violation};
use super::setters::{Setters, contexts, plural, quoted};

/// Whether a pod is for Windows, where some fields mean nothing: since v1.25 it need not have them.
fn is_for_windows(Seen { spec, minor, .. }: Seen<'_>) -> bool {
    minor >= 25 && spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

pub(super) fn escalation(seen: Seen<'_>) -> Option<Violation> {
    if is_for_windows(seen) {
        return None;
    }
    let mut setters = Setters::default();
    for (at, container, context) in contexts(seen.spec) {
        if context.and_then(|context| context.allow_privilege_escalation) != Some(false) {
            setters.container(container, format!("{at}/securityContext/allowPrivilegeEscalation"));
        }
    }
    setters.against("allowPrivilegeEscalation != false", |found| {
        format!("{} must set securityContext.allowPrivilegeEscalation=false", found.those())
    })
}

pub(super) fn capabilities(seen: Seen<'_>) -> Option<Violation> {
    if is_for_windows(seen) {
        return None;
    }
    let (mut keeping, mut adding) = (Setters::default(), Setters::default());
    for (at, container, context) in contexts(seen.spec) {
        let own = context.and_then(|context| context.capabilities.as_ref());
        if !own.is_some_and(|own| own.drop.iter().flatten().any(|name| name == "ALL")) {
            keeping.container(container, format!("{at}/securityContext/capabilities/drop"));
        }
        let added = own.iter().flat_map(|own| own.add.iter().flatten()).enumerate();
        for (n, name) in added.filter(|(_, name)| *name != "NET_BIND_SERVICE") {
            adding.container(container, format!("{at}/securityContext/capabilities/add/{n}"));
            adding.values.insert(name.clone());
        }
    }
    let reason = "unrestricted capabilities";
    let keeping = keeping
        .against(reason, |found| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", found.those()));
    let adding = adding.against(reason, |found| {
        let values = quoted(&found.values);
        format!("{} must not include {values} in securityContext.capabilities.add", found.those())
    });
    match (keeping, adding) {
        (Some(mut both), Some(adding)) => {
            both.detail = format!("{}; {}", both.detail, adding.detail);
            both.at.extend(adding.at);
            Some(both)
        }
        (keeping, adding) => keeping.or(adding),
    }
}

pub(super) fn proc_mount(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    for (at, container, context) in contexts(spec) {
        if let Some(kind) = context.and_then(|context| context.proc_mount.as_ref()).filter(|kind| *kind != "Default") {
            setters.container(container, format!("{at}/securityContext/procMount"));
            setters.values.insert(kind.clone());
        }
    }
    setters.against("procMount", |found| {
        format!("{} must not set securityContext.procMount to {}", found.those(), quoted(&found.values))
    })
}

pub(super) fn volumes(Seen { spec, .. }: Seen<'_>) -> Option<Violation> {
    let mut setters = Setters::default();
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for (n, volume) in spec.volumes.iter().flatten().enumerate() {
        if let Some(kind) = forbidden_kind(volume) {
            setters.pod(format!("/spec/volumes/{n}/{kind}"));
            names.push(&volume.name);
            kinds.insert(kind);
        }
    }
    setters.against("restricted volume types", |_| {
        let volumes = plural("volume", "volumes", names.len());
        let uses = plural("uses", "use", names.len());
        let what = plural("restricted volume type", "restricted volume types", kinds.len());
        format!("{volumes} {} {uses} {what} {}", quoted(&names), quoted(&kinds))
    })
}

/// The type of a volume that is none of those which are allowed.
fn forbidden_kind(volume: &Volume) -> Option<&'static str> {
    let is_allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if is_allowed {
        return None;
    }
    let others = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    Some(others.into_iter().find(|(is, _)| *is).map_or("unknown", |(_, kind)| kind))
}

/// Who says that root is fine; where nobody does, who does not say that it is not.
pub(super) fn non_root(Seen { spec, minor, .. }: Seen<'_>) -> Option<Violation> {
    if minor >= 35 && has_own_users(spec) {
        return None;
    }
    let (mut bad, mut silent) = (Setters::default(), Setters::default());
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_non_root);
    if of_pod == Some(false) {
        bad.pod("/spec/securityContext/runAsNonRoot");
    }
    for (at, container, context) in contexts(spec) {
        let field = format!("{at}/securityContext/runAsNonRoot");
        match context.and_then(|context| context.run_as_non_root) {
            Some(true) => {}
            Some(false) => bad.container(container, field),
            None if of_pod == Some(true) => {}
            None => silent.container(container, field),
        }
    }
    let reason = "runAsNonRoot != true";
    bad.against(reason, |found| format!("{} must not set securityContext.runAsNonRoot=false", found.who())).or_else(
        || {
            silent
                .against(reason, |found| format!("pod or {} must set securityContext.runAsNonRoot=true", found.those()))
        },
    )
}

pub(super) fn user(Seen { spec, minor, .. }: Seen<'_>) -> Option<Violation> {
    if minor >= 35 && has_own_users(spec) {
        return None;
    }
    let mut setters = Setters::default();
    if spec.security_context.as_ref().and_then(|context| context.run_as_user) == Some(0) {
        setters.pod("/spec/securityContext/runAsUser");
    }
    for (at, container, context) in contexts(spec) {
        if context.and_then(|context| context.run_as_user) == Some(0) {
            setters.container(container, format!("{at}/securityContext/runAsUser"));
        }
    }
    setters.against("runAsUser=0", |found| format!("{} must not set runAsUser=0", found.who()))
}

/// Who chooses a profile that nobody may choose; where nobody does, who chooses none.
pub(super) fn seccomp(seen: Seen<'_>) -> Option<Violation> {
    if is_for_windows(seen) {
        return None;
    }
    let reason = "seccompProfile";
    seccomp_setters(seen.spec).against(reason, bad_seccomp).or_else(|| {
        unconfined(seen.spec).against(reason, |found| {
            let those = found.those();
            format!(
                "pod or {those} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
            )
        })
    })
}

/// The containers for which neither they nor the pod choose a profile.
fn unconfined(spec: &PodSpec) -> Setters {
    let mut setters = Setters::default();
    if spec.security_context.as_ref().is_some_and(|context| context.seccomp_profile.is_some()) {
        return setters;
    }
    for (at, container, context) in contexts(spec) {
        if context.is_none_or(|context| context.seccomp_profile.is_none()) {
            setters.container(container, format!("{at}/securityContext/seccompProfile/type"));
        }
    }
    setters
}
