//! Images that were downloaded and could not be stored. They are not downloaded again at every try: a pod that waits for one
//! asks every few minutes, for years.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::registry::Failure;

/// So long the content of an image is not tried again: what was damaged on its way is better then.
const FINAL: Duration = Duration::from_secs(24 * 60 * 60);
/// One that did not fit is tried again once there are so many more bytes, or as many as a try downloads.
const MORE: u64 = 16 << 20;
/// So many are remembered.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Unusable(Mutex<BTreeMap<String, Known>>);

#[derive(Debug)]
struct Known {
    at: Instant,
    failure: Failure,
    /// It did not fit, and may where so many bytes are free.
    enough: Option<u64>,
}

/// How many bytes have to be free before an image is tried again that did not fit where `free` were; a try downloads `size`.
pub(super) fn enough(free: u64, size: u64) -> u64 {
    free.saturating_add(size.clamp(1, MORE))
}

impl Unusable {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the image of a manifest cannot be stored, unless that may have changed. `free` is what the file system has, if that
    /// is known.
    pub(super) fn why(&self, manifest: &str, free: Option<u64>) -> Option<Failure> {
        let mut all = self.all();
        let known = all.get(manifest)?;
        let fits = known.enough.is_some_and(|enough| free.is_none_or(|free| free >= enough));
        if known.at.elapsed() < FINAL && !fits {
            return Some(known.failure.clone());
        }
        all.remove(manifest);
        None
    }

    /// Remembers that an image could not be stored; where it did not fit, with how many free bytes are [`enough`] for another try.
    pub(super) fn remember(&self, manifest: &str, failure: Failure, enough: Option<u64>) {
        let mut all = self.all();
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, known)| known.at).map(|(manifest, _)| manifest.clone())
        {
            all.remove(&oldest);
        }
        all.insert(manifest.to_owned(), Known { at: Instant::now(), failure, enough });
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Fault;
    use super::*;

    #[test]
    fn what_did_not_fit_is_tried_again_when_there_is_more_room() {
        let known = Unusable::default();
        known.remember("full", Failure::new(Fault::Refused, "no room"), Some(enough(1000, u64::MAX)));
        assert_eq!([enough(1000, 0), enough(1000, 7), enough(u64::MAX, 7)], [1001, 1007, u64::MAX]);
        known.remember("wrong", Failure::new(Fault::Refused, "wrong"), None);
        let is_known = |manifest, free| known.why(manifest, free).is_some();
        assert!(is_known("full", Some(1000)) && is_known("full", Some(999 + MORE)));
        assert!(!is_known("full", Some(1000 + MORE)) && !is_known("full", Some(0)), "it is forgotten then");
        assert!(is_known("wrong", Some(u64::MAX)) && is_known("wrong", None));
        assert!(!is_known("other", None));
    }

    #[test]
    fn a_number_of_them_is_remembered() {
        let known = Unusable::default();
        for at in 0..=MOST {
            known.remember(&at.to_string(), Failure::new(Fault::Refused, "wrong"), None);
        }
        assert!(known.why("0", None).is_none() && known.why("1", None).is_some());
    }
}
