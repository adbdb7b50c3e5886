//! A directory on disk that is read by several threads while it is walked: opening, reading and naming a small file takes
//! as long as half of checking it, and a walk alone asks for one after the other.
//!
//! The walk reads its files from the front. The other threads take from the back of what was listed, and the walk finds
//! there what they have read. Whether they are quick, slow or not there at all, it sees the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::limits::Limits;
use super::name::{is_manifest, join};
use super::walk::{Content, Entry, Found, Kind, Scope, Tree, walk};
use crate::port::ReadError;
use crate::sys::cores::cores;

const MOST_THREADS: usize = 4;

/// Reads every manifest below a directory, as [`walk`] does. `in_repository` is whether it lies in a git repository: another
/// one in it is not read then.
pub(super) fn walk_disk(disk: Disk, in_repository: bool, scope: &Scope<'_>) -> Result<Found, ReadError> {
    let threads = cores().min(MOST_THREADS);
    with_threads(disk, in_repository, scope, threads)
}

fn with_threads(disk: Disk, in_repository: bool, scope: &Scope<'_>, threads: usize) -> Result<Found, ReadError> {
    let shared = Eager { disk, in_repository, limits: scope.limits, state: Mutex::default(), news: Condvar::new() };
    std::thread::scope(|threads_of_walk| {
        // The system may refuse a thread, as at a limit of processes: the walk reads by itself what nobody else does.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(threads_of_walk, || shared.help()).ok();
        let _helpers: Vec<_> = (1..threads).map_while(spawn).collect();
        let _end = End(&shared);
        walk(&shared, scope)
    })
}

/// What the threads share.
struct Eager<'a> {
    disk: Disk,
    /// Whether the directory lies in a repository, so that another one in it is not part of it.
    in_repository: bool,
    limits: &'a Limits,
    state: Mutex<State>,
    /// Something was listed, was read, or the walk is over.
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// Manifests that were listed and that nobody has read yet, by path.
    listed: BTreeMap<String, Entry<'static>>,
    /// What was read ahead; nothing yet while a thread is at it.
    read: HashMap<String, Option<Result<Content, ReadError>>>,
    /// How much was read ahead.
    files: usize,
    bytes: u64,
    over: bool,
}

impl Eager<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads ahead until the walk is over, or as much as a walk takes.
    fn help(&self) {
        let mut state = self.state();
        while !state.over && state.files < self.limits.files && state.bytes < self.limits.total_bytes {
            let Some((path, entry)) = state.listed.pop_last() else {
                state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.read.insert(path.clone(), None);
            drop(state);
            let content = self.disk.read(&path, &entry, self.limits.file_bytes);
            state = self.state();
            state.files += 1;
            if let Ok(Content::Bytes(_, bytes)) = &content {
                state.bytes += bytes.len() as u64;
            }
            state.read.insert(path, Some(content));
            self.news.notify_all();
        }
    }
}

impl Tree for Eager<'_> {
    fn list(&self, dir: &str) -> Result<Vec<Entry<'_>>, ReadError> {
        let mut entries = self.disk.list(dir)?;
        if self.in_repository {
            self.disk.mark_repositories(dir, &mut entries);
        }
        let is_wanted = |entry: &&Entry<'_>| entry.kind == Kind::File && entry.exact && is_manifest(&entry.name);
        let wanted = entries.iter().filter(is_wanted).map(|entry| (join(dir, &entry.name), entry.clone().into_owned()));
        self.state().listed.extend(wanted);
        self.news.notify_all();
        Ok(entries)
    }

    fn read(&self, path: &str, entry: &Entry<'_>, limit: u64) -> Result<Content, ReadError> {
        let mut state = self.state();
        while let Some(slot) = state.read.get_mut(path) {
            if let Some(content) = slot.take() {
                state.read.remove(path);
                return content;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.listed.remove(path);
        drop(state);
        self.disk.read(path, entry, limit)
    }

    fn leads_to_directory(&self, path: &str, entry: &Entry<'_>) -> bool {
        self.disk.leads_to_directory(path, entry)
    }
}

/// Lets the other threads go, also when a walk panics.
struct End<'a, 'b>(&'a Eager<'b>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for n in 0..100 {
            write(&format!("{n:02}.yaml"), &format!("n: {n}\n"));
            write(&format!("below/{n:02}.json"), &format!("{{\"n\": {n}}}\n"));
        }
        write(".podwrightignore", "1*.yaml\n");
        write(".hidden.yaml", "a: b\n");
        write("notes.txt", "no manifest\n");
        dir
    }

    /// What a walk finds, or why it does not, as text; the same whoever reads.
    fn walked(dir: &tempfile::TempDir, limits: &Limits) -> String {
        let scope = Scope { limits, skip: &BTreeSet::new(), shown_below: "", twin: None };
        let open = || Disk::open(dir.path()).unwrap();
        let text = |found: Result<Found, ReadError>| match found {
            Ok(found) => format!("{:?} {:?} {:?}", found.files, found.ignored, found.rule_files),
            Err(error) => format!("{error:?}"),
        };
        let alone = text(walk(&open(), &scope));
        for threads in [1, 2, 5] {
            assert_eq!(text(with_threads(open(), false, &scope, threads)), alone, "{threads} threads");
        }
        alone
    }

    #[test]
    fn a_walk_finds_the_same_whoever_reads() {
        let dir = tree();
        let limits = Limits::default();
        assert_eq!(walked(&dir, &limits).matches("SourceFile").count(), 190);
        assert!(walked(&dir, &Limits { files: 50, ..limits.clone() }).contains("more than 50 manifest files"));
        assert!(walked(&dir, &Limits { total_bytes: 100, ..limits.clone() }).contains("more than 100 bytes"));
        assert!(walked(&dir, &Limits { file_bytes: 6, ..limits.clone() }).contains("file-too-large"));
        std::os::unix::fs::symlink("00.yaml", dir.path().join("below/link.yaml")).unwrap();
        assert!(walked(&dir, &limits).contains("symbolic-link"));
    }
}
