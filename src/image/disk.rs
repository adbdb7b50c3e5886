//! The store's directory: what lies where, the lock between processes, durable writes, the layers' records.
//!
//! ```text
//! index.json            names -> manifests, replaced atomically
//! lock                  held by whoever changes the store
//! blobs/sha256/HEX      manifests and configurations; a layer's blob is not kept once it is unpacked
//! layers/ID/            an unpacked layer; ID is half of its chain id, since overlay's options must be short
//! layers/ID.json        its record, written last: a directory without one is left over from a power cut
//! layers/ID.seen        since when it is known to hold what was unpacked; may be lost
//! layers/ID.old-N       a damaged layer that another one replaced: containers may still stand on it
//! downloads/            what pulls have got so far
//! tmp/                  work in progress
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

use super::stream::{digest_of, read_bounded};
use super::survey::{Tree, survey, survey_contents};
use crate::sys::beneath::Dir;
use crate::sys::effect::{self, Lasting, Replacement};
use crate::sys::process::boot_id;

const INDEX_BYTES: u64 = 16 << 20;
const RECORD_BYTES: u64 = 64 << 10;
/// Digits of a chain id in the name of a layer's directory: 128 bits.
const LAYER_ID: usize = 32;
/// Replaced directories that are kept of one layer: who has more of them has a disk that fails.
const REPLACED: u32 = 8;
/// What the name of a replaced directory ends in, before its number.
pub(super) const OLD: &str = "old-";

/// Whether an error says that something stored is not what it should be. Any other one, such as too many open files, says
/// only that it could not be looked at, and nothing may be thrown away for it.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [Kind::NotFound, Kind::InvalidData, Kind::UnexpectedEof, Kind::NotADirectory, Kind::IsADirectory];
    kinds.contains(&error.kind())
}

/// What the names mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) version: u32,
    /// By full normalised reference.
    pub(super) images: BTreeMap<String, Named>,
}

/// One name's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    pub(super) manifest: String,
    /// Digests of the indexes the manifest was picked from: a pod may pin one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) indexes: Vec<String>,
    /// It came from a registry and can come from there again; what was loaded by hand cannot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) pulled: bool,
}

/// What an unpacked layer must look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LayerRecord {
    pub(super) chain_id: String,
    pub(super) diff_id: String,
    /// Bytes of the uncompressed tar stream.
    pub(super) tar_bytes: u64,
    #[serde(flatten)]
    pub(super) tree: Tree,
    /// Digest of what its entries hold; `None` in a record of a version that kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contents: Option<String>,
}

/// When a layer was last read as a whole, and found to be what was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    /// Since this boot of the machine no power cut can have taken anything from it.
    boot: String,
    /// Digest of when its entries were touched.
    touched: String,
}

impl Seen {
    /// Whether the kernel tells one boot from another. In a container that hides it every layer is read at each start.
    fn is_of_a_boot(&self) -> bool {
        !self.boot.is_empty()
    }
}

/// The open store directory.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
}

