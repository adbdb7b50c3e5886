//! Cpu and memory of a container: the resources that may change while it runs.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::quantity;

/// The resources that Kubernetes resizes.
pub const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Limits and requests of cpu and memory, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Amounts::is_empty")]
    pub limits: Amounts,
    #[serde(default, skip_serializing_if = "Amounts::is_empty")]
    pub requests: Amounts,
}

/// The amounts there are. Each running container has two of these, and a map would take half a kilobyte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

impl Amounts {
    /// The amount of one of [`RESIZABLE`].
    pub fn get(&self, resource: &str) -> Option<&String> {
        match resource {
            "cpu" => self.cpu.as_ref(),
            "memory" => self.memory.as_ref(),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

/// One amount that is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmountChange {
    /// `limits` or `requests`.
    pub list: &'static str,
    /// `cpu` or `memory`.
    pub resource: &'static str,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl fmt::Display for AmountChange {
    /// `limits.memory from 64Mi to 128Mi`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |amount: &Option<String>| amount.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, "{}.{} from {} to {}", self.list, self.resource, text(&self.before), text(&self.after))
    }
}

impl Resources {
    /// What a container asks for; with its defaults a limit is its own request.
    pub fn of(container: &Container) -> Self {
        let all = container.resources.as_ref();
        let list = |list: Option<&BTreeMap<String, Quantity>>| {
            let [cpu, memory] =
                RESIZABLE.map(|name| list.and_then(|list| list.get(name)).map(|amount| amount.0.clone()));
            Amounts { cpu, memory }
        };
        Self {
            limits: list(all.and_then(|all| all.limits.as_ref())),
            requests: list(all.and_then(|all| all.requests.as_ref())),
        }
    }

    /// With the limits of the pod as a whole where there are none: what the container finds when it asks the kernel
    /// (`getCPULimit` and `getMemoryLimit` in pkg/kubelet/kuberuntime of 1.36).
    #[must_use]
    pub fn under(&self, spec: &PodSpec) -> Self {
        let whole = spec.resources.as_ref().and_then(|whole| whole.limits.as_ref());
        let limit = |resource: &str, own: &Option<String>| {
            let is_set = |text: &&String| quantity::nanos(text) != Some(0);
            let of_pod = || whole.and_then(|limits| limits.get(resource)).map(|amount| amount.0.clone());
            own.as_ref().filter(is_set).cloned().or_else(of_pod).or_else(|| own.clone())
        };
        let Amounts { cpu, memory } = &self.limits;
        let limits = Amounts { cpu: limit("cpu", cpu), memory: limit("memory", memory) };
        Self { limits, requests: self.requests.clone() }
    }

    /// Takes the amounts of a resource that another one has.
    pub fn take(&mut self, resource: &str, other: &Self) {
        for (own, other) in [(&mut self.limits, &other.limits), (&mut self.requests, &other.requests)] {
            match resource {
                "cpu" => own.cpu.clone_from(&other.cpu),
                "memory" => own.memory.clone_from(&other.memory),
                _ => {}
            }
        }
    }

    /// One of its two lists, by name.
    pub fn list(&self, name: &str) -> &Amounts {
        if name == "limits" { &self.limits } else { &self.requests }
    }

    /// Every amount that is another in `after`. The same one in another notation is none.
    pub fn changes(&self, after: &Self) -> Vec<AmountChange> {
        if self == after {
            return Vec::new();
        }
        let places = ["limits", "requests"].into_iter().flat_map(|list| RESIZABLE.map(|resource| (list, resource)));
        let change = |(list, resource): (&'static str, &'static str)| {
            let [before, after] = [self, after].map(|side| side.list(list).get(resource));
            let value = |amount: Option<&String>| amount.map(|text| quantity::nanos(text).ok_or(text.clone()));
            let owned = || AmountChange { list, resource, before: before.cloned(), after: after.cloned() };
            (value(before) != value(after)).then(owned)
        };
        places.filter_map(change).collect()
    }

    /// `wanted` with these amounts of cpu and memory in place of its own.
    pub fn within(&self, wanted: &ResourceRequirements) -> ResourceRequirements {
        let put = |wanted: &Option<BTreeMap<String, Quantity>>, own: &Amounts| {
            let mut list = wanted.clone().unwrap_or_default();
            list.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
            let own =
                RESIZABLE.into_iter().filter_map(|name| Some((name.to_owned(), Quantity(own.get(name)?.clone()))));
            list.extend(own);
            (!list.is_empty()).then_some(list)
        };
        ResourceRequirements {
            limits: put(&wanted.limits, &self.limits),
            requests: put(&wanted.requests, &self.requests),
            ..wanted.clone()
        }
    }
}

/// Whether a container asks to be restarted when this resource changes (`resizePolicy`; without one it is `NotRequired`).
pub fn asks_for_restart(container: &Container, resource: &str) -> bool {
    let own = container.resize_policy.iter().flatten().find(|policy| policy.resource_name == resource);
    own.is_some_and(|policy| policy.restart_policy == "RestartContainer")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(resources: serde_json::Value) -> Container {
        serde_json::from_value(json!({"name": "c", "resources": resources})).unwrap()
    }

    #[test]
    fn amounts_are_compared_by_value_and_told_as_they_are_written() {
        let of = |resources| Resources::of(&container(resources));
        let before = of(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "x/y": "1"}}));
        let same = of(json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "1.0", "x/y": "2"}}));
        assert_eq!(before.changes(&same), []);
        let after = of(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "5"}}));
        let told: Vec<String> = before.changes(&after).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["limits.memory from 1Gi to none", "requests.memory from none to 5"]);
    }

    #[test]
    fn a_record_holds_what_there_is_and_nothing_else() {
        let text = |resources: &Resources| serde_json::to_string(resources).unwrap();
        assert_eq!(text(&Resources::default()), "{}");
        let some = Resources::of(&container(json!({"limits": {"memory": "64Mi", "hugepages-2Mi": "4Mi"}})));
        assert_eq!(text(&some), r#"{"limits":{"memory":"64Mi"}}"#);
        assert_eq!(serde_json::from_str::<Resources>(&text(&some)).unwrap(), some);
    }

    #[test]
    fn amounts_take_the_place_of_those_that_are_wanted() {
        let wanted = json!({"limits": {"cpu": "2", "ephemeral-storage": "1Gi"}, "requests": {"memory": "5"}});
        let own = Resources::of(&container(json!({"limits": {"cpu": "1", "memory": "64Mi"}})));
        let expected = json!({"limits": {"cpu": "1", "ephemeral-storage": "1Gi", "memory": "64Mi"}});
        let made = own.within(&serde_json::from_value(wanted).unwrap());
        assert_eq!(serde_json::to_value(made).unwrap(), expected);
    }

    #[test]
    fn a_restart_is_asked_for_by_resource() {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
            {"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        let container: Container = serde_json::from_value(json!({"name": "c", "resizePolicy": policy})).unwrap();
        assert_eq!(["cpu", "memory"].map(|resource| asks_for_restart(&container, resource)), [false, true]);
        assert!(!asks_for_restart(&Container::default(), "memory"));
    }
}
