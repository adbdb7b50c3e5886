//! The files of a pod that runs: which of its volumes are to be written now. Each volume stands for itself: one that cannot be
//! made keeps none of the others from being written, and none is written because another one is.
//!
//! | its files | it holds no token | it holds tokens |
//! |---|---|---|
//! | as they were written | nothing | anew when a token is old |
//! | not as they were written | written | written with new tokens |
//! | nothing is known, after a start of the agent | written | written with new tokens |
//! | cannot be had | those that are there stay, which is told | likewise, and its tokens with them |
//! | lack the machine's certificate, which cannot be had | likewise, unless it was written so before | likewise |

use super::data;
use super::draft::Draft;
use super::failure::{TOKENS, volume_digest};
use super::opened::Opened;
use super::payload::{self, Payloads};
use super::pod::Round;
use super::token::{self, Asked, Due};
use crate::model::{PodAction, Reason, TokenFile, VolumePayload};

/// Projected files that changed, and tokens that are old; once after a start of the agent, which does not know what is on disk.
/// Returns whether data is known and the files are made of it, at the latest by this plan.
pub(super) fn volumes(round: &Round<'_>, pod: &Opened<'_>, draft: &mut Draft) -> bool {
    // Without a revision nothing is known about data: the files that are there stay.
    if round.input.data.is_none() {
        return false;
    }
    let scope = round.scope(pod);
    let Payloads { volumes, asked, partial, failed } = payload::volumes(&scope);
    // The files that are there stay; the containers run on.
    failed.iter().for_each(|why| draft.hold("", "FailedMount", why, None));
    let (mut plain, mut with_tokens) = (Vec::new(), Vec::new());
    let (mut reason, mut has_data, mut is_whole) = (Reason::TokenDue, false, failed.is_empty());
    for volume in volumes {
        let due = due(round, &volume, &asked);
        match due {
            Due::Never => continue,
            Due::At(at) => {
                draft.wake(at);
                continue;
            }
            // What is there may have it.
            Due::Changed | Due::Unknown if partial.contains(volume.name.as_str()) => {
                draft.hold("", "FailedMount", &payload::is_partial(&volume.name), None);
                is_whole &= !data::has_data(&pod.effective, &volume.name);
                continue;
            }
            Due::Old | Due::Changed | Due::Unknown => {}
        }
        if !token::is_asked(&volume, &asked) {
            plain.push(volume);
            continue;
        }
        has_data |= due != Due::Old && data::has_data(&pod.effective, &volume.name);
        if due == Due::Changed {
            reason = Reason::VolumeData;
        }
        with_tokens.push(volume);
    }
    let are_written = plain.is_empty() || write(round, (plain, Vec::new()), Reason::VolumeData, draft);
    let is_current = are_written && is_whole;
    if with_tokens.is_empty() {
        return is_current;
    }
    let is_chosen = |asked: &&Asked<'_>| with_tokens.iter().any(|volume: &VolumePayload| volume.name == asked.volume);
    let tokens = asked.iter().filter(is_chosen).map(|asked| asked.made(round.input.now)).collect();
    // One that cannot be written now has the data of before, but for its tokens, if it has any data at all.
    let are_written = write(round, (with_tokens, tokens), reason, draft);
    is_current && (are_written || !has_data)
}

/// What is to be done about a volume; `asked` are the tokens that the pod asks for.
fn due(round: &Round<'_>, volume: &VolumePayload, asked: &[Asked<'_>]) -> Due {
    let (memory, now) = (round.input.memory, round.input.now);
    if token::is_asked(volume, asked) {
        return token::due(volume, asked, memory, now);
    }
    match memory.synced_volumes.get(&volume.name) {
        _ if !payload::has_files(volume) => Due::Never,
        Some(written) if *written == volume_digest(volume) => Due::Never,
        Some(_) => Due::Changed,
        None => Due::Unknown,
    }
}

/// Has volumes written unless that has just failed: data waits for no token, nor a token for data. Returns whether they are.
fn write(
    round: &Round<'_>,
    (volumes, tokens): (Vec<VolumePayload>, Vec<TokenFile>),
    reason: Reason,
    draft: &mut Draft,
) -> bool {
    if let Some((failure, until)) = round.held(if tokens.is_empty() { "" } else { TOKENS }) {
        draft.hold("", &failure.reason, &failure.message, Some(until));
        return false;
    }
    draft.step(PodAction::SyncVolumes { volumes, tokens }, reason);
    true
}