/// Held while the store is changed; other processes and threads wait.
pub(super) struct Locked(#[allow(dead_code, reason = "closing the file unlocks it")] File);

impl Disk {
    /// Makes what is missing.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        // The layers hold set-id programs of strangers: no other user of the machine gets in.
        for dir in ["blobs/sha256", "layers", "tmp"] {
            effect::make_dirs(&root.join(dir), 0o700)?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Takes the lock and clears what a crash left behind.
    pub(super) fn lock(&self) -> io::Result<Locked> {
        let file = effect::create(&self.root.join("lock"), OFlags::WRONLY, 0o600)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        let tmp = Dir::open(&self.tmp())?;
        // Layers are unpacked there, and have what their entries say alone.
        tmp.pass_on_nothing()?;
        for name in tmp.names()? {
            tmp.remove_tree(&name)?;
        }
        Ok(Locked(file))
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The name of a layer's directory.
    pub(super) fn layer_id(chain_id: &str) -> &str {
        let hex = chain_id.strip_prefix("sha256:").unwrap_or(chain_id);
        hex.get(..LAYER_ID).unwrap_or(hex)
    }

    /// The directory of an unpacked layer.
    pub(super) fn layer(&self, chain_id: &str) -> PathBuf {
        self.layers().join(Self::layer_id(chain_id))
    }

    fn record_path(&self, chain_id: &str) -> PathBuf {
        self.layers().join(format!("{}.json", Self::layer_id(chain_id)))
    }

    pub(super) fn index(&self) -> io::Result<Index> {
        let file = match File::open(self.root.join("index.json")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(error) => return Err(error),
        };
        let bytes = read_bounded(file, INDEX_BYTES, "index.json")?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("index.json is damaged: {e}")))?;
        if index.version > 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "index.json was written by a newer podwright"));
        }
        Ok(index)
    }

    pub(super) fn write_index(&self, index: &Index) -> io::Result<()> {
        let index = Index { version: 1, images: index.images.clone() };
        self.write(&self.root.join("index.json"), &serde_json::to_vec_pretty(&index)?)
    }

    /// Sets a damaged index aside, so that images can be loaded again.
    pub(super) fn set_index_aside(&self) -> io::Result<()> {
        effect::rename_at(&Dir::open(&self.root)?, OsStr::new("index.json"), OsStr::new("index.json.damaged"))
    }

    /// A blob, its digest checked; the error kind is `NotFound` or `InvalidData` when it is damaged.
    pub(super) fn blob(&self, hex: &str, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = read_bounded(File::open(self.root.join("blobs/sha256").join(hex))?, limit, "a blob")?;
        if digest_of(&bytes) != format!("sha256:{hex}") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("blob {hex} is not what its digest says")));
        }
        Ok(bytes)
    }

    /// Stores a blob and returns its digest.
    pub(super) fn put_blob(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = digest_of(bytes);
        let hex = digest.trim_start_matches("sha256:");
        if self.blob(hex, u64::MAX - 1).is_err() {
            self.write(&self.root.join("blobs/sha256").join(hex), bytes)?;
        }
        Ok(digest)
    }

    pub(super) fn record(&self, chain_id: &str) -> io::Result<LayerRecord> {
        let bytes = read_bounded(File::open(self.record_path(chain_id))?, RECORD_BYTES, "a layer's record")?;
        let record: LayerRecord = serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("a layer's record is damaged: {e}")))?;
        if record.chain_id != chain_id {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a layer's record is of another layer"));
        }
        Ok(record)
    }

    /// The bytes of a layer by the name of its directory, 0 when no record says.
    pub(super) fn layer_bytes(&self, id: &str) -> u64 {
        let read = || read_bounded(File::open(self.layers().join(format!("{id}.json")))?, RECORD_BYTES, "a record");
        let record: Option<LayerRecord> = read().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        record.map_or(0, |record| record.tree.bytes)
    }

    /// Compares an unpacked layer with its record, file by file. What the files hold is read when that was not done since
    /// this boot, or when anything touched one of them since.
    pub(super) fn verify(&self, chain_id: &str) -> io::Result<LayerRecord> {
        let record = self.record(chain_id)?;
        let layer = Dir::open(&self.layer(chain_id))?;
        let survey = survey(&layer)?;
        if survey.tree != record.tree {
            let (found, kept) = (&survey.tree, &record.tree);
            let message = format!(
                "the layer {} has {} entries of {} bytes where {} of {} were unpacked, or other names",
                record.diff_id, found.entries, found.bytes, kept.entries, kept.bytes
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        // A version before kept no digest of what files hold.
        let Some(contents) = &record.contents else { return Ok(record) };
        let seen = Seen { boot: boot_id(), touched: survey.touched };
        if seen.is_of_a_boot() && self.seen(chain_id).is_some_and(|before| before == seen) {
            return Ok(record);
        }
        if survey_contents(&layer)? != *contents {
            let message = format!("files of the layer {} do not hold what was unpacked", record.diff_id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.note_seen(chain_id, &seen);
        Ok(record)
    }

    fn seen_path(&self, chain_id: &str) -> PathBuf {
        self.layers().join(format!("{}.seen", Self::layer_id(chain_id)))
    }

    fn seen(&self, chain_id: &str) -> Option<Seen> {
        let file = File::open(self.seen_path(chain_id)).ok()?;
        serde_json::from_slice(&read_bounded(file, RECORD_BYTES, "a note").ok()?).ok()
    }

    /// Notes that a layer was read. Without the note it is read again: nothing depends on it.
    fn note_seen(&self, chain_id: &str, seen: &Seen) {
        if !seen.is_of_a_boot() {
            return;
        }
        let via = format!("{}.seen.{}", Self::layer_id(chain_id), std::process::id());
        let write = || self.replace(&self.seen_path(chain_id), &via, &serde_json::to_vec(seen)?, Lasting::Nothing);
        if let Err(error) = write() {
            tracing::debug!(%error, "a layer will be read again at the next start");
        }
    }

    /// Moves an unpacked layer from `tmp` to its place. Everything is on the disk before the record says so.
    pub(super) fn keep_layer(&self, unpacked: &OsStr, record: &LayerRecord) -> io::Result<()> {
        let layers = Dir::open(&self.layers())?;
        effect::sync_all(&layers)?;
        let tmp = Dir::open(&self.tmp())?;
        self.set_layer_aside(&layers, Self::layer_id(&record.chain_id))?;
        effect::move_at((&tmp, unpacked), (&layers, OsStr::new(Self::layer_id(&record.chain_id))))?;
        layers.fsync()?;
        self.write(&self.record_path(&record.chain_id), &serde_json::to_vec_pretty(record)?)?;
        let touched = survey(&Dir::open(&self.layer(&record.chain_id))?)?.touched;
        self.note_seen(&record.chain_id, &Seen { boot: boot_id(), touched });
        Ok(())
    }

    /// Makes room for a layer that replaces a damaged one, which stays under another name: what is whole of it serves the
    /// containers that run on it. One that its pull has not come to write a record of serves nobody.
    fn set_layer_aside(&self, layers: &Dir, id: &str) -> io::Result<()> {
        let is_there = |name: &str| Ok::<_, io::Error>(layers.stat(Path::new(name))?.is_some());
        if !is_there(id)? {
            return Ok(());
        }
        if !is_there(&format!("{id}.json"))? && !is_there(&format!("{id}.seen"))? {
            return self.remove_layer(id);
        }
        for number in 0..REPLACED {
            let name = format!("{id}.{OLD}{number}");
            if is_there(&name)? {
                continue;
            }
            // In this order: without a record it would look like one that serves nobody.
            effect::move_at((layers, OsStr::new(id)), (layers, OsStr::new(&name)))?;
            return forget_record(layers, id);
        }
        let message = format!(
            "a layer was damaged {REPLACED} times, and containers may run on what is left: once they are gone, \
             `podwright image prune` removes it"
        );
        Err(io::Error::other(message))
    }

    /// Removes a layer, its record first: half a layer is never taken for a whole one.
    pub(super) fn forget_layer(&self, id: &str) -> io::Result<()> {
        forget_record(&Dir::open(&self.layers())?, id)?;
        self.remove_layer(id)
    }

    /// Removes a directory of a layer that has no record, by its name.
    pub(super) fn remove_layer(&self, name: &str) -> io::Result<()> {
        let layers = Dir::open(&self.layers())?;
        // Out of the way in one step: a crash leaves it in `tmp`, where the next change clears it.
        let tmp = Dir::open(&self.tmp())?;
        let aside = format!("{name}.old");
        match effect::move_at((&layers, OsStr::new(name)), (&tmp, OsStr::new(&aside))) {
            Ok(()) => tmp.remove_tree(OsStr::new(&aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let via = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        self.replace(path, via, bytes, Lasting::Whole)
    }

    /// Replaces a file by way of a name in `tmp`, where what is left over is cleared away.
    fn replace(&self, path: &Path, via: &str, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (dir, tmp) = (Dir::open(dir)?, Dir::open(&self.tmp())?);
        let new = Replacement { file: (&dir, name), via: (&tmp, via), mode: 0o600, lasting, shared: false };
        new.write(|file| file.write_all(bytes))
    }
}

fn forget_record(layers: &Dir, id: &str) -> io::Result<()> {
    layers.remove_tree(OsStr::new(&format!("{id}.json")))?;
    layers.remove_tree(OsStr::new(&format!("{id}.seen")))?;
    layers.fsync()
}

/// Reads the rest of a stream, so that its digest is complete.
pub(super) fn drain(mut reader: impl Read) -> io::Result<()> {
    io::copy(&mut reader, &mut io::sink()).map(|_| ())
}
