//! Settings of the kernel in the namespaces of a pod, which go with them.

use std::io;

use k8s_openapi::api::core::v1::PodSpec;

use crate::model::sysctl::{self, Namespace};
use crate::sys::effect;
use crate::sys::infra::Infra;
use crate::sys::netns;

/// Writes those that a pod asks for, in their order.
///
/// # Errors
/// From the kernel; the message names the setting.
pub(super) fn set(spec: &PodSpec, infra: Infra) -> io::Result<()> {
    let wanted: Vec<_> = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    netns::in_namespaces_of(infra, || {
        for setting in wanted {
            let named = |why: &dyn std::fmt::Display| {
                format!("the sysctl {:?} cannot be set to {:?}: {why}", setting.name, setting.value)
            };
            // What is the machine's no pod sets, whatever was admitted.
            if Namespace::of(&sysctl::with_dots(&setting.name)).is_none() {
                return Err(io::Error::other(named(&"it is no namespace's")));
            }
            effect::write_existing(&sysctl::file(&setting.name), &setting.value)
                .map_err(|e| io::Error::new(e.kind(), named(&e)))?;
        }
        Ok(())
    })?
}
