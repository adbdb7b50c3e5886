//! Hints: one task per live monitor and infra process waits for its end and says which pod to look at.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::model::{PodKey, PodUid};
use crate::port::Hint;
use crate::sys::pidfd;

/// Hints that wait to be taken; a full channel loses the next one, and the relist repairs it.
const CAPACITY: usize = 256;

/// Who listens, and what is watched.
#[derive(Debug, Default)]
pub(super) struct Hub {
    senders: Mutex<Vec<mpsc::Sender<Hint>>>,
    /// By pod and process; a process that has ended is taken out before its number can be another's.
    watched: Mutex<BTreeMap<(PodUid, i32), AbortHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A new listener.
    pub(super) fn listen(&self) -> mpsc::Receiver<Hint> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        lock(&self.senders).push(sender);
        receiver
    }

    /// Tells every listener; those that are gone are forgotten.
    pub(super) fn tell(&self, key: &PodKey) {
        lock(&self.senders).retain(|sender| match sender.try_send(Hint(key.clone())) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }

    /// Whether a process of a pod is watched.
    pub(super) fn watches(&self, uid: &PodUid, pid: i32) -> bool {
        lock(&self.watched).contains_key(&(uid.clone(), pid))
    }

    /// Waits for the end of a process in a task of its own. Needs a runtime.
    pub(super) fn watch(self: &Arc<Self>, key: &PodKey, uid: &PodUid, pid: i32, fd: OwnedFd) {
        let mut watched = lock(&self.watched);
        if watched.contains_key(&(uid.clone(), pid)) {
            return;
        }
        let (hub, key, id) = (Arc::clone(self), key.clone(), (uid.clone(), pid));
        let task = tokio::spawn(async move {
            if let Err(error) = pidfd::wait_exited(&fd).await {
                tracing::warn!(pod = %key, pid = id.1, %error, "its end will only be seen at the next full look");
            }
            // Our own child, if it is one, is not to stay a zombie.
            if let Err(error) = pidfd::reap(&fd) {
                tracing::debug!(pod = %key, pid = id.1, %error, "cannot reap");
            }
            lock(&hub.watched).remove(&id);
            hub.tell(&key);
        });
        watched.insert((uid.clone(), pid), task.abort_handle());
    }

    /// Ends every watch.
    pub(super) fn close(&self) {
        for task in std::mem::take(&mut *lock(&self.watched)).into_values() {
            task.abort();
        }
    }
}
