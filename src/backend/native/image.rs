//! Images: what a container asks for against what the store and the registries have.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Inner, blocking};
use crate::image::{Image, Waited};
use crate::model::{ImageNeed, ImageSource};
use crate::port::{ErrorKind, ImageStatus, PortError};

const OPERATION: &str = "use image";
const LOAD: &str = "or load it: podwright image load FILE";
/// How long a registry may take to say what an image is while one is here that will do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the image present as its policy says, or says why it is not; `pulling` is called when a pull is begun.
///
/// | policy | here | damaged | not here |
/// |---|---|---|---|
/// | `Never` | used | `ImageInspectError` | `ErrImageNeverPull` |
/// | `IfNotPresent` | used | pulled | pulled |
/// | `Always` | pulled; used when the registry is out of reach, unless that is strict | pulled | pulled |
pub(super) async fn ensure(
    inner: Arc<Inner>,
    need: ImageNeed,
    pulling: &(dyn Fn() + Send + Sync),
) -> Result<ImageStatus, PortError> {
    let here = look(&inner, &need.image).await;
    let damage = match (here, need.policy.as_str()) {
        (Ok(Some(image)), policy) if policy != "Always" || image.host => return Ok(present(need, &image)),
        (Ok(Some(image)), _) => return renew(inner, need, image, pulling).await,
        (Ok(None), "Never") => return Err(never(&need.image)),
        (Ok(None), _) => None,
        (Err(error), policy) if policy == "Never" || error.kind != ErrorKind::Corrupt => return Err(error),
        (Err(error), _) => Some(error),
    };
    if let Some(damage) = &damage {
        tracing::warn!("{damage}; it is pulled again");
    }
    match pull(&inner, &need, None, pulling).await {
        Ok(status) => Ok(status),
        Err(error) => Err(match damage {
            Some(damage) => PortError { message: format!("{}, and {}", damage.message, error.message), ..error },
            None => error,
        }
        .or_help(LOAD)),
    }
}

/// The image is here, and its registry is asked whether there is another one by now.
async fn renew(
    inner: Arc<Inner>,
    need: ImageNeed,
    image: Image,
    pulling: &(dyn Fn() + Send + Sync),
) -> Result<ImageStatus, PortError> {
    let strict = inner.puller.is_strict();
    let stale = |need: ImageNeed, why: String| {
        let status = present(need, &image);
        ImageStatus { source: ImageSource::Stale { why }, ..status }
    };
    if !strict && inner.puller.is_out_of_reach(&need.image) {
        return Ok(stale(need, "its registry was out of reach a moment ago".to_owned()));
    }
    match pull(&inner, &need, (!strict).then_some(PATIENCE), pulling).await {
        Err(error) if !strict && error.kind == ErrorKind::Unavailable => {
            tracing::warn!("{error}; the image that is here is used");
            Ok(stale(need, error.message))
        }
        outcome => outcome,
    }
}

async fn pull(
    inner: &Arc<Inner>,
    need: &ImageNeed,
    patience: Option<Duration>,
    pulling: &(dyn Fn() + Send + Sync),
) -> Result<ImageStatus, PortError> {
    pulling();
    let Waited { took, waited } = inner.puller.pull(&need.image, &need.secrets, patience).await?;
    let Some(image) = look(inner, &need.image).await? else {
        let message = "it was pulled, and removed before it could be used";
        return Err(PortError::new(ErrorKind::Unavailable, OPERATION, &need.image, message).waiting("ErrImagePull"));
    };
    let rounded = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
    let source = ImageSource::Pulled { took: rounded(took), waited: rounded(waited), size: image.size };
    Ok(ImageStatus { source, ..present(need.clone(), &image) })
}

async fn look(inner: &Arc<Inner>, name: &str) -> Result<Option<Image>, PortError> {
    let (inner, name) = (inner.clone(), name.to_owned());
    blocking(move || inner.images.resolve(&name)).await
}

fn present(need: ImageNeed, image: &Image) -> ImageStatus {
    ImageStatus { reference: need.image, id: image.id.clone(), size: image.size, source: ImageSource::Present }
}

fn never(reference: &str) -> PortError {
    let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
    PortError::new(ErrorKind::NotFound, OPERATION, reference, message)
        .with_help("load it: podwright image load FILE")
        .waiting("ErrImageNeverPull")
}

/// The image of a container that is about to start: it was made present just before.
pub(super) fn resolve(inner: &Inner, reference: &str) -> Result<Image, PortError> {
    inner.images.resolve(reference)?.ok_or_else(|| {
        let message = format!("image \"{reference}\" is not in the store any more");
        PortError::new(ErrorKind::NotFound, OPERATION, reference, message).waiting("ErrImagePull")
    })
}
