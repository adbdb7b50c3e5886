//! The index of a pack, version 2: the names in the pack, sorted, with the offset of each.

/// What precedes the table of names: a magic number, the version, and a count for each first byte of a name.
const HEADER: &[u8] = b"\xfftOc\0\0\0\x02";
const FANOUT: usize = 8;
const NAMES: usize = FANOUT + 256 * 4;
const NAME: usize = 20;
/// Two hashes at the end.
const TRAILER: usize = 2 * NAME;

/// A checked index.
pub(super) struct Index {
    bytes: Vec<u8>,
    /// How many names there are.
    count: usize,
    /// Where each entry begins, ascending, and the position of its name.
    entries: Vec<(u32, u32)>,
}

impl Index {
    /// `None` for an index of another version, one that is shorter than it says, and one that has two objects in one place.
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        if !bytes.starts_with(HEADER) {
            return None;
        }
        let count = usize::try_from(number(&bytes, FANOUT + 255 * 4)?).ok()?;
        let least = NAMES.checked_add(count.checked_mul(NAME + 8)?)?.checked_add(TRAILER)?;
        if bytes.len() < least {
            return None;
        }
        let mut index = Self { bytes, count, entries: Vec::new() };
        let entry = |position| Some((index.offset_of(usize::try_from(position).ok()?)?, position));
        let mut entries: Vec<_> = (0..u32::try_from(count).ok()?).filter_map(entry).collect();
        entries.sort_unstable_by_key(|(offset, position)| u64::from(*offset) << 32 | u64::from(*position));
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        index.entries = entries;
        Some(index)
    }

    /// How many objects it names.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the index itself.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The position of an object's name among all.
    pub(super) fn position(&self, name: &[u8]) -> Option<usize> {
        let first = usize::from(*name.first()?);
        let count = |first: usize| usize::try_from(number(&self.bytes, FANOUT + first * 4)?).ok();
        let mut low = if first == 0 { 0 } else { count(first - 1)? };
        let mut high = count(first)?.min(self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = NAMES + middle * NAME;
            match self.bytes.get(start..start + NAME)?.cmp(name) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The position of the object whose entry begins here; `None` when none does.
    pub(super) fn position_at(&self, offset: u32) -> Option<usize> {
        let at = self.entries.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        usize::try_from(self.entries[at].1).ok()
    }

    /// The checksum of an entry. They stand between the names and the offsets.
    pub(super) fn checksum_of(&self, position: usize) -> Option<u32> {
        number(&self.bytes, NAMES + self.count * NAME + position * 4)
    }

    /// Where an entry begins. An offset with its first bit set is one of a pack beyond 2 GiB.
    pub(super) fn offset_of(&self, position: usize) -> Option<u32> {
        number(&self.bytes, NAMES + self.count * (NAME + 4) + position * 4).filter(|offset| offset >> 31 == 0)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}
