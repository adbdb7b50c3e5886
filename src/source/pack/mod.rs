//! Many blobs out of git's packs, by as many threads as there are: libgit2 takes a lock or ten for every step from a delta
//! to its base, and must walk them all once more to say how large a blob is.
//!
//! It reads what git writes today (version 2, SHA-1) and nothing else. Whatever is out of the ordinary, too large or
//! damaged is `None`, and left to libgit2, which knows it or says what is wrong. Nothing is decompressed before its size
//! is known to be bearable, bases of deltas included.
//!
//! What is damaged never becomes an object: zlib checks the bytes of an entry, the checksum in the index its header, which
//! names the base of a delta, and no two objects have one place. Hashes are left to whoever brought the pack here, as git
//! does it too.

mod entry;
mod index;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use git2::Oid;

use entry::{Header, Kind};
use index::Index;

/// The largest pack that is read whole.
const PACK_BYTES: u64 = 64 << 20;
/// Packs that are looked into.
const PACKS: usize = 64;
/// How many deltas may stand between an object and one that is whole; git makes 50, or 250 when asked for small packs.
const CHAIN: usize = 4096;
/// Bytes of bases nobody asked for that a thread keeps.
const KEPT_BYTES: usize = 16 << 20;

/// The packs of an object directory.
pub(super) struct Packs {
    read: Vec<Pack>,
    /// There is none that was not read.
    are_all: bool,
}

struct Pack {
    index: Index,
    bytes: Vec<u8>,
}

/// Where a pack has an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pack: usize,
    offset: usize,
}

impl Packs {
    /// Reads the packs of an object directory, as long as they have no more than `most` bytes together.
    pub(super) fn open(objects: &Path, most: u64) -> Self {
        let mut left = most.min(PACK_BYTES);
        let entries = std::fs::read_dir(objects.join("pack")).into_iter().flatten().flatten();
        let paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        let mut indexes: Vec<_> = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "idx")).collect();
        indexes.sort();
        // An index of several packs may know one that has none of its own.
        let is_plain = !paths.iter().any(|path| path.ends_with("multi-pack-index"));
        let count = indexes.len();
        let mut packs = Vec::new();
        for index in indexes.into_iter().take(PACKS) {
            let Some(pack) = Pack::open(index, left) else { continue };
            left = left.saturating_sub((pack.bytes.len() + pack.index.len()) as u64);
            packs.push(pack);
        }
        Self { are_all: is_plain && packs.len() == count, read: packs }
    }

    /// Whether an object certainly is in no pack of the directory.
    pub(super) fn lack(&self, id: Oid) -> bool {
        self.are_all && self.find(id).is_none()
    }

    /// Where an object is, if it is in one of them.
    pub(super) fn find(&self, id: Oid) -> Option<Place> {
        let mut found = self.read.iter().enumerate().map(|(pack, file)| (pack, file.index.offset(id.as_bytes())));
        found.find_map(|(pack, offset)| Some(Place { pack, offset: offset? }))
    }
}

impl Pack {
    fn open(index: &Path, most: u64) -> Option<Self> {
        // A pipe would never end, and neither would a link to a device.
        let read = |path: &Path| {
            let is_bearable = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= most);
            is_bearable.then(|| std::fs::read(path).ok())?
        };
        let pack = Self { bytes: read(&index.with_extension("pack"))?, index: Index::new(read(index)?)? };
        pack.bytes.starts_with(b"PACK\0\0\0\x02").then_some(pack)
    }
}

/// Makes blobs of a pack's entries, one after the other. Fastest in the order of their places: a base comes before its
/// deltas.
pub(super) struct Unpacker<'p> {
    packs: &'p Packs,
    /// No blob, base or delta may have more bytes.
    most: u64,
    known: HashMap<Place, Arc<[u8]>>,
    kept: usize,
    inflate: Decompress,
}

impl<'p> Unpacker<'p> {
    pub(super) fn new(packs: &'p Packs, most: u64) -> Self {
        Self { packs, most, known: HashMap::new(), kept: 0, inflate: Decompress::new(true) }
    }

    /// The blob at a place.
    pub(super) fn blob(&mut self, place: Place) -> Option<Arc<[u8]>> {
        let pack = self.packs.read.get(place.pack)?;
        let mut deltas: Vec<(Place, Header<'_>)> = Vec::new();
        let mut at = place;
        let mut object = loop {
            if let Some(known) = self.known.get(&at) {
                break Arc::clone(known);
            }
            let header = entry::header(&pack.bytes, at.offset).filter(|header| header.size <= self.most)?;
            let base = match header.kind {
                Kind::Blob => {
                    let whole: Arc<[u8]> = self.inflate(pack, at, header)?.into();
                    self.keep(at, &whole, at == place);
                    break whole;
                }
                Kind::Before(distance) => at.offset.checked_sub(distance).filter(|_| distance > 0)?,
                Kind::Named(name) => pack.index.offset(name)?,
            };
            deltas.push((at, header));
            if deltas.len() > CHAIN {
                return None;
            }
            at = Place { offset: base, ..at };
        };
        while let Some((at, header)) = deltas.pop() {
            let delta = self.inflate(pack, at, header)?;
            object = entry::apply(&delta, &object, self.most)?.into();
            self.keep(at, &object, at == place);
        }
        Some(object)
    }

    /// The bytes of the entry at a place, if they are those that the index was made for.
    fn inflate(&mut self, pack: &Pack, place: Place, header: Header<'_>) -> Option<Vec<u8>> {
        let size = usize::try_from(header.size).ok()?;
        // One byte more, so that a stream that is longer than it says has not ended.
        let mut bytes = Vec::with_capacity(size + 1);
        self.inflate.reset(true);
        let status = self.inflate.decompress_vec(pack.bytes.get(header.data..)?, &mut bytes, FlushDecompress::Finish);
        if !matches!(status, Ok(Status::StreamEnd)) || bytes.len() != size {
            return None;
        }
        let end = header.data.checked_add(usize::try_from(self.inflate.total_in()).ok()?)?;
        let mut checksum = Crc::new();
        checksum.update(pack.bytes.get(place.offset..end)?);
        (Some(checksum.sum()) == pack.index.checksum(place.offset)).then_some(bytes)
    }

    /// Remembers an object, for others may be deltas against it. One that was asked for lives on anyway.
    fn keep(&mut self, place: Place, object: &Arc<[u8]>, was_asked_for: bool) {
        let more = if was_asked_for { 0 } else { object.len() };
        if self.kept + more <= KEPT_BYTES {
            self.kept += more;
            self.known.insert(place, Arc::clone(object));
        }
    }
}

#[cfg(test)]
mod tests;
