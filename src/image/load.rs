//! Loading: from an input to manifests, configurations and unpacked layers, everything verified on the way.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use super::disk::{Disk, LayerRecord, Named, drain, is_damage};
use super::document::{
    Configuration, Descriptor, DockerEntry, Manifest, Platform, chain_ids, digest_hex, for_this_machine,
};
use super::input::Input;
use super::limits::Limits;
use super::stream::{Digesting, decompress, digest_of, refused};
use super::survey::{survey, survey_contents};
use super::tarball::Tarball;
use super::unpack::unpack;
use super::{LayerStage, LoadedImage};
use crate::model::Reference;
use crate::sys::beneath::Dir;

const LAYER_MEDIA: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_MEDIA: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_MEDIA: &str = "application/vnd.oci.image.manifest.v1+json";
/// Indexes inside indexes.
pub(super) const MAX_NESTING: usize = 4;

/// One load at work, under the store's lock.
pub(super) struct Loader<'a> {
    disk: &'a Disk,
    input: &'a Input,
    limits: Limits,
    /// Hears of each layer, by its number, before and after it is unpacked.
    tell: &'a dyn Fn(usize, LayerStage),
    /// Chain ids of the layers that it has brought so far.
    brought: RefCell<Vec<String>>,
}

/// An image of the input, chosen and not yet stored.
pub(super) struct Chosen {
    pub(super) names: Vec<String>,
    pub(super) manifest: Manifest,
    /// The manifest's bytes, where they are given; docker's archives have none.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) indexes: Vec<String>,
    pub(super) configuration: Vec<u8>,
    /// Where each layer lies in the input, lowest first, with its digest where one is given.
    pub(super) layers: Vec<(String, Option<String>)>,
}

/// An image that is stored and can be named.
pub(super) struct Stored {
    pub(super) loaded: LoadedImage,
    pub(super) named: Named,
}

impl<'a> Loader<'a> {
    pub(super) fn new(disk: &'a Disk, input: &'a Input, limits: Limits, tell: &'a dyn Fn(usize, LayerStage)) -> Self {
        Self { disk, input, limits, tell, brought: RefCell::default() }
    }

    /// Stores every image of the input.
    pub(super) fn run(&self, name: Option<&Reference>) -> io::Result<Vec<Stored>> {
        let chosen =
            if self.input.has("oci-layout") || (self.input.has("index.json") && !self.input.has("manifest.json")) {
                self.layout()?
            } else if self.input.has("manifest.json") {
                self.docker()?
            } else {
                return Err(refused("it has neither an oci-layout nor a manifest.json: it is no image"));
            };
        if name.is_some() && chosen.len() != 1 {
            return Err(refused(format!("it holds {} images; a name fits only one", chosen.len())));
        }
        let mut stored = Vec::new();
        for image in chosen {
            stored.extend(self.store(image, name)?);
        }
        Ok(stored)
    }

    fn layout(&self) -> io::Result<Vec<Chosen>> {
        let top = parse_manifest(&self.input.read("index.json", &self.limits)?)?;
        let descriptors = top.manifests.ok_or_else(|| refused("index.json has no manifests"))?;
        let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
        for descriptor in descriptors {
            groups.entry(descriptor.name().map(str::to_owned)).or_default().push(descriptor);
        }
        if groups.is_empty() {
            return Err(refused("index.json lists no image"));
        }
        let mut chosen: Vec<Chosen> = Vec::new();
        for (name, descriptors) in groups {
            let names: Vec<String> = name.into_iter().collect();
            let image = self.pick(&descriptors, &[])?;
            let image = Chosen { names, ..image };
            match chosen.iter_mut().find(|c| c.bytes == image.bytes) {
                Some(same) => same.names.extend(image.names),
                None => chosen.push(image),
            }
        }
        Ok(chosen)
    }

    /// Chooses the image for this machine among descriptors of manifests and of further indexes.
    fn pick(&self, descriptors: &[Descriptor], indexes: &[String]) -> io::Result<Chosen> {
        if indexes.len() > MAX_NESTING {
            return Err(refused("indexes are nested too deeply"));
        }
        let descriptor = for_this_machine(descriptors).map_err(refused)?;
        let bytes = self.document(descriptor)?;
        let manifest = parse_manifest(&bytes)?;
        if let Some(nested) = &manifest.manifests {
            let mut indexes = indexes.to_vec();
            indexes.push(descriptor.digest.clone());
            return self.pick(nested, &indexes);
        }
        let config = manifest.config.as_ref().ok_or_else(|| refused("a manifest has no configuration"))?;
        let configuration = self.document(config)?;
        let mut layers = Vec::new();
        for layer in manifest.layers.iter().flatten() {
            layers.push((blob_path(layer)?, Some(layer.digest.clone())));
        }
        Ok(Chosen { names: Vec::new(), manifest, bytes: Some(bytes), indexes: indexes.to_vec(), configuration, layers })
    }

