//! Writing a file in a directory that may be somebody else's: through handles of directories, so that whatever they put
//! in the way meanwhile leads nowhere else. Paths of directories are without links; a link in one now is a trick.

pub(super) use system::{append, replace};

/// What is to be appended to a text, given what it holds now; `None` when nothing is. `Some("")` makes an empty file.
pub(super) type Addition<'a> = &'a dyn Fn(Option<&str>) -> Option<String>;

/// Writes the text of a file.
pub(super) type Text<'a> = &'a dyn Fn(&mut dyn std::io::Write) -> std::io::Result<()>;

/// Bytes of a file that is still looked through before something is appended.
const MOST_BYTES: u64 = 1 << 20;

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::{Addition, MOST_BYTES, Text};
    use crate::sys::beneath::Dir;
    use crate::sys::effect::{self, Lasting, Replacement};

    fn directory(path: &Path) -> io::Result<Dir> {
        Dir::open(Path::new("/"))?.sub(path.strip_prefix("/").unwrap_or(path))
    }

    /// Replaces the second of `names` by way of the first: it has the old bytes or the new ones, whatever happens.
    pub(in crate::source) fn replace(dir: &Path, names: (&str, &str), text: Text<'_>, mode: u32) -> io::Result<()> {
        let dir = directory(dir)?;
        let (via, file) = ((&dir, names.0), (&dir, names.1));
        Replacement { file, via, mode, lasting: Lasting::Whole, shared: true }.write(text)
    }

    /// Appends to `top/sub/name`, making `sub` and the file when they are missing; they then belong to the owner of
    /// `top`, whoever runs this.
    pub(in crate::source) fn append(top: &Path, sub: &str, name: &str, addition: Addition<'_>) -> io::Result<()> {
        let top = directory(top)?;
        let dir = match top.sub(Path::new(sub)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = top.make_sub(Path::new(sub), 0o755)?;
                give(&dir, &top)?;
                dir
            }
            other => other?,
        };
        let old = match dir.open_file(Path::new(name)) {
            Ok(file) => Some(text_of(file)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(new) = addition(old.as_deref()) else { return Ok(()) };
        let file = dir.append_file(OsStr::new(name), 0o644)?;
        if old.is_none() {
            give(&file, &top)?;
        }
        effect::write(&file, new.as_bytes())?;
        effect::sync(&file)?;
        dir.fsync()
    }

    fn text_of(file: File) -> io::Result<String> {
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn give(made: &impl AsFd, like: &Dir) -> io::Result<()> {
        let owner = rustix::fs::fstat(like)?;
        if rustix::fs::fstat(made)?.st_uid != owner.st_uid {
            effect::change_owner(made, owner.st_uid, Some(owner.st_gid))?;
        }
        Ok(())
    }
}

/// By paths, for systems where no agent runs.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::OpenOptions;
    use std::io::{self, BufWriter, Write};
    use std::path::Path;

    use super::{Addition, MOST_BYTES, Text};

    pub(in crate::source) fn replace(dir: &Path, names: (&str, &str), text: Text<'_>, _mode: u32) -> io::Result<()> {
        let temporary = dir.join(names.0);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(&temporary)?);
        text(&mut file)?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(&temporary, dir.join(names.1))
    }

    pub(in crate::source) fn append(top: &Path, sub: &str, name: &str, addition: Addition<'_>) -> io::Result<()> {
        let path = top.join(sub).join(name);
        let old = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= MOST_BYTES => {
                Some(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned())
            }
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file of bearable size")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(new) = addition(old.as_deref()) else { return Ok(()) };
        std::fs::create_dir_all(top.join(sub))?;
        OpenOptions::new().append(true).create(true).open(&path)?.write_all(new.as_bytes())
    }
}
