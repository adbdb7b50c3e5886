//! The report made: every object of both sides by its key, pods with the verb and the causes the planner gave them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::hunks::{self, Budget, Difference};
use super::mask::{self, KeyChange, Pair};
use super::yaml::{self, Lines};
use super::{Attention, Concern, DiffReport, DiffSide, KindCounts, ObjectDiff, fields, immutable, users};
use crate::model::{
    Admitted, AdmittedPod, Diagnostic, FleetAction, FleetPlan, Kind, ObjectKey, ObservedPod, Origin, Packed, PodKey,
    PresetConflict, Rename, Severity, SourceRef, Verb, spread,
};

/// Said when a preset is behind the change of a pod.
const PRESETS: &str = "A changed PodPreset changes the pods it matches and recreates them where it must; Kubernetes would \
                       leave running pods as they are.";
/// Said when what runs is known of pods only.
const ONLY_PODS: &str = "The revision applied last is not known: only pods are compared with what runs.";

/// Said when the base has errors.
const INVALID_BASE: &str = "The base is invalid and is refused as a whole where it runs, which keeps the last valid \
                            revision. What could be read of it is compared; an object that could not be read counts as \
                            not there.";

/// Said when pods ask for something of the machine that is not known.
const UNTOLD: &str = "Pods ask for a name or labels of their machine that are not known here: they are compared as pods \
                      that it fits. --config with the machine's configuration, or --node-name, tells.";

/// Said when the report has no room for every hunk.
const TOO_MUCH: &str = "Too much differs to be shown line by line: hunks are left out, and what they hold is counted.";

/// So many pods are drawn up before they are compared.
const AT_ONCE: usize = 256;

/// What the head is compared with.
pub enum DiffBase<'a> {
    /// Another revision.
    Revision(&'a Admitted),
    /// The pods that run, and for the other objects the revision that was applied last, where it is known.
    Running { pods: &'a [ObservedPod], applied: Option<&'a Admitted> },
}

/// The base, ready to be asked.
struct Base<'a> {
    running: bool,
    pods: BTreeMap<&'a PodKey, &'a AdmittedPod>,
    /// The revision whose other objects are compared.
    objects: Option<&'a Admitted>,
}

impl<'a> Base<'a> {
    fn new(base: &DiffBase<'a>) -> Self {
        match *base {
            DiffBase::Revision(admitted) => Self {
                running: false,
                pods: admitted.pods.iter().map(|(key, pod)| (key, &**pod)).collect(),
                objects: Some(admitted),
            },
            DiffBase::Running { pods, applied } => Self {
                running: true,
                pods: pods.iter().map(|pod| (&pod.record.key, &*pod.record.realised)).collect(),
                objects: applied,
            },
        }
    }

    fn pod(&self, key: &PodKey) -> Option<&'a AdmittedPod> {
        self.pods.get(key).copied()
    }
}

/// Compares. `plan` is what the planner makes of the same two sides.
pub fn compare(plan: &FleetPlan, base: &DiffBase<'_>, head: &Admitted) -> DiffReport {
    compare_on(1, plan, base, head)
}

