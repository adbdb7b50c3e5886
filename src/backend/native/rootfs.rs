//! Reads single files of an image below its layers, as the overlay would show them: upper layers first, whiteouts and
//! opaque directories respected, symbolic links resolved within the image. Images are foreign: nothing leads out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::sys::beneath::{Dir, is_type};
use crate::sys::bounded;
use crate::sys::way::Way;

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
        let bytes = bounded::read(self.layers[found.layer].open_file(&found.path)?, limit)?;
        let large = || format!("{} of the image is larger than {limit} bytes", path.display());
        bytes.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, large()))
    }

    /// Owner, group and permission bits of a directory, `None` when there is none.
    pub(super) fn directory(&self, path: &Path) -> io::Result<Option<(u32, u32, u32)>> {
        let found = self.find(path)?.filter(|f| is_type(&f.stat, FileType::Directory));
        Ok(found.map(|f| (f.stat.st_uid, f.stat.st_gid, f.stat.st_mode & 0o7777)))
    }

    /// Where the path of a directory leads, relative to the root and without a link in it; `None` when there is none.
    pub(super) fn directory_at(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let Some(at) = self.resolve(path)? else { return Ok(None) };
        let is_directory = |(_, stat): (usize, Stat)| is_type(&stat, FileType::Directory);
        let is_one = at.as_os_str().is_empty() || self.lookup(&at)?.is_some_and(is_directory);
        Ok(is_one.then_some(at))
    }

    /// What a path in the merged view leads to; `None` also for the root itself.
    fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let Some(path) = self.resolve(path)? else { return Ok(None) };
        let found = self.lookup(&path)?;
        Ok(found.map(|(layer, stat)| Found { layer, path, stat }))
    }

    /// Follows a path in the merged view; `None` when something on it is not there.
    fn resolve(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let mut way = Way::to(path);
        while let Some(place) = way.next_place() {
            let Some((layer, stat)) = self.lookup(&place)? else { return Ok(None) };
            if is_type(&stat, FileType::Symlink) {
                let target = self.read_link(layer, &place)?;
                let loops = |_| io::Error::new(io::ErrorKind::InvalidData, "too many symbolic links in the image");
                way.follow(&target).map_err(loops)?;
            } else {
                way.enter(place);
            }
        }
        Ok(Some(way.at().to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place(base: &Path, layers: &[&str]) -> Rootfs {
        Rootfs::open(&layers.iter().map(|l| base.join(l)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn upper_layers_come_first_and_links_stay_inside() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        for dir in ["top/etc", "middle/usr/etc", "bottom/etc", "bottom/deep/er", "outside"] {
            std::fs::create_dir_all(base.join(dir)).unwrap();
        }
        std::fs::write(base.join("outside/secret"), "outside").unwrap();
        std::fs::write(base.join("bottom/etc/passwd"), "bottom").unwrap();
        std::fs::write(base.join("top/etc/group"), "top").unwrap();
        std::fs::write(base.join("bottom/etc/group"), "hidden").unwrap();
        std::fs::write(base.join("middle/usr/etc/real"), "real").unwrap();
        std::fs::write(base.join("top/file"), "a file hides the directories below").unwrap();
        std::fs::create_dir(base.join("bottom/file")).unwrap();
        std::fs::write(base.join("bottom/file/x"), "hidden").unwrap();
        symlink("/usr/etc/real", base.join("top/absolute")).unwrap();
        symlink("../../../../usr/./etc/real", base.join("top/etc/upward")).unwrap();
        symlink(base.join("outside/secret"), base.join("top/outward")).unwrap();
        symlink("loop", base.join("top/loop")).unwrap();
        symlink("/usr", base.join("bottom/link")).unwrap();
        let rootfs = place(base, &["top", "middle", "bottom"]);
        let read = |path: &str| rootfs.read(Path::new(path), 100).map(|b| b.map(|b| String::from_utf8(b).unwrap()));
        let rows = [
            ("etc/passwd", Some("bottom")),
            ("/etc/group", Some("top")),
            ("absolute", Some("real")),
            ("etc/upward", Some("real")),
            ("link/etc/real", Some("real")),
            ("deep/er/../../etc/passwd", Some("bottom")),
            ("top/..", None),
            ("/", None),
            ("outward", None),
            ("file/x", None),
            ("etc", None),
            ("none", None),
        ];
        for (path, expected) in rows {
            assert_eq!(read(path).unwrap().as_deref(), expected, "{path}");
        }
        assert!(read("loop").is_err());
        assert!(rootfs.read(Path::new("file"), 5).is_err(), "larger than asked for");
        assert!(rootfs.directory(Path::new("deep/er")).unwrap().is_some());
        assert!(rootfs.directory(Path::new("deep/er/..")).unwrap().is_some());
        assert!(rootfs.directory(Path::new("file")).unwrap().is_none());
        let at = |path: &str| rootfs.directory_at(Path::new(path)).unwrap();
        for (path, expected) in [
            ("deep/er", Some("deep/er")),
            ("/deep/./er/", Some("deep/er")),
            ("link/etc", Some("usr/etc")),
            (".", Some("")),
            ("deep/../..", Some("")),
            ("etc/passwd", None),
            ("absolute", None),
            ("outward", None),
            ("file/x", None),
            ("none", None),
        ] {
            assert_eq!(at(path), expected.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn what_an_upper_layer_removed_is_not_there() {
        use rustix::fs::{CWD, Mode, XattrFlags};
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        for dir in ["top/opaque", "bottom/opaque", "bottom/gone"] {
            std::fs::create_dir_all(base.join(dir)).unwrap();
        }
        for file in ["bottom/opaque/x", "bottom/gone/x", "bottom/file"] {
            std::fs::write(base.join(file), "removed").unwrap();
        }
        let whiteout =
            |path: &str| rustix::fs::mknodat(CWD, base.join(path), FileType::CharacterDevice, Mode::empty(), 0);
        let made = whiteout("top/gone").and_then(|()| whiteout("top/file"));
        if made.is_err() || rustix::fs::setxattr(base.join("top/opaque"), OPAQUE, b"y", XattrFlags::empty()).is_err() {
            // Only root may make them.
            return;
        }
        let rootfs = place(base, &["top", "bottom"]);
        for path in ["opaque/x", "gone/x", "gone", "file"] {
            assert_eq!(rootfs.read(Path::new(path), 100).unwrap(), None, "{path}");
        }
        assert!(rootfs.directory(Path::new("opaque")).unwrap().is_some());
    }
}