    /// A blob small enough to be held, its digest verified.
    fn document(&self, descriptor: &Descriptor) -> io::Result<Vec<u8>> {
        let path = blob_path(descriptor)?;
        let bytes = self.input.read(&path, &self.limits)?;
        if digest_of(&bytes) != descriptor.digest {
            return Err(differs(&descriptor.digest, &digest_of(&bytes)));
        }
        Ok(bytes)
    }

    fn docker(&self) -> io::Result<Vec<Chosen>> {
        let bytes = self.input.read("manifest.json", &self.limits)?;
        let entries: Vec<DockerEntry> =
            serde_json::from_slice(&bytes).map_err(|e| refused(format!("manifest.json is unreadable: {e}")))?;
        if entries.is_empty() {
            return Err(refused("manifest.json lists no image"));
        }
        entries
            .into_iter()
            .map(|entry| {
                let configuration = self.input.read(&entry.config, &self.limits)?;
                let manifest = Manifest {
                    schema_version: 2,
                    media_type: Some(MANIFEST_MEDIA.to_owned()),
                    manifests: None,
                    config: Some(descriptor(CONFIG_MEDIA, digest_of(&configuration), configuration.len() as u64)),
                    layers: None,
                };
                let layers = entry.layers.unwrap_or_default().into_iter().map(|path| (path, None)).collect();
                let names = entry.repo_tags.unwrap_or_default();
                Ok(Chosen { names, manifest, bytes: None, indexes: Vec::new(), configuration, layers })
            })
            .collect()
    }

    /// Stores one image under its own names, or under `name`. Of an input that fails no layer stays: without an image that
    /// names them they would be in the way of others.
    pub(super) fn store(&self, image: Chosen, name: Option<&Reference>) -> io::Result<Vec<Stored>> {
        let stored = self.store_whole(image, name);
        if stored.is_err()
            && let Err(error) = self.give_up()
        {
            tracing::warn!(%error, "layers of an image that is not stored stay until the next prune");
        }
        stored
    }

    /// Removes the layers that were brought, but for those that a stored image has too: containers may have been started on
    /// them already.
    fn give_up(&self) -> io::Result<()> {
        let brought = self.brought.take();
        if brought.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for image in self.disk.index()?.images.values() {
            match read_stored(self.disk, &image.manifest, &self.limits) {
                Ok((_, chain, _)) => named.extend(chain),
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut unnamed = brought.iter().filter(|chain_id| !named.contains(*chain_id));
        unnamed.try_for_each(|chain_id| self.disk.forget_layer(Disk::layer_id(chain_id)))
    }

    fn store_whole(&self, image: Chosen, name: Option<&Reference>) -> io::Result<Vec<Stored>> {
        let names = names(&image.names, name)?;
        let configuration = Configuration::parse(&image.configuration).map_err(refused)?;
        let (here, platform) = (Platform::here(), configuration.platform());
        if !platform.runs_on(&here) {
            return Err(refused(format!("the image is for {platform}, this machine is {here}")));
        }
        let diff_ids = configuration.diff_ids(&self.limits).map_err(refused)?;
        if diff_ids.len() != image.layers.len() {
            let (named, given) = (diff_ids.len(), image.layers.len());
            return Err(refused(format!("the configuration names {named} layers and the manifest {given}")));
        }
        let chain = chain_ids(&diff_ids);
        let mut records = Vec::new();
        for (at, (path, digest)) in image.layers.iter().enumerate() {
            let layer = Layer { path, digest: digest.as_deref(), diff_id: &diff_ids[at], chain: &chain[..=at] };
            (self.tell)(at, LayerStage::Unpacking);
            records.push(self.layer(&layer).map_err(|e| in_layer(at, e))?);
            (self.tell)(at, LayerStage::Unpacked);
        }
        let bytes = match image.bytes {
            Some(bytes) => bytes,
            None => made_manifest(image.manifest, &records)?,
        };
        self.disk.put_blob(&image.configuration)?;
        let id = self.disk.put_blob(&bytes)?;
        let stored = |reference: String| Stored {
            loaded: LoadedImage { reference, id: id.clone() },
            named: Named { manifest: id.clone(), indexes: image.indexes.clone(), pulled: false },
        };
        Ok(names.into_iter().map(stored).collect())
    }

    /// Unpacks a layer unless it is there and whole.
    fn layer(&self, layer: &Layer<'_>) -> io::Result<LayerRecord> {
        let (own, below) = layer.chain.split_last().ok_or_else(|| refused("a layer without a chain"))?;
        match self.disk.verify(own) {
            Ok(record) => return Ok(record),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        let lower = below.iter().rev().map(|id| Dir::open(&self.disk.layer(id))).collect::<io::Result<Vec<_>>>()?;
        let id = Disk::layer_id(own);
        let tmp = Dir::open(&self.disk.tmp())?;
        tmp.remove_tree(OsStr::new(id))?;
        let root = tmp.make_sub(Path::new(id), 0o755)?;
        let outcome = self.unpack(layer, &root, &lower).and_then(|tar_bytes| {
            let record = LayerRecord {
                chain_id: own.clone(),
                diff_id: layer.diff_id.to_owned(),
                tar_bytes,
                tree: survey(&root)?.tree,
                contents: Some(survey_contents(&root)?),
            };
            self.disk.keep_layer(OsStr::new(id), &record)?;
            self.brought.borrow_mut().push(own.clone());
            Ok(record)
        });
        if outcome.is_err() {
            // The first failure is what the user needs; what is left here is cleared at the next change anyway.
            let _ = tmp.remove_tree(OsStr::new(id));
        }
        outcome
    }

    /// Unpacks the stream and verifies both digests; returns the length of the tar.
    fn unpack(&self, layer: &Layer<'_>, root: &Dir, lower: &[Dir]) -> io::Result<u64> {
        let (bytes, _) = self.input.open(layer.path)?;
        let (stored, stored_tally) = Digesting::new(bytes, self.limits.archive_bytes, "the layer");
        let (mut plain, plain_tally) = Digesting::new(decompress(stored)?, self.limits.layer_bytes, "the layer's tar");
        unpack(&mut Tarball::new(&mut plain as &mut dyn Read, self.limits), root, lower)?;
        drain(&mut plain)?;
        drop(plain);
        if let Some(expected) = layer.digest.filter(|d| **d != stored_tally.digest()) {
            return Err(differs(expected, &stored_tally.digest()));
        }
        if plain_tally.digest() != layer.diff_id {
            return Err(differs(layer.diff_id, &plain_tally.digest()));
        }
        Ok(plain_tally.bytes())
    }
}

/// One layer of the input with what it must turn out to be.
struct Layer<'a> {
    path: &'a str,
    digest: Option<&'a str>,
    diff_id: &'a str,
    /// The chain ids up to its own, lowest first.
    chain: &'a [String],
}

fn in_layer(at: usize, error: io::Error) -> io::Error {
    if super::unpack::is_refusal(&error) { refused(format!("layer {}: {error}", at + 1)) } else { error }
}

fn differs(expected: &str, found: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the digest should be {expected} and is {found}"))
}

fn descriptor(media_type: &str, digest: String, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: None }
}

/// Where a layout has a blob.
pub(super) fn blob_path(descriptor: &Descriptor) -> io::Result<String> {
    Ok(format!("blobs/sha256/{}", descriptor.hex().map_err(refused)?))
}

pub(super) fn parse_manifest(bytes: &[u8]) -> io::Result<Manifest> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|e| refused(format!("an index or manifest is unreadable: {e}")))?;
    match manifest.schema_version {
        2 => Ok(manifest),
        other => Err(refused(format!("a manifest has schemaVersion {other}; only 2 is read"))),
    }
}

