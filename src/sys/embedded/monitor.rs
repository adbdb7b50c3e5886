//! What a shim becomes once its container runs: copies the output into the log, reaps, writes `exit.json`, ends.
//!
//! Arguments: a name for `ps`, then `key=value`: `pid` the container's first process, a child of this one; `dir` the
//! instance directory; `log`, with `logdir` its directory, `logname` its name there, `logsize` the limit in bytes of one file
//! and `logfiles` how many are kept; `message` the file for its last words, whose end is kept; `out`, `err` pipes or `tty`
//! the master side of a terminal, all non-blocking; `started` when it started; `cgroup` (repeated) a directory of the
//! container's cgroup; `oom` the file that counts its OOM kills; `attach` the socket where whoever attaches comes; `in` where
//! what they write goes, the write end of stdin or the terminal; `once` as `stdinOnce`. What stands for a file is an open
//! descriptor's number; other open descriptors are only kept: the lock.

#![no_std]
#![no_main]

mod attach;
mod effect;
#[cfg(faults)]
mod fault;
mod log;
mod out;
#[allow(dead_code)]
mod rt;
mod time;

use log::{Limits, Stream};
use out::Text;
use rt::{SIGCHLD, bit, nr};

const AT_FDCWD: usize = -100isize as usize;
const O_WRONLY: usize = 1;
const O_CREAT: usize = 0o100;
const O_TRUNC: usize = 0o1000;
const O_CLOEXEC: usize = 0o200_0000;
/// Nobody but root reads what a monitor writes beside the log.
const PRIVATE: usize = 0o600;
const AT_REMOVEDIR: usize = 0x200;
const SFD_CLOEXEC: usize = O_CLOEXEC;
const SFD_NONBLOCK: usize = 0o4000;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;
const EAGAIN: isize = -11;
const EINTR: isize = -4;
const ENOENT: isize = -2;

/// Cgroup directories there can be: one for each hierarchy.
const MAX_CGROUPS: usize = 24;
/// How often what is left in the cgroup is killed and how often the cgroup's removal is tried, with 5 ms between.
const TRIES: usize = 200;
/// How often writing the exit record is tried: for about fifteen seconds, with twice the time between from one to the next, a
/// second at most. A disk may be full, or read-only, for a moment; nobody is to wait for a container that has ended for ever.
const RECORD_TRIES: usize = 20;
/// The first time between, and the longest, in milliseconds.
const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 1000;
/// Bytes that are kept of the last words (the kubelet's limit).
const MAX_MESSAGE: usize = 4096;
const SEEK_SET: usize = 0;
const SEEK_END: usize = 2;
/// How often is looked whether there is room for output again, in milliseconds.
const ROOM_TICK: i64 = 1000;
/// Bytes that are still read from a pipe which somebody outside the container holds open after its end.
const MAX_DRAIN: usize = 4 << 20;

/// A string of the argument list; it ends with a zero byte, as the kernel has put it there.
#[derive(Clone, Copy)]
struct CStr(*const u8);

impl CStr {
    fn bytes(self) -> &'static [u8] {
        // SAFETY: the string ends with a zero byte; the argument list lives as long as the process.
        unsafe { core::slice::from_raw_parts(self.0, rt::strlen(self.0)) }
    }

    /// What follows `key`, which ends with `=`.
    fn value(self, key: &[u8]) -> Option<Self> {
        // SAFETY: within the string, or at its zero byte.
        self.bytes().starts_with(key).then(|| Self(unsafe { self.0.add(key.len()) }))
    }

    fn number(self) -> u64 {
        self.bytes().iter().fold(0u64, |n, d| n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0'))))
    }

    /// A process or descriptor.
    fn id(self) -> i32 {
        self.number() as i32
    }
}

/// The arguments, read.
struct Job {
    pid: i32,
    dir: i32,
    message: i32,
    started: CStr,
    oom: Option<CStr>,
    cgroups: [Option<CStr>; MAX_CGROUPS],
    streams: [Stream; 2],
}

