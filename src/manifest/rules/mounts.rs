//! Rules for volume mounts.

use std::collections::BTreeMap;

use super::volumes::climbs;
use super::{Subject, View};
use crate::manifest::problem::{Finding, quoted};

/// A mount has a volume and a path of its own.
pub(super) fn paths(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let mut seen: BTreeMap<&str, View<'_>> = BTreeMap::new();
        for mount in container.list("volumeMounts") {
            if mount.text_of("name") == Some("") {
                out.push(mount.missing("name"));
            }
            let Some(path) = mount.get("mountPath") else { continue };
            let Some(text) = path.text() else { continue };
            if text.is_empty() {
                out.push(mount.missing("mountPath"));
            } else if text.contains(':') {
                out.push(path.error("path", format!("the mount path {} must not contain `:`", quoted(text))));
            } else if is_root(text) {
                let message = format!("the mount path {} is the root directory: it would hide the image", quoted(text));
                out.push(path.error("path", message).help("mount the volume at a directory below it"));
            } else if seen.insert(text, path.clone()).is_some() {
                let message = format!("another volume is already mounted at {}", quoted(text));
                out.push(path.error("duplicate-mount", message).help("mount each volume at a path of its own"));
            }
        }
    }
}

/// Whether a path leads to where it begins.
fn is_root(path: &str) -> bool {
    let depth = path.split('/').fold(0usize, |depth, part| match part {
        "" | "." => depth,
        ".." => depth.saturating_sub(1),
        _ => depth + 1,
    });
    depth == 0
}

pub(super) fn sub_paths(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for mount in subject.containers().iter().flat_map(|container| container.list("volumeMounts")) {
        let field = |key: &str| mount.get(key).filter(|view| view.text() != Some(""));
        let (path, expression) = (field("subPath"), field("subPathExpr"));
        if let (Some(_), Some(expression)) = (&path, &expression) {
            let finding = expression.error("one-of", "a mount has either `subPath` or `subPathExpr`").at_key();
            out.push(finding.help("remove one of the two"));
        }
        for view in [path, expression].into_iter().flatten() {
            let Some(text) = view.text() else { continue };
            if text.starts_with('/') || climbs(text) {
                let message = format!("the path {} must be relative, without `..`", quoted(text));
                out.push(view.error("path", message).help("it is a path inside the volume"));
            }
        }
    }
}
