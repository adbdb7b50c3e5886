//! A plan in the making.

use jiff::Timestamp;

use super::pairs::{Act, Why};
use crate::model::{Hold, HoldKind, PodAction, PodPlan, PodStep, Reason};

/// Collects steps, holds and waiting reasons.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) plan: PodPlan,
}

impl Draft {
    pub(super) fn step(&mut self, action: PodAction, reason: Reason) {
        debug_assert!(Act::of(&action).is_for(&reason), "{:?} for {:?}", Act::of(&action), Why::of(&reason));
        self.plan.steps.push(PodStep { action, reason });
    }

    /// Something that keeps the pod from where it should be; with `until` the plan is made anew then at the latest.
    pub(super) fn hold(&mut self, container: &str, reason: &str, message: &str, until: Option<Timestamp>) {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.holds(Hold { kind: HoldKind::Waiting, container: container.to_owned(), reason, message, until });
    }

    /// A container that was told to stop and has not ended.
    pub(super) fn stopping(&mut self, container: &str, message: &str, until: Option<Timestamp>) {
        let (reason, message) = ("Terminating".to_owned(), message.to_owned());
        self.holds(Hold { kind: HoldKind::Stopping, container: container.to_owned(), reason, message, until });
    }

    /// A container whose image is being pulled.
    pub(super) fn pulling(&mut self, container: &str, image: &str) {
        let (reason, message) = ("Pulling".to_owned(), format!("image {image:?} is being pulled"));
        self.holds(Hold { kind: HoldKind::Pulling, container: container.to_owned(), reason, message, until: None });
    }

    fn holds(&mut self, hold: Hold) {
        if let Some(until) = hold.until {
            self.wake(until);
        }
        self.plan.holds.push(hold);
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// A container whose turn to be started comes after that of others.
    pub(super) fn held(&mut self, container: &str) {
        self.plan.held.insert(container.to_owned());
    }

    /// Why a container has no running instance.
    pub(super) fn waiting(&mut self, container: &str, reason: &str, message: &str) {
        self.plan.waiting.insert(container.to_owned(), (reason.to_owned(), message.to_owned()));
    }
}
