//! Where each field of an object was written.

/// Line and column of every field of one object, found by its JSON pointer (`/spec/containers/0/image`): of the key in a
/// mapping, of the item itself in a list.
///
/// A revision has millions of them, so a pointer is kept as its digest: 8 bytes a field, and no text is built while an
/// object is read. Two pointers of one object with the same digest would share a place, which could only move a mark on
/// a source line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    entries: Entries,
}

/// Digest, line and column of each field, sorted by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entries {
    /// Half of each digest: of an object whose fields it tells apart and whose lines and columns are small.
    Short(Box<[(u32, u16, u16)]>),
    Long(Box<[(PointerDigest, u32, u32)]>),
}

impl Default for Entries {
    fn default() -> Self {
        Self::Short(Box::default())
    }
}

impl Places {
    /// Line and column of a field, when it was written.
    pub fn get(&self, pointer: &str) -> Option<(u32, u32)> {
        let digest = PointerDigest::of(pointer);
        match &self.entries {
            Entries::Short(entries) => {
                let index = entries.binary_search_by_key(&digest.half(), |entry| entry.0).ok()?;
                let (_, line, column) = entries[index];
                Some((line.into(), column.into()))
            }
            Entries::Long(entries) => {
                let index = entries.binary_search_by_key(&digest, |entry| entry.0).ok()?;
                let (_, line, column) = entries[index];
                Some((line, column))
            }
        }
    }

    /// How many fields have a place.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Short(entries) => entries.len(),
            Entries::Long(entries) => entries.len(),
        }
    }

    /// Whether none has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<(PointerDigest, (u32, u32))> for Places {
    fn from_iter<I: IntoIterator<Item = (PointerDigest, (u32, u32))>>(fields: I) -> Self {
        let mut entries: Vec<_> = fields.into_iter().map(|(digest, (line, column))| (digest, line, column)).collect();
        let entries = short(&entries).map_or_else(
            || {
                entries.sort_unstable_by_key(|entry| entry.0);
                Entries::Long(entries.into_boxed_slice())
            },
            Entries::Short,
        );
        Self { entries }
    }
}

/// The entries in half the room, if that loses nothing.
fn short(entries: &[(PointerDigest, u32, u32)]) -> Option<Box<[(u32, u16, u16)]>> {
    let half = |&(digest, line, column): &(PointerDigest, u32, u32)| {
        Some((digest.half(), u16::try_from(line).ok()?, u16::try_from(column).ok()?))
    };
    let mut short: Box<[_]> = entries.iter().map(half).collect::<Option<_>>()?;
    short.sort_unstable_by_key(|entry| entry.0);
    let is_told_apart = short.windows(2).all(|pair| pair[0].0 != pair[1].0);
    is_told_apart.then_some(short)
}

/// A JSON pointer, digested as it grows (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointerDigest(u64);

impl PointerDigest {
    /// The pointer to the whole object.
    pub const ROOT: Self = Self(0xcbf2_9ce4_8422_2325);

    /// A whole pointer.
    pub fn of(pointer: &str) -> Self {
        Self::ROOT.bytes(pointer.as_bytes())
    }

    /// The field `key` below this place.
    pub fn key(self, key: &str) -> Self {
        let start = self.bytes(b"/");
        key.as_bytes().iter().fold(start, |digest, byte| match byte {
            b'~' => digest.bytes(b"~0"),
            b'/' => digest.bytes(b"~1"),
            byte => digest.byte(*byte),
        })
    }

    /// Item `index` of the list at this place.
    pub fn index(self, index: usize) -> Self {
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        let mut rest = index;
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes(b"/").bytes(&digits[start..])
    }

    /// All of it in half as many bits.
    fn half(self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |digest, byte| digest.byte(*byte))
    }

    fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_pointer() {
        let root = PointerDigest::ROOT;
        let labels = root.key("metadata").key("labels");
        let image = root.key("spec").key("containers").index(107).key("image");
        let places: Places = [(root, (1, 1)), (labels.key("a/b~c"), (2, 3)), (image, (9, 5))].into_iter().collect();
        assert_eq!(places.get(""), Some((1, 1)));
        assert_eq!(places.get("/metadata/labels/a~1b~0c"), Some((2, 3)));
        assert_eq!(places.get("/spec/containers/107/image"), Some((9, 5)));
        assert_eq!(places.get("/spec/containers/0/image"), None);
        assert_eq!((places.len(), PointerDigest::of("/0")), (3, root.index(0)));
    }
    #[test]
    fn many_fields_and_far_places_are_found_too() {
        let root = PointerDigest::ROOT;
        let last = u32::from(u16::MAX);
        for line in [1, last, last + 1] {
            let places: Places = (0..1000).map(|n| (root.index(n), (line, n as u32 + 1))).collect();
            assert!((0..1000).all(|n| places.get(&format!("/{n}")) == Some((line, n + 1))), "{line}");
            let is_short = matches!(places.entries, Entries::Short(_));
            assert_eq!((places.get("/1000"), places.len(), is_short), (None, 1000, line <= last));
        }
        let far: Places = [(root, (1, last + 1))].into_iter().collect();
        assert_eq!(far.get(""), Some((1, last + 1)));
    }

    #[test]
    fn digests_whose_halves_are_the_same_are_kept_whole() {
        // Both halves of the one are those of the other, the other way round.
        let alike = PointerDigest(PointerDigest::of("/a").0.rotate_left(32));
        let places: Places = [(PointerDigest::of("/a"), (1, 2)), (alike, (3, 4))].into_iter().collect();
        assert!(matches!(places.entries, Entries::Long(_)));
        assert_eq!((places.get("/a"), places.len()), (Some((1, 2)), 2));
    }
}
