//! What an unpacked layer looks like and what it holds: what tells a whole one from what a power cut left of it.
//!
//! Nobody is to be kept from forging anything here: whoever can write to a layer can write its record. So files are summed
//! up by a CRC, at the speed of reading them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::stream::hex;
use crate::sys::beneath::{Dir, is_type};

/// Blocks of zeros count as holes: file systems differ in which of them they keep.
const BLOCK: usize = 4096;
const BUFFER: usize = 64 * BLOCK;
/// The largest extended attribute of Linux (XATTR_SIZE_MAX).
const ATTRIBUTE: usize = 64 << 10;

/// A summary of a directory tree: a missing or truncated file changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tree {
    pub(super) entries: u64,
    /// Sum of the files' lengths.
    pub(super) bytes: u64,
    /// Digest of every path with its type and length.
    pub(super) listing: String,
}

/// A look at a tree that reads no file.
pub(super) struct Survey {
    pub(super) tree: Tree,
    /// Digest of when each entry was last touched: whatever changes a file changes this.
    pub(super) touched: String,
}

/// Looks at the entries of a tree, in sorted order.
pub(super) fn survey(root: &Dir) -> io::Result<Survey> {
    let (mut tree, mut listing, mut touched) = (Tree::default(), Sha256::new(), Sha256::new());
    let mut visit = |_: &Dir, path: &Path, stat: &Stat| {
        let length = length(stat);
        tree.entries += 1;
        if is_type(stat, FileType::RegularFile) {
            tree.bytes += length;
        }
        listing.update(path.as_os_str().as_bytes());
        listing.update([0]);
        listing.update((stat.st_mode & 0o170_000).to_le_bytes());
        listing.update(length.to_le_bytes());
        touched.update(stat.st_ctime.to_le_bytes());
        touched.update(stat.st_ctime_nsec.to_le_bytes());
        touched.update(stat.st_ino.to_le_bytes());
        Ok(())
    };
    walk(root, &mut PathBuf::new(), &mut visit)?;
    tree.listing = hex(&listing.finalize());
    Ok(Survey { tree, touched: hex(&touched.finalize()) })
}

/// A digest of what the entries of a tree hold: bytes of files, targets of links, owners, modes, attributes.
pub(super) fn survey_contents(root: &Dir) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut visit = |dir: &Dir, path: &Path, stat: &Stat| {
        let name = Path::new(path.file_name().unwrap_or_default());
        digest.update(path.as_os_str().as_bytes());
        digest.update([0]);
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            digest.update(number.to_le_bytes());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let mut file = dir.open_file(name)?;
                digest.update(length(stat).to_le_bytes());
                digest.update(sum(&mut file, &mut buffer)?.to_le_bytes());
                attributes(&file, &mut digest)?;
            }
            FileType::Directory => attributes(&dir.sub(name)?, &mut digest)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
                digest.update((target.as_bytes().len() as u64).to_le_bytes());
                digest.update(target.as_bytes());
            }
            _ => {}
        }
        Ok(())
    };
    walk(root, &mut PathBuf::new(), &mut visit)?;
    Ok(hex(&digest.finalize()))
}

type Visit<'a> = dyn FnMut(&Dir, &Path, &Stat) -> io::Result<()> + 'a;

/// Visits every entry below a directory, each directory before what is in it.
fn walk(dir: &Dir, path: &mut PathBuf, visit: &mut Visit<'_>) -> io::Result<()> {
    for name in dir.names()? {
        let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        path.push(&name);
        visit(dir, path, &stat)?;
        if is_type(&stat, FileType::Directory) {
            walk(&dir.sub(Path::new(&name))?, path, visit)?;
        }
        path.pop();
    }
    Ok(())
}

fn length(stat: &Stat) -> u64 {
    if is_type(stat, FileType::Directory) { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) }
}

