//! Images in memory: what is here, what a registry has, and whether it is reached.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::machine::Machine;
use crate::model::{
    ContainerStart, ImageNeed, ImageSource, MountSource, PullPolicy, PullStep, Reference, Stored, pull_step,
};
use crate::port::{ErrorKind, ImageStatus, PortError};

const OPERATION: &str = "provide image";

/// Makes an image present by the table of policies. Every one is of 1 byte and pulled at once.
pub(super) fn ensure(
    machine: &mut Machine,
    need: &ImageNeed,
    pulling: &(dyn Fn() + Send + Sync),
) -> Result<ImageStatus, PortError> {
    let policy = PullPolicy::of(&need.policy);
    let source = match pull_step(policy, stored(machine, &need.image), machine.strict_offline, false) {
        PullStep::Use => ImageSource::Present,
        PullStep::Pull { or_stale } => {
            pulling();
            pull(machine, need, or_stale)?
        }
        PullStep::RefuseAbsent | PullStep::Refuse | PullStep::UseStale => {
            return Err(missing(need, "ErrImageNeverPull"));
        }
    };
    Ok(ImageStatus { reference: need.image.clone(), id: id_of(&need.image), size: 1, source })
}

fn stored(machine: &Machine, image: &str) -> Stored {
    match Reference::parse(image) {
        Ok(name) if name.is_host() => Stored::Host,
        _ if machine.missing.contains(image) || machine.remote.contains(image) => Stored::Absent,
        _ => Stored::Whole,
    }
}

fn pull(machine: &mut Machine, need: &ImageNeed, or_stale: bool) -> Result<ImageSource, PortError> {
    if machine.cut_off {
        let why = "no registry is reached";
        let unavailable =
            || PortError::new(ErrorKind::Unavailable, OPERATION, &need.image, why).waiting("ErrImagePull");
        return or_stale.then(|| ImageSource::Stale { why: why.to_owned() }).ok_or_else(unavailable);
    }
    if machine.missing.contains(&need.image) {
        return Err(missing(need, "ErrImagePull"));
    }
    machine.remote.remove(&need.image);
    Ok(ImageSource::Pulled { took: SignedDuration::ZERO, waited: SignedDuration::ZERO, size: 1, mended: None })
}

fn missing(need: &ImageNeed, reason: &'static str) -> PortError {
    PortError::new(ErrorKind::NotFound, OPERATION, &need.image, "no such image in the store").waiting(reason)
}

/// An identity that is the same for the same image.
pub(super) fn id_of(image: &str) -> String {
    format!("sha256:{:0>64}", image.bytes().map(|byte| format!("{byte:02x}")).take(32).collect::<String>())
}

/// The identities of the images that a container has as volumes, by the volume.
pub(super) fn of_volumes(start: &ContainerStart) -> BTreeMap<String, String> {
    let id = |source: &MountSource| match source {
        MountSource::Image { volume, image, .. } => Some((volume.clone(), id_of(image))),
        MountSource::Volume { .. } => None,
    };
    start.mounts.iter().filter_map(|mount| id(&mount.source)).collect()
}
