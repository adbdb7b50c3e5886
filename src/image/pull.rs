//! Pulling: from a reference to an image in the store.
//!
//! First the documents are fetched, from the first place that has them: index, manifest, configuration, each verified
//! against the digest that named it. They say which layers the store lacks; those are downloaded side by side. Then all of it
//! goes the way of a loaded image: under the store's lock, every digest verified again while the layers are unpacked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tokio::runtime::{Builder, Runtime};

use super::disk::Named;
use super::document::{Configuration, Descriptor, Manifest, chain_ids, for_this_machine};
use super::input::Input;
use super::load::{Chosen, Loader, MAX_NESTING, blob_path, parse_manifest};
use super::registry::{Client, Credentials, Downloads, Failure, Fault, Wanted, endpoints};
use super::room::{MAKE_ROOM, is_full, space};
use super::store::{Store, change_error};
use super::unpack::is_refusal;
use super::unusable;
use super::{LayerProgress, LayerStage, LoadedImage, reference};
use crate::model::{Masked, PullSettings, Reference};
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;

const OPERATION: &str = "pull image";
/// Layers of one image that are downloaded side by side.
const PARALLEL: usize = 3;

/// How an image is to be pulled.
#[derive(Clone, Copy)]
pub struct PullOptions<'a> {
    pub settings: &'a PullSettings,
    /// The docker configurations of who asks, which come before that of the machine.
    pub secrets: &'a [Masked<Vec<u8>>],
    /// How long the registry may take to say what the image is now; `None` for as long as each request may take.
    pub patience: Option<Duration>,
    /// Hears how far it has come with each layer that was not here, lowest first.
    pub tell: &'a (dyn Fn(&[LayerProgress]) + Sync),
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    pub image: LoadedImage,
    /// What the store had under this name already was the same.
    pub up_to_date: bool,
}

/// Throws away what pulls that ended have left.
pub(super) fn clear(store: &Store) -> io::Result<()> {
    Downloads::open(&store.downloads())?.clear(true)
}

/// An image as a registry describes it.
struct Described {
    /// Digest of the manifest.
    id: String,
    manifest: Manifest,
    bytes: Vec<u8>,
    indexes: Vec<String>,
    configuration: Vec<u8>,
    layers: Vec<Descriptor>,
}

impl Store {
    /// Brings an image from its registry, or from a mirror of it, or finds that what is here is what it has now. Blocks; it
    /// is not to be called from a task.
    ///
    /// # Errors
    /// `Unavailable` when no registry is reached, `NotFound` when it does not have the image, `Denied` when it does not let
    /// us or has a certificate that is not trusted, `Corrupt` when it gives other bytes than it should, `Invalid` for an image that cannot be used, `Exhausted`
    /// without space.
    pub fn pull(&self, name: &str, options: PullOptions<'_>) -> Result<PulledImage, PortError> {
        self.with_registry(name, options, |pull, runtime| pull.run(runtime))
    }

    /// Asks the registry of an image, or a mirror of it, whether what is here is what it has now. No layer is downloaded. As
    /// [`Store::pull`] otherwise.
    ///
    /// # Errors
    /// As [`Store::pull`].
    pub fn is_current(&self, name: &str, options: PullOptions<'_>) -> Result<bool, PortError> {
        self.with_registry(name, options, |pull, runtime| {
            let asked = runtime.block_on(pull.ask());
            asked.map(|asked| asked.is_known).map_err(|failure| port_error(pull.reference, &failure))
        })
    }

