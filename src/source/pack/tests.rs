//! Packs made byte by byte, whole ones and hostile ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

const MOST: u64 = 1 << 20;

/// An entry: its type, its base if it is a delta, and its bytes before compression.
struct Raw {
    kind: u8,
    base: Vec<u8>,
    bytes: Vec<u8>,
    /// What its header says of its size, when that is a lie.
    says: Option<usize>,
}

fn blob(bytes: &[u8]) -> Raw {
    Raw { kind: 3, base: vec![], bytes: bytes.to_vec(), says: None }
}

fn named(base: u8, bytes: &[u8]) -> Raw {
    Raw { kind: 7, base: name(base).as_bytes().to_vec(), bytes: bytes.to_vec(), says: None }
}

fn before(distance: u8, bytes: &[u8]) -> Raw {
    Raw { kind: 6, base: vec![distance], bytes: bytes.to_vec(), says: None }
}

fn name(number: u8) -> Oid {
    let mut bytes = [0x80; 20];
    bytes[0] = number.wrapping_mul(97);
    bytes[19] = number;
    Oid::from_bytes(&bytes).unwrap()
}

/// The sizes of both sides, and commands.
fn delta(from: u8, to: u8, commands: &[u8]) -> Vec<u8> {
    [&[from, to], commands].concat()
}

/// A pack of these entries, named by their numbers, and its index.
fn pack(entries: &[Raw]) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    let mut index: Vec<(Oid, u32, u32)> = Vec::new();
    for (number, Raw { kind, base, bytes: raw, says }) in (0..).zip(entries) {
        let start = bytes.len();
        let size = says.unwrap_or(raw.len());
        let mut rest = size >> 4;
        bytes.push(kind << 4 | u8::try_from(size & 15).unwrap() | if rest > 0 { 0x80 } else { 0 });
        while rest > 0 {
            bytes.push(u8::try_from(rest & 127).unwrap() | if rest > 127 { 0x80 } else { 0 });
            rest >>= 7;
        }
        bytes.extend(base);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(raw).unwrap();
        bytes.extend(encoder.finish().unwrap());
        let mut checksum = Crc::new();
        checksum.update(&bytes[start..]);
        index.push((name(number), u32::try_from(start).unwrap(), checksum.sum()));
    }
    bytes.extend([0; 20]);
    index.sort();
    let mut table = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=255_u8 {
        let count = index.iter().filter(|(id, ..)| id.as_bytes()[0] <= first).count();
        table.extend(u32::try_from(count).unwrap().to_be_bytes());
    }
    index.iter().for_each(|(id, ..)| table.extend(id.as_bytes()));
    index.iter().for_each(|(.., checksum)| table.extend(checksum.to_be_bytes()));
    index.iter().for_each(|(_, offset, _)| table.extend(offset.to_be_bytes()));
    table.extend([0; 40]);
    (bytes, table)
}

fn packs(entries: &[Raw]) -> Packs {
    let (bytes, index) = pack(entries);
    Packs { read: vec![Pack { bytes, index: Index::new(index).unwrap() }], are_all: true }
}

/// Each entry of a pack as a blob, asked for in this order.
fn read(packs: &Packs, order: &[u8]) -> Vec<Option<String>> {
    let mut unpacker = Unpacker::new(packs, ObjectType::Blob, MOST, u64::MAX - 1);
    let mut text = |number: &u8| {
        let bytes = unpacker.object(packs.find(name(*number))?)?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    };
    order.iter().map(&mut text).collect()
}

#[test]
fn blobs_and_deltas_of_both_sorts_are_read_in_any_order() {
    let long = "long text ".repeat(100);
    let entries = [
        blob(b"hello world"),
        // Its first five bytes, then text of its own.
        named(0, &delta(11, 9, &[0b1001_0000, 5, 4, b'!', b'a', b'b', b'c'])),
        named(1, &delta(9, 4, &[0b1001_0001, 5, 4])),
        blob(long.as_bytes()),
        blob(b""),
    ];
    let packs = packs(&entries);
    let expected = |number: u8| match number {
        0 => Some("hello world".to_owned()),
        1 => Some("hello!abc".to_owned()),
        2 => Some("!abc".to_owned()),
        3 => Some(long.clone()),
        4 => Some(String::new()),
        _ => None,
    };
    for order in [[0, 1, 2, 3, 4, 5], [2, 1, 0, 4, 3, 2], [5, 2, 2, 1, 1, 0]] {
        assert_eq!(read(&packs, &order), order.map(expected), "{order:?}");
    }
}

