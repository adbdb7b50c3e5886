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
        let Some(text) = image.text() else { continue };
        match Reference::parse(text) {
            Err(NoReference { what, help }) => {
                out.push(image.error("image", format!("the image {} {what}", quoted(text))).help(help));
            }
            Ok(reference) => floats(&image, text, &reference, out),
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
