//! Files that are replaced: whatever happens to this process, the old bytes or the new ones are in their place.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{Writer, change_mode, move_at, remove_at, sync, truncate};
use crate::sys::beneath::Dir;

/// The mode of a record: what is in it may be secret.
const RECORD_MODE: u32 = 0o600;

/// What of a file is on the disk when it was replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    Nothing,
    Content,
    Whole,
}

/// A file that gets other bytes, or is made.
pub(crate) struct Replacement<'a> {
    /// Its directory, and its name there.
    pub(crate) file: (&'a Dir, &'a str),
    /// Where the bytes go at first: a name on the same file system that nobody else uses meanwhile.
    pub(crate) via: (&'a Dir, &'a str),
    pub(crate) mode: u32,
    pub(crate) lasting: Lasting,
    /// Others may write to the directory that it goes by: nothing that is there is written to.
    pub(crate) shared: bool,
}

impl Replacement<'_> {
    /// Replaces it by what is written.
    ///
    /// # Errors
    /// From the system or the writer; then the old file is in its place, or the new one without a promise for the next
    /// power cut.
    #[track_caller]
    pub(crate) fn write(&self, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let via = OsStr::new(self.via.1);
        let written = match self.write_aside(text) {
            Ok(()) => move_at((self.via.0, via), (self.file.0, OsStr::new(self.file.1))),
            other => other,
        };
        let written = match written {
            Ok(()) if self.lasting == Lasting::Whole => sync(self.file.0),
            other => other,
        };
        if written.is_err() {
            // Its room may be what others wait for; whether this succeeds changes nothing.
            let _ = remove_at(self.via.0, via, AtFlags::empty());
        }
        written
    }

    #[track_caller]
    fn write_aside(&self, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let file = self.create()?;
        let mut buffer = BufWriter::new(Writer(&file));
        text(&mut buffer)?;
        buffer.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Of what was there before, and of room that was reserved, nothing stays.
        truncate(&file, (&file).stream_position()?)?;
        if file.metadata()?.mode() & 0o7777 != self.mode {
            change_mode(&file, self.mode)?;
        }
        if self.lasting == Lasting::Nothing { Ok(()) } else { sync(&file) }
    }

    #[track_caller]
    fn create(&self) -> io::Result<File> {
        let (dir, via) = (self.via.0, OsStr::new(self.via.1));
        let flags = if self.shared { OFlags::WRONLY | OFlags::EXCL } else { OFlags::WRONLY };
        let create = || dir.make_file(via, flags, self.mode);
        match create() {
            Err(error) if is_one(&error, &[Errno::EXIST]) => remove_at(dir, via, AtFlags::empty())?,
            // Something else than a file.
            Err(error) if is_one(&error, &[Errno::ISDIR, Errno::LOOP]) => dir.remove_tree(via)?,
            other => return other,
        }
        create()
    }
}

fn is_one(error: &io::Error, of: &[Errno]) -> bool {
    of.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Replaces a record in a directory of ours, durably. The bytes go by way of the name with a dot before it: what is left
/// there, and the room that was reserved for it, is taken over.
///
/// # Errors
/// As [`Replacement::write`].
#[track_caller]
pub(crate) fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    record(dir, name, bytes, Lasting::Whole)
}

/// The same, but a power cut may still take the name until the directory is synced: for callers that sync it, with what lies
/// around it, before anything depends on it.
///
/// # Errors
/// As [`Replacement::write`].
#[track_caller]
pub(crate) fn replace_and_sync_later(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    record(dir, name, bytes, Lasting::Content)
}

/// The same for what means nothing after a power cut, or is made anew then: nothing is waited for. Whoever reads while the
/// machine runs meets the old bytes or the new ones; after a power cut there may be either, or something cut short.
///
/// # Errors
/// As [`Replacement::write`].
#[track_caller]
pub(crate) fn replace_for_now(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    record(dir, name, bytes, Lasting::Nothing)
}

/// As [`replace_for_now`], by a path that the caller trusts.
///
/// # Errors
/// As [`Replacement::write`].
#[track_caller]
pub(crate) fn replace_path_for_now(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    replace_for_now(&Dir::open(dir)?, name, bytes)
}

#[track_caller]
fn record(dir: &Dir, name: &str, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    let via = temporary(name);
    let new = Replacement { file: (dir, name), via: (dir, &via), mode: RECORD_MODE, lasting, shared: false };
    new.write(|file| file.write_all(bytes))
}

/// Where the bytes of [`replace`] go at first.
pub(crate) fn temporary(name: &str) -> String {
    format!(".{name}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whatever_is_in_the_way() {
        let temp = tempfile::tempdir().unwrap();
        let (base, outside) = (temp.path().join("dir"), temp.path().join("outside"));
        std::fs::write(&outside, "outside").unwrap();
        let dir = Dir::make(&base, 0o700).unwrap();
        let holds = || std::fs::read_to_string(base.join("x")).unwrap();
        replace(&dir, "x", b"a longer text").unwrap();
        // Left over, and longer than what comes.
        std::fs::write(base.join(".x"), "left over from before").unwrap();
        replace(&dir, "x", b"short").unwrap();
        assert_eq!(holds(), "short");
        std::fs::create_dir_all(base.join(".x/below")).unwrap();
        replace(&dir, "x", b"over a directory").unwrap();
        symlink(&outside, base.join(".x")).unwrap();
        replace(&dir, "x", b"over a link").unwrap();
        assert_eq!(holds(), "over a link");
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 1);
        // What cannot be done leaves nothing.
        std::fs::create_dir(base.join("y")).unwrap();
        assert!(replace(&dir, "y", b"").is_err());
        assert!(!base.join(".y").exists());
    }

    #[test]
    fn a_file_among_those_of_others_gets_its_mode_and_nothing_else_is_written_to() {
        let temp = tempfile::tempdir().unwrap();
        let (base, outside) = (temp.path().join("dir"), temp.path().join("outside"));
        std::fs::write(&outside, "outside").unwrap();
        let dir = Dir::make(&base, 0o700).unwrap();
        let new =
            Replacement { file: (&dir, "x"), via: (&dir, ".y"), mode: 0o644, lasting: Lasting::Whole, shared: true };
        let write = |text: &str| new.write(|file| file.write_all(text.as_bytes()));
        std::fs::hard_link(&outside, base.join(".y")).unwrap();
        write("over a file of another").unwrap();
        symlink(&outside, base.join(".y")).unwrap();
        write("over a link").unwrap();
        assert_eq!(std::fs::read_to_string(base.join("x")).unwrap(), "over a link");
        assert_eq!(std::fs::metadata(base.join("x")).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
        // What is no file of ours stays.
        std::fs::create_dir(base.join(".y")).unwrap();
        assert!(write("").is_err());
        assert!(base.join(".y").exists());
        assert!(new.write(|_| Err(io::ErrorKind::Other.into())).is_err());
        replace_path_for_now(&base.join("z"), b"for now").unwrap();
        assert_eq!(std::fs::read_to_string(base.join("z")).unwrap(), "for now");
    }
}