/// # Safety
/// `stack` is where the kernel has put the argument count, followed by the arguments.
unsafe fn arguments(stack: *const usize) -> Job {
    let mut job = Job {
        pid: -1,
        dir: -1,
        message: -1,
        started: CStr(c"".as_ptr().cast()),
        oom: None,
        cgroups: [None; MAX_CGROUPS],
        streams: [Stream::new(0, b" stdout "), Stream::new(1, b" stderr ")],
    };
    let mut cgroups = job.cgroups.iter_mut();
    let mut log = -1;
    let mut limits = Limits { dir: -1, name: CStr(c"".as_ptr().cast()), size: 0, files: 1 };
    // SAFETY: as promised by the caller.
    let count = unsafe { *stack };
    for i in 2..count {
        // SAFETY: the arguments follow their count.
        let argument = CStr(unsafe { *stack.add(1 + i) } as *const u8);
        if let Some(value) = argument.value(b"pid=") {
            job.pid = value.id();
        } else if let Some(value) = argument.value(b"dir=") {
            job.dir = value.id();
        } else if let Some(value) = argument.value(b"log=") {
            log = value.id();
        } else if let Some(value) = argument.value(b"message=") {
            job.message = value.id();
        } else if let Some(value) = argument.value(b"logdir=") {
            limits.dir = value.id();
        } else if let Some(value) = argument.value(b"logname=") {
            limits.name = value;
        } else if let Some(value) = argument.value(b"logsize=") {
            limits.size = value.number();
        } else if let Some(value) = argument.value(b"logfiles=") {
            limits.files = value.number();
        } else if let Some(value) = argument.value(b"out=") {
            job.streams[0].fd = value.id();
        } else if let Some(value) = argument.value(b"tty=") {
            job.streams[0].fd = value.id();
            attach::terminal(value.id());
        } else if let Some(value) = argument.value(b"attach=") {
            attach::listen(value.id());
        } else if let Some(value) = argument.value(b"in=") {
            attach::input(value.id());
        } else if argument.value(b"once=").is_some() {
            attach::once();
        } else if let Some(value) = argument.value(b"err=") {
            job.streams[1].fd = value.id();
        } else if let Some(value) = argument.value(b"started=") {
            job.started = value;
        } else if let Some(value) = argument.value(b"oom=") {
            job.oom = Some(value);
        } else if let Some(_value) = argument.value(b"fault=") {
            #[cfg(faults)]
            fault::steer(_value);
        } else if let (Some(value), Some(slot)) = (argument.value(b"cgroup="), cgroups.next()) {
            *slot = Some(value);
        }
    }
    log::open(log, limits);
    job
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

fn close(fd: i32) {
    // SAFETY: takes a number.
    unsafe { rt::call(nr::CLOSE, [fd as usize, 0, 0, 0, 0]) };
}

fn read(fd: i32, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer is valid for writing.
    unsafe { rt::call(nr::READ, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0]) }
}

/// Opens a file for reading; `path` ends with a zero byte. Negative for an error number.
fn open(path: *const u8) -> isize {
    // SAFETY: the path ends with a zero byte.
    unsafe { rt::call(nr::OPENAT, [AT_FDCWD, path as usize, O_CLOEXEC, 0, 0]) }
}

/// Waits for one of them, at most so many milliseconds; for ever with a negative number.
fn poll(fds: &mut [PollFd], milliseconds: i64) {
    let wait = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
    let wait = if milliseconds < 0 { 0 } else { (&raw const wait) as usize };
    // SAFETY: the list is valid for reading and writing, and so is the time if there is one; no signal mask.
    unsafe { rt::call(nr::PPOLL, [fds.as_mut_ptr() as usize, fds.len(), wait, 0, 8]) };
}

fn sleep_milliseconds(count: i64) {
    let wait = [count / 1000, count % 1000 * 1_000_000];
    // SAFETY: the time is valid; the clock is the monotonic one.
    unsafe { rt::call(nr::CLOCK_NANOSLEEP, [1, 0, (&raw const wait) as usize, 0, 0]) };
}

