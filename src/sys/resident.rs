//! The memory of a program that runs for years and mostly waits: what it needs for a change is given back after it.
//!
//! The C library keeps one heap for each thread that ever was busy at the same time, up to eight a core, and what is freed
//! amid a heap stays. The kernel keeps every page of the program that was run once. At rest neither is of use to anybody.

use std::ffi::c_int;
use std::ptr;

use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};

/// Heaps of the C library. Each more lets one more thread allocate at the same time, and keeps its own share of what was
/// freed: the agent waits far more than it allocates.
const HEAPS: c_int = 1;
/// From this size on memory is asked of the system and given back to it by itself, in bytes: the C library's own bound,
/// which grows as soon as such memory is freed once, unless it is set.
const LARGE: c_int = 128 << 10;

const PAGE: usize = 4096;
/// Bytes of the program that are mapped together. Smaller ones take more faults, and memory of the kernel for each.
const PART: usize = 4 * PAGE;

/// To be called before threads are started. What the C library refuses stays as it was.
pub fn stay_small() {
    // SAFETY: mallopt takes any values, and glibc guards its parameters by the lock of the first heap.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

/// How many times memory was taken since the start: pages that were touched first, or again.
pub fn taken() -> u64 {
    // The call fails for no process that asks about itself.
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.minor_page_faults() as u64)
}

/// Gives back what is freed amid the heaps, and the pages of the program itself: those that are run or read again are
/// found in the page cache, or in the file, as at the start. Costs some milliseconds now, and a fault for each sixteen pages
/// that are used again, or each part of [`map_in_parts`].
pub fn give_back() {
    // SAFETY: malloc_trim takes the lock of each heap in turn and gives back only pages on which nothing is allocated.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: the callback neither keeps its arguments nor unwinds, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(forget), ptr::null_mut()) };
}

/// Has the kernel map the program in parts of [`PART`], each a mapping of its own. Around each page that is touched it maps
/// those beside it that it has at hand, sixteen together but never beyond a mapping (`do_fault_around`, mm/memory.c). What is run
/// together lies all over a program, and most of what is mapped so is never run.
///
/// What the kernel refuses stays as it was.
pub fn map_in_parts() {
    // SAFETY: the callback neither keeps its arguments nor unwinds, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(divide), ptr::null_mut()) };
}

/// Marks every other part of the first loaded file, which is the program, so that no two beside each other are alike. The mark
/// leaves it out of core dumps, where of a file no more is found than its first page, by which it is known (core(5)): that is in
/// the first part, which has no mark.
unsafe extern "C" fn divide(info: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> c_int {
    // SAFETY: as the loader calls it.
    for (start, length) in unsafe { segments(info) } {
        let pages = whole_pages(start, length);
        for part in (pages.start + PART..pages.end).step_by(2 * PART) {
            let size = PART.min(pages.end - part);
            // SAFETY: the mark changes nothing of what is mapped; the kernel refuses what is not.
            unsafe { libc::madvise(part as *mut libc::c_void, size, libc::MADV_DONTDUMP) };
        }
    }
    1
}

/// The addresses and sizes of what is loaded of a file and cannot differ from it.
///
/// # Safety
/// `info` is what the loader hands to a callback, and the callback has not returned.
unsafe fn segments(info: *mut libc::dl_phdr_info) -> impl Iterator<Item = (usize, usize)> {
    // SAFETY: the loader hands a valid record, whose headers stay while the file is loaded; it holds its lock meanwhile.
    let (base, headers) = unsafe {
        let info = &*info;
        let count = if info.dlpi_phdr.is_null() { 0 } else { usize::from(info.dlpi_phnum) };
        let first = if count == 0 { ptr::NonNull::dangling().as_ptr() } else { info.dlpi_phdr.cast_mut() };
        (info.dlpi_addr, std::slice::from_raw_parts(first, count))
    };
    let kept = headers.iter().filter(|header| is_as_in_the_file(header.p_type, header.p_flags));
    kept.map(move |header| ((base + header.p_vaddr) as usize, header.p_memsz as usize))
}

/// Drops the pages of one loaded file, the program or a library, that cannot differ from the file.
unsafe extern "C" fn forget(info: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> c_int {
    // SAFETY: as the loader calls it.
    for (start, length) in unsafe { segments(info) } {
        // SAFETY: the range is a segment of a file that is loaded, mapped privately and never writable, so no page of it was
        // changed: one that is dropped has the same bytes when it is read from the file again. (A segment whose pages are
        // changed while the file is loaded, such as one for relocations, is mapped writable.) Pages that are not whole are
        // left out.
        unsafe { drop_pages(start, length) };
    }
    0
}

/// Whether a segment is loaded and never written, not even by the loader.
fn is_as_in_the_file(kind: u32, flags: u32) -> bool {
    kind == libc::PT_LOAD && flags & libc::PF_W == 0
}

/// # Safety
/// All whole pages of the range are mapped from a file and were never changed.
unsafe fn drop_pages(start: usize, length: usize) {
    let pages = whole_pages(start, length);
    if !pages.is_empty() {
        // SAFETY: as the caller promises; the kernel refuses what is not mapped.
        unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_DONTNEED) };
    }
}

