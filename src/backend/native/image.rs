//! Images: what a container asks for against what the store has.

use std::sync::Arc;

use super::{Inner, blocking};
use crate::image::Image;
use crate::model::ImageNeed;
use crate::port::{ErrorKind, ImageStatus, PortError};

const OPERATION: &str = "use image";

/// Makes the image present or says why it is not. Nothing is pulled: `Always` takes what is there.
pub(super) async fn ensure(inner: Arc<Inner>, need: ImageNeed) -> Result<ImageStatus, PortError> {
    blocking(move || {
        let image = resolve(&inner, &need.image, need.policy == "Never")?;
        Ok(ImageStatus { reference: need.image, id: image.id, size: image.size })
    })
    .await
}

/// The image by the name a pod uses.
pub(super) fn resolve(inner: &Inner, reference: &str, never_pulled: bool) -> Result<Image, PortError> {
    if let Some(image) = inner.images.resolve(reference)? {
        return Ok(image);
    }
    let error = if never_pulled {
        let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
        PortError::new(ErrorKind::NotFound, OPERATION, reference, message).waiting("ErrImageNeverPull")
    } else {
        let message =
            format!("image \"{reference}\" is not in the store, and images are not pulled from registries yet");
        PortError::new(ErrorKind::NotFound, OPERATION, reference, message).waiting("ErrImagePull")
    };
    Err(error.with_help("load it: podwright image load FILE"))
}
