//! Which names are read, and which paths are kept out of the way.

use std::collections::BTreeSet;

/// The file that excludes manifests, in gitignore's syntax.
pub(super) const IGNORE_FILE: &str = ".podwrightignore";

/// What a person may write manifests in.
pub(super) const EXTENSIONS: [&str; 3] = [".yaml", ".yml", ".json"];

/// The first line of every status file: whoever finds one among manifests knows it is none.
pub(super) const STATUS_MARK: &str = "# Written by podwright, never read back.\n";

/// Whether a file of this name may hold manifests.
pub(super) fn is_manifest(name: &str) -> bool {
    !is_hidden(name) && EXTENSIONS.iter().any(|e| name.ends_with(e))
}

/// Whether entries of this name are skipped: `.git`, an editor's files, and our own temporary files.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether a path has control characters.
pub(super) fn has_controls(path: &str) -> bool {
    // Nearly all paths are plain, which is seen without decoding them.
    let is_plain = path.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    !is_plain && path.chars().any(char::is_control)
}

/// Whether the bytes are a status file of ours.
pub(super) fn is_status(bytes: &[u8]) -> bool {
    bytes.starts_with(STATUS_MARK.as_bytes())
}

/// The name of the temporary file beside a status file. It is hidden, so it is never taken for a manifest.
pub(super) fn temporary(name: &str) -> String {
    format!(".{name}.podwright-tmp")
}

/// `dir` and `name` with a slash between them, where there is a `dir`.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        return name.to_owned();
    }
    let mut path = String::with_capacity(dir.len() + 1 + name.len());
    path.push_str(dir);
    path.push('/');
    path.push_str(name);
    path
}

/// The members of `paths` that are exactly `dir/x` or lie below it, with the part after `dir/`.
pub(super) fn below<'a>(paths: &'a BTreeSet<String>, dir: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    paths
        .range(prefix.clone()..)
        .map(String::as_str)
        .map_while(move |p| p.strip_prefix(prefix.as_str()).map(|rest| (p, rest)))
}
