//! The entries of a tree object, as git writes them: mode, name, NUL, and the 20 bytes of an object's name.

use git2::Oid;

use super::walk::Kind;

/// One entry of a tree object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item<'t> {
    pub(super) kind: Kind,
    pub(super) name: &'t [u8],
    pub(super) id: Oid,
}

/// The entries of a tree object in its order; `None` when there is one that git would not write, which libgit2 may know or
/// says what is wrong with.
pub(super) fn items(mut tree: &[u8]) -> Option<Vec<Item<'_>>> {
    // The shortest entry has 24 bytes, most have 40.
    let mut items = Vec::with_capacity(tree.len() / 40 + 1);
    while !tree.is_empty() {
        let (kind, rest) = mode(tree)?;
        let end = rest.iter().position(|byte| *byte == 0).filter(|end| (1..=MOST_NAME).contains(end))?;
        let (name, rest) = rest.split_at(end);
        let (id, rest) = rest[1..].split_at_checked(20)?;
        items.push(Item { kind, name, id: Oid::from_bytes(id).ok()? });
        tree = rest;
    }
    Some(items)
}

/// libgit2 takes no longer name.
const MOST_NAME: usize = 65535;

/// What an entry is, and what follows its mode.
fn mode(entry: &[u8]) -> Option<(Kind, &[u8])> {
    const MODES: [(&[u8], Kind); 6] = [
        (b"100644 ", Kind::File),
        (b"40000 ", Kind::Directory),
        (b"100755 ", Kind::File),
        (b"120000 ", Kind::Link),
        (b"160000 ", Kind::Repository),
        // Written by git before 1.0.
        (b"100664 ", Kind::File),
    ];
    MODES.iter().find_map(|(mode, kind)| Some((*kind, entry.strip_prefix(*mode)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: &str, name: &[u8], id: u8) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &[id; 20]].concat()
    }

    /// The entries as the walk sees them, through libgit2.
    fn known(repository: &git2::Repository, bytes: &[u8]) -> Option<Vec<(Kind, Vec<u8>, Oid)>> {
        let id = repository.odb().unwrap().write(git2::ObjectType::Tree, bytes).unwrap();
        let tree = repository.find_tree(id).ok()?;
        let item = |entry: git2::TreeEntry<'_>| {
            let kind = super::super::checkout::kind(&entry);
            (kind, entry.name_bytes().to_vec(), entry.id())
        };
        Some(tree.iter().map(item).collect())
    }

    #[test]
    fn a_tree_has_the_entries_that_libgit2_finds_or_is_left_to_it() {
        let temp = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init_bare(temp.path()).unwrap();
        let modes = ["100644", "100755", "100664", "120000", "160000", "40000"];
        let whole: Vec<Vec<u8>> = modes.iter().zip(1..).map(|(mode, id)| entry(mode, b"a name", id)).collect();
        let (whole, odd) = (whole.concat(), entry("100600", b"x", 9));
        let ours = |bytes: &[u8]| {
            let items = items(bytes)?;
            Some(items.into_iter().map(|item| (item.kind, item.name.to_vec(), item.id)).collect::<Vec<_>>())
        };
        assert_eq!(ours(&whole).unwrap().len(), 6);
        assert_eq!(ours(&whole), known(&repository, &whole));
        assert_eq!(ours(b""), known(&repository, b""));
        for left in [odd, entry("0100644", b"x", 1), entry("100644", b"", 1), entry("100644", &[b'x'; 65536], 1)] {
            assert_eq!(ours(&left), None);
        }
        let mut read = 0;
        for end in 0..whole.len() {
            let cut = ours(&whole[..end]);
            assert!(cut.is_none() || cut == known(&repository, &whole[..end]), "{end}");
            read += usize::from(cut.is_some());
        }
        assert_eq!(read, 6);
        for at in 0..whole.len() {
            for flipped in [0x01, 0x10, 0x20, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flipped;
                let ours = ours(&bytes);
                assert!(ours.is_none() || ours == known(&repository, &bytes), "{at} {flipped}");
            }
        }
    }
}
