//! What an image is read from: a layout directory, or an archive staged in a file of the store without a name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::limits::Limits;
use super::room::Room;
use super::stream::{Digesting, decompress, plain, read_bounded, refused};
use super::tarball::{EntryKind, Tarball};
use super::unpack::clean;
use crate::sys::beneath::Dir;

/// Links from one name of an archive to another that are followed: docker's old archives share layers this way.
const MAX_LINKS: usize = 4;

/// Named byte strings.
pub(super) enum Input {
    Layout(Dir),
    Archive(Archive),
}

/// A staged tar with an index of its files.
pub(super) struct Archive {
    file: File,
    files: BTreeMap<PathBuf, Place>,
}

enum Place {
    Bytes { offset: u64, size: u64 },
    Link(PathBuf),
}

impl Input {
    /// Stages an archive, plain or compressed, in `dir`. The file has no name: nothing is left behind, whatever happens.
    pub(super) fn stage(reader: impl Read, dir: &Path, limits: Limits) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR)?);
        let (mut bytes, _) = Digesting::new(decompress(reader)?, limits.archive_bytes, "the archive");
        if io::copy(&mut bytes, &mut Room::of(&file).writer(&file))? == 0 {
            return Err(refused("the archive is empty"));
        }
        let mut archive = Archive { file, files: BTreeMap::new() };
        archive.index(limits)?;
        Ok(Self::Archive(archive))
    }

    /// Whether it has a file of this name.
    pub(super) fn has(&self, path: &str) -> bool {
        self.open(path).is_ok()
    }

    /// Opens a file, with its size.
    pub(super) fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Input::Layout(dir) => {
                let file = dir.open_file(Path::new(path))?;
                let size = file.metadata()?.len();
                Ok((Box::new(BufReader::with_capacity(64 << 10, file)), size))
            }
            Input::Archive(archive) => {
                let (offset, size) = archive.find(&clean(path.as_bytes())?)?;
                Ok((Box::new(Slice { file: &archive.file, at: offset, end: offset + size }), size))
            }
        }
    }

    /// Reads a whole document.
    pub(super) fn read(&self, path: &str, limits: &Limits) -> io::Result<Vec<u8>> {
        read_bounded(self.open(path)?.0, limits.document_bytes, path)
    }
}

impl Archive {
    fn index(&mut self, limits: Limits) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let whole = Slice { file: &self.file, at: 0, end };
        let mut tarball = Tarball::new(BufReader::with_capacity(256 << 10, whole), limits);
        while let Some(entry) = tarball.next()? {
            let path = clean(&entry.path)?;
            let place = match entry.kind {
                EntryKind::File if entry.sparse.is_some() => {
                    return Err(refused(format!("{} is stored as a sparse file", path.display())));
                }
                EntryKind::File => Place::Bytes { offset: tarball.position(), size: entry.size },
                EntryKind::HardLink => Place::Link(clean(&entry.link)?),
                EntryKind::Symlink => Place::Link(beside(&path, &entry.link)?),
                EntryKind::Directory => continue,
                EntryKind::Fifo | EntryKind::Device => {
                    return Err(refused(format!("{} is neither file nor directory", path.display())));
                }
            };
            self.files.insert(path, place);
        }
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<(u64, u64)> {
        let mut path = path;
        for _ in 0..=MAX_LINKS {
            match self.files.get(path) {
                Some(Place::Bytes { offset, size }) => return Ok((*offset, *size)),
                Some(Place::Link(target)) => path = target,
                None => {
                    let message = plain(&format!("the archive has no {}", path.display()));
                    return Err(io::Error::new(io::ErrorKind::NotFound, message));
                }
            }
        }
        Err(refused(format!("{} is a chain of links", path.display())))
    }
}

/// The target of a symbolic link in an archive, `..` resolved within it.
fn beside(path: &Path, link: &[u8]) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let link = Path::new(std::ffi::OsStr::from_bytes(link));
    let mut out = if link.is_absolute() { PathBuf::new() } else { path.parent().unwrap_or(Path::new("")).to_owned() };
    for component in link.components() {
        match component {
            std::path::Component::Normal(part) => out.push(part),
            std::path::Component::ParentDir if !out.pop() => {
                return Err(refused(format!("the link {} leads out of the archive", path.display())));
            }
            _ => {}
        }
    }
    Ok(out)
}

/// A part of a file, read without moving the file's own position.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
