//! Rules for probes and hooks: one handler each, whose parts are there and fit together.

use super::{Subject, View, names, shape};
use crate::manifest::problem::{Finding, alternatives, quoted};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HOOKS: [&str; 2] = ["postStart", "preStop"];

/// What a probe may do.
const PROBE_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
/// What a hook may do.
const HOOK_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

pub(super) fn probes(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        for probe in PROBES.iter().filter_map(|field| container.get(field)) {
            not_in_init(container, &probe, out);
            handler(container, &probe, ("a probe", &PROBE_HANDLERS), out);
        }
        for field in ["livenessProbe", "startupProbe"] {
            let threshold = container.path(&[field, "successThreshold"]);
            if let Some(threshold) = threshold.filter(|t| t.integer().is_some_and(|number| number > 1)) {
                let message = format!("`successThreshold` of a {field} must be 1");
                out.push(threshold.error("number-range", message).help("remove the line"));
            }
        }
        if let Some(grace) = container.path(&["readinessProbe", "terminationGracePeriodSeconds"]) {
            let message = "`terminationGracePeriodSeconds` is not for a readinessProbe, which stops nothing";
            out.push(grace.error("contradiction", message).at_key().help("remove the line"));
        }
    }
}

pub(super) fn hooks(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    // Kubernetes fills in 30; a negative number is an error of its own.
    let grace = spec.integer_of("terminationGracePeriodSeconds").unwrap_or(30).max(0);
    for container in subject.containers() {
        let Some(lifecycle) = container.get("lifecycle") else { continue };
        not_in_init(container, &lifecycle, out);
        for hook in HOOKS.iter().filter_map(|field| lifecycle.get(field)) {
            handler(container, &hook, ("a hook", &HOOK_HANDLERS), out);
            let seconds = hook.path(&["sleep", "seconds"]);
            let Some(seconds) = seconds.filter(|s| s.integer().is_some_and(|n| !(0..=grace).contains(&n))) else {
                continue;
            };
            let message =
                format!("`seconds` must be between 0 and the pod's terminationGracePeriodSeconds, which is {grace}");
            out.push(seconds.error("number-range", message));
        }
        if let Some(signal) = lifecycle.get("stopSignal").filter(|_| !spec.has("os")) {
            let message = "`stopSignal` needs `os` of the pod, for signals differ between systems";
            out.push(signal.error("contradiction", message).at_key().help("add `os: {name: linux}` to the pod's spec"));
        }
    }
}

/// An init container runs to its end before anybody could ask it; one with `restartPolicy: Always` stays.
fn not_in_init(container: &View<'_>, at: &View<'_>, out: &mut Vec<Finding>) {
    let is_init = container.is_below(&["spec", "initContainers"]);
    if is_init && container.text_of("restartPolicy") != Some("Always") {
        let pointer = at.pointer();
        let field = pointer.rsplit('/').next().unwrap_or_default();
        let message = format!("`{field}` is not for an init container that runs to its end");
        out.push(at.error("contradiction", message).at_key().help("remove it, or add `restartPolicy: Always`"));
    }
}

/// Exactly one of the handlers, and its parts.
fn handler(container: &View<'_>, holder: &View<'_>, (what, handlers): (&str, &[&str]), out: &mut Vec<Finding>) {
    if !holder.value.is_object() {
        return;
    }
    let present: Vec<View<'_>> = handlers.iter().filter_map(|field| holder.get(field)).collect();
    match present.as_slice() {
        [] => out.push(holder.error("one-of", format!("{what} needs exactly one of {}", alternatives(handlers)))),
        [_] => {}
        [_, others @ ..] => {
            let message = format!("{what} has exactly one of {}", alternatives(handlers));
            out.extend(others.iter().map(|other| other.error("one-of", message.clone()).at_key()));
        }
    }
    if let Some(exec) = holder.get("exec") {
        let command = exec.get("command").filter(|command| command.value.as_array().is_none_or(|c| !c.is_empty()));
        if command.is_none() && exec.value.is_object() {
            out.push(exec.missing("command"));
        }
    }
    for action in ["httpGet", "tcpSocket", "grpc"].into_iter().filter_map(|field| holder.get(field)) {
        port(container, &action, out);
    }
    for header in holder.get("httpGet").map_or_else(Vec::new, |get| get.list("httpHeaders")) {
        if let Some(name) = header.get("name") {
            shape(&name, "the header name", names::header, out);
        }
    }
}

/// A port is a number, or the name of one of the container's ports.
fn port(container: &View<'_>, action: &View<'_>, out: &mut Vec<Finding>) {
    let Some(port) = action.get("port") else { return };
    if port.integer().is_some_and(|number| !(1..=65_535).contains(&number)) {
        out.push(port.error("number-range", format!("`port` must be between 1 and 65535, not {}", port.value)));
    }
    let Some(name) = port.text() else { return };
    if let Ok(number) = name.parse::<i64>() {
        let message = format!("the port {} is text: it would be looked up as a name", quoted(name));
        let help = format!("write {number} without quotes");
        out.push(port.error("wrong-type", message).help(help));
        return;
    }
    if let Err(wrong) = names::port_name(name) {
        out.push(port.error("name", format!("the port name {} must {wrong}", quoted(name))));
    } else if !container.list("ports").iter().any(|port| port.text_of("name") == Some(name)) {
        let message = format!("the container has no port named {}", quoted(name));
        out.push(
            Finding::warning("unknown-port", &port.pointer(), message)
                .help("add it to the container's `ports`, or write its number"),
        );
    }
}
