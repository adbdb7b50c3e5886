//! Fields with a closed set of words, and numbers with a range: Kubernetes 1.36 (`pkg/apis/core/validation`).

use serde_json::Value;

use super::{Subject, View, choice};
use crate::manifest::problem::Finding;
use crate::model::RESIZABLE;

/// The words a field may have. `@` stands for each container, or for a preset's spec; `*` for each item.
/// The empty one stands where it is a value of its own, or is given the default (`pkg/apis/core/v1/defaults.go`).
const WORDS: &[(&str, &[&str])] = &[
    ("spec/restartPolicy", &["Always", "OnFailure", "Never", ""]),
    ("spec/dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None", ""]),
    ("spec/preemptionPolicy", &["PreemptLowerPriority", "Never"]),
    ("spec/securityContext/fsGroupChangePolicy", &["OnRootMismatch", "Always"]),
    ("spec/securityContext/supplementalGroupsPolicy", &["Merge", "Strict"]),
    ("spec/securityContext/seccompProfile/type", PROFILES),
    ("spec/volumes/*/hostPath/type", HOST_PATH_TYPES),
    ("@/restartPolicy", &["Always", "OnFailure", "Never"]),
    ("@/restartPolicyRules/*/action", &["Restart", "RestartAllContainers"]),
    ("@/restartPolicyRules/*/exitCodes/operator", &["In", "NotIn"]),
    ("@/imagePullPolicy", &["Always", "IfNotPresent", "Never", ""]),
    ("@/terminationMessagePolicy", &["File", "FallbackToLogsOnError", ""]),
    ("@/ports/*/protocol", &["TCP", "UDP", "SCTP", ""]),
    ("@/volumeMounts/*/mountPropagation", &["None", "HostToContainer", "Bidirectional"]),
    ("@/volumeMounts/*/recursiveReadOnly", &["Disabled", "IfPossible", "Enabled"]),
    ("@/securityContext/seccompProfile/type", PROFILES),
    ("@/securityContext/procMount", &["Default", "Unmasked"]),
    ("@/resizePolicy/*/resourceName", &RESIZABLE),
    ("@/resizePolicy/*/restartPolicy", &["NotRequired", "RestartContainer"]),
    ("@/livenessProbe/httpGet/scheme", SCHEMES),
    ("@/readinessProbe/httpGet/scheme", SCHEMES),
    ("@/startupProbe/httpGet/scheme", SCHEMES),
    ("@/lifecycle/postStart/httpGet/scheme", SCHEMES),
    ("@/lifecycle/preStop/httpGet/scheme", SCHEMES),
    ("@/securityContext/appArmorProfile/type", PROFILES),
    ("spec/securityContext/appArmorProfile/type", PROFILES),
    ("spec/securityContext/seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ("spec/os/name", &["linux", "windows"]),
    ("spec/tolerations/*/operator", &["Exists", "Equal", "Lt", "Gt", ""]),
    ("spec/tolerations/*/effect", &["NoSchedule", "PreferNoSchedule", "NoExecute", ""]),
    ("spec/topologySpreadConstraints/*/whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"]),
    ("spec/volumes/*/image/pullPolicy", &["Always", "IfNotPresent", "Never", ""]),
];

const SCHEMES: &[&str] = &["HTTP", "HTTPS", ""];
const PROFILES: &[&str] = &["RuntimeDefault", "Unconfined", "Localhost"];

