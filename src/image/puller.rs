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
/// Images of which registries are asked at the same time whether there is another one by now.
const ASKING: usize = 8;
/// So long a registry that was out of reach is not asked again by those who can do without it.
const OUT_OF_REACH: Duration = Duration::from_secs(30);

const OPERATION: &str = "pull image";

type Outcome = Option<Result<Duration, PortError>>;

/// Pulls for a store.
#[derive(Debug)]
pub struct Puller {
    store: Arc<Store>,
    settings: PullSettings,
    /// By [`Work::key`].
    at_work: Mutex<BTreeMap<String, watch::Receiver<Outcome>>>,
    /// Those who download.
    places: Semaphore,
    /// Those who have an image and ask whether there is another one by now.
    asking: Semaphore,
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
        Arc::new(Self {
            store,
            settings,
            at_work,
            places: Semaphore::new(PARALLEL),
            asking: Semaphore::new(ASKING),
            out_of_reach,
        })
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
        let key = work.key();
        let outcome = self.outcome(Arc::new(work), &registry).await;
        let mut out_of_reach = lock(&self.out_of_reach);
        if outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable) {
            out_of_reach.retain(|_, at| at.elapsed() < OUT_OF_REACH);
            out_of_reach.entry(registry).or_insert_with(Instant::now);
        } else {
            out_of_reach.remove(&registry);
        }
        drop(out_of_reach);
        // Whoever comes from now on begins anew.
        lock(&self.at_work).remove(&key);
        sender.send_replace(Some(outcome));
    }

    async fn outcome(self: &Arc<Self>, work: Arc<Work>, registry: &str) -> Result<Duration, PortError> {
        if work.patience.is_some() {
            // Who has the image already waits for nobody's download to hear that there is no other one.
            let _turn = self.asking.acquire().await;
            if lock(&self.out_of_reach).get(registry).is_some_and(|at| at.elapsed() < OUT_OF_REACH) {
                let message = "its registry was out of reach a moment ago";
                return Err(
                    PortError::new(ErrorKind::Unavailable, OPERATION, &work.name, message).waiting("ErrImagePull")
                );
            }
            let asked = self.on_thread(&work, |store, name, options| store.is_current(name, options)).await?;
            if asked.0 {
                return Ok(asked.1);
            }
        }
        let _place = self.places.acquire().await;
        self.on_thread(&work, |store, name, options| store.pull(name, options)).await.map(|(_, took)| took)
    }

    /// Work with a registry on a thread of its own, and how long it took.
    async fn on_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: &Arc<Work>,
        of: impl FnOnce(&Store, &str, PullOptions<'_>) -> Result<T, PortError> + Send + 'static,
    ) -> Result<(T, Duration), PortError> {
        let (tell, told) = oneshot::channel();
        let (puller, shared) = (Arc::clone(self), Arc::clone(work));
        let thread = std::thread::Builder::new().name("pull".to_owned()).spawn(move || {
            let began = Instant::now();
            let Work { name, secrets, patience } = &*shared;
            let options = PullOptions { settings: &puller.settings, secrets, patience: *patience, tell: &|_| () };
            let outcome = of(&puller.store, name, options).map(|value| (value, began.elapsed()));
            // Nobody listens when the agent ends.
            let _ = tell.send(outcome);
        });
        match thread {
            Ok(_) => told.await.unwrap_or_else(|_| Err(broken(&work.name))),
            Err(error) => Err(PortError::io(OPERATION, work.name.clone(), &error).waiting("ErrImagePull")),
        }
    }
}

fn broken(name: &str) -> PortError {
    let message = "the pull ended without a result";
    PortError::new(ErrorKind::Internal, OPERATION, name, message).waiting("ErrImagePull")
}