#[test]
fn a_base_may_be_named_by_its_distance() {
    let (first, _) = pack(&[blob(b"abcdef")]);
    let distance = u8::try_from(first.len() - 12 - 20).unwrap();
    let packs = packs(&[blob(b"abcdef"), before(distance, &delta(6, 3, &[0b1001_0001, 2, 3]))]);
    assert_eq!(read(&packs, &[1]), [Some("cde".to_owned())]);
}

#[test]
fn only_objects_of_the_kind_that_is_asked_for_are_read() {
    let tree = |bytes: &[u8]| Raw { kind: 2, ..blob(bytes) };
    let entries =
        [tree(b"abcdef"), named(0, &delta(6, 3, &[0b1001_0000, 3])), blob(b"ghi"), Raw { kind: 1, ..blob(b"jkl") }];
    let packs = packs(&entries);
    assert_eq!(read(&packs, &[0, 1, 2, 3]), [None, None, Some("ghi".to_owned()), None]);
    let mut trees = Unpacker::new(&packs, ObjectType::Tree, MOST, u64::MAX - 1);
    let mut read = |number| trees.object(packs.find(name(number)).unwrap()).map(|bytes| bytes.to_vec());
    assert_eq!([3, 2, 1, 0].map(&mut read), [None, None, Some(b"abc".to_vec()), Some(b"abcdef".to_vec())]);
}

#[test]
fn what_is_damaged_or_too_large_is_not_read() {
    let whole = || blob(b"abcdef");
    let lie = |says| Raw { says: Some(says), ..blob(b"abcdef") };
    let wrong: Vec<(&str, Vec<Raw>)> = vec![
        ("a tree", vec![Raw { kind: 2, ..whole() }]),
        ("longer than it says", vec![lie(5)]),
        ("shorter than it says", vec![lie(7)]),
        ("larger than is read", vec![lie(usize::try_from(MOST).unwrap() + 1)]),
        ("larger than a number", vec![Raw { kind: 3 << 4 | 15, ..lie(usize::MAX) }]),
        ("a delta against itself", vec![named(0, &delta(6, 6, &[0b1001_0000, 6]))]),
        ("a circle", vec![named(1, &delta(6, 6, &[0b1001_0000, 6])), named(0, &delta(6, 6, &[0b1001_0000, 6]))]),
        ("a base that is not there", vec![named(9, &delta(6, 6, &[0b1001_0000, 6]))]),
        ("a base before the pack", vec![before(99, &delta(6, 6, &[0b1001_0000, 6]))]),
        ("a base that is itself", vec![before(0, &delta(6, 6, &[0b1001_0000, 6]))]),
        ("a base of another size", vec![named(1, &delta(5, 5, &[0b1001_0000, 5])), whole()]),
        ("a copy beyond the base", vec![named(1, &delta(6, 3, &[0b1001_0001, 4, 3])), whole()]),
        ("more than it says", vec![named(1, &delta(6, 1, &[0b1001_0000, 2])), whole()]),
        ("less than it says", vec![named(1, &delta(6, 3, &[0b1001_0000, 2])), whole()]),
        ("an insert beyond the delta", vec![named(1, &delta(6, 3, &[3, b'a'])), whole()]),
        ("a copy beyond the delta", vec![named(1, &delta(6, 3, &[0xff, 0])), whole()]),
        ("the reserved command", vec![named(1, &delta(6, 1, &[0, 1, b'a'])), whole()]),
        ("no sizes", vec![named(1, &[0x80]), whole()]),
        ("endless sizes", vec![named(1, &[0xff; 40]), whole()]),
        // 16 MB out of 20 bytes.
        ("too much", vec![named(1, &[&[6, 0x80, 0x80, 0x80, 8][..], &[0b1001_0000, 6]].concat()), whole()]),
    ];
    for (what, entries) in wrong {
        assert_eq!(read(&packs(&entries), &[0]), [None], "{what}");
    }
}

