//! The heap of a program that makes much in little time and then ends: it grows in large steps, onto large pages.
//!
//! Memory costs a fault for each page when it is touched first, and the C library lets a heap grow by 132 kB at a time,
//! that of another thread by as little as 4 kB, with a system call each: for 30 MB of objects that takes a good part of the
//! time it takes to make them. A program that runs for years must not do this, for its heap would never shrink.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// How much a heap grows at a time. It is address space, until it is touched.
const STEP: usize = 32 << 20;
/// The address space that glibc sets aside for the heap of any thread but the first, beginning at a multiple of this
/// (`HEAP_MAX_SIZE` in malloc/arena.c).
const HEAP: usize = 64 << 20;
/// Large pages on most machines; a heap's last one may be incomplete and is left out.
const LARGE_PAGE: usize = 2 << 20;
/// Heaps that are prepared. The system has one for each thread, and more threads would take longer than they save.
const MOST_THREADS: usize = 4;

/// Prepares the heaps of so many threads, the caller's among them; those that are started later use them one after the
/// other. What the system refuses stays as it was: this changes how long things take and nothing else. Where address space
/// is counted, nothing is prepared, for what is set aside would be missing.
pub fn grow_in_large_steps(threads: usize) {
    if is_address_space_counted() {
        return;
    }
    set_steps();
    // A thread that ends leaves its heap to the next one: only those that live at the same time have one each.
    let all_live = Mutex::new(());
    let lock = || all_live.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let waiting = lock();
        let other = || {
            use_large_pages(black_box(Box::new([0_u8; 64])).as_ref());
            drop(lock());
        };
        for _ in 1..threads.min(MOST_THREADS) {
            if std::thread::Builder::new().spawn_scoped(scope, other).is_err() {
                break;
            }
        }
        drop(waiting);
        grow_first();
    });
}

/// Whether memory that is not touched counts: by a limit of this process, or because the kernel promises none that it does
/// not have (`vm.overcommit_memory = 2`).
fn is_address_space_counted() -> bool {
    let is_limited = |resource| getrlimit(resource).is_ok_and(|(soft, _)| soft != RLIM_INFINITY);
    let is_strict = || std::fs::read("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.starts_with(b"2"));
    is_limited(Resource::RLIMIT_AS) || is_limited(Resource::RLIMIT_DATA) || is_strict()
}

/// Lets every heap grow by [`STEP`], keep what it has, and hold whatever is smaller.
fn set_steps() {
    const STEP_INT: libc::c_int = STEP as libc::c_int;
    // SAFETY: mallopt takes any values, and glibc guards its parameters by the lock of the first heap.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, STEP_INT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, STEP_INT);
    }
}

/// Lets the heap of the first thread grow now, and asks for large pages there.
fn grow_first() {
    // More than a heap has at first.
    drop(black_box(Vec::<u8>::with_capacity(1 << 20)));
    // SAFETY: without an increment it only tells where the heap ends.
    let end = unsafe { libc::sbrk(0) } as usize;
    if let Some(start) = end.checked_sub(STEP) {
        let first = start.next_multiple_of(LARGE_PAGE);
        touch(start, first - start);
        advise(first, STEP - LARGE_PAGE, libc::MADV_HUGEPAGE);
    }
}

/// Asks for large pages in the heap of the calling thread, which is not the first, by something that is in it.
fn use_large_pages(inside: &[u8; 64]) {
    let start = inside.as_ptr() as usize / HEAP * HEAP;
    // Something is there already, so this much is never one large page.
    touch(start, LARGE_PAGE);
    advise(start, HEAP, libc::MADV_HUGEPAGE);
}

/// Takes the small pages of a range all at once: each by itself costs a fault.
fn touch(start: usize, length: usize) {
    const SMALL_PAGE: usize = 4096;
    let first = start.next_multiple_of(SMALL_PAGE);
    advise(first, (start + length).saturating_sub(first), libc::MADV_POPULATE_WRITE);
}

fn advise(start: usize, length: usize, advice: libc::c_int) {
    // SAFETY: neither advice changes a byte or a right of any page, wherever the range lies; the kernel refuses it for what
    // is not mapped, or cannot be written.
    unsafe { libc::madvise(start as *mut libc::c_void, length, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heaps with room for a step, by the flags of their mappings; the first is named, the others begin at [`HEAP`].
    fn advised() -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut found = Vec::new();
        let mut head = String::new();
        for line in maps.lines() {
            match line.strip_prefix("VmFlags:") {
                None if line.contains('-') && !line.contains("kB") => head = line.to_owned(),
                Some(flags) if flags.split(' ').any(|flag| flag == "hg") => found.push(head.clone()),
                _ => {}
            }
        }
        found
    }

    #[test]
    fn the_heaps_of_all_threads_are_on_large_pages() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() || is_address_space_counted() {
            return;
        }
        // Threads of other tests may have heaps already, which a thread that comes then takes first.
        for _ in 0..64 {
            grow_in_large_steps(2);
            let found = advised();
            let is_first = |head: &String| head.ends_with("[heap]");
            if found.iter().any(is_first) && !found.iter().all(is_first) {
                return;
            }
        }
        panic!("no large pages: {:?}", advised());
    }

    #[test]
    fn what_is_no_heap_is_left_alone() {
        advise(0, HEAP, libc::MADV_HUGEPAGE);
        touch(0, LARGE_PAGE);
        advise(usize::MAX / HEAP * HEAP, STEP, libc::MADV_HUGEPAGE);
        grow_in_large_steps(0);
        grow_in_large_steps(1000);
    }
}
