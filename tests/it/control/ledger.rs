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
    Durable { last_applied: Some(revision(applied)), last_attempted: Some(revision("other")) }
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
