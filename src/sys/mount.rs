//! Mounts: a small tmpfs, and what is mounted where.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nix::libc;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::effect;

/// Undoes the escapes of `/proc/self/mountinfo`: space, tab, newline and backslash are written as `\ooo`.
pub(crate) fn unescape(field: &str) -> OsString {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match (bytes[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    OsString::from_vec(out)
}

/// The table of the mounts that a process has, by its number or `self`. A path is bytes, and who may mount chooses them: what is
/// no text is escaped as the kernel does it with a space.
///
/// # Errors
/// From the system.
pub(crate) fn table(process: impl std::fmt::Display) -> io::Result<String> {
    std::fs::read(format!("/proc/{process}/mountinfo")).map(escaped)
}

fn escaped(table: Vec<u8>) -> String {
    String::from_utf8(table).unwrap_or_else(|odd| {
        let mut text = String::new();
        for chunk in odd.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|byte| format!("\\{byte:03o}")));
        }
        text
    })
}

/// The mount points of this process's mount namespace, in the order of mounting.
///
/// # Errors
/// From the system.
pub fn points() -> io::Result<Vec<PathBuf>> {
    let table = table("self")?;
    Ok(table.lines().filter_map(|l| l.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p))).collect())
}

/// Whom a mount tells of what is mounted below it, and who tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Where it is.
    pub point: PathBuf,
    /// It tells others, and they it.
    pub shared: bool,
    /// It hears of those of another one.
    pub follows: bool,
}

/// The same of a mount of this process's mount namespace, by its number.
///
/// # Errors
/// From the system; `NotFound` when there is no such mount.
pub fn peers(number: u64) -> io::Result<Peers> {
    let table = table("self")?;
    peers_in(&table, number).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its mount has gone"))
}

fn peers_in(table: &str, number: u64) -> Option<Peers> {
    let number = number.to_string();
    let line = table.lines().find(|line| line.split(' ').next() == Some(&number))?;
    let mut peers = Peers { point: PathBuf::from(unescape(line.split(' ').nth(4)?)), ..Peers::default() };
    for field in line.split(' ').skip(6).take_while(|field| *field != "-") {
        peers.shared |= field.starts_with("shared:");
        peers.follows |= field.starts_with("master:");
    }
    Some(peers)
}

/// The type of the file system that something open is on. Nobody is asked who serves it.
///
/// # Errors
/// From the system; `NotFound` when its mount is not in this process's mount namespace.
pub fn file_system(open: impl AsFd) -> io::Result<String> {
    let number = rustix::fs::statx(open, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID)?;
    let table = table("self")?;
    let kind = file_system_in(&table, number.stx_mnt_id);
    kind.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its mount has gone"))
}

fn file_system_in(table: &str, number: u64) -> Option<String> {
    let number = number.to_string();
    let line = table.lines().find(|line| line.split(' ').next() == Some(&number))?;
    Some(line.split_once(" - ")?.1.split(' ').next()?.to_owned())
}

/// Whether the kernel can set the attributes of a mount that is not placed yet: from Linux 5.12 on, unless a filter of system
/// calls forbids it.
///
/// # Errors
/// Why not.
pub(crate) fn has_attributes() -> io::Result<()> {
    // SAFETY: nothing is read, since the size of the attributes is none.
    let asked =
        unsafe { libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), 0, ptr::null::<libc::mount_attr>(), 0) };
    match io::Error::last_os_error() {
        // What the kernel says of attributes without a size.
        error if asked < 0 && error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

/// Whether something is mounted at exactly this path (without symbolic links in it).
///
/// # Errors
/// From the system.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    let root = StatxAttributes::MOUNT_ROOT;
    match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()) {
        Ok(stat) if stat.stx_attributes_mask.contains(root) => Ok(stat.stx_attributes.contains(root)),
        // Before Linux 5.8.
        Ok(_) => Ok(points()?.iter().any(|p| p == path)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Mounts a tmpfs of at most `size` bytes at a directory that exists. The root of it gets `mode`.
///
/// # Errors
/// From the system.
pub fn tmpfs(path: &Path, size: u64, mode: u32) -> io::Result<()> {
    let options = CString::new(format!("size={size},mode={mode:o}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    effect::mount("tmpfs", path, flags, &options)
}

/// Unmounts what is mounted at this path, however many times, even while somebody uses it. Nothing there is fine.
///
/// # Errors
/// From the system.
pub fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match effect::unmount(path, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Not a mount point, or not there at all.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_mount_tells_is_read() {
        let table = "36 35 98:0 / / rw,noatime shared:1 - ext3 /dev/root rw\n\
                     37 36 0:5 / /a\\040b rw master:1 - tmpfs t rw\n38 36 0:6 / /c rw shared:2 master:3 - tmpfs t rw\n\
                     39 36 0:7 / /d rw - tmpfs shared:9 rw\n";
        let peers = |point: &str, shared, follows| Some(Peers { point: point.into(), shared, follows });
        assert_eq!(peers_in(table, 36), peers("/", true, false));
        assert_eq!(peers_in(table, 37), peers("/a b", false, true));
        assert_eq!(peers_in(table, 38), peers("/c", true, true));
        assert_eq!(peers_in(table, 39), peers("/d", false, false));
        assert_eq!(peers_in(table, 3), None);
    }

    #[test]
    fn a_path_that_is_no_text_is_read_as_it_is() {
        let line = |path: &[u8]| [b"36 35 98:0 / ", path, b" rw shared:1 - tmpfs t rw\n"].concat();
        for path in [&b"/a\xff\xfeb"[..], b"/\xc3", b"/\xc3\xa4", b"/plain"] {
            let point = peers_in(&escaped(line(path)), 36).unwrap().point;
            assert_eq!(point.as_os_str().as_encoded_bytes(), path);
        }
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape("/a\\040b\\134c\\011"), "/a b\\c\t");
        assert_eq!(unescape("/plain\\"), "/plain\\");
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/proc/self")).unwrap());
    }
}
