//! Rules for image references.

use super::{Subject, View};
use crate::manifest::problem::{Finding, quoted};
use crate::model::{NoReference, Reference};

pub(super) fn reference(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let Some(image) = container.get("image").filter(|image| image.text() != Some("")) else {
            out.push(container.missing("image"));
            continue;
        };
        if let Some((text, reference)) = parsed(&image, out) {
            floats(&image, text, &reference, out);
        }
    }
}

/// The images that volumes show.
pub(super) fn volumes(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for source in subject.volumes().iter().filter_map(|volume| volume.get("image")) {
        let Some(image) = source.get("reference").filter(|image| image.text() != Some("")) else {
            if source.value.is_object() {
                out.push(source.missing("reference"));
            }
            continue;
        };
        let Some((text, reference)) = parsed(&image, out) else { continue };
        if reference.is_host() {
            let message = format!("the image {} is the machine's own file system, which no volume shows", quoted(text));
            out.push(image.error("image", message).help("use a hostPath volume"));
        }
        floats(&image, text, &reference, out);
    }
}

/// A reference, if it is one; what is wrong with it is told.
fn parsed<'v>(image: &View<'v>, out: &mut Vec<Finding>) -> Option<(&'v str, Reference)> {
    let text = image.text()?;
    match Reference::parse(text) {
        Ok(reference) => Some((text, reference)),
        Err(NoReference { what, help }) => {
            out.push(image.error("image", format!("the image {} {what}", quoted(text))).help(help));
            None
        }
    }
}

/// A reference that says neither tag nor digest.
fn floats(image: &View<'_>, text: &str, reference: &Reference, out: &mut Vec<Finding>) {
    let says_nothing = reference.digest().is_none() && reference.tag() == Some("latest") && !text.ends_with(":latest");
    if says_nothing && !reference.is_host() {
        let message = format!("the image {} has no tag: it is `latest`, whatever that is by then", quoted(text));
        let help = "write a tag or a digest, so that what runs changes with a commit and not without one";
        out.push(Finding::warning("image-tag", &image.pointer(), message).help(help));
    }
}
