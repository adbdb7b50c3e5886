//! Watching: what happens in the directory and to git's refs, condensed to hints.
//!
//! notify calls back on a thread of its own; that only looks at the event and, if it matters, rings. A second thread
//! waits for the ring, watches what is new, and puts one hint into a channel that holds one. A hint says "look again" and
//! nothing else; one that is lost is repaired by the next resync.
//!
//! Where a commit is read, another one is there as a whole the moment its reference is: that is hinted at once. Files on
//! disk change one by one, so there the commotion is let end first; and so it is amid a rebase, whose revisions are not
//! meant to stay.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind, RemoveKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Directory;
use super::directory::Places;
use super::watched::{Interest, Matter, Targets};
use crate::port::{ErrorKind, PortError};

/// How long it is quiet before a hint is given of what changes bit by bit.
pub const DEBOUNCE: Duration = Duration::from_millis(150);

/// However busy it is, a hint is given after this long: a change is seen within a second.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

const OPERATION: &str = "watch";

/// A running watch; dropping it ends it.
pub struct Watch {
    bell: std_mpsc::SyncSender<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the two threads share.
struct Shared {
    interest: Mutex<Interest>,
    /// A watched directory was removed or moved, so that its watch is gone though its path may be back; or what leads to those
    /// that are to be watched has changed.
    moved: AtomicBool,
    /// A revision is there as a whole.
    at_once: AtomicBool,
}

impl Watch {
    /// Watches a directory: git's refs, and the files where they are read from disk. Start it before the first read.
    /// Its end, whatever ended it, closes the channel.
    ///
    /// # Errors
    /// When the system gives no watch; the caller then relies on its resync alone.
    pub fn start(directory: &Directory, debounce: Duration) -> Result<(Self, mpsc::Receiver<()>), PortError> {
        let subject = directory.path().display().to_string();
        let (bell, rings) = std_mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            interest: Mutex::default(),
            moved: AtomicBool::new(false),
            at_once: AtomicBool::new(false),
        });
        let handler = {
            let (shared, bell) = (Arc::clone(&shared), bell.clone());
            // A full channel means that the other thread will look anyway.
            move |event| {
                if let Some(matter) = matters(&shared, event) {
                    shared.at_once.fetch_or(matter == Matter::AtOnce, Ordering::AcqRel);
                    let _ = bell.try_send(());
                }
            }
        };
        let watcher = notify::recommended_watcher(handler).map_err(|e| refused(&subject, &e))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (hint, hints) = mpsc::channel(1);
        let mut hand = Hand { directory: directory.clone(), watcher, shared, hint, places: None, complained: false };
        hand.arm(false).map_err(|e| refused(&subject, &e))?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || hand.run(&rings, &stopped, debounce))
            .map_err(|e| PortError::io(OPERATION, subject, &e))?;
        Ok((Self { bell, stop, thread: Some(thread) }, hints))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.bell.try_send(());
        if let Some(thread) = self.thread.take() {
            // A panic over there was reported by its own hook.
            let _ = thread.join();
        }
    }
}

/// How an event can mean that there is something new to read. Runs on notify's thread and must not block it.
fn matters(shared: &Shared, event: notify::Result<Event>) -> Option<Matter> {
    let Ok(event) = event else { return Some(Matter::OnceQuiet) };
    if matches!(event.kind, EventKind::Access(_)) {
        return None;
    }
    if event.need_rescan() {
        shared.moved.store(true, Ordering::Release);
        return Some(Matter::OnceQuiet);
    }
    let interest = shared.interest.lock().unwrap_or_else(PoisonError::into_inner);
    let away = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    let folder = event.kind == EventKind::Remove(RemoveKind::Folder);
    let mut matters = None;
    for path in &event.paths {
        if away && interest.is_watched(path) {
            shared.moved.store(true, Ordering::Release);
            matters = matters.max(Some(Matter::OnceQuiet));
        }
        if interest.leads(path) {
            shared.moved.store(true, Ordering::Release);
        }
        matters = matters.max(interest.cares_for(path, folder));
    }
    matters
}

