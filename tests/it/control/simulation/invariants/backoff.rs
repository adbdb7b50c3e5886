//! A container that ended is not started again before its back-off is over: at once the first time, then after 10 s, and
//! twice as long each time up to 300 s, from the end of the instance; anew after one that ended over ten minutes after it was
//! begun, at which its image is pulled first.

use std::collections::BTreeMap;

use super::super::trace::{Event, Instance, Moment, Trace, seconds};

/// Of a container of a pod.
#[derive(Default)]
struct Story {
    /// When the instance may have been begun at the earliest.
    earliest: Moment,
    ended: Option<Moment>,
    /// The pod was changed, or the instance was stopped for that: the next one does not wait.
    is_free: bool,
    /// What was waited for before this instance, in seconds; none before the first one.
    waited: i64,
    count: u32,
}

pub(super) fn kept(trace: &Trace) -> Result<(), String> {
    let mut stories: BTreeMap<(&str, &str), Story> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, .. } => {
                let of_pod = stories.range_mut((uid.as_str(), "")..).take_while(|((own, _), _)| own == uid);
                of_pod.for_each(|(_, story)| story.is_free = true);
            }
            Event::Began { of, .. } => {
                let story = stories.entry((&of.uid, &of.container)).or_default();
                story.begin(*at).map_err(|promised| too_early(*at, of, promised))?;
            }
            Event::Ended { of, .. } => {
                if let Some(story) = stories.get_mut(&(of.uid.as_str(), of.container.as_str())) {
                    story.ended = Some(*at);
                }
            }
            Event::Told { of, why, .. } => {
                let failed = why.ends_with("probe failed") || why == "postStart hook failed";
                if let Some(story) = stories.get_mut(&(of.uid.as_str(), of.container.as_str())) {
                    story.is_free |= !failed && why != "the infra process died";
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn too_early(at: Moment, of: &Instance, promised: Moment) -> String {
    format!("{at}: {of:?} began, and not before {promised} it was to")
}

impl Story {
    /// When it should have begun, if that was too early.
    fn begin(&mut self, at: Moment) -> Result<(), Moment> {
        let after = match self.ended {
            Some(ended) if !self.is_free && self.count > 0 && ended - self.earliest <= seconds(600) => {
                let wait = if self.count == 1 { 0 } else { (self.waited * 2).clamp(10, 300) };
                if at < ended + seconds(wait) {
                    return Err(ended + seconds(wait));
                }
                wait
            }
            _ => 0,
        };
        // One that had nothing to wait for may still have been counted as a crash, which makes the next wait no shorter.
        let earliest = self.ended.map_or(at, |ended| ended + seconds(after));
        *self = Self { earliest, ended: None, is_free: false, waited: after, count: self.count + 1 };
        Ok(())
    }
}