#[test]
fn what_takes_too_much_work_is_told_from_what_is_not_read() {
    let copy = || delta(6, 6, &[0b1001_0000, 6]);
    let spent = |entries: &[Raw], most: u64, work: u64| {
        let packs = packs(entries);
        let mut unpacker = Unpacker::new(&packs, ObjectType::Blob, most, work);
        (unpacker.object(packs.find(name(0)).unwrap()).is_some(), unpacker.is_spent())
    };
    let enough = u64::MAX - 1;
    let chain = || [named(1, &copy()), named(2, &copy()), blob(b"abcdef")];
    // Two steps, the base, and twice a delta of four bytes and what it makes.
    let work = 2 * STEP + 6 + 2 * (4 + 6);
    assert_eq!(spent(&chain(), MOST, work), (true, false));
    assert_eq!(spent(&chain(), MOST, work - 1), (false, true));
    assert_eq!(spent(&chain(), 5, enough), (false, false), "too large");
    let circle = [named(1, &copy()), named(0, &copy())];
    assert_eq!(spent(&circle, MOST, enough), (false, true));
    assert_eq!(spent(&circle, 3, enough), (false, true), "too large, and a circle");
    assert_eq!(spent(&[named(0, &copy())], MOST, enough), (false, true), "a delta against itself");
    assert_eq!(spent(&[named(9, &copy())], MOST, enough), (false, false), "a base that is not there");
}

#[test]
fn no_cut_and_no_changed_byte_of_a_pack_or_index_panics() {
    let entries =
        [blob(b"hello world"), named(0, &delta(11, 5, &[0b1001_0000, 5])), named(1, &delta(5, 2, &[2, b'a', b'b']))];
    let (bytes, index) = pack(&entries);
    let read_all = |bytes: Vec<u8>, index: Vec<u8>| {
        let Some(index) = Index::new(index) else { return 0 };
        let packs = Packs { read: vec![Pack { bytes, index }], are_all: true };
        read(&packs, &[0, 1, 2]).into_iter().flatten().count()
    };
    assert_eq!(read_all(bytes.clone(), index.clone()), 3);
    let mut fewer = 0;
    for end in 0..bytes.len() {
        fewer += usize::from(read_all(bytes[..end].to_vec(), index.clone()) < 3);
    }
    for end in 0..index.len() {
        assert_eq!(read_all(bytes.clone(), index[..end].to_vec()), 0);
    }
    for at in 0..bytes.len() {
        for flipped in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flipped;
            fewer += usize::from(read_all(bytes, index.clone()) < 3);
        }
    }
    for at in 0..index.len() {
        for flipped in [0x01, 0x80, 0xff] {
            let mut index = index.clone();
            index[at] ^= flipped;
            fewer += usize::from(read_all(bytes.clone(), index) < 3);
        }
    }
    assert!(fewer > 100, "{fewer}");
}

/// Two bases of one size, so that only the header of the delta, and not its bytes, says which is meant.
#[test]
fn no_changed_byte_of_a_pack_or_offset_gives_another_text() {
    let (first, _) = pack(&[blob(b"abcdef")]);
    let distance = u8::try_from(first.len() - 12 - 20).unwrap();
    let copy = || delta(6, 6, &[0b1001_0000, 6]);
    let entries = [blob(b"abcdef"), blob(b"ghijkl"), before(distance, &copy()), named(0, &copy()), before(16, &copy())];
    let (bytes, index) = pack(&entries);
    let read_all = |bytes: Vec<u8>, index: Vec<u8>| {
        let Some(index) = Index::new(index) else { return vec![None; 5] };
        read(&Packs { read: vec![Pack { bytes, index }], are_all: true }, &[0, 1, 2, 3, 4])
    };
    let whole = read_all(bytes.clone(), index.clone());
    assert_eq!(whole[2].as_deref(), Some("ghijkl"));
    assert_eq!(whole[3].as_deref(), Some("abcdef"));
    let check = |read: Vec<Option<String>>, what: &str, at: usize| {
        let same = whole.iter().zip(&read).all(|(whole, read)| read.is_none() || read == whole);
        assert!(same, "{what}, byte {at}: {read:?}");
    };
    for at in 12..bytes.len() {
        for other in 0..=255 {
            let mut bytes = bytes.clone();
            bytes[at] = other;
            check(read_all(bytes, index.clone()), "pack", at);
        }
    }
    // The checksums and offsets; a changed name is another object's.
    for at in index.len() - 40 - 5 * 8..index.len() {
        for other in 0..=255 {
            let mut index = index.clone();
            index[at] = other;
            check(read_all(bytes.clone(), index), "index", at);
        }
    }
}

fn index_file(objects: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(objects.join("pack")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|file| file.extension().is_some_and(|e| e == "idx")).unwrap()
}

