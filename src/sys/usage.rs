//! How much of the disk a directory takes, as `du -x` counts it: blocks, those of a file with several names once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::beneath::{Dir, is_type};

/// What a block of `stat` is, whatever the file system's is.
const BLOCK: u64 = 512;
/// How many entries are looked at, and how deep; what lies beyond is not counted. Of more files with several names than these,
/// each name counts for its share.
const BOUNDS: Bounds = Bounds { entries: 1_000_000, depth: 256, linked: 100_000 };

#[derive(Clone, Copy)]
struct Bounds {
    entries: u64,
    depth: usize,
    linked: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    /// How many files and directories were looked at.
    pub entries: u64,
    /// Something lies beyond what is looked at: the bytes are some of those that it takes.
    pub is_part: bool,
}

struct Walk<'a> {
    bounds: Bounds,
    /// Bytes after which it is known that it is too much.
    enough: u64,
    /// When to be content with what is known.
    until: Instant,
    /// Nobody wants to know any more.
    is_off: &'a dyn Fn() -> bool,
    device: u64,
    usage: Usage,
    linked: BTreeSet<u64>,
}

/// The bytes that a directory takes with all that is below it on its file system. Ends once it is more than `enough`, at
/// `until`, or when it `is_off`, which is asked for each entry. Follows no link, and the look writes nothing.
///
/// # Errors
/// From the system; `Interrupted` when it was off. What is removed meanwhile is none.
pub fn of(dir: &Dir, enough: u64, until: Instant, is_off: &dyn Fn() -> bool) -> io::Result<Usage> {
    within(BOUNDS, dir, (enough, until), is_off)
}

fn within(bounds: Bounds, dir: &Dir, (enough, until): (u64, Instant), is_off: &dyn Fn() -> bool) -> io::Result<Usage> {
    let top = rustix::fs::fstat(dir)?;
    let mut walk =
        Walk { bounds, enough, until, is_off, device: top.st_dev, usage: Usage::default(), linked: BTreeSet::new() };
    walk.count(&top);
    walk.look(dir, 0)?;
    Ok(walk.usage)
}

