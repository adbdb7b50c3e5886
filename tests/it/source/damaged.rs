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
fn objects_that_are_cut_short_are_named_and_not_waited_for() {
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
        let last_bits = [&whole[..whole.len() - 5], &[0; 5]].concat();
        for cut in
            [whole[..whole.len() - 1].to_vec(), whole[..whole.len() / 2].to_vec(), whole[..4].to_vec(), last_bits]
        {
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
