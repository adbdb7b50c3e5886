//! `$(NAME)` in values and commands. `$$` stands for `$`; what is unknown stays as it was written; nothing nests.

/// Replaces every reference that `lookup` knows. Returns the text and the names it did not know.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> (String, Vec<&str>) {
    let mut out = String::with_capacity(text.len());
    let mut unknown = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|body| body.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    unknown.push(name);
                    out.push_str(&rest[at..=at + 2 + name.len()]);
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    (out, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_as_kubernetes_does() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B" => Some("$(A)".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        let rows = [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)z", "x1y1z"),
            ("$(B)", "$(A)"),
            ("$(E)", ""),
            ("$(NO)", "$(NO)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$", "$"),
            ("a$", "a$"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("$($(A))", "$($(A))"),
            ("$(A)$", "1$"),
            ("é$(A)ü", "é1ü"),
        ];
        for (text, expected) in rows {
            assert_eq!(expand(text, lookup).0, expected, "{text}");
        }
    }

    #[test]
    fn unknown_names_are_told() {
        assert_eq!(expand("$(A)$(B)$$(C)", |name| (name == "A").then(String::new)).1, ["B"]);
    }
}
