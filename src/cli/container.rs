//! Which container of a pod a command means.

use k8s_openapi::api::core::v1::Pod;

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
    /// What kubectl says on standard error when none was named and there were others.
    pub note: Option<String>,
}

/// The container that is named, or the pod's default one.
///
/// # Errors
/// When the pod has no container of that name.
pub fn choose(pod: &Pod, wanted: Option<&str>) -> Result<Chosen, CliError> {
    let (name, others) = pick(pod, wanted)?;
    let note = others.map(|others| format!("Defaulted container {name:?} out of: {others}"));
    Ok(Chosen { name, note })
}

/// The names of every container of a pod, in the order in which they start.
pub fn all(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let apps = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    init.iter().chain(apps).map(|c| c.name.clone()).collect()
}

/// The container's name and, when it was chosen among several, all of them.
fn pick(pod: &Pod, wanted: Option<&str>) -> Result<(String, Option<String>), CliError> {
    let names = |containers: Option<&[k8s_openapi::api::core::v1::Container]>| {
        containers.unwrap_or_default().iter().map(|c| c.name.clone()).collect::<Vec<String>>()
    };
    let apps = names(pod.spec.as_ref().map(|s| s.containers.as_slice()));
    let init = names(pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()));
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(wanted) = wanted {
        if apps.iter().chain(&init).any(|c| c == wanted) {
            return Ok((wanted.to_owned(), None));
        }
        let text = format!("Error from server (BadRequest): container {wanted} is not valid for pod {pod_name}\n");
        return Err(CliError::verbatim(text));
    }
    let annotated = pod.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT));
    if let Some(name) = annotated.filter(|name| apps.contains(name)) {
        return Ok((name.clone(), None));
    }
    let Some(first) = apps.first() else {
        return Err(CliError::new(format!("pod {pod_name} has no containers")));
    };
    let several = apps.len() + init.len() > 1;
    let all = apps.iter().cloned().chain(init.iter().map(|name| format!("{name} (init)")));
    Ok((first.clone(), several.then(|| all.collect::<Vec<String>>().join(", "))))
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
        let plain = pod(json!({}));
        assert_eq!(pick(&plain, Some("b")).unwrap(), ("b".into(), None));
        assert_eq!(pick(&plain, Some("i")).unwrap(), ("i".into(), None));
        assert_eq!(pick(&plain, None).unwrap(), ("a".into(), Some("a, b, i (init)".into())));
        assert_eq!(pick(&pod(json!({DEFAULT: "b"})), None).unwrap(), ("b".into(), None));
        assert_eq!(pick(&pod(json!({DEFAULT: "gone"})), None).unwrap().0, "a");
        let error = pick(&plain, Some("x")).unwrap_err().to_string();
        assert_eq!(error, "Error from server (BadRequest): container x is not valid for pod web\n");
    }
}
