//! A bounded reader of tar streams: ustar, GNU long names and sparse files, PAX extensions.
//!
//! The `tar` crate parses the fixed header; what surrounds it is read here, since every length in a tar is the
//! author's claim: extension headers are bounded before they are read, and nothing is kept for the whole archive.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::limits::Limits;
use super::stream::{read_bounded, refused};

const BLOCK: u64 = 512;
/// PATH_MAX of Linux.
const MAX_PATH: usize = 4096;
/// Pieces of one sparse file.
const MAX_PIECES: usize = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    HardLink,
    Symlink,
    Directory,
    Fifo,
    Device,
}

/// One entry's metadata; its data is read from the [`Tarball`] before the next one.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) link: Vec<u8>,
    /// Bytes of data in the stream.
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// For a sparse file: its length and its pieces (offset, length), whose bytes follow one another in the data.
    pub(super) sparse: Option<(u64, Vec<(u64, u64)>)>,
}

/// A tar stream.
pub(super) struct Tarball<R> {
    inner: R,
    /// Data bytes of the current entry not read yet.
    remaining: u64,
    padding: u64,
    position: u64,
    entries: u64,
    limits: Limits,
}

/// What extension headers said about the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<R: Read> Tarball<R> {
    pub(super) fn new(inner: R, limits: Limits) -> Self {
        Self { inner, remaining: 0, padding: 0, position: 0, entries: 0, limits }
    }

    /// Where in the stream the next byte of data is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|e| refused(format!("bad tar header: {e}")))?;
            self.begin(size);
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.long_name()?),
                EntryType::GNULongLink => extensions.link = Some(self.long_name()?),
                EntryType::XHeader => extensions.pax.extend(parse_pax(&self.extension()?)?),
                // Global headers carry comments, such as git's commit; nothing in them concerns an entry.
                EntryType::XGlobalHeader => drop(self.extension()?),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    fn begin(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK).wrapping_sub(size);
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.remaining.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())?;
        self.position += skipped;
        (self.remaining, self.padding) = (0, 0);
        if skipped < rest { Err(refused("the archive is cut short")) } else { Ok(()) }
    }

    fn block(&mut self) -> io::Result<Option<[u8; 512]>> {
        let mut block = [0; 512];
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(refused("the archive is cut short")),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += BLOCK;
        Ok(Some(block))
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(refused(format!("it has more than {} entries", self.limits.entries)));
        }
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The sum of all bytes with the checksum field itself read as spaces.
        let sum: u32 =
            block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(refused("it is no tar archive, or a damaged one: a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self) -> io::Result<Vec<u8>> {
        let limit = self.limits.extension_bytes;
        let bytes = read_bounded(self.data(), limit, "an extension header")?;
        if self.remaining > 0 { Err(refused("the archive is cut short")) } else { Ok(bytes) }
    }

    fn long_name(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = self.extension()?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    /// The data of the current entry, as stored.
    pub(super) fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> io::Result<Entry> {
        let Extensions { path, link, pax } = extensions;
        let number = |key: &str| -> io::Result<Option<u64>> {
            let Some(text) = pax.get(key.as_bytes()) else { return Ok(None) };
            let parsed = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
            parsed.map(Some).ok_or_else(|| refused(format!("the extension {key} is no number")))
        };
        let text = |key: &str| pax.get(key.as_bytes()).cloned();
        if let Some(size) = number("size")? {
            self.begin(size);
        }
        let bad = |what: &'static str| move |e: io::Error| refused(format!("bad {what} in a tar header: {e}"));
        let kind = kind_of(header.entry_type())?;
        let mtime = match text("mtime") {
            Some(text) => pax_time(&text)?,
            None => (i64::try_from(header.mtime().map_err(bad("mtime"))?).unwrap_or(0), 0),
        };
        let id = |key: &str, own: io::Result<u64>| -> io::Result<u32> {
            let value = match number(key)? {
                Some(value) => value,
                None => own.map_err(bad("owner"))?,
            };
            u32::try_from(value).map_err(|_| refused(format!("the {key} {value} is too large")))
        };
        let mut entry = Entry {
            path: text("path").or(path).unwrap_or_else(|| header.path_bytes().into_owned()),
            kind,
            link: text("linkpath")
                .or(link)
                .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
                .unwrap_or_default(),
            size: 0,
            mode: header.mode().map_err(bad("mode"))? & 0o7777,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mtime,
            xattrs: xattrs(&pax),
            sparse: None,
        };
        if kind != EntryKind::File && kind != EntryKind::Directory && self.remaining > 0 {
            // Some writers put a size on hard links without storing the data.
            self.begin(0);
        }
        self.sparse(header, &pax, &mut entry)?;
        entry.size = self.remaining;
        for name in [&entry.path, &entry.link] {
            if name.len() > MAX_PATH || name.contains(&0) {
                return Err(refused(format!("a name is longer than {MAX_PATH} bytes or has a zero byte in it")));
            }
        }
        Ok(entry)
    }

    /// Fills in the map of a sparse file: GNU's old format or PAX 1.0.
    fn sparse(&mut self, header: &Header, pax: &BTreeMap<Vec<u8>, Vec<u8>>, entry: &mut Entry) -> io::Result<()> {
        let number =
            |key: &[u8]| pax.get(key).and_then(|t| std::str::from_utf8(t).ok()).and_then(|t| t.parse::<u64>().ok());
        let (length, pieces) = if header.entry_type().is_gnu_sparse() {
            let gnu = header.as_gnu().ok_or_else(|| refused("a sparse file without GNU's header"))?;
            (gnu.real_size().map_err(|e| refused(e.to_string()))?, self.gnu_pieces(gnu)?)
        } else if number(b"GNU.sparse.major") == Some(1) {
            let length = number(b"GNU.sparse.realsize").ok_or_else(|| refused("a sparse file without its size"))?;
            if let Some(name) = pax.get(&b"GNU.sparse.name"[..]) {
                entry.path.clone_from(name);
            }
            (length, self.pax_pieces()?)
        } else if pax.keys().any(|k| k.starts_with(b"GNU.sparse.")) {
            return Err(refused("a sparse file in the PAX formats 0.0 or 0.1; write it with --sparse-version=1.0"));
        } else {
            return Ok(());
        };
        let mut at = 0_u64;
        let mut stored = 0_u64;
        for (offset, size) in &pieces {
            let end = offset.checked_add(*size).filter(|end| *offset >= at && *end <= length);
            at = end.ok_or_else(|| refused("the map of a sparse file overlaps itself or leaves the file"))?;
            stored += size;
        }
        if stored != self.remaining || length > self.limits.layer_bytes {
            return Err(refused("the map of a sparse file does not fit its data"));
        }
        entry.sparse = Some((length, pieces));
        Ok(())
    }

    fn gnu_pieces(&mut self, gnu: &tar::GnuHeader) -> io::Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        let mut add = |piece: &tar::GnuSparseHeader| -> io::Result<()> {
            if !piece.is_empty() {
                pieces.push((piece.offset()?, piece.length()?));
            }
            if pieces.len() > MAX_PIECES { Err(refused("a sparse file has too many pieces")) } else { Ok(()) }
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let block = self.block()?.ok_or_else(|| refused("the archive is cut short"))?;
            let mut extended = GnuExtSparseHeader::new();
            extended.as_mut_bytes().copy_from_slice(&block);
            extended.sparse.iter().try_for_each(&mut add)?;
            more = extended.is_extended();
        }
        Ok(pieces)
    }

    /// The map at the start of the data: decimal numbers on lines of their own, padded to a block.
    fn pax_pieces(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut read = 0_u64;
        let mut line = |tarball: &mut Self| -> io::Result<u64> {
            let mut value = 0_u64;
            loop {
                let mut byte = [0];
                tarball.data().read_exact(&mut byte)?;
                read += 1;
                match byte[0] {
                    b'\n' => return Ok(value),
                    digit @ b'0'..=b'9' => {
                        value = value
                            .checked_mul(10)
                            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
                            .ok_or_else(|| refused("a number in a sparse map is too large"))?;
                    }
                    _ => return Err(refused("the map of a sparse file is unreadable")),
                }
            }
        };
        let count = line(self)?;
        if count > MAX_PIECES as u64 {
            return Err(refused("a sparse file has too many pieces"));
        }
        let pieces = (0..count).map(|_| Ok((line(self)?, line(self)?))).collect::<io::Result<Vec<_>>>()?;
        let rest = read.next_multiple_of(BLOCK) - read;
        io::copy(&mut self.data().take(rest), &mut io::sink())?;
        Ok(pieces)
    }
}

