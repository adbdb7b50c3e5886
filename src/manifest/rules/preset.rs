//! Rules for PodPresets: those of Kubernetes 1.19 (`pkg/apis/settings/validation`).

use std::collections::BTreeSet;

use super::Subject;
use crate::manifest::problem::{Finding, quoted};

const LISTS: [&str; 4] = ["env", "envFrom", "volumes", "volumeMounts"];

pub(super) fn something_to_add(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec").filter(|spec| spec.value.is_object()) else { return };
    if !LISTS.iter().any(|list| spec.has(list)) {
        let finding =
            spec.error("preset", "a preset must specify at least one of env, envFrom, volumes and volumeMounts");
        out.push(finding.help("add what it should give to the pods it selects"));
    }
}

/// A preset mounts what it brings along.
pub(super) fn own_volumes(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let volumes = subject.volumes();
    let known: BTreeSet<&str> = volumes.iter().filter_map(|volume| volume.text_of("name")).collect();
    for mount in spec.list("volumeMounts") {
        let Some(name) = mount.get("name") else { continue };
        if let Some(text) = name.text().filter(|text| !text.is_empty() && !known.contains(text)) {
            let message = format!("the preset mounts the volume {}, which it does not define", quoted(text));
            out.push(name.error("unknown-volume", message).help("add it to the preset's own `volumes`"));
        }
    }
}