/// Both sorts of deltas as git makes them, damaged at random: what is read has the hash that it is asked for by.
#[test]
fn of_a_damaged_pack_of_git_only_what_has_its_hash_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let repository = git2::Repository::init_bare(temp.path()).unwrap();
    let text = |number: usize| format!("name: pod-{number}\n{}", "image: example:1\nport: 80\n".repeat(number % 7 + 9));
    let ids: Vec<Oid> = (0..60).map(|number| repository.blob(text(number).as_bytes()).unwrap()).collect();
    let list: String = ids.iter().map(|id| format!("{id}\n")).collect();
    for offsets in [Some("--delta-base-offset"), None] {
        let objects = temp.path().join(format!("own-{}", offsets.is_some()));
        std::fs::create_dir_all(objects.join("pack")).unwrap();
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(temp.path()).args(["pack-objects", "-q"]).args(offsets).arg(objects.join("pack/pack"));
        git.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut git = git.spawn().unwrap();
        git.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
        assert!(git.wait().unwrap().success());
        let read = Packs::open(&objects, MOST).read.pop().unwrap();
        let (bytes, index) = (read.bytes, std::fs::read(index_file(&objects)).unwrap());
        let count = |bytes: Vec<u8>, index: Vec<u8>| {
            let Some(index) = Index::new(index) else { return 0 };
            let packs = Packs { read: vec![Pack { bytes, index }], are_all: true };
            let mut unpacker = Unpacker::new(&packs, ObjectType::Blob, MOST, u64::MAX - 1);
            let read = ids.iter().filter_map(|id| Some((id, unpacker.object(packs.find(*id)?)?)));
            read.inspect(|(id, blob)| assert_eq!(Oid::hash_object(git2::ObjectType::Blob, blob).unwrap(), **id)).count()
        };
        assert_eq!(count(bytes.clone(), index.clone()), ids.len());
        let mut random = 1_u64;
        let mut fewer = 0;
        for round in 0..600 {
            let (mut bytes, mut index) = (bytes.clone(), index.clone());
            for _ in 0..=round % 3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(random >> 33).unwrap();
                // Names are not damaged: a changed one is that of another object.
                let tables = 8 + 1024 + 20 * ids.len();
                let (file, from) = if round % 2 == 0 { (&mut bytes, 0) } else { (&mut index, tables) };
                let at = from + at % (file.len() - from);
                file[at] ^= u8::try_from(random >> 8 & 255).unwrap();
            }
            fewer += usize::from(count(bytes, index) < ids.len());
        }
        assert!(fewer > 300, "{fewer}");
    }
}

#[test]
fn pipes_and_devices_are_no_packs() {
    let temp = tempfile::tempdir().unwrap();
    let directory = temp.path().join("pack");
    std::fs::create_dir(&directory).unwrap();
    let (bytes, index) = pack(&[blob(b"a")]);
    let made = std::process::Command::new("mkfifo").arg(directory.join("pack-1.idx")).status().unwrap();
    assert!(made.success());
    std::fs::write(directory.join("pack-1.pack"), &bytes).unwrap();
    std::fs::write(directory.join("pack-2.idx"), &index).unwrap();
    std::os::unix::fs::symlink("/dev/zero", directory.join("pack-2.pack")).unwrap();
    assert_eq!(Packs::open(temp.path(), 10_000).read.len(), 0);
}

#[test]
fn files_that_are_no_packs_or_too_large_are_passed_over() {
    let temp = tempfile::tempdir().unwrap();
    let directory = temp.path().join("pack");
    std::fs::create_dir(&directory).unwrap();
    let (bytes, index) = pack(&[blob(b"a")]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    write("pack-1.idx", &index);
    write("pack-2.idx", b"no index");
    write("pack-2.pack", &bytes);
    write("pack-3.idx", &index);
    write("pack-3.pack", b"no pack");
    write("pack-4.idx", &index);
    write("pack-4.pack", &bytes);
    let packs = Packs::open(temp.path(), 10_000);
    assert_eq!(packs.read.len(), 1);
    assert_eq!(packs.find(name(0)), Some(Place { pack: 0, offset: 12, position: 0 }));
    assert!(!packs.are_all());
    for file in ["pack-1.idx", "pack-2.idx", "pack-3.idx"] {
        std::fs::remove_file(directory.join(file)).unwrap();
    }
    let packs = Packs::open(temp.path(), 10_000);
    assert!(packs.are_all());
    write("multi-pack-index", b"");
    assert!(!Packs::open(temp.path(), 10_000).are_all());
    assert_eq!(Packs::open(temp.path(), index.len() as u64 - 1).read.len(), 0);
    assert_eq!(Packs::open(&temp.path().join("nowhere"), 10_000).read.len(), 0);
}