/// The same on several threads. The report does not depend on their number.
pub fn compare_on(threads: usize, plan: &FleetPlan, base: &DiffBase<'_>, head: &Admitted) -> DiffReport {
    let base = Base::new(base);
    let renames: BTreeMap<&PodKey, &Rename> =
        plan.renames.iter().flat_map(|rename| [(&rename.from, rename), (&rename.to, rename)]).collect();
    let mut budget = Budget::default();
    let mut objects = Vec::with_capacity(plan.actions.len());
    // Some at a time, for the lines of a pod take ten times its bytes.
    for actions in plan.actions.chunks(AT_ONCE) {
        let drawn =
            spread::map(threads, actions, |action| draw(action, renames.get(action.key()).copied(), &base, head));
        objects.extend(drawn.into_iter().map(|drawn| drawn.compared(&mut budget)));
    }
    if let Some(before) = base.objects {
        objects.extend(others(before, head, &mut budget));
    }
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let presets = |object: &ObjectDiff| object.changes.iter().any(|change| change.preset().is_some());
    let is_preset = |object: &ObjectDiff| object.key.kind == Kind::PodPreset;
    let mut notes = Vec::new();
    // Against what runs nobody knows whether a preset is another one than before.
    if objects.iter().any(presets) && (base.objects.is_none() || objects.iter().any(is_preset)) {
        notes.push(PRESETS);
    }
    if base.objects.is_none() {
        notes.push(ONLY_PODS);
    }
    if base.objects.is_some_and(|side| side.diagnostics.has_errors()) {
        notes.push(INVALID_BASE);
    }
    if head.is_untold || (!base.running && base.objects.is_some_and(|side| side.is_untold)) {
        notes.push(UNTOLD);
    }
    if budget.exceeded {
        notes.push(TOO_MUCH);
    }
    DiffReport {
        base: DiffSide { running: base.running, revision: base.objects.map(|side| (&side.revision).into()) },
        head: DiffSide { running: false, revision: Some((&head.revision).into()) },
        counts: counts(plan, base.objects, head, &objects),
        attention: attention(&base, head, &objects),
        objects,
        renames: plan.renames.clone(),
        notes,
    }
}

impl ObjectDiff {
    fn new(key: ObjectKey, verb: Verb, sources: [Option<SourceRef>; 2]) -> Self {
        let [before, after] = sources;
        Self {
            key,
            verb,
            renamed_from: None,
            renamed_to: None,
            changes: Vec::new(),
            keys: Vec::new(),
            used_by: Vec::new(),
            before,
            after,
            presets: Vec::new(),
            added: 0,
            removed: 0,
            hunks: Vec::new(),
        }
    }

    fn take(&mut self, difference: Difference) {
        let Difference { hunks, added, removed, presets } = difference;
        (self.hunks, self.added, self.removed, self.presets) = (hunks, added, removed, presets);
    }
}

/// A pod on both sides, drawn up to be compared line by line.
struct Drawn<'a> {
    object: ObjectDiff,
    sides: [Option<&'a AdmittedPod>; 2],
    lines: [Lines; 2],
}

impl Drawn<'_> {
    fn compared(mut self, budget: &mut Budget) -> ObjectDiff {
        let [old, new] = self.sides.map(Owners::new);
        let [before, after] = &self.lines;
        self.object.take(hunks::compare(before, after, [&|f| old.of(f), &|f| new.of(f)], budget));
        self.object
    }
}

fn draw<'a>(action: &FleetAction, rename: Option<&Rename>, base: &Base<'a>, head: &'a Admitted) -> Drawn<'a> {
    let (key, verb) = (action.key(), action.verb());
    let before = match (verb, rename) {
        // A pod under a new name is shown as what it differs in from the one it replaces.
        (Verb::Create, Some(Rename { from, .. })) => base.pod(from),
        // A predecessor of the same name is on its way out already.
        (Verb::Create, None) if action.changes().is_empty() => None,
        _ => base.pod(key),
    };
    let after = head.pods.get(key).filter(|_| verb != Verb::Delete).map(Arc::as_ref);
    let mut object = ObjectDiff::new(key.object(), verb, [before, after].map(|pod| pod.map(|pod| pod.source.clone())));
    object.changes = action.changes().iter().map(mask::change).collect();
    match rename {
        Some(rename) if verb == Verb::Create => object.renamed_from = Some(rename.from.clone()),
        // Told with the pod that takes its place.
        Some(rename) if verb == Verb::Delete => {
            object.renamed_to = Some(rename.to.clone());
            return Drawn { object, sides: [None, None], lines: Default::default() };
        }
        _ => {}
    }
    let sides = [before, after];
    let specs = sides.map(|pod| pod.map(|pod| &pod.spec));
    let lines = if specs.iter().flatten().any(|spec| mask::may_be_masked(spec.text())) {
        let (pair, _) = mask::mask(Kind::Pod, specs.map(|spec| spec.map(Packed::value)));
        [shown(&pair[0]), shown(&pair[1])]
    } else {
        specs.map(|spec| spec.map(|spec| yaml::lines(&spec.json())).unwrap_or_default())
    };
    Drawn { object, sides, lines }
}

