//! Reading that ends: a file may say one length and have another, or grow while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Room that is there from the start, for what is short as a rule: otherwise the first bytes are read a few at a time.
const ROOM: u64 = 4 << 10;

/// Everything there is to read; `None` when that is more than `limit` bytes.
///
/// # Errors
/// Those of the reader.
pub fn read(reader: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(limit.min(ROOM) as usize);
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
}

/// The text of a file that the kernel makes, of which it does not say how long it is.
///
/// # Errors
/// From the system; `InvalidData` for what is no UTF-8.
pub(crate) fn kernel_text(path: &Path) -> io::Result<String> {
    let bytes = read(File::open(path)?, u64::MAX)?.unwrap_or_default();
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_as_the_limit_is_read_and_no_more() {
        for (length, limit, whole) in [(0, 0, true), (4, 4, true), (5, 4, false), (5, u64::MAX, true)] {
            let bytes = vec![7; length];
            assert_eq!(read(&bytes[..], limit).unwrap(), whole.then_some(bytes), "{length} of {limit}");
        }
        assert_eq!(read(io::repeat(0), 100).unwrap(), None);
    }
}
