//! Looks at what a pod keeps on the disk, between its rounds. Whether it may is the plan's to say.

use super::worker::Worker;
use crate::plan;
use crate::report::eviction_event;

impl Worker {
    /// Looks once. Whether the pod is to be evicted: then a round has to begin.
    pub(super) async fn look(&mut self) -> bool {
        let used = self.shared.parts.backend.volume_use(&self.key, &self.limits).await;
        let now = self.shared.now();
        let used = match used {
            Ok(used) => used,
            Err(error) => {
                let until = self.memory.rest("look", ("FailedSync", &error.to_string()), now);
                tracing::warn!(pod = %self.key, "{error}; next try in {} s", until.duration_since(now).as_secs());
                self.look_at = Some(until);
                return false;
            }
        };
        self.memory.rested("look");
        self.look_at = Some(plan::next_look(&used, now));
        let Some(cause) = plan::eviction(&self.limits, &used) else { return false };
        tracing::warn!(pod = %self.key, "evicted: {}", cause.message.trim_end());
        if let Ok(Some(pod)) = self.shared.parts.backend.observe(&self.key).await {
            self.shared.lock().history.tell(vec![eviction_event(&pod, &cause, now)]);
            self.shared.announce();
        }
        self.memory.plan.evicted = Some(cause);
        true
    }
}
