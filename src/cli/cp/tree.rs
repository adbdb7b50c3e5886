//! Copies a tree from below one open directory to below another. One of them is a container's and may change meanwhile in
//! the worst way: no name leads out of either, no link is followed, nothing but regular files is opened, and nothing goes
//! on without end.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid};
use rustix::io::Errno;

use super::super::error::CliError;
use super::super::printer;
use crate::sys::beneath::{Dir, is_type};

/// Directories within each other: two descriptors are open for each.
const DEEPEST: usize = 128;
/// Files and directories of one copy.
const MOST: usize = 1_000_000;
const BLOCK: usize = 128 << 10;

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Made again as they are. For trees that the user has made.
    Keep,
    /// Left out, and told: what a container has made may lead anywhere.
    Skip,
}

/// What a copy is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// The permissions; without an owner subject to the umask.
    pub(super) mode: u32,
    /// `None` for this process's own.
    pub(super) owner: Option<(u32, u32)>,
}

/// What an original's attributes are to become.
pub(super) type Rule<'a> = &'a dyn Fn(&Stat) -> Attributes;

/// One copy under way.
pub(super) struct Copier<'a> {
    links: Links,
    rule: Rule<'a>,
    left: usize,
    depth: usize,
}

/// A failure at a path, which is a container's word: it is quoted.
fn failed(path: &Path) -> impl Fn(io::Error) -> CliError + '_ {
    move |error| CliError::new(format!("cannot copy {path:?}: {error}"))
}

/// A name in an open directory.
pub(super) type At<'a> = (&'a Dir, &'a OsStr);

impl<'a> Copier<'a> {
    pub(super) fn new(links: Links, rule: Rule<'a>) -> Self {
        Self { links, rule, left: MOST, depth: 0 }
    }

    /// Copies what is there under one name, with everything below it. `path` is what it is called in messages.
    pub(super) fn entry(&mut self, from: At<'_>, to: At<'_>, path: &Path) -> Result<(), CliError> {
        let Some(stat) = from.0.stat(Path::new(from.1)).map_err(failed(path))? else {
            printer::note(&format!("warning: {path:?} has vanished while it was to be copied"));
            return Ok(());
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let source = from.0.sub(Path::new(from.1)).map_err(failed(path))?;
                self.directory(&source, to, path)
            }
            FileType::RegularFile => {
                let file = from.0.open_nothing_but_file(Path::new(from.1)).map_err(failed(path))?;
                self.file(&file, to, path)
            }
            FileType::Symlink => self.link(from, to, path),
            _ => {
                printer::note(&format!("warning: skipping {path:?}: it is neither a file nor a directory"));
                Ok(())
            }
        }
    }

    /// Copies everything in a directory into one that is there.
    pub(super) fn contents(&mut self, from: &Dir, to: &Dir, path: &Path) -> Result<(), CliError> {
        if self.depth == DEEPEST {
            let text = format!("{path:?} is not copied: directories are nested more than {DEEPEST} deep");
            return Err(CliError::new(text).hint("copy a part of it"));
        }
        // One more than may follow, so that the one too many is met. All are counted at once: the names of every level
        // are held until it is done.
        let mut names = from.some_names(self.left + 1).map_err(failed(path))?;
        self.left = self.left.checked_sub(names.len()).ok_or_else(|| {
            let text =
                format!("what is in {path:?} is not copied, nor what would follow: there are more than {MOST} files");
            CliError::new(text).hint("copy a part of it at a time")
        })?;
        names.sort();
        self.depth += 1;
        for name in &names {
            self.entry((from, name), (to, name), &path.join(name))?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Copies an open directory under a name.
    pub(super) fn directory(&mut self, source: &Dir, to: At<'_>, path: &Path) -> Result<(), CliError> {
        let stat = rustix::fs::fstat(source).map_err(|e| failed(path)(e.into()))?;
        let attributes = (self.rule)(&stat);
        let made = match rustix::fs::mkdirat(to.0, to.1, Mode::from_raw_mode(attributes.mode | 0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed(path)(error.into())),
        };
        // One that is there is used as it is; a link or a file in its place is an error.
        let target = to.0.sub(Path::new(to.1)).map_err(failed(path))?;
        self.contents(source, &target, path)?;
        if made { attributes.give(&target).map_err(failed(path)) } else { Ok(()) }
    }

    /// Copies a file under a name, which is the old file's until then. One that is left unfinished is removed.
    pub(super) fn file(&self, source: &File, to: At<'_>, path: &Path) -> Result<(), CliError> {
        let work = || -> io::Result<bool> {
            let stat = rustix::fs::fstat(source)?;
            let attributes = (self.rule)(&stat);
            remove_file(to)?;
            // Nobody else's while it is written.
            let mode = if attributes.owner.is_some() { 0o600 } else { attributes.mode };
            let file = to.0.create_file(to.1, mode)?;
            let length = u64::try_from(stat.st_size).unwrap_or(0);
            let copied = bytes(source, &file, length);
            let copied = copied.and_then(|whole| attributes.give(&file).map(|()| whole));
            if copied.is_err() {
                let _ = remove_file(to);
            }
            copied
        };
        if !work().map_err(failed(path))? {
            note_shorter(path);
        }
        Ok(())
    }

    fn link(&mut self, from: At<'_>, to: At<'_>, path: &Path) -> Result<(), CliError> {
        let work = || -> io::Result<_> {
            let target = rustix::fs::readlinkat(from.0, from.1, Vec::new())?;
            if self.links == Links::Keep {
                remove_file(to)?;
                rustix::fs::symlinkat(&target, to.0, to.1)?;
                if let Some((uid, gid)) =
                    (self.rule)(&rustix::fs::statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW)?).owner
                {
                    own_link(to, &target, uid, gid)?;
                }
            }
            Ok(target)
        };
        let target = work().map_err(failed(path))?;
        if self.links == Links::Skip {
            printer::note(&format!("warning: skipping symlink: {path:?} -> {target:?}"));
        }
        Ok(())
    }
}

