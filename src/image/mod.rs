//! Floor 4: images: references, registries, the local store, layouts and archives.
//!
//! An image comes in from a registry, as an OCI layout directory, an oci-archive or a docker-archive, is verified digest by
//! digest, and its layers are unpacked once, each to a directory that an overlay mount takes as a lower layer. [`Store`] is
//! synchronous: callers on an executor go through a thread. Several processes may use one store at a time.

mod disk;
mod document;
mod input;
mod limits;
mod load;
mod pull;
mod puller;
mod registry;
mod room;
mod store;
mod stream;
mod survey;
mod tarball;
mod unpack;
mod unusable;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

pub use limits::Limits;
pub use pull::{PullOptions, PulledImage};
pub use puller::{Puller, Waited};
pub use store::Store;

use crate::model::Reference;
use crate::port::{ErrorKind, PortError};

/// Whether and how the machine's own root file system may serve as an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostImage {
    /// Absolute paths that containers on the host image must not see: each is covered by an empty read-only mount.
    pub covered: Vec<PathBuf>,
}

/// What an image says about the process to run, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// In order, each name once.
    pub env: Vec<(String, String)>,
    /// `uid`, `name`, `uid:gid` or `name:group`; empty means root.
    pub user: String,
    /// Absolute; `/` unless the image says otherwise.
    pub working_dir: String,
    /// Such as `SIGQUIT` or `3`; `None` means SIGTERM.
    pub stop_signal: Option<String>,
    /// Mount points the image declares as volumes.
    pub volumes: Vec<String>,
    /// For people and their programs: `podwright image ls -o json` tells them, and no decision is made by them.
    pub labels: BTreeMap<String, String>,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            env: Vec::new(),
            user: String::new(),
            working_dir: "/".to_owned(),
            stop_signal: None,
            volumes: Vec::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// An image that is present and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:...` of the image's manifest; for the host image its name.
    pub id: String,
    /// The full normalised reference it was found under.
    pub reference: String,
    pub config: ImageConfig,
    /// Directories of the unpacked layers, topmost first: the order of overlay's `lowerdir`.
    pub lower: Vec<PathBuf>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// Whether this is the machine's own root file system.
    pub host: bool,
    /// With `host`: absolute paths to cover by empty read-only mounts.
    pub covered: Vec<PathBuf>,
}

/// One image that a load brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// The full normalised reference, such as `docker.io/library/nginx:latest`.
    pub reference: String,
    /// `sha256:...` of the manifest.
    pub id: String,
}

/// What a pruning removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    pub references: Vec<String>,
    /// Bytes of unpacked layers.
    pub bytes: u64,
}

/// What is done with a layer that was not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerStage {
    Waiting,
    Downloading,
    Downloaded,
    Unpacking,
    Unpacked,
}

/// How far a pull has come with a layer that was not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// Of its digest, as it travels.
    pub hex: String,
    /// Of `size`, as it travels.
    pub bytes: u64,
    pub size: u64,
    pub stage: LayerStage,
}

/// One image of `podwright image ls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedImage {
    pub reference: String,
    pub id: String,
    /// Of the indexes it was picked from: a pod may name one of them in its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
    /// `os/architecture` or `os/architecture/variant`; `None` with damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// Lowest first; none with damage.
    pub layers: Vec<ListedLayer>,
    /// What is wrong with it, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// What it says of its process; `None` with damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ImageConfig>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedLayer {
    /// Of its tar: the `diff_id` of OCI's configuration.
    pub digest: String,
    /// Bytes of its files, unpacked.
    pub size: u64,
}

/// Reads the name of an image as a pod or a person spells it.
fn reference(text: &str) -> Result<Reference, PortError> {
    Reference::parse(text).map_err(|wrong| {
        let message = format!("it {}", wrong.what);
        PortError::new(ErrorKind::Invalid, "read image reference", format!("{text:?}"), message)
            .with_help(wrong.help)
            .waiting("InvalidImageName")
    })
}
