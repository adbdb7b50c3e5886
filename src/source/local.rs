//! Objects that were provisioned on the machine itself, in a directory of the root: `<plural>/<namespace>/<name>`, one file
//! each, as JSON. Only their owner reads them, for most are Secrets.
//!
//! What lies there and is no such file, and what cannot be read, is told of: nothing that somebody put there by hand is left out
//! in silence, and nothing of it holds up the manifests.

use std::io;
use std::path::Path;

use super::disk::{Handle, content};
use super::limits::Limits;
use super::name::is_hidden;
use super::walk::{Content, Kind};
use crate::model::{Provisioned, SourceFile};

/// What the paths of such objects begin with where manifests have theirs.
const TOP: &str = "local";

/// Directories of an object's file: its kind, its namespace.
const DEPTH: usize = 2;

/// Reads every object of the machine, as far as it can be read and `limits` allow. Where nothing was ever provisioned there is
/// none.
pub fn read_local(top: &Path, limits: &Limits) -> Provisioned {
    let mut found = Provisioned::default();
    match Handle::open(top) {
        Ok(handle) => walk(&handle, limits, &mut found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => found.left_out.push((TOP.to_owned(), error.to_string())),
    }
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(handle: &Handle, limits: &Limits, found: &mut Provisioned) {
    let mut left = (limits.entries, limits.files, limits.total_bytes);
    let mut queue = vec![(String::new(), 0)];
    while let Some((dir, depth)) = queue.pop() {
        let mut entries = match handle.list(Path::new(&dir)) {
            Ok(entries) => entries,
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                found.left_out.push((shown(&dir), error.to_string()));
                continue;
            }
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries.iter().filter(|entry| !is_hidden(&entry.name)) {
            let path = if dir.is_empty() { entry.name.to_string() } else { format!("{dir}/{}", entry.name) };
            let Some(entries) = left.0.checked_sub(1) else { return found.left_out.push(beyond(&path, limits)) };
            left.0 = entries;
            match entry.kind {
                Kind::Directory if depth < DEPTH && entry.exact => queue.push((path, depth + 1)),
                Kind::File if depth == DEPTH && entry.exact => {
                    let most = limits.file_bytes.min(left.2);
                    match handle.file(Path::new(&path)).and_then(|file| content(file, most)) {
                        Ok(Content::Bytes(blob, bytes)) => {
                            let Some(files) = left.1.checked_sub(1) else {
                                return found.left_out.push(beyond(&path, limits));
                            };
                            (left.1, left.2) = (files, left.2.saturating_sub(bytes.len() as u64));
                            found.files.push(SourceFile { path: shown(&path).into(), blob, bytes });
                        }
                        Ok(Content::TooLarge(_)) => found.left_out.push(beyond(&path, limits)),
                        Ok(Content::Gone) => {}
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => found.left_out.push((shown(&path), error.to_string())),
                    }
                }
                _ => found.left_out.push((shown(&path), "it is no file of an object".to_owned())),
            }
        }
    }
}

/// As manifests are called, which have their paths in the same messages.
fn shown(path: &str) -> String {
    if path.is_empty() { TOP.to_owned() } else { format!("{TOP}/{path}") }
}

fn beyond(path: &str, limits: &Limits) -> (String, String) {
    let Limits { files, total_bytes, file_bytes, .. } = limits;
    let why = format!("there is room for {files} objects of {file_bytes} bytes each and {total_bytes} together");
    (shown(path), why)
}

#[cfg(target_os = "linux")]
mod change {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;

    use rustix::fs::{AtFlags, FlockOperation};

    use super::{Limits, read_local};
    use crate::model::ObjectKey;
    use crate::port::{ErrorKind, PortError};
    use crate::sys::beneath::Dir;
    use crate::sys::effect;

    const WRITE: &str = "write the object";
    /// Only the owner enters.
    const MODE: u32 = 0o700;

    /// Writes an object of the machine: whatever happens meanwhile, the old one is there or the new one. Whether there was one.
    ///
    /// # Errors
    /// `Conflict` when there is one that is not to be replaced; `Exhausted` when it would not be read; when it cannot be written.
    pub fn provision(top: &Path, key: &ObjectKey, bytes: &[u8], replace: bool) -> Result<bool, PortError> {
        let failed = |e: io::Error| PortError::io(WRITE, subject(top, key), &e);
        let base = Dir::make(top, MODE).map_err(failed)?;
        let _alone = lock(&base).map_err(failed)?;
        let path = Path::new(key.kind.plural()).join(&key.namespace);
        let is_there = base.stat(&path.join(&key.name)).map_err(failed)?.is_some();
        if is_there && !replace {
            let object = format!("{} {:?}", key.kind.plural(), key.name);
            let message = "it already exists on this machine";
            return Err(PortError::new(ErrorKind::Conflict, "create", object, message)
                .with_help("--replace puts this one in its place"));
        }
        has_room(top, key, bytes)?;
        let write = || {
            let (kind, last) = (base.make_sub(Path::new(key.kind.plural()), MODE)?, base.make_sub(&path, MODE)?);
            effect::replace(&last, &key.name, bytes)?;
            // The names of directories that are new; and of the first one, in the root.
            [&kind, &base].into_iter().try_for_each(|dir| effect::sync(dir))?;
            top.parent().map_or(Ok(()), |root| effect::sync(&Dir::open(root)?))
        };
        write().map_err(failed)?;
        Ok(is_there)
    }

    /// What would be left out when it is read is not written.
    fn has_room(top: &Path, key: &ObjectKey, bytes: &[u8]) -> Result<(), PortError> {
        let limits = Limits::default();
        let known = read_local(top, &limits).files;
        let own = super::shown(&format!("{}/{}/{}", key.kind.plural(), key.namespace, key.name));
        let others = || known.iter().filter(|file| *file.path != *own);
        let total = others().map(|file| file.bytes.len() as u64).sum::<u64>() + bytes.len() as u64;
        if total <= limits.total_bytes && others().count() < limits.files {
            return Ok(());
        }
        let message = format!("there is room for {} objects and {} bytes", limits.files, limits.total_bytes);
        Err(PortError::new(ErrorKind::Exhausted, WRITE, subject(top, key), message)
            .with_help("remove others (`podwright secret ls -A`, `podwright secret rm`)"))
    }

    /// Removes an object of the machine, and what was left of writing one. Whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn withdraw(top: &Path, key: &ObjectKey) -> Result<bool, PortError> {
        let remove = || {
            let base = Dir::open(top)?;
            let _alone = lock(&base)?;
            let dir = base.sub(Path::new(key.kind.plural()))?.sub(Path::new(&key.namespace))?;
            let gone = |name: &str| match effect::remove_at(&dir, name, AtFlags::empty()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                other => other.map(|()| true),
            };
            let (rest, object) = (gone(&effect::temporary(&key.name))?, gone(&key.name)?);
            if rest || object {
                effect::sync(&dir)?;
            }
            Ok(object)
        };
        match remove() {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(false),
            other => other.map_err(|error| PortError::io("remove the object", subject(top, key), &error)),
        }
    }

    /// Nobody else writes there until it is dropped.
    fn lock(base: &Dir) -> io::Result<OwnedFd> {
        let own = base.sub(Path::new("."))?.as_fd().try_clone_to_owned()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&own, FlockOperation::LockExclusive))?;
        Ok(own)
    }

    fn subject(top: &Path, key: &ObjectKey) -> String {
        top.join(key.kind.plural()).join(&key.namespace).join(&key.name).display().to_string()
    }
}

