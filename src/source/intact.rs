//! Objects in files of their own that are damaged, as a power cut leaves them: libgit2 (1.9.7, `git_zstream_get_output`) asks
//! zlib for ever for the rest of a file that is cut short. So whatever it is to read is looked at first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::{Decompress, FlushDecompress, Status};
use git2::{Odb, Oid, Repository};

use super::fault::{LINE_CHARS, READ, damaged, printable};
use super::objects::hexadecimal;
use super::pipes;
use crate::port::{ErrorKind, PortError};

/// Object directories that others borrow from, one after the other, as libgit2 follows them (1.9.7, `load_alternates`: 5 and
/// the first; what is deeper it leaves out, as git does); and how many there may be, in a file of how many bytes.
const BORROWED_DEPTH: usize = 6;
const DIRECTORIES: usize = 64;
const ALTERNATES_BYTES: u64 = 64 << 10;
/// Bytes of a commit or a tag, and how many tags may follow each other.
const COMMIT_BYTES: u64 = 16 << 20;
const TAGS: usize = 16;
/// Files of objects that are looked at when it is not known which of them libgit2 will read.
const FILES: usize = 1_000_000;

/// How much of a stream is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    /// At least as much as was asked for.
    Beyond,
    /// Cut short, or changed.
    Damaged,
}

#[cfg(target_os = "linux")]
pub(super) use crate::sys::git::Headers;

/// The objects of a repository by their headers alone.
#[cfg(not(target_os = "linux"))]
pub(super) struct Headers(Odb<'static>);

#[cfg(not(target_os = "linux"))]
impl Headers {
    fn open(objects: &Path) -> Result<Self, git2::Error> {
        let odb = Odb::new()?;
        odb.add_disk_alternate(objects.to_str().ok_or_else(|| git2::Error::from_str("a path that is no UTF-8"))?)?;
        Ok(Self(odb))
    }

    pub(super) fn size(&self, id: Oid) -> Result<usize, git2::Error> {
        self.0.read_header(id).map(|(size, _)| size)
    }
}

/// Where the objects of a repository are.
pub(super) struct Intact {
    directories: Vec<PathBuf>,
}

impl Intact {
    /// `objects` is an object directory; those it borrows from are found.
    ///
    /// # Errors
    /// When it borrows from more of them than are looked through, or from one whose name git and libgit2 read differently.
    pub(super) fn new(objects: PathBuf) -> Result<Self, PortError> {
        let mut known = BTreeSet::from_iter(std::fs::canonicalize(&objects));
        let mut directories = vec![objects];
        let mut from = 0;
        for _ in 0..BORROWED_DEPTH {
            let level = from..directories.len();
            from = level.end;
            for at in level {
                for borrowed in alternates(&directories[at])? {
                    // One that is not there is left out, as libgit2 does; one that is known is not looked through again.
                    if std::fs::canonicalize(&borrowed).is_ok_and(|real| known.insert(real)) {
                        directories.push(borrowed);
                    }
                }
                if directories.len() > DIRECTORIES {
                    let message = format!("it borrows from more than {DIRECTORIES} object directories");
                    return Err(borrows(&directories[0], message));
                }
            }
        }
        Ok(Self { directories })
    }

    /// Refuses an object whose file is damaged, as far as `most` bytes go: an object that says that it is larger is to be
    /// left unread.
    pub(super) fn refuse(&self, id: Oid, most: u64) -> Result<(), PortError> {
        self.is_within(id, most).map(drop)
    }

    /// The headers of all objects.
    pub(super) fn headers(&self) -> Result<Headers, git2::Error> {
        Headers::open(&self.directories[0])
    }

    /// Refuses a commit or tag that is damaged, or larger than any.
    fn refuse_commit(&self, id: Oid) -> Result<(), PortError> {
        if self.is_within(id, COMMIT_BYTES)? {
            return Ok(());
        }
        let message = format!("its object {id} is larger than any commit");
        let error = PortError::new(ErrorKind::Invalid, READ, self.directories[0].display().to_string(), message);
        Err(error.with_help("name a commit, a branch or a tag; `git cat-file -t` says what it is"))
    }

    /// Whether no file of an object has more than `most` bytes in it, none of which is damaged.
    fn is_within(&self, id: Oid, most: u64) -> Result<bool, PortError> {
        let name = hexadecimal(id);
        let mut is_within = true;
        for directory in &self.directories {
            let path = directory.join(&name[..2]).join(&name[2..]);
            pipes::refuse(&path)?;
            let Ok(file) = File::open(&path) else { continue };
            match read(file, most).map_err(|e| PortError::io(READ, path.display().to_string(), &e))? {
                Extent::Damaged => return Err(damaged(&id, &path.display().to_string())),
                Extent::Beyond => is_within = false,
                Extent::Whole => {}
            }
        }
        Ok(is_within)
    }

    /// What an object leads to beyond tags, once that can be read; `None` when libgit2 says that it cannot.
    pub(super) fn peeled(&self, repository: &Repository, mut id: Oid) -> Result<Option<Oid>, PortError> {
        for _ in 0..TAGS {
            self.refuse_commit(id)?;
            match repository.find_tag(id) {
                Ok(tag) => id = tag.target_id(),
                Err(_) => return Ok(Some(id)),
            }
        }
        Ok(None)
    }

    /// Refuses what is damaged of the objects that lead to a revision.
    pub(super) fn refuse_to(&self, repository: &Repository, revision: &str) -> Result<(), PortError> {
        let Some((name, steps)) = steps(revision) else { return self.refuse_all() };
        let starts = starts(repository, name);
        if starts.is_empty() {
            return self.refuse_all();
        }
        for start in starts {
            let mut at = self.peeled(repository, start)?;
            for step in &steps {
                let Some(commit) = at.and_then(|id| repository.find_commit(id).ok()) else { break };
                at = commit.parent_id(*step).ok();
                at.map_or(Ok(()), |id| self.refuse_commit(id))?;
            }
        }
        Ok(())
    }

    /// Refuses what is damaged of all objects that have a file: nobody knows which of them it will be.
    fn refuse_all(&self) -> Result<(), PortError> {
        let listed = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        let above = self.directories.iter().flat_map(|directory| listed(directory));
        let above = above.filter(|entry| entry.file_name().len() == 2);
        for file in above.flat_map(|entry| listed(&entry.path())).take(FILES) {
            let path = file.path();
            pipes::refuse(&path)?;
            let name =
                [path.parent().and_then(Path::file_name), path.file_name()].map(|part| part.and_then(|p| p.to_str()));
            let [Some(start), Some(end)] = name else { continue };
            let Ok(id) = Oid::from_str(&format!("{start}{end}")) else { continue };
            self.refuse(id, COMMIT_BYTES)?;
        }
        Ok(())
    }
}

/// The object directories that one borrows from, as libgit2 reads their names.
fn alternates(objects: &Path) -> Result<Vec<PathBuf>, PortError> {
    let file = objects.join("info/alternates");
    pipes::refuse(&file)?;
    let Ok(opened) = File::open(&file) else { return Ok(Vec::new()) };
    let mut text = String::new();
    let read = opened.take(ALTERNATES_BYTES + 1).read_to_string(&mut text);
    read.map_err(|e| PortError::io(READ, file.display().to_string(), &e))?;
    if text.len() as u64 > ALTERNATES_BYTES {
        return Err(borrows(&file, format!("it has more than {ALTERNATES_BYTES} bytes")));
    }
    let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let directory = |line: &str| match Path::new(line).is_absolute() || line.starts_with('.') {
        true => Ok(objects.join(line)),
        // libgit2 would look for it in the working directory of this process, git beside the objects.
        false => {
            let shown: String = line.chars().take(LINE_CHARS).collect();
            Err(borrows(&file, format!("{:?} is neither a full path nor begins with a dot", printable(&shown))))
        }
    };
    lines.map(directory).collect()
}

/// Objects of other repositories that cannot be followed.
fn borrows(subject: &Path, message: String) -> PortError {
    PortError::new(ErrorKind::Invalid, READ, subject.display().to_string(), message)
        .with_help("`git repack -a -d` copies what is borrowed; then info/alternates can be removed")
}

/// Reads a stream to its end, or until it gave `most` bytes and a header.
fn read(mut file: File, most: u64) -> io::Result<Extent> {
    const ROOM: usize = 32 << 10;
    let (mut input, mut output) = ([0; ROOM], [0; ROOM]);
    let mut inflate = Decompress::new(true);
    let (mut start, mut end) = (0, 0);
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        let Ok(status) = inflate.decompress(&input[start..end], &mut output, FlushDecompress::None) else {
            return Ok(Extent::Damaged);
        };
        let made = inflate.total_out() - before.1;
        start += usize::try_from(inflate.total_in() - before.0).unwrap_or(ROOM);
        if status == Status::StreamEnd {
            return Ok(Extent::Whole);
        }
        if inflate.total_out() > most.saturating_add(ROOM as u64) {
            return Ok(Extent::Beyond);
        }
        // Room that was filled may have hidden what comes next.
        if made < ROOM as u64 {
            end = file.read(&mut input)?;
            start = 0;
            if end == 0 {
                return Ok(Extent::Damaged);
            }
        }
    }
}

