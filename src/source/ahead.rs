//! Trees and blobs read ahead of a walk, on several threads. Whatever goes wrong here is left to the walk, which reads what
//! it misses by itself and says what is wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use git2::{ObjectType, Oid};

use super::checkout::Checkout;
use super::limits::{Limits, TREE_BYTES};
use super::name::{is_hidden, is_manifest};
use super::objects::{Objects, Wanted, Wish, arranged};
use super::tree::{self, Item};
use super::walk::Kind;
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
    trees: Map<Listing>,
    /// Where among the blobs each manifest is that a tree names.
    places: Vec<u32>,
    /// Those that were read.
    blobs: Vec<OnceLock<Arc<[u8]>>>,
}

/// A tree that was read.
struct Listing {
    bytes: Arc<[u8]>,
    /// The number of the first manifest it names; the others follow in its order. `None` when they were not looked at.
    first: Option<usize>,
}

impl Ahead {
    /// The entries of a tree, and the numbers of those that may have been read.
    pub(super) fn tree<'a>(&'a self, id: Oid) -> Option<impl Iterator<Item = (Item<'a>, Option<usize>)>> {
        let Listing { bytes, first } = self.trees.get(id.as_bytes())?;
        let mut next = *first;
        let numbered = move |item: Item<'a>| {
            let number = if is_wanted(&item) { next } else { None };
            if number.is_some() {
                next = number.map(|number| number + 1);
            }
            (item, number)
        };
        Some(tree::items(bytes)?.into_iter().map(numbered))
    }

    /// The bytes of a manifest by its number.
    pub(super) fn blob(&self, number: usize) -> Option<&Arc<[u8]>> {
        self.blobs.get(*self.places.get(number)? as usize)?.get()
    }
}

/// Whether an entry may be a manifest that a walk will ask for.
fn is_wanted(item: &Item<'_>) -> bool {
    item.kind == Kind::File && std::str::from_utf8(item.name).is_ok_and(is_manifest)
}

/// The trees and blobs below some trees that a walk will ask for. Their hashes are not computed here, as git does not either
/// when it compares: what is damaged fails to decompress or differs from its pack's CRC-32. Those of blobs that differ are
/// when it is known which these are.
///
/// # Errors
/// When an object takes too much work, or might take for ever: the walk would only run into it as well.
pub(super) fn read(checkout: &Checkout, tops: [Option<Oid>; 2], limits: &Limits) -> Result<Ahead, PortError> {
    git2::opts::strict_hash_verification(false);
    let objects = Objects::open(checkout.repository.commondir().join("objects"), &checkout.intact, PACK_BYTES);
    let mut trees = Trees { limits, read: Map::default(), entries: AtomicUsize::new(0), blobs: Vec::new() };
    trees.read(&objects, tops.into_iter().flatten().collect())?;
    let Trees { read: trees, blobs: mut wishes, .. } = trees;
    let objects = objects.with_packs(PACK_BYTES_A_BLOB * wishes.len() as u64, &mut wishes);
    // Both sides may be as large as one is allowed to be.
    let most_together = limits.total_bytes.saturating_mul(2);
    let (kind, most, work) = (ObjectType::Blob, limits.file_bytes, work(limits));
    let (wishes, places) = arranged(&wishes);
    let blobs: Vec<_> = wishes.iter().map(|_| OnceLock::new()).collect();
    let wanted = Wanted { kind, wishes, most, most_together, work, few: FEW_BLOBS };
    objects.read(&wanted, |at, bytes| drop(blobs[at].set(bytes)))?;
    Ok(Ahead { trees, places, blobs })
}

/// How many bytes may be made on the way to what is wanted.
fn work(limits: &Limits) -> u64 {
    limits.total_bytes.saturating_mul(WORK)
}

/// The trees that are read, and the manifests they name.
struct Trees<'l> {
    limits: &'l Limits,
    read: Map<Listing>,
    /// How many they have together.
    entries: AtomicUsize,
    /// As often as they are named.
    blobs: Vec<Wish>,
}

impl Trees<'_> {
    /// Reads trees and those below them, level by level, each once.
    fn read(&mut self, objects: &Objects<'_>, mut level: Vec<Oid>) -> Result<(), PortError> {
        for _ in 0..=self.limits.depth {
            level.retain(|id| !self.read.contains_key(id.as_bytes()));
            if level.is_empty() {
                break;
            }
            let (wishes, _) = arranged(&level.drain(..).map(|id| objects.wish(id)).collect::<Vec<_>>());
            let (kind, most, work) = (ObjectType::Tree, TREE_BYTES as u64, work(self.limits));
            let most_together = ENTRY_BYTES * self.limits.entries as u64;
            let wanted = Wanted { kind, wishes, most, most_together, work, few: FEW_TREES };
            let read = objects.read(&wanted, |at, bytes| (at, self.named(&bytes, objects), bytes))?;
            for (at, named, bytes) in read {
                let first = named.is_some().then_some(self.blobs.len());
                self.read.insert(key(wanted.wishes[at].id), Listing { bytes, first });
                if let Some((trees, blobs)) = named {
                    level.extend(trees);
                    self.blobs.extend(blobs);
                }
            }
        }
        Ok(())
    }

    /// The trees and manifests that a tree names; `None` once there are more entries than a walk looks at.
    fn named(&self, bytes: &[u8], objects: &Objects<'_>) -> Option<(Vec<Oid>, Vec<Wish>)> {
        let (mut trees, mut blobs) = (Vec::new(), Vec::new());
        let items = tree::items(bytes)?;
        if self.entries.fetch_add(items.len(), Ordering::Relaxed) > self.limits.entries {
            return None;
        }
        for item in items {
            if is_wanted(&item) {
                blobs.push(objects.wish(item.id));
            } else if item.kind == Kind::Directory && std::str::from_utf8(item.name).is_ok_and(|name| !is_hidden(name))
            {
                trees.push(item.id);
            }
        }
        Some((trees, blobs))
    }
}

fn key(id: Oid) -> Name {
    *id.as_bytes().first_chunk().expect("invariant: SHA-1 has 20 bytes")
}