    fn with_registry<T>(
        &self,
        name: &str,
        options: PullOptions<'_>,
        work: impl FnOnce(&Pull<'_>, &Runtime) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let parsed = reference(name)?;
        if parsed.is_host() {
            let message = "it is the machine's own root file system, which no registry has";
            return Err(PortError::new(ErrorKind::Invalid, OPERATION, parsed.to_string(), message));
        }
        let failed = |e: io::Error| PortError::io(OPERATION, parsed.to_string(), &e).waiting("ErrImagePull");
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let downloads = Downloads::open(&self.downloads()).map_err(failed)?;
        if let Err(error) = downloads.clear(false) {
            tracing::warn!(%error, "what earlier pulls left over cannot be cleared away");
        }
        let credentials = Credentials::new(options.settings.credentials.clone(), options.secrets.to_vec());
        let places = endpoints(&parsed, options.settings).into_iter();
        let clients = places.map(|place| Client::new(place, credentials.clone())).collect();
        let progress = Mutex::default();
        let pull = Pull { store: self, reference: &parsed, downloads, clients, options, progress };
        let outcome = work(&pull, &runtime);
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
        outcome.map_err(|error| {
            let message = pull.clients.iter().fold(error.message, |text, client| client.redacted(&text));
            PortError { message, ..error }.waiting("ErrImagePull")
        })
    }
}

struct Pull<'a> {
    store: &'a Store,
    reference: &'a Reference,
    downloads: Downloads,
    clients: Vec<Client>,
    options: PullOptions<'a>,
    progress: Mutex<Vec<LayerProgress>>,
}

/// What a registry said.
struct Asked {
    /// The number of the client that it came from.
    at: usize,
    described: Described,
    /// It is what the store has under this name.
    is_known: bool,
}

enum Fetched {
    Known(LoadedImage),
    /// With the files of the layers, open, and the bytes that were free before they were there, if that is known.
    New(Box<Described>, Vec<File>, Option<u64>),
}

