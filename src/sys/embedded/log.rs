//! Output streams into a log in the CRI format: `<time> stdout F text`. `P` instead of `F` marks a part of a line: what
//! exceeds 16 KiB, and what the stream ended with (the limit and both rules are containerd's).

use crate::rt::{self, nr};
use crate::{EAGAIN, EINTR, close, read, time};

/// The longest text of one entry.
const LINE: usize = 16 << 10;
const SEEK_END: usize = 2;

// One thread; each is borrowed by one function at a time. Only pages that were touched take memory.
static mut LOG: i32 = -1;
static mut LINES: [[u8; LINE]; 2] = [[0; LINE]; 2];
static mut ENTRIES: [u8; 2 * LINE] = [0; 2 * LINE];
static mut PENDING: usize = 0;

/// Entries go to this descriptor, opened for appending.
pub fn open(fd: i32) {
    // SAFETY: one thread.
    unsafe { LOG = fd };
}

/// Writes the entries put together so far. When the disk is full they are lost, and what got there of them is cut off:
/// the container is never held up, and no entry is torn.
fn flush() {
    // SAFETY: one thread; the buffer is borrowed nowhere else meanwhile.
    let (fd, entries) =
        unsafe { (LOG as usize, core::slice::from_raw_parts((&raw const ENTRIES).cast::<u8>(), PENDING)) };
    // SAFETY: one thread.
    unsafe { PENDING = 0 };
    let mut written = 0;
    while written < entries.len() {
        let rest = &entries[written..];
        // SAFETY: the entries are valid for reading.
        match unsafe { rt::call(nr::WRITE, [fd, rest.as_ptr() as usize, rest.len(), 0, 0]) } {
            count if count > 0 => written += count as usize,
            EINTR => {}
            _ => {
                // SAFETY: takes numbers.
                let end = unsafe { rt::call(nr::LSEEK, [fd, 0, SEEK_END, 0, 0]) };
                if written > 0 && end >= written as isize {
                    // SAFETY: takes numbers.
                    unsafe { rt::call(nr::FTRUNCATE, [fd, end as usize - written, 0, 0, 0]) };
                }
                return;
            }
        }
    }
}

fn put(bytes: &[u8]) {
    // SAFETY: one thread; `entry` has made room.
    unsafe {
        let to = (&raw mut ENTRIES).cast::<u8>().add(PENDING);
        to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        PENDING += bytes.len();
    }
}

fn entry(at: &[u8; time::LENGTH], stream: &[u8], tag: &[u8; 2], text: &[u8]) {
    let length = at.len() + stream.len() + tag.len() + text.len() + 1;
    // SAFETY: one thread.
    if unsafe { PENDING } + length > 2 * LINE {
        flush();
    }
    for part in [at, stream, tag, text, b"\n"] {
        put(part);
    }
}

/// One output stream.
pub struct Stream {
    /// -1 once it has ended.
    pub fd: i32,
    /// Which of the line buffers is its own.
    index: usize,
    /// With a space on both sides.
    name: &'static [u8],
    /// Bytes of a line that has not ended yet, in the line buffer.
    held: usize,
}

impl Stream {
    /// A stream that has not been opened. No two of them have the same index.
    pub fn new(index: usize, name: &'static [u8]) -> Self {
        Self { fd: -1, index, name, held: 0 }
    }

    /// Logs what one read gives; how many bytes that was. Closes the stream at its end.
    pub fn pump(&mut self) -> usize {
        // SAFETY: one thread, and each stream has a buffer of its own.
        let line = unsafe { &mut *(&raw mut LINES).cast::<[u8; LINE]>().add(self.index) };
        let count = match read(self.fd, &mut line[self.held..]) {
            count if count > 0 => count as usize,
            EAGAIN | EINTR => return 0,
            // The end; a terminal says so with an error.
            _ => {
                self.end();
                return 0;
            }
        };
        let at = time::now();
        let filled = self.held + count;
        let mut start = 0;
        // What was held has no line end in it.
        let mut search = self.held;
        while let Some(length) = line[search..filled].iter().position(|b| *b == b'\n') {
            entry(&at, self.name, b"F ", &line[start..search + length]);
            search += length + 1;
            start = search;
        }
        self.held = filled - start;
        if self.held == LINE {
            entry(&at, self.name, b"P ", line);
            self.held = 0;
        } else if start > 0 {
            line.copy_within(start..filled, 0);
        }
        flush();
        count
    }

    fn end(&mut self) {
        if self.held > 0 {
            // SAFETY: one thread, and each stream has a buffer of its own.
            let line = unsafe { &*(&raw const LINES).cast::<[u8; LINE]>().add(self.index) };
            entry(&time::now(), self.name, b"P ", &line[..self.held]);
            flush();
        }
        self.held = 0;
        close(self.fd);
        self.fd = -1;
    }

    /// Logs what is there, at most about `limit` bytes, and closes the stream.
    pub fn drain(&mut self, limit: usize) {
        let mut total = 0;
        while self.fd >= 0 && total < limit {
            match self.pump() {
                0 => break,
                count => total += count,
            }
        }
        if self.fd >= 0 {
            self.end();
        }
    }
}
