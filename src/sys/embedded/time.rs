//! The time of day as RFC 3339 writes it.

use crate::rt::{self, nr};

/// Such as `2026-01-02T03:04:05.123456789Z`.
pub const LENGTH: usize = 30;

fn put(to: &mut [u8], mut number: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01. The calendar repeats every 400 years, and is regular when the
/// year begins in March.
fn date(days: u64) -> (u64, u64, u64) {
    let from_march_0000 = days + 719_468;
    let (era, day) = (from_march_0000 / 146_097, from_march_0000 % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Now.
pub fn now() -> [u8; LENGTH] {
    let mut now = [0u64; 2];
    // SAFETY: the time is valid for writing; the clock is the real-time one.
    unsafe { rt::call(nr::CLOCK_GETTIME, [0, now.as_mut_ptr() as usize, 0, 0, 0]) };
    let [seconds, nanoseconds] = now;
    let (year, month, day) = date(seconds / 86_400);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], seconds / 3600 % 24);
    put(&mut text[14..16], seconds / 60 % 60);
    put(&mut text[17..19], seconds % 60);
    put(&mut text[20..29], nanoseconds);
    text
}