impl Pull<'_> {
    fn run(&self, runtime: &Runtime) -> Result<PulledImage, PortError> {
        let mut first = true;
        loop {
            // What is open is not cleared away before it is unpacked.
            let (described, _files, free) = match runtime.block_on(self.fetch()) {
                Ok(Fetched::Known(image)) => return Ok(PulledImage { image, up_to_date: true }),
                Ok(Fetched::New(described, files, free)) => (described, files, free),
                Err(failure) => return Err(port_error(self.reference, &failure)),
            };
            match self.keep(*described, free) {
                Ok(image) => return Ok(PulledImage { image, up_to_date: false }),
                // A layer that was here when the downloads were chosen was removed meanwhile.
                Err(error) if first && error.kind() == io::ErrorKind::NotFound => first = false,
                Err(error) => return Err(change_error(OPERATION, &self.reference.to_string(), &error)),
            }
        }
    }

    async fn ask(&self) -> Result<Asked, Failure> {
        let describe = self.describe();
        let (at, described) = match self.options.patience {
            Some(patience) => tokio::time::timeout(patience, describe).await.map_err(|_| {
                let registry = self.reference.registry();
                let message = format!("{registry}: it did not say within {} s what the image is", patience.as_secs());
                Failure::new(Fault::Unreachable, message)
            })?,
            None => describe.await,
        }?;
        let unknown = |e: io::Error| Failure::local("what the store has", &e);
        let is_known = self.store.has(self.reference, &described.id).map_err(unknown)?;
        Ok(Asked { at, described, is_known })
    }

    async fn fetch(&self) -> Result<Fetched, Failure> {
        let Asked { at, described, is_known } = self.ask().await?;
        if is_known {
            return Ok(Fetched::Known(self.named(&described.id)));
        }
        let free = self.free();
        if let Some(failure) = self.store.unusable.why(&described.id, free) {
            return Err(failure);
        }
        let files = self.layers(&self.clients[at..], &described).await?;
        Ok(Fetched::New(Box::new(described), files, free))
    }

    /// Bytes that the file system of the store has, if that is known.
    fn free(&self) -> Option<u64> {
        Dir::open(self.downloads.layout()).and_then(space).ok().flatten().map(|space| space.free)
    }

    fn named(&self, id: &str) -> LoadedImage {
        LoadedImage { reference: self.reference.to_string(), id: id.to_owned() }
    }

    /// Asks one client after another what the image is; the answer comes with the number of who gave it.
    async fn describe(&self) -> Result<(usize, Described), Failure> {
        let mut failures: Vec<Failure> = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            match self.described_by(client).await {
                Ok(described) => return Ok((at, described)),
                Err(failure) => failures.push(failure),
            }
        }
        let Some(last) = failures.last() else {
            let message = format!("the configuration lets nobody be asked for images of {}", self.reference.registry());
            return Err(Failure::new(Fault::Unreachable, message));
        };
        let all: Vec<&str> = failures.iter().map(|f| f.message.as_str()).collect();
        // One that is not who it should be is never passed over; what one lacks, another that is out of reach may have.
        let of = |fault| failures.iter().any(|failure| failure.fault == fault).then_some(fault);
        let fault = of(Fault::Untrusted).or_else(|| of(Fault::Unreachable)).unwrap_or(last.fault);
        Err(Failure::new(fault, all.join("; ")))
    }

    async fn described_by(&self, client: &Client) -> Result<Described, Failure> {
        let limits = &self.store.limits;
        let unusable = |why: String| Failure::new(Fault::Refused, format!("{}: {why}", client.place()));
        let name = self.reference.digest().or(self.reference.tag()).unwrap_or("latest");
        let (mut bytes, mut id) = client.manifest(name, limits.document_bytes).await?;
        let mut indexes = Vec::new();
        let manifest = loop {
            let manifest = parse_manifest(&bytes).map_err(|e| unusable(e.to_string()))?;
            let Some(nested) = &manifest.manifests else { break manifest };
            if indexes.len() >= MAX_NESTING {
                return Err(unusable("indexes are nested too deeply".to_owned()));
            }
            let descriptor = for_this_machine(nested).map_err(&unusable)?;
            descriptor.hex().map_err(&unusable)?;
            indexes.push(id);
            (bytes, id) = client.manifest(&descriptor.digest, limits.document_bytes).await?;
            if bytes.len() as u64 != descriptor.size {
                let (found, said) = (bytes.len(), descriptor.size);
                let message = format!("{}: a manifest is of {found} bytes where its index has {said}", client.place());
                return Err(Failure::new(Fault::Wrong, message));
            }
        };
        let config = manifest.config.clone().ok_or_else(|| unusable("a manifest has no configuration".to_owned()))?;
        config.hex().map_err(&unusable)?;
        let configuration = client.document(&config.digest, config.size, limits.document_bytes).await?;
        let layers = manifest.layers.clone().unwrap_or_default();
        if layers.len() > limits.layers {
            return Err(unusable(format!("the image has {} layers; {} are the limit", layers.len(), limits.layers)));
        }
        let total = layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
        if total.is_none_or(|total| total > limits.archive_bytes) {
            return Err(unusable(format!("the image is larger than {} bytes", limits.archive_bytes)));
        }
        Ok(Described { id, manifest, bytes, indexes, configuration, layers })
    }

    /// Downloads the layers that the store lacks.
    async fn layers(&self, clients: &[Client], described: &Described) -> Result<Vec<File>, Failure> {
        let unusable = |why: String| Failure::new(Fault::Refused, why);
        let configuration = Configuration::parse(&described.configuration).map_err(unusable)?;
        let chain = chain_ids(&configuration.diff_ids(&self.store.limits).map_err(unusable)?);
        let mut seen = BTreeSet::new();
        let mut wanted = Vec::new();
        for (at, layer) in described.layers.iter().enumerate() {
            let look = |id: &String| self.store.has_layer(id).map_err(|e| Failure::local("what the store has", &e));
            let there = chain.get(at).map(look).transpose()?.unwrap_or(false);
            let hex = layer.hex().map_err(unusable)?.to_owned();
            if !there && seen.insert(hex.clone()) {
                wanted.push(Wanted { hex, size: layer.size });
            }
        }
        let _promise = self.downloads.make_sure_of_room(&wanted, &self.store.promised)?;
        let waiting =
            |w: &Wanted| LayerProgress { hex: w.hex.clone(), bytes: 0, size: w.size, stage: LayerStage::Waiting };
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = wanted.iter().map(waiting).collect();
        let outcome: Result<Vec<File>, Failure> = futures_util::stream::iter(&wanted)
            .map(|wanted| async move {
                let downloading = |layer: &mut LayerProgress| layer.stage = LayerStage::Downloading;
                self.came_on(&wanted.hex, downloading);
                let count = |bytes| self.came_on(&wanted.hex, |layer| layer.bytes = bytes);
                let file = self.downloads.fetch(clients, wanted, &count).await?;
                self.came_on(&wanted.hex, |layer| layer.stage = LayerStage::Downloaded);
                Ok(file)
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await;
        if outcome.as_ref().is_err_and(|failure| matches!(failure.fault, Fault::Local(kind) if is_full(kind))) {
            // Others need the space too, and there is no telling when this image will fit.
            wanted.iter().for_each(|wanted| self.downloads.give_up(&wanted.hex));
        }
        outcome
    }

    /// Changes what is known of a layer that was not here, and tells of it.
    fn came_on(&self, hex: &str, change: impl FnOnce(&mut LayerProgress)) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = progress.iter_mut().find(|layer| layer.hex == hex) {
            change(layer);
            (self.options.tell)(&progress);
        }
    }

    /// Stores what was downloaded.
    fn keep(&self, described: Described, free: Option<u64>) -> io::Result<LoadedImage> {
        let Described { id, manifest, bytes, indexes, configuration, layers } = described;
        let paths = layers.iter().map(|layer| Ok((blob_path(layer)?, Some(layer.digest.clone()))));
        let chosen = Chosen {
            names: Vec::new(),
            manifest,
            bytes: Some(bytes),
            indexes,
            configuration,
            layers: paths.collect::<io::Result<_>>()?,
        };
        let input = Input::Layout(Dir::open(self.downloads.layout())?);
        let kept = self.store.change(|| {
            let tell = |at: usize, stage: LayerStage| {
                let hex = layers.get(at).and_then(|layer: &Descriptor| layer.hex().ok()).unwrap_or_default();
                self.came_on(hex, |layer| layer.stage = stage);
            };
            let loader = Loader::new(&self.store.disk, &input, self.store.limits, &tell);
            let stored = loader.store(chosen, Some(self.reference))?;
            Ok(stored.into_iter().map(|s| (s.loaded, Named { pulled: true, ..s.named })).collect())
        });
        // A blob that could not be unpacked will not be better next time, and where space is short others need it.
        let gone = |e: &io::Error| is_refusal(e) || e.kind() == io::ErrorKind::InvalidData || is_full(e.kind());
        if kept.as_ref().map_or_else(gone, |_| true) {
            layers.iter().filter_map(|layer| layer.hex().ok()).for_each(|hex| self.downloads.forget(hex));
        }
        if let Err(error) = &kept
            && gone(error)
        {
            let size = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
            let (fault, enough) = match error.kind() {
                kind if is_full(kind) => (Fault::Local(kind), free.map(|free| unusable::enough(free, size))),
                _ if is_refusal(error) => (Fault::Refused, None),
                _ => (Fault::Wrong, None),
            };
            self.store.unusable.remember(&id, Failure::new(fault, error.to_string()), enough);
        }
        kept.map(|_| self.named(&id))
    }
}

fn port_error(reference: &Reference, failure: &Failure) -> PortError {
    let error = |kind| PortError::new(kind, OPERATION, reference.to_string(), failure.message.clone());
    match failure.fault {
        Fault::Missing => error(ErrorKind::NotFound),
        Fault::Denied | Fault::Untrusted => error(ErrorKind::Denied),
        Fault::Unreachable => error(ErrorKind::Unavailable),
        Fault::Wrong => error(ErrorKind::Corrupt),
        Fault::Refused => error(ErrorKind::Invalid),
        Fault::Local(kind) => {
            let known = PortError::io(OPERATION, reference.to_string(), &io::Error::from(kind));
            let error = PortError { message: failure.message.clone(), ..known };
            match error.kind {
                ErrorKind::Exhausted => error.with_help(MAKE_ROOM).see_doctor(),
                _ => error,
            }
        }
    }
}
