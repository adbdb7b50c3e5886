//! Which of the machine's user ids a pod with `hostUsers: false` has: `pods/<uid>/users.json`, written before its sandbox is
//! made. The range is the pod's as long as its directory is there, and goes with it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize};

use super::records::{self, Stored};
use super::user::Identity;
use super::{Inner, lock, observe};
use crate::model::PodUid;
use crate::port::{ErrorKind, PortError};
use crate::sys::infra::Infra;
use crate::sys::users::{self, IDS};

const USERS: &str = "users.json";
const OPERATION: &str = "find user ids for pod";
/// Where ranges are taken from: between what systemd gives to containers and what it calls foreign ids, 0x7FFE_0000, nothing
/// is anybody's (systemd, `docs/UIDS-GIDS.md`); what shadow gives to users (`SUB_UID_MAX`) is below as well.
const LOWEST: u32 = 0x7000_0000;
/// How many there are at most.
const RANGES: u32 = (0x7FFE_0000 - LOWEST) / IDS;
/// Behind the last range: the last id means none.
const END: u32 = 0xFFFF_0000;

/// Which ids pods get.
#[derive(Debug)]
pub(super) struct Ids {
    lowest: u32,
    /// Held while a pod gets some.
    turn: Mutex<()>,
}

impl From<Option<u32>> for Ids {
    fn from(lowest: Option<u32>) -> Self {
        Self { lowest: lowest.unwrap_or(LOWEST), turn: Mutex::default() }
    }
}

/// What a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsersRecord {
    /// The first of [`IDS`].
    first_id: u32,
}

/// Whether a pod has user ids of its own.
pub(super) fn are_own(pod: &PodSpec) -> bool {
    pod.host_users == Some(false)
}

/// How many ranges there are from an id on.
fn ranges(lowest: u32) -> u32 {
    (END.saturating_sub(lowest) / IDS).min(RANGES)
}

/// The first free range of those above `lowest`, from the one on that `begin` says; `None` when there is none. `taken` are ids,
/// first and count, of whatever size.
fn free(lowest: u32, begin: u32, taken: &[(u32, u32)]) -> Option<u32> {
    let ranges = ranges(lowest);
    let is_free = |first: u32| {
        let apart = |(other, count): &(u32, u32)| {
            u64::from(first) + u64::from(IDS) <= u64::from(*other)
                || u64::from(*other) + u64::from(*count) <= u64::from(first)
        };
        taken.iter().all(apart)
    };
    (0..ranges).map(|n| lowest + (begin % ranges + n) % ranges * IDS).find(|first| is_free(*first))
}

/// The range that a pod's sandbox has.
pub(super) fn of_sandbox(uid: &PodUid, infra: Infra) -> Result<u32, PortError> {
    let found = users::first_id_of(infra.pid).and_then(|found| infra.check().map(|()| found));
    let found = found.map_err(|e| PortError::io(OPERATION, uid.to_string(), &e))?;
    // With the machine's ids a container would have rights that it is not to have.
    let none = || PortError::new(ErrorKind::Unavailable, OPERATION, uid.to_string(), "its sandbox has none of its own");
    found.ok_or_else(none)
}

/// The range on record for a pod, if there is one.
fn first_id(inner: &Inner, uid: &PodUid) -> io::Result<Option<u32>> {
    let usable = |record: &UsersRecord| record.first_id >= IDS && record.first_id.is_multiple_of(IDS);
    match records::read::<UsersRecord>(&inner.paths.pod(uid), USERS)? {
        Stored::There(record) if usable(&record) => Ok(Some(record.first_id)),
        Stored::There(_) | Stored::Missing => Ok(None),
        // Nothing of the pod that stays belongs to an id of the range: with another one it is as good.
        Stored::Damaged(why) => {
            tracing::warn!(pod = %uid, why, "the record of its user ids was damaged: it gets others");
            Ok(None)
        }
    }
}

