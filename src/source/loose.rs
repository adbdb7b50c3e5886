//! Objects in files of their own, as git writes each before it packs them: libgit2 needs twice the calls of the system for
//! one, and asks its packs first.
//!
//! Only what git writes today is read: a regular file that no link leads to, which holds one zlib stream and nothing else,
//! of the length that its header says. Anything else is `None`, and left to libgit2. Nothing is decompressed beyond what is
//! bearable, and zlib's own checksum tells what is damaged.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use git2::{ObjectType, Oid};

use super::disk::Handle;
use super::objects::hexadecimal;

/// Room for most files, and for most objects.
const FILE_BYTES: usize = 16 << 10;
const OBJECT_BYTES: usize = 64 << 10;
/// A kind and a length of twenty digits fit.
const MOST_HEADER: usize = 32;

/// Reads objects, one after the other.
pub(super) struct Loose<'d> {
    directory: &'d Handle,
    kind: ObjectType,
    /// No object may have more bytes.
    most: u64,
    inflate: Decompress,
    file: Vec<u8>,
    raw: Vec<u8>,
}

impl<'d> Loose<'d> {
    /// `directory` is that of all objects.
    pub(super) fn new(directory: &'d Handle, kind: ObjectType, most: u64) -> Self {
        Self { directory, kind, most, inflate: Decompress::new(true), file: Vec::new(), raw: Vec::new() }
    }

    /// The bytes of an object.
    pub(super) fn object(&mut self, id: Oid) -> Option<Arc<[u8]>> {
        let mut path = hexadecimal(id);
        path.insert(2, '/');
        let length = self.read(self.directory.file(Path::new(&path)).ok()?)?;
        self.decompress(length)
    }

    /// Reads a file, and says how many bytes it has.
    fn read(&mut self, mut file: File) -> Option<usize> {
        // What does not shrink grows by 5 bytes of each 16 KiB.
        let most = usize::try_from(self.most.checked_add(self.most / 1024)?).ok()?.checked_add(FILE_BYTES)?;
        let mut length = 0;
        loop {
            if length == self.file.len() {
                self.file.resize((2 * length).max(FILE_BYTES), 0);
            }
            let room = self.file.len() - length;
            let read = file.read(&mut self.file[length..]).ok()?;
            length += read;
            if length > most {
                return None;
            }
            // A regular file fills what there is room for, or has ended.
            if read < room {
                return Some(length);
            }
        }
    }

    /// The object in the first bytes of what was read.
    fn decompress(&mut self, length: usize) -> Option<Arc<[u8]>> {
        let file = self.file.get(..length)?;
        self.raw.clear();
        self.raw.reserve(OBJECT_BYTES);
        self.inflate.reset(true);
        let mut status = self.inflate.decompress_vec(file, &mut self.raw, FlushDecompress::Finish).ok()?;
        let (start, size) = header(&self.raw, self.kind).filter(|(_, size)| *size <= self.most)?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        if status != Status::StreamEnd {
            let rest = file.get(usize::try_from(self.inflate.total_in()).ok()?..)?;
            // One byte more, so that a stream that is longer than it says has not ended.
            self.raw.reserve((end + 1).checked_sub(self.raw.len())?);
            status = self.inflate.decompress_vec(rest, &mut self.raw, FlushDecompress::Finish).ok()?;
        }
        let is_all = self.inflate.total_in() == length as u64 && self.raw.len() == end;
        (status == Status::StreamEnd && is_all).then(|| Arc::from(&self.raw[start..]))
    }
}

