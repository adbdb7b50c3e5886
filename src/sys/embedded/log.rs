//! Output streams into a log in the CRI format: `<time> stdout F text`. `P` instead of `F` marks a part of a line: what
//! exceeds 16 KiB, and what the stream ended with (the limit and both rules are containerd's).
//!
//! A log that would exceed its limit becomes `<name>.1`, what had that name `<name>.2`, and so on; the oldest goes. No file
//! ends within an entry. At every moment there is a file with the log's own name, and what is in none of the files any more
//! is the oldest.

use crate::out::Text;
use crate::rt::{self, nr};
use crate::{CStr, EAGAIN, EINTR, O_CLOEXEC, O_CREAT, O_WRONLY, SEEK_END, attach, close, effect, read, time};

/// The longest text of one entry.
const LINE: usize = 16 << 10;
const O_EXCL: usize = 0o200;
const O_APPEND: usize = 0o2000;
/// Whoever may read the first file may read the next ones.
const MODE: usize = 0o640;

/// Where a log is, and how much of it is kept.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The directory.
    pub dir: i32,
    pub name: CStr,
    /// Bytes of one file; 0 for no limit.
    pub size: u64,
    /// Files, the one that is written to among them.
    pub files: u64,
}

// One thread; each is borrowed by one function at a time. Only pages that were touched take memory.
static mut LOG: i32 = -1;
/// How long the log is.
static mut SIZE: u64 = 0;
static mut LIMITS: Limits = Limits { dir: -1, name: CStr(c"".as_ptr().cast()), size: 0, files: 1 };
static mut LINES: [[u8; LINE]; 2] = [[0; LINE]; 2];
static mut ENTRIES: [u8; 2 * LINE] = [0; 2 * LINE];
static mut PENDING: usize = 0;

/// Entries go to this descriptor, opened for appending.
pub fn open(fd: i32, limits: Limits) {
    // SAFETY: takes numbers.
    let end = unsafe { rt::call(nr::LSEEK, [fd as usize, 0, SEEK_END, 0, 0]) };
    // SAFETY: one thread.
    unsafe { (LOG, SIZE, LIMITS) = (fd, end.max(0) as u64, limits) };
}

/// The log's name with something behind it, and the zero byte.
fn name(limits: &Limits, suffix: &[u8], number: Option<u64>) -> Text<256> {
    let mut text = Text::new();
    text.push(limits.name.bytes()).push(suffix);
    if let Some(number) = number {
        text.number(number);
    }
    text.push(b"\0");
    text
}

fn numbered(limits: &Limits, number: u64) -> Text<256> {
    name(limits, b".", Some(number))
}

/// Puts the log aside and begins a new one; whether that succeeded. What is cut short here leaves the log and its old files
/// in order, at worst with a number left out or one file under two names.
fn renew(limits: &Limits) -> bool {
    let dir = limits.dir as usize;
    let own = limits.name.0;
    let remove = |point: &[u8], name: &Text<256>| effect::remove(point, (dir, name.as_ptr()), 0);
    let new = name(limits, b".new", None);
    remove(b"unlink log.new", &new);
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC;
    // First of all, lest old files are given up for nothing.
    let fd = effect::create(b"create log.new", (dir, new.as_ptr()), flags, MODE);
    if fd < 0 {
        return false;
    }
    let oldest = limits.files.saturating_sub(1).max(1);
    remove(b"unlink the oldest log", &numbered(limits, oldest));
    for number in (1..oldest).rev() {
        let (from, to) = (numbered(limits, number), numbered(limits, number + 1));
        effect::rename(b"rename an older log", dir, from.as_ptr(), to.as_ptr());
    }
    let first = numbered(limits, 1);
    let linked = effect::link(b"link log.1", dir, own, first.as_ptr());
    if linked < 0 || effect::rename(b"rename log.new", dir, new.as_ptr(), own) < 0 {
        close(fd as i32);
        remove(b"unlink log.new", &new);
        if linked >= 0 {
            remove(b"unlink log.1", &first);
        }
        return false;
    }
    // SAFETY: one thread.
    unsafe {
        close(LOG);
        LOG = fd as i32;
    }
    true
}

/// Makes room. A disk on which no file can be made any more must not be filled by this one: what it holds is given up.
fn rotate(limits: &Limits) {
    // SAFETY: one thread.
    unsafe {
        if !renew(limits) {
            effect::truncate(b"truncate log", LOG as usize, 0);
        }
        SIZE = 0;
    }
}

/// Writes the entries put together so far. When the disk is full they are lost, and what got there of them is cut off:
/// the container is never held up, and no entry is torn.
fn flush() {
    // SAFETY: one thread; the buffer is borrowed nowhere else meanwhile.
    let (entries, limits, size) =
        unsafe { (core::slice::from_raw_parts((&raw const ENTRIES).cast::<u8>(), PENDING), LIMITS, SIZE) };
    if limits.size > 0 && size > 0 && size + entries.len() as u64 > limits.size {
        rotate(&limits);
    }
    // SAFETY: one thread.
    let fd = unsafe {
        PENDING = 0;
        LOG as usize
    };
    let mut written = 0;
    while written < entries.len() {
        match effect::write(b"write log", fd, &entries[written..]) {
            count if count > 0 => written += count as usize,
            EINTR => {}
            _ => {
                // SAFETY: takes numbers.
                let end = unsafe { rt::call(nr::LSEEK, [fd, 0, SEEK_END, 0, 0]) };
                if written > 0 && end >= written as isize {
                    effect::truncate(b"cut off a torn entry", fd, end as usize - written);
                }
                return;
            }
        }
    }
    // SAFETY: one thread.
    unsafe { SIZE += written as u64 };
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
        attach::tell(self.index, &line[self.held..self.held + count]);
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
