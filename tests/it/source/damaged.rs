//! Repositories that a power cut, a disk or a filter left incomplete: whatever is missing is named, and nothing hangs or panics.

use podwright::port::ReadError;
use podwright::source::{Directory, read_pair};

use super::repo::{Repo, options};

/// What is read of a repository in a thread of its own, unless it takes very long.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(std::time::Duration::from_secs(60)).ok()
}

/// What went wrong, in words; nothing when it did not.
fn told<T>(result: Result<T, ReadError>) -> Option<String> {
    match result.err()? {
        ReadError::Failed(error) => Some(format!("{:?} {error}", error.kind)),
        ReadError::Rejected(bad) => Some(format!("{bad:?}")),
    }
}

#[test]
fn objects_that_are_damaged_are_named_and_not_waited_for() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("deep/below/b.yaml", "b: 1\n"), (".podwrightignore", "x\n")]);
    repo.git(&["tag", "-a", "-m", "annotated", "old"]);
    repo.write("deep/below/b.yaml", "b: 2\n");
    repo.commit("second");
    let borrower = Repo::empty();
    std::fs::remove_dir_all(&borrower.root).unwrap();
    repo.git(&["clone", "--quiet", "--shared", ".", borrower.root.to_str().unwrap()]);
    let objects = [
        "HEAD",
        "HEAD^{tree}",
        "HEAD:deep",
        "HEAD:deep/below",
        "HEAD:deep/below/b.yaml",
        "HEAD:a.yaml",
        "HEAD:.podwrightignore",
        "old",
        "old^{commit}",
        "old^{tree}",
        "old:deep/below/b.yaml",
    ];
    for (object, place) in objects.iter().flat_map(|object| [(object, &repo.root), (object, &borrower.root)]) {
        let id = repo.id(object);
        let path = repo.path(&format!(".git/objects/{}/{}", &id[..2], &id[2..]));
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let changed = |at: usize, byte: u8| [&whole[..at], &[whole[at] ^ byte], &whole[at + 1..]].concat();
        let cuts = [1, 2, 3, 4, 5, whole.len() / 2, whole.len() - 4].map(|end| whole[..whole.len() - end].to_vec());
        let zeroes = [5, 16].map(|end| [&whole[..whole.len() - end], &vec![0; end]].concat());
        let others = [vec![0; whole.len()], changed(whole.len() - 1, 1), changed(0, 0x40), changed(2, 2)];
        for cut in cuts.into_iter().chain(zeroes).chain(others) {
            std::fs::write(&path, &cut).unwrap();
            let place = place.clone();
            let read = in_time(move || {
                let agent = Directory::open(&place, options()).map_err(ReadError::Failed);
                let agent = agent.and_then(|directory| directory.read_now().map(drop));
                let pairs = ["old", "HEAD~1", "HEAD^", ":/first", "HEAD~1^{tree}"]
                    .map(|base| read_pair(&place, base, Some("HEAD"), &options()).map(drop).map_err(|e| e.error));
                (told(agent), pairs.map(told))
            });
            let (agent, pairs) = read.unwrap_or_else(|| panic!("{object}: {} of {} bytes", cut.len(), whole.len()));
            if object.starts_with("HEAD") {
                let agent = agent.unwrap_or_else(|| panic!("{object} was read"));
                assert!(agent.contains("Corrupt") && agent.contains("git fsck"), "{object}: {agent}");
            }
            assert!(pairs[0].is_some(), "{object} was read from its tag on");
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(told(repo.open("").read_now()).is_none());
}

#[test]
fn what_is_borrowed_is_followed_as_libgit2_does_or_refused() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let info = repo.path(".git/objects/info/alternates");
    let read = |text: &[u8]| {
        std::fs::write(&info, text).unwrap();
        told(Directory::open(&repo.root, options()).map(drop).map_err(ReadError::Failed))
    };
    let made: Vec<_> = (0..70).map(|_| tempfile::tempdir().unwrap()).collect();
    let lines = |count: usize| {
        made[..count].iter().map(|dir| format!("{}\n", dir.path().display())).collect::<String>().into_bytes()
    };
    for borrowed in [&lines(63), &b"# a comment\r\n\n/nowhere\n"[..], b".\n../objects\n", &lines(1).repeat(100)] {
        assert_eq!(read(borrowed), None, "{}", String::from_utf8_lossy(borrowed));
    }
    for (borrowed, why) in [
        (&lines(64)[..], "more than 64 object directories"),
        (b"elsewhere\n", "\"elsewhere\" is neither a full path nor begins with a dot"),
        (b"\xff\n", "UTF-8"),
        (&b"#".repeat(65537), "more than 65536 bytes"),
    ] {
        let said = read(borrowed).expect(why);
        assert!(said.contains(why) && said.contains("alternates"), "{said}");
    }
}