/// Where an object begins behind its header, and the size that it says.
fn header(raw: &[u8], kind: ObjectType) -> Option<(usize, u64)> {
    let rest = raw.strip_prefix(kind.str().as_bytes())?.strip_prefix(b" ")?;
    let digits = rest.iter().take(MOST_HEADER).position(|byte| *byte == 0)?;
    let number = std::str::from_utf8(&rest[..digits]).ok()?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    Some((raw.len() - rest.len() + digits + 1, number.parse().ok().filter(|_| is_plain)?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    const MOST: u64 = 200_000;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A directory of objects, of which one has these bytes as its file.
    struct Made {
        temp: tempfile::TempDir,
        id: Oid,
    }

    impl Made {
        fn new() -> Self {
            let new = Self { temp: tempfile::tempdir().unwrap(), id: Oid::from_bytes(&[0xab; 20]).unwrap() };
            std::fs::create_dir(new.path().parent().unwrap()).unwrap();
            new
        }

        fn path(&self) -> PathBuf {
            self.temp.path().join("ab").join("ab".repeat(19))
        }

        fn read(&self) -> Option<Arc<[u8]>> {
            let handle = Handle::open(self.temp.path()).unwrap();
            Loose::new(&handle, ObjectType::Blob, MOST).object(self.id)
        }

        fn read_of(&self, file: &[u8]) -> Option<Arc<[u8]>> {
            std::fs::write(self.path(), file).unwrap();
            self.read()
        }
    }

    #[test]
    fn objects_of_any_bearable_size_are_read_one_after_the_other() {
        let temp = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init_bare(temp.path()).unwrap();
        let handle = Handle::open(&temp.path().join("objects")).unwrap();
        let mut blobs = Loose::new(&handle, ObjectType::Blob, MOST);
        let mut random = 1_u64;
        for size in [0, 1, 9, 10, 65_000, 65_527, 65_528, 65_529, 100, 131_072, 199_999, 200_000, 200_001, 5] {
            let mut noise = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                random.to_be_bytes()[0]
            };
            for bytes in [(0..size).map(|_| noise()).collect(), vec![b'a'; size]] {
                let id = repository.blob(&bytes).unwrap();
                let read = blobs.object(id);
                assert_eq!(read.as_deref(), Some(&*bytes).filter(|bytes| bytes.len() as u64 <= MOST), "{size}");
            }
        }
        let blob = repository.blob(b"a: 1\n").unwrap();
        assert_eq!(Loose::new(&handle, ObjectType::Tree, MOST).object(blob), None, "no tree");
        assert_eq!(blobs.object(Oid::from_bytes(&[7; 20]).unwrap()), None, "not there");
    }

    #[test]
    fn what_git_does_not_write_is_not_read() {
        let made = Made::new();
        assert_eq!(made.read_of(&deflated(b"blob 5\0a: 1\n")).as_deref(), Some(&b"a: 1\n"[..]));
        let long = [&b"blob 70000\0"[..], &[b'a'; 70_001]].concat();
        let bomb = [&b"blob 100000000\0"[..], &[0; 1_000_000]].concat();
        let wrong: [(&str, Vec<u8>); 14] = [
            ("longer than it says", deflated(b"blob 4\0a: 1\n")),
            ("shorter than it says", deflated(b"blob 6\0a: 1\n")),
            ("much longer than it says", deflated(&long)),
            ("a bomb", deflated(&bomb)),
            ("a long header", deflated(&[&b"blob "[..], &[b'5'; 40], b"\0a: 1\n"].concat())),
            ("a number that is none", deflated(b"blob +5\0a: 1\n")),
            ("a zero in front", deflated(b"blob 05\0a: 1\n")),
            ("no number", deflated(b"blob \0")),
            ("no end of the header", deflated(b"blob 5")),
            ("another kind", deflated(b"tree 5\0a: 1\n")),
            ("something behind it", [deflated(b"blob 5\0a: 1\n"), b"x".to_vec()].concat()),
            ("another stream behind it", deflated(b"blob 5\0a: 1\n").repeat(2)),
            ("no stream", b"blob 5\0a: 1\n".to_vec()),
            ("nothing", Vec::new()),
        ];
        for (what, file) in wrong {
            assert_eq!(made.read_of(&file), None, "{what}");
        }
    }

    #[test]
    fn a_file_that_is_larger_than_any_object_is_not_read_to_its_end() {
        let made = Made::new();
        // A stream of stored blocks, which is all there.
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(&[&b"blob 5\0a: 1\n"[..], &[0; 400_000]].concat()).unwrap();
        assert_eq!(made.read_of(&encoder.finish().unwrap()), None);
        let sparse = File::options().write(true).open(made.path()).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(made.read(), None);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_no_object() {
        let made = Made::new();
        let place = made.path();
        let elsewhere = made.temp.path().join("elsewhere");
        std::fs::write(&elsewhere, deflated(b"blob 5\0a: 1\n")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        assert_eq!(made.read(), None, "a link");
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir(&place).unwrap();
        assert_eq!(made.read(), None, "a directory");
        std::fs::remove_dir(&place).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&place).status().unwrap().success());
        assert_eq!(made.read(), None, "a pipe");
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&elsewhere, &place).unwrap();
        assert!(made.read().is_some());
        std::fs::rename(made.temp.path().join("ab"), made.temp.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", made.temp.path().join("ab")).unwrap();
        assert_eq!(made.read(), None, "a link on the way");
    }

    /// Whatever is damaged is not read, or reads as libgit2 reads it.
    #[test]
    fn of_a_damaged_file_only_what_has_its_hash_is_read() {
        let text = "name: pod\nimage: registry.example.com/app:1\nport: 80\n".repeat(3);
        let temp = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init_bare(temp.path()).unwrap();
        let id = repository.blob(text.as_bytes()).unwrap();
        let mut path = hexadecimal(id);
        path.insert(2, '/');
        let whole = std::fs::read(temp.path().join("objects").join(path)).unwrap();
        let made = Made::new();
        let handle = Handle::open(made.temp.path()).unwrap();
        let mut loose = Loose::new(&handle, ObjectType::Blob, MOST);
        let mut read = |bytes: &[u8]| {
            std::fs::write(made.path(), bytes).unwrap();
            loose.object(made.id).inspect(|blob| {
                assert_eq!(Oid::hash_object(ObjectType::Blob, blob).unwrap(), id);
            })
        };
        assert!(read(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        let mut fewer = 0;
        for at in 0..whole.len() {
            for flipped in [0x01, 0x02, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flipped;
                fewer += usize::from(read(&bytes).is_none());
            }
        }
        assert!(fewer > 4 * whole.len(), "{fewer}");
    }
}
