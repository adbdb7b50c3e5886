//! Settings of the kernel that a pod asks for: those that reach nobody else are every pod's, the others have to be allowed by
//! the configuration of the machine, as with the kubelet (`pkg/kubelet/sysctl/allowlist.go` of Kubernetes 1.36), whose words
//! these are. There such a pod failed with the reason SysctlForbidden; here the revision is refused before one is made.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;

use super::{Mode, written};
use crate::admit::chain::{Draft, Subject};
use crate::model::sysctl::{Namespace, SAFE, is_among, with_dots};
use crate::model::{Diagnostic, NodeInfo, Outcome, Place, Severity};

/// Whether a pod sets something of the kernel.
pub(in crate::admit) fn are_asked_for(spec: &PodSpec) -> bool {
    spec.security_context.as_ref().is_some_and(|context| context.sysctls.iter().flatten().next().is_some())
}

/// Those that the machine does not let pods set. Where nothing is known of the machine that is a warning: it may.
pub(super) fn forbidden(subject: &Subject<'_, '_>, draft: &Draft<'_>) -> Vec<(Mode, Diagnostic)> {
    if draft.unplaced.as_ref().is_some_and(|unplaced| unplaced.outcome == Outcome::NotForThisMachine) {
        return vec![];
    }
    let set = draft.spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten()).enumerate();
    let unsafe_ones = set.filter(|(_, sysctl)| !SAFE.contains(&with_dots(&sysctl.name).as_str()));
    let refused = unsafe_ones.filter(|(_, sysctl)| !is_allowed(subject.node, &sysctl.name));
    refused
        .map(|(n, sysctl)| {
            let pointer = format!("/spec/securityContext/sysctls/{n}/name");
            let (at, _) = written(subject, draft, &pointer);
            let (mode, severity, message) = match subject.node {
                Some(_) => {
                    let message = format!("forbidden sysctl: \"{}\" not allowlisted", with_dots(&sysctl.name));
                    (Mode::Enforce, Severity::Error, message)
                }
                None => {
                    let message =
                        format!("the sysctl \"{}\" is set only by a machine that allows it", with_dots(&sysctl.name));
                    (Mode::Warn, Severity::Warning, message)
                }
            };
            let diagnostic = Diagnostic {
                severity,
                rule: "sysctl-forbidden",
                message,
                help: Some(
                    "add it to `allowedUnsafeSysctls` in the configuration of the machine, or remove it".to_owned(),
                ),
                place: Some(Place { at, text: Arc::from(""), width: 1 }),
                object: Some(subject.object.key.clone()),
                field: Some(super::field(subject.root, &pointer)),
            };
            (mode, diagnostic)
        })
        .collect()
}

/// Whether a machine lets pods set it, which no machine does for what is its own.
fn is_allowed(node: Option<&NodeInfo>, name: &str) -> bool {
    let name = with_dots(name);
    let patterns = node.map(|node| node.allowed_unsafe_sysctls.as_slice()).unwrap_or_default();
    Namespace::of(&name).is_some() && is_among(patterns, &name)
}
