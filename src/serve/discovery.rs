//! What kubectl asks first: versions, groups and resources, in the unaggregated form.

use serde_json::{Value, json};

use super::resource::{ALL, names};

const GROUP: &str = "settings.k8s.io";
const GROUP_VERSION: &str = "settings.k8s.io/v1alpha1";

/// The document at a path, if there is one.
pub(super) fn document(path: &str) -> Option<Value> {
    match path {
        "/version" => Some(version()),
        "/api" => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})),
        "/apis/settings.k8s.io" => {
            let mut value = group();
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            Some(value)
        }
        "/api/v1" => Some(resources("v1")),
        "/apis/settings.k8s.io/v1alpha1" => Some(resources(GROUP_VERSION)),
        _ => None,
    }
}

/// The version of the API's shape, with ours behind it.
fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "gitVersion": concat!("v1.36.0+podwright-", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn group() -> Value {
    let version = json!({"groupVersion": GROUP_VERSION, "version": "v1alpha1"});
    json!({"name": GROUP, "versions": [version.clone()], "preferredVersion": version})
}

fn resources(group_version: &str) -> Value {
    let mut list = Vec::new();
    for names in ALL.into_iter().map(names).filter(|n| n.api_version == group_version) {
        list.push(json!({
            "name": names.plural,
            "singularName": names.kind.to_lowercase(),
            "namespaced": names.namespaced,
            "kind": names.kind,
            "verbs": ["get", "list", "watch"],
            "shortNames": names.short,
        }));
        if names.kind == "Pod" {
            list.push(json!({
                "name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"],
            }));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}
