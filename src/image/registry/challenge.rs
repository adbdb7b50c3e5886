//! `WWW-Authenticate`, as registries use it: what they want to know of us.

use std::collections::BTreeMap;

/// No registry has more to say.
const LONGEST: usize = 8 << 10;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and word of the account.
    Basic,
    /// A token that the service at `realm` gives.
    Bearer { realm: String, service: Option<String> },
}

/// The challenge that is to be met: `Bearer` before `Basic`; `None` when neither is there.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<(String, BTreeMap<String, String>)> = headers.filter(|h| h.len() <= LONGEST).flat_map(parse).collect();
    let bearer = all.iter().find(|(scheme, _)| scheme == "bearer").and_then(|(_, parameters)| {
        let realm = parameters.get("realm")?.clone();
        Some(Challenge::Bearer { realm, service: parameters.get("service").cloned() })
    });
    bearer.or_else(|| all.iter().any(|(scheme, _)| scheme == "basic").then_some(Challenge::Basic))
}

/// The challenges of one header (RFC 9110, 11.6.1): schemes in lower case, each with its parameters.
fn parse(header: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        if word == 0 {
            return found;
        }
        let (name, after) = rest.split_at(word);
        let name = name.to_ascii_lowercase();
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            found.push((name, BTreeMap::new()));
            rest = after;
            continue;
        };
        let (value, after) = value_of(value.trim_start_matches([' ', '\t']));
        if let Some((_, parameters)) = found.last_mut() {
            parameters.entry(name).or_insert(value);
        }
        rest = after;
    }
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        assert_eq!(choose([hub].into_iter()), bearer("https://auth.example/token", Some("registry.example")));
        assert_eq!(choose(["BASIC realm=x"].into_iter()), Some(Challenge::Basic));
        let both = r#"Basic realm="a, b", Bearer realm="https://t.example/", error="invalid \" token""#;
        assert_eq!(choose([both].into_iter()), bearer("https://t.example/", None));
        assert_eq!(choose(["Basic realm=x", "bearer realm = y"].into_iter()), bearer("y", None));
        assert_eq!(choose(["Bearer service=x"].into_iter()), None, "a token from nowhere");
        assert_eq!(choose(["Negotiate"].into_iter()), None);
    }

    #[test]
    fn no_header_is_too_odd_to_be_read() {
        let endless = format!("Bearer realm=\"{}", "a".repeat(9 << 10));
        for header in ["", ",", "=", "\"", "=x", "Bearer realm=\"", "Bearer realm=\"a\\", " , ,x = ", &endless] {
            let _ = choose([header].into_iter());
        }
        assert_eq!(choose([endless.as_str()].into_iter()), None, "longer than any");
        assert_eq!(choose(["Bearer realm=\"a\\\"b\\\\\""].into_iter()), bearer("a\"b\\", None));
    }
}
