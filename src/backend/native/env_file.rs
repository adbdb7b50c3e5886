//! Variables that a container takes from files of its pod's volumes (`valueFrom.fileKeyRef`), which other containers have written
//! and may be changing: what is opened is below the volume, a plain file, and read up to a bound.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Inner;
use crate::model::{ContainerStart, PodUid, late};
use crate::sys::beneath::{self, Dir};
use crate::sys::bounded;

/// The largest file that is read: all that a container starts with has less room.
const LIMIT: u64 = 1 << 20;

/// A start with the values that its files have now.
///
/// # Errors
/// In the kubelet's words (`CreateContainerConfigError`).
pub(super) fn bind<'a>(
    inner: &Inner,
    uid: &PodUid,
    start: &'a ContainerStart,
) -> Result<Cow<'a, ContainerStart>, String> {
    if start.late.is_empty() {
        return Ok(Cow::Borrowed(start));
    }
    let values = late::read(&start.late, |volume, path| {
        let place = inner.volumes.open(uid, volume).map_err(|error| told(&error))?;
        read(&place.ok_or("the volume was not made")?, path)
    });
    start.with_late(&values?).map(Cow::Owned)
}

fn read(volume: &Dir, path: &str) -> Result<String, String> {
    let bytes = open(volume, Path::new(path)).and_then(|file| bounded::read(file, LIMIT));
    let bytes = bytes.map_err(|error| told(&error))?;
    let bytes = bytes.ok_or_else(|| format!("it is larger than {LIMIT} bytes"))?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

/// What is wrong, in words that say what a container has done.
fn told(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::XDEV) => "something is mounted there".to_owned(),
        Some(Errno::WOULDBLOCK) => "a process has a lease on it".to_owned(),
        _ => error.to_string(),
    }
}

/// Opens a file as a process would whose root directory is the volume. Nothing is waited for: what serves a mount in it, or has a
/// lease on the file, may never answer.
fn open(volume: &Dir, path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(volume, path, flags, Mode::empty(), resolve) {
            // A rename raced with the walk; the kernel asks to try again.
            Err(rustix::io::Errno::AGAIN) => {}
            other => return beneath::open_regular(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_found_below_its_volume_and_nothing_else_is_opened() {
        let temp = tempfile::tempdir().unwrap();
        let (volume, outside) = (temp.path().join("volume"), temp.path().join("file"));
        std::fs::create_dir_all(volume.join("dir")).unwrap();
        std::fs::write(&outside, "outside").unwrap();
        std::fs::write(volume.join("file"), "inside").unwrap();
        std::fs::write(volume.join("bytes"), [0xff]).unwrap();
        std::fs::write(volume.join("large"), vec![b' '; 1 + (1 << 20)]).unwrap();
        symlink("/file", volume.join("absolute")).unwrap();
        symlink("../../file", volume.join("dir/up")).unwrap();
        symlink("/dev/zero", volume.join("device")).unwrap();
        symlink("loop", volume.join("loop")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, volume.join("pipe"), fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        let volume = Dir::open(&volume).unwrap();
        for path in ["file", "/file", "./file", "absolute", "dir/up", "dir/../../file"] {
            assert_eq!(read(&volume, path).as_deref(), Ok("inside"), "{path}");
        }
        for path in ["none", "dir", "pipe", "device", "loop", "file/x", "bytes", "large", ""] {
            assert!(read(&volume, path).is_err(), "{path}");
        }
    }
}
