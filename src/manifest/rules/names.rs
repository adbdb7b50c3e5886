//! The shapes of names: what Kubernetes calls a DNS label, a DNS subdomain, a qualified name.

/// Why a text does not have a shape: the rest of the sentence after `must`.
pub(in crate::manifest) type Wrong = &'static str;

/// A shape that a text must have.
pub(in crate::manifest) type Shape = fn(&str) -> Result<(), Wrong>;

const LABEL: Wrong =
    "be lower case letters, digits and `-`, begin and end with a letter or digit, and have at most 63 characters";
const SUBDOMAIN: Wrong = "be lower case letters, digits, `-` and `.`, begin and end with a letter or digit, and have \
                          at most 253 characters";
const QUALIFIED: Wrong = "be letters, digits, `-`, `_` and `.`, begin and end with a letter or digit, have at most 63 \
                          characters, and may follow a DNS name and `/`";
const LABEL_VALUE: Wrong = "be empty, or letters, digits, `-`, `_` and `.`, begin and end with a letter or digit, and \
                            have at most 63 characters";
const PORT_NAME: Wrong = "be lower case letters, digits and single `-`, hold a letter, begin and end with a letter or \
                          digit, and have at most 15 characters";
const ENV_NAME: Wrong = "be printable ASCII without `=`";
const HEADER: Wrong = "be letters, digits and `-`";
const DATA_KEY: Wrong = "be letters, digits, `-`, `_` and `.`, not begin with `..`, and have at most 253 characters";

fn lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn label_shaped(text: &str) -> bool {
    text.starts_with(lower_or_digit)
        && text.ends_with(lower_or_digit)
        && text.chars().all(|c| lower_or_digit(c) || c == '-')
}

/// A DNS label (RFC 1123).
pub(in crate::manifest) fn label(text: &str) -> Result<(), Wrong> {
    if label_shaped(text) && text.len() <= 63 { Ok(()) } else { Err(LABEL) }
}

/// A DNS subdomain (RFC 1123): labels joined by dots.
pub(in crate::manifest) fn subdomain(text: &str) -> Result<(), Wrong> {
    if text.split('.').all(label_shaped) && text.len() <= 253 { Ok(()) } else { Err(SUBDOMAIN) }
}

/// A search domain of a resolver: a DNS subdomain that may have underscores (`RelaxedDNSSearchValidation`).
pub(in crate::manifest) fn search_domain(text: &str) -> Result<(), Wrong> {
    if subdomain(&text.replace('_', "a")).is_ok() { Ok(()) } else { Err(SUBDOMAIN) }
}

fn simple_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63 && text.starts_with(end) && text.ends_with(end) && text.chars().all(inner)
}

/// The key of a label or annotation: `[prefix/]name`.
pub(in crate::manifest) fn qualified(text: &str) -> Result<(), Wrong> {
    let good = match text.split_once('/') {
        Some((prefix, name)) => subdomain(prefix).is_ok() && simple_name(name),
        None => simple_name(text),
    };
    if good { Ok(()) } else { Err(QUALIFIED) }
}

/// The value of a label.
pub(in crate::manifest) fn label_value(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || simple_name(text) { Ok(()) } else { Err(LABEL_VALUE) }
}

/// The name of a port (an IANA service name).
pub(in crate::manifest) fn port_name(text: &str) -> Result<(), Wrong> {
    let good = label_shaped(text)
        && text.len() <= 15
        && !text.contains("--")
        && text.contains(|c: char| c.is_ascii_lowercase());
    if good { Ok(()) } else { Err(PORT_NAME) }
}

/// The name of an environment variable.
pub(in crate::manifest) fn env_name(text: &str) -> Result<(), Wrong> {
    let good = !text.is_empty() && text.chars().all(|c| (' '..='~').contains(&c) && c != '=');
    if good { Ok(()) } else { Err(ENV_NAME) }
}

/// The name of an HTTP header, as Kubernetes takes it.
pub(in crate::manifest) fn header(text: &str) -> Result<(), Wrong> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if good { Ok(()) } else { Err(HEADER) }
}

/// A key of a ConfigMap or Secret: it becomes a file name.
pub(in crate::manifest) fn data_key(text: &str) -> Result<(), Wrong> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good =
        !text.is_empty() && text.len() <= 253 && text.chars().all(inner) && text != "." && !text.starts_with("..");
    if good { Ok(()) } else { Err(DATA_KEY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_takes_what_kubernetes_takes() {
        let long = "a".repeat(64);
        let rows: [(Shape, &[&str], &[&str]); 9] = [
            (search_domain, &["a", "_a.b_c.d_"], &["", ".", "a..b", "A", "-a", "a b"]),
            (header, &["X-A", "a1"], &["", "a b", "a:", "é"]),
            (label, &["a", "0a", "a-b"], &["", "A", "-a", "a-", "a.b", "a_b", "é", &long]),
            (subdomain, &["a", "a.b", "a-1.b", &long], &["", ".a", "a.", "a..b", "A.b", "a_b", "a.-b"]),
            (
                qualified,
                &["a", "A.b_c-d", "x.y/Z", &"a".repeat(63)],
                &["", "/a", "a/", "X/a", "a/b/c", "-a", "a b", &long],
            ),
            (label_value, &["", "A", "a.b"], &["-a", "a b", "a/b", &long]),
            (port_name, &["http", "a1", "80-b"], &["", "80", "a--b", "HTTP", "-a", "abcdefghijklmnop"]),
            (env_name, &["A", "a b", "1", "a.b-c"], &["", "A=B", "é", "a\nb"]),
            (data_key, &["a", ".a", "A_b-c.d"], &["", ".", "..", "..a", "a/b", "a b", &"a".repeat(254)]),
        ];
        for (index, (check, good, bad)) in rows.into_iter().enumerate() {
            for text in good {
                assert!(check(text).is_ok(), "{index}: {text} should pass");
            }
            for text in bad {
                assert!(check(text).is_err(), "{index}: {text} should not pass");
            }
        }
    }
}
