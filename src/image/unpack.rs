//! One layer's tar stream becomes a directory that overlay takes as a lower layer.
//!
//! The archive is hostile until proven otherwise. Every write happens below the layer's own directory handle, no
//! symbolic link is followed, device nodes are refused, and whiteouts become what overlayfs understands.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Timespec, Timestamps};
use rustix::io::Errno;

use super::room::Room;
use super::stream::{plain, refused};
use super::tarball::{Entry, EntryKind, Tarball};
use crate::sys::beneath::{Dir, is_type};
use crate::sys::effect;

/// Directories one inside another.
const MAX_DEPTH: usize = 256;
/// NAME_MAX of Linux.
const MAX_NAME: usize = 255;
/// Blocks of zeros of this size become holes.
const HOLE: usize = 4096;
/// What a directory passes on to what is made in it.
const DEFAULT_LIST: &[u8] = b"system.posix_acl_default";
/// Bytes of such lists that are kept until they are set.
const MOST_LISTS: usize = 16 << 20;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

/// Unpacks a stream into `root`. `lower` are the layers below, topmost first: a directory that only they have an entry
/// for takes mode and owner from there. It ends before the file system has less free than its reserve.
pub(super) fn unpack<R: Read>(tarball: &mut Tarball<R>, root: &Dir, lower: &[Dir]) -> io::Result<()> {
    let mut layer = Layer {
        root,
        lower,
        room: Room::of(root),
        parent: None,
        times: Vec::new(),
        lists: BTreeMap::new(),
        list_bytes: 0,
    };
    while let Some(entry) = tarball.next()? {
        let path = clean(&entry.path)?;
        layer
            .entry(tarball, &entry, &path)
            .map_err(|error| io::Error::new(error.kind(), Placed { path: path.clone(), error }))?;
    }
    layer.finish()
}

/// An error with the entry it is about.
#[derive(Debug)]
struct Placed {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry /{}: {}", plain(&self.path.display().to_string()), self.error)
    }
}

impl std::error::Error for Placed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Whether an error says that the archive is refused, at whatever depth, as opposed to a failing machine.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    if inner.is::<super::stream::Refused>() {
        return true;
    }
    inner.downcast_ref::<Placed>().is_some_and(|placed| is_refusal(&placed.error))
}

/// A name of the archive as a relative path: leading `/` and `./` are dropped, `..` is refused.
pub(super) fn clean(name: &[u8]) -> io::Result<PathBuf> {
    let given = Path::new(OsStr::from_bytes(name));
    let mut path = PathBuf::new();
    for component in given.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) if part.len() <= MAX_NAME => path.push(part),
            Component::Normal(_) => return Err(refused(format!("a name is longer than {MAX_NAME} bytes"))),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(format!("the path {} leads out of the archive", given.display())));
            }
        }
    }
    if path.components().count() > MAX_DEPTH {
        return Err(refused(format!("directories are nested deeper than {MAX_DEPTH}")));
    }
    Ok(path)
}

struct Layer<'a> {
    root: &'a Dir,
    lower: &'a [Dir],
    room: Room<'a>,
    /// The directory written to last: entries come sorted by directory.
    parent: Option<(PathBuf, Dir)>,
    /// Times of directories, set when nothing is written any more.
    times: Vec<(PathBuf, (i64, u32))>,
    /// The same of their default access lists: every entry says itself what its own list is, and inherits none.
    lists: BTreeMap<PathBuf, Vec<u8>>,
    /// Of all that there were.
    list_bytes: usize,
}

