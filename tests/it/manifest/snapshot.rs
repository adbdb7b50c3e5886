//! Snapshots for the tests, out of paths and texts.

use std::sync::Arc;

use podwright::manifest::Reader;
use podwright::model::{BlobId, Desired, Revision, RevisionKind, Snapshot, SourceFile};
use sha2::{Digest, Sha256};

/// A snapshot of some files.
pub(crate) fn snapshot<P: AsRef<str>, T: AsRef<[u8]>>(files: &[(P, T)]) -> Snapshot {
    let mut files: Vec<SourceFile> = files
        .iter()
        .map(|(path, text)| {
            let bytes: Arc<[u8]> = Arc::from(text.as_ref());
            let blob = BlobId::of_text(&format!("{:x}", Sha256::digest(&bytes)));
            SourceFile { path: Arc::from(path.as_ref()), blob, bytes }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let revision = Revision { kind: RevisionKind::Content, id: "sha256:00".into(), subject: None, branch: None };
    Snapshot { revision, files, local: Default::default(), uncommitted: vec![], ignored: vec![] }
}

/// What a fresh reader makes of some files.
pub(crate) fn read<P: AsRef<str>, T: AsRef<[u8]>>(files: &[(P, T)]) -> Desired {
    Reader::new().read(&snapshot(files))
}
