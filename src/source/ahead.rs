//! Blobs read ahead of a walk, on several threads. Whatever goes wrong here is left to the walk, which reads what it misses
//! by itself and says what is wrong.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use git2::{ObjectType, Odb, Oid, Repository};

use super::checkout::{Blob, Blobs};
use super::limits::{Limits, TREE_BYTES};
use super::name::{is_hidden, is_manifest};
use super::pack::{Packs, Place, Unpacker};
use crate::model::BlobId;

/// Blobs that are not worth a thread of their own.
const FEW: usize = 256;
const MOST_THREADS: usize = 4;
/// How many blobs a thread takes at a time.
const BATCH: usize = 64;
/// Bytes of packs that are read whole for each blob that is wanted: more would take longer than it saves.
const PACK_BYTES_A_BLOB: u64 = 4 << 10;
/// Deflate makes at most 1032 bytes of one.
const DEFLATE: u64 = 1032;

/// The blobs of some trees that a walk will ask for. Their hashes are not computed again, as git does not either when it
/// compares: what is damaged fails to decompress or differs from its pack's CRC-32, and who can forge an object can as well
/// commit it.
pub(super) fn read(repository: &Repository, tops: [Option<Oid>; 2], limits: &Limits) -> Blobs {
    git2::opts::strict_hash_verification(false);
    let odb = repository.odb().ok();
    let mut wanted = Wanted { repository, odb, limits, seen: HashSet::new(), entries: 0, blobs: Vec::new() };
    for top in tops.into_iter().flatten() {
        wanted.tree(top, 0);
    }
    let blobs = wanted.blobs;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS).min(blobs.len() / FEW).max(1);
    let store = Store::open(repository.commondir().join("objects"), blobs, limits);
    let read = std::thread::scope(|scope| {
        // The system may refuse a thread, as at a limit of processes: those that there are do the work.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, || store.some()).ok();
        let others: Vec<_> = (1..threads).map_while(spawn).collect();
        let mut read = store.some();
        for other in others {
            read.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        read
    });
    read.into_iter().collect()
}

struct Wanted<'a> {
    repository: &'a Repository,
    odb: Option<Odb<'a>>,
    limits: &'a Limits,
    /// Trees and blobs met so far: each is wanted once.
    seen: HashSet<Oid>,
    entries: usize,
    blobs: Vec<Oid>,
}

impl Wanted<'_> {
    fn tree(&mut self, id: Oid, depth: usize) {
        if depth > self.limits.depth || self.entries > self.limits.entries || !self.seen.insert(id) {
            return;
        }
        let is_bearable = |odb: &Odb<'_>| odb.read_header(id).is_ok_and(|(size, _)| size <= TREE_BYTES);
        if !self.odb.as_ref().is_some_and(is_bearable) {
            return;
        }
        let Ok(tree) = self.repository.find_tree(id) else { return };
        self.entries += tree.len();
        for entry in &tree {
            let Ok(name) = std::str::from_utf8(entry.name_bytes()) else { continue };
            match entry.kind() {
                Some(ObjectType::Tree) if !is_hidden(name) => self.tree(entry.id(), depth + 1),
                Some(ObjectType::Blob) if is_manifest(name) && self.seen.insert(entry.id()) => {
                    self.blobs.push(entry.id());
                }
                _ => {}
            }
        }
    }
}

/// An object directory, and what is wanted of it.
struct Store<'a> {
    objects: PathBuf,
    packs: Packs,
    /// In the order of their places, which is the fastest; those that are in no pack are last.
    wanted: Vec<(Option<Place>, Oid)>,
    limits: &'a Limits,
    /// How many of them a thread has taken.
    taken: AtomicUsize,
    bytes: AtomicU64,
}

impl<'a> Store<'a> {
    fn open(objects: PathBuf, blobs: Vec<Oid>, limits: &'a Limits) -> Self {
        let packs = Packs::open(&objects, PACK_BYTES_A_BLOB * blobs.len() as u64);
        let mut wanted: Vec<(Option<Place>, Oid)> = blobs.into_iter().map(|id| (packs.find(id), id)).collect();
        wanted.sort_by_key(|(place, _)| (place.is_none(), *place));
        Self { objects, packs, wanted, limits, taken: AtomicUsize::new(0), bytes: AtomicU64::new(0) }
    }

    /// Reads blobs until none is left.
    fn some(&self) -> Vec<(Oid, Blob)> {
        let mut read = Vec::new();
        let mut unpacker = Unpacker::new(&self.packs, self.limits.file_bytes);
        let mut odb = None;
        loop {
            let start = self.taken.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = self.wanted.get(start..).filter(|rest| !rest.is_empty()) else { return read };
            for (place, id) in batch.iter().take(BATCH) {
                let unpacked = place.and_then(|place| unpacker.blob(place));
                let other =
                    || odb.get_or_insert_with(|| open(&self.objects)).as_ref().and_then(|odb| self.other(odb, *id));
                let Some(bytes) = unpacked.or_else(other) else { continue };
                // Both sides may be as large as one is allowed to be.
                let before = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if before > self.limits.total_bytes.saturating_mul(2) {
                    return read;
                }
                read.push((*id, (BlobId(id.to_string().into()), bytes)));
            }
        }
    }

    /// Reads a blob through libgit2, once it is known to be no larger than is allowed.
    fn other(&self, odb: &Odb<'_>, id: Oid) -> Option<Arc<[u8]>> {
        let is_small = || {
            let name = id.to_string();
            let file = self.objects.join(&name[..2]).join(&name[2..]);
            // A file of its own that cannot hold too much, and that no pack comes before. Asking it for its size would be to
            // read it twice.
            self.packs.lack(id)
                && std::fs::metadata(file).is_ok_and(|file| file.len() <= self.limits.file_bytes / DEFLATE)
        };
        let is_bearable = || odb.read_header(id).is_ok_and(|(size, _)| size as u64 <= self.limits.file_bytes);
        if !is_small() && !is_bearable() {
            return None;
        }
        odb.read(id).ok().filter(|object| object.kind() == ObjectType::Blob).map(|object| object.data().into())
    }
}

/// An object directory, which each thread opens for itself.
fn open(objects: &Path) -> Option<Odb<'static>> {
    let odb = Odb::new().ok()?;
    odb.add_disk_alternate(objects.to_str()?).ok()?;
    Some(odb)
}
