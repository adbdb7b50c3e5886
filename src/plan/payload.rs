//! What each volume of a pod is made of: kind, bytes and modes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, Pod, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::env::{self, Scope};
use super::field::Fields;
use super::token::{self, Asked};
use crate::model::quantity;
use crate::model::{
    DataObject, PayloadFile, ROOT_CA, ROOT_CA_KEY, SharedBytes, TOKEN_KEY, VolumeMaterial, VolumePayload,
};

/// Permission bits of a projected file unless the volume or the item says otherwise.
const FILE_MODE: i32 = 0o644;

/// What a file is to its owner and its group at least, when it is made for one.
const GROUP_READS: u32 = 0o440;

const SUPPORTED: &str = "emptyDir, hostPath, configMap, secret, projected, downwardAPI or image";

/// What a pod's volumes are to be.
#[derive(Default)]
pub(super) struct Payloads<'a> {
    /// Those that can be made.
    pub(super) volumes: Vec<VolumePayload>,
    /// The tokens that are to be among their files.
    pub(super) asked: Vec<Asked<'a>>,
    /// The names of those, of all that can be made, that lack the machine's certificate: it cannot be had now.
    pub(super) partial: BTreeSet<&'a str>,
    /// The messages of those that cannot be made (`FailedMount`).
    pub(super) failed: Vec<String>,
}

/// Every volume of the pod.
pub(super) fn volumes<'a>(scope: &'a Scope<'_>) -> Payloads<'a> {
    let mut all = Payloads::default();
    let group = group(scope.fields.pod);
    let volumes = scope.fields.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    // An image is mounted for each container that shows it: nothing is made beforehand.
    for volume in volumes.filter(|volume| volume.image.is_none()) {
        let mut beside = Beside::default();
        match group.clone().and_then(|group| payload(volume, group, (scope, &mut beside))) {
            Ok(payload) => {
                all.volumes.push(payload);
                all.asked.append(&mut beside.asked);
                all.partial.extend(Some(volume.name.as_str()).filter(|_| beside.lacks_certificate));
            }
            Err(why) => all.failed.push(not_set_up(&volume.name, &told(why))),
        }
    }
    all
}

/// What is found about a volume beside its files.
#[derive(Default)]
struct Beside<'a> {
    /// The tokens that are to be among them.
    asked: Vec<Asked<'a>>,
    /// So is the machine's certificate, which cannot be had now.
    lacks_certificate: bool,
}

/// Why files that are there stay although they can be made: without the certificate, which they may hold.
pub(super) fn is_partial(volume: &str) -> String {
    not_set_up(volume, "the machine's certificate cannot be had now")
}

/// The kubelet's message for a volume that cannot be made.
fn not_set_up(volume: &str, why: &str) -> String {
    format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}")
}

/// The group that the pod's volumes are made for.
fn group(pod: &Pod) -> Result<Option<u32>, Wrong> {
    let wanted = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    wanted.map(|gid| u32::try_from(gid).map_err(|_| wrong(format!("fsGroup {gid} is out of range")))).transpose()
}

/// A volume as its group has it: it may read every file (pkg/volume/volume_linux.go, `SetVolumeOwnership`). What is the
/// machine's stays as it is.
fn payload<'a>(
    volume: &'a Volume,
    group: Option<u32>,
    (scope, beside): (&'a Scope<'_>, &mut Beside<'a>),
) -> Result<VolumePayload, Wrong> {
    let mut material = material(volume, scope, beside)?;
    let group = group.filter(|_| !matches!(material, VolumeMaterial::HostPath { .. }));
    if let (Some(_), VolumeMaterial::Files { files, .. }) = (group, &mut material) {
        files.iter_mut().for_each(|file| file.mode |= GROUP_READS);
        beside.asked.iter_mut().for_each(|token| token.mode |= GROUP_READS);
    }
    Ok(VolumePayload { name: volume.name.clone(), material, group })
}

/// What is wrong with a volume.
type Wrong = Vec<String>;

fn wrong(why: impl Into<String>) -> Wrong {
    vec![why.into()]
}

/// Errors in one text, each once, as Kubernetes' own aggregates are told.
fn told(mut all: Wrong) -> String {
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.clone()));
    match all.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Whether a volume has files that may change while the pod runs.
pub(super) fn has_files(volume: &VolumePayload) -> bool {
    matches!(volume.material, VolumeMaterial::Files { .. })
}

