//! The atomic writer: a volume's files all change at once, as a container sees them.
//!
//! The layout is Kubernetes' own, since programs know it: the files lie in a directory named by the time, `..data` is a
//! symbolic link to it that is replaced by a rename, and each name in the volume is a link into `..data`.
//!
//! After a power cut no container runs, and before one does its files are compared byte by byte with what they are to be: so
//! nothing here waits for the disk.
//!
//! ```text
//! ..2024_05_06_07_08_09.1234/   ca.crt  sub/key
//! ..data -> ..2024_05_06_07_08_09.1234
//! ca.crt -> ..data/ca.crt
//! sub -> ..data/sub
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType};

use crate::model::PayloadFile;
use crate::sys::beneath::{Dir, is_type};
use crate::sys::effect;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";
/// Directories that the writer itself makes.
const DIRECTORY_MODE: u32 = 0o755;
/// Bytes of a file that are compared at a time.
const PART: usize = 64 << 10;
/// Tries for a name that is not taken.
const TRIES: u32 = 16;

/// Makes the volume hold exactly these files. Returns whether anything was written.
pub(super) fn write(volume: &Dir, files: &[PayloadFile]) -> io::Result<bool> {
    let files = by_path(files)?;
    let old = current(volume)?;
    let changed = match &old {
        Some(old) => !is_unchanged(volume, old, &files)?,
        None => true,
    };
    let mut now = old;
    if changed {
        let (name, dir) = new_directory(volume)?;
        fill(&dir, &files)?;
        volume.remove_tree(OsStr::new(DATA_NEW))?;
        effect::symlink_at(&name, volume, DATA_NEW)?;
        // A container with write access may have put a directory there, which a rename would not replace.
        if volume.stat(Path::new(DATA))?.is_some_and(|s| !is_type(&s, FileType::Symlink)) {
            volume.remove_tree(OsStr::new(DATA))?;
        }
        effect::move_at((volume, OsStr::new(DATA_NEW)), (volume, OsStr::new(DATA)))?;
        now = Some(name);
    }
    link_names(volume, &files)?;
    remove_stale(volume, &files, now.as_deref())?;
    Ok(changed)
}

/// The files by path, after checking that the paths stay inside, are not the writer's own and do not collide.
fn by_path(files: &[PayloadFile]) -> io::Result<BTreeMap<&Path, &PayloadFile>> {
    let bad = |path: &str, why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("the file {path:?} {why}"));
    let mut out: BTreeMap<&Path, &PayloadFile> = BTreeMap::new();
    for file in files {
        let path = Path::new(&file.path);
        let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
        if file.path.is_empty() || file.path.contains('\0') || !plain || file.path.starts_with("..") {
            return Err(bad(&file.path, "has no relative path of its own"));
        }
        if out.insert(path, file).is_some() {
            return Err(bad(&file.path, "is there twice"));
        }
    }
    for path in out.keys() {
        if path.ancestors().skip(1).any(|above| out.contains_key(above)) {
            return Err(bad(&path.display().to_string(), "lies below another file"));
        }
    }
    Ok(out)
}

/// The directory `..data` points to; `None` when there is none, or it is not one of the writer's.
fn current(volume: &Dir) -> io::Result<Option<OsString>> {
    let Some(target) = link_target(volume, OsStr::new(DATA))? else { return Ok(None) };
    let ours = target.as_bytes().starts_with(b"..") && !target.as_bytes().contains(&b'/') && target.len() > 2;
    Ok(Some(target).filter(|_| ours))
}

fn link_target(volume: &Dir, name: &OsStr) -> io::Result<Option<OsString>> {
    use std::os::unix::ffi::OsStringExt;
    match rustix::fs::readlinkat(volume, name, Vec::new()) {
        Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()))),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the directory holds exactly these files with these modes and users. What cannot be read counts as changed.