/// Copies output, and what attached ones write, until the first process of the container has ended; its wait status.
fn watch(job: &mut Job) -> i32 {
    let child = bit(SIGCHLD);
    // SAFETY: the set is valid and eight bytes long.
    let signals =
        unsafe { rt::call(nr::SIGNALFD4, [usize::MAX, (&raw const child) as usize, 8, SFD_CLOEXEC | SFD_NONBLOCK, 0]) }
            as i32;
    let mut waiting = false;
    loop {
        // Before every wait: a child may have ended before the descriptor was there. Orphans of a container in the
        // machine's process namespace end up here too.
        while let Some((pid, status)) = rt::reap() {
            if pid == job.pid {
                return status;
            }
        }
        let mut fds = [PollFd { fd: signals, events: POLLIN, revents: 0 }; 3 + attach::FDS];
        for (stream, fd) in job.streams.iter().zip(&mut fds[1..]) {
            fd.fd = if waiting { -1 } else { stream.fd };
        }
        fds[3..].copy_from_slice(&attach::wanted(waiting));
        poll(&mut fds, if waiting { ROOM_TICK } else { -1 });
        if fds[0].revents != 0 {
            while read(signals, &mut [0; 128]) > 0 {}
        }
        attach::serve(&fds[3..]);
        let spoken = fds[1].revents != 0 || fds[2].revents != 0;
        // What nobody can take yet is not read either: it comes again.
        waiting = (waiting || spoken) && !attach::has_room();
        for (stream, fd) in job.streams.iter_mut().zip(&fds[1..]) {
            if fd.revents != 0 && !waiting {
                stream.pump();
            }
        }
    }
}

/// Reads up to the end, or until the buffer is full.
fn read_all(fd: i32, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while length < buffer.len() {
        match read(fd, &mut buffer[length..]) {
            count if count > 0 => length += count as usize,
            EINTR => {}
            _ => break,
        }
    }
    length
}

/// Reads a small file whole.
fn slurp(path: *const u8, buffer: &mut [u8]) -> usize {
    let fd = open(path);
    if fd < 0 {
        return 0;
    }
    let length = read_all(fd as i32, buffer);
    close(fd as i32);
    length
}

/// Puts the end of the last words where they outlive this process. A disk without room for them has none for their reader.
fn keep_message(job: &Job) {
    let seek = |offset: usize, whence: usize| {
        // SAFETY: takes numbers.
        unsafe { rt::call(nr::LSEEK, [job.message as usize, offset, whence, 0, 0]) }
    };
    let length = seek(0, SEEK_END);
    if length <= 0 {
        return;
    }
    seek((length as usize).saturating_sub(MAX_MESSAGE), SEEK_SET);
    let mut text = [0; MAX_MESSAGE];
    let count = read_all(job.message, &mut text);
    let place = (job.dir as usize, c"termination-log".as_ptr().cast());
    let flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    let fd = effect::create(b"create termination-log", place, flags, PRIVATE);
    if fd >= 0 {
        effect::write(b"write termination-log", fd as usize, &text[..count]);
        effect::sync(b"sync termination-log", fd as usize);
        close(fd as i32);
    }
}

fn first_number(line: &[u8]) -> u64 {
    let digits = line.iter().skip_while(|b| !b.is_ascii_digit()).take_while(|b| b.is_ascii_digit());
    digits.fold(0u64, |n, d| n.wrapping_mul(10).wrapping_add(u64::from(d - b'0')))
}

fn in_cgroup(procs: &Text<256>, pid: u64) -> bool {
    let mut list = [0; 4096];
    let length = slurp(procs.as_ptr(), &mut list);
    list[..length].split(|b| *b == b'\n').any(|l| !l.is_empty() && first_number(l) == pid)
}

/// Kills the processes that one directory of the cgroup lists; whether there were any. By descriptor, opened before the
/// list is read once more: what it names then is in the cgroup, not a newcomer with the same number elsewhere.
fn kill_listed(cgroup: CStr) -> bool {
    let mut procs = Text::<256>::new();
    procs.push(cgroup.bytes()).push(b"/cgroup.procs\0");
    let mut list = [0; 4096];
    let length = slurp(procs.as_ptr(), &mut list);
    let mut any = false;
    for pid in list[..length].split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(first_number).filter(|p| *p > 0) {
        any = true;
        // SAFETY: takes numbers.
        let fd = unsafe { rt::call(nr::PIDFD_OPEN, [pid as usize, 0, 0, 0, 0]) };
        if fd >= 0 {
            if in_cgroup(&procs, pid) {
                effect::kill(b"kill a process", fd as usize);
            }
            close(fd as i32);
        }
    }
    any
}

