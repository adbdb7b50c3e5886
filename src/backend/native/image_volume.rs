//! Images that a container has as volumes (`volumes[].image`). The shim mounts their layers, where nobody else sees them and
//! nothing is left of them when it is gone. Found here is which layers these are, and where the part of them is that is asked
//! for: an image does not change, so that what is found stays there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rootfs::Rootfs;
use super::{Inner, image};
use crate::model::SubPath;
use crate::port::{ErrorKind, PortError};
use crate::shim::{self, ShownImage};

/// What is said first of an image that cannot be mounted (`ErrImageVolumeMountFailed` of the CRI).
const FAILED: &str = "ImageVolumeMountFailed";

/// What there is to be shown of an image.
pub(super) struct Part<'a> {
    pub(super) volume: &'a str,
    /// As the pod asks for it.
    pub(super) image: &'a str,
    /// A directory in it.
    pub(super) sub_path: Option<&'a SubPath>,
}

/// The images of one start.
#[derive(Default)]
pub(super) struct Shown {
    /// Each as the shim takes it.
    pub(super) images: Vec<ShownImage>,
    /// The digest of each, by its volume.
    pub(super) ids: BTreeMap<String, String>,
    /// The layers of each, by its volume.
    layers: BTreeMap<String, Vec<PathBuf>>,
}

impl Shown {
    /// Where the shim will have the part of an image that was made present just before.
    ///
    /// # Errors
    /// Those of the store; `Invalid` for what is no directory of the image.
    pub(super) fn add(&mut self, inner: &Inner, instance_dir: &Path, part: &Part<'_>) -> Result<PathBuf, PortError> {
        let layers = match self.layers.get(part.volume) {
            Some(layers) => layers.clone(),
            None => self.open(inner, part)?,
        };
        let directory = part.sub_path.map_or(Ok(PathBuf::new()), |sub_path| directory(&layers, sub_path));
        let directory = directory.map_err(|why| refused(part, why))?;
        let place = shim::image_place(instance_dir, self.images.len());
        self.images.push(ShownImage { layers, part: directory });
        Ok(place)
    }

    fn open(&mut self, inner: &Inner, part: &Part<'_>) -> Result<Vec<PathBuf>, PortError> {
        let image = image::resolve(inner, part.image)?;
        if image.host {
            return Err(refused(part, "it is the machine's own file system".to_owned()));
        }
        if image.lower.is_empty() {
            return Err(refused(part, "it has no files".to_owned()));
        }
        // The kernel takes two layers at least where nothing can be written.
        let layers: Vec<PathBuf> = image.lower.into_iter().chain([inner.paths.empty()]).collect();
        self.layers.insert(part.volume.to_owned(), layers.clone());
        self.ids.insert(part.volume.to_owned(), image.id);
        Ok(layers)
    }
}

/// Where the directory of an image is that is asked for. What is said of it is what is written, without the values of variables.
fn directory(layers: &[PathBuf], SubPath { written, path }: &SubPath) -> Result<PathBuf, String> {
    match Rootfs::open(layers).and_then(|files| files.directory_at(Path::new(path.reveal()))) {
        Ok(Some(at)) => Ok(at),
        Ok(None) => Err(format!("subPath {written:?} is no directory of it")),
        Err(error) => Err(format!("subPath {written:?}: {error}")),
    }
}

fn refused(part: &Part<'_>, why: String) -> PortError {
    let message = format!("{FAILED}: image {:?} of volume {}: {why}", part.image, part.volume);
    PortError::new(ErrorKind::Invalid, super::start::OPERATION, part.volume, message).waiting(super::start::CREATE)
}
