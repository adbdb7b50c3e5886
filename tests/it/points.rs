//! Fault points as they are written down (`src/sys/effect/fault.rs`), and whose effects in the sources they are.
//!
//! Each test that kills somebody at every effect has a list of the effects that it does so at, `fixtures/killed/<list>.txt`,
//! which it holds itself to; `tidy` compares the lists with the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The points alone, a line each.
pub fn plain(text: &str) -> String {
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The effects in the sources that these are points of.
pub fn effects(text: &str) -> BTreeSet<String> {
    let mut sources = BTreeMap::new();
    text.lines().filter_map(|line| line.split_once('\t')).map(|(_, from)| effect(from, &mut sources)).collect()
}

/// The effect at `<file>:<line>:<column>`.
fn effect(from: &str, sources: &mut BTreeMap<String, String>) -> String {
    let mut parts = from.rsplitn(3, ':');
    let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
    let (column, line) = (number(), number());
    let file = parts.next().unwrap();
    let read = |_| panic!("{from} is no line of the sources: call the wrapper, instead of giving it as a function");
    let text = sources
        .entry(file.to_owned())
        .or_insert_with(|| std::fs::read_to_string(root().join(file)).unwrap_or_else(read));
    let code = &text.lines().nth(line - 1).unwrap()[column - 1..];
    let call = code.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | ':')).next().unwrap();
    named(file, function(text, line), call.rsplit("::").next().unwrap())
}

/// What an effect is called in the lists: its file, the function that it is in, and the wrapper that is called.
pub fn named(file: &str, function: &str, wrapper: &str) -> String {
    format!("{file} {function} {wrapper}")
}

/// The name of the function that a line is in.
pub fn function(text: &str, line: usize) -> &str {
    let name = |line: &'_ str| -> Option<(usize, usize)> {
        let code = line.trim_start();
        if code.starts_with("//") {
            return None;
        }
        let at = if code.starts_with("fn ") { 0 } else { code.find(" fn ")? + 1 } + line.len() - code.len() + 3;
        let length = line[at..].find(|c: char| !c.is_alphanumeric() && c != '_')?;
        (length > 0).then_some((at, at + length))
    };
    let lines: Vec<&str> = text.lines().take(line).collect();
    lines.iter().rev().find_map(|line| name(line).map(|(from, to)| &line[from..to])).unwrap_or("-")
}

/// Where the lists are.
pub fn lists() -> PathBuf {
    root().join("fixtures/killed")
}

/// The beginnings of effects that no test kills anybody at, and why: `<beginning>: <why>`.
pub fn excused() -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once(": ").map(|(start, why)| (start.to_owned(), why.to_owned()));
    let text = std::fs::read_to_string(lists().join("excused.md")).unwrap();
    text.lines().filter_map(|line| pair(line.strip_prefix("- ")?)).collect()
}

/// What a list has.
pub fn list(path: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Somebody was killed at every effect of this list; `UPDATE_EXPECTED=1` makes it what was met.
pub fn check(name: &str, met: &BTreeSet<String>) {
    let path = lists().join(name).with_extension("txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(lists()).unwrap();
        std::fs::write(&path, met.iter().map(|effect| format!("{effect}\n")).collect::<String>()).unwrap();
    }
    let left: Vec<String> = list(&path).difference(met).cloned().collect();
    assert!(left.is_empty(), "nobody is killed there any more (`UPDATE_EXPECTED=1` writes the list anew): {left:#?}");
}

#[test]
fn a_point_is_told_with_its_effect() {
    let text = "before x y\tsrc/sys/effect/mod.rs:1:1\nafter x y\nbefore z\t\n";
    assert_eq!(plain(text), "before x y\nafter x y\nbefore z\n");
    let code = "//! fn no\nimpl X {\n    pub(crate) fn one<T>(t: T) {\n        // fn no()\n        t()\n    }\n}\nasync fn two() {\n";
    assert_eq!([2, 5, 7, 8].map(|line| function(code, line)), ["-", "one", "one", "two"]);
}
