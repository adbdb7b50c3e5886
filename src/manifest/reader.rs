//! From a snapshot to `Desired`.

mod local;
mod pair;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::check;
use super::file::File;
use super::object::{Body, Object, Typed};
use crate::model::{
    BlobId, Desired, DesiredObject, Diagnostics, Excluded, Packed, PodKey, Snapshot, SourceFile, SourceRef, spread,
};

/// Reads snapshots. A blob that the previous snapshot had is not parsed again.
#[derive(Debug)]
pub struct Reader {
    cache: HashMap<BlobId, Arc<File>>,
    threads: usize,
    parsed: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader that knows no file yet and works on the thread of its caller.
    pub fn new() -> Self {
        Self::with_threads(1)
    }

    /// The same, with several threads when there are many files to parse. The result does not depend on their number.
    pub fn with_threads(threads: usize) -> Self {
        Self { cache: HashMap::new(), threads, parsed: 0 }
    }

    /// Everything the snapshot asks for, and every problem of every file.
    pub fn read(&mut self, snapshot: &Snapshot) -> Desired {
        let mut files = self.files(snapshot);
        let below = files.split_off(snapshot.files.len());
        let mut files: Vec<(&SourceFile, Arc<File>)> = snapshot.files.iter().zip(files).collect();
        let local = local::layer(&files, &snapshot.local, below);
        files.extend(local.files);
        let mut desired =
            Desired { diagnostics: check::diagnostics(snapshot, &files, self.threads), ..empty(snapshot) };
        desired.diagnostics.0.extend(local.problems);
        let (written, provisioned) = files.split_at(snapshot.files.len());
        for (source, file) in written {
            file.objects.iter().for_each(|object| add(object, source, &mut desired));
            desired.excluded.extend(excluded(source, file));
        }
        for (source, file) in provisioned {
            let objects = file.objects.iter().filter_map(|object| self::desired(object, source));
            objects.for_each(|(object, typed)| add_desired((local::marked(object), typed), &mut desired));
        }
        desired
    }

    /// How many files are known.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// How many files were parsed since this reader was made.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// What each file of the snapshot holds, then each local one. Blobs that are no longer there are forgotten.
    fn files(&mut self, snapshot: &Snapshot) -> Vec<Arc<File>> {
        let mut old = std::mem::take(&mut self.cache);
        let mut new = Vec::new();
        let sources = || snapshot.files.iter().chain(&snapshot.local.files);
        for source in sources() {
            if self.cache.contains_key(&source.blob) {
                continue;
            }
            // A new blob stands in the cache too, so that it is parsed once however many files have it.
            let file = old.remove(&source.blob).unwrap_or_else(|| {
                new.push(source);
                Arc::default()
            });
            self.cache.insert(source.blob.clone(), file);
        }
        let read = spread::map(self.threads, &new, |source| Arc::new(File::kept(&source.bytes)));
        self.parsed += new.len();
        self.cache.extend(new.into_iter().map(|source| source.blob.clone()).zip(read));
        sources().map(|source| Arc::clone(&self.cache[&source.blob])).collect()
    }
}

/// Nothing, at the revision of a snapshot.
pub(super) fn empty(snapshot: &Snapshot) -> Desired {
    Desired {
        revision: snapshot.revision.clone(),
        pods: BTreeMap::new(),
        presets: BTreeMap::new(),
        others: BTreeMap::new(),
        excluded: vec![],
        unread: BTreeMap::new(),
        diagnostics: Diagnostics::default(),
    }
}

/// A place in a file.
fn at(source: &SourceFile, document: u32, (line, column): (u32, u32)) -> SourceRef {
    SourceRef { path: source.path.clone(), document, line, column }
}

/// What a file holds that was left out on purpose.
pub(super) fn excluded(source: &SourceFile, file: &File) -> impl Iterator<Item = Excluded> {
    file.excluded.iter().map(|excluded| Excluded {
        source: at(source, excluded.document, excluded.at),
        what: excluded.what.clone(),
        why: excluded.why.clone(),
    })
}

/// The object as it travels on, with what it is typed as; `None` when it has errors.
pub(super) fn desired(object: &Object, source: &SourceFile) -> Option<(DesiredObject, Typed)> {
    let Body { value, places, typed } = object.body.clone()?;
    let source = at(source, object.document, object.at);
    Some((DesiredObject { key: object.key.clone(), source, value, places }, typed))
}

/// Adds a valid object of a file.
pub(super) fn add(object: &Object, source: &SourceFile, to: &mut Desired) {
    if let Some(object) = desired(object, source) {
        add_desired(object, to);
    }
}

/// Adds an object. Of two with the same key the first counts: the second is an error.
pub(super) fn add_desired((object, typed): (DesiredObject, Typed), to: &mut Desired) {
    let key = object.key.clone();
    match typed {
        Typed::Pod(pod) => {
            let object = DesiredObject { value: None, ..object };
            let packed = || (object, Packed::new(&*pod));
            to.pods.entry(PodKey::new(key.namespace, key.name)).or_insert_with(packed);
        }
        Typed::Packed(pod) => {
            to.pods.entry(PodKey::new(key.namespace, key.name)).or_insert((object, pod));
        }
        Typed::Preset(preset) => {
            to.presets.entry(key).or_insert((object, preset));
        }
        Typed::Carried => {
            to.others.entry(key).or_insert(object);
        }
    }
}
