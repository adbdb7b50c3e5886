//! What the agent does when nothing has changed for a while: it gives back memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::Projection;
use crate::sys::resident;

/// How long nothing may have changed: shorter, and a row of changes would pay for it each time.
const QUIET: Duration = Duration::from_secs(5);

/// Gives memory back once after each row of changes. Ends with the projections.
pub async fn give_back_when_quiet(mut projections: watch::Receiver<Arc<Projection>>) {
    loop {
        while let Ok(changed) = tokio::time::timeout(QUIET, projections.changed()).await {
            if changed.is_err() {
                return;
            }
        }
        resident::give_back();
        if projections.changed().await.is_err() {
            return;
        }
    }
}
