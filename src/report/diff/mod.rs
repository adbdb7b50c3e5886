//! What a revision would change, as one value and three views of it.
//!
//! [`compare`] (or, on several threads, [`compare_on`]) makes a [`DiffReport`] out of a plan and the two sides; [`diff_text`], [`diff_json`] and
//! [`diff_markdown`] print it and decide nothing. The same two sides give the same bytes: no clock, no path of the
//! machine, every order fixed. Values of Secrets are masked while the report is made, so that no view can leak them.

mod compare;
mod escape;
mod fields;
mod hunks;
mod immutable;
mod json;
mod markdown;
mod mask;
mod text;
mod users;
mod yaml;

use serde::Serialize;

use crate::model::{FieldChange, Kind, ObjectKey, PodKey, Rename, Revision, RevisionKind, SourceRef, Verb};

pub use compare::{DiffBase, compare, compare_on};
pub use hunks::Hunk;
pub use json::diff_json;
pub use markdown::{MarkdownOptions, diff_markdown};
pub use mask::{DataKey, KeyChange};
pub use text::diff_text;

/// Everything that differs between two states of the manifests, or between the manifests and what runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    pub base: DiffSide,
    pub head: DiffSide,
    /// Per kind that either side has, in the order of [`Kind::ALL`].
    pub counts: Vec<KindCounts>,
    /// What a reviewer should look at first, the worst first.
    pub attention: Vec<Attention>,
    /// Every object that differs, by kind, namespace and name.
    pub objects: Vec<ObjectDiff>,
    /// Pods that go and come again under another name.
    pub renames: Vec<Rename>,
    /// What the numbers alone do not tell; fixed sentences.
    pub notes: Vec<&'static str>,
}

impl DiffReport {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether something is recreated or deleted.
    pub fn is_disruptive(&self) -> bool {
        self.objects.iter().any(|object| matches!(object.verb, Verb::Recreate | Verb::Delete))
    }
}

/// One side of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffSide {
    /// Whether this side is what runs.
    pub running: bool,
    /// The revision; of what runs, the one applied last, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<DiffRevision>,
}

/// A revision without what depends on the checkout (its branch): two runs must not differ by that.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffRevision {
    pub kind: RevisionKind,
    pub id: String,
    /// As people quote it.
    pub short: String,
    /// First line of the commit message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl From<&Revision> for DiffRevision {
    fn from(revision: &Revision) -> Self {
        Self {
            kind: revision.kind,
            id: revision.id.clone(),
            short: revision.short(),
            subject: revision.subject.clone(),
        }
    }
}

/// How many objects of one kind get which verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindCounts {
    pub kind: Kind,
    pub create: usize,
    pub update_in_place: usize,
    pub restart_container: usize,
    pub recreate: usize,
    pub delete: usize,
    /// Those that a partial reading recognised and did not need to read are among them.
    pub unchanged: usize,
    /// Pods of other machines.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_for_this_machine: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectDiff {
    #[serde(flatten)]
    pub key: ObjectKey,
    /// Objects that are no pods are created, updated in place or deleted.
    pub verb: Verb,
    /// The pod of another name that this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<PodKey>,
    /// The pod of another name that replaces this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_to: Option<PodKey>,
    /// The fields that make it necessary. Changed data of ConfigMaps and Secrets is under `keys`.
    pub changes: Vec<FieldChange>,
    /// Keys of a ConfigMap or Secret, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<DataKey>,
    /// Pods that use what differs of a ConfigMap or Secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<PodKey>,
    /// Where it was written before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<SourceRef>,
    /// Where it is written now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<SourceRef>,
    /// The presets that have a part in the difference, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<PresetLines>,
    /// Lines of the hunks that begin with `+`.
    pub added: usize,
    /// Lines of the hunks that begin with `-`.
    pub removed: usize,
    pub hunks: Vec<Hunk>,
}

impl ObjectDiff {
    /// The verb as people read it; an object that is no pod changes, and nothing of it runs.
    pub fn verb_text(&self) -> &'static str {
        match self.verb {
            Verb::UpdateInPlace if self.key.kind != Kind::Pod => "change",
            verb => verb.as_str(),
        }
    }
}

/// A preset's share of the lines that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PresetLines {
    pub name: String,
    pub added: usize,
    pub removed: usize,
}

impl PresetLines {
    /// `adds 2 lines`, `adds 1 line and takes 1 away`, `takes 3 lines away`.
    pub fn words(&self) -> String {
        let lines = |count: usize| format!("{count} line{}", if count == 1 { "" } else { "s" });
        match (self.added, self.removed) {
            (added, 0) => format!("adds {}", lines(added)),
            (0, removed) => format!("takes {} away", lines(removed)),
            (added, removed) => format!("adds {} and takes {removed} away", lines(added)),
        }
    }
}

/// Why something needs a reviewer's eye, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Concern {
    /// The base has an error: the whole of it would be refused where it runs.
    InvalidBase,
    /// An object goes.
    Delete,
    /// A pod is stopped and a new one takes its place.
    Recreate,
    /// Containers of a pod are stopped and started again.
    Restart,
    /// Data of a Secret changes.
    Secret,
    /// Data of a ConfigMap changes.
    Data,
    /// Something of a ConfigMap or Secret changes that an API server would refuse to change.
    Immutable,
    /// Presets match a pod and are not merged into it.
    PresetConflict,
    /// The head has a warning that the base has not.
    Warning,
}

impl Concern {
    /// Every concern, in order.
    pub const ALL: [Concern; 9] = [
        Concern::InvalidBase,
        Concern::Delete,
        Concern::Recreate,
        Concern::Restart,
        Concern::Secret,
        Concern::Data,
        Concern::Immutable,
        Concern::PresetConflict,
        Concern::Warning,
    ];
}

/// One thing to look at. Details of an object that differs are with the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    pub concern: Concern,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
    /// The preset that conflicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where it is written; of a conflict, what the preset wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<SourceRef>,
    /// Of a conflict: where that is written which is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing_at: Option<SourceRef>,
}

impl Attention {
    fn of(concern: Concern, object: &ObjectKey) -> Self {
        Self {
            concern,
            object: Some(object.clone()),
            preset: None,
            field: None,
            message: None,
            help: None,
            at: None,
            existing_at: None,
        }
    }
}
