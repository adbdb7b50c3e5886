//! What a power cut must leave of the agent's root: what is there under its own name is whole, and nothing is gone that was
//! there when the machine had come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::e2e::fsync::MAY_BE_LOST;
use crate::support::images::digest;

/// Files by their path below the root, each with the digest of its bytes.
pub type Files = BTreeMap<String, String>;

/// Whether a file is one that the agent writes before it names it.
fn is_named_last(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    let from_root = format!("/{path}");
    // On their way to their own name.
    let begun = name.starts_with('.') || path.starts_with("images/tmp/") || path.starts_with("images/downloads/");
    let kept = path == "instance" || name.ends_with(".json") || path.starts_with("images/blobs/");
    kept && !begun && !MAY_BE_LOST.iter().any(|(part, _)| from_root.contains(part))
}

/// Whether a file must outlive a power cut as it was.
fn is_to_stay(path: &str) -> bool {
    let of_layer = path.strip_prefix("images/layers/").is_some_and(|rest| rest.contains('/'));
    of_layer || is_named_last(path)
}

/// The files that a machine said were to stay: lines `holds <digest>  ./<path>`, as `sha256sum` prints them.
pub fn told(lines: &[String]) -> Files {
    let one = |line: &String| {
        let (digest, path) = line.strip_prefix("holds ")?.split_once("  ./")?;
        is_to_stay(path).then(|| (path.to_owned(), format!("sha256:{digest}")))
    };
    lines.iter().filter_map(one).collect()
}

/// What is wrong with a root, of which `before` was there when everything was at rest.
pub fn wrong(root: &Path, before: &Files) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found = Files::new();
    let mut damaged = BTreeSet::new();
    look(root, "", &mut |path, bytes| {
        if let Some(why) = damage(path, bytes).filter(|_| is_named_last(path)) {
            damaged.insert(path.to_owned());
            wrong.push(why);
        }
        found.insert(path.to_owned(), digest(bytes));
    });
    for (path, content) in before.iter().filter(|(path, _)| !damaged.contains(*path)) {
        match found.get(path) {
            None => wrong.push(format!("{path} was there when the machine was at rest, and is gone")),
            Some(now) if now != content => {
                wrong.push(format!("{path} holds something else than when the machine was at rest"));
            }
            Some(_) => {}
        }
    }
    wrong
}

/// Why a file that has its name does not hold what it should.
fn damage(path: &str, bytes: &[u8]) -> Option<String> {
    let why = if let Some(expected) = path.strip_prefix("images/blobs/sha256/") {
        (digest(bytes) != format!("sha256:{expected}")).then(|| "its bytes have another digest".to_owned())
    } else if path.ends_with(".json") {
        serde_json::from_slice::<serde_json::Value>(bytes).err().map(|error| error.to_string())
    } else {
        bytes.is_empty().then(|| "it is empty".to_owned())
    };
    why.map(|why| format!("{path} ({} bytes) got its name before it was on the disk: {why}", bytes.len()))
}

fn look(root: &Path, below: &str, see: &mut impl FnMut(&str, &[u8])) {
    let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            look(root, &format!("{path}/"), see);
        } else if kind.is_file() {
            see(&path, &std::fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn what_a_cut_has_damaged_or_taken_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &str| {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), bytes).unwrap();
    };
    put("instance", "");
    put("pods/a/record.json", "");
    put("pods/b/record.json", "{}");
    put("pods/c/.record.json", "");
    put("pods/c/started.json", "");
    put("images/layers/x/bin/sh", "");
    put(&format!("images/blobs/{}", digest(b"x").replace(':', "/")), "y");
    let line = |path: &str| format!("holds {}  ./{path}", &digest(b"{}")[7..]);
    let lines = ["pods/b/record.json", "pods/c/record.json", "pods/c/started.json", "images/layers/x/bin/sh"].map(line);
    let mut found: Vec<String> = wrong(dir.path(), &told(&lines)).iter().map(|line| line[..22].to_owned()).collect();
    found.sort();
    let expected = [
        "images/blobs/sha256/2d",
        "images/layers/x/bin/sh",
        "instance (0 bytes) got",
        "pods/a/record.json (0 ",
        "pods/c/record.json was",
    ];
    assert_eq!(found, expected);
}