#[test]
fn what_is_damaged_is_found_as_far_as_libgit2_borrows() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let objects = repo.path(".git/objects");
    // Each borrows from the next; the last one has what they all lack.
    let made: Vec<_> = (0..6).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut from = objects.clone();
    for next in &made {
        std::fs::create_dir_all(from.join("info")).unwrap();
        std::fs::write(from.join("info/alternates"), format!("{}\n", next.path().display())).unwrap();
        from = next.path().to_owned();
    }
    let id = repo.id("HEAD:a.yaml");
    let file = |directory: &std::path::Path| directory.join(&id[..2]).join(&id[2..]);
    std::fs::create_dir(from.join(&id[..2])).unwrap();
    std::fs::rename(file(&objects), file(&from)).unwrap();
    assert_eq!(told(repo.open("").read_now()), None);
    let whole = std::fs::read(file(&from)).unwrap();
    std::fs::remove_file(file(&from)).unwrap();
    std::fs::write(file(&from), &whole[..whole.len() - 1]).unwrap();
    let root = repo.root.clone();
    let work = move || told(Directory::open(&root, options()).map_err(ReadError::Failed).and_then(|d| d.read_now()));
    let said = in_time(work).expect("no end").expect("it was read");
    assert!(said.contains("Corrupt") && said.contains("git fsck"), "{said}");
}

#[test]
fn a_damaged_index_of_a_pack_is_an_error_or_gives_the_same_bytes() {
    let repo = Repo::with(&[("a.yaml", &"a: 1\n".repeat(40)), ("deep/b.yaml", "b: 1\n")]);
    repo.write("a.yaml", &("a: 1\n".repeat(40) + "a: 2\n"));
    repo.commit("second");
    repo.git(&["repack", "-a", "-d", "-f", "--quiet"]);
    repo.git(&["prune-packed"]);
    let mut packs = std::fs::read_dir(repo.path(".git/objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let index = packs.find(|path| path.extension().is_some_and(|e| e == "idx")).unwrap();
    let whole = std::fs::read(&index).unwrap();
    let compared = |repo: &Repo| {
        let root = repo.root.clone();
        let work = move || read_pair(&root, "HEAD~1", Some("HEAD"), &options());
        in_time(move || std::panic::catch_unwind(work).map_err(drop)).expect("no end").expect("a panic")
    };
    let right: Vec<_> = compared(&repo).unwrap().head.files.iter().map(|file| file.bytes.clone()).collect();
    std::fs::remove_file(&index).unwrap();
    // Offsets stand between the checksums of the objects and the two of the files.
    let count = u32::from_be_bytes(*whole[8 + 4 * 255..].first_chunk().unwrap()) as usize;
    let offsets = 8 + 1024 + 24 * count;
    let mut refused = 0;
    for (object, added) in (0..count).flat_map(|object| [1_u8, 2, 3, 7, 64, 255].map(|added| (object, added))) {
        let mut bytes = whole.clone();
        let last = offsets + 4 * object + 3;
        bytes[last] = bytes[last].wrapping_add(added);
        std::fs::write(&index, bytes).unwrap();
        let agent = in_time({
            let root = repo.root.clone();
            move || {
                std::panic::catch_unwind(move || Directory::open(&root, options()).map(|d| d.read_now().is_ok()))
                    .is_ok()
            }
        });
        assert_eq!(agent, Some(true), "{object} +{added}");
        match compared(&repo) {
            Ok(pair) => assert!(pair.head.files.iter().map(|file| &file.bytes).eq(&right), "{object} +{added}"),
            Err(_) => refused += 1,
        }
        std::fs::remove_file(&index).unwrap();
    }
    assert!(refused > count, "{refused}");
}

#[test]
fn a_clone_that_lacks_objects_is_told_how_to_get_them() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    repo.write("a.yaml", "a: 2\n");
    repo.commit("second");
    let partial = Repo::empty();
    std::fs::remove_dir_all(&partial.root).unwrap();
    let (from, to) = (format!("file://{}", repo.root.display()), partial.root.to_str().unwrap());
    repo.git(&["clone", "--quiet", "--filter=blob:none", "--no-checkout", &from, to]);
    let said = told(read_pair(&partial.root, "HEAD~1", Some("HEAD"), &options()).map_err(|e| e.error));
    let said = said.expect("it was read");
    assert!(said.contains("--filter") && said.contains("git fetch --refetch --no-filter"), "{said}");
}
