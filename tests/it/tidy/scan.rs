//! Reads Rust source so far as to tell what it calls: paths, resolved by what the file imports, methods and macros.

use std::collections::BTreeMap;

/// Something that a file names, and in which line.
pub struct Named {
    pub line: usize,
    pub what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A path, with the name of an import in the place of what that stands for.
    Path(Vec<String>),
    /// An import; `*` for everything of a module.
    Import(Vec<String>),
    /// `.name(`, and whether nothing is given.
    Method { name: String, bare: bool },
    /// `name!`
    Macro(String),
}

struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// What is code: no comments, no texts.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(text, at);
        for byte in &mut out[at..end.max(at)] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).unwrap()
}

/// Where the comment or text ends that begins here; here, if none does.
fn skipped(text: &str, at: usize) -> usize {
    let Some(rest) = text.get(at..) else { return at + 1 };
    let ends = |inner: &str, mark: &str| inner.find(mark).map_or(inner.len(), |end| end + mark.len());
    if rest.starts_with("//") {
        return at + rest.find('\n').unwrap_or(rest.len());
    }
    if let Some(inner) = rest.strip_prefix("/*") {
        return at + 2 + ends(inner, "*/");
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let begins = !text[..at].ends_with(is_name);
    if let Some(raw) = rest.strip_prefix('r').filter(|_| begins || text[..at].ends_with(['b', 'c'])) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(inner) = raw[hashes..].strip_prefix('"') {
            return at + 1 + hashes + 1 + ends(inner, &format!("\"{}", &raw[..hashes]));
        }
    }
    if let Some(inner) = rest.strip_prefix('"') {
        return at + 1 + closed(inner, b'"');
    }
    let mut chars = rest.chars();
    if chars.next() == Some('\'') {
        // A character, and no lifetime.
        let first = chars.next();
        let second = chars.next();
        if first == Some('\\') || (first.is_some() && second == Some('\'')) {
            return at + 1 + closed(&rest[1..], b'\'');
        }
    }
    at
}

/// Behind the quote that ends a text.
fn closed(inner: &str, quote: u8) -> usize {
    let mut bytes = inner.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote {
            return at + 1;
        }
    }
    inner.len()
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut line, mut rest) = (Vec::new(), 1, code);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            out.push(Token { line, text: &rest[..length] });
        }
        line += usize::from(first == '\n');
        rest = &rest[length..];
    }
    out
}

fn is_name(token: Option<&Token<'_>>) -> bool {
    token.is_some_and(|t| t.text.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// The imports of a tree, by the name that each has in the file.
fn tree(tokens: &[Token<'_>], at: &mut usize, before: &[String], out: &mut Vec<(String, Vec<String>)>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token.text {
            "::" => {}
            "{" => {
                while tokens.get(*at).is_some_and(|t| t.text != "}") {
                    tree(tokens, at, &path, out);
                    *at += usize::from(tokens.get(*at).is_some_and(|t| t.text == ","));
                }
                *at += 1;
                return;
            }
            "as" => {
                let name = tokens.get(*at).map_or("_", |t| t.text);
                *at += 1;
                out.push((name.to_owned(), path));
                return;
            }
            "self" if !before.is_empty() => {}
            text => path.push(text.to_owned()),
        }
        if tokens.get(*at).is_none_or(|t| matches!(t.text, "," | "}" | ";")) {
            out.push((path.last().cloned().unwrap_or_default(), path));
            return;
        }
    }
}

/// Without the inline modules of tests.
fn without_tests(mut tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    const MARK: &[&str] = &["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let is_mark = |tokens: &[Token<'_>]| tokens.iter().map(|t| t.text).take(MARK.len()).eq(MARK.iter().copied());
    let mut from = 0;
    while let Some(begin) = (from..tokens.len()).find(|at| is_mark(&tokens[*at..])) {
        from = begin + MARK.len() + 2;
        if tokens.get(from - 1).is_none_or(|t| t.text != "{") {
            continue;
        }
        let mut depth = 0_usize;
        let end = tokens[from - 1..].iter().position(|token| {
            match token.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        tokens.drain(begin..end.map_or(tokens.len(), |end| from + end));
        from = begin;
    }
    tokens
}

/// `type Name = a::path`, which is as good as an import.
fn alias(tokens: &[Token<'_>]) -> Option<(String, Vec<String>)> {
    let [kind, name, equals, rest @ ..] = tokens else { return None };
    if kind.text != "type" || equals.text != "=" {
        return None;
    }
    let path = rest.iter().take_while(|t| t.text == "::" || is_name(Some(t))).filter(|t| t.text != "::");
    Some((name.text.to_owned(), path.map(|t| t.text.to_owned()).collect()))
}

/// What the code of a file names, but for its inline tests.
pub fn names(text: &str) -> Vec<Named> {
    let code = blank(text);
    let tokens = without_tests(tokens(&code));
    let (mut found, mut imports, mut at) = (Vec::new(), BTreeMap::new(), 0);
    // An import may stand behind its use.
    let mut uses = Vec::new();
    while at < tokens.len() {
        let line = tokens[at].line;
        if tokens[at].text == "use" {
            let (begin, mut leaves) = (at, Vec::new());
            at += 1;
            tree(&tokens, &mut at, &[], &mut leaves);
            uses.push(begin..at);
            for (name, path) in leaves {
                found.push(Named { line, what: What::Import(path.clone()) });
                imports.insert(name, path);
            }
        }
        if let Some((name, path)) = alias(&tokens[at..]) {
            imports.insert(name, path);
        }
        at += 1;
    }
    at = 0;
    while at < tokens.len() {
        if let Some(skip) = uses.iter().find(|range| range.contains(&at)) {
            at = skip.end;
            continue;
        }
        let (line, text) = (tokens[at].line, tokens[at].text);
        let next = |n: usize| tokens.get(at + n).map(|t| t.text);
        if text == "." && is_name(tokens.get(at + 1)) {
            // `.name(` and `.name::<T>(`
            if matches!(next(2), Some("(" | "::")) {
                let bare = next(2) == Some("(") && next(3) == Some(")");
                let what = What::Method { name: next(1).unwrap().to_owned(), bare };
                found.push(Named { line: tokens[at + 1].line, what });
            }
            at += 2;
            continue;
        }
        if !is_name(tokens.get(at)) {
            at += 1;
            continue;
        }
        if next(1) == Some("!") && next(2) != Some("=") {
            found.push(Named { line, what: What::Macro(text.to_owned()) });
        }
        let mut path = imports.get(text).cloned().unwrap_or_else(|| vec![text.to_owned()]);
        at += 1;
        while tokens.get(at).is_some_and(|t| t.text == "::") && is_name(tokens.get(at + 1)) {
            path.push(tokens[at + 1].text.to_owned());
            at += 2;
        }
        found.push(Named { line, what: What::Path(path) });
    }
    found
}