fn material<'a>(volume: &'a Volume, scope: &'a Scope<'_>, beside: &mut Beside<'a>) -> Result<VolumeMaterial, Wrong> {
    if let Some(source) = &volume.empty_dir {
        empty_dir(source).map_err(wrong)
    } else if let Some(source) = &volume.host_path {
        Ok(VolumeMaterial::HostPath { path: source.path.clone(), kind: source.type_.clone().unwrap_or_default() })
    } else if let Some(source) = &volume.config_map {
        config_map(source, scope, beside).map_err(wrong)
    } else if let Some(source) = &volume.secret {
        secret(source, scope, beside).map_err(wrong)
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        // In memory, as with the kubelet: what a pod is marked with may change often.
        Ok(VolumeMaterial::Files { files: downward(items, source.default_mode, &scope.fields)?, sensitive: true })
    } else if let Some(source) = &volume.projected {
        projected(source, (&volume.name, beside), scope)
    } else {
        Err(wrong(format!("this kind of volume is not supported: use {SUPPORTED}")))
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

fn config_map(
    source: &ConfigMapVolumeSource,
    scope: &Scope<'_>,
    beside: &mut Beside<'_>,
) -> Result<VolumeMaterial, String> {
    let optional = source.optional == Some(true);
    let content = content_of_config_map(&source.name, optional, scope)?;
    let selection = Selection { kind: "config", items: source.items.as_deref(), optional, mode: source.default_mode };
    Ok(VolumeMaterial::Files { files: selection.files(&content, beside)?, sensitive: false })
}

fn secret(source: &SecretVolumeSource, scope: &Scope<'_>, beside: &mut Beside<'_>) -> Result<VolumeMaterial, String> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let content = content_of_secret(name, optional, scope)?;
    let selection = Selection { kind: "secret", items: source.items.as_deref(), optional, mode: source.default_mode };
    Ok(VolumeMaterial::Files { files: selection.files(&content, beside)?, sensitive: true })
}

/// The files of all sources together. Of two with one path the later one is there; what is wrong with a source is told
/// together with what is wrong with the others (the kubelet's `projected.go`).
fn projected<'a>(
    source: &'a ProjectedVolumeSource,
    (volume, beside): (&'a str, &mut Beside<'a>),
    scope: &'a Scope<'_>,
) -> Result<VolumeMaterial, Wrong> {
    let (mut files, mut failed) = (BTreeMap::new(), Wrong::new());
    for one in source.sources.iter().flatten() {
        if let Some(token) = &one.service_account_token {
            match token_file(token, (volume, source.default_mode), scope) {
                Ok(token) => {
                    files.remove(&token.path);
                    beside.asked.retain(|other| other.path != token.path);
                    beside.asked.push(token);
                }
                Err(why) => failed.push(why),
            }
            continue;
        }
        match projection(one, source.default_mode, (scope, &mut *beside)) {
            Ok(made) => {
                beside.asked.retain(|token| !made.iter().any(|file| file.path == token.path));
                files.extend(made.into_iter().map(|file| (file.path.clone(), file)));
            }
            Err(why) => failed.extend(why),
        }
    }
    if !failed.is_empty() {
        return Err(failed);
    }
    let sensitive = |one: &VolumeProjection| {
        one.secret.is_some() || one.downward_api.is_some() || one.service_account_token.is_some()
    };
    let sensitive = source.sources.iter().flatten().any(sensitive);
    Ok(VolumeMaterial::Files { files: files.into_values().collect(), sensitive })
}

/// The file of a token, at its path without what says nothing.
fn token_file<'a>(
    source: &'a ServiceAccountTokenProjection,
    (volume, default): (&'a str, Option<i32>),
    scope: &'a Scope<'_>,
) -> Result<Asked<'a>, String> {
    let mode = token::mode(scope.fields.pod, default.unwrap_or(FILE_MODE));
    let PayloadFile { path, mode, .. } = file(&source.path, SharedBytes::new(""), mode)?;
    Ok(Asked::of(source, (volume, path, mode), scope))
}

fn projection(
    source: &VolumeProjection,
    mode: Option<i32>,
    (scope, beside): (&Scope<'_>, &mut Beside<'_>),
) -> Result<Vec<PayloadFile>, Wrong> {
    if let Some(source) = &source.config_map {
        let optional = source.optional == Some(true);
        let content = content_of_config_map(&source.name, optional, scope).map_err(wrong)?;
        let selection = Selection { kind: "config", items: source.items.as_deref(), optional, mode };
        selection.files(&content, beside).map_err(wrong)
    } else if let Some(source) = &source.secret {
        let optional = source.optional == Some(true);
        let content = content_of_secret(&source.name, optional, scope).map_err(wrong)?;
        let selection = Selection { kind: "secret", items: source.items.as_deref(), optional, mode };
        selection.files(&content, beside).map_err(wrong)
    } else if let Some(source) = &source.downward_api {
        downward(source.items.as_deref().unwrap_or_default(), mode, &scope.fields)
    } else {
        let known = "secret, configMap, downwardAPI or serviceAccountToken";
        Err(wrong(format!("this source of a projected volume is not supported: use {known}")))
    }
}

/// Files that show the pod itself (pkg/volume/downwardapi/downwardapi.go, `CollectData`). Of two with one path the later one is
/// there.
fn downward(
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
    fields: &Fields<'_>,
) -> Result<Vec<PayloadFile>, Wrong> {
    let (mut files, mut failed) = (BTreeMap::new(), Wrong::new());
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields.metadata(&field.field_path),
            (None, Some(resource)) => {
                let name = resource.container_name.as_deref().unwrap_or_default();
                fields.named(name).and_then(|container| fields.resource(resource, container))
            }
            (None, None) => Ok(String::new()),
        };
        let mode = item.mode.or(mode).unwrap_or(FILE_MODE);
        match value.and_then(|value| file(&item.path, SharedBytes::new(value), mode)) {
            Ok(file) => drop(files.insert(file.path.clone(), file)),
            Err(why) => failed.push(why),
        }
    }
    if failed.is_empty() { Ok(files.into_values().collect()) } else { Err(failed) }
}