/// Says that a file was not copied as long as it had been.
pub(super) fn note_shorter(path: &Path) {
    printer::note(&format!("warning: {path:?} became shorter while it was copied"));
}

/// Gives a link that was just made to its owner, and nothing that was put in its place meanwhile.
fn own_link((dir, name): At<'_>, target: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let is_link = is_type(&rustix::fs::fstat(&made)?, FileType::Symlink);
    if !is_link || rustix::fs::readlinkat(&made, "", Vec::new())?.as_c_str() != target {
        return Err(io::Error::other("the new link was replaced while it was copied"));
    }
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(rustix::fs::chownat(&made, "", uid, gid, AtFlags::EMPTY_PATH)?)
}

impl Attributes {
    /// Gives them to what was made, when they are not this process's own already.
    fn give(self, to: impl std::os::fd::AsFd) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        // The owner first: a change of it takes the set-id bits away.
        rustix::fs::fchown(&to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(rustix::fs::fchmod(&to, Mode::from_raw_mode(self.mode))?)
    }
}

/// Removes what stands under a name, unless it is a directory.
fn remove_file((dir, name): At<'_>) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Copies the bytes that the file had at the beginning, and no more if it grows; its holes stay holes. Returns whether
/// all of them were there.
pub(super) fn bytes(from: &File, to: &File, length: u64) -> io::Result<bool> {
    let regular = is_type(&rustix::fs::fstat(to)?, FileType::RegularFile);
    let (mut at, mut block) = (0, vec![0; BLOCK]);
    while at < length {
        let Some((start, end)) = piece(from, at, length, regular)? else {
            // No more data: the rest is a hole, or gone.
            let size = u64::try_from(rustix::fs::fstat(from)?.st_size).unwrap_or(0);
            if size < length {
                to.set_len(size.max(at))?;
                return Ok(false);
            }
            break;
        };
        let mut place = start;
        while place < end {
            let room = usize::try_from(end - place).map_or(BLOCK, |n| n.min(BLOCK));
            let count = from.read_at(&mut block[..room], place)?;
            if count == 0 {
                if regular {
                    to.set_len(place)?;
                }
                return Ok(false);
            }
            if regular {
                to.write_all_at(&block[..count], place)?;
            } else {
                io::Write::write_all(&mut &*to, &block[..count])?;
            }
            place += count as u64;
        }
        at = end;
    }
    if regular {
        to.set_len(length)?;
    }
    Ok(true)
}

/// The next piece that holds data, from `at` on. A file system that knows nothing of holes has one piece.
fn piece(file: &File, at: u64, length: u64, holes: bool) -> io::Result<Option<(u64, u64)>> {
    if !holes {
        return Ok(Some((at, length)));
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, length))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(length);
    Ok((start < length).then_some((start, end.min(length))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn rule(stat: &Stat) -> Attributes {
        Attributes { mode: stat.st_mode & 0o777, owner: None }
    }

    fn copied(links: Links, build: impl Fn(&Path)) -> (tempfile::TempDir, Result<(), String>) {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        build(&from);
        let (from, to) = (Dir::open(&from).unwrap(), Dir::open(&to).unwrap());
        let result = Copier::new(links, &rule).contents(&from, &to, Path::new("/from"));
        (temp, result.map_err(|e| e.to_string()))
    }

    #[test]
    fn files_directories_and_links_arrive_with_their_permissions() {
        let build = |dir: &Path| {
            std::fs::create_dir_all(dir.join("a/empty")).unwrap();
            std::fs::write(dir.join("a/run"), "#!").unwrap();
            std::fs::set_permissions(dir.join("a/run"), std::fs::Permissions::from_mode(0o4750)).unwrap();
            symlink("run", dir.join("a/link")).unwrap();
        };
        for links in [Links::Keep, Links::Skip] {
            let (temp, result) = copied(links, build);
            assert_eq!(result, Ok(()));
            let to = temp.path().join("to/a");
            assert!(to.join("empty").is_dir());
            assert_eq!(std::fs::read_to_string(to.join("run")).unwrap(), "#!");
            assert_eq!(to.join("run").metadata().unwrap().mode() & 0o7777, 0o750, "no set-id bit");
            let link = std::fs::read_link(to.join("link")).ok();
            assert_eq!(link, (links == Links::Keep).then(|| "run".into()));
        }
    }

    #[test]
    fn nothing_is_opened_that_is_no_file_and_nothing_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let (temp, result) = copied(Links::Skip, |dir| {
            symlink(outside.path(), dir.join("dir")).unwrap();
            symlink(outside.path().join("secret"), dir.join("file")).unwrap();
            // Opened, it would wait for a writer.
            rustix::fs::mknodat(rustix::fs::CWD, dir.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            std::fs::write(dir.join("plain"), "").unwrap();
        });
        assert_eq!(result, Ok(()));
        let names: Vec<_> =
            std::fs::read_dir(temp.path().join("to")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["plain"]);
    }

    #[test]
    fn what_stands_in_the_way_is_replaced_or_an_error_and_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        for dir in ["from/dir", "to", "outside"] {
            std::fs::create_dir_all(path(dir)).unwrap();
        }
        std::fs::write(path("outside/file"), "old").unwrap();
        std::fs::write(path("from/file"), "new").unwrap();
        std::fs::write(path("from/dir/x"), "new").unwrap();
        symlink(path("outside/file"), path("to/file")).unwrap();
        symlink(path("outside"), path("to/dir")).unwrap();
        let (from, to) = (Dir::open(&path("from")).unwrap(), Dir::open(&path("to")).unwrap());
        let mut copier = Copier::new(Links::Keep, &rule);
        let name = OsStr::new;
        copier.entry((&from, name("file")), (&to, name("file")), Path::new("file")).unwrap();
        let error = copier.entry((&from, name("dir")), (&to, name("dir")), Path::new("dir")).unwrap_err();
        assert!(error.to_string().starts_with("error: cannot copy \"dir\": "), "{error}");
        assert_eq!(std::fs::read_to_string(path("outside/file")).unwrap(), "old");
        assert_eq!(std::fs::read_to_string(path("to/file")).unwrap(), "new");
        assert!(!path("outside/x").exists());
        let error = copier.entry((&from, name("file")), (&to, name("dir/y")), Path::new("file"));
        assert!(error.is_err() && !path("outside/y").exists());
    }

    #[test]
    fn trees_end_somewhere() {
        let (_temp, result) = copied(Links::Skip, |dir| {
            let mut deep = dir.to_owned();
            for _ in 0..=DEEPEST {
                deep.push("d");
            }
            std::fs::create_dir_all(deep).unwrap();
        });
        assert!(result.unwrap_err().contains("nested more than 128 deep"));
        let temp = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(temp.path().join(name), name).unwrap();
        }
        let to = tempfile::tempdir().unwrap();
        let (from, to) = (Dir::open(temp.path()).unwrap(), Dir::open(to.path()).unwrap());
        for (left, enough) in [(3, true), (2, false)] {
            let mut copier = Copier { left, ..Copier::new(Links::Skip, &rule) };
            assert_eq!(copier.contents(&from, &to, Path::new("/")).is_ok(), enough, "{left}");
        }
    }

    #[test]
    fn holes_stay_holes_and_a_file_that_grows_or_shrinks_has_an_end() {
        const HUGE: u64 = 1 << 40;
        let temp = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            File::options().create(true).truncate(true).read(true).write(true).open(temp.path().join(name)).unwrap()
        };
        let (from, to) = (file("from"), file("to"));
        from.set_len(HUGE).unwrap();
        from.write_all_at(b"middle", HUGE / 2).unwrap();
        assert!(bytes(&from, &to, HUGE).unwrap());
        assert_eq!(to.metadata().unwrap().len(), HUGE);
        assert!(to.metadata().unwrap().blocks() < 1000);
        let mut middle = [0; 6];
        to.read_exact_at(&mut middle, HUGE / 2).unwrap();
        assert_eq!(&middle, b"middle");
        let (from, to) = (file("from"), file("to"));
        from.write_all_at(b"0123456789", 0).unwrap();
        assert!(bytes(&from, &to, 4).unwrap());
        assert_eq!(to.metadata().unwrap().len(), 4);
        // What was there at the beginning and is not now: data, and a hole.
        for (data, length, left) in [(&b"0123456789"[..], 20, 10), (b"", HUGE, HUGE / 2)] {
            let (from, to) = (file("from"), file("to"));
            from.write_all_at(data, 0).unwrap();
            from.set_len(length).unwrap();
            from.set_len(left).unwrap();
            assert!(!bytes(&from, &to, length).unwrap());
            assert_eq!(to.metadata().unwrap().len(), left);
        }
    }
}
