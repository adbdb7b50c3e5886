//! Keeps what is published in files, beside the loop, and spares the flash they may be on: what changes is written when the rules
//! of its file say, and once more at the end.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::Projection;
use crate::port::PortError;

/// Work that blocks and writes the file.
pub type Write = Box<dyn FnOnce() -> Result<(), PortError> + Send>;

/// The rules of a file.
pub trait Kept: Send {
    /// What follows for people when it cannot be written.
    const LACK: &str;

    /// When to write; `None` when the file has it all. Changes that keep coming do not put it off.
    fn due(&mut self, projection: &Projection, now: Instant) -> Option<Instant>;

    /// How to write it, which counts as done then; `None` when there is nothing to write. `is_last` at the end.
    fn write(&mut self, projection: &Projection, is_last: bool) -> Option<Write>;
}

/// Writes the file whenever it is due, and once more at the end.
pub async fn keep(mut kept: impl Kept, mut projections: watch::Receiver<Arc<Projection>>, end: CancellationToken) {
    let mut complained = false;
    loop {
        let due = Some(projections.borrow_and_update())
            .filter(|projection| is_known(projection))
            .and_then(|projection| kept.due(&projection, Instant::now()));
        // Cancel-safe: what is not written now is written at the next turn or at the end.
        tokio::select! {
            () = end.cancelled() => break,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                let current = projections.borrow().clone();
                save(&mut kept, (&current, false), &mut complained).await;
            }
            changed = projections.changed() => if changed.is_err() { break },
        }
    }
    let last = projections.borrow().clone();
    save(&mut kept, (&last, true), &mut complained).await;
}

/// Nothing is known before the first round: what an agent before has written is better than that.
fn is_known(projection: &Projection) -> bool {
    projection.resource_version > 0
}

async fn save<K: Kept>(kept: &mut K, (projection, is_last): (&Projection, bool), complained: &mut bool) {
    if !is_known(projection) {
        return;
    }
    let Some(write) = kept.write(projection, is_last) else { return };
    let failure = match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    // Said once: a full disk fails at every change.
    if let Some(failure) = &failure
        && !*complained
    {
        tracing::warn!("{failure}; {}", K::LACK);
    }
    *complained = failure.is_some();
}
