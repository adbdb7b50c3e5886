//! Images: what a container asks for against what the store and the registries have. What is done is a table of the model
//! ([`pull_step`]); here it is done.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Inner, blocking};
use crate::image::{Image, Waited};
use crate::model::{ImageNeed, ImageSource, PullPolicy, PullStep, Stored, pull_step};
use crate::port::{ErrorKind, ImageStatus, PortError};

const OPERATION: &str = "use image";
const LOAD: &str = "or load it: podwright image load FILE";
/// How long a registry may take to say what an image is while one is here that will do.
const PATIENCE: Duration = Duration::from_secs(10);

type Pulling<'a> = &'a (dyn Fn() + Send + Sync);

/// Makes the image present as its policy says, or says why it is not; `pulling` is called when a pull is begun.
pub(super) async fn ensure(inner: Arc<Inner>, need: ImageNeed, pulling: Pulling<'_>) -> Result<ImageStatus, PortError> {
    let here = look(&inner, &need.image).await;
    let puller = &inner.puller;
    let (strict, out_of_reach) = (puller.is_strict(), puller.is_out_of_reach(&need.image));
    match (pull_step(PullPolicy::of(&need.policy), stored(&here), strict, out_of_reach), here) {
        (PullStep::Use, Ok(Some(image))) => Ok(present(need, &image)),
        (PullStep::UseStale, Ok(Some(image))) => {
            Ok(stale(need, &image, "its registry was out of reach a moment ago".to_owned()))
        }
        (PullStep::Pull { or_stale: true }, Ok(Some(image))) => {
            match pull(&inner, &need, Some(PATIENCE), pulling).await {
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    tracing::warn!("{error}; the image that is here is used");
                    Ok(stale(need, &image, error.message))
                }
                outcome => outcome,
            }
        }
        (PullStep::Pull { .. }, Err(damage)) => mend(&inner, need, damage, pulling).await,
        (PullStep::Pull { .. }, Ok(_)) => pull(&inner, &need, None, pulling).await.map_err(|e| e.or_help(LOAD)),
        (_, Err(error)) => Err(error),
        (_, Ok(_)) => Err(never(&need.image)),
    }
}

fn stored(here: &Result<Option<Image>, PortError>) -> Stored {
    match here {
        Ok(None) => Stored::Absent,
        Ok(Some(image)) if image.host => Stored::Host,
        Ok(Some(_)) => Stored::Whole,
        Err(error) if error.kind == ErrorKind::Corrupt => Stored::Damaged,
        Err(_) => Stored::Unclear,
    }
}

/// What is here is damaged, and another one is pulled.
async fn mend(
    inner: &Arc<Inner>,
    need: ImageNeed,
    damage: PortError,
    pulling: Pulling<'_>,
) -> Result<ImageStatus, PortError> {
    tracing::warn!("{damage}; it is pulled again");
    match pull(inner, &need, None, pulling).await {
        Ok(mut status) => {
            if let ImageSource::Pulled { mended, .. } = &mut status.source {
                *mended = Some(damage.message);
            }
            Ok(status)
        }
        Err(error) => {
            let message = format!("{}, and {}", damage.message, error.message);
            Err(PortError { message, ..error }.or_help(LOAD))
        }
    }
}

async fn pull(
    inner: &Arc<Inner>,
    need: &ImageNeed,
    patience: Option<Duration>,
    pulling: Pulling<'_>,
) -> Result<ImageStatus, PortError> {
    pulling();
    let pulled = inner.puller.pull(&need.image, &need.secrets, patience).await;
    let Waited { took, waited } = pulled.map_err(|error| without_secrets(error, need))?;
    let Some(image) = look(inner, &need.image).await? else {
        let message = "it was pulled, and removed before it could be used";
        return Err(PortError::new(ErrorKind::Unavailable, OPERATION, &need.image, message).waiting("ErrImagePull"));
    };
    let rounded = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
    let (took, waited) = (rounded(took), rounded(waited));
    let source = ImageSource::Pulled { took, waited, size: image.size, mended: None };
    Ok(ImageStatus { source, ..present(need.clone(), &image) })
}

/// Names the pull Secrets that a failed pull went without.
fn without_secrets(error: PortError, need: &ImageNeed) -> PortError {
    if need.missing_secrets.is_empty() {
        return error;
    }
    let names = need.missing_secrets.join(", ");
    let message = format!("{} (without the pull Secrets that are not there: {names})", error.message);
    PortError { message, ..error }
}

async fn look(inner: &Arc<Inner>, name: &str) -> Result<Option<Image>, PortError> {
    let (inner, name) = (inner.clone(), name.to_owned());
    blocking(move || inner.images.resolve(&name)).await
}

fn present(need: ImageNeed, image: &Image) -> ImageStatus {
    ImageStatus { reference: need.image, id: image.id.clone(), size: image.size, source: ImageSource::Present }
}

fn stale(need: ImageNeed, image: &Image, why: String) -> ImageStatus {
    ImageStatus { source: ImageSource::Stale { why }, ..present(need, image) }
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
