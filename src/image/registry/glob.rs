//! The patterns in the hosts of docker's `auths`: Go's path/filepath.Match, for texts without slashes.

/// Whether a whole text is what a pattern means: `*` for anything, `?` for one character, `[a-z]` and `[^a-z]` for one of
/// these or of all others, and a backslash before what means itself. A pattern that is none means nothing.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some(terms) = terms(pattern) else { return false };
    // Which ends of a beginning of the text the terms so far can have: each term is looked at once, whatever the pattern.
    let characters: Vec<char> = text.chars().collect();
    let mut ends = vec![false; characters.len() + 1];
    ends[0] = true;
    for term in terms {
        let mut next = vec![false; ends.len()];
        for at in 0..ends.len() {
            next[at] = match &term {
                Term::Any => ends[at] || at > 0 && next[at - 1],
                Term::One(set) => at > 0 && ends[at - 1] && set.has(characters[at - 1]),
            };
        }
        ends = next;
    }
    ends.last() == Some(&true)
}

enum Term {
    Any,
    One(Set),
}

/// Some characters, or all others.
struct Set {
    ranges: Vec<(char, char)>,
    others: bool,
}

impl Set {
    fn has(&self, character: char) -> bool {
        self.ranges.iter().any(|(low, high)| (low..=high).contains(&&character)) != self.others
    }
}

fn terms(pattern: &str) -> Option<Vec<Term>> {
    let mut terms = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        terms.push(match character {
            '*' => Term::Any,
            '?' => Term::One(Set { ranges: Vec::new(), others: true }),
            '[' => {
                let others = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
                    let low = member(&mut rest)?;
                    let high = if rest.next_if_eq(&'-').is_some() { member(&mut rest)? } else { low };
                    ranges.push((low, high));
                }
                Term::One(Set { ranges, others })
            }
            '\\' => one(rest.next()?),
            plain => one(plain),
        });
    }
    Some(terms)
}

fn one(character: char) -> Term {
    Term::One(Set { ranges: vec![(character, character)], others: false })
}

/// One end of a range.
fn member(rest: &mut impl Iterator<Item = char>) -> Option<char> {
    match rest.next()? {
        '\\' => rest.next(),
        '-' | ']' => None,
        character => Some(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of Go's TestMatch.
    #[test]
    fn patterns_mean_what_go_means_by_them() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b*c*d*e*", "axbxcxdxexxx", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[x\\-]", "-", true),
            ("[]a]", "]", false),
            ("[-]", "-", false),
            ("[x-]", "x", false),
            ("[", "a", false),
            ("[^bc", "a", false),
            ("a[", "a", false),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(2000), &"a".repeat(1000)), "and it ends soon");
    }
}
