//! A container that ended is not started again before its back-off is over: at once the first time, then after 10 s, and
//! twice as long each time up to 300 s, from the end of the instance; anew after one that ended over ten minutes after it was
//! begun, at which its image is pulled first.
//!
//! One that is killed for its probe is started at once when that time has passed since the end of the instance before; and as long as
//! none has ended by itself there is nothing to wait for. When its sandbox died that goes for what a new one begins with; a later
//! init container is begun there as if nothing were known of it, also when that one is killed for its probe, and what comes after
//! them waits from its own end, which counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::super::policy;
use super::super::trace::{Event, Instance, Moment, Trace, container, seconds};

/// Of a container of a pod.
#[derive(Default)]
struct Story {
    /// When the instance may have been begun at the earliest.
    earliest: Moment,
    ended: Option<Moment>,
    code: i32,
    /// When the instance before it ended.
    before: Option<Moment>,
    /// It was told to stop.
    is_told: bool,
    /// It was killed for what counts from then on.
    is_killed: bool,
    /// The first instance did not end by itself.
    is_first_stopped: bool,
    /// The pod was changed, or the instance was stopped for that: the next one does not wait.
    is_free: bool,
    /// What was waited for before this instance, in seconds; none before the first one.
    waited: i64,
    count: u32,
    sandbox: u32,
}

pub(super) fn kept(trace: &Trace) -> Result<(), String> {
    let mut stories: BTreeMap<(&str, &str), Story> = BTreeMap::new();
    let mut specs: BTreeMap<&str, Arc<PodSpec>> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => {
                specs.insert(uid, Arc::clone(spec));
                let of_pod = stories.range_mut((uid.as_str(), "")..).take_while(|((own, _), _)| own == uid);
                of_pod.for_each(|(_, story)| story.is_free = true);
            }
            // Who asked for it has waited; the others do not.
            Event::AllRestarted { uid, .. } => {
                let of_pod = stories.range_mut((uid.as_str(), "")..).take_while(|((own, _), _)| own == uid);
                let (mut asking, mut has_waited) = (0, false);
                for ((_, name), story) in of_pod {
                    let asks = container(&specs[uid.as_str()], name).is_some_and(|c| story.asks(c));
                    asking += usize::from(asks);
                    has_waited |= asks && story.is_due(*at);
                    story.is_free |= !story.is_due(*at);
                }
                if asking > 0 && !has_waited {
                    return Err(format!(
                        "{at}: all containers of {uid} were restarted before who asks for it was to be"
                    ));
                }
            }
            Event::Began { of, sandbox, .. } => {
                let story = stories.entry((&of.uid, &of.container)).or_default();
                let place = Place::of(&specs, of);
                match story.count > 0 && *sandbox != story.sandbox && place == Place::Init {
                    true => story.begin_anew(),
                    false => story.begin(*at).map_err(|promised| too_early(*at, of, promised))?,
                }
                story.sandbox = *sandbox;
            }
            Event::Ended { of, code, .. } => {
                if let Some(story) = stories.get_mut(&(of.uid.as_str(), of.container.as_str())) {
                    (story.ended, story.code) = (Some(*at), *code);
                }
            }
            Event::Told { of, why, .. } => {
                let has_lost_all = why == "the infra process died";
                let place = Place::of(&specs, of);
                let is_killed = why.ends_with("probe failed") || (has_lost_all && place != Place::App);
                // As an end of its own.
                let is_counted = why == "postStart hook failed" || (has_lost_all && place == Place::App);
                // What it is told later, such as SIGKILL, is for the same.
                let story = stories.get_mut(&(of.uid.as_str(), of.container.as_str())).filter(|story| !story.is_told);
                if let Some(story) = story {
                    story.is_told = true;
                    story.is_killed = is_killed;
                    story.is_first_stopped |= !is_counted && story.count == 1;
                    story.is_free |= !is_counted && !is_killed;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a container stands among what a new sandbox begins with.
#[derive(PartialEq, Eq)]
enum Place {
    /// It is the first init container, or its pod has none.
    First,
    /// It is another one.
    Init,
    App,
}

impl Place {
    fn of(specs: &BTreeMap<&str, Arc<PodSpec>>, of: &Instance) -> Self {
        let init = specs.get(of.uid.as_str()).and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        match init.iter().position(|container| container.name == of.container) {
            Some(0) => Self::First,
            Some(_) => Self::Init,
            None if init.is_empty() => Self::First,
            None => Self::App,
        }
    }
}

fn too_early(at: Moment, of: &Instance, promised: Moment) -> String {
    format!("{at}: {of:?} began, and not before {promised} it was to")
}

impl Story {
    /// For how long the next one waits, in seconds.
    fn wait(&self) -> i64 {
        let is_nothing_counted = self.count <= 1 || (self.count == 2 && self.is_first_stopped);
        match self.ended {
            Some(ended) if !self.is_free && !is_nothing_counted && ended - self.earliest <= seconds(600) => {
                (self.waited * 2).clamp(10, 300)
            }
            _ => 0,
        }
    }

    /// Whether it ended as a rule of it has all of its pod restarted.
    fn asks(&self, container: &Container) -> bool {
        self.ended.is_some() && policy::asks_for_all(container, self.code)
    }

    /// When the next one may be begun, of one that ended.
    fn promised(&self) -> Option<Moment> {
        let (ended, wait) = (self.ended?, seconds(self.wait()));
        let has_passed = self.is_killed && self.before.is_none_or(|before| ended - before >= wait);
        Some(if has_passed { ended } else { ended + wait })
    }

    /// Whether it has waited.
    fn is_due(&self, at: Moment) -> bool {
        self.promised().is_some_and(|promised| promised <= at)
    }

    /// Nothing is known of the instances before, and this one counts for nothing.
    fn begin_anew(&mut self) {
        *self = Self {
            earliest: self.earliest,
            is_first_stopped: self.is_first_stopped,
            waited: if self.is_free { 0 } else { self.waited },
            count: self.count,
            ..Self::default()
        };
    }

    /// When it should have begun, if that was too early.
    fn begin(&mut self, at: Moment) -> Result<(), Moment> {
        let promised = self.promised();
        if let Some(promised) = promised.filter(|promised| *promised > at) {
            return Err(promised);
        }
        // One that had nothing to wait for may still have been counted as a crash, which makes the next wait no shorter.
        let is_counted = !self.is_killed || self.before.is_some();
        *self = Self {
            earliest: promised.unwrap_or(at),
            before: self.ended,
            is_first_stopped: self.is_first_stopped,
            waited: if is_counted { self.wait() } else { self.wait().min(self.waited) },
            count: self.count + 1,
            ..Self::default()
        };
        Ok(())
    }
}