impl Walk<'_> {
    /// Whether enough is known.
    fn is_over(&mut self) -> bool {
        let is_beyond = self.usage.entries >= self.bounds.entries || Instant::now() >= self.until;
        self.usage.is_part |= is_beyond;
        self.usage.bytes > self.enough || is_beyond
    }

    fn count(&mut self, stat: &Stat) {
        self.usage.entries += 1;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK);
        let is_linked = stat.st_nlink > 1 && !is_type(stat, FileType::Directory);
        let bytes = if !is_linked {
            blocks
        } else if self.linked.contains(&stat.st_ino) {
            0
        } else if self.linked.len() < self.bounds.linked {
            self.linked.insert(stat.st_ino);
            blocks
        } else {
            self.usage.is_part = true;
            #[allow(clippy::useless_conversion, reason = "the number is narrower on other machines")]
            let names = u64::from(stat.st_nlink);
            blocks / names
        };
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
    }

    fn look(&mut self, dir: &Dir, depth: usize) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if (self.is_off)() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.is_over() {
                return Ok(());
            }
            let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            if stat.st_dev != self.device {
                continue;
            }
            self.count(&stat);
            if is_type(&stat, FileType::Directory) {
                if depth >= self.bounds.depth {
                    self.usage.is_part = true;
                    continue;
                }
                let name = Path::new(OsStr::from_bytes(name.to_bytes()));
                match dir.resolve_to_read(name, OFlags::DIRECTORY | OFlags::NOFOLLOW, ResolveFlags::NO_XDEV) {
                    // Removed or replaced meanwhile, or of another file system by now.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                    Err(error) => return Err(error.into()),
                    Ok(fd) => self.look(&Dir::from(fd), depth + 1)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    use super::*;

    /// Longer than any of these takes.
    fn later() -> Instant {
        Instant::now() + std::time::Duration::from_secs(600)
    }

    fn usage(path: &Path, enough: u64) -> (u64, u64) {
        let usage = of(&Dir::open(path).unwrap(), enough, later(), &|| false).unwrap();
        assert!(!usage.is_part);
        (usage.bytes, usage.entries)
    }

    fn bounded(path: &Path, bounds: Bounds) -> Usage {
        within(bounds, &Dir::open(path).unwrap(), (u64::MAX, later()), &|| false).unwrap()
    }

    #[test]
    fn blocks_below_a_directory_are_counted_once_and_no_link_is_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (top, outside) = (temp.path().join("top"), temp.path().join("outside"));
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(&outside, vec![1; 1 << 20]).unwrap();
        for (name, size) in [("one", 100_000), ("a/two", 50_000), ("a/b/three", 1)] {
            fs::write(top.join(name), vec![1; size]).unwrap();
        }
        fs::hard_link(top.join("one"), top.join("a/again")).unwrap();
        symlink(&outside, top.join("link")).unwrap();
        symlink(temp.path(), top.join("up")).unwrap();
        let sparse = fs::File::create(top.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        drop(sparse);
        let all = ["", "a", "a/b", "one", "a/two", "a/b/three", "link", "up", "sparse"];
        let blocks = |name: &&str| fs::symlink_metadata(top.join(name)).unwrap().blocks() * BLOCK;
        // With the second name of one file.
        assert_eq!(usage(&top, u64::MAX), (all.iter().map(blocks).sum(), 10));
        let (bytes, entries) = usage(&top, 0);
        assert!(bytes > 0 && entries < 10, "it goes on when it knows: {entries}");
    }

    #[test]
    fn what_lies_beyond_the_bounds_is_told_and_the_rest_counted() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path();
        let deep: PathBuf = std::iter::repeat_n("d", 10).collect();
        fs::create_dir_all(top.join(deep)).unwrap();
        let all = bounded(top, BOUNDS);
        assert_eq!((all.entries, all.is_part), (11, false));
        let shallow = bounded(top, Bounds { depth: 3, ..BOUNDS });
        assert_eq!((shallow.entries, shallow.is_part), (5, true));
        let late = of(&Dir::open(top).unwrap(), u64::MAX, Instant::now(), &|| false).unwrap();
        assert_eq!((late.entries, late.is_part), (1, true));
        let few = bounded(top, Bounds { entries: 4, ..BOUNDS });
        assert_eq!((few.entries, few.is_part), (4, true));
        assert!(!bounded(top, Bounds { depth: 10, entries: 12, ..BOUNDS }).is_part, "nothing lies beyond");
        let beside = temp.path().join("beside");
        fs::create_dir(&beside).unwrap();
        for file in ["a", "b"] {
            fs::write(beside.join(file), vec![1; 80_000]).unwrap();
            (0..3).for_each(|n| fs::hard_link(beside.join(file), beside.join(format!("{file}{n}"))).unwrap());
        }
        let all = bounded(&beside, BOUNDS);
        let shared = bounded(&beside, Bounds { linked: 1, ..BOUNDS });
        assert_eq!((all.bytes, all.is_part, shared.is_part), (shared.bytes, false, true), "all names are here");
        fs::rename(beside.join("b0"), top.join("b0")).unwrap();
        let some = bounded(&beside, Bounds { linked: 0, ..BOUNDS });
        assert!(some.bytes < all.bytes && some.bytes > all.bytes / 2, "{some:?} of {all:?}");
    }

    #[test]
    fn it_ends_when_nobody_wants_to_know() {
        let temp = tempfile::tempdir().unwrap();
        (0..10).for_each(|n| fs::write(temp.path().join(n.to_string()), "x").unwrap());
        let asked = std::cell::Cell::new(0);
        let is_off = || asked.replace(asked.get() + 1) >= 5;
        let ended = of(&Dir::open(temp.path()).unwrap(), u64::MAX, later(), &is_off);
        assert_eq!((ended.unwrap_err().kind(), asked.get()), (io::ErrorKind::Interrupted, 6));
    }

    #[test]
    fn directories_are_looked_into_no_deeper_than_files_can_be_open() {
        let temp = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", 1000).collect();
        fs::create_dir_all(temp.path().join(deep)).unwrap();
        let usage = of(&Dir::open(temp.path()).unwrap(), u64::MAX, later(), &|| false).unwrap();
        assert_eq!((usage.entries, usage.is_part), (2 + BOUNDS.depth as u64, true));
    }
}
