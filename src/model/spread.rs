//! The same work on many values, on several threads: what comes out does not depend on their number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Values that are not worth a thread.
const FEW: usize = 32;
/// How many a thread takes at a time: enough that threads seldom meet, few enough that none is left with the rest.
const BATCH: usize = 16;

/// `work` on each item, the results in the order of the items.
pub fn map<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
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

/// Both, side by side if the system has a thread for it.
pub fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    let first = Mutex::new(Some(first));
    let take = || first.lock().unwrap_or_else(PoisonError::into_inner).take();
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, || take().map(|first| first())).ok();
        let second = second();
        // Whoever comes first does it: this thread, if the other has not begun yet or never will.
        let here = take().map(|first| first());
        let there = other.and_then(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (here.or(there).expect("invariant: it was taken once and done"), second)
    })
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

    #[test]
    fn both_are_done_once() {
        let count = AtomicUsize::new(0);
        let one = |result: &'static str| {
            count.fetch_add(1, Ordering::Relaxed);
            result
        };
        assert_eq!(both(|| one("a"), || one("b")), ("a", "b"));
        assert_eq!(count.into_inner(), 2);
    }
}
