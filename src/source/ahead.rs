//! Blobs read ahead of a walk, on several threads. Whatever goes wrong here is left to the walk, which reads what it misses
//! by itself and says what is wrong.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{ObjectType, Odb, Oid, Repository};

use super::checkout::{Blob, Blobs};
use super::limits::{Limits, TREE_BYTES};
use super::name::{is_hidden, is_manifest};
use crate::model::BlobId;

/// Blobs that are not worth a thread of their own.
const FEW: usize = 256;
const MOST_THREADS: usize = 4;

/// The blobs of some trees that a walk will ask for. Their hashes are not computed again, as git does not either when it
/// compares: what is damaged fails to decompress.
pub(super) fn read(repository: &Repository, tops: [Option<Oid>; 2], limits: &Limits) -> Blobs {
    git2::opts::strict_hash_verification(false);
    let odb = repository.odb().ok();
    let mut wanted = Wanted { repository, odb, limits, seen: HashSet::new(), entries: 0, blobs: Vec::new() };
    for top in tops.into_iter().flatten() {
        wanted.tree(top, 0);
    }
    let blobs = wanted.blobs;
    let objects = repository.commondir().join("objects");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS).min(blobs.len() / FEW).max(1);
    let bytes = AtomicU64::new(0);
    let part = |ids: &[Oid]| some(&objects, ids, limits, &bytes);
    let read = std::thread::scope(|scope| {
        let parts: Vec<&[Oid]> = blobs.chunks(blobs.len().div_ceil(threads).max(1)).collect();
        let Some((first, others)) = parts.split_first() else { return Vec::new() };
        let spawn = |ids| (ids, std::thread::Builder::new().spawn_scoped(scope, move || part(ids)).ok());
        let others: Vec<(&[Oid], _)> = others.iter().copied().map(spawn).collect();
        let mut read = part(first);
        for (ids, other) in others {
            // A part whose thread the system refused, as at a limit of processes, is read here.
            let found = other.map_or_else(
                || part(ids),
                |other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
            read.extend(found);
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

/// Reads blobs from an object directory, which each thread opens for itself.
fn some(objects: &Path, ids: &[Oid], limits: &Limits, bytes: &AtomicU64) -> Vec<(Oid, Blob)> {
    let mut read = Vec::with_capacity(ids.len());
    let Some(odb) = objects.to_str().and_then(|path| {
        let odb = Odb::new().ok()?;
        odb.add_disk_alternate(path).ok()?;
        Some(odb)
    }) else {
        return read;
    };
    for id in ids {
        let Ok((size, kind)) = odb.read_header(*id) else { continue };
        if kind != ObjectType::Blob || size as u64 > limits.file_bytes {
            continue;
        }
        // Both sides may be as large as one is allowed to be.
        if bytes.fetch_add(size as u64, Ordering::Relaxed) > limits.total_bytes.saturating_mul(2) {
            break;
        }
        if let Ok(blob) = odb.read(*id) {
            read.push((*id, (BlobId(id.to_string()), blob.data().into())));
        }
    }
    read
}