/// The addresses of the pages that lie within a range.
fn whole_pages(start: usize, length: usize) -> std::ops::Range<usize> {
    start.next_multiple_of(PAGE)..(start + length) / PAGE * PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of a figure in kB over the mappings whose first line has these words.
    fn sum(figure: &str, words: &[&str]) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut counts, mut sum) = (false, 0);
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let first = fields.next().unwrap();
            if !first.ends_with(':') {
                counts = words.iter().all(|word| line.contains(word));
            } else if counts && first == figure {
                sum += fields.next().unwrap().parse::<u64>().unwrap();
            }
        }
        sum
    }

    #[test]
    fn only_segments_that_nobody_writes_are_dropped() {
        assert!(is_as_in_the_file(libc::PT_LOAD, libc::PF_R | libc::PF_X));
        assert!(is_as_in_the_file(libc::PT_LOAD, libc::PF_R));
        assert!(!is_as_in_the_file(libc::PT_LOAD, libc::PF_R | libc::PF_W));
        assert!(!is_as_in_the_file(libc::PT_GNU_RELRO, libc::PF_R));
    }

    #[test]
    fn what_is_freed_amid_a_heap_is_given_back() {
        let mut all: Vec<Option<Vec<u8>>> = (0..20_000).map(|_| Some(vec![7; 3000])).collect();
        for (_, one) in all.iter_mut().enumerate().filter(|(at, _)| at % 100 != 0) {
            *one = None;
        }
        let before = sum("Anonymous:", &[]);
        give_back();
        let after = sum("Anonymous:", &[]);
        assert!(after + 20_000 < before, "{before} kB, then {after}");
        assert!(all.iter().flatten().all(|kept| kept.iter().all(|byte| *byte == 7)));
    }

    #[test]
    fn pages_of_the_program_are_given_back() {
        let program = std::env::current_exe().unwrap();
        let code = ["r-xp", program.to_str().unwrap()];
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| code.iter().all(|word| line.contains(word))).unwrap();
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        // Reading its memory maps it, as running it does.
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut bytes = vec![0; (end - start) as usize];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, start).unwrap();
        let before = sum("Rss:", &code);
        give_back();
        let after = sum("Rss:", &code);
        assert!(after * 2 < before, "{before} kB, then {after}");
        let mut again = vec![0; bytes.len()];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut again, start).unwrap();
        assert!(bytes == again, "other bytes than before");
    }

    /// In a process of its own: the mappings are those of all tests.
    #[test]
    fn the_program_is_mapped_in_parts() {
        const ALONE: &str = "PODWRIGHT_TEST_ALONE";
        let program = std::env::current_exe().unwrap();
        if std::env::var_os(ALONE).is_none() {
            let this = std::thread::current();
            let mut again = std::process::Command::new(&program);
            let output = again.args(["--exact", this.name().unwrap()]).env(ALONE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains(" 1 passed"), "{said}");
            return;
        }
        let code = ["r-xp", program.to_str().unwrap()];
        let count = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| code.iter().all(|word| line.contains(word))).count()
        };
        let (mappings, kilobytes) = (count(), sum("Size:", &code));
        assert_eq!(mappings, 1);
        map_in_parts();
        assert_eq!(sum("Size:", &code), kilobytes);
        assert!(count() as u64 >= kilobytes / 16, "{kilobytes} kB in {} parts", count());
        give_back();
        assert!(sum("Rss:", &code) * 2 < kilobytes);
    }
}
