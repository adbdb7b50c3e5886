//! Byte streams of archives: decompression by magic, digests on the way, bounds.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::sys::bounded;

/// An error whose text is meant for people and says why the bytes are refused, as opposed to a failing disk.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A refusal as an I/O error, so that it passes through readers.
pub(super) fn refused(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Refused(plain(&message.into())))
}

/// Words with a name that somebody else chose, fit for a terminal and a line.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What passed through a [`Digesting`] reader so far.
#[derive(Clone, Default)]
pub(super) struct Tally(Rc<RefCell<(Sha256, u64)>>);

impl Tally {
    /// `sha256:...` of the bytes so far.
    pub(super) fn digest(&self) -> String {
        format!("sha256:{}", hex(&self.0.borrow().0.clone().finalize()))
    }

    /// How many bytes passed.
    pub(super) fn bytes(&self) -> u64 {
        self.0.borrow().1
    }
}

/// Digests and counts what is read through it and refuses more than a limit.
pub(super) struct Digesting<R> {
    inner: R,
    tally: Tally,
    limit: u64,
    what: &'static str,
}

impl<R: Read> Digesting<R> {
    pub(super) fn new(inner: R, limit: u64, what: &'static str) -> (Self, Tally) {
        let tally = Tally::default();
        (Self { inner, tally: tally.clone(), limit, what }, tally)
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut tally = self.tally.0.borrow_mut();
        tally.0.update(&buffer[..read]);
        tally.1 += read as u64;
        if tally.1 > self.limit {
            return Err(refused(format!("{} is larger than {} bytes", self.what, self.limit)));
        }
        Ok(read)
    }
}

/// Reads plain, gzip or zstd bytes alike.
pub(super) fn decompress<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let magic = reader.fill_buf()?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?))
    } else if magic.starts_with(b"BZh") || magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z']) {
        Err(refused("it is compressed with bzip2 or xz; only gzip and zstd are read"))
    } else {
        Ok(Box::new(reader))
    }
}

/// Reads to the end, up to `limit` bytes.
pub(super) fn read_bounded(reader: impl Read, limit: u64, what: &str) -> io::Result<Vec<u8>> {
    bounded::read(reader, limit)?.ok_or_else(|| refused(format!("{what} is larger than {limit} bytes")))
}

/// `sha256:...` of some bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_compression_is_known_by_its_magic() {
        use std::io::Write;
        let text = b"some layer".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for bytes in [gzip.finish().unwrap(), zstd, text.clone()] {
            let mut out = Vec::new();
            decompress(&bytes[..]).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, text);
        }
        assert!(decompress(&b"BZh91AY"[..]).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = zstd::encode_all(io::repeat(0).take(50 << 20), 1).unwrap();
        assert!(bomb.len() < 100_000);
        let (mut reader, tally) = Digesting::new(decompress(&bomb[..]).unwrap(), 1 << 20, "the layer");
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
        assert!(tally.bytes() < 4 << 20);
    }
}
