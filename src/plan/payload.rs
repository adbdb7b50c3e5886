//! What each volume of a pod is made of: kind, bytes and modes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, Pod, ProjectedVolumeSource, SecretVolumeSource, Volume,
    VolumeProjection,
};

use crate::model::quantity;
use crate::model::{DataObjects, Masked, PayloadFile, VolumeMaterial, VolumePayload};

/// Permission bits of a projected file unless the volume or the item says otherwise.
const FILE_MODE: i32 = 0o644;

/// Every volume of the pod, or the messages of those that cannot be made (`FailedMount`).
pub(super) fn volumes(pod: &Pod, data: &DataObjects) -> Result<Vec<VolumePayload>, Vec<String>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut made = Vec::new();
    let mut failed = Vec::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        match material(volume, namespace, data) {
            Ok(material) => made.push(VolumePayload { name: volume.name.clone(), material }),
            Err(why) => failed.push(format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name)),
        }
    }
    if failed.is_empty() { Ok(made) } else { Err(failed) }
}

/// Whether any of them has files that may change while the pod runs.
pub(super) fn has_files(volumes: &[VolumePayload]) -> bool {
    volumes.iter().any(|volume| matches!(volume.material, VolumeMaterial::Files { .. }))
}

fn material(volume: &Volume, namespace: &str, data: &DataObjects) -> Result<VolumeMaterial, String> {
    if let Some(source) = &volume.empty_dir {
        empty_dir(source)
    } else if let Some(source) = &volume.host_path {
        Ok(VolumeMaterial::HostPath { path: source.path.clone(), kind: source.type_.clone().unwrap_or_default() })
    } else if let Some(source) = &volume.config_map {
        config_map(source, namespace, data)
    } else if let Some(source) = &volume.secret {
        secret(source, namespace, data)
    } else if let Some(source) = &volume.projected {
        projected(source, namespace, data)
    } else {
        Err("this kind of volume is not supported: use emptyDir, hostPath, configMap, secret or projected".to_owned())
    }
}

fn empty_dir(source: &EmptyDirVolumeSource) -> Result<VolumeMaterial, String> {
    let memory = match source.medium.as_deref().unwrap_or_default() {
        "" => false,
        "Memory" => true,
        other => return Err(format!("unknown storage medium {other:?}: use \"\" or \"Memory\"")),
    };
    let size_limit = match &source.size_limit {
        Some(limit) => {
            Some(quantity::bytes(&limit.0).ok_or_else(|| format!("sizeLimit {:?} is no quantity", limit.0))?)
        }
        None => None,
    };
    // Zero is no limit.
    Ok(VolumeMaterial::EmptyDir { memory, size_limit: size_limit.filter(|limit| *limit > 0) })
}

fn config_map(source: &ConfigMapVolumeSource, namespace: &str, data: &DataObjects) -> Result<VolumeMaterial, String> {
    let optional = source.optional == Some(true);
    let content = content_of_config_map(&source.name, optional, namespace, data)?;
    let selection = Selection { kind: "config", items: source.items.as_deref(), optional, mode: source.default_mode };
    Ok(VolumeMaterial::Files { files: selection.files(&content)?, sensitive: false })
}

fn secret(source: &SecretVolumeSource, namespace: &str, data: &DataObjects) -> Result<VolumeMaterial, String> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let content = content_of_secret(name, optional, namespace, data)?;
    let selection = Selection { kind: "secret", items: source.items.as_deref(), optional, mode: source.default_mode };
    Ok(VolumeMaterial::Files { files: selection.files(&content)?, sensitive: true })
}

