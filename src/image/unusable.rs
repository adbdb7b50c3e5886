//! Images that were downloaded and could not be stored. They are not downloaded again at every try: a pod that waits for one
//! asks every few minutes, for years.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::registry::Failure;

/// So long the content of an image is not tried again: what was damaged on its way is better then.
const FINAL: Duration = Duration::from_secs(24 * 60 * 60);
/// One that did not fit is tried again once there are so many more bytes.
const MORE: u64 = 16 << 20;
/// So many are remembered.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Unusable(Mutex<BTreeMap<String, Known>>);

#[derive(Debug)]
struct Known {
    at: Instant,
    failure: Failure,
    /// Bytes that were free when it did not fit.
    free: Option<u64>,
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
        let fits = known.free.is_some_and(|then| free.is_none_or(|free| free >= then.saturating_add(MORE)));
        if known.at.elapsed() < FINAL && !fits {
            return Some(known.failure.clone());
        }
        all.remove(manifest);
        None
    }

    /// Remembers that an image could not be stored; with `free` because it did not fit into so many bytes.
    pub(super) fn remember(&self, manifest: &str, failure: Failure, free: Option<u64>) {
        let mut all = self.all();
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, known)| known.at).map(|(manifest, _)| manifest.clone())
        {
            all.remove(&oldest);
        }
        all.insert(manifest.to_owned(), Known { at: Instant::now(), failure, free });
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Fault;
    use super::*;

    #[test]
    fn what_did_not_fit_is_tried_again_when_there_is_more_room() {
        let known = Unusable::default();
        known.remember("full", Failure::new(Fault::Refused, "no room"), Some(1000));
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
