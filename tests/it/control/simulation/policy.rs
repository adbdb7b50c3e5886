//! What restart policies ask for, in the words of Kubernetes (`ContainerShouldRestart` in pkg/api/v1/pod/util.go of 1.36) and not
//! in those of the product: a container's own policy, else its pod's, and the rules that overrule its own.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use podwright::model::is_sidecar;

/// The policy that counts for a container. An init container has to succeed once, whatever its pod says.
pub(super) fn of<'a>(spec: &'a PodSpec, container: &'a Container) -> &'a str {
    let of_pod = spec.restart_policy.as_deref().unwrap_or("Always");
    match container.restart_policy.as_deref().unwrap_or(of_pod) {
        "Always" if is_init(spec, container) => "OnFailure",
        policy => policy,
    }
}

/// Whether it has to end before the next one begins.
pub(super) fn is_init(spec: &PodSpec, container: &Container) -> bool {
    !is_sidecar(container) && spec.init_containers.iter().flatten().any(|c| c.name == container.name)
}

/// The action of the first rule for an exit code. Rules overrule a policy of the container's own alone.
pub(super) fn action(container: &Container, code: i32) -> Option<&str> {
    container.restart_policy.as_ref()?;
    let mut rules = container.restart_policy_rules.iter().flatten();
    let is_for = |rule: &&k8s_openapi::api::core::v1::ContainerRestartRule| {
        rule.exit_codes
            .as_ref()
            .is_some_and(|codes| codes.values.iter().flatten().any(|value| *value == code) == (codes.operator == "In"))
    };
    rules.find(is_for).map(|rule| rule.action.as_str())
}

/// Whether one that ended so has all of its pod restarted.
pub(super) fn asks_for_all(container: &Container, code: i32) -> bool {
    action(container, code) == Some("RestartAllContainers")
}

/// Whether one that ended so runs again.
pub(super) fn restarts(spec: &PodSpec, container: &Container, code: i32) -> bool {
    let by_policy = match of(spec, container) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    by_policy || action(container, code).is_some()
}

/// Whether an instance was told to stop for what it failed to do, and not for what others did.
pub(super) fn is_own_fault(why: &str) -> bool {
    why.ends_with("probe failed") || why == "postStart hook failed"
}
