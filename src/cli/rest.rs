//! What the agent does when nothing has happened for a while: it gives back memory.

use std::time::Duration;

use crate::sys::resident;

/// How often is looked. Nothing may have happened in between: otherwise a row of changes would pay for it each time.
const QUIET: Duration = Duration::from_secs(5);
/// Pages taken since the last time that are worth it: some hundred kB, for the kernel maps up to sixteen of a file at once.
const WORTH: u64 = 64;
/// Pages that are taken by looking, and by what waits.
const NOTHING: u64 = 8;

/// Gives memory back after each row of changes, requests, or rounds in which all pods are looked at. Never ends.
pub async fn give_back_when_quiet() {
    let (mut given, mut last) = (0, 0);
    loop {
        tokio::time::sleep(QUIET).await;
        let taken = resident::taken();
        if taken - last <= NOTHING && taken - given >= WORTH {
            resident::give_back();
            given = resident::taken();
        }
        last = resident::taken();
    }
}