impl Layer<'_> {
    fn entry<R: Read>(&mut self, tarball: &mut Tarball<R>, entry: &Entry, path: &Path) -> io::Result<()> {
        self.room.take(entry.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum())?;
        let Some(name) = path.file_name() else {
            if entry.kind != EntryKind::Directory {
                return Err(refused("the root of the layer is no directory"));
            }
            self.set_later(PathBuf::new(), entry)?;
            return set_attributes(self.root, entry);
        };
        let above = path.parent().unwrap_or(Path::new(""));
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(above, name.as_bytes());
        }
        self.enter(above)?;
        if entry.kind == EntryKind::Directory {
            self.directory(name, path, entry)?;
            self.parent = None;
            return Ok(());
        }
        let dir = self.here();
        dir.remove_tree(name)?;
        match entry.kind {
            EntryKind::File => file((dir, name), tarball, entry, &self.room),
            EntryKind::HardLink => self.hard_link(name, entry),
            EntryKind::Symlink => symbolic_link(dir, name, entry),
            EntryKind::Fifo => special(dir, name, entry),
            EntryKind::Device => {
                Err(refused("it is a device node; images bring no devices, /dev is made for each container"))
            }
            EntryKind::Directory => Ok(()),
        }
    }

    fn here(&self) -> &Dir {
        self.parent.as_ref().map_or(self.root, |(_, dir)| dir)
    }

    /// Makes `path` the directory that is written to, with every parent that is missing.
    fn enter(&mut self, path: &Path) -> io::Result<()> {
        if self.parent.as_ref().is_some_and(|(at, _)| at == path) {
            return Ok(());
        }
        self.parent = None;
        let mut dir = self.root.sub(Path::new("."))?;
        let mut walked = PathBuf::new();
        for name in path.components() {
            walked.push(name);
            let name = Path::new(name.as_os_str());
            dir = match dir.sub(name) {
                Ok(next) => next,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.implied(&dir, name, &walked)?,
                Err(error) if is_not_a_directory(&error) => {
                    return Err(refused(format!(
                        "its path passes through /{}, which is no directory",
                        walked.display()
                    )));
                }
                Err(error) => return Err(error),
            };
        }
        self.parent = Some((path.to_owned(), dir));
        Ok(())
    }

    /// A directory without an entry of its own: as the layers below have it.
    fn implied(&mut self, dir: &Dir, name: &Path, path: &Path) -> io::Result<Dir> {
        let below = self.below(path)?;
        if below.as_ref().is_some_and(|stat| is_type(stat, FileType::Symlink)) {
            return Err(refused(format!(
                "its path passes through /{}, a symbolic link of a lower layer",
                path.display()
            )));
        }
        self.room.take(0)?;
        let made = dir.make_sub(name, 0o755)?;
        if let Some(stat) = below.filter(|stat| is_type(stat, FileType::Directory)) {
            effect::change_owner(&made, stat.st_uid, Some(stat.st_gid))?;
            effect::change_mode(&made, stat.st_mode)?;
            self.times.push((path.to_owned(), (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))));
        } else {
            self.times.push((path.to_owned(), (0, 0)));
        }
        Ok(made)
    }

    /// What the topmost layer below that has `path` has there.
    fn below(&self, path: &Path) -> io::Result<Option<rustix::fs::Stat>> {
        for lower in self.lower {
            match lower.stat(path) {
                Ok(None) => {}
                Ok(Some(stat)) => return Ok(Some(stat)),
                Err(error) if is_not_a_directory(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn whiteout(&mut self, above: &Path, name: &[u8]) -> io::Result<()> {
        if name == OPAQUE {
            self.enter(above)?;
            return set_opaque(self.here());
        }
        if name.starts_with(AUFS) {
            // Book-keeping of AUFS, meaningless elsewhere.
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name[WHITEOUT.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(refused("a whiteout without a name"));
        }
        if self.below(&above.join(hidden))?.is_none() {
            // Nothing to hide; a whiteout in a directory that is not merged would show up as a device.
            return Ok(());
        }
        self.enter(above)?;
        let dir = self.here();
        match dir.stat(Path::new(hidden))? {
            // A whiteout speaks of the layers below: what this layer has stays, and a directory hides theirs.
            Some(stat) if is_type(&stat, FileType::Directory) => set_opaque(&dir.sub(Path::new(hidden))?),
            Some(_) => Ok(()),
            None => effect::make_node_at(dir, hidden, FileType::CharacterDevice, 0),
        }
    }

    fn directory(&mut self, name: &OsStr, path: &Path, entry: &Entry) -> io::Result<()> {
        let dir = self.here();
        let there = dir.stat(Path::new(name))?;
        let is_dir = there.as_ref().is_some_and(|s| is_type(s, FileType::Directory));
        let was_whiteout = there.as_ref().is_some_and(|s| is_type(s, FileType::CharacterDevice));
        if !is_dir {
            dir.remove_tree(name)?;
        }
        let made = dir.make_sub(Path::new(name), 0o700)?;
        if was_whiteout {
            set_opaque(&made)?;
        }
        set_attributes(&made, entry)?;
        self.set_later(path.to_owned(), entry)
    }

    /// Remembers what of a directory is set at the end.
    fn set_later(&mut self, path: PathBuf, entry: &Entry) -> io::Result<()> {
        self.times.push((path.clone(), entry.mtime));
        self.lists.remove(&path);
        if let Some((_, list)) = entry.xattrs.iter().find(|(name, _)| name == DEFAULT_LIST) {
            self.list_bytes += list.len();
            if self.list_bytes > MOST_LISTS {
                return Err(refused(format!("default access lists are longer than {MOST_LISTS} bytes together")));
            }
            self.lists.insert(path, list.clone());
        }
        Ok(())
    }

    fn hard_link(&self, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let target = clean(&entry.link)?;
        let missing = || refused(format!("it is a hard link to /{}, which this layer does not have", target.display()));
        let file = target.file_name().ok_or_else(missing)?;
        let from = match self.root.sub(target.parent().unwrap_or(Path::new(""))) {
            Ok(dir) => dir,
            Err(error) if is_not_a_directory(&error) || error.kind() == io::ErrorKind::NotFound => {
                return Err(missing());
            }
            Err(error) => return Err(error),
        };
        match from.stat(Path::new(file))? {
            Some(stat) if is_type(&stat, FileType::Directory) || is_type(&stat, FileType::CharacterDevice) => {
                return Err(refused(format!("it is a hard link to /{}, which is no file", target.display())));
            }
            Some(_) => {}
            None => return Err(missing()),
        }
        effect::link_at((&from, file), (self.here(), name))
    }

    fn finish(self) -> io::Result<()> {
        for (path, list) in &self.lists {
            if let Some(dir) = self.still(path)? {
                effect::set_attribute(&dir, DEFAULT_LIST, list)?;
            }
        }
        for (path, mtime) in self.times.iter().rev() {
            if let Some(dir) = self.still(path)? {
                effect::change_times(&dir, &times(*mtime))?;
            }
        }
        Ok(())
    }

    /// A directory, unless a later entry replaced it by something else.
    fn still(&self, path: &Path) -> io::Result<Option<Dir>> {
        match self.root.sub(path) {
            Err(error) if is_not_a_directory(&error) || error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

fn is_not_a_directory(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::LOOP | Errno::NOTDIR | Errno::XDEV))
}

fn set_opaque(dir: &Dir) -> io::Result<()> {
    effect::set_attribute(dir, b"trusted.overlay.opaque", b"y")
}

fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: i64::from(mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}

/// Owner, mode, extended attributes: in this order, since a change of owner clears set-id bits and capabilities. What a
/// directory passes on is set later.
fn set_attributes(fd: impl std::os::fd::AsFd, entry: &Entry) -> io::Result<()> {
    effect::change_owner(&fd, entry.uid, Some(entry.gid))?;
    effect::change_mode(&fd, entry.mode)?;
    for (name, value) in &entry.xattrs {
        if !keeps_xattr(name)? || entry.kind == EntryKind::Directory && name == DEFAULT_LIST {
            continue;
        }
        effect::set_attribute(&fd, name, value)?;
    }
    Ok(())
}

/// Labels belong to the machine that sets them and are left out; `trusted.` attributes steer overlayfs and are refused.
fn keeps_xattr(name: &[u8]) -> io::Result<bool> {
    let labels: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];
    if labels.contains(&name) {
        return Ok(false);
    }
    if name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") {
        return Ok(true);
    }
    Err(refused(format!("it has the extended attribute {}, which images may not set", String::from_utf8_lossy(name))))
}

fn file<R: Read>(
    (dir, name): (&Dir, &OsStr),
    tarball: &mut Tarball<R>,
    entry: &Entry,
    room: &Room<'_>,
) -> io::Result<()> {
    let mut file = dir.create_file(name, 0o600)?;
    match &entry.sparse {
        Some((length, pieces)) => {
            for (offset, size) in pieces {
                file.seek(SeekFrom::Start(*offset))?;
                io::copy(&mut tarball.data().take(*size), &mut room.writer(&file))?;
            }
            effect::set_length(&file, *length)?;
        }
        None => copy_with_holes(&mut tarball.data(), &mut file, room)?,
    }
    set_attributes(&file, entry)?;
    effect::change_times(&file, &times(entry.mtime))
}

/// Copies, leaving long runs of zeros as holes.
fn copy_with_holes(data: &mut impl Read, file: &mut File, room: &Room<'_>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0_u64;
    loop {
        let read = fill(data, &mut buffer)?;
        if read == 0 {
            break;
        }
        length += read as u64;
        if read == buffer.len() && buffer.chunks(HOLE).all(|c| c.iter().all(|b| *b == 0)) {
            file.seek(SeekFrom::Current(i64::try_from(read).unwrap_or(0)))?;
        } else {
            room.take(read as u64)?;
            effect::write(file, &buffer[..read])?;
        }
    }
    effect::set_length(file, length)
}

fn fill(data: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match data.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn symbolic_link(dir: &Dir, name: &OsStr, entry: &Entry) -> io::Result<()> {
    if entry.link.is_empty() {
        return Err(refused("a symbolic link without a target"));
    }
    if entry.xattrs.iter().any(|(name, _)| !matches!(keeps_xattr(name), Ok(false))) {
        return Err(refused("a symbolic link with extended attributes"));
    }
    effect::symlink_at(OsStr::from_bytes(&entry.link), dir, name)?;
    finish_without_opening(dir, name, entry)
}

fn special(dir: &Dir, name: &OsStr, entry: &Entry) -> io::Result<()> {
    effect::make_node_at(dir, name, FileType::Fifo, entry.mode)?;
    finish_without_opening(dir, name, entry)?;
    effect::change_mode_at(dir, name, entry.mode)
}

fn finish_without_opening(dir: &Dir, name: &OsStr, entry: &Entry) -> io::Result<()> {
    effect::change_owner_at(dir, name, entry.uid, entry.gid)?;
    effect::change_times_at(dir, name, &times(entry.mtime))
}
