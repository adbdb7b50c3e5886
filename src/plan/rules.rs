//! What a changed field of a pod takes: Kubernetes' update rules as one table.

use crate::model::{EXCLUDE_PRESETS, Json, MIRROR_POD, Verb};

/// What is to be told beside the effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Advice {
    Nothing,
    /// How the restart or recreation could be avoided.
    Instead(&'static str),
    /// What the effect alone does not tell.
    Note(&'static str),
}

/// How the effect of a field follows from its values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Always(Verb),
    /// Decided by the values before and after.
    By(fn(Option<&Json<'_>>, Option<&Json<'_>>) -> Verb),
    /// An amount of a container: decided by its `resizePolicy` and the whole pod, see [`super::resize`].
    Resize,
}

use Advice::{Instead, Note, Nothing};
use Rule::{Always, By, Resize};
use Verb::{Recreate, RestartContainer, UpdateInPlace};

const MOUNTED: Advice = Instead("in a mounted ConfigMap a value changes without a restart");
const NEW_DATA: Advice = Instead("new data under the old name reaches the files without a restart");

/// Field → effect and advice; a row counts for everything below its field too, and the first row that fits counts. What
/// Kubernetes updates in place happens in place; the rest of a spec is immutable there and means a new pod here.
#[rustfmt::skip]
const TABLE: &[(&str, Rule, Advice)] = &[
    // Labels and annotations (those that presets leave too): nothing restarts.
    ("metadata", Always(UpdateInPlace), Nothing),
    // Kubelet starts a container anew for its name and its image, whatever the restart policy says.
    ("spec.containers[].image", Always(RestartContainer), Nothing),
    ("spec.initContainers[sidecar].image", Always(RestartContainer), Nothing),
    ("spec.initContainers[].image", Always(UpdateInPlace), Note("an init container that has run does not run again")),
    ("spec.activeDeadlineSeconds", By(set_or_lowered), Nothing),
    ("spec.tolerations", By(added_to), Instead("tolerations may be added: keep those of before beside the new ones")),
    // Nothing is scheduled here, so a gate that goes holds nothing up.
    ("spec.schedulingGates", By(removed_from), Nothing),
    ("spec.ephemeralContainers", By(appended_to), Nothing),
    // A deletion may shorten it for once.
    ("spec.terminationGracePeriodSeconds", By(negative_to_one), Nothing),
    ("spec.containers[].resources", Resize, Nothing),
    ("spec.initContainers[sidecar].resources", Resize, Nothing),
    ("spec.initContainers[].resources", Resize, Nothing),
    ("spec.containers[].env[].value", Always(Recreate), MOUNTED),
    ("spec.initContainers[sidecar].env[].value", Always(Recreate), MOUNTED),
    ("spec.volumes[].configMap.name", Always(Recreate), NEW_DATA),
    ("spec.volumes[].secret.secretName", Always(Recreate), NEW_DATA),
    // resizePolicy, restartPolicy, probes, hooks, env, command, ports, mounts, securityContext, volumes, host namespaces,
    // dns, hostname, serviceAccountName, runtimeClassName, nodeName; containers added, removed or reordered.
    ("spec", Always(Recreate), Nothing),
];

/// What presets are selected or kept off by, as maps and where not every entry counts, its key. A change of it is behind what
/// other presets bring.
const SELECTS_PRESETS: &[(&str, Option<&str>)] = &[
    ("metadata.labels", None),
    ("metadata.annotations", Some(EXCLUDE_PRESETS)),
    ("metadata.annotations", Some(MIRROR_POD)),
];

/// Whether presets are selected or kept off by a field, given with its key.
pub(super) fn selects_presets(field: &str) -> bool {
    let entry = |map: &str| field.strip_prefix(map)?.strip_prefix('[')?.strip_suffix(']');
    SELECTS_PRESETS.iter().any(|(map, key)| entry(map).is_some_and(|found| key.is_none_or(|key| found == key)))
}

/// The row for a field, given without keys and indexes.
pub(super) fn row(field: &str) -> (Rule, Advice) {
    let found = TABLE.iter().find(|(prefix, _, _)| covers(prefix, field));
    found.map_or((Always(Recreate), Nothing), |(_, rule, advice)| (*rule, *advice))
}

/// Whether a field is judged by its value as a whole, whatever differs in it.
pub(super) fn is_judged_whole(field: &str) -> bool {
    TABLE.iter().any(|(own, rule, _)| *own == field && matches!(rule, By(_)))
}

/// Whether `field` is `prefix` or lies below it.
pub(super) fn covers(prefix: &str, field: &str) -> bool {
    field.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn set_or_lowered(before: Option<&Json<'_>>, after: Option<&Json<'_>>) -> Verb {
    match (before.and_then(Json::as_i64), after.and_then(Json::as_i64)) {
        (None, Some(_)) => UpdateInPlace,
        (Some(before), Some(after)) if after <= before => UpdateInPlace,
        _ => Recreate,
    }
}

/// Of a toleration that stays only `tolerationSeconds` may change.
fn added_to(before: Option<&Json<'_>>, after: Option<&Json<'_>>) -> Verb {
    let (before, after) = (without(before, "tolerationSeconds"), without(after, "tolerationSeconds"));
    if before.iter().all(|kept| after.contains(kept)) { UpdateInPlace } else { Recreate }
}

fn removed_from(before: Option<&Json<'_>>, after: Option<&Json<'_>>) -> Verb {
    let before = items(before);
    if items(after).iter().all(|kept| before.contains(kept)) { UpdateInPlace } else { Recreate }
}

fn appended_to(before: Option<&Json<'_>>, after: Option<&Json<'_>>) -> Verb {
    if items(after).starts_with(items(before)) { UpdateInPlace } else { Recreate }
}

/// The API reads a negative grace period as 1 and lets it be written so.
fn negative_to_one(before: Option<&Json<'_>>, after: Option<&Json<'_>>) -> Verb {
    match (before.and_then(Json::as_i64), after.and_then(Json::as_i64)) {
        (Some(..0), Some(1)) => UpdateInPlace,
        _ => Recreate,
    }
}

fn items<'v, 'a>(value: Option<&'v Json<'a>>) -> &'v [Json<'a>] {
    value.and_then(Json::as_array).unwrap_or_default()
}

/// The items of a list, each without one of its members.
fn without<'a>(value: Option<&Json<'a>>, name: &str) -> Vec<Json<'a>> {
    let mut items = items(value).to_vec();
    for item in &mut items {
        if let Json::Object(members) = item {
            members.remove(name);
        }
    }
    items
}
