//! The images of a pod's containers that are being made present: a task for each, so that the worker goes on meanwhile. A long
//! pull keeps no other container of the pod from being restarted, nor from being killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use crate::model::{Hold, HoldKind, ImageNeed, ObservedPod, PodAction, PodPlan, PodStep};
use crate::port::{ErrorKind, ImageStatus, PortError};
use crate::report::{pulling_event, volume_image_events};

type Outcome = Option<Result<ImageStatus, PortError>>;

/// A container, and the volume of it that shows the image, if that is not the one it is made of.
type Place = (String, Option<String>);

#[derive(Default)]
pub(super) struct Pulls {
    tasks: BTreeMap<Place, Task>,
}

fn place(need: &ImageNeed) -> Place {
    (need.container.clone(), need.volume.clone())
}

struct Task {
    need: ImageNeed,
    outcome: Arc<Mutex<Outcome>>,
    /// Something is being pulled: it may take long.
    is_long: Arc<Notify>,
    /// Who does not want it any more leaves it. The pull itself is the backend's.
    handle: AbortOnDropHandle<()>,
}

/// The end of a task, however it comes. Wakes the worker.
struct End {
    image: String,
    outcome: Arc<Mutex<Outcome>>,
    bell: Arc<Notify>,
}

impl Drop for End {
    fn drop(&mut self) {
        let panicked =
            || PortError::new(ErrorKind::Internal, "use image", &self.image, "the pull ended without a result");
        lock(&self.outcome).get_or_insert_with(|| Err(panicked().waiting("ErrImagePull")));
        self.bell.notify_one();
    }
}

impl Pulls {
    /// Which image is being made present, by container: it needs one after the other.
    pub(super) fn states(&self) -> BTreeMap<String, String> {
        let under_way = self.tasks.values().filter(|task| lock(&task.outcome).is_none());
        under_way.map(|task| (task.need.container.clone(), task.need.image.clone())).collect()
    }

    /// Leaves those that a plan does not want any more. What one came to is kept for a container that waits for others.
    pub(super) fn follow(&mut self, plan: &PodPlan) {
        let waits = |container: &String| plan.held.contains(container) || plan.waiting.contains_key(container);
        self.tasks.retain(|own, task| {
            let (container, _) = own;
            let is_step = |step: &PodStep| matches!(&step.action, PodAction::EnsureImage(need) if place(need) == *own);
            let is_hold = |hold: &Hold| hold.kind == HoldKind::Pulling && hold.container == *container;
            plan.steps.iter().any(is_step)
                || plan.holds.iter().any(is_hold)
                || (waits(container) && lock(&task.outcome).is_some())
        });
    }

    /// Makes an image present, or waits for the task that does. `None` when it goes on by itself, since it takes long, the worker
    /// has something else to do, or it is `due`.
    pub(super) async fn ensure(
        &mut self,
        need: &ImageNeed,
        (shared, bell): (&Arc<Shared>, &Arc<Notify>),
        observed: Option<&Arc<ObservedPod>>,
        due: Option<Timestamp>,
    ) -> Outcome {
        let own = place(need);
        let is_same = self.tasks.get(&own).is_some_and(|task| task.need == *need);
        if !is_same {
            let task = begin(need.clone(), (shared, bell), observed.cloned());
            self.tasks.insert(own.clone(), task);
        }
        let task = self.tasks.get_mut(&own)?;
        if lock(&task.outcome).is_none() {
            // Cancel-safe: a task that is not waited for goes on, and a ring that is taken here is followed by a round.
            tokio::select! {
                biased;
                _ = &mut task.handle => {}
                () = task.is_long.notified() => {}
                () = shared.cancel.cancelled() => {}
                () = bell.notified() => {}
                () = shared.sleep_until(due) => {}
            }
        }
        // What a volume shows is here until the container starts: the image that comes after it may take another round.
        let is_kept = need.volume.is_some() && matches!(&*lock(&task.outcome), Some(Ok(_)));
        if is_kept {
            return lock(&task.outcome).clone();
        }
        let outcome = lock(&task.outcome).take()?;
        self.tasks.remove(&own);
        Some(outcome)
    }

    /// A container is started with what was made present for it: the next instance asks anew.
    pub(super) fn used(&mut self, container: &str) {
        self.tasks.retain(|(own, _), _| own != container);
    }
}

fn lock(outcome: &Mutex<Outcome>) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(need: ImageNeed, (shared, bell): (&Arc<Shared>, &Arc<Notify>), observed: Option<Arc<ObservedPod>>) -> Task {
    let (outcome, is_long) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
    let end = End { image: need.image.clone(), outcome: Arc::clone(&outcome), bell: Arc::clone(bell) };
    let (shared, asked, tells) = (Arc::clone(shared), need.clone(), Arc::clone(&is_long));
    let work = async move {
        let pulling = || {
            tell(&shared, observed.as_deref(), &asked);
            tells.notify_one();
        };
        let result = shared.parts.backend.ensure_image(&asked, &pulling).await;
        if let (Some(pod), Some(_), Ok(status)) = (observed.as_deref(), &asked.volume, &result) {
            let events = volume_image_events(pod, &asked.image, &status.source, shared.now());
            shared.lock().history.tell(events);
            shared.announce();
        }
        *lock(&end.outcome) = Some(result);
        drop(end);
    };
    Task { need, outcome, is_long, handle: AbortOnDropHandle::new(tokio::spawn(work)) }
}

/// The kubelet's event, when a pull begins.
fn tell(shared: &Shared, pod: Option<&ObservedPod>, need: &ImageNeed) {
    let Some(pod) = pod else { return };
    // What a volume shows is the pod's.
    let container = need.volume.is_none().then_some(need.container.as_str());
    let event = pulling_event(pod, container, &need.image, shared.now());
    shared.lock().history.tell(vec![event]);
    shared.announce();
}
