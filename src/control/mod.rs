//! Floor 5: the control loop, over ports only.
//!
//! Who runs, what goes in and what comes out:
//!
//! - [`run`]: the one loop over a closed set of events. In: hints of the source, the resync, changes of pods, the end.
//!   Each round it reads the revision, admits it, saves the ledger, plans the fleet and hands targets to the kubelet.
//!   A pod that ends or goes while another one waits for room has the fleet planned again, without the rest of a round.
//!   Out: a [`Progress`] and a `Projection` on watch channels, and the status document.
//! - [`Kubelet`]: makes a backend of pods out of a backend of containers.
//!   - *a worker per pod*. In: the newest target, hints, `wake_at`. It observes the pod, plans, performs the steps in
//!     order and begins anew until a plan has no steps. Out: what it saw, why containers wait, events and actions.
//!   - *a task per probe*, where there are any. In: the plan says which. It asks its container and counts the answers. Out:
//!     events, and the worker is woken when what counts is another.
//!   - *a task that measures volumes*, where some have a limit. Out: what they take, for the worker.
//!   - *a task that looks at the machine*, where there are thresholds. Out: what it is low on, for the plans of all workers; an
//!     order to evict, for one of them.
//!   - *the fan-out*. In: hints of the backend. Out: the worker of that pod is woken.
//!   - *the resync*. Wakes every worker, which repairs a lost hint.
//! - [`remove_pods`]: for `delete` and `down`: targets "no such pod" and waits until they are gone.
//!
//! No decision is made here: which pods and which steps is said by `plan`, what people read by `report`.

mod agent;
mod event;
mod kubelet;
mod often;
mod progress;
mod publish;
mod remove;
mod room;
mod round;
mod tokens;

pub use agent::{Agent, Parts, run};
pub use kubelet::{FleetState, Kubelet, KubeletParts, PodState};
pub use progress::{PodProgress, PodStanding, Progress, Verdict};
pub use remove::{Removed, remove_pods};
pub use round::{Blocking, Parse, on_a_thread};
