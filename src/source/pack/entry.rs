//! One entry of a pack: its header, and how a delta becomes an object.

use git2::ObjectType;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'p> {
    Whole(ObjectType),
    /// A delta against the entry that begins this many bytes before.
    Before(u32),
    /// A delta against the object of this name.
    Named(&'p [u8]),
}

/// The header of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'p> {
    pub(super) kind: Kind<'p>,
    /// Bytes of the object or delta, decompressed.
    pub(super) size: u64,
    /// Where they begin, compressed.
    pub(super) data: usize,
}

/// The header of the entry that begins at `offset`; `None` for a commit or a tag, and for what is none.
pub(super) fn header(pack: &[u8], offset: u32) -> Option<Header<'_>> {
    let mut at = usize::try_from(offset).ok()?;
    let first = take(pack, &mut at)?;
    let mut size = u64::from(first & 15);
    let (mut shift, mut byte) = (4, first);
    while byte & 0x80 != 0 {
        byte = take(pack, &mut at)?;
        // More is refused anyway.
        if shift > 53 {
            return None;
        }
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
    }
    let kind = match (first >> 4) & 7 {
        2 => Kind::Whole(ObjectType::Tree),
        3 => Kind::Whole(ObjectType::Blob),
        6 => Kind::Before(distance(pack, &mut at).filter(|distance| *distance > 0)?),
        7 => {
            let name = pack.get(at..at + 20)?;
            at += 20;
            Kind::Named(name)
        }
        _ => return None,
    };
    Some(Header { kind, size, data: at })
}

/// How far before a delta its base begins.
fn distance(pack: &[u8], at: &mut usize) -> Option<u32> {
    let mut byte = take(pack, at)?;
    let mut distance = u32::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = take(pack, at)?;
        distance = distance.checked_add(1)?.checked_mul(128)? + u32::from(byte & 0x7f);
    }
    Some(distance)
}

/// Makes an object of a delta and its base, in place of what `made` holds; `None` when the delta does not fit the base, or
/// would make more than `most` bytes.
pub(super) fn apply(delta: &[u8], base: &[u8], most: u64, made: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    if length(delta, &mut at)? != base.len() as u64 {
        return None;
    }
    let size = usize::try_from(length(delta, &mut at).filter(|size| *size <= most)?).ok()?;
    made.clear();
    made.reserve(size);
    while at < delta.len() {
        let command = take(delta, &mut at)?;
        let piece = if command & 0x80 != 0 {
            let start = sparse(command & 15, delta, &mut at)?;
            let length = match sparse((command >> 4) & 7, delta, &mut at)? {
                0 => 0x10000,
                length => length,
            };
            base.get(start..start.checked_add(length)?)?
        } else {
            // A command of 0 is reserved.
            let length = usize::from(command);
            let piece = delta.get(at..at + length).filter(|_| length > 0)?;
            at += length;
            piece
        };
        if piece.len() > size - made.len() {
            return None;
        }
        made.extend_from_slice(piece);
    }
    (made.len() == size).then_some(())
}

/// A number of which only those bytes are written that `bits` names, the lowest first.
fn sparse(bits: u8, delta: &[u8], at: &mut usize) -> Option<usize> {
    let mut number = 0;
    for bit in (0..4).filter(|bit| bits & (1 << bit) != 0) {
        number |= usize::from(take(delta, at)?) << (8 * bit);
    }
    Some(number)
}

fn length(delta: &[u8], at: &mut usize) -> Option<u64> {
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = take(delta, at)?;
        if shift > 49 {
            return None;
        }
        length |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
}

fn take(bytes: &[u8], at: &mut usize) -> Option<u8> {
    let byte = bytes.get(*at).copied()?;
    *at += 1;
    Some(byte)
}
