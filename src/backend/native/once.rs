//! Work that is done once, whoever asks for it.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::joined;
use crate::port::PortError;

/// Whether it is done, and whom it keeps waiting.
#[derive(Clone, Debug, Default)]
pub(super) struct Once(Arc<OnceCell<()>>);

impl Once {
    /// Does the work unless it is done, or waits for whoever does it. It goes on to its end even if the caller goes away; after
    /// an error the next one who asks tries again.
    ///
    /// # Errors
    ///
    /// The work's own.
    pub(super) async fn done<F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<(), PortError>
    where
        F: Future<Output = Result<(), PortError>> + Send,
    {
        if self.0.initialized() {
            return Ok(());
        }
        let cell = self.0.clone();
        joined(tokio::spawn(async move { cell.get_or_try_init(work).await.copied() })).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::port::ErrorKind;

    #[tokio::test]
    async fn work_is_done_once_and_to_its_end_when_who_asked_first_goes_away() {
        let (once, begun, gate) = (Once::default(), Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || {
            let (once, begun, gate) = (once.clone(), begun.clone(), gate.clone());
            tokio::spawn(async move {
                let work = async move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                };
                once.done(work).await
            })
        };
        let first = ask();
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let second = ask();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        gate.add_permits(1);
        second.await.unwrap().unwrap();
        ask().await.unwrap().unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again() {
        let once = Once::default();
        let refused = || async { Err(PortError::new(ErrorKind::Internal, "try", "it", "not yet")) };
        assert_eq!(once.done(refused).await.unwrap_err().operation, "try");
        once.done(|| async { Ok(()) }).await.unwrap();
        once.done(refused).await.unwrap();
    }
}
