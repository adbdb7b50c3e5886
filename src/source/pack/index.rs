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
    count: usize,
}

impl Index {
    /// `None` for an index of another version, or one that is shorter than it says.
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        if !bytes.starts_with(HEADER) {
            return None;
        }
        let index = Self { count: number(&bytes, FANOUT + 255 * 4)?, bytes };
        let least = NAMES.checked_add(index.count.checked_mul(NAME + 8)?)?.checked_add(TRAILER)?;
        (index.bytes.len() >= least).then_some(index)
    }

    /// Bytes of the index itself.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the object of this name begins.
    pub(super) fn offset(&self, name: &[u8]) -> Option<usize> {
        let first = usize::from(*name.first()?);
        let mut low = if first == 0 { 0 } else { number(&self.bytes, FANOUT + (first - 1) * 4)? };
        let mut high = number(&self.bytes, FANOUT + first * 4)?.min(self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = NAMES + middle * NAME;
            match self.bytes.get(start..start + NAME)?.cmp(name) {
                std::cmp::Ordering::Equal => return self.offset_of(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Between names and offsets stand checksums. An offset with its first bit set is one of a pack beyond 2 GiB.
    fn offset_of(&self, position: usize) -> Option<usize> {
        number(&self.bytes, NAMES + self.count * (NAME + 4) + position * 4).filter(|offset| offset >> 31 == 0)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_be_bytes(four.try_into().ok()?)).ok()
}