/// What a volume can be made of.
#[derive(Default)]
struct Content<'a> {
    /// By key.
    values: BTreeMap<&'a str, SharedBytes>,
    /// [`ROOT_CA_KEY`] is to be among them and cannot be had now. No API takes the certificate yet: what is begun is made
    /// without it.
    lacks_certificate: bool,
    /// What is told of one whose token is not known yet: files that have it stay.
    unfilled: Option<String>,
}

/// `kube-root-ca.crt` is in every namespace, and has the machine's certificate where no manifest has another one.
fn content_of_config_map<'a>(name: &str, optional: bool, scope: &'a Scope<'_>) -> Result<Content<'a>, String> {
    let map = scope.config_map(name);
    match map {
        None if name == ROOT_CA => {}
        None if optional => return Ok(Content::default()),
        None => return Err(format!("configmap \"{name}\" not found")),
        Some(_) => {}
    }
    let written = map.into_iter().flat_map(DataObject::values);
    let mut values: BTreeMap<_, _> = written.map(|(key, value)| (key, value.clone())).collect();
    let mut lacks_certificate = name == ROOT_CA && !values.contains_key(ROOT_CA_KEY);
    if let Some(text) = scope.root_ca().filter(|_| lacks_certificate) {
        values.insert(ROOT_CA_KEY, SharedBytes::new(text));
        lacks_certificate = false;
    }
    Ok(Content { values, lacks_certificate, unfilled: None })
}

fn content_of_secret<'a>(name: &str, optional: bool, scope: &'a Scope<'_>) -> Result<Content<'a>, String> {
    match scope.secret(name) {
        Some(content) => {
            let values = content.into_iter().map(|(key, value)| (key, value.clone())).collect();
            let unfilled = scope.lacks(name, TOKEN_KEY).then(|| env::unfilled(name));
            Ok(Content { values, lacks_certificate: scope.lacks(name, ROOT_CA_KEY), unfilled })
        }
        None if optional => Ok(Content::default()),
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
    fn files(&self, content: &Content<'_>, beside: &mut Beside<'_>) -> Result<Vec<PayloadFile>, String> {
        let default = self.mode.unwrap_or(FILE_MODE);
        let mut files: BTreeMap<String, PayloadFile> = BTreeMap::new();
        let mut add = |path: &str, bytes: &SharedBytes, mode: i32| -> Result<(), String> {
            let file = file(path, bytes.clone(), mode)?;
            files.insert(file.path.clone(), file);
            Ok(())
        };
        match self.items.filter(|items| !items.is_empty()) {
            None => {
                content.unfilled.clone().map_or(Ok(()), Err)?;
                beside.lacks_certificate |= content.lacks_certificate;
                for (key, bytes) in &content.values {
                    add(key, bytes, default)?;
                }
            }
            Some(items) => {
                for item in items {
                    match content.values.get(item.key.as_str()) {
                        Some(bytes) => add(&item.path, bytes, item.mode.unwrap_or(default))?,
                        None if content.lacks_certificate && item.key == ROOT_CA_KEY => beside.lacks_certificate = true,
                        None if item.key == TOKEN_KEY && content.unfilled.is_some() => {
                            content.unfilled.clone().map_or(Ok(()), Err)?;
                        }
                        None if self.optional => {}
                        None => return Err(format!("references non-existent {} key: {}", self.kind, item.key)),
                    }
                }
            }
        }
        Ok(files.into_values().collect())
    }
}

/// One file, at its path without what says nothing (`./`, `//`).
fn file(path: &str, bytes: SharedBytes, mode: i32) -> Result<PayloadFile, String> {
    check_path(path)?;
    let mode = u32::try_from(mode).ok().filter(|mode| *mode <= 0o777);
    let mode = mode.ok_or_else(|| format!("mode of {path:?} is not between 0 and 0777"))?;
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(PayloadFile { path: parts.join("/"), bytes, mode, owner: None })
}

/// The bounds of Kubernetes' atomic writer: relative, no `..`, no more than 4096 characters, 255 per part.
fn check_path(path: &str) -> Result<(), String> {
    let fits = path.len() <= 4096 && path.split('/').all(|part| part.len() <= 255);
    let names_one = path.split('/').any(|part| !matches!(part, "" | "."));
    let inside = names_one && !path.starts_with('/') && path.split('/').all(|part| part != "..");
    if fits && inside && !path.starts_with("..") && !path.contains('\0') {
        Ok(())
    } else {
        Err(format!("invalid path {path:?}: it must be relative, without \"..\" and at most 4096 bytes long"))
    }
}