/// A name, and the numbers of the parents that lead from it to a revision; `None` when there is more to it.
fn steps(revision: &str) -> Option<(&str, Vec<usize>)> {
    /// Generations in one revision.
    const MOST: usize = 100_000;
    let end = revision.find(['~', '^', ':', '{']).unwrap_or(revision.len());
    let (name, mut rest) = revision.split_at(end);
    let mut steps = Vec::new();
    while let Some(sign) = rest.chars().next() {
        let behind = rest.strip_prefix(['~', '^'])?;
        let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let (number, behind) = behind.split_at(digits);
        let number = if number.is_empty() { 1 } else { number.parse().ok().filter(|n| *n <= MOST)? };
        match sign {
            '~' => steps.extend(std::iter::repeat_n(0, number)),
            // `^0` is the commit itself.
            _ => steps.extend(number.checked_sub(1)),
        }
        if steps.len() > MOST {
            return None;
        }
        rest = behind;
    }
    Some((if name == "@" { "HEAD" } else { name }, steps))
}

/// What a name may mean: a reference, the beginning of an object's name, or both.
fn starts(repository: &Repository, name: &str) -> Vec<Oid> {
    let reference = repository.resolve_reference_from_short_name(name);
    let named = reference.and_then(|found| found.resolve()).ok().and_then(|found| found.target());
    let is_hexadecimal = (4..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let prefix = is_hexadecimal.then(|| Oid::from_str(name).ok().zip(repository.odb().ok()));
    let whole = |(id, odb): (Oid, Odb<'_>)| odb.exists_prefix(id, name.len()).ok();
    named.into_iter().chain(prefix.flatten().and_then(whole)).collect()
}
