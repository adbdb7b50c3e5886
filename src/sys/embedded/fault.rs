//! The fault points of a monitor, in builds for tests alone. What a test asks for and how is in src/sys/effect/fault.rs; the
//! shim hands on what is for monitors as `fault=<what>:<file>`.

use crate::out::Text;
use crate::rt::{self, nr};
use crate::{AT_FDCWD, CStr, O_CLOEXEC, O_CREAT, close, read_all};

const O_RDWR: usize = 2;
const O_APPEND: usize = 0o2000;
const LOCK_EX: usize = 2;
/// Bytes of the file with the points, which are some tens.
const MOST: usize = 16 << 10;
/// What a shell tells of a process that was killed.
const KILLED: usize = 137;

#[derive(Clone, Copy, PartialEq)]
enum What {
    Record,
    Kill,
    Fail,
    Refuse,
}

#[derive(Clone, Copy)]
struct Steering {
    what: What,
    /// Of how many points one takes part, and which.
    sample: (u64, u64),
    /// Numbers with commas between.
    errors: &'static [u8],
    file: *const u8,
}

// One thread.
static mut STEERING: Option<Steering> = None;
static mut POINTS: [u8; MOST] = [0; MOST];

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |n, d| n * 10 + u64::from(d.wrapping_sub(b'0')))
}

/// Takes what was asked for.
pub fn steer(value: CStr) {
    let mut parts = value.bytes().splitn(2, |b| *b == b':');
    let (Some(what), Some(mut rest)) = (parts.next(), parts.next()) else { return };
    let mut words = what.splitn(2, |b| *b == b'%');
    let what = match words.next() {
        Some(b"record") => What::Record,
        Some(b"kill") => What::Kill,
        Some(b"fail") => What::Fail,
        Some(b"refuse") => What::Refuse,
        _ => return,
    };
    let mut sample = words.next().unwrap_or(b"1").splitn(2, |b| *b == b'+').map(number);
    let sample = (sample.next().unwrap_or(1).max(1), sample.next().unwrap_or(0));
    let mut errors: &[u8] = b"";
    if matches!(what, What::Fail | What::Refuse) {
        let Some(at) = rest.iter().position(|b| *b == b':') else { return };
        (errors, rest) = (&rest[..at], &rest[at + 1..]);
    }
    // SAFETY: one thread; the rest of the argument ends where that does.
    unsafe { STEERING = Some(Steering { what, sample, errors, file: rest.as_ptr() }) };
}

/// What a point's name and place are told apart by: FNV-1a.
fn sum(point: &[u8]) -> u64 {
    point.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Adds the point to the file unless it is there; how many there were before it if it was not.
fn note(steering: &Steering, line: &[u8]) -> Option<usize> {
    let flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC;
    // SAFETY: the path ends with a zero byte.
    let fd = unsafe { rt::call(nr::OPENAT, [AT_FDCWD, steering.file as usize, flags, 0o600, 0]) };
    if fd < 0 {
        rt::exit(KILLED);
    }
    // SAFETY: takes numbers. The lock goes with the descriptor.
    unsafe { rt::call(nr::FLOCK, [fd as usize, LOCK_EX, 0, 0, 0]) };
    // SAFETY: one thread, and nobody else has the buffer.
    let points = unsafe { &mut *(&raw mut POINTS) };
    let length = read_all(fd as i32, points);
    let known = points[..length].split(|b| *b == b'\n').any(|known| known == &line[..line.len() - 1]);
    if !known && steering.what != What::Refuse {
        // SAFETY: the line is valid for reading.
        unsafe { rt::call(nr::WRITE, [fd as usize, line.as_ptr() as usize, line.len(), 0, 0]) };
    }
    close(fd as i32);
    (!known).then(|| points[..length].iter().filter(|b| **b == b'\n').count())
}

fn pass(when: &[u8], point: &[u8]) -> isize {
    // SAFETY: one thread.
    let Some(steering) = (unsafe { STEERING }) else { return 0 };
    let mut line = Text::<128>::new();
    line.push(when).push(point);
    if sum(line.bytes()) % steering.sample.0 != steering.sample.1 {
        return 0;
    }
    line.push(b"\n");
    let Some(before) = note(&steering, line.bytes()) else { return 0 };
    match steering.what {
        What::Record => 0,
        // Nothing is done any more, as of a process that was killed.
        What::Kill => rt::exit(KILLED),
        What::Fail | What::Refuse => {
            let count = steering.errors.split(|b| *b == b',').count();
            let error = steering.errors.split(|b| *b == b',').nth(before % count);
            -(error.map_or(0, number) as isize)
        }
    }
}

/// Zero, or the negative number of the error that the effect is to have had.
pub fn before(point: &[u8]) -> isize {
    pass(b"before ", point)
}

pub fn after(point: &[u8]) {
    // SAFETY: one thread.
    if unsafe { STEERING }.is_some_and(|s| !matches!(s.what, What::Fail | What::Refuse)) {
        pass(b"after ", point);
    }
}