/// The data of one entry.
pub(super) struct Data<'a, R>(&'a mut Tarball<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.0.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = self.0.inner.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(refused("the archive is cut short"));
        }
        self.0.remaining -= read as u64;
        self.0.position += read as u64;
        Ok(read)
    }
}

fn kind_of(kind: EntryType) -> io::Result<EntryKind> {
    Ok(match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
        EntryType::Link => EntryKind::HardLink,
        EntryType::Symlink => EntryKind::Symlink,
        EntryType::Directory => EntryKind::Directory,
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::Char | EntryType::Block => EntryKind::Device,
        other => return Err(refused(format!("an entry of the unknown type {:?}", other.as_byte() as char))),
    })
}

/// `length key=value\n` records; the value may hold anything.
fn parse_pax(mut bytes: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut out = BTreeMap::new();
    let bad = || refused("a PAX extension header is unreadable");
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|b| *b == b' ').ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok().and_then(|t| t.parse().ok()).ok_or_else(bad)?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        out.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    Ok(out)
}

fn pax_time(text: &[u8]) -> io::Result<(i64, u32)> {
    let bad = || refused("an mtime extension is no number");
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{fraction:0<9}").get(..9).and_then(|f| f.parse().ok()).ok_or_else(bad)?;
    Ok((seconds.parse().map_err(|_| bad())?, nanos))
}

fn xattrs(pax: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    pax.iter().filter_map(|(k, v)| k.strip_prefix(b"SCHILY.xattr.").map(|name| (name.to_vec(), v.clone()))).collect()
}

#[cfg(test)]
mod tests;
