//! Rules for containers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Subject, View, names as shapes, quantity, shape};
use crate::manifest::problem::{Finding, field_path, quoted};

/// So many rules a container may have, and so many exit codes a rule.
const RESTART_RULES: usize = 20;
const EXIT_CODES: usize = 255;

/// Names unique among containers and init containers.
pub(super) fn names(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for container in subject.containers() {
        let Some(name) = container.get("name") else { continue };
        let Some(text) = name.text() else { continue };
        if text.is_empty() {
            out.push(container.missing("name"));
            continue;
        }
        shape(&name, "the container name", shapes::label, out);
        if let Some(first) = seen.get(text) {
            let message = format!("container name {} is already used by {first}", quoted(text));
            out.push(
                name.error("duplicate-name", message).help("names are unique among containers and initContainers"),
            );
            continue;
        }
        seen.insert(text, field_path(subject.root.value, &container.pointer()));
    }
}

/// Rules overrule a policy of the container's own, which has to be there (`validateContainerRestartPolicy` of Kubernetes 1.36).
pub(super) fn restart_rules(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let at_most = |view: &View<'_>, field: &str, most: usize, out: &mut Vec<Finding>| {
        let Some(list) = view.get(field) else { return };
        let count = list.items().count();
        if count > most {
            let message = format!("`{field}` must have at most {most} items, not {count}");
            out.push(list.error("number-range", message).at_key().help("say it with fewer"));
        }
    };
    for container in subject.containers() {
        let rules = container.list("restartPolicyRules");
        if !rules.is_empty() && container.text_of("restartPolicy").is_none() {
            let message = "missing field `restartPolicy`, which must be given when restart rules are used";
            let missing = container.missing("restartPolicy");
            out.push(Finding { message: message.to_owned(), ..missing });
        }
        at_most(container, "restartPolicyRules", RESTART_RULES, out);
        for rule in rules {
            match rule.get("exitCodes") {
                Some(codes) => at_most(&codes, "values", EXIT_CODES, out),
                None => out.push(rule.missing("exitCodes")),
            }
        }
    }
}

pub(super) fn termination(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        for field in ["terminationMessagePath", "workingDir"] {
            let Some(path) = container.get(field) else { continue };
            let Some(text) = path.text().filter(|text| !text.is_empty()) else { continue };
            if !text.starts_with('/') {
                out.push(path.error("path", format!("`{field}` {} must be an absolute path", quoted(text))));
            }
        }
    }
}

/// What a privileged container cannot also ask for.
pub(super) fn privileges(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let Some(context) = container.get("securityContext") else { continue };
        let escalation = context.get("allowPrivilegeEscalation").filter(|view| view.value == false);
        let added = context.get("capabilities").map_or_else(Vec::new, |capabilities| capabilities.list("add"));
        let is_admin = added.iter().any(|c| matches!(c.text(), Some("SYS_ADMIN" | "CAP_SYS_ADMIN")));
        if let Some(escalation) = escalation
            && let Some(other) = match (context.is_true("privileged"), is_admin) {
                (true, _) => Some("`privileged: true`"),
                (_, true) => Some("the capability CAP_SYS_ADMIN"),
                _ => None,
            }
        {
            let message = format!("`allowPrivilegeEscalation: false` and {other} cannot go together");
            out.push(escalation.error("contradiction", message).help("remove one of the two"));
        }
        root_user(subject, &context, out);
    }
}

/// `runAsNonRoot` with user 0 could never start.
fn root_user(subject: Subject<'_, '_>, context: &View<'_>, out: &mut Vec<Finding>) {
    let pod = subject.root.path(&["spec", "securityContext"]);
    let setting = |field: &str| context.get(field).or_else(|| pod.as_ref().and_then(|pod| pod.get(field)));
    let non_root = setting("runAsNonRoot").is_some_and(|view| view.value == true);
    if let Some(user) = setting("runAsUser").filter(|user| non_root && user.integer() == Some(0)) {
        let message = "`runAsNonRoot: true` and `runAsUser: 0` cannot go together: the container would never start";
        out.push(user.error("contradiction", message).help("choose another user, or drop `runAsNonRoot`"));
    }
}

/// `memory: 512m` is half a byte: MiB were meant. Kubernetes rounds up, with a warning.
pub(super) fn whole_bytes(name: &str, amount: &View<'_>, out: &mut Vec<Finding>) {
    const BYTE: i128 = 1_000_000_000;
    let counts_bytes = matches!(name, "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if counts_bytes && quantity::of(amount.value).is_some_and(|nanos| nanos > 0 && nanos % BYTE != 0) {
        let message = format!("`{name}` is no whole number of bytes: `m` stands for a thousandth");
        let help = "write Mi or M for mebibytes or megabytes";
        out.push(Finding::warning("quantity", &amount.pointer(), message).help(help));
    }
}

/// Quantities that can be read, and requests within their limits.
pub(super) fn resources(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let Some(resources) = container.get("resources") else { continue };
        let limits = resources.get("limits");
        for list in [&limits, &resources.get("requests")].into_iter().flatten() {
            for (name, amount) in list.entries() {
                quantity::check(&amount, &format!("`{name}`"), out);
                whole_bytes(name, &amount, out);
            }
        }
        let (Some(limits), Some(requests)) = (limits, resources.get("requests")) else { continue };
        for (name, request) in requests.entries() {
            let limit = limits.get(name).and_then(|limit| quantity::of(limit.value));
            if let (Some(asked), Some(limit)) = (quantity::of(request.value), limit)
                && asked > limit
            {
                let message = format!("the request of {name} is larger than its limit");
                out.push(request.error("resources", message).help("raise the limit, or lower the request"));
            }
        }
    }
}

/// A policy for each resource, and none that restarts what never restarts (`validateResizePolicy` of Kubernetes 1.36).
pub(super) fn resize_policy(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let pod = subject.root.get("spec");
    let never = pod.as_ref().and_then(|spec| spec.text_of("restartPolicy")) == Some("Never");
    for container in subject.containers() {
        let is_sidecar = container.text_of("restartPolicy") == Some("Always");
        let mut seen = BTreeSet::new();
        for policy in container.list("resizePolicy") {
            let resource = policy.get("resourceName");
            if let Some((resource, text)) = resource.as_ref().and_then(|resource| Some((resource, resource.text()?)))
                && !seen.insert(text.to_owned())
            {
                let message = format!("`resizePolicy` names {} twice", quoted(text));
                out.push(resource.error("duplicate-name", message).help("keep one of the two"));
            }
            let restart = policy.get("restartPolicy").filter(|restart| restart.text() == Some("RestartContainer"));
            if let Some(restart) = restart.filter(|_| never && !is_sidecar) {
                let message = "`RestartContainer` and `restartPolicy: Never` of the pod cannot go together";
                out.push(restart.error("contradiction", message).help("write NotRequired"));
            }
        }
    }
}
