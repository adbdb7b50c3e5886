//! Trees and blobs read ahead of a walk, on several threads. Whatever goes wrong here is left to the walk, which reads what
//! it misses by itself and says what is wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use git2::{ObjectType, Oid, Repository};

use super::limits::{Limits, TREE_BYTES};
use super::name::{is_hidden, is_manifest};
use super::objects::{Objects, Wanted, Wish, hexadecimal};
use super::tree;
use super::walk::Kind;
use crate::model::BlobId;
use crate::port::PortError;

/// Blobs, and trees, that are not worth a thread of their own.
const FEW_BLOBS: usize = 256;
const FEW_TREES: usize = 32;
/// Bytes of packs that are read whole before it is known how much is wanted of them.
const PACK_BYTES: u64 = 8 << 20;
/// The same for each blob that is wanted: more would take longer than it saves.
const PACK_BYTES_A_BLOB: u64 = 4 << 10;
/// Bytes of trees for each entry that a walk looks at; most take about 40.
const ENTRY_BYTES: u64 = 64;
/// Bytes that each thread may make for each that a revision may have: bases of deltas are made again once there are too many.
const WORK: u64 = 16;

/// An object's name; [`Oid`] itself is compared by a call of libgit2.
type Name = [u8; 20];

/// Objects of one kind.
type Map<T> = HashMap<Name, T, RandomState>;

/// What was read ahead.
pub(super) struct Ahead {
    trees: Map<Arc<[u8]>>,
    blobs: Map<(BlobId, Arc<[u8]>)>,
}

impl Ahead {
    /// The entries of a tree.
    pub(super) fn tree(&self, id: Oid) -> Option<Vec<tree::Item<'_>>> {
        tree::items(self.trees.get(id.as_bytes())?)
    }

    /// A blob's name and bytes.
    pub(super) fn blob(&self, id: Oid) -> Option<&(BlobId, Arc<[u8]>)> {
        self.blobs.get(id.as_bytes())
    }
}

/// The trees and blobs below some trees that a walk will ask for. Their hashes are not computed here, as git does not either
/// when it compares: what is damaged fails to decompress or differs from its pack's CRC-32. Those of blobs that differ are
/// when it is known which these are.
///
/// # Errors
/// When an object takes too much work, or might take for ever: the walk would only run into it as well.
pub(super) fn read(repository: &Repository, tops: [Option<Oid>; 2], limits: &Limits) -> Result<Ahead, PortError> {
    git2::opts::strict_hash_verification(false);
    let objects = Objects::open(repository.commondir().join("objects"), PACK_BYTES);
    let mut trees = Trees { limits, read: Map::default(), entries: AtomicUsize::new(0), blobs: Vec::new() };
    trees.read(&objects, tops.into_iter().flatten().collect())?;
    let Trees { read: trees, blobs: mut wishes, .. } = trees;
    let objects = objects.with_packs(PACK_BYTES_A_BLOB * wishes.len() as u64, &mut wishes);
    // Both sides may be as large as one is allowed to be.
    let most_together = limits.total_bytes.saturating_mul(2);
    let (kind, most, work) = (ObjectType::Blob, limits.file_bytes, work(limits));
    let wanted = Wanted { kind, wishes, most, most_together, work, few: FEW_BLOBS };
    let blobs = objects.read(wanted, |id, bytes| (key(id), (BlobId(hexadecimal(id).into()), bytes)))?;
    Ok(Ahead { trees, blobs: blobs.into_iter().collect() })
}

/// How many bytes may be made on the way to what is wanted.
fn work(limits: &Limits) -> u64 {
    limits.total_bytes.saturating_mul(WORK)
}

/// The trees that are read, and the manifests they name.
struct Trees<'l> {
    limits: &'l Limits,
    read: Map<Arc<[u8]>>,
    /// How many they have together.
    entries: AtomicUsize,
    /// As often as they are named.
    blobs: Vec<Wish>,
}

impl Trees<'_> {
    /// Reads trees and those below them, level by level, each once.
    fn read(&mut self, objects: &Objects, mut level: Vec<Oid>) -> Result<(), PortError> {
        for _ in 0..=self.limits.depth {
            level.retain(|id| !self.read.contains_key(id.as_bytes()));
            if level.is_empty() {
                break;
            }
            let wishes = level.drain(..).map(|id| objects.wish(id)).collect();
            let (kind, most, work) = (ObjectType::Tree, TREE_BYTES as u64, work(self.limits));
            let most_together = ENTRY_BYTES * self.limits.entries as u64;
            let wanted = Wanted { kind, wishes, most, most_together, work, few: FEW_TREES };
            for (id, (trees, blobs), bytes) in
                objects.read(wanted, |id, bytes| (id, self.named(&bytes, objects), bytes))?
            {
                self.read.insert(key(id), bytes);
                level.extend(trees);
                self.blobs.extend(blobs);
            }
        }
        Ok(())
    }

    /// The trees and manifests that a tree names; none once there are more entries than a walk looks at.
    fn named(&self, bytes: &[u8], objects: &Objects) -> (Vec<Oid>, Vec<Wish>) {
        let (mut trees, mut blobs) = (Vec::new(), Vec::new());
        let items = tree::items(bytes).unwrap_or_default();
        if self.entries.fetch_add(items.len(), Ordering::Relaxed) > self.limits.entries {
            return (trees, blobs);
        }
        for item in items {
            match (item.kind, std::str::from_utf8(item.name)) {
                (Kind::Directory, Ok(name)) if !is_hidden(name) => trees.push(item.id),
                (Kind::File, Ok(name)) if is_manifest(name) => blobs.push(objects.wish(item.id)),
                _ => {}
            }
        }
        (trees, blobs)
    }
}

fn key(id: Oid) -> Name {
    *id.as_bytes().first_chunk().expect("invariant: SHA-1 has 20 bytes")
}
