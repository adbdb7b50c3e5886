//! Reads single files of an image below its layers, as the overlay would show them: upper layers first, whiteouts and
//! opaque directories respected, symbolic links resolved within the image. Images are foreign: nothing leads out.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::sys::beneath::{Dir, is_type};

/// As the kernel: more links are a loop.
const MOST_LINKS: usize = 40;
/// Set by whoever unpacked the layer; what lower layers have in such a directory is hidden.
const OPAQUE: &str = "trusted.overlay.opaque";
const LONGEST_LINK: usize = 4096;

/// Where the merged view has something: in which layer, and what it is.
struct Found {
    layer: usize,
    path: PathBuf,
    stat: Stat,
}

/// What one layer says about a path without symbolic links before its last component.
enum Says {
    /// It has it.
    Here(Box<Stat>),
    /// Ask the layer below.
    Nothing,
    /// It is not there, whatever the layers below have.
    Hidden,
}

/// The layers of an image, the topmost first.
pub(super) struct Rootfs {
    layers: Vec<Dir>,
}

impl Rootfs {
    /// Opens the layers.
    pub(super) fn open(lowers: &[PathBuf]) -> io::Result<Self> {
        Ok(Self { layers: lowers.iter().map(|l| Dir::open(l)).collect::<io::Result<_>>()? })
    }

    /// The content of a regular file, `None` when there is none.
    ///
    /// # Errors
    /// From the system; `InvalidData` when it is larger than `limit`.
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(found) = self.find(path)? else { return Ok(None) };
        if !is_type(&found.stat, FileType::RegularFile) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.layers[found.layer].open_file(&found.path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let message = format!("{} of the image is larger than {limit} bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Some(bytes))
    }

    /// Owner, group and permission bits of a directory, `None` when there is none.
    pub(super) fn directory(&self, path: &Path) -> io::Result<Option<(u32, u32, u32)>> {
        let found = self.find(path)?.filter(|f| is_type(&f.stat, FileType::Directory));
        Ok(found.map(|f| (f.stat.st_uid, f.stat.st_gid, f.stat.st_mode & 0o7777)))
    }

    /// Resolves a path in the merged view.
    fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let mut todo: VecDeque<OsString> = components(path);
        let mut at = PathBuf::new();
        let mut links = 0;
        let mut last = None;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                at.pop();
                last = None;
                continue;
            }
            let next = at.join(&name);
            let Some((layer, stat)) = self.lookup(&next)? else { return Ok(None) };
            if is_type(&stat, FileType::Symlink) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "too many symbolic links in the image"));
                }
                let target = self.read_link(layer, &next)?;
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                for name in components(&target).into_iter().rev() {
                    todo.push_front(name);
                }
                last = None;
                continue;
            }
            at = next;
            last = Some((layer, stat));
        }
        Ok(last.map(|(layer, stat)| Found { layer, path: at, stat }))
    }

    /// The topmost layer that has the path, whose parents are directories.
    fn lookup(&self, path: &Path) -> io::Result<Option<(usize, Stat)>> {
        for (number, layer) in self.layers.iter().enumerate() {
            match says(layer, path)? {
                Says::Here(stat) => return Ok(Some((number, *stat))),
                Says::Nothing => {}
                Says::Hidden => return Ok(None),
            }
        }
        Ok(None)
    }

    fn read_link(&self, layer: usize, path: &Path) -> io::Result<PathBuf> {
        let parent = self.layers[layer].sub(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default();
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        if target.as_bytes().len() > LONGEST_LINK {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a symbolic link of the image is too long"));
        }
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }
}

/// The names on the way, `.` left out.
fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn says(layer: &Dir, path: &Path) -> io::Result<Says> {
    let mut at = PathBuf::new();
    let mut opaque = false;
    let count = path.components().count();
    for (number, name) in path.components().enumerate() {
        at.push(name);
        let Some(stat) = layer.stat(&at)? else {
            return Ok(if opaque { Says::Hidden } else { Says::Nothing });
        };
        if is_whiteout(&stat) {
            return Ok(Says::Hidden);
        }
        if number + 1 == count {
            return Ok(Says::Here(Box::new(stat)));
        }
        if !is_type(&stat, FileType::Directory) {
            return Ok(Says::Hidden);
        }
        opaque |= is_opaque(layer, &at)?;
    }
    Ok(Says::Nothing)
}

fn is_whiteout(stat: &Stat) -> bool {
    is_type(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}

fn is_opaque(layer: &Dir, path: &Path) -> io::Result<bool> {
    let dir = layer.sub(path)?;
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(&dir, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP | rustix::io::Errno::RANGE) => Ok(false),
        // Without the right to see it nothing is known; overlay could not be mounted either.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
