//! Two lists of lines compared: unified hunks with three lines around each change.

use serde::Serialize;
use similar::{Algorithm, DiffOp, DiffTag};

use super::PresetLines;
use super::yaml::{Line, Lines};

/// Lines of context around a change, as `diff -u` has them.
const RADIUS: usize = 3;
/// So many lines between the first and the last difference are compared in detail, which takes their square in the worst
/// case; beyond it the whole stretch counts as replaced, which is as true and readable only for short texts anyway.
const DETAILED: usize = 10_000;
/// The same for all objects of a report together: the squares of what is compared in detail. Reached by some eighty
/// objects of the worst kind, and by nothing that a person would read.
const ALL_DETAILED: usize = 2_000_000_000;
/// Lines of all hunks of a report.
const ALL_LINES: usize = 1_000_000;

/// What is left for the objects that are still to be compared. A report costs bounded time and memory, whatever two
/// revisions hold.
pub(super) struct Budget {
    detailed: usize,
    lines: usize,
    /// Whether hunks were left out. Their lines are counted nevertheless.
    pub(super) exceeded: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { detailed: ALL_DETAILED, lines: ALL_LINES, exceeded: false }
    }
}

impl Budget {
    fn takes_detail(&mut self, old_len: usize, new_len: usize) -> bool {
        let cost = old_len.saturating_mul(new_len);
        let takes = old_len + new_len <= DETAILED && cost <= self.detailed;
        if takes {
            self.detailed -= cost;
        }
        takes
    }

    fn takes_lines(&mut self, lines: usize) -> bool {
        self.exceeded |= lines > self.lines;
        self.lines = self.lines.saturating_sub(lines);
        !self.exceeded
    }
}

/// One hunk of a unified diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hunk {
    /// `@@ -1,4 +1,5 @@`.
    pub header: String,
    /// Each begins with a space, `-` or `+`; without line ends.
    pub lines: Vec<String>,
}

/// What two lists of lines differ in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) hunks: Vec<Hunk>,
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) presets: Vec<PresetLines>,
}

/// Whose a field is, by side: the preset that provides it, if one does.
pub(super) type Owner<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// Compares; `owners` tell which preset a line of either side comes from.
pub(super) fn compare(old: &Lines, new: &Lines, owners: [Owner<'_>; 2], budget: &mut Budget) -> Difference {
    let mut found = Difference::default();
    for group in similar::group_diff_ops(operations(old, new, budget), RADIUS) {
        let size: usize = group.iter().map(|op| op.old_range().len().max(op.new_range().len())).sum();
        let is_shown = budget.takes_lines(size);
        let mut lines = Vec::new();
        let mut show = |sign: char, line: Line<'_>| {
            if is_shown {
                lines.push(format!("{sign}{}", line.text));
            }
        };
        for op in &group {
            let (tag, before, after) = op.as_tag_tuple();
            if tag == DiffTag::Equal {
                before.for_each(|at| show(' ', old.line(at)));
                continue;
            }
            for line in before.map(|at| old.line(at)) {
                found.removed += 1;
                found.count(owners[0](line.field), false);
                show('-', line);
            }
            for line in after.map(|at| new.line(at)) {
                found.added += 1;
                found.count(owners[1](line.field), true);
                show('+', line);
            }
        }
        if is_shown {
            found.hunks.push(Hunk { header: header(&group), lines });
        }
    }
    found.presets.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Difference {
    fn count(&mut self, owner: Option<&str>, added: bool) {
        let Some(name) = owner else { return };
        let at = self.presets.iter().position(|preset| preset.name == name).unwrap_or_else(|| {
            self.presets.push(PresetLines { name: name.to_owned(), added: 0, removed: 0 });
            self.presets.len() - 1
        });
        let preset = &mut self.presets[at];
        *(if added { &mut preset.added } else { &mut preset.removed }) += 1;
    }
}

fn operations(old: &Lines, new: &Lines, budget: &mut Budget) -> Vec<DiffOp> {
    let old: Vec<&str> = old.iter().map(|line| line.text).collect();
    let new: Vec<&str> = new.iter().map(|line| line.text).collect();
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_len, new_len) = (old.len() - start - end, new.len() - start - end);
    if old_len == 0 && new_len == 0 {
        return Vec::new();
    }
    if budget.takes_detail(old_len, new_len) {
        return similar::capture_diff_slices(Algorithm::Myers, &old, &new);
    }
    let equal = |old_index, new_index, len| DiffOp::Equal { old_index, new_index, len };
    let middle = match (old_len, new_len) {
        (_, 0) => DiffOp::Delete { old_index: start, old_len, new_index: start },
        (0, _) => DiffOp::Insert { old_index: start, new_index: start, new_len },
        _ => DiffOp::Replace { old_index: start, old_len, new_index: start, new_len },
    };
    let mut ops = vec![equal(0, 0, start), middle, equal(start + old_len, start + new_len, end)];
    ops.retain(|op| !matches!(op, DiffOp::Equal { len: 0, .. }));
    ops
}

