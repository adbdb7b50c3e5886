//! Who sets a field, and how Kubernetes puts it into words.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};

use super::controls::Violation;

/// The containers of a pod, init containers first, each with its JSON pointer.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.map(|(n, container)| (format!("/spec/initContainers/{n}"), container));
    let apps = spec.containers.iter().enumerate();
    init.chain(apps.map(|(n, container)| (format!("/spec/containers/{n}"), container)))
}

/// The same with what each says of its security, if it says something.
pub(super) fn contexts(spec: &PodSpec) -> impl Iterator<Item = (String, &Container, Option<&SecurityContext>)> {
    containers(spec).map(|(at, container)| (at, container, container.security_context.as_ref()))
}

/// Names in quotes.
pub(super) fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    names.join(", ")
}

/// A word in the number that counts.
pub(super) fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// What was found against a control so far.
#[derive(Default)]
pub(super) struct Setters {
    /// The pod itself sets something.
    of_pod: bool,
    /// The containers that do, in the order of the pod.
    pub(super) containers: Vec<String>,
    /// What they set that they may not.
    pub(super) values: BTreeSet<String>,
    /// Where, as JSON pointers.
    at: Vec<String>,
}

impl Setters {
    pub(super) fn is_empty(&self) -> bool {
        !self.of_pod && self.containers.is_empty()
    }

    /// The pod itself has something at a pointer.
    pub(super) fn pod(&mut self, at: impl Into<String>) {
        self.of_pod = true;
        self.at.push(at.into());
    }

    /// A container has something at a pointer.
    pub(super) fn container(&mut self, container: &Container, at: impl Into<String>) {
        if self.containers.last() != Some(&container.name) {
            self.containers.push(container.name.clone());
        }
        self.at.push(at.into());
    }

    /// `container "a"` or `containers "a", "b"`
    pub(super) fn those(&self) -> String {
        format!("{} {}", plural("container", "containers", self.containers.len()), quoted(&self.containers))
    }

    /// `pod and container "a"`
    pub(super) fn who(&self) -> String {
        match (self.of_pod, self.containers.is_empty()) {
            (true, true) => "pod".to_owned(),
            (true, false) => format!("pod and {}", self.those()),
            (false, _) => self.those(),
        }
    }

    /// All of it as a violation, unless nothing was found.
    pub(super) fn against(self, reason: &str, detail: impl FnOnce(&Self) -> String) -> Option<Violation> {
        let detail = (!self.is_empty()).then(|| detail(&self))?;
        Some(Violation { reason: reason.to_owned(), detail, at: self.at })
    }
}