/// Kills what the first process left behind: in a process namespace of its own nothing, else whatever did not end with it.
fn kill_rest(job: &Job) {
    for _ in 0..TRIES {
        let mut any = false;
        for cgroup in job.cgroups.iter().flatten() {
            any |= kill_listed(*cgroup);
        }
        if !any {
            return;
        }
        sleep_milliseconds(5);
        while rt::reap().is_some() {}
    }
}

/// Whether the kernel counted an OOM kill.
fn oom_counted(job: &Job) -> bool {
    let Some(path) = job.oom else { return false };
    let mut text = [0; 1024];
    let length = slurp(path.0, &mut text);
    text[..length].split(|b| *b == b'\n').any(|l| l.starts_with(b"oom_kill ") && first_number(l) > 0)
}

fn remove_cgroups(job: &Job) {
    for cgroup in job.cgroups.iter().flatten() {
        for _ in 0..TRIES {
            let result = effect::remove(b"rmdir cgroup", (AT_FDCWD, cgroup.0), AT_REMOVEDIR);
            // Cgroups nested in it, or one that stays busy, are left to whoever removes the instance.
            const EBUSY: isize = -16;
            if result != EBUSY {
                break;
            }
            sleep_milliseconds(5);
        }
    }
}

/// How an exit record begins: with the number of its layout.
const RECORD: &[u8] = b"{\"version\":1,\"exitCode\":";

/// The exit record, as `model::ExitRecord` reads it.
fn record(job: &Job, status: i32, oom: bool) -> Text<512> {
    let signal = status & 0x7f;
    let code = if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
    let mut text = Text::new();
    text.push(RECORD).number(code as u64);
    if signal != 0 {
        text.push(b",\"signal\":").number(signal as u64);
    }
    text.push(if oom && code == 137 { b",\"oomKilled\":true" } else { b",\"oomKilled\":false" });
    text.push(b",\"startedAt\":\"").push(job.started.bytes());
    text.push(b"\",\"finishedAt\":\"").push(&time::now()).push(b"\"}\n");
    text
}

/// Writes the record under a temporary name, which the shim has made with room on the disk, and renames it.
fn write_record(dir: i32, record: &[u8]) -> Result<(), isize> {
    let dir = dir as usize;
    let (temporary, name) = (c".exit.json".as_ptr().cast(), c"exit.json".as_ptr().cast());
    let check = |result: isize| if result < 0 { Err(result) } else { Ok(()) };
    let fd = effect::create(b"create .exit.json", (dir, temporary), O_WRONLY | O_CREAT | O_CLOEXEC, PRIVATE);
    check(fd)?;
    let file = fd as usize;
    let written = effect::write(b"write .exit.json", file, record);
    let cut = effect::truncate(b"truncate .exit.json", file, record.len());
    let synced = effect::sync(b"sync .exit.json", file);
    close(fd as i32);
    if written != record.len() as isize {
        return Err(if written < 0 { written } else { EAGAIN });
    }
    check(cut)?;
    check(synced)?;
    check(effect::rename(b"rename exit.json", dir, temporary, name))?;
    check(effect::sync(b"sync its directory", dir))
}

extern "C" fn entry(stack: *const usize) -> ! {
    rt::set_name(b"podwright-mon\0\0\0");
    rt::block_signals();
    // SAFETY: the entry point passes the stack as the kernel has made it.
    let mut job = unsafe { arguments(stack) };
    let status = watch(&mut job);
    kill_rest(&job);
    for stream in &mut job.streams {
        stream.drain(MAX_DRAIN);
    }
    keep_message(&job);
    let oom = oom_counted(&job);
    let record = record(&job, status, oom);
    remove_cgroups(&job);
    let mut wait = FIRST_WAIT;
    for _ in 0..RECORD_TRIES {
        match write_record(job.dir, record.bytes()) {
            // Without its directory the instance was removed, and its record is nobody's business.
            Ok(()) | Err(ENOENT) => rt::exit(0),
            Err(_) => sleep_milliseconds(wait),
        }
        wait = (2 * wait).min(LONGEST_WAIT);
    }
    // The agent finds that nobody watches it, and writes down that nothing is known of its end.
    rt::exit(1)
}
