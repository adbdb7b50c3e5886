//! Floor 2: what people read. Status, tables, events and diffs out of the same values.
//!
//! Everything starts at [`pod_object`]: effective spec and observation become the pod Kubernetes would show, with
//! phase, conditions and container statuses by the kubelet's rules. Rows, descriptions, the status document and the
//! API's projection are made from that object alone, so they can never disagree.

pub mod conditions;
pub mod containers;
pub mod crilog;
pub mod duration;
pub mod phase;
pub mod tabs;

mod describe;
mod diagnostics;
mod diff;
mod doctor;
mod events;
mod foreign;
mod jsonpath;
mod part;
mod pod;
mod project;
mod resize;
mod row;
mod secret;
mod shown;
mod similar;
mod status;
mod table;
mod unknown;
mod yaml;

pub use describe::{describe_account, describe_node, describe_object, describe_pod};
pub use diagnostics::{
    Validation, counts_line, diagnostics_text, github_annotations, sarif, validation_json, validation_text,
};
pub use diff::{
    Attention, Concern, DataKey, DiffBase, DiffReport, DiffRevision, DiffSide, Hunk, KeyChange, KindCounts,
    MarkdownOptions, ObjectDiff, PresetLines, compare, compare_on, diff_json, diff_markdown, diff_text,
};
pub use doctor::{Finding, Health, doctor_json, doctor_text, examine, health};
pub use events::{
    Waits, adoption_events, event_object, event_record, event_subject, events_between, eviction_event, exceeded_event,
    fallback_event, hook_event, low_event, preset_events, pressure_events, probe_event, pulling_event, resolver_events,
    usage_event, volume_image_events, waiting_events,
};
pub use jsonpath::{Template, TemplateError};
pub use pod::{PodView, pod_object};
pub use project::{ProjectInput, project};
pub use row::{PodRow, pod_row};
pub use secret::type_of as secret_type;
pub use shown::{shown, shown_pod};
pub use similar::{EventLog, is_told};
pub use status::{StatusInput, status_document};
pub use table::{Column, Listed, TableOptions, cells, columns, objects_table, pods_table};
pub use unknown::as_unknown;
pub use yaml::{noted_yaml, object_yaml};
