//! Many objects out of git's packs, by as many threads as there are: libgit2 takes a lock or ten for every step from a delta
//! to its base, and must walk them all once more to say how large an object is.
//!
//! It reads blobs and trees as git packs them today (version 2, SHA-1) and nothing else. Whatever is out of the ordinary, too
//! large or damaged is `None`, and left to libgit2, which knows it or says what is wrong. Nothing is decompressed before its
//! size is known to be bearable, bases of deltas included.
//!
//! A few bytes of a pack can stand for any amount of work, which libgit2 would do: there is a bound to it, and what is given
//! up for it is told from what is left out ([`Unpacker::is_spent`]).
//!
//! What is damaged never becomes an object: zlib checks the bytes of an entry, the checksum in the index its header, which
//! names the base of a delta, and no two objects have one place. Hashes are left to whoever brought the pack here, as git
//! does it too.

mod entry;
mod index;

use std::path::Path;
use std::sync::Arc;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use git2::{ObjectType, Oid};

use entry::{Header, Kind};
use index::Index;

/// The largest pack that is read whole.
const PACK_BYTES: u64 = 64 << 20;
/// Packs that are looked into.
const PACKS: usize = 64;
/// How many deltas may stand between an object and one that is whole; git makes 50, when asked for more 4095 at most.
const CHAIN: usize = 4096;
/// What a look at a header counts, in bytes that are made.
const STEP: u64 = 64;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pack: usize,
    offset: u32,
    /// Which of the index's names it has.
    position: usize,
}

impl Place {
    /// Greater for what comes later in a pack, or in a later pack; less than 2^63.
    pub(super) fn order(self) -> u64 {
        (self.pack as u64) << 32 | u64::from(self.offset)
    }
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

    /// Whether every pack of the directory was read.
    pub(super) fn are_all(&self) -> bool {
        self.are_all
    }

    /// Where an object is, if it is in one of them.
    pub(super) fn find(&self, id: Oid) -> Option<Place> {
        let mut packs = self.read.iter().enumerate();
        packs.find_map(|(pack, Pack { index, .. })| {
            let position = index.position(id.as_bytes())?;
            Some(Place { pack, offset: index.offset_of(position)?, position })
        })
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

/// Makes objects of a pack's entries, one after the other. Fastest in the order of their places: a base comes before its
/// deltas.
pub(super) struct Unpacker<'p> {
    packs: &'p Packs,
    /// What the objects are, and with them the bases of their deltas.
    kind: ObjectType,
    /// No object, base or delta may have more bytes.
    most: u64,
    /// Bytes that may still be made in passing: a few of a pack can stand for any number.
    work: u64,
    /// An object took more work than was left, or has more deltas below it than git makes, perhaps in a circle.
    is_spent: bool,
    /// The objects of each pack that others may be deltas against, by position.
    known: Vec<Vec<Option<Arc<[u8]>>>>,
    kept: usize,
    inflate: Decompress,
    /// What is made in passing.
    raw: Vec<u8>,
    made: Vec<u8>,
}

impl<'p> Unpacker<'p> {
    /// Objects of a kind, with no more than `most` bytes each, as long as no more than `work` bytes are made for them.
    pub(super) fn new(packs: &'p Packs, kind: ObjectType, most: u64, work: u64) -> Self {
        let (known, inflate, raw, made) = (vec![Vec::new(); packs.read.len()], Decompress::new(true), vec![], vec![]);
        Self { packs, kind, most, work, is_spent: false, known, kept: 0, inflate, raw, made }
    }

    /// Whether an object was given up for the work it takes. libgit2 would do that work, or never end.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// The object at a place.
    pub(super) fn object(&mut self, place: Place) -> Option<Arc<[u8]>> {
        let pack = self.packs.read.get(place.pack)?;
        if self.known[place.pack].is_empty() {
            self.known[place.pack] = vec![None; pack.index.count()];
        }
        let mut deltas: Vec<(Place, Header<'_>)> = Vec::new();
        let (mut at, mut is_bearable) = (place, true);
        let mut object = loop {
            if let Some(known) = &self.known[at.pack][at.position] {
                break Arc::clone(known);
            }
            let header = entry::header(&pack.bytes, at.offset)?;
            // What is too large is left to libgit2, which must not go in circles either to say so.
            is_bearable &= header.size <= self.most;
            let position = match header.kind {
                Kind::Whole(kind) if kind == self.kind && is_bearable => {
                    self.inflate(pack, at, header)?;
                    let whole = Arc::from(&*self.raw);
                    self.keep(at, &whole, at == place);
                    break whole;
                }
                Kind::Whole(_) => return None,
                Kind::Before(distance) => pack.index.position_at(at.offset.checked_sub(distance)?)?,
                Kind::Named(name) => pack.index.position(name)?,
            };
            deltas.push((at, header));
            self.spend(if deltas.len() > CHAIN { u64::MAX } else { STEP })?;
            at = Place { offset: pack.index.offset_of(position)?, position, ..at };
        };
        if !is_bearable {
            return None;
        }
        while let Some((at, header)) = deltas.pop() {
            self.inflate(pack, at, header)?;
            entry::apply(&self.raw, &object, self.most, &mut self.made)?;
            self.spend(self.made.len() as u64)?;
            object = Arc::from(&*self.made);
            self.keep(at, &object, at == place);
        }
        Some(object)
    }

    /// Counts bytes that are made, or would be.
    fn spend(&mut self, bytes: u64) -> Option<()> {
        let left = self.work.checked_sub(bytes);
        self.is_spent |= left.is_none();
        self.work = left?;
        Some(())
    }

    /// Decompresses the entry at a place; `None` when its bytes are not those that the index was made for.
    fn inflate(&mut self, pack: &Pack, place: Place, header: Header<'_>) -> Option<()> {
        let size = usize::try_from(header.size).ok()?;
        self.spend(header.size)?;
        self.raw.clear();
        // One byte more, so that a stream that is longer than it says has not ended.
        self.raw.reserve(size + 1);
        self.inflate.reset(true);
        let bytes = pack.bytes.get(header.data..)?;
        let status = self.inflate.decompress_vec(bytes, &mut self.raw, FlushDecompress::Finish);
        if !matches!(status, Ok(Status::StreamEnd)) || self.raw.len() != size {
            return None;
        }
        let end = header.data.checked_add(usize::try_from(self.inflate.total_in()).ok()?)?;
        let mut checksum = Crc::new();
        checksum.update(pack.bytes.get(usize::try_from(place.offset).ok()?..end)?);
        (Some(checksum.sum()) == pack.index.checksum_of(place.position)).then_some(())
    }

    /// Remembers an object, for others may be deltas against it. One that was asked for lives on anyway.
    fn keep(&mut self, place: Place, object: &Arc<[u8]>, was_asked_for: bool) {
        let more = if was_asked_for { 0 } else { object.len() };
        if self.kept + more <= KEPT_BYTES {
            self.kept += more;
            self.known[place.pack][place.position] = Some(Arc::clone(object));
        }
    }
}

#[cfg(test)]
mod tests;