/// The thread that does the work.
struct Hand {
    directory: Directory,
    watcher: RecommendedWatcher,
    shared: Arc<Shared>,
    hint: mpsc::Sender<()>,
    /// Where git was found last. To look for it takes as long as to read a revision, so that another revision alone is no
    /// reason to do so.
    places: Option<Places>,
    /// Whether a failure to watch was logged; once is enough, the resync goes on.
    complained: bool,
}

impl Hand {
    fn run(mut self, rings: &std_mpsc::Receiver<()>, stop: &AtomicBool, debounce: Duration) {
        while rings.recv().is_ok() {
            let deadline = Instant::now() + LONGEST_WAIT.max(debounce);
            let mut is_whole = self.is_whole();
            while !stop.load(Ordering::Acquire) && !is_whole {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || rings.recv_timeout(left.min(debounce)).is_err() {
                    break;
                }
                is_whole = self.is_whole();
            }
            if stop.load(Ordering::Acquire) || self.hint.is_closed() {
                return;
            }
            if is_whole {
                self.hint();
            }
            // Watching before hinting: what changes after the reader looked is seen. What was not watched when it was hinted at
            // a whole revision is hinted at once more.
            let is_new = self.arm(is_whole).unwrap_or_else(|error| {
                if !std::mem::replace(&mut self.complained, true) {
                    let error = refused(&self.directory.path().display().to_string(), &error);
                    tracing::warn!("{error}");
                }
                true
            });
            if is_new || !is_whole {
                self.hint();
            }
        }
    }

    /// A full channel holds a hint that nobody has taken yet, which does as well.
    fn hint(&self) {
        let _ = self.hint.try_send(());
    }

    /// Whether another revision is there as a whole, and is one that somebody wants; asked once for each.
    fn is_whole(&self) -> bool {
        let is_amid = || self.shared.interest.lock().unwrap_or_else(PoisonError::into_inner).is_amid();
        self.shared.at_once.swap(false, Ordering::AcqRel) && !is_amid()
    }

    /// Watches everything that should be watched now and nothing else. Whether there is anything new among it. `is_whole` is
    /// as in [`Self::is_whole`].
    fn arm(&mut self, is_whole: bool) -> notify::Result<bool> {
        let again = self.shared.moved.swap(false, Ordering::AcqRel);
        if again || !is_whole || self.places.is_none() {
            self.places = self.directory.inner.places();
        }
        let targets = Targets::of(&self.directory, self.places.as_ref());
        let wanted = targets.directories();
        let old = {
            let mut interest = self.shared.interest.lock().unwrap_or_else(PoisonError::into_inner);
            interest.replace(targets)
        };
        for path in old.difference(&wanted) {
            // Gone with its directory, most of the time.
            let _ = self.watcher.unwatch(path);
        }
        let mut failed = None;
        let new: Vec<&PathBuf> = wanted.iter().filter(|p| again || !old.contains(*p)).collect();
        let is_new = !new.is_empty();
        for path in new {
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // It went away in between; its parent is watched and says so.
                Err(error) if is_gone(&error) => self.shared.moved.store(true, Ordering::Release),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(is_new), Err)
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn refused(subject: &str, error: &notify::Error) -> PortError {
    use std::io::ErrorKind as Io;
    let limit = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            matches!(error.kind(), Io::StorageFull | Io::QuotaExceeded) || error.raw_os_error() == Some(24)
        }
        _ => false,
    };
    let kind = if limit { ErrorKind::Exhausted } else { ErrorKind::Unavailable };
    let new = PortError::new(kind, OPERATION, subject, error.to_string());
    if limit {
        new.with_help("changes are found by the resync only; raise fs.inotify.max_user_watches and max_user_instances")
    } else {
        new.with_help("changes are found by the resync only")
    }
}