#[cfg(target_os = "linux")]
pub use change::{provision, withdraw};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_read_or_told_of() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("local");
        let limits = Limits { file_bytes: 10, total_bytes: 15, files: 2, entries: 12, ..Limits::default() };
        assert_eq!(read_local(&top, &limits), Provisioned::default());
        std::fs::create_dir_all(top.join("secrets/a/deeper/still")).unwrap();
        std::fs::write(top.join("secrets/a/one"), "{}").unwrap();
        std::fs::write(top.join("secrets/a/.two"), "under way").unwrap();
        std::fs::write(top.join("stray"), "1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", top.join("secrets/a/link")).unwrap();
        let seen = |limits: &Limits| {
            let Provisioned { files, left_out } = read_local(&top, limits);
            let name = |path: &str| path.strip_prefix("local/").unwrap().to_owned();
            let mut left_out: Vec<String> = left_out.iter().map(|(path, _)| name(path)).collect();
            left_out.sort();
            (files.iter().map(|file| name(&file.path)).collect::<Vec<_>>(), left_out)
        };
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let strays = ["secrets/a/deeper", "secrets/a/link", "stray"];
        assert_eq!(seen(&limits), (texts(&["secrets/a/one"]), texts(&strays)));
        // What is too large, too many or too much is left out, and the rest is not.
        std::fs::remove_file(top.join("stray")).unwrap();
        for (name, text) in [("two", "12345678901"), ("three", "1234567890"), ("four", "12345")] {
            std::fs::write(top.join("secrets/a").join(name), text).unwrap();
        }
        let strays = |more: &[&str]| texts(&[&["secrets/a/deeper", "secrets/a/link"], more].concat());
        assert_eq!(
            seen(&limits),
            (texts(&["secrets/a/four", "secrets/a/one"]), strays(&["secrets/a/three", "secrets/a/two"]))
        );
        let more = Limits { files: 3, ..limits.clone() };
        assert_eq!(seen(&more).0, texts(&["secrets/a/four", "secrets/a/one"]), "bytes");
        let more = Limits { total_bytes: 17, ..more };
        assert_eq!(seen(&more).0, texts(&["secrets/a/four", "secrets/a/one", "secrets/a/three"]));
        assert_eq!(seen(&Limits { entries: 3, ..more }).1, texts(&["secrets/a/deeper", "secrets/a/four"]));
        // A directory that is none holds up nothing either.
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert_eq!(read_local(&temp.path().join("file"), &limits).left_out.len(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_object_is_there_for_its_owner_alone_until_it_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;

        use crate::model::{Kind, ObjectKey};
        use crate::port::ErrorKind;

        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("local");
        let key = |name: &str| ObjectKey { kind: Kind::Secret, namespace: "default".into(), name: name.into() };
        let longest = "a".repeat(253);
        for (name, bytes) in [("db", &b"old"[..]), ("db", b"new"), (&longest, b"long")] {
            provision(&top, &key(name), bytes, true).unwrap();
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&top), mode(&top.join("secrets/default/db"))), (0o700, 0o600));
        assert_eq!(provision(&top, &key("db"), b"", false).unwrap_err().kind, ErrorKind::Conflict);
        std::fs::write(top.join("secrets/default/.db"), "left of one that was killed").unwrap();
        let read = read_local(&top, &Limits::default()).files;
        assert_eq!(read.iter().map(|file| &*file.bytes).collect::<Vec<_>>(), [&b"long"[..], b"new"]);
        assert!(withdraw(&top, &key("db")).unwrap());
        assert_eq!(std::fs::read_dir(top.join("secrets/default")).unwrap().count(), 1, "nothing of it is left");
        assert!(!withdraw(&top, &key("db")).unwrap());
        assert!(!withdraw(&temp.path().join("none"), &key("db")).unwrap());
        assert_eq!(read_local(&top, &Limits::default()).files.len(), 1);
    }
}
