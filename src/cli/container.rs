//! Which container of a pod a command means.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::error::CliError;

/// kubectl's annotation that names the container meant when none is named.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";

/// `pod/web` and `pods/web` mean `web`.
pub fn pod_name(word: &str) -> &str {
    word.strip_prefix("pod/").or(word.strip_prefix("pods/")).unwrap_or(word)
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub name: String,
    /// That the pod's default is none of its containers: `kubectl logs` says it on standard error, and no other command.
    pub missing: Option<String>,
    /// What kubectl says on standard error when none was named: which one was taken out of several.
    pub note: Option<String>,
}

/// What is said of a pod that has no container of the name.
pub type Unknown = fn(&Pod, &str) -> CliError;

/// The API server's words to `kubectl exec` and `cp`.
pub fn unknown_to_server(pod: &Pod, container: &str) -> CliError {
    let text = format!("Error from server (BadRequest): container {container} is not valid for pod {}\n", name(pod));
    CliError::verbatim(text)
}

/// The words of `kubectl attach`.
pub fn unknown_to_attach(pod: &Pod, container: &str) -> CliError {
    CliError::new(format!("cannot attach to the container: container {container} not found in pod {}", name(pod)))
}

/// The words of `kubectl logs`.
pub fn unknown_to_logs(pod: &Pod, container: &str) -> CliError {
    CliError::new(format!("container {container} is not valid for pod {} out of: {}", name(pod), names(pod)))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn lists(pod: &Pod) -> (&[Container], &[Container]) {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    (spec.map(|s| s.containers.as_slice()).unwrap_or_default(), init)
}

/// All of them in kubectl's order, which is not that of their starts.
fn names(pod: &Pod) -> String {
    let (apps, init) = lists(pod);
    let all = apps.iter().map(|c| c.name.clone()).chain(init.iter().map(|c| format!("{} (init)", c.name)));
    all.collect::<Vec<String>>().join(", ")
}

/// The container that is named, or the pod's default one.
///
/// # Errors
/// When the pod has no container of that name.
pub fn choose(pod: &Pod, wanted: Option<&str>, unknown: Unknown) -> Result<Chosen, CliError> {
    let (apps, init) = lists(pod);
    let has = |name: &str| apps.iter().chain(init).any(|c| c.name == name);
    let only = |name: &str| Chosen { name: name.to_owned(), missing: None, note: None };
    if let Some(wanted) = wanted {
        return if has(wanted) { Ok(only(wanted)) } else { Err(unknown(pod, wanted)) };
    }
    let annotated = pod.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT));
    let missing = match annotated.filter(|default| !default.is_empty()) {
        Some(default) if has(default) => return Ok(only(default)),
        Some(default) => Some(format!("Default container name {default:?} not found in pod {}", name(pod))),
        None => None,
    };
    let Some(Container { name, .. }) = apps.first() else {
        return Err(CliError::new(format!("pod {} has no containers", self::name(pod))));
    };
    let note = (apps.len() + init.len() > 1).then(|| format!("Defaulted container {name:?} out of: {}", names(pod)));
    Ok(Chosen { name: name.clone(), missing, note })
}

/// The names of every container of a pod, in the order in which they start.
pub fn all(pod: &Pod) -> Vec<String> {
    let (apps, init) = lists(pod);
    init.iter().chain(apps).map(|c| c.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(annotations: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_container_is_the_one_named_or_annotated_or_the_first() {
        let chosen = |pod: &Pod, wanted: Option<&str>| {
            let Chosen { name, missing, note } = choose(pod, wanted, unknown_to_server).unwrap();
            format!("{name}: {}", missing.into_iter().chain(note).collect::<Vec<_>>().join("; "))
        };
        let plain = pod(json!({}));
        assert_eq!(chosen(&plain, Some("b")), "b: ");
        assert_eq!(chosen(&plain, Some("i")), "i: ");
        let out_of = "Defaulted container \"a\" out of: a, b, i (init)";
        assert_eq!(chosen(&plain, None), format!("a: {out_of}"));
        assert_eq!(chosen(&pod(json!({DEFAULT: "b"})), None), "b: ");
        assert_eq!(chosen(&pod(json!({DEFAULT: "i"})), None), "i: ");
        let gone = format!("a: Default container name \"gone\" not found in pod web; {out_of}");
        assert_eq!(chosen(&pod(json!({DEFAULT: "gone"})), None), gone);
    }

    #[test]
    fn a_container_that_is_not_there_is_told_in_the_words_of_each_command() {
        for (unknown, words) in [
            (unknown_to_server as Unknown, "Error from server (BadRequest): container x is not valid for pod web\n"),
            (unknown_to_attach, "error: cannot attach to the container: container x not found in pod web\n"),
            (unknown_to_logs, "error: container x is not valid for pod web out of: a, b, i (init)\n"),
        ] {
            assert_eq!(choose(&pod(json!({})), Some("x"), unknown).unwrap_err().to_string(), words);
        }
    }
}
