//! What the planner remembers of steps that failed or were done: passed in, returned new.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::model::{Failure, PodAction, PodMemory, VolumeMaterial, VolumePayload};

/// The first back-off of a failed step (kubelet: image pull and crash back-off both begin at 10 s).
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest back-off of a failed step.
const CAP: SignedDuration = SignedDuration::from_secs(300);

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
    let failure = Failure { reason: waiting_reason.to_owned(), message: message.to_owned(), at: now, count, backoff };
    let mut after = memory.clone();
    after.failures.insert(container.to_owned(), failure);
    after
}

/// Forgets the failures of a container (or of the pod itself, with the empty name): its step succeeded.
pub fn note_success(memory: &PodMemory, container: &str) -> PodMemory {
    let mut after = memory.clone();
    after.failures.remove(container);
    after
}

/// Remembers that these volumes were synced: they are not planned again until their files change.
pub fn note_synced(memory: &PodMemory, volumes: &[VolumePayload]) -> PodMemory {
    let mut after = memory.clone();
    after.synced_volumes = Some(files_digest(volumes));
    after
}

/// What is remembered after a step was performed: a new pod starts with nothing, a changed one is tried at once.
pub fn note_step(memory: &PodMemory, action: &PodAction) -> PodMemory {
    match action {
        // The pod that takes its place has nothing to do with why the one before ended.
        PodAction::CreatePod { .. } | PodAction::RemovePod => PodMemory::default(),
        PodAction::UpdatePod { .. } => PodMemory { failures: BTreeMap::new(), ..memory.clone() },
        PodAction::SyncVolumes { volumes } => note_synced(memory, volumes),
        PodAction::RunSandbox { .. } => note_success(memory, ""),
        PodAction::StartContainer(start) => note_success(memory, &start.name),
        _ => memory.clone(),
    }
}

/// Twice as long, at most [`CAP`]; never zero.
pub(super) fn double(backoff: SignedDuration) -> SignedDuration {
    backoff.checked_mul(2).unwrap_or(CAP).clamp(FIRST, CAP)
}

/// A digest of every projected file: names, modes and bytes. It stays in memory.
pub(super) fn files_digest(volumes: &[VolumePayload]) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for volume in volumes {
        if let VolumeMaterial::Files { files, .. } = &volume.material {
            part(volume.name.as_bytes());
            part(&(files.len() as u64).to_be_bytes());
            for file in files {
                part(file.path.as_bytes());
                part(&file.mode.to_be_bytes());
                part(file.bytes.reveal());
            }
        }
    }
    format!("{:x}", hash.finalize())
}
