//! The local store: what goes in, what is found, what is thrown away.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::disk::{Disk, Index, Named, OLD, is_damage};
use super::document::{Configuration, digest_hex};
use super::input::Input;
use super::limits::Limits;
use super::load::{Loader, read_stored};
use super::room::{MAKE_ROOM, Promised};
use super::unpack::is_refusal;
use super::unusable::Unusable;
use super::{HostImage, Image, ImageConfig, ListedImage, ListedLayer, LoadedImage, Pruned, reference};
use crate::model::Reference;
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;

const LOAD: &str = "load image";
const LOAD_AGAIN: &str = "bring the image again with `podwright image pull` or `podwright image load`";

/// The images of one root.
#[derive(Debug)]
pub struct Store {
    pub(super) disk: Disk,
    host: Option<HostImage>,
    pub(super) limits: Limits,
    /// Chain ids whose directories were compared with their records since this process started.
    verified: Mutex<BTreeSet<String>>,
    /// Images that this process has downloaded in vain.
    pub(super) unusable: Unusable,
    /// What its pulls are bringing.
    pub(super) promised: Promised,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing. With `host` the machine's own root file system may be
    /// used as the image `podwright.invalid/host`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: &Path, host: Option<HostImage>) -> Result<Self, PortError> {
        let disk = Disk::open(dir).map_err(|e| PortError::io("open image store", dir.display().to_string(), &e))?;
        Ok(Self {
            disk,
            host,
            limits: Limits::default(),
            verified: Mutex::default(),
            unusable: Unusable::default(),
            promised: Promised::default(),
        })
    }

    /// The same store with other bounds on what a load takes in.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Loads every image of an oci-archive or docker-archive, plain or compressed. `name` names the image when the
    /// archive holds just one.
    ///
    /// # Errors
    /// `Invalid` when it is no such archive or hostile, `Corrupt` when a digest differs, `Exhausted` without space.
    pub fn load(&self, reader: impl Read, name: Option<&str>) -> Result<Vec<LoadedImage>, PortError> {
        let name = load_name(name)?;
        let input = Input::stage(reader, &self.disk.tmp(), self.limits).map_err(|e| load_error("the archive", &e))?;
        self.load_input(&input, name.as_ref(), "the archive")
    }

    /// Loads every image of an OCI layout directory.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_layout(&self, layout: &Path, name: Option<&str>) -> Result<Vec<LoadedImage>, PortError> {
        let name = load_name(name)?;
        let subject = layout.display().to_string();
        let dir = Dir::open(layout).map_err(|e| load_error(&subject, &e))?;
        self.load_input(&Input::Layout(dir), name.as_ref(), &subject)
    }

    fn load_input(
        &self,
        input: &Input,
        name: Option<&Reference>,
        subject: &str,
    ) -> Result<Vec<LoadedImage>, PortError> {
        let loaded = self.change(|| {
            let stored = Loader::new(&self.disk, input, self.limits, &|_, _| ()).run(name)?;
            Ok(stored.into_iter().map(|image| (image.loaded, image.named)).collect())
        });
        loaded.map_err(|e| load_error(subject, &e))
    }

    /// Gives names to what `store` stores, under the lock.
    pub(super) fn change(
        &self,
        store: impl FnOnce() -> io::Result<Vec<(LoadedImage, Named)>>,
    ) -> io::Result<Vec<LoadedImage>> {
        let _lock = self.disk.lock()?;
        let mut index = match self.disk.index() {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "the image index is set aside; images must be loaded or pulled again");
                self.disk.set_index_aside()?;
                Index::default()
            }
            other => other?,
        };
        self.forget_verified();
        let mut loaded = Vec::new();
        for (image, named) in store()? {
            index.images.insert(image.reference.clone(), named);
            loaded.push(image);
        }
        self.disk.write_index(&index)?;
        Ok(loaded)
    }

    /// Whether the name means this image here, whole; an error when that cannot be told.
    pub(super) fn has(&self, reference: &Reference, id: &str) -> io::Result<bool> {
        let look = || {
            let index = self.disk.index()?;
            if index.images.get(&reference.to_string()).is_none_or(|named| named.manifest != id) {
                return Ok(false);
            }
            self.verify(&self.stored(id)?.chain).map(|()| true)
        };
        look().or_else(|error| if is_damage(&error) { Ok(false) } else { Err(error) })
    }

    /// Whether a layer is here, whole; an error when that cannot be told.
    pub(super) fn has_layer(&self, chain_id: &String) -> io::Result<bool> {
        match self.verify(std::slice::from_ref(chain_id)) {
            Ok(()) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where pulls keep what they have got so far.
    pub(super) fn downloads(&self) -> PathBuf {
        self.disk.root.join("downloads")
    }

    /// Every image, sorted by reference, damaged ones marked.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self) -> Result<Vec<ListedImage>, PortError> {
        let index = self.index("list images")?;
        Ok(index.images.iter().map(|(reference, named)| self.listed(reference, named)).collect())
    }

    /// The image that a name means, as [`Store::list`] has it.
    ///
    /// # Errors
    /// `NotFound`; as [`Store::list`] otherwise.
    pub fn listed_as(&self, reference: &str) -> Result<ListedImage, PortError> {
        const OPERATION: &str = "list image";
        let parsed = super::reference(reference)?;
        let index = self.index(OPERATION)?;
        find(&index, &parsed)
            .map(|(reference, named)| self.listed(reference, named))
            .ok_or_else(|| unknown(OPERATION, &parsed))
    }

    fn listed(&self, reference: &str, named: &Named) -> ListedImage {
        let listed = ListedImage {
            reference: reference.to_owned(),
            id: named.manifest.clone(),
            indexes: named.indexes.clone(),
            platform: None,
            size: 0,
            layers: Vec::new(),
            damage: None,
            config: None,
        };
        match self.stored(&named.manifest) {
            Ok(Stored { configuration, layers, size, .. }) => ListedImage {
                platform: Some(configuration.platform().to_string()),
                size,
                layers,
                config: Some(configuration.process()),
                ..listed
            },
            Err(error) => ListedImage { damage: Some(error.to_string()), ..listed },
        }
    }

    /// Removes one name, and with the last name of an image its blobs and layers. `in_use` are the ids of the images
    /// that containers stand on; what they need stays.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when the image is in use.
    pub fn remove(&self, reference: &str, in_use: &[String]) -> Result<(), PortError> {
        const OPERATION: &str = "remove image";
        let parsed = super::reference(reference)?;
        let failed = |e: io::Error| PortError::io(OPERATION, parsed.to_string(), &e);
        let _lock = self.disk.lock().map_err(failed)?;
        let mut index = self.index(OPERATION)?;
        let Some(key) = find(&index, &parsed).map(|(key, _)| key.to_owned()) else {
            return Err(unknown(OPERATION, &parsed));
        };
        let removed = index.images.remove(&key);
        let last = removed.filter(|r| !index.images.values().any(|other| other.manifest == r.manifest));
        if last.is_some_and(|r| in_use.contains(&r.manifest)) {
            return Err(PortError::new(ErrorKind::Conflict, OPERATION, key, "containers run on it")
                .with_help("remove the pods that use it first"));
        }
        self.disk.write_index(&index).map_err(failed)?;
        self.collect(&index, in_use).map(drop).map_err(failed)
    }

    /// Removes every name that came from a registry, unless its image is among `in_use`, the ids of images that containers
    /// stand on, or the name is among `wanted`, those that pods are to run. What was loaded by hand stays: nobody could
    /// bring it back.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn prune(&self, in_use: &[String], wanted: &[String]) -> Result<Pruned, PortError> {
        const OPERATION: &str = "prune images";
        let failed = |e: io::Error| PortError::io(OPERATION, self.disk.root.display().to_string(), &e);
        let _lock = self.disk.lock().map_err(failed)?;
        let mut index = self.index(OPERATION)?;
        let wanted = wanted.iter().filter_map(|name| reference(name).ok());
        let kept: BTreeSet<String> = wanted.filter_map(|name| Some(find(&index, &name)?.0.to_owned())).collect();
        let goes = |(name, named): (&String, &Named)| {
            (named.pulled && !kept.contains(name) && !in_use.contains(&named.manifest)).then(|| name.clone())
        };
        let references: Vec<String> = index.images.iter().filter_map(goes).collect();
        index.images.retain(|name, _| !references.contains(name));
        // Also as it is: that of somebody whom the power took may not be on the disk yet, and layers go by it.
        self.disk.write_index(&index).map_err(failed)?;
        let bytes = self.collect(&index, in_use).map_err(failed)?;
        super::pull::clear(self).map_err(failed)?;
        Ok(Pruned { references, bytes })
    }

    /// Deletes blobs and layers that neither a name nor a container needs; returns how many bytes of layers that were.
    fn collect(&self, index: &Index, in_use: &[String]) -> io::Result<u64> {
        let (mut blobs, mut layers, mut under_containers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut known = true;
        let named = index.images.values().map(|named| (&named.manifest, false));
        // The host image has nothing here.
        let used = in_use.iter().filter(|id| digest_hex(id).is_ok()).map(|id| (id, true));
        for (manifest, used) in named.chain(used) {
            match read_stored(&self.disk, manifest, &self.limits) {
                Ok((_, chain, hexes)) => {
                    blobs.extend(hexes);
                    let ids = || chain.iter().map(|id| Disk::layer_id(id).to_owned());
                    layers.extend(ids());
                    under_containers.extend(ids().filter(|_| used));
                }
                // A damaged image keeps nothing alive that it cannot name, unless containers stand on that.
                Err(error) if is_damage(&error) => known &= !used,
                Err(error) => return Err(error),
            }
        }
        self.forget_verified();
        let dir = Dir::open(&self.disk.root.join("blobs/sha256"))?;
        for name in dir.names()? {
            if !name.to_str().is_some_and(|n| blobs.contains(n)) {
                dir.remove_tree(&name)?;
            }
        }
        if !known {
            tracing::warn!("an image that containers run on is damaged: no layer is removed until they are gone");
            return Ok(0);
        }
        let mut bytes = 0;
        for name in Dir::open(&self.disk.layers())?.names()? {
            let path = Path::new(&name);
            let id = path.file_stem().and_then(OsStr::to_str).unwrap_or_default().to_owned();
            let replaced = path.extension().and_then(OsStr::to_str).is_some_and(|end| end.starts_with(OLD));
            if replaced && !under_containers.contains(&id) {
                self.disk.remove_layer(&name.to_string_lossy())?;
            } else if !layers.contains(&id) {
                bytes += self.disk.layer_bytes(&id);
                self.disk.forget_layer(&id)?;
            }
        }
        Ok(bytes)
    }

    /// Finds an image by the name a pod uses; `None` when it is not in the store.
    ///
    /// # Errors
    /// `Invalid` (`InvalidImageName`) for a bad name, `Denied` for the host image when it is not allowed, `Corrupt` for
    /// a damaged image.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, PortError> {
        const OPERATION: &str = "use image";
        let parsed = super::reference(reference)?;
        if parsed.is_host() {
            return self.host_image(&parsed).map(Some);
        }
        let index = self.index(OPERATION)?;
        let Some((_, named)) = find(&index, &parsed) else { return Ok(None) };
        let damaged = |e: io::Error| {
            let subject = parsed.to_string();
            let error = if is_damage(&e) {
                let message = format!("it is damaged in the store: {e}");
                PortError::new(ErrorKind::Corrupt, OPERATION, subject, message).with_help(LOAD_AGAIN)
            } else {
                let error = PortError::io(OPERATION, subject, &e);
                PortError { message: format!("it cannot be looked at in the store: {e}"), ..error }
            };
            error.waiting("ImageInspectError")
        };
        let stored = self.stored(&named.manifest).map_err(damaged)?;
        self.verify(&stored.chain).map_err(damaged)?;
        Ok(Some(Image {
            id: named.manifest.clone(),
            reference: parsed.to_string(),
            config: stored.configuration.process(),
            lower: stored.chain.iter().rev().map(|id| self.disk.layer(id)).collect(),
            size: stored.size,
            host: false,
            covered: Vec::new(),
        }))
    }

    /// Compares each layer with its record once, and afterwards looks only whether it is there.
    pub(super) fn verify(&self, chain: &[String]) -> io::Result<()> {
        for id in chain {
            let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
            if known {
                Dir::open(&self.disk.layer(id))?;
            } else {
                self.disk.verify(id)?;
                self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
            }
        }
        Ok(())
    }

    fn forget_verified(&self) {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn stored(&self, manifest: &str) -> io::Result<Stored> {
        let (configuration, chain, _) = read_stored(&self.disk, manifest, &self.limits)?;
        let (mut size, mut layers) = (0, Vec::new());
        for id in &chain {
            let record = self.disk.record(id)?;
            size += record.tree.bytes;
            layers.push(ListedLayer { digest: record.diff_id, size: record.tree.bytes });
            Dir::open(&self.disk.layer(id))?;
        }
        Ok(Stored { configuration, chain, layers, size })
    }

    fn index(&self, operation: &'static str) -> Result<Index, PortError> {
        self.disk.index().map_err(|e| {
            let subject = self.disk.root.join("index.json").display().to_string();
            let error = PortError::io(operation, subject, &e).waiting("ImageInspectError");
            if e.kind() == io::ErrorKind::InvalidData { error.with_help(LOAD_AGAIN) } else { error }
        })
    }

    fn host_image(&self, reference: &Reference) -> Result<Image, PortError> {
        let Some(host) = &self.host else {
            return Err(PortError::new(
                ErrorKind::Denied,
                "use image",
                reference.to_string(),
                "the machine's own root file system is not allowed as an image",
            )
            .with_help("start the agent with --allow-host-image")
            .waiting("ErrImagePull"));
        };
        Ok(Image {
            id: reference.repository(),
            reference: reference.to_string(),
            config: ImageConfig::default(),
            lower: vec![PathBuf::from("/")],
            size: 0,
            host: true,
            covered: host.covered.clone(),
        })
    }
}