const HOST_PATH_TYPES: &[&str] =
    &["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

/// User and group ids, permission bits.
const ID: (i64, i64) = (0, i32::MAX as i64);
const MODE: (i64, i64) = (0, 0o777);
/// Seconds and counts of probes; for 0 Kubernetes takes its default.
const TIME: (i64, i64) = (0, i32::MAX as i64);

/// The smallest and the largest number a field may have.
const RANGES: &[(&str, (i64, i64))] = &[
    ("spec/activeDeadlineSeconds", (1, i32::MAX as i64)),
    ("spec/securityContext/runAsUser", ID),
    ("spec/securityContext/runAsGroup", ID),
    ("spec/securityContext/fsGroup", ID),
    ("spec/securityContext/supplementalGroups/*", ID),
    ("spec/volumes/*/configMap/defaultMode", MODE),
    ("spec/volumes/*/configMap/items/*/mode", MODE),
    ("spec/volumes/*/secret/defaultMode", MODE),
    ("spec/volumes/*/secret/items/*/mode", MODE),
    ("spec/volumes/*/projected/defaultMode", MODE),
    ("spec/volumes/*/downwardAPI/defaultMode", MODE),
    ("@/ports/*/containerPort", (1, 65_535)),
    ("@/ports/*/hostPort", (0, 65_535)),
    ("@/securityContext/runAsUser", ID),
    ("@/securityContext/runAsGroup", ID),
    ("spec/volumes/*/downwardAPI/items/*/mode", MODE),
    ("spec/volumes/*/projected/sources/*/configMap/items/*/mode", MODE),
    ("spec/volumes/*/projected/sources/*/secret/items/*/mode", MODE),
    ("spec/volumes/*/projected/sources/*/downwardAPI/items/*/mode", MODE),
    ("spec/volumes/*/projected/sources/*/serviceAccountToken/expirationSeconds", (600, 1 << 32)),
    ("spec/topologySpreadConstraints/*/maxSkew", (1, i32::MAX as i64)),
    ("@/livenessProbe/initialDelaySeconds", TIME),
    ("@/livenessProbe/timeoutSeconds", TIME),
    ("@/livenessProbe/periodSeconds", TIME),
    ("@/livenessProbe/successThreshold", TIME),
    ("@/livenessProbe/failureThreshold", TIME),
    ("@/livenessProbe/terminationGracePeriodSeconds", (1, i64::MAX)),
    ("@/readinessProbe/initialDelaySeconds", TIME),
    ("@/readinessProbe/timeoutSeconds", TIME),
    ("@/readinessProbe/periodSeconds", TIME),
    ("@/readinessProbe/successThreshold", TIME),
    ("@/readinessProbe/failureThreshold", TIME),
    ("@/startupProbe/initialDelaySeconds", TIME),
    ("@/startupProbe/timeoutSeconds", TIME),
    ("@/startupProbe/periodSeconds", TIME),
    ("@/startupProbe/successThreshold", TIME),
    ("@/startupProbe/failureThreshold", TIME),
    ("@/startupProbe/terminationGracePeriodSeconds", (1, i64::MAX)),
];

pub(super) fn words(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for (pattern, words) in WORDS {
        if !leads_to(subject, pattern, &|value| value.as_str().is_some_and(|text| !words.contains(&text))) {
            continue;
        }
        let name = pattern.rsplit('/').next().unwrap_or(pattern);
        let holder = pattern.rsplit('/').nth(1).unwrap_or_default();
        // A `type` alone would not say of what.
        let what = if name == "type" { format!("{holder}.type") } else { name.to_owned() };
        each(subject, pattern).iter().for_each(|view| choice(view, &what, words, out));
    }
}

pub(super) fn ranges(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for (pattern, (least, most)) in RANGES {
        if !leads_to(subject, pattern, &|value| value.as_i64().is_some_and(|n| n < *least || n > *most)) {
            continue;
        }
        for view in each(subject, pattern) {
            let Some(number) = view.integer().filter(|number| number < least || number > most) else { continue };
            let name = pattern.trim_end_matches("/*").rsplit('/').next().unwrap_or(pattern);
            let octal = *most == MODE.1;
            let message = match (octal, *most) {
                (true, _) => format!("`{name}` must be between 0 and 0777, not {number} (octal 0{number:o})"),
                (_, i64::MAX) => format!("`{name}` must be at least {least}, not {number}"),
                _ => format!("`{name}` must be between {least} and {most}, not {number}"),
            };
            let finding = view.error("number-range", message);
            out.push(if octal {
                finding.help("write permission bits with a leading zero, such as 0644")
            } else {
                finding
            });
        }
    }
}

/// Whether a pattern leads to a value that is wrong: nearly never, so no place is remembered on the way.
fn leads_to(subject: Subject<'_, '_>, pattern: &str, is_wrong: &dyn Fn(&Value) -> bool) -> bool {
    match pattern.strip_prefix("@/") {
        Some(rest) => subject.containers().iter().any(|view| follow(view.value, rest, is_wrong)),
        None => follow(subject.root.value, pattern, is_wrong),
    }
}

fn follow(value: &Value, pattern: &str, is_wrong: &dyn Fn(&Value) -> bool) -> bool {
    let (step, rest) = pattern.split_once('/').map_or((pattern, None), |(step, rest)| (step, Some(rest)));
    let goes_on = |value: &Value| rest.map_or_else(|| is_wrong(value), |rest| follow(value, rest, is_wrong));
    match step {
        "*" => value.as_array().is_some_and(|items| items.iter().any(goes_on)),
        field => value.as_object().and_then(|map| map.get(field)).is_some_and(goes_on),
    }
}

/// Every place a pattern leads to.
fn each<'v>(subject: Subject<'_, 'v>, pattern: &str) -> Vec<View<'v>> {
    let (start, rest) = match pattern.strip_prefix("@/") {
        Some(rest) => (subject.containers(), rest),
        None => (std::slice::from_ref(subject.root), pattern),
    };
    let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let found: Vec<View<'v>> = start.iter().filter_map(|view| view.get(first)).collect();
    rest.split('/').filter(|step| !step.is_empty()).fold(found, |views, step| match step {
        "*" => views.iter().flat_map(View::items).collect(),
        field => views.iter().filter_map(|view| view.get(field)).collect(),
    })
}
