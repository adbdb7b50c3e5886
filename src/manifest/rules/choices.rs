//! Fields with a closed set of words, and numbers with a range: Kubernetes 1.36 (`pkg/apis/core/validation`).

use super::{Subject, View, choice};
use crate::manifest::problem::Finding;

/// The words a field may have. `@` stands for each container, or for a preset's spec; `*` for each item.
const WORDS: &[(&str, &[&str])] = &[
    ("spec/restartPolicy", &["Always", "OnFailure", "Never"]),
    ("spec/dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("spec/preemptionPolicy", &["PreemptLowerPriority", "Never"]),
    ("spec/securityContext/fsGroupChangePolicy", &["OnRootMismatch", "Always"]),
    ("spec/securityContext/supplementalGroupsPolicy", &["Merge", "Strict"]),
    ("spec/securityContext/seccompProfile/type", &["RuntimeDefault", "Unconfined", "Localhost"]),
    ("spec/volumes/*/hostPath/type", HOST_PATH_TYPES),
    ("@/imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("@/terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
    ("@/ports/*/protocol", &["TCP", "UDP", "SCTP"]),
    ("@/volumeMounts/*/mountPropagation", &["None", "HostToContainer", "Bidirectional"]),
    ("@/volumeMounts/*/recursiveReadOnly", &["Disabled", "IfPossible", "Enabled"]),
    ("@/securityContext/seccompProfile/type", &["RuntimeDefault", "Unconfined", "Localhost"]),
    ("@/securityContext/procMount", &["Default", "Unmasked"]),
    ("@/resizePolicy/*/restartPolicy", &["NotRequired", "RestartContainer"]),
];

const HOST_PATH_TYPES: &[&str] =
    &["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

/// User and group ids, ports, permission bits.
const ID: (i64, i64) = (0, i32::MAX as i64);
const MODE: (i64, i64) = (0, 0o777);

/// The smallest and the largest number a field may have.
const RANGES: &[(&str, (i64, i64))] = &[
    ("spec/activeDeadlineSeconds", (1, i32::MAX as i64)),
    ("spec/terminationGracePeriodSeconds", (0, i64::MAX)),
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
];

pub(super) fn words(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for (pattern, words) in WORDS {
        let name = pattern.rsplit('/').next().unwrap_or(pattern);
        let what = match (name, pattern.contains("hostPath"), pattern.contains("seccompProfile")) {
            ("type", true, _) => "hostPath.type",
            ("type", _, true) => "seccompProfile.type",
            _ => name,
        };
        each(subject, pattern).iter().for_each(|view| choice(view, what, words, out));
    }
}

pub(super) fn ranges(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for (pattern, (least, most)) in RANGES {
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

/// Every place a pattern leads to.
fn each<'v>(subject: Subject<'_, 'v>, pattern: &str) -> Vec<View<'v>> {
    let (start, rest) = match pattern.strip_prefix("@/") {
        Some(rest) => (subject.containers(), rest),
        None => (vec![subject.root.clone()], pattern),
    };
    rest.split('/').fold(start, |views, step| match step {
        "*" => views.iter().flat_map(View::items).collect(),
        field => views.iter().filter_map(|view| view.get(field)).collect(),
    })
}
