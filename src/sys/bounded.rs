//! Reading that ends: a file may say one length and have another, or grow while it is read.

use std::io::{self, Read};

/// Everything there is to read; `None` when that is more than `limit` bytes.
///
/// # Errors
/// Those of the reader.
pub fn read(reader: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
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