/// A sum of a file's bytes and of where they are.
fn sum(file: &mut File, buffer: &mut [u8]) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut offset = 0;
    while let Some(data) = next_data(file, offset)? {
        // What is summed up begins at blocks, wherever the file system has its holes.
        offset = data - data % BLOCK as u64;
        file.seek(SeekFrom::Start(offset))?;
        let read = fill(file, buffer)?;
        if read == 0 {
            break;
        }
        for block in buffer[..read].chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                crc.update(&offset.to_le_bytes());
                crc.update(block);
            }
            offset += block.len() as u64;
        }
    }
    Ok(crc.finalize())
}

/// Where the next bytes are that are no hole; `None` behind the last of them.
fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(from)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((from < file.metadata()?.len()).then_some(from)),
        Err(error) => Err(error.into()),
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// The attributes that make a difference to what runs; labels belong to the machine and may change.
fn attributes(of: impl std::os::fd::AsFd, digest: &mut Sha256) -> io::Result<()> {
    // Hardly any file has one.
    let mut few = [0_u8; 512];
    let mut many = Vec::new();
    let names = match rustix::fs::flistxattr(&of, &mut few[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(length) => &few[..length],
        Err(Errno::RANGE) => {
            many.resize(ATTRIBUTE, 0);
            let length = rustix::fs::flistxattr(&of, &mut many[..])?;
            &many[..length]
        }
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<&[u8]> = names.split(|b| *b == 0).filter(|name| counts(name)).collect();
    names.sort_unstable();
    for name in names {
        let mut value = vec![0_u8; ATTRIBUTE];
        let length = rustix::fs::fgetxattr(&of, name, &mut value[..])?;
        digest.update(name);
        digest.update((length as u64).to_le_bytes());
        digest.update(&value[..length]);
    }
    Ok(())
}

fn counts(name: &[u8]) -> bool {
    let known: [&[u8]; 2] = [b"trusted.overlay.opaque", b"security.capability"];
    known.contains(&name) || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn of(path: &Path) -> (Tree, String) {
        let dir = Dir::open(path).unwrap();
        (survey(&dir).unwrap().tree, survey_contents(&dir).unwrap())
    }

    #[test]
    fn bytes_that_change_are_seen_although_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let path = dir.path().join("d/file");
        // No block is as the one before.
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n + n / 4096 * 2) as u8 | 1).collect();
        std::fs::write(&path, &bytes).unwrap();
        let (tree, contents) = of(dir.path());
        for at in [0, 4095, 4096, 262_143, 262_144, 299_999] {
            let mut other = bytes.clone();
            other[at] = 0;
            std::fs::write(&path, other).unwrap();
            let (same, changed) = of(dir.path());
            assert_eq!(same, tree, "byte {at}");
            assert_ne!(changed, contents, "byte {at}");
        }
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(of(dir.path()).1, contents);
        // A block that is moved has the same bytes elsewhere.
        let mut moved = bytes.clone();
        moved[..8192].rotate_left(4096);
        std::fs::write(&path, moved).unwrap();
        assert_ne!(of(dir.path()).1, contents);
    }

    #[test]
    fn holes_and_zeros_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"begin").unwrap();
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(b"end").unwrap();
        file.set_len(3 << 20).unwrap();
        drop(file);
        let sparse = of(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(of(dir.path()), sparse);
    }

    #[test]
    fn modes_targets_and_attributes_count() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        symlink("here", dir.path().join("link")).unwrap();
        let mut known = vec![of(dir.path()).1];
        std::fs::set_permissions(dir.path().join("file"), PermissionsExt::from_mode(0o4711)).unwrap();
        known.push(of(dir.path()).1);
        std::fs::remove_file(dir.path().join("link")).unwrap();
        symlink("over", dir.path().join("link")).unwrap();
        known.push(of(dir.path()).1);
        let file = File::open(dir.path().join("file")).unwrap();
        if rustix::fs::fsetxattr(&file, "user.x", b"y", rustix::fs::XattrFlags::empty()).is_ok() {
            known.push(of(dir.path()).1);
        }
        let count = known.len();
        known.sort();
        known.dedup();
        assert_eq!(known.len(), count);
    }
}
