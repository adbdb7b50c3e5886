//! Source lines for diagnostics of admission, which does not have the files.

use std::collections::HashMap;

use super::secret;
use super::text::{self, Text};
use super::yaml::Span;
use crate::model::{Diagnostic, Diagnostics, Place, Snapshot, SourceFile};

/// Adds its line to each diagnostic about presets that has a place without one. Of a file that may hold a Secret none is
/// shown; that includes misspelt ones, for with those a revision does not come to admission.
pub fn show_lines(snapshot: &Snapshot, diagnostics: &mut Diagnostics) {
    let needy: Vec<&mut Place> = diagnostics.0.iter_mut().filter_map(without_line).collect();
    if needy.is_empty() {
        return;
    }
    let files: HashMap<&str, &SourceFile> = snapshot.files.iter().map(|file| (&*file.path, file)).collect();
    let mut texts: HashMap<&str, Option<Text<'_>>> = HashMap::new();
    for place in needy {
        let Some(file) = files.get(&*place.at.path) else { continue };
        if let Some(text) = texts.entry(&file.path).or_insert_with(|| showable(file)) {
            let (shown, width) = text.shown(Span::at(place.at.line, place.at.column), &[]);
            (place.text, place.width) = (shown.into(), width);
        }
    }
}

fn without_line(diagnostic: &mut Diagnostic) -> Option<&mut Place> {
    let is_of_admission = ["limit-range", "preset-", "pod-security", "sysctl-forbidden"]
        .iter()
        .any(|rule| diagnostic.rule.starts_with(rule));
    diagnostic.place.as_mut().filter(|place| is_of_admission && place.text.is_empty())
}

fn showable(file: &SourceFile) -> Option<Text<'_>> {
    text::decode(&file.bytes).ok().filter(|text| !secret::may_hold_one(text)).map(Text::new)
}
