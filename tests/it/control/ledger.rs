//! The ledger on disk.

use podwright::backend::LedgerFile;
use podwright::model::{Durable, Revision, RevisionKind};
use podwright::port::{ErrorKind, LedgerStore};

fn durable(applied: &str) -> Durable {
    let revision = |id: &str| Revision {
        kind: RevisionKind::Commit,
        id: id.into(),
        subject: Some("first".into()),
        branch: Some("main".into()),
    };
    Durable { last_applied: Some(revision(applied)), last_attempted: Some(revision("other")), set_aside: None }
}

#[tokio::test]
async fn what_was_saved_last_is_loaded_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = LedgerFile::new(dir.path().join("ledger.json"));
    assert_eq!(ledger.load().await.unwrap(), Durable::default());
    for id in ["one", "two"] {
        ledger.save(&durable(id)).await.unwrap();
        assert_eq!(ledger.load().await.unwrap(), durable(id));
    }
    // A save that was cut short leaves its beginning beside the file.
    std::fs::write(dir.path().join(".ledger.json"), "{\"lastApp").unwrap();
    assert_eq!(ledger.load().await.unwrap(), durable("two"));
    ledger.save(&durable("three")).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["ledger.json"]);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_or_written_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.json");
    std::fs::write(&path, "not json").unwrap();
    let error = LedgerFile::new(&path).load().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.to_string().starts_with("cannot read the ledger "), "{error}");
    let error = LedgerFile::new(dir.path().join("no/ledger.json")).save(&durable("one")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.to_string().starts_with("cannot save the ledger "), "{error}");
}

#[tokio::test]
async fn the_ledger_of_each_format_is_read() {
    let formats = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/records");
    for format in std::fs::read_dir(formats).unwrap().map(|entry| entry.unwrap().path()) {
        let ledger = LedgerFile::new(format.join("ledger.json"));
        assert_eq!(ledger.load().await.unwrap(), durable("one"), "{}", format.display());
    }
}

#[tokio::test]
async fn a_ledger_of_another_version_is_read_or_kept_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.json");
    let ledger = LedgerFile::new(&path);
    ledger.save(&durable("one")).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(r#"{"version":1,"#), "{text}");
    for same in
        [text.replace(r#""version":1,"#, ""), text.replace(r#""version":1,"#, r#""version":1,"later":{"x":[1]},"#)]
    {
        std::fs::write(&path, same).unwrap();
        assert_eq!(ledger.load().await.unwrap(), durable("one"));
    }
    let kept = dir.path().join("ledger.v2.json");
    for newer in [text.replace(r#""version":1"#, r#""version":2"#), r#"{"version":2,"lastApplied":[1]}"#.to_owned()] {
        std::fs::write(&path, &newer).unwrap();
        let loaded = ledger.load().await.unwrap();
        let place = Some(kept.display().to_string());
        assert_eq!(loaded, Durable { set_aside: place, ..Durable::default() }, "nothing of it is understood");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            newer,
            "until there is something to save it is in its place"
        );
        let own = Durable { set_aside: loaded.set_aside, ..durable("two") };
        for _ in 0..2 {
            ledger.save(&own).await.unwrap();
            assert_eq!(std::fs::read_to_string(&kept).unwrap(), newer);
            assert_eq!(ledger.load().await.unwrap(), own);
        }
    }
    // Who runs the later program again finds in the ledger where its own is; who does not may remove it.
    assert!(std::fs::read_to_string(&path).unwrap().contains("ledger.v2.json"));
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(ledger.load().await.unwrap(), durable("two"));
}
