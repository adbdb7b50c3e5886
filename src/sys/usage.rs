//! How much of the disk a directory takes, as `du -x` counts it: blocks, those of a file with several names once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::beneath::{Dir, is_type};

/// What a block of `stat` is, whatever the file system's is.
const BLOCK: u64 = 512;
/// How many entries are looked at, and how deep; what lies beyond is not counted.
const MOST_ENTRIES: u64 = 1_000_000;
const DEEPEST: usize = 256;
/// How many files with several names are told apart; more of them are not counted.
const MOST_LINKED: usize = 100_000;

struct Walk {
    /// Bytes after which it is known that it is too much.
    enough: u64,
    device: u64,
    bytes: u64,
    entries: u64,
    linked: BTreeSet<u64>,
}

/// The bytes that a directory takes with all that is below it on its file system, and how many entries were looked at for
/// that. Ends once it is more than `enough`. Follows no link, and the look writes nothing.
///
/// # Errors
/// From the system. What is removed meanwhile is none.
pub fn of(dir: &Dir, enough: u64) -> io::Result<(u64, u64)> {
    let top = rustix::fs::fstat(dir)?;
    let mut walk = Walk { enough, device: top.st_dev, bytes: 0, entries: 0, linked: BTreeSet::new() };
    walk.count(&top);
    walk.look(dir, 0)?;
    Ok((walk.bytes, walk.entries))
}

impl Walk {
    fn is_over(&self) -> bool {
        self.bytes > self.enough || self.entries >= MOST_ENTRIES
    }

    fn count(&mut self, stat: &Stat) {
        self.entries += 1;
        let is_linked = stat.st_nlink > 1 && !is_type(stat, FileType::Directory);
        if !is_linked || (self.linked.len() < MOST_LINKED && self.linked.insert(stat.st_ino)) {
            let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
            self.bytes = self.bytes.saturating_add(blocks.saturating_mul(BLOCK));
        }
    }

    fn look(&mut self, dir: &Dir, depth: usize) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(dir)? {
            if self.is_over() {
                return Ok(());
            }
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            if stat.st_dev != self.device {
                continue;
            }
            self.count(&stat);
            if is_type(&stat, FileType::Directory) && depth < DEEPEST {
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

    fn usage(path: &Path, enough: u64) -> (u64, u64) {
        of(&Dir::open(path).unwrap(), enough).unwrap()
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
    fn what_is_deeper_than_files_can_be_open_is_left_out() {
        let temp = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", 1000).collect();
        fs::create_dir_all(temp.path().join(deep)).unwrap();
        assert_eq!(usage(temp.path(), u64::MAX).1, 2 + DEEPEST as u64);
    }
}
