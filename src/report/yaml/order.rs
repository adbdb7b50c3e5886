//! The order of keys: that of go-yaml 2. Letters come after everything else, and numbers within keys count as numbers.

use std::cmp::Ordering;

/// Keys in go-yaml's order. The comparison is not transitive for every three keys (`12` < `1a` < `2` < `12`), which the
/// standard library's sorts may answer with a panic; merging cannot. Where it contradicts itself, the order is still the
/// same for the same keys.
pub(super) fn sorted<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut keys: Vec<&str> = keys.collect();
    keys.sort_unstable();
    merge_sort(&keys)
}

fn merge_sort<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    if keys.len() < 2 {
        return keys.to_vec();
    }
    let (left, right) = keys.split_at(keys.len() / 2);
    let (left, right) = (merge_sort(left), merge_sort(right));
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    let mut merged = Vec::with_capacity(keys.len());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(b, a) == Ordering::Less { right.next() } else { left.next() };
        merged.extend(next);
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

/// go-yaml's `keyList.Less` for two strings (sorter.go of version 2.4).
fn compare(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => a[at].cmp(&b[at]),
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            // A zero may stand within a number that began before.
            let before = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
            let within = (a[at] == '0' || b[at] == '0') && before.into_iter().any(|c| *c != '0');
            let (x, y) = (number(&a[at..], within), number(&b[at..], within));
            x.cmp(&y).then(a[at].cmp(&b[at]))
        }
    }
}

/// The number at the start of the text and how many digits it has; it wraps as go-yaml's does.
fn number(text: &[char], within: bool) -> (i64, usize) {
    let digits = || text.iter().map_while(|c| c.to_digit(10));
    let value = digits().fold(i64::from(within), |n, d| n.wrapping_mul(10).wrapping_add(i64::from(d)));
    (value, digits().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_keys_count_and_letters_come_last() {
        let expected = ["-", ".a", "_", "1", "2", "10", "A", "Z", "a", "a-b", "a1", "a2", "a10", "a100", "ab", "b"];
        let mut keys = expected.to_vec();
        keys.reverse();
        assert_eq!(sorted(keys.into_iter()), expected);
    }

    #[test]
    fn an_order_that_contradicts_itself_is_still_one_order() {
        let keys: Vec<String> = (0..40).flat_map(|n| [format!("{n}"), format!("{n}a"), format!("{n}0")]).collect();
        let first = sorted(keys.iter().map(String::as_str));
        assert_eq!(sorted(keys.iter().rev().map(String::as_str)), first);
        assert_eq!(first.len(), keys.len());
    }
}
