//! The lowest layer of every container: empty directories and files where each container has something mounted. What an image
//! lacks of them would otherwise be made anew on the disk for each of its containers, and removed after it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rustix::fs::FileType;

use crate::sys::beneath::{Dir, is_type};
use crate::sys::effect;

/// By name, with what is in each.
const DIRECTORIES: [(&str, &[&str]); 4] =
    [("dev", &[]), ("etc", &["hostname", "hosts", "resolv.conf"]), ("proc", &[]), ("sys", &[])];
const DIRECTORY: u32 = 0o755;
const FILE: u32 = 0o644;

/// Makes the layer `name` in `parent`. One that is as it should be is left alone, since containers use it; any other one is
/// made anew. Nothing is synced: what a power cut takes is made by the next start of the agent.
pub(super) fn make(parent: &Path, name: &str) -> io::Result<()> {
    let parent = Dir::open(parent)?;
    if is_whole(&parent, Path::new(name))? {
        return Ok(());
    }
    parent.remove_tree(OsStr::new(name))?;
    let top = parent.make_sub(Path::new(name), DIRECTORY)?;
    for (name, files) in DIRECTORIES {
        let dir = top.make_sub(Path::new(name), DIRECTORY)?;
        for file in files {
            effect::change_mode(&dir.create_file(OsStr::new(file), FILE)?, FILE)?;
        }
    }
    Ok(())
}

fn is_whole(parent: &Dir, top: &Path) -> io::Result<bool> {
    let names = DIRECTORIES.map(|(name, _)| name);
    if !is_directory_of(parent, top, &names)? {
        return Ok(false);
    }
    for (name, files) in DIRECTORIES {
        let dir = top.join(name);
        if !is_directory_of(parent, &dir, files)? {
            return Ok(false);
        }
        for file in files {
            let stat = parent.stat(&dir.join(file))?;
            let is_empty = |s: &rustix::fs::Stat| is_type(s, FileType::RegularFile) && s.st_size == 0;
            if !stat.is_some_and(|s| is_empty(&s) && s.st_mode & 0o7777 == FILE) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether these names, which are sorted, are all there is.
fn is_directory_of(parent: &Dir, path: &Path, names: &[&str]) -> io::Result<bool> {
    let stat = parent.stat(path)?;
    if !stat.is_some_and(|s| is_type(&s, FileType::Directory) && s.st_mode & 0o7777 == DIRECTORY) {
        return Ok(false);
    }
    Ok(parent.sub(path)?.names()?.iter().map(|n| n.as_os_str()).eq(names.iter().map(OsStr::new)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_layer_is_made_once_and_again_when_it_is_not_as_it_should_be() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("points");
        let inode = || fs::metadata(&top).unwrap().ino();
        let made = || make(temp.path(), "points").unwrap();
        let is_good = || is_whole(&Dir::open(temp.path()).unwrap(), Path::new("points")).unwrap();
        made();
        assert!(is_good());
        // Kept open, so that its number is not given to another one.
        let first = fs::File::open(&top).unwrap();
        made();
        assert_eq!(inode(), first.metadata().unwrap().ino(), "containers use it");
        let damages: [&dyn Fn(); 6] = [
            &|| fs::write(top.join("etc/hosts"), "x").unwrap(),
            &|| fs::write(top.join("more"), "").unwrap(),
            &|| fs::remove_file(top.join("etc/hostname")).unwrap(),
            &|| fs::set_permissions(top.join("sys"), fs::Permissions::from_mode(0o777)).unwrap(),
            &|| {
                fs::remove_dir(top.join("proc")).unwrap();
                symlink("/", top.join("proc")).unwrap();
            },
            &|| {
                fs::remove_dir_all(&top).unwrap();
                fs::write(&top, "").unwrap();
            },
        ];
        for (number, damage) in damages.iter().enumerate() {
            damage();
            assert!(!is_good(), "{number}");
            made();
            assert!(is_good(), "{number}");
        }
    }
}
