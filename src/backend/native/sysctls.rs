//! Settings of the kernel in the namespaces of a pod, which go with them.

use std::io;

use k8s_openapi::api::core::v1::{PodSpec, Sysctl};

use crate::model::sysctl::{self, Namespace};
use crate::sys::effect;
use crate::sys::infra::Infra;
use crate::sys::netns;

/// Why a pod does not set it: what is the machine's no pod sets, whatever was admitted.
fn refusal(spec: &PodSpec, name: &str) -> Option<&'static str> {
    if !sysctl::is_name(name) {
        return Some("it is no name of a setting");
    }
    let is_shared = match Namespace::of(&sysctl::with_dots(name)) {
        None => return Some("it is no namespace's"),
        Some(Namespace::Net) => spec.host_network == Some(true),
        Some(Namespace::Ipc) => spec.host_ipc == Some(true),
    };
    is_shared.then_some("the pod has the machine's namespace")
}

/// Writes those that a pod asks for: of the network first, then of IPC, each in their order.
///
/// # Errors
/// From the kernel; the message names the setting.
pub(super) fn set(spec: &PodSpec, infra: Infra) -> io::Result<()> {
    let wanted = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let is_ipc = |setting: &&Sysctl| Namespace::of(&sysctl::with_dots(&setting.name)) == Some(Namespace::Ipc);
    let (ipc, net): (Vec<_>, Vec<_>) = wanted.partition(is_ipc);
    if !net.is_empty() {
        netns::in_network_of(infra, || write(spec, &net))??;
    }
    if ipc.is_empty() { Ok(()) } else { netns::in_ipc_of(infra, || write(spec, &ipc))? }
}

/// Writes settings of the namespaces that this thread is in.
fn write(spec: &PodSpec, wanted: &[&Sysctl]) -> io::Result<()> {
    for setting in wanted {
        let named = |why: &dyn std::fmt::Display| {
            format!("the sysctl {:?} cannot be set to {:?}: {why}", setting.name, setting.value)
        };
        refusal(spec, &setting.name).map_or(Ok(()), |why| Err(io::Error::other(named(&why))))?;
        effect::write_existing(&sysctl::file(&setting.name), &setting.value)
            .map_err(|e| io::Error::new(e.kind(), named(&e)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_the_machines_is_refused_once_more() {
        let refused =
            |spec: serde_json::Value, name: &str| refusal(&serde_json::from_value(spec).unwrap(), name).is_some();
        let own = || json!({"containers": []});
        for name in ["net.core.somaxconn", "net/core/somaxconn", "kernel.shm_rmid_forced", "fs.mqueue.msg_max"] {
            assert!(!refused(own(), name), "{name}");
        }
        for name in
            ["vm.swappiness", "kernel.core_pattern", "net.//.//.kernel.core_pattern", "net/../kernel/core_pattern", ""]
        {
            assert!(refused(own(), name), "{name}");
        }
        let shared = |field: &str| json!({"containers": [], (field): true});
        assert!(refused(shared("hostNetwork"), "net.core.somaxconn"));
        assert!(!refused(shared("hostNetwork"), "kernel.shm_rmid_forced"));
        assert!(refused(shared("hostIPC"), "kernel.shm_rmid_forced"));
        assert!(!refused(shared("hostIPC"), "net.core.somaxconn"));
    }
}