/// The manifest that docker's archive leaves out. It describes the uncompressed layers, so that the same image gets the
/// same id however its archive was packed.
fn made_manifest(manifest: Manifest, records: &[LayerRecord]) -> io::Result<Vec<u8>> {
    let layers = records.iter().map(|r| descriptor(LAYER_MEDIA, r.diff_id.clone(), r.tar_bytes)).collect();
    Ok(serde_json::to_vec(&Manifest { layers: Some(layers), ..manifest })?)
}

/// The names to store an image under.
fn names(own: &[String], given: Option<&Reference>) -> io::Result<Vec<String>> {
    if let Some(given) = given {
        return Ok(vec![given.to_string()]);
    }
    let named: Vec<&String> = own.iter().filter(|name| !is_bare_tag(name)).collect();
    if named.is_empty() {
        return Err(refused("the archive does not say what its image is called; give it a name"));
    }
    let parse = |name: &&String| super::reference(name).map(|r| r.to_string()).map_err(|e| refused(e.message));
    named.iter().map(parse).collect()
}

/// Layouts made by umoci and skopeo often carry a tag alone, such as `latest` or `1.2`.
fn is_bare_tag(name: &str) -> bool {
    let bare = !name.contains(['/', ':', '@']);
    let digits = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    bare && (name == "latest" || digits(name) || name.strip_prefix('v').is_some_and(digits))
}

/// Where a manifest's configuration and layers are; used when an image is looked up.
pub(super) fn read_stored(
    disk: &Disk,
    manifest: &str,
    limits: &Limits,
) -> io::Result<(Configuration, Vec<String>, Vec<String>)> {
    let hex = digest_hex(manifest).map_err(refused)?;
    let parsed = parse_manifest(&disk.blob(hex, limits.document_bytes)?)?;
    let config = parsed.config.ok_or_else(|| refused("a manifest has no configuration"))?;
    let config_hex = config.hex().map_err(refused)?.to_owned();
    let configuration = Configuration::parse(&disk.blob(&config_hex, limits.document_bytes)?).map_err(refused)?;
    let chain = chain_ids(&configuration.diff_ids(limits).map_err(refused)?);
    Ok((configuration, chain, vec![hex.to_owned(), config_hex]))
}