/// The files of all sources together. Of two with one path the later one is there; what is wrong with a source is told
/// together with what is wrong with the others (the kubelet's `projected.go`, and its way to put errors in one text).
fn projected(source: &ProjectedVolumeSource, namespace: &str, data: &DataObjects) -> Result<VolumeMaterial, String> {
    let (mut files, mut failed) = (BTreeMap::new(), Vec::new());
    for one in source.sources.iter().flatten() {
        match projection(one, source.default_mode, namespace, data) {
            Ok(made) => files.extend(made.into_iter().map(|file| (file.path.clone(), file))),
            Err(why) => failed.push(why),
        }
    }
    match failed.as_slice() {
        [] => {
            let sensitive = source.sources.iter().flatten().any(|one| one.secret.is_some());
            Ok(VolumeMaterial::Files { files: files.into_values().collect(), sensitive })
        }
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn projection(
    source: &VolumeProjection,
    mode: Option<i32>,
    namespace: &str,
    data: &DataObjects,
) -> Result<Vec<PayloadFile>, String> {
    if let Some(source) = &source.config_map {
        let optional = source.optional == Some(true);
        let content = content_of_config_map(&source.name, optional, namespace, data)?;
        Selection { kind: "config", items: source.items.as_deref(), optional, mode }.files(&content)
    } else if let Some(source) = &source.secret {
        let optional = source.optional == Some(true);
        let content = content_of_secret(&source.name, optional, namespace, data)?;
        Selection { kind: "secret", items: source.items.as_deref(), optional, mode }.files(&content)
    } else {
        Err("this source of a projected volume is not supported: use secret or configMap".to_owned())
    }
}

/// What a volume can be made of, by key.
type Content<'a> = BTreeMap<&'a str, &'a [u8]>;

fn content_of_config_map<'a>(
    name: &str,
    optional: bool,
    namespace: &str,
    data: &'a DataObjects,
) -> Result<Content<'a>, String> {
    match data.config_maps.get(&(namespace.to_owned(), name.to_owned())) {
        Some(map) => {
            let texts = map.data.iter().flatten().map(|(key, text)| (key.as_str(), text.as_bytes()));
            let bytes = map.binary_data.iter().flatten().map(|(key, bytes)| (key.as_str(), &bytes.0[..]));
            Ok(texts.chain(bytes).collect())
        }
        None if optional => Ok(BTreeMap::new()),
        None => Err(format!("configmap \"{name}\" not found")),
    }
}

fn content_of_secret<'a>(
    name: &str,
    optional: bool,
    namespace: &str,
    data: &'a DataObjects,
) -> Result<Content<'a>, String> {
    match data.secrets.get(&(namespace.to_owned(), name.to_owned())) {
        Some(secret) => Ok(secret.data.iter().flatten().map(|(key, bytes)| (key.as_str(), &bytes.0[..])).collect()),
        None if optional => Ok(BTreeMap::new()),
        None => Err(format!("secret \"{name}\" not found")),
    }
}

/// Which keys become files, under which names and with which modes.
struct Selection<'a> {
    kind: &'static str,
    /// `None` or empty: every key, under its own name.
    items: Option<&'a [KeyToPath]>,
    optional: bool,
    mode: Option<i32>,
}

impl Selection<'_> {
    /// The files, sorted by path.
    fn files(&self, content: &Content<'_>) -> Result<Vec<PayloadFile>, String> {
        let default = self.mode.unwrap_or(FILE_MODE);
        let mut files: BTreeMap<String, PayloadFile> = BTreeMap::new();
        let mut add = |path: &str, bytes: &[u8], mode: i32| -> Result<(), String> {
            check_path(path)?;
            let mode = u32::try_from(mode).ok().filter(|mode| *mode <= 0o777);
            let mode = mode.ok_or_else(|| format!("mode of {path:?} is not between 0 and 0777"))?;
            let file = PayloadFile { path: path.to_owned(), bytes: Masked::new(bytes.to_vec()), mode };
            files.insert(path.to_owned(), file);
            Ok(())
        };
        match self.items.filter(|items| !items.is_empty()) {
            None => {
                for (key, bytes) in content {
                    add(key, bytes, default)?;
                }
            }
            Some(items) => {
                for item in items {
                    match content.get(item.key.as_str()) {
                        Some(bytes) => add(&item.path, bytes, item.mode.unwrap_or(default))?,
                        None if self.optional => {}
                        None => return Err(format!("references non-existent {} key: {}", self.kind, item.key)),
                    }
                }
            }
        }
        Ok(files.into_values().collect())
    }
}

/// The bounds of Kubernetes' atomic writer: relative, no `..`, no more than 4096 characters, 255 per part.
fn check_path(path: &str) -> Result<(), String> {
    let fits = path.len() <= 4096 && path.split('/').all(|part| part.len() <= 255);
    let inside = !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..");
    if fits && inside && !path.starts_with("..") && !path.contains('\0') {
        Ok(())
    } else {
        Err(format!("invalid path {path:?}: it must be relative, without \"..\" and at most 4096 bytes long"))
    }
}
