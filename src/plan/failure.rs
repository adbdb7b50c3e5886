//! What the planner remembers of steps that failed or were done: passed in, returned new.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{images, payload, token};
use crate::model::{Failure, ImageNeed, PodAction, PodMemory, PodRecord, TokenFile, VolumeMaterial, VolumePayload};

/// The first back-off of a failed step (kubelet: image pull and crash back-off both begin at 10 s).
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest back-off of a failed step.
const CAP: SignedDuration = SignedDuration::from_secs(300);

/// What failures of the pod's tokens are remembered as, which is no name of a container: nothing but what needs a token waits for
/// one.
pub const TOKENS: &str = "the pod's tokens";

/// Remembers that a step failed. `container` is empty for the pod itself. The back-off doubles from 10 s to 300 s.
pub fn note_failure(
    memory: &PodMemory,
    container: &str,
    waiting_reason: &str,
    message: &str,
    now: Timestamp,
) -> PodMemory {
    let before = memory.failures.get(container);
    let backoff = before.map_or(FIRST, |f| double(f.backoff));
    let count = before.map_or(1, |f| f.count.saturating_add(1));
    let (reason, message) = (waiting_reason.to_owned(), message.to_owned());
    let failure = Failure { reason, message, at: now, count, backoff, image: None };
    let mut after = memory.clone();
    after.failures.insert(container.to_owned(), failure);
    after
}

/// Remembers that a step failed for want of what may be there at any time, and of which nobody tells: it is tried again every
/// 10 s, as the kubelet does with each sync of the pod.
pub fn note_wait(memory: &PodMemory, container: &str, (reason, message): (&str, &str), now: Timestamp) -> PodMemory {
    let mut after = note_failure(memory, container, reason, message, now);
    if let Some(failure) = after.failures.get_mut(container) {
        failure.backoff = FIRST;
    }
    after
}

/// Remembers that an image could not be had. The back-off is the image's, as the kubelet's key is pod and image
/// (pkg/kubelet/images/image_manager.go): another one begins anew.
pub fn note_failed_pull(
    memory: &PodMemory,
    need: &ImageNeed,
    (waiting_reason, message): (&str, &str),
    now: Timestamp,
) -> PodMemory {
    let container = need.container.as_str();
    let is_of_it = |failure: &Failure| failure.image.as_ref() == Some(&need.image);
    let before = match memory.failures.get(container) {
        Some(failure) if !is_of_it(failure) => note_success(memory, container),
        _ => memory.clone(),
    };
    let mut after = note_failure(&before, container, waiting_reason, message, now);
    if let Some(failure) = after.failures.get_mut(container) {
        failure.image = Some(need.image.clone());
    }
    after
}

/// The failures that a change of the pod does not end: of images that it still asks for.
fn of_images(memory: &PodMemory, record: &PodRecord) -> BTreeMap<String, Failure> {
    let mut failures = memory.failures.clone();
    failures.retain(|_, failure| failure.image.is_some());
    if failures.is_empty() {
        return failures;
    }
    let Some(spec) = record.realised.effective.open().spec else { return BTreeMap::new() };
    let asked_for: BTreeSet<(&str, &str)> = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .flat_map(|container| images::of(container, &spec).map(move |wanted| (container.name.as_str(), wanted.image)))
        .collect();
    let is_asked_for = |name: &str, failure: &Failure| {
        failure.image.as_deref().is_some_and(|image| asked_for.contains(&(name, image)))
    };
    failures.retain(|name, failure| is_asked_for(name, failure));
    failures
}

/// Forgets the failures of a container (or of the pod itself, with the empty name): its step succeeded.
pub fn note_success(memory: &PodMemory, container: &str) -> PodMemory {
    let mut after = memory.clone();
    after.failures.remove(container);
    after
}

/// Remembers that these volumes were synced: they are not planned again until their files change, or their tokens are old.
pub fn note_synced(memory: &PodMemory, volumes: &[VolumePayload], tokens: &[TokenFile]) -> PodMemory {
    let mut after = memory.clone();
    for volume in volumes.iter().filter(|volume| payload::has_files(volume) && !token::is_in(volume, tokens)) {
        after.synced_volumes.insert(volume.name.clone(), volume_digest(volume));
    }
    token::note(&mut after, volumes, tokens);
    after
}

/// Forgets what was written of these volumes: writing them anew failed, and each may be the one or the other.
pub fn note_unsynced(memory: &PodMemory, volumes: &[VolumePayload]) -> PodMemory {
    let mut after = memory.clone();
    for volume in volumes {
        after.synced_volumes.remove(&volume.name);
        after.tokens.retain(|state| state.volume != volume.name);
    }
    after
}

/// What is remembered after a step was performed: a new pod starts with nothing, a changed one is tried at once but for images
/// that are the same.
pub fn note_step(memory: &PodMemory, action: &PodAction) -> PodMemory {
    match action {
        // The pod that takes its place has nothing to do with why the one before ended.
        PodAction::CreatePod { .. } | PodAction::RemovePod => PodMemory::default(),
        PodAction::UpdatePod { record } => PodMemory { failures: of_images(memory, record), ..memory.clone() },
        PodAction::SyncVolumes { volumes, tokens } => {
            let after = note_synced(memory, volumes, tokens);
            if tokens.is_empty() { after } else { note_success(&after, TOKENS) }
        }
        PodAction::RunSandbox { .. } => note_success(memory, ""),
        PodAction::StartContainer(start) => note_success(memory, &start.name),
        _ => memory.clone(),
    }
}

/// Twice as long, at most [`CAP`]; never zero.
pub(super) fn double(backoff: SignedDuration) -> SignedDuration {
    backoff.checked_mul(2).unwrap_or(CAP).clamp(FIRST, CAP)
}

/// A digest of the projected files of a volume: names, modes, users and bytes. It stays in memory.
pub(super) fn volume_digest(volume: &VolumePayload) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    if let VolumeMaterial::Files { files, .. } = &volume.material {
        for file in files {
            part(file.path.as_bytes());
            part(&file.mode.to_be_bytes());
            part(format!("{:?}", file.owner).as_bytes());
            part(file.bytes.digest());
        }
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
