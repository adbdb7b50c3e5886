//! Objects that were provisioned on the machine itself, in a directory of the root: `<plural>/<namespace>/<name>`, one file
//! each, as JSON. Only their owner reads them, for most are Secrets.
//!
//! What lies there and is no such file becomes a file without content, about which the reader says something: nothing that
//! somebody put there by hand is left out in silence, and nothing of it holds up the manifests.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Handle, content};
use super::limits::Limits;
use super::name::is_hidden;
use super::walk::{Content, Kind};
use crate::model::{BlobId, SourceFile};
use crate::port::{ErrorKind, PortError};

const READ: &str = "read the objects of this machine";

/// What the paths of such objects begin with where manifests have theirs.
const TOP: &str = "local";

/// Directories of an object's file: its kind, its namespace.
const DEPTH: usize = 2;

/// Reads every object of the machine, sorted by path. Where nothing was ever provisioned there is none.
///
/// # Errors
/// When one cannot be read, or there are more of them than `limits` allow.
pub fn read_local(top: &Path, limits: &Limits) -> Result<Vec<SourceFile>, PortError> {
    let failed = |e: io::Error| PortError::io(READ, top.display().to_string(), &e);
    let handle = match Handle::open(top) {
        Ok(handle) => handle,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    let mut queue = vec![(String::new(), 0)];
    while let Some((dir, depth)) = queue.pop() {
        for entry in handle.list(Path::new(&dir)).map_err(failed)? {
            if is_hidden(&entry.name) {
                continue;
            }
            let path = if dir.is_empty() { entry.name.to_string() } else { format!("{dir}/{}", entry.name) };
            match entry.kind {
                Kind::Directory if depth < DEPTH && entry.exact => queue.push((path, depth + 1)),
                Kind::File if entry.exact => found.push(file(&handle, &path, limits.file_bytes).map_err(failed)?),
                _ => found.push(Some(named(&path, None))),
            }
        }
        if found.len() > limits.files {
            return Err(too_much(top, format!("there are more than {} of them", limits.files)));
        }
    }
    let mut files: Vec<SourceFile> = found.into_iter().flatten().collect();
    if files.iter().map(|file| file.bytes.len() as u64).sum::<u64>() > limits.total_bytes {
        return Err(too_much(top, format!("they have more than {} bytes", limits.total_bytes)));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// `None` when it went away while it was looked for.
fn file(handle: &Handle, path: &str, limit: u64) -> io::Result<Option<SourceFile>> {
    match handle.file(Path::new(path)).and_then(|file| content(file, limit)) {
        Ok(Content::Bytes(blob, bytes)) => Ok(Some(named(path, Some((blob, bytes))))),
        Ok(_) => Ok(Some(named(path, None))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn named(path: &str, content: Option<(BlobId, Arc<[u8]>)>) -> SourceFile {
    let (blob, bytes) = content.unwrap_or_else(|| (BlobId::of_text(path), Arc::default()));
    SourceFile { path: format!("{TOP}/{path}").into(), blob, bytes }
}

fn too_much(top: &Path, message: String) -> PortError {
    PortError::new(ErrorKind::Exhausted, READ, top.display().to_string(), message)
        .with_help("remove some of them (`podwright secret ls -A`, `podwright secret rm`)")
}

#[cfg(target_os = "linux")]
mod change {
    use std::io;
    use std::path::Path;

    use rustix::fs::AtFlags;

    use crate::model::ObjectKey;
    use crate::port::PortError;
    use crate::sys::beneath::Dir;
    use crate::sys::effect;

    /// Only the owner enters.
    const MODE: u32 = 0o700;

    /// Writes an object of the machine, or another one in its place: whatever happens meanwhile, the old one is there or the
    /// new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn provision(top: &Path, key: &ObjectKey, bytes: &[u8]) -> Result<(), PortError> {
        let write = || {
            let mut dirs = vec![Dir::make(top, MODE)?];
            for name in [key.kind.plural(), &key.namespace] {
                let parent = dirs.last().expect("invariant: there is one from the start");
                let next = parent.make_sub(Path::new(name), MODE)?;
                dirs.push(next);
            }
            let last = dirs.last().expect("invariant: there is one from the start");
            effect::replace(last, &key.name, bytes)?;
            // The names of directories that are new; and of the first one, in the root.
            dirs.iter().rev().skip(1).try_for_each(|dir| effect::sync(dir))?;
            top.parent().map_or(Ok(()), |root| effect::sync(&Dir::open(root)?))
        };
        write().map_err(|e: io::Error| PortError::io("write the object", subject(top, key), &e))
    }

    /// Removes an object of the machine. Whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn withdraw(top: &Path, key: &ObjectKey) -> Result<bool, PortError> {
        let remove = || {
            let dir = Dir::open(top)?.sub(Path::new(key.kind.plural()))?.sub(Path::new(&key.namespace))?;
            effect::remove_at(&dir, &key.name, AtFlags::empty())?;
            effect::sync(&dir)
        };
        match remove() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(PortError::io("remove the object", subject(top, key), &error)),
        }
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
        let limits = Limits { file_bytes: 10, total_bytes: 15, files: 4, ..Limits::default() };
        assert_eq!(read_local(&top, &limits).unwrap(), []);
        std::fs::create_dir_all(top.join("secrets/a/deeper/still")).unwrap();
        std::fs::write(top.join("secrets/a/one"), "{}").unwrap();
        std::fs::write(top.join("secrets/a/.two"), "under way").unwrap();
        std::fs::write(top.join("stray"), "eleven byte").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", top.join("secrets/a/link")).unwrap();
        let read = read_local(&top, &limits).unwrap();
        let seen: Vec<(&str, &[u8])> = read.iter().map(|file| (&*file.path, &*file.bytes)).collect();
        let nothing: &[u8] = b"";
        let expected = [
            ("local/secrets/a/deeper", nothing),
            ("local/secrets/a/link", nothing),
            ("local/secrets/a/one", b"{}"),
            ("local/stray", nothing),
        ];
        assert_eq!(seen, expected);
        std::fs::write(top.join("fifth"), "").unwrap();
        assert_eq!(read_local(&top, &limits).unwrap_err().kind, ErrorKind::Exhausted, "files");
        std::fs::remove_file(top.join("fifth")).unwrap();
        std::fs::write(top.join("stray"), "1234567890").unwrap();
        std::fs::write(top.join("secrets/a/one"), "123456").unwrap();
        assert_eq!(read_local(&top, &limits).unwrap_err().kind, ErrorKind::Exhausted, "bytes");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_object_is_there_for_its_owner_alone_until_it_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;

        use crate::model::{Kind, ObjectKey};

        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("local");
        let key = |name: &str| ObjectKey { kind: Kind::Secret, namespace: "default".into(), name: name.into() };
        let longest = "a".repeat(253);
        for (name, bytes) in [("db", &b"old"[..]), ("db", b"new"), (&longest, b"long")] {
            provision(&top, &key(name), bytes).unwrap();
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&top), mode(&top.join("secrets/default/db"))), (0o700, 0o600));
        let read = read_local(&top, &Limits::default()).unwrap();
        assert_eq!(read.iter().map(|file| &*file.bytes).collect::<Vec<_>>(), [&b"long"[..], b"new"]);
        assert!(withdraw(&top, &key("db")).unwrap());
        assert!(!withdraw(&top, &key("db")).unwrap());
        assert!(!withdraw(&temp.path().join("none"), &key("db")).unwrap());
        assert_eq!(read_local(&top, &Limits::default()).unwrap().len(), 1);
    }
}
