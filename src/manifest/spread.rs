//! The same work on many files, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Files that are not worth a thread.
const FEW: usize = 32;
/// How many a thread takes at a time: enough that threads seldom meet, few enough that none is left with the rest.
const BATCH: usize = 16;

/// `work` on each item, the results in the order of the items.
pub(super) fn map<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(items.len() / FEW);
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(rest) = items.get(start..).filter(|rest| !rest.is_empty()) else { return done };
            done.push((start, rest.iter().take(BATCH).map(&work).collect()));
        }
    };
    let mut batches: Vec<(usize, Vec<R>)> = std::thread::scope(|scope| {
        // The system may refuse a thread, as at a limit of processes: those that there are do the work.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (1..threads).map_while(spawn).collect();
        let mut batches = worker();
        for other in others {
            batches.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        batches
    });
    batches.sort_unstable_by_key(|(start, _)| *start);
    batches.into_iter().flat_map(|(_, batch)| batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_items_whatever_the_threads() {
        for count in [0, 1, 31, 64, 65, 1000] {
            let items: Vec<usize> = (0..count).collect();
            for threads in [0, 1, 2, 7] {
                let doubled = map(threads, &items, |item| item * 2);
                assert!(
                    doubled.iter().copied().eq((0..count).map(|item| item * 2)),
                    "{count} items, {threads} threads"
                );
            }
        }
    }
}
