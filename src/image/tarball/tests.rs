//! Hostile and unusual tar streams.

use super::*;

fn header(path: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_cksum();
    header
}

fn padded(header: &Header, data: &[u8]) -> Vec<u8> {
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        length = rest + length.to_string().len();
        body.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    padded(&header("pax", EntryType::XHeader, body.len() as u64), &body)
}

fn all(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let limits = Limits { entries: 50, extension_bytes: 4096, ..Limits::default() };
    let mut tarball = Tarball::new(bytes, limits);
    let mut out = Vec::new();
    while let Some(entry) = tarball.next()? {
        let mut data = Vec::new();
        tarball.data().read_to_end(&mut data)?;
        out.push((entry, data));
    }
    Ok(out)
}

#[test]
fn extensions_override_the_fixed_header() {
    let long = format!("d/{}", "x".repeat(300));
    let mut bytes = pax(&[
        ("path", &long),
        ("uid", "3000000"),
        ("mtime", "12.5"),
        ("SCHILY.xattr.security.capability", "cap"),
        ("size", "3"),
    ]);
    bytes.extend(padded(&header("short", EntryType::Regular, 0), b"abc"));
    bytes.extend(padded(&header("next", EntryType::Regular, 1), b"z"));
    let entries = all(&bytes).unwrap();
    let (entry, data) = &entries[0];
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!((entry.uid, entry.gid, entry.mtime), (3_000_000, 2, (12, 500_000_000)));
    assert_eq!(entry.xattrs, [(b"security.capability".to_vec(), b"cap".to_vec())]);
    assert_eq!(data, b"abc");
    assert_eq!((entries[1].0.path.as_slice(), entries[1].1.as_slice()), (&b"next"[..], &b"z"[..]));
}

#[test]
fn gnu_long_names_and_links_are_read() {
    let long = "y".repeat(200);
    let mut bytes = padded(&header("././@LongLink", EntryType::GNULongName, 201), format!("{long}\0").as_bytes());
    bytes.extend(padded(&header("././@LongLink", EntryType::GNULongLink, 201), format!("{long}\0").as_bytes()));
    bytes.extend(padded(&header("y", EntryType::Symlink, 0), b""));
    let entries = all(&bytes).unwrap();
    assert_eq!((entries[0].0.path.as_slice(), entries[0].0.link.as_slice()), (long.as_bytes(), long.as_bytes()));
}

#[test]
fn sparse_maps_of_pax_are_read_and_checked() {
    let sparse = |map: &str, real: &str| {
        let mut bytes = pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "holes"),
            ("GNU.sparse.realsize", real),
        ]);
        let mut body = map.as_bytes().to_vec();
        body.resize(512, 0);
        body.extend_from_slice(b"abcd");
        bytes.extend(padded(&header("GNUSparseFile.0/holes", EntryType::Regular, 516), &body));
        bytes
    };
    let entries = all(&sparse("2\n0\n2\n8192\n2\n", "10000")).unwrap();
    assert_eq!(entries[0].0.path, b"holes");
    assert_eq!(entries[0].0.sparse, Some((10000, vec![(0, 2), (8192, 2)])));
    assert_eq!(entries[0].1, b"abcd");
    for bad in ["2\n0\n2\n1\n2\n", "2\n0\n2\n9999\n2\n", "1\n0\n5\n", "9999999\n", "x\n"] {
        assert!(all(&sparse(bad, "10000")).is_err(), "{bad:?}");
    }
    assert!(all(&sparse("2\n0\n2\n8192\n2\n", "99999999999999999")).is_err());
}

#[test]
fn lies_and_damage_are_refused_without_panic() {
    let good = padded(&header("f", EntryType::Regular, 5), b"hello");
    assert_eq!(all(&good).unwrap().len(), 1);
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    let huge_extension = header("x", EntryType::XHeader, 1 << 40).as_bytes().to_vec();
    let huge_name = header("x", EntryType::GNULongName, u64::from(u32::MAX)).as_bytes().to_vec();
    let huge_size = header("x", EntryType::Regular, 1 << 60).as_bytes().to_vec();
    let many: Vec<u8> = (0..60).flat_map(|_| padded(&header("f", EntryType::Regular, 0), b"")).collect();
    let zero_in_name = {
        let mut bytes = pax(&[("path", "a\0b")]);
        bytes.extend(padded(&header("f", EntryType::Regular, 0), b""));
        bytes
    };
    let cases: [(&str, &[u8], &str); 9] = [
        ("bit flip", &flipped, "checksum"),
        ("cut in the header", &good[..100], "cut short"),
        ("cut in the data", &good[..514], "cut short"),
        ("huge extension", &huge_extension, "cut short"),
        ("huge name", &huge_name, "cut short"),
        ("huge size", &huge_size, "cut short"),
        ("too many entries", &many, "more than 50 entries"),
        ("zero byte", &zero_in_name, "zero byte"),
        ("text", &[b'a'; 600], "no tar archive"),
    ];
    for (name, bytes, message) in cases {
        let error = all(bytes).unwrap_err().to_string();
        assert!(error.contains(message), "{name}: {error}");
    }
}

#[test]
fn an_extension_is_bounded_before_it_is_read() {
    let mut bytes = header("x", EntryType::GNULongName, 8192).as_bytes().to_vec();
    bytes.resize(512 + 8192, b'n');
    assert!(all(&bytes).unwrap_err().to_string().contains("larger than 4096"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(noise in proptest::collection::vec(proptest::num::u8::ANY, 0..2048), at in 0..512_usize, value: u8) {
        let _ = all(&noise);
        let mut bytes = pax(&[("size", "5"), ("mtime", "1.5")]);
        bytes.extend(padded(&header("f", EntryType::Regular, 5), b"hello"));
        bytes[at] = value;
        let _ = all(&bytes);
    }
}
