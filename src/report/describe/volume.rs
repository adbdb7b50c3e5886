//! The volumes of `describe pod`.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, ProjectedVolumeSource, Volume};
use serde_json::Value;

use crate::model::quantity;

/// Every volume with what it is made of; names of ConfigMaps and Secrets, never their data.
pub(super) fn section(out: &mut String, volumes: &[Volume]) {
    if volumes.is_empty() {
        out.push_str("Volumes:\t<none>\n");
        return;
    }
    out.push_str("Volumes:\n");
    let mut has_token = false;
    for volume in volumes {
        let _ = writeln!(out, "  {}:", volume.name);
        body(out, volume);
        if !has_token && holds_token(volume) {
            has_token = true;
            line(out, "TokenOpens", NOTHING);
        }
    }
}

/// What kubectl has no word for: with a cluster there is an API.
const NOTHING: &str = "<none> (no API here honours tokens yet)";

fn holds_token(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources.into_iter().any(|source| source.service_account_token.is_some())
}

fn line(out: &mut String, title: &str, text: impl std::fmt::Display) {
    let _ = writeln!(out, "    {title}:\t{text}");
}

fn body(out: &mut String, volume: &Volume) {
    if let Some(path) = &volume.host_path {
        line(out, "Type", "HostPath (bare host directory volume)");
        line(out, "Path", &path.path);
        line(out, "HostPathType", path.type_.as_deref().unwrap_or_default());
    } else if let Some(dir) = &volume.empty_dir {
        line(out, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
        line(out, "Medium", dir.medium.as_deref().unwrap_or_default());
        let limit = dir.size_limit.as_ref().filter(|limit| quantity::nanos(&limit.0).is_some_and(|nanos| nanos > 0));
        line(out, "SizeLimit", limit.map_or("<unset>", |limit| limit.0.as_str()));
    } else if let Some(secret) = &volume.secret {
        line(out, "Type", "Secret (a volume populated by a Secret)");
        line(out, "SecretName", secret.secret_name.as_deref().unwrap_or_default());
        line(out, "Optional", secret.optional.unwrap_or(false));
    } else if let Some(map) = &volume.config_map {
        line(out, "Type", "ConfigMap (a volume populated by a ConfigMap)");
        line(out, "Name", &map.name);
        line(out, "Optional", map.optional.unwrap_or(false));
    } else if let Some(downward) = &volume.downward_api {
        line(out, "Type", "DownwardAPI (a volume populated by information about the pod)");
        downward_items(out, downward.items.as_deref().unwrap_or_default());
    } else if let Some(projected) = &volume.projected {
        line(out, "Type", "Projected (a volume that contains injected data from multiple sources)");
        sources(out, projected);
    } else if let Some(image) = &volume.image {
        line(out, "Type", "Image (a container image or OCI artifact)");
        line(out, "Reference", image.reference.as_deref().unwrap_or_default());
        line(out, "PullPolicy", image.pull_policy.as_deref().unwrap_or_default());
    } else {
        line(out, "Type", other_type(volume));
    }
}

fn downward_items(out: &mut String, items: &[DownwardAPIVolumeFile]) {
    out.push_str("    Items:\n");
    for item in items {
        let field = item.field_ref.as_ref().map(|f| f.field_path.clone());
        let resource = item.resource_field_ref.as_ref().map(|r| r.resource.clone());
        let _ = writeln!(out, "      {} -> {}", field.or(resource).unwrap_or_default(), item.path);
    }
}

fn sources(out: &mut String, projected: &ProjectedVolumeSource) {
    for source in projected.sources.iter().flatten() {
        if let Some(secret) = &source.secret {
            line(out, "SecretName", &secret.name);
            line(out, "Optional", secret.optional.unwrap_or(false));
        } else if source.downward_api.is_some() {
            line(out, "DownwardAPI", true);
        } else if let Some(map) = &source.config_map {
            line(out, "ConfigMapName", &map.name);
            line(out, "Optional", map.optional.unwrap_or(false));
        } else if let Some(token) = &source.service_account_token {
            line(out, "TokenExpirationSeconds", token.expiration_seconds.unwrap_or(3600));
        }
    }
}

/// The member that is set besides the name.
fn other_type(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or(Value::Null);
    let member = value.as_object().and_then(|o| o.keys().find(|k| *k != "name").cloned());
    member.unwrap_or_else(|| "<unknown>".to_owned())
}
