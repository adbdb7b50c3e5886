//! A plan in the making.

use jiff::Timestamp;

use crate::model::{Hold, PodAction, PodPlan, PodStep, Reason};

/// Collects steps, holds and waiting reasons.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) plan: PodPlan,
}

impl Draft {
    pub(super) fn step(&mut self, action: PodAction, reason: Reason) {
        self.plan.steps.push(PodStep { action, reason });
    }

    /// Something to wait for; with `until` the plan is made anew then at the latest.
    pub(super) fn hold(&mut self, container: &str, reason: &str, message: &str, until: Option<Timestamp>) {
        self.plan.holds.push(Hold {
            container: container.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            until,
        });
        if let Some(until) = until {
            self.wake(until);
        }
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Why a container has no running instance.
    pub(super) fn waiting(&mut self, container: &str, reason: &str, message: &str) {
        self.plan.waiting.insert(container.to_owned(), (reason.to_owned(), message.to_owned()));
    }
}