fn is_unchanged(volume: &Dir, old: &OsStr, files: &BTreeMap<&Path, &PayloadFile>) -> io::Result<bool> {
    let Ok(dir) = volume.sub(Path::new(old)) else { return Ok(false) };
    let mut found = 0;
    if !walk(&dir, Path::new(""), &mut |_| found += 1)? || found != files.len() {
        return Ok(false);
    }
    let own = rustix::process::geteuid().as_raw();
    for (path, file) in files {
        let Ok(there) = dir.open_file(path) else { return Ok(false) };
        let stat = rustix::fs::fstat(&there)?;
        if stat.st_mode & 0o7777 != file.mode & 0o7777 || stat.st_uid != file.owner.unwrap_or(own) {
            return Ok(false);
        }
        if stat.st_size as u64 != file.bytes.reveal().len() as u64 || !holds(there, file.bytes.reveal())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file has exactly these bytes. It is read no further than where it differs.
fn holds(mut file: File, wanted: &[u8]) -> io::Result<bool> {
    let mut part = vec![0; PART.min(wanted.len() + 1)];
    let mut left = wanted;
    loop {
        let read = match file.read(&mut part) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        match left.strip_prefix(&part[..read]) {
            Some(rest) if read > 0 => left = rest,
            rest => return Ok(rest.is_some_and(<[u8]>::is_empty)),
        }
    }
}

/// Calls for each file; `false` when there is anything but files and directories, or an empty directory.
fn walk(dir: &Dir, at: &Path, file: &mut impl FnMut(&Path)) -> io::Result<bool> {
    let names = dir.names()?;
    if names.is_empty() && !at.as_os_str().is_empty() {
        return Ok(false);
    }
    for name in names {
        let path = at.join(&name);
        let Some(stat) = dir.stat(Path::new(&name))? else { return Ok(false) };
        if is_type(&stat, FileType::RegularFile) {
            file(&path);
        } else if !is_type(&stat, FileType::Directory)
            || path.components().count() > 64
            || !walk(&dir.sub(Path::new(&name))?, &path, file)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn new_directory(volume: &Dir) -> io::Result<(OsString, Dir)> {
    for _ in 0..TRIES {
        let now = jiff::Timestamp::now();
        let name = OsString::from(format!("{}.{:09}", now.strftime("..%Y_%m_%d_%H_%M_%S"), now.subsec_nanosecond()));
        match effect::make_dir_of_mode(volume, &name, DIRECTORY_MODE) {
            Ok(()) => {
                let dir = volume.sub(Path::new(&name))?;
                return Ok((name, dir));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name for a new directory of data"))
}

/// Writes the files of a new directory.
fn fill(dir: &Dir, files: &BTreeMap<&Path, &PayloadFile>) -> io::Result<()> {
    for (path, file) in files {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let parent = dir.make_sub(path.parent().unwrap_or(Path::new("")), DIRECTORY_MODE)?;
        let out = parent.create_file(name, 0o600)?;
        effect::write(&out, file.bytes.reveal())?;
        effect::change_mode(&out, file.mode)?;
        if let Some(user) = file.owner {
            effect::change_owner(&out, user, None)?;
        }
    }
    Ok(())
}

/// The names a container sees: the first element of each path.
fn names<'a>(files: &BTreeMap<&'a Path, &PayloadFile>) -> BTreeSet<&'a OsStr> {
    files.keys().filter_map(|path| path.iter().next()).collect()
}

fn link_names(volume: &Dir, files: &BTreeMap<&Path, &PayloadFile>) -> io::Result<()> {
    for name in names(files) {
        let target = Path::new(DATA).join(name);
        if link_target(volume, name)?.as_deref() == Some(target.as_os_str()) {
            continue;
        }
        volume.remove_tree(name)?;
        effect::symlink_at(&target, volume, name)?;
    }
    Ok(())
}

/// Removes links of files that are gone and directories of earlier or interrupted writes. What a container put there
/// itself stays.
fn remove_stale(volume: &Dir, files: &BTreeMap<&Path, &PayloadFile>, now: Option<&OsStr>) -> io::Result<()> {
    let wanted = names(files);
    for name in volume.names()? {
        if name == DATA || Some(name.as_os_str()) == now || wanted.contains(name.as_os_str()) {
            continue;
        }
        if name.as_bytes().starts_with(b"..") {
            volume.remove_tree(&name)?;
        } else if link_target(volume, &name)?.is_some_and(|t| Path::new(&t).starts_with(DATA)) {
            effect::remove_at(volume, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}