fn shown(value: &Option<Value>) -> Lines {
    value.as_ref().map(|value| yaml::lines(&value.into())).unwrap_or_default()
}

/// The presets behind the fields of a pod.
struct Owners<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Owners<'a> {
    fn new(pod: Option<&'a AdmittedPod>) -> Self {
        let origins = pod.into_iter().flat_map(|pod| &pod.provenance);
        let presets = origins.filter_map(|field| match &field.origin {
            Origin::Preset { name, .. } => Some((field.field.as_str(), name.as_str())),
            _ => None,
        });
        Self(presets.collect())
    }

    /// The preset that provides a field: it itself or one above it. A list whose first entry a preset provides is the
    /// preset's too, for presets append.
    fn of(&self, field: &str) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let first = || self.0.get(format!("{field}[0]").as_str()).copied();
        let ends = field.match_indices(['.', '[']).map(|(at, _)| at).chain([field.len()]);
        ends.filter_map(|end| self.0.get(&field[..end]).copied()).next().or_else(first)
    }
}

/// Everything that is no pod.
fn others(base: &Admitted, head: &Admitted, budget: &mut Budget) -> Vec<ObjectDiff> {
    let keys: BTreeSet<&ObjectKey> = base.objects.keys().chain(head.objects.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let sides = [base.objects.get(key), head.objects.get(key)];
        let pair: Pair = match sides {
            [Some(a), Some(b)] if Arc::ptr_eq(a, b) => continue,
            sides => sides.map(|side| side.map(|value| (**value).clone())),
        };
        if mask::same(key.kind, &pair) {
            continue;
        }
        let verb = match &pair {
            [None, _] => Verb::Create,
            [_, None] => Verb::Delete,
            _ => Verb::UpdateInPlace,
        };
        let (pair, keys) = mask::mask(key.kind, pair);
        let mut object = ObjectDiff::new(key.clone(), verb, [base, head].map(|side| side.sources.get(key).cloned()));
        object.changes = fields::changed(key.kind, &pair);
        object.keys = keys;
        object.take(hunks::compare(&shown(&pair[0]), &shown(&pair[1]), [&|_| None, &|_| None], budget));
        found.push(object);
    }
    users::note(&mut found, head);
    found
}

fn counts(plan: &FleetPlan, base: Option<&Admitted>, head: &Admitted, objects: &[ObjectDiff]) -> Vec<KindCounts> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let mut row = KindCounts {
            kind,
            create: 0,
            update_in_place: 0,
            restart_container: 0,
            recreate: 0,
            delete: 0,
            unchanged: head.unread.get(&kind).copied().unwrap_or_default(),
            not_for_this_machine: 0,
        };
        for object in objects.iter().filter(|object| object.key.kind == kind) {
            match object.verb {
                Verb::Create => row.create += 1,
                Verb::UpdateInPlace => row.update_in_place += 1,
                Verb::RestartContainer => row.restart_container += 1,
                Verb::Recreate => row.recreate += 1,
                Verb::Delete => row.delete += 1,
                Verb::Unchanged => row.unchanged += 1,
            }
        }
        match (kind, base) {
            (Kind::Pod, _) => {
                row.unchanged += plan.unchanged.len();
                row.not_for_this_machine = plan.elsewhere.len();
            }
            (_, Some(_)) => {
                let here = head.objects.keys().filter(|key| key.kind == kind).count();
                row.unchanged += here.saturating_sub(row.create + row.update_in_place);
            }
            (_, None) => continue,
        }
        let total =
            row.create + row.update_in_place + row.restart_container + row.recreate + row.delete + row.unchanged;
        if total + row.not_for_this_machine > 0 {
            all.push(row);
        }
    }
    all
}

