//! Labels and annotations that containers have in variables. Files follow a change by themselves.

use super::data::named;
use crate::model::{AdmittedPod, FieldChange};

/// Tells, at each label or annotation that changes, when the containers see it that have it in a variable.
pub(super) fn note(found: &mut [FieldChange], target: &AdmittedPod) {
    let mut pod = None;
    for change in found.iter_mut().filter(|change| change.note.is_none()) {
        let Some(path) = path_of(&change.field) else { continue };
        let spec = pod.get_or_insert_with(|| target.effective.open()).spec.as_ref();
        let all = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        let takes = all.filter(|container| {
            let mut sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
            sources.any(|from| from.field_ref.as_ref().is_some_and(|field| field.field_path == path))
        });
        let names: Vec<&str> = takes.map(|container| container.name.as_str()).collect();
        let s = if names.len() == 1 { "s" } else { "" };
        change.note = (!names.is_empty()).then(|| format!("takes effect when {} start{s} again", named(&names)));
    }
}

/// `metadata.labels[app]` as a `fieldPath` names it.
fn path_of(field: &str) -> Option<String> {
    let (map, key) = field.strip_suffix(']')?.split_once('[')?;
    ["metadata.labels", "metadata.annotations"].contains(&map).then(|| format!("{map}['{key}']"))
}