/// Both ranges count lines from 1; an empty one names the line before it, as `diff -u` does.
fn header(group: &[DiffOp]) -> String {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return String::new() };
    let range = |start: usize, end: usize| match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    };
    let old = range(first.old_range().start, last.old_range().end);
    let new = range(first.new_range().start, last.new_range().end);
    format!("@@ -{old} +{new} @@")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        let mut lines = Lines::default();
        for line in text.lines() {
            lines.write(line);
            lines.push(line);
        }
        lines
    }

    fn none(_: &str) -> Option<&'static str> {
        None
    }

    fn shown(old: &str, new: &str) -> String {
        let found = compare(&lines(old), &lines(new), [&none, &none], &mut Budget::default());
        found.hunks.iter().map(|hunk| format!("{}\n{}\n", hunk.header, hunk.lines.join("\n"))).collect()
    }

    #[test]
    fn hunks_are_those_of_the_similar_crate() {
        let long: String = (0..40).map(|n| format!("{n}\n")).collect();
        let other = long.replace("5\n", "five\n").replace("31\n", "");
        for (old, new) in [("a\nb\n", "a\nc\n"), ("", "a\n"), ("a\nb\n", ""), ("a\n", "a\nb\n"), (&long, &other)] {
            let diff = similar::TextDiff::from_lines(old, new);
            assert_eq!(shown(old, new), diff.unified_diff().context_radius(RADIUS).to_string(), "{old:?} {new:?}");
        }
    }

    #[test]
    fn equal_texts_have_no_hunks() {
        assert_eq!(shown("a\nb\n", "a\nb\n"), "");
        assert_eq!(shown("", ""), "");
    }

    #[test]
    fn a_very_long_difference_is_replaced_as_a_whole() {
        let old: String = (0..6_000).map(|n| format!("{n}\n")).collect();
        let new: String = (0..6_000).map(|n| format!("{}\n", n + 1_000_000)).collect();
        let (old, new) = (lines(&format!("x\n{old}y\n")), lines(&format!("x\n{new}y\n")));
        let found = compare(&old, &new, [&none, &none], &mut Budget::default());
        assert_eq!((found.hunks.len(), found.added, found.removed), (1, 6_000, 6_000));
        let hunk = &found.hunks[0];
        assert_eq!(hunk.header, "@@ -1,6002 +1,6002 @@");
        assert_eq!((hunk.lines[0].as_str(), hunk.lines[1].as_str()), (" x", "-0"));
    }

    #[test]
    fn beyond_its_budget_a_report_counts_lines_and_shows_none() {
        let mut budget = Budget { detailed: 10, lines: 4, exceeded: false };
        let first = compare(&lines("a\nb\n"), &lines("a\nc\n"), [&none, &none], &mut budget);
        assert_eq!((first.hunks.len(), budget.exceeded), (1, false));
        let second = compare(&lines("a\nb\nc\n"), &lines("d\nb\ne\n"), [&none, &none], &mut budget);
        assert_eq!((second.hunks.len(), second.added, second.removed, budget.exceeded), (0, 2, 2, true));
        // Nine comparisons are left of ten, and four lines against three would take twelve: replaced as a whole.
        let third = compare(&lines("a\nx\nb\nc\n"), &lines("d\nx\ne\n"), [&none, &none], &mut budget);
        assert_eq!((third.added, third.removed), (3, 4));
    }

    #[test]
    fn lines_are_counted_for_the_preset_they_come_from() {
        let of = |field: &str| field.starts_with('p').then_some("preset");
        let found = compare(&lines("a\np0\n"), &lines("a\np1\np2\nb\n"), [&of, &of], &mut Budget::default());
        assert_eq!(found.presets, [PresetLines { name: "preset".into(), added: 2, removed: 1 }]);
        assert_eq!((found.added, found.removed), (3, 1));
    }
}
