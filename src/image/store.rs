//! The local store: content-addressed blobs, unpacked layers, and the index of names.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{HostImage, Image, ImageConfig, ListedImage, LoadedImage, Reference};
use crate::port::{ErrorKind, PortError};

/// The images of one root.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    host: Option<HostImage>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing. With `host` the machine's own root file system may be
    /// used as the image `podwright.invalid/host`.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn open(dir: &Path, host: Option<HostImage>) -> Result<Self, PortError> {
        std::fs::create_dir_all(dir).map_err(|e| PortError::io("open image store", dir.display().to_string(), &e))?;
        Ok(Self { dir: dir.to_owned(), host })
    }

    /// Loads every image of an oci-archive or docker-archive, plain or compressed. `name` names the image when the
    /// archive holds just one.
    ///
    /// # Errors
    /// `Invalid` when it is no such archive or hostile, `Corrupt` when a digest differs, `Exhausted` without space.
    pub fn load(&self, _reader: impl Read, _name: Option<&str>) -> Result<Vec<LoadedImage>, PortError> {
        Err(self.not_yet("load image"))
    }

    /// Loads every image of an OCI layout directory.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_layout(&self, _layout: &Path, _name: Option<&str>) -> Result<Vec<LoadedImage>, PortError> {
        Err(self.not_yet("load image"))
    }

    /// Every image, sorted by reference, damaged ones marked.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self) -> Result<Vec<ListedImage>, PortError> {
        Ok(Vec::new())
    }

    /// Removes one name, and with the last name of an image its blobs and layers. `in_use` are the ids of images that
    /// containers stand on.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when the image is in use.
    pub fn remove(&self, reference: &str, _in_use: &[String]) -> Result<(), PortError> {
        Err(PortError::new(ErrorKind::NotFound, "remove image", reference, "there is no such image in the store"))
    }

    /// Finds an image by the name a pod uses; `None` when it is not in the store.
    ///
    /// # Errors
    /// `Invalid` (`InvalidImageName`) for a bad name, `Denied` for the host image when it is not allowed, `Corrupt` for
    /// a damaged image.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, PortError> {
        let reference = Reference::parse(reference)?;
        if reference.is_host() { self.host_image(&reference).map(Some) } else { Ok(None) }
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

    fn not_yet(&self, operation: &'static str) -> PortError {
        PortError::new(ErrorKind::Unavailable, operation, self.dir.display().to_string(), "this build cannot do it")
    }
}
