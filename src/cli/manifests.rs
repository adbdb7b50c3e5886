//! Manifests judged as they are on disk, without agent, root or runtime.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::Pod;

use super::printer;
use crate::admit::{Admitter, admit_on, admit_what_can_be};
use crate::manifest::{Reader, show_lines, survey};
use crate::model::{
    Admitted, AdmittedPod, Desired, DesiredObject, Diagnostic, Diagnostics, NodeInfo, ObservedPod, Place, Severity,
    Snapshot,
};
use crate::plan;
use crate::sys::cores::cores;

/// What became of one reading.
pub enum Verdict {
    Valid(Box<Admitted>),
    Refused(Diagnostics),
}

/// Reads and admits a snapshot, for a machine where it is known.
pub fn judge(snapshot: &Snapshot, node: Option<&NodeInfo>) -> Verdict {
    judge_read(snapshot, &Reader::with_threads(threads()).read(snapshot), node)
}

/// The same verdict as [`judge`] without the objects: those that admission has nothing to say about are dropped file by
/// file, and only counted ([`Admitted::unread`]).
pub fn judge_only(snapshot: &Snapshot, node: Option<&NodeInfo>) -> Verdict {
    judge_each(snapshot, node, |_| Box::new(|_, _| ()))
}

/// What is to be done with each valid object but presets, and with the pod it is if it is one.
pub type Each<'d> = Box<dyn Fn(&DesiredObject, Option<&Pod>) + Sync + 'd>;

/// The same, and each object is looked at before it is dropped. `begin` gets the presets of the snapshot; what it makes is
/// called in no order and by several threads, before anybody knows whether the snapshot is valid.
pub fn judge_each(
    snapshot: &Snapshot,
    node: Option<&NodeInfo>,
    begin: impl for<'d> FnOnce(&'d Desired) -> Each<'d>,
) -> Verdict {
    let is_too_much = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_too_much);
    let desired = survey(snapshot, threads(), |presets| {
        let (admitter, each) = (Admitter::new(presets, node), begin(presets));
        Box::new(move |object, pod| {
            each(object, pod);
            let is_kept = !admitter.says_nothing(object, pod);
            told.fetch_or(admitter.is_spent(), Ordering::Relaxed);
            is_kept
        })
    });
    // Of those that were dropped nobody counts any more what presets brought to them.
    if is_too_much.load(Ordering::Relaxed) { judge(snapshot, node) } else { judge_read(snapshot, &desired, node) }
}

/// Admits what was read from a snapshot.
pub fn judge_read(snapshot: &Snapshot, desired: &Desired, node: Option<&NodeInfo>) -> Verdict {
    match admit_on(desired, node) {
        Ok(mut admitted) => {
            show_lines(snapshot, &mut admitted.diagnostics);
            Verdict::Valid(Box::new(admitted))
        }
        Err(mut diagnostics) => {
            show_lines(snapshot, &mut diagnostics);
            Verdict::Refused(diagnostics)
        }
    }
}

/// The same for what another revision is compared with: it may be invalid, and what could be read of it counts.
pub fn judge_base(snapshot: &Snapshot, desired: &Desired, node: Option<&NodeInfo>) -> Admitted {
    let mut admitted = admit_what_can_be(desired, node);
    show_lines(snapshot, &mut admitted.diagnostics);
    admitted
}

/// Judges for which pods a machine has room beside those that run, once those that go are gone. What waits for some even then is
/// among the warnings.
pub fn make_room<P: Borrow<ObservedPod>>(admitted: &mut Admitted, running: &[P], node: Option<&NodeInfo>) {
    let Some(node) = node else { return };
    let judged = plan::room_at_last(admitted, running, node);
    // Of one that never fits admission tells.
    let is_known = |pod: &AdmittedPod| admitted.pods.get(&pod.key).is_some_and(|known| known.unplaced.is_some());
    let is_told = |pod: &AdmittedPod| pod.unplaced.is_some() && is_known(pod);
    let news = judged.pods.values().filter(|pod| !is_told(pod)).filter_map(|pod| without_room(pod, node));
    let news: Vec<Diagnostic> = news.collect();
    judged.put_into(admitted);
    admitted.diagnostics.0.extend(news);
    admitted.diagnostics.sort();
}

/// The warning for a pod that waits for room, or for more of it.
fn without_room(pod: &AdmittedPod, node: &NodeInfo) -> Option<Diagnostic> {
    let (message, help) = match (&pod.unplaced, &pod.pending_resize) {
        (Some(unplaced), _) => {
            let (becomes, help) = unplaced.advice(node.fleet)?;
            (format!("the pod {becomes}: {}", unplaced.detail), help)
        }
        (None, Some(pending)) => {
            (format!("the pod keeps its cpu and memory: {}", pending.message), "let it, or others, ask for less")
        }
        (None, None) => return None,
    };
    Some(Diagnostic {
        severity: Severity::Warning,
        rule: "not-placed",
        message,
        help: Some(help.to_owned()),
        place: Some(Place { at: pod.source.clone(), text: Arc::from(""), width: 1 }),
        object: Some(pod.key.object()),
        field: None,
    })
}

/// Names the edits that are not read, on standard error.
pub fn tell_uncommitted(snapshot: &Snapshot) {
    if !snapshot.uncommitted.is_empty() {
        let paths = snapshot.uncommitted.join(", ");
        let count = snapshot.uncommitted.len();
        let text = format!("warning: uncommitted and not read ({count}): {paths}; commit them or use --worktree");
        printer::note(&text);
    }
}

/// As many as this process may use at once.
pub fn threads() -> usize {
    cores()
}

/// Prepares for much that is made in little time, by a program that ends then.
pub fn hurry() {
    #[cfg(target_os = "linux")]
    crate::sys::heap::grow_in_large_steps(threads());
}

/// Keeps a value as it is: the process is about to end, and taking thousands of objects apart before that would be for
/// nobody.
pub fn leave<T>(value: T) {
    std::mem::forget(value);
}
