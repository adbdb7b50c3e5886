//! Tabs before the lines of a block text. YAML 1.2 lets a text begin with a tab behind its indentation and takes a tab on a
//! line of its own for nothing; go-yaml, with which kubectl reads, refuses both.

/// Where a tab stands that go-yaml refuses: how many lines below the first one that says something, and behind how many
/// spaces. That line begins `indent` spaces before `start`.
pub(super) fn refused_tab(file: &str, start: usize, indent: usize) -> Option<(usize, usize)> {
    let (above, text) = file.split_at_checked(start)?;
    if text.starts_with('\t') && !says_its_indentation(above) {
        return Some((0, indent));
    }
    for (line, content) in text.lines().enumerate().skip(1) {
        let spaces = content.len() - content.trim_start_matches(' ').len();
        match content[spaces..].chars().next() {
            _ if spaces >= indent => {}
            None => {}
            Some('\t') => return Some((line, spaces)),
            // The text is over.
            Some(_) => return None,
        }
    }
    None
}

/// Whether the header, which is the last line above that is not blank, has a number, as in `|2-`: then a tab is text.
fn says_its_indentation(above: &str) -> bool {
    let header = above.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let header = header.split(" #").next().unwrap_or_default();
    header.rsplit(['|', '>']).next().is_some_and(|sign| sign.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_is_refused_where_go_yaml_wants_a_space() {
        for (header, text, expected) in [
            ("a: |\n    ", "\tx\n", Some((0, 4))),
            ("a1: >- # 1\n\n    ", "\tx\n", Some((0, 4))),
            ("a: |4\n    ", "\tx\n", None),
            ("a: |-4 # |\n\n    ", "\tx\n", None),
            ("a: |\n    ", "x\n\t\n", Some((1, 0))),
            ("a: |\n    ", "x\n  \t# c\n", Some((1, 2))),
            ("a: |\n    ", "x\n\n   \ty\n", Some((2, 3))),
            ("a: |\n    ", "x\n    \ty\n     \t\n", None),
            ("a: |\n    ", "x\n  b: \"y\n\t\"\n", None),
            ("a: |\n    ", "x\ty\r\n\r\n    z", None),
        ] {
            assert_eq!(refused_tab(&format!("{header}{text}"), header.len(), 4), expected, "{header:?} {text:?}");
        }
    }
}