/// What the store has of an image.
struct Stored {
    configuration: Configuration,
    chain: Vec<String>,
    layers: Vec<ListedLayer>,
    size: u64,
}

fn unknown(operation: &'static str, reference: &Reference) -> PortError {
    let message = "there is no such image in the store";
    PortError::new(ErrorKind::NotFound, operation, reference.to_string(), message)
        .with_help("`podwright image ls` shows what is there")
}

/// The entry a reference means: its name, or with a digest any image of the repository that has it.
fn find<'a>(index: &'a Index, reference: &Reference) -> Option<(&'a str, &'a Named)> {
    let Some(digest) = reference.digest() else {
        return index.images.get_key_value(&reference.to_string()).map(|(k, n)| (k.as_str(), n));
    };
    index
        .images
        .iter()
        .find(|(key, named)| {
            let same = Reference::parse(key).is_ok_and(|k| k.repository() == reference.repository());
            same && (named.manifest == digest || named.indexes.iter().any(|i| i == digest))
        })
        .map(|(key, named)| (key.as_str(), named))
}

fn load_name(name: Option<&str>) -> Result<Option<Reference>, PortError> {
    let Some(name) = name else { return Ok(None) };
    let parsed = reference(name)?;
    let message = if parsed.digest().is_some() {
        "a name to load under must not have a digest"
    } else if parsed.is_host() {
        "this name means the machine's own root file system"
    } else {
        return Ok(Some(parsed));
    };
    Err(PortError::new(ErrorKind::Invalid, LOAD, name, message))
}

fn load_error(subject: &str, error: &io::Error) -> PortError {
    let failed = change_error(LOAD, subject, error);
    match failed.kind {
        ErrorKind::Corrupt => failed.with_help("fetch or save the archive again"),
        _ => failed,
    }
}

/// Why an image could not be brought into the store.
pub(super) fn change_error(operation: &'static str, subject: &str, error: &io::Error) -> PortError {
    if is_refusal(error) {
        return PortError::new(ErrorKind::Invalid, operation, subject, error.to_string());
    }
    let failed = PortError::io(operation, subject, error);
    match failed.kind {
        ErrorKind::Exhausted => failed.with_help(MAKE_ROOM).see_doctor(),
        _ => failed,
    }
}
