//! `.podwrightignore`: gitignore's syntax, one file per directory, each counting for its own directory and below.

use std::collections::BTreeMap;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::fault::diagnostic;
use super::name::{IGNORE_FILE, join};
use crate::model::Diagnostic;

/// The rules of all directories seen so far.
#[derive(Clone, Default)]
pub(super) struct Rules {
    by_directory: BTreeMap<String, Gitignore>,
    /// Patterns taken in so far.
    pub(super) patterns: usize,
}

impl Rules {
    /// Takes in the ignore file of `dir`. A pattern that cannot be understood excludes nothing and is reported.
    pub(super) fn add(&mut self, dir: &str, shown: &str, bytes: &[u8]) -> Vec<Diagnostic> {
        let mut bad = Vec::new();
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        for (line, number) in bytes.split(|b| *b == b'\n').zip(1..) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Ok(text) = std::str::from_utf8(line) else {
                let lossy = String::from_utf8_lossy(line);
                bad.push(complain(shown, (number, &lossy), "the pattern is not UTF-8"));
                continue;
            };
            if let Err(error) = builder.add_line(None, &literal_braces(text)) {
                let why = match error {
                    ignore::Error::Glob { err, .. } => err,
                    other => other.to_string(),
                };
                bad.push(complain(shown, (number, text), &why));
            }
        }
        match builder.build() {
            Ok(rules) => {
                self.patterns += rules.len();
                self.by_directory.insert(dir.to_owned(), rules);
            }
            Err(error) => bad.push(complain(shown, (1, ""), &error.to_string())),
        }
        bad
    }

    /// Whether `path` itself is excluded: the rule nearest to it decides, the last of a file wins. Its parents are not
    /// asked: whoever walks does not enter an excluded directory, so nothing below can be taken back in, as with git.
    pub(super) fn excludes(&self, path: &str, is_dir: bool) -> bool {
        if self.by_directory.is_empty() {
            return false;
        }
        let mut dir = path;
        loop {
            dir = dir.rsplit_once('/').map_or("", |(above, _)| above);
            if let Some(rules) = self.by_directory.get(dir) {
                let rest = if dir.is_empty() { path } else { &path[dir.len() + 1..] };
                match rules.matched(Path::new(rest), is_dir) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            if dir.is_empty() {
                return false;
            }
        }
    }
}

/// Where the rules of `dir` stand.
pub(super) fn rules_file(dir: &str) -> String {
    join(dir, IGNORE_FILE)
}

fn complain(path: &str, line: (u32, &str), why: &str) -> Diagnostic {
    let mut found = diagnostic("bad-ignore-pattern", path, line, format!("the pattern does not work: {why}"));
    found.help =
        Some("patterns are written as in .gitignore; a backslash before a special character takes it as it is".into());
    found
}

/// Braces mean nothing to git, while the matcher takes them for alternatives: outside a class they get a backslash.
fn literal_braces(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut class = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if !class => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '[' if !class => {
                class = true;
                out.push(c);
                // A negation and a bracket right at the start belong to the class.
                if let Some(negation) = chars.next_if(|n| matches!(n, '!' | '^')) {
                    out.push(negation);
                }
                out.extend(chars.next_if_eq(&']'));
                continue;
            }
            ']' => class = false,
            '{' | '}' if !class => out.push('\\'),
            _ => {}
        }
        out.push(c);
    }
    out
}