fn attention(base: &Base<'_>, head: &Admitted, objects: &[ObjectDiff]) -> Vec<Attention> {
    let mut found: Vec<Attention> = objects.iter().filter_map(|o| Some(Attention::of(concern(o)?, &o.key))).collect();
    found.extend(objects.iter().filter_map(|o| immutable::refusal(o, base.objects?.objects.get(&o.key)?)));
    for (key, pod) in head.pods.iter().filter(|(_, pod)| !pod.skipped.is_empty()) {
        let known: BTreeSet<_> = base.pod(key).into_iter().flat_map(conflicts).map(substance).collect();
        for conflict in conflicts(pod).filter(|conflict| !known.contains(&substance(conflict))) {
            let PresetConflict { field, existing, wanted, .. } = conflict;
            found.push(Attention {
                preset: wanted.preset.clone(),
                field: Some(field.clone()),
                message: Some(format!(
                    "{} has {}, the preset wants {}",
                    existing.owner(),
                    existing.value,
                    wanted.value
                )),
                at: Some(wanted.at.clone()),
                existing_at: Some(existing.at.clone()),
                ..Attention::of(Concern::PresetConflict, &key.object())
            });
        }
    }
    let old = base.objects.map(|side| side.diagnostics.0.as_slice()).unwrap_or_default();
    let errors = old.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    found.extend(errors.map(|d| told(Concern::InvalidBase, d)));
    let old: BTreeSet<_> = old.iter().map(identity).collect();
    let news = head.diagnostics.0.iter().filter(|d| is_told(d) && !old.contains(&identity(d)));
    found.extend(news.map(|d| told(Concern::Warning, d)));
    // Stable: what one object has to say keeps its order.
    found.sort_by(|a, b| (a.concern, &a.object).cmp(&(b.concern, &b.object)));
    found
}

fn told(concern: Concern, diagnostic: &Diagnostic) -> Attention {
    Attention {
        concern,
        object: diagnostic.object.clone(),
        preset: None,
        field: diagnostic.field.clone(),
        message: Some(diagnostic.message.clone()),
        help: diagnostic.help.clone(),
        at: diagnostic.place.as_ref().map(|place| place.at.clone()),
        existing_at: None,
    }
}

fn concern(object: &ObjectDiff) -> Option<Concern> {
    let data = object.keys.iter().any(|key| key.change != KeyChange::Unchanged);
    match (object.verb, object.key.kind) {
        (Verb::Delete, _) => Some(Concern::Delete),
        (Verb::Recreate, _) => Some(Concern::Recreate),
        (Verb::RestartContainer, _) => Some(Concern::Restart),
        (Verb::UpdateInPlace, Kind::Secret) if data => Some(Concern::Secret),
        (Verb::UpdateInPlace, Kind::ConfigMap) if data => Some(Concern::Data),
        _ => None,
    }
}

fn conflicts(pod: &AdmittedPod) -> impl Iterator<Item = &PresetConflict> {
    pod.skipped.iter().flat_map(|skipped| &skipped.conflicts)
}

/// What makes a conflict the same one, wherever both sides stand.
fn substance(conflict: &PresetConflict) -> [&str; 5] {
    let PresetConflict { field, existing, wanted, .. } = conflict;
    [
        field,
        existing.preset.as_deref().unwrap_or_default(),
        &existing.value,
        wanted.preset.as_deref().unwrap_or_default(),
        &wanted.value,
    ]
}

/// What makes a warning the same one, wherever it stands.
fn identity(diagnostic: &Diagnostic) -> (&str, &str, Option<&ObjectKey>, Option<&str>) {
    (diagnostic.rule, &diagnostic.message, diagnostic.object.as_ref(), diagnostic.field.as_deref())
}

/// Conflicts of presets are told as such.
fn is_told(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Warning && diagnostic.rule != "preset-conflict"
}