/// The range of a pod, a new one unless it has one. Nobody else has it: no pod on record, and no process of the machine.
pub(super) fn take(inner: &Inner, uid: &PodUid) -> Result<u32, PortError> {
    let failed = |e: io::Error| PortError::io(OPERATION, uid.to_string(), &e);
    let Ids { lowest, turn } = &inner.user_ids;
    let _turn = lock(turn);
    if let Some(first) = first_id(inner, uid).map_err(failed)? {
        return Ok(first);
    }
    let mut taken = users::ranges_in_use().map_err(failed)?;
    for other in observe::uids(&inner.paths)?.iter().filter(|other| *other != uid) {
        taken.extend(first_id(inner, other).map_err(failed)?.map(|first| (first, IDS)));
    }
    // Roots that work side by side begin at different places.
    let begin = u32::from_str_radix(&inner.paths.instance, 16).unwrap_or_default();
    let Some(first_id) = free(*lowest, begin, &taken) else {
        let message = format!("all {} ranges of {IDS} user ids are in use", ranges(*lowest));
        return Err(PortError::new(ErrorKind::Exhausted, OPERATION, uid.to_string(), message));
    };
    records::write(&inner.paths.pod(uid), USERS, &UsersRecord { first_id }).map_err(failed)?;
    Ok(first_id)
}

/// Refuses ids that are in no range: who has them cannot be a process of the pod.
pub(super) fn check(identity: &Identity) -> Result<(), String> {
    let all: BTreeSet<u32> = [identity.uid, identity.gid].into_iter().chain(identity.groups.iter().copied()).collect();
    match all.last().filter(|id| **id >= IDS) {
        Some(id) => Err(format!("with `hostUsers: false` user and group ids end at {}, and it has {id}", IDS - 1)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_nobody_else_s() {
        let at = |n: u32| LOWEST + n * IDS;
        let last = RANGES - 1;
        for (begin, taken, expected) in [
            (0, vec![], Some(at(0))),
            (7, vec![], Some(at(7))),
            (RANGES + 7, vec![], Some(at(7))),
            (u32::MAX, vec![], Some(at(u32::MAX % RANGES))),
            (7, vec![(at(7), IDS)], Some(at(8))),
            (7, vec![(at(8), IDS), (at(7), IDS)], Some(at(9))),
            // As others have them: of any size, at any place.
            (7, vec![(at(7) - 1, 1), (at(8), 1)], Some(at(7))),
            (7, vec![(at(7) - 1, 2)], Some(at(8))),
            (7, vec![(at(8) - 1, 1)], Some(at(8))),
            (7, vec![(at(7) + 5, 10)], Some(at(8))),
            (7, vec![(0, u32::MAX)], None),
            (last, vec![(at(last), IDS)], Some(at(0))),
            (3, vec![(at(0), IDS * 3), (at(3), IDS * last)], None),
            (3, vec![(at(0), IDS * 3), (at(3), IDS * (last - 3))], Some(at(last))),
            // The end of all ids.
            (0, vec![(u32::MAX, u32::MAX)], Some(at(0))),
        ] {
            assert_eq!(free(LOWEST, begin, &taken), expected, "from {begin} with {taken:?}");
        }
        for (lowest, begin, taken, expected) in [
            (IDS, 0, vec![], Some(IDS)),
            (IDS, 1, vec![], Some(2 * IDS)),
            (END - IDS, 7, vec![], Some(END - IDS)),
            (END - 3 * IDS, 7, vec![(END - 2 * IDS, 1)], Some(END - IDS)),
            (END - IDS, 7, vec![(END - 1, 1)], None),
        ] {
            assert_eq!(free(lowest, begin, &taken), expected, "above {lowest} from {begin} with {taken:?}");
        }
        assert!(LOWEST >= IDS && LOWEST.is_multiple_of(IDS) && at(last) + (IDS - 1) < 0x7FFE_0000);
    }

    #[test]
    fn ids_outside_of_a_range_are_refused() {
        let identity = |uid, gid, groups: &[u32]| Identity { uid, gid, groups: groups.to_vec(), home: None };
        assert_eq!(check(&identity(65535, 65535, &[0, 65535])), Ok(()));
        for odd in [identity(65536, 0, &[]), identity(0, 65536, &[]), identity(0, 0, &[3, 65536])] {
            assert!(check(&odd).unwrap_err().ends_with("and it has 65536"));
        }
    }
}
