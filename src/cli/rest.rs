//! What the agent does when nothing has happened for a while, or something all the time: it gives back memory.

use std::time::Duration;

use crate::sys::resident;

/// How often is looked. Nothing may have happened in between: otherwise a row of changes would pay for it each time.
const QUIET: Duration = Duration::from_secs(5);
/// For so many looks a row of changes puts it off: a minute.
const LATE: u32 = 12;
/// Faults since the last time that are worth it: some hundred kB, for the kernel maps several pages of a file at once.
const WORTH: u64 = 64;
/// Pages that are taken by looking, and by what waits.
const NOTHING: u64 = 8;

/// Gives memory back after each row of changes, requests, or rounds in which all pods are looked at. Never ends.
pub async fn give_back_when_quiet() {
    let (mut given, mut last, mut due) = (0_u64, 0, 0);
    loop {
        tokio::time::sleep(QUIET).await;
        let taken = resident::taken();
        due = if taken.saturating_sub(given) >= WORTH { due + 1 } else { 0 };
        let is_quiet = taken.saturating_sub(last) <= NOTHING;
        if due > 0 && (is_quiet || due > LATE) {
            resident::give_back();
            (given, due) = (resident::taken(), 0);
        }
        last = resident::taken();
    }
}
