//! What the check across objects needs to know of each: drawn once per file, so that a round stays cheap.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rules::{HostPort, View, containers, host_ports};
use crate::model::Kind;

/// A named object that another one needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Where the name stands.
    pub(super) pointer: String,
    /// Keys of it that are needed, each with its place.
    pub(super) keys: Vec<(String, String)>,
}

/// What an object has to do with others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// References that are not optional.
    pub(super) references: Vec<Reference>,
    pub(super) host_ports: Vec<HostPort>,
    /// Mounts of volumes that the pod itself does not define: the volume's name, and where it stands.
    pub(super) open_mounts: Vec<(String, String)>,
    /// Names of the volumes it defines.
    pub(super) volumes: BTreeSet<String>,
    /// Keys that it holds: a ConfigMap's or Secret's.
    pub(super) keys: BTreeSet<String>,
}

impl Facts {
    /// Draws the facts of an object.
    pub(super) fn of(kind: Kind, value: &Value) -> Self {
        let root = View::root(value);
        match kind {
            Kind::Pod => root.get("spec").map_or_else(Self::default, |spec| of_pod(&spec)),
            Kind::PodPreset => root.get("spec").map_or_else(Self::default, |spec| {
                let references = data_references(&spec, std::slice::from_ref(&spec));
                Self { references, volumes: volume_names(&spec), ..Self::default() }
            }),
            Kind::ServiceAccount => {
                let named = ["imagePullSecrets", "secrets"].map(|list| secrets(&root, list));
                Self { references: named.concat(), ..Self::default() }
            }
            Kind::ConfigMap | Kind::Secret => {
                let maps = ["data", "binaryData", "stringData"].into_iter().filter_map(|map| root.get(map));
                let keys = maps.flat_map(|map| map.entries()).map(|(key, _)| key.to_owned()).collect();
                Self { keys, ..Self::default() }
            }
            Kind::Namespace => Self::default(),
        }
    }
}

fn of_pod(spec: &View<'_>) -> Facts {
    let containers = containers(spec);
    let volumes = volume_names(spec);
    let mut references = data_references(spec, &containers);
    references.extend(account(spec));
    references.extend(secrets(spec, "imagePullSecrets"));
    let open_mounts = open_mounts(&volumes, &containers);
    Facts { references, host_ports: host_ports(spec), open_mounts, volumes, keys: BTreeSet::new() }
}

fn volume_names(spec: &View<'_>) -> BTreeSet<String> {
    spec.list("volumes").into_iter().filter_map(|volume| volume.text_of("name").map(str::to_owned)).collect()
}

/// The name in a field, if it says one.
fn named(kind: Kind, name: &View<'_>) -> Option<Reference> {
    let text = name.text().filter(|text| !text.is_empty())?;
    Some(Reference { kind, name: text.to_owned(), pointer: name.pointer.clone(), keys: vec![] })
}

/// ConfigMaps and Secrets that variables and volumes need, with the keys they need of them.
fn data_references(spec: &View<'_>, containers: &[View<'_>]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut add = |source: Option<View<'_>>, name: &str, kind: Kind| {
        let Some(source) = source.filter(|source| !source.is_true("optional")) else { return };
        let Some(mut reference) = source.get(name).and_then(|name| named(kind, &name)) else { return };
        let items = source.list("items");
        let keys = items.iter().chain([&source]).filter_map(|item| item.get("key"));
        reference.keys = keys.filter_map(|key| Some((key.text()?.to_owned(), key.pointer.clone()))).collect();
        found.push(reference);
    };
    for container in containers {
        for source in container.list("envFrom") {
            add(source.get("configMapRef"), "name", Kind::ConfigMap);
            add(source.get("secretRef"), "name", Kind::Secret);
        }
        for variable in container.list("env") {
            add(variable.path(&["valueFrom", "configMapKeyRef"]), "name", Kind::ConfigMap);
            add(variable.path(&["valueFrom", "secretKeyRef"]), "name", Kind::Secret);
        }
    }
    for volume in spec.list("volumes") {
        add(volume.get("configMap"), "name", Kind::ConfigMap);
        add(volume.get("secret"), "secretName", Kind::Secret);
        for source in volume.get("projected").map_or_else(Vec::new, |projected| projected.list("sources")) {
            add(source.get("configMap"), "name", Kind::ConfigMap);
            add(source.get("secret"), "name", Kind::Secret);
        }
    }
    found
}

/// The service account, unless it is the one that every namespace has.
fn account(spec: &View<'_>) -> Option<Reference> {
    let field = ["serviceAccountName", "serviceAccount"].into_iter().find_map(|field| {
        spec.get(field).filter(|view| view.text().is_some_and(|text| !text.is_empty() && text != "default"))
    })?;
    named(Kind::ServiceAccount, &field)
}

/// Secrets named in a list of their own.
fn secrets(holder: &View<'_>, list: &str) -> Vec<Reference> {
    let names = holder.list(list).into_iter().filter_map(|item| item.get("name"));
    names.filter_map(|name| named(Kind::Secret, &name)).collect()
}

fn open_mounts(volumes: &BTreeSet<String>, containers: &[View<'_>]) -> Vec<(String, String)> {
    let names = containers.iter().flat_map(|container| container.list("volumeMounts"));
    names
        .filter_map(|mount| mount.get("name"))
        .filter_map(|name| Some((name.text()?.to_owned(), name.pointer)))
        .filter(|(name, _)| !name.is_empty() && !volumes.contains(name))
        .collect()
}
