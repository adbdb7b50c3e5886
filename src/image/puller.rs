//! One pull per image, however many pods wait for it.
//!
//! A pull has a thread of its own, for it blocks on network and disk; nobody who waits for it has to stay, and the agent does
//! not wait for it when it ends: what came so far is gone on with by the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot, watch};

use super::stream::digest_of;
use super::{PullOptions, Store, reference};
use crate::model::{Masked, PullSettings};
use crate::port::{ErrorKind, PortError};

/// Images that are pulled at the same time.
const PARALLEL: usize = 3;
/// So long a registry that was out of reach is not asked again by those who can do without it.
const OUT_OF_REACH: Duration = Duration::from_secs(30);

type Outcome = Option<Result<Duration, PortError>>;

/// Pulls for a store.
#[derive(Debug)]
pub struct Puller {
    store: Arc<Store>,
    settings: PullSettings,
    /// By [`Work::key`].
    at_work: Mutex<BTreeMap<String, watch::Receiver<Outcome>>>,
    places: Semaphore,
    /// Registries that were not reached, and when.
    out_of_reach: Mutex<BTreeMap<String, Instant>>,
}

/// What is to be pulled.
struct Work {
    /// The full reference.
    name: String,
    secrets: Vec<Masked<Vec<u8>>>,
    patience: Option<Duration>,
}

impl Work {
    /// The same for pulls that are equal.
    fn key(&self) -> String {
        let secrets: Vec<String> = self.secrets.iter().map(|secret| digest_of(secret.reveal())).collect();
        format!("{} {}", self.name, secrets.join(" "))
    }
}

/// What waiting for a pull came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// How long the pull itself took.
    pub took: Duration,
    /// How long it was waited for.
    pub waited: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Puller {
    /// A puller with nothing to do.
    pub fn new(store: Arc<Store>, settings: PullSettings) -> Arc<Self> {
        let (at_work, out_of_reach) = (Mutex::default(), Mutex::default());
        Arc::new(Self { store, settings, at_work, places: Semaphore::new(PARALLEL), out_of_reach })
    }

    /// Whether an image that is here is not to do for one that has to be asked for again.
    pub fn is_strict(&self) -> bool {
        self.settings.strict_offline
    }

    /// Whether the registry of an image was out of reach a moment ago.
    pub fn is_out_of_reach(&self, name: &str) -> bool {
        let Ok(parsed) = reference(name) else { return false };
        lock(&self.out_of_reach).get(parsed.registry()).is_some_and(|at| at.elapsed() < OUT_OF_REACH)
    }

    /// Pulls an image, or waits for the pull of it that is under way for somebody with the same `secrets`. `patience` is how
    /// long its registry may take to say what the image is. Needs a runtime.
    ///
    /// # Errors
    /// As [`Store::pull`].
    pub async fn pull(
        self: &Arc<Self>,
        name: &str,
        secrets: &[Masked<Vec<u8>>],
        patience: Option<Duration>,
    ) -> Result<Waited, PortError> {
        let began = Instant::now();
        let parsed = reference(name)?;
        let work = Work { name: parsed.to_string(), secrets: secrets.to_vec(), patience };
        let key = work.key();
        let mut outcome = {
            let mut at_work = lock(&self.at_work);
            match at_work.get(&key) {
                Some(outcome) => outcome.clone(),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    at_work.insert(key.clone(), receiver.clone());
                    tokio::spawn(Arc::clone(self).work(work, parsed.registry().to_owned(), sender));
                    receiver
                }
            }
        };
        let ended = |_| broken(name);
        let done = outcome.wait_for(Option::is_some).await.map_err(ended)?.clone();
        let took = done.ok_or_else(|| broken(name))??;
        Ok(Waited { took, waited: began.elapsed() })
    }

    async fn work(self: Arc<Self>, work: Work, registry: String, sender: watch::Sender<Outcome>) {
        let permit = self.places.acquire().await;
        let (tell, told) = oneshot::channel();
        let (key, name, puller) = (work.key(), work.name.clone(), Arc::clone(&self));
        let thread = std::thread::Builder::new().name("pull".to_owned()).spawn(move || {
            let began = Instant::now();
            let Work { name, secrets, patience } = &work;
            let options = PullOptions { settings: &puller.settings, secrets, patience: *patience, tell: &|_| () };
            let outcome = puller.store.pull(name, options).map(|_| began.elapsed());
            // Nobody listens when the agent ends.
            let _ = tell.send(outcome);
        });
        let outcome = match thread {
            Ok(_) => told.await.unwrap_or_else(|_| Err(broken(&name))),
            Err(error) => Err(PortError::io("pull image", name, &error).waiting("ErrImagePull")),
        };
        drop(permit);
        let mut out_of_reach = lock(&self.out_of_reach);
        if outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable) {
            out_of_reach.retain(|_, at| at.elapsed() < OUT_OF_REACH);
            out_of_reach.insert(registry, Instant::now());
        } else {
            out_of_reach.remove(&registry);
        }
        drop(out_of_reach);
        // Whoever comes from now on begins anew.
        lock(&self.at_work).remove(&key);
        sender.send_replace(Some(outcome));
    }
}

fn broken(name: &str) -> PortError {
    let message = "the pull ended without a result";
    PortError::new(ErrorKind::Internal, "pull image", name, message).waiting("ErrImagePull")
}
