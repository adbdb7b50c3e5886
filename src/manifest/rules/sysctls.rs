//! Rules for settings of the kernel.

use std::collections::BTreeSet;

use super::Subject;
use crate::manifest::problem::{Finding, quoted};
use crate::model::sysctl::{Namespace, is_name, with_dots};

/// Names, each once, and of a namespace that the pod does not share with the machine.
pub(super) fn settings(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let Some(context) = spec.get("securityContext") else { return };
    let mut seen = BTreeSet::new();
    for sysctl in context.list("sysctls") {
        let Some(name) = sysctl.get("name") else { continue };
        let Some(text) = name.text() else { continue };
        if text.is_empty() {
            out.push(sysctl.missing("name"));
        } else if !is_name(text) {
            let message = format!("{} is no name of a sysctl", quoted(text));
            out.push(name.error("name", message).help("write it as in net.core.somaxconn"));
        } else if !seen.insert(text) {
            let message = format!("the sysctl {} is already set", quoted(text));
            out.push(name.error("duplicate-name", message).help("remove one of the two"));
        } else {
            let shared = match Namespace::of(&with_dots(text)) {
                Some(Namespace::Ipc) => "hostIPC",
                Some(Namespace::Net) => "hostNetwork",
                None => continue,
            };
            if spec.is_true(shared) {
                let message = format!("the sysctl {} would be the machine's with `{shared}: true`", quoted(text));
                out.push(name.error("contradiction", message).help("remove one of the two"));
            }
        }
    }
}
