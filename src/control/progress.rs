//! How far the agent is with the newest revision: what `apply --wait` waits for.

use std::sync::Arc;

use crate::model::{Diagnostics, PodKey, Revision};

/// What became of the newest revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Verdict {
    /// Nothing was read yet.
    #[default]
    Pending,
    /// It is valid, and its pods are the targets.
    Applied,
    /// It has errors: nothing of it was applied.
    Refused(Diagnostics),
    /// The directory could not be read, or the ledger not be written: one sentence.
    Failed(String),
}

/// How one pod stands with respect to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodStanding {
    /// It is as the manifests say, and ready.
    Ready,
    /// It is as the manifests say and ended well.
    Succeeded,
    /// It is another machine's: nothing is to be done.
    Elsewhere,
    /// It ended badly and is not run again.
    Failed,
    /// It is being created or changed, or is not ready.
    Progressing,
    /// The manifests have it no more.
    Leaving,
}

impl PodStanding {
    /// Whether nothing is waited for.
    pub fn is_done(self) -> bool {
        matches!(self, PodStanding::Ready | PodStanding::Succeeded | PodStanding::Elsewhere)
    }
}

/// One pod under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodProgress {
    pub key: PodKey,
    pub standing: PodStanding,
    /// The STATUS column of `kubectl get pods`.
    pub status: String,
    /// Why it is not ready, as far as it is known; empty otherwise.
    pub message: String,
    /// Something is wrong with it, beyond that it takes its time: a step failed and waits to be tried again.
    pub stuck: bool,
    /// What is said of it is of before: of an incarnation that has ended, or of a target that is no more.
    pub past: bool,
}

/// How far everything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The revision that was looked at last.
    pub attempted: Option<Revision>,
    /// The revision whose pods are the targets.
    pub applied: Option<Revision>,
    pub verdict: Verdict,
    /// Every pod that is wanted or still there, by name. Shared from one progress to the next while nothing changes.
    pub pods: Vec<Arc<PodProgress>>,
    /// Warnings of the applied revision.
    pub warnings: Diagnostics,
    /// Paths that differ from HEAD and were not read.
    pub uncommitted: Vec<String>,
    /// Why the status document could not be written, if so.
    pub status_failure: Option<String>,
}

impl Progress {
    /// Whether the newest revision is applied and every pod of it is ready or ended well, and every other pod gone.
    pub fn is_done(&self) -> bool {
        self.verdict == Verdict::Applied && self.unready().next().is_none()
    }

    /// The pods that `apply --wait` still waits for, or would wait for in vain.
    pub fn unready(&self) -> impl Iterator<Item = &PodProgress> {
        self.pods.iter().map(|pod| &**pod).filter(|pod| !pod.standing.is_done())
    }

    /// Whether waiting is in vain: the revision is refused, or a pod ended badly and none is under way any more.
    pub fn is_hopeless(&self) -> bool {
        let ended = |pod: &PodProgress| pod.standing == PodStanding::Failed;
        match &self.verdict {
            Verdict::Refused(_) => true,
            Verdict::Applied => self.unready().any(ended) && self.unready().all(ended),
            Verdict::Pending | Verdict::Failed(_) => false,
        }
    }
}
