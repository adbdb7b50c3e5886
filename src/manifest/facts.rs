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
}

impl Facts {
    /// Draws the facts of an object.
    pub(super) fn of(kind: Kind, value: &Value) -> Self {
        let root = View::root(value);
        let Some(spec) = root.get("spec") else { return Self::default() };
        let named = |volume: View<'_>| volume.text_of("name").map(str::to_owned);
        let volumes: BTreeSet<String> = spec.list("volumes").into_iter().filter_map(named).collect();
        match kind {
            Kind::Pod => {
                let containers = containers(&spec);
                let mut references = data_references(&spec, &containers);
                references.extend(account(&spec));
                let open_mounts = open_mounts(&volumes, &containers);
                Self { references, host_ports: host_ports(&spec), open_mounts, volumes }
            }
            Kind::PodPreset => {
                let references = data_references(&spec, std::slice::from_ref(&spec));
                Self { references, volumes, ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}

/// ConfigMaps and Secrets that variables and volumes need.
fn data_references(spec: &View<'_>, containers: &[View<'_>]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut add = |source: Option<View<'_>>, name: &str, kind: Kind| {
        if let Some(source) = source.filter(|source| !source.is_true("optional"))
            && let Some(name) = source.get(name)
            && let Some(text) = name.text().filter(|text| !text.is_empty())
        {
            found.push(Reference { kind, name: text.to_owned(), pointer: name.pointer.clone() });
        }
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
    }
    found
}

/// The service account, unless it is the one that every namespace has.
fn account(spec: &View<'_>) -> Option<Reference> {
    let name = ["serviceAccountName", "serviceAccount"].into_iter().find_map(|field| {
        spec.get(field).filter(|view| view.text().is_some_and(|text| !text.is_empty() && text != "default"))
    })?;
    Some(Reference { kind: Kind::ServiceAccount, name: name.text()?.to_owned(), pointer: name.pointer })
}

fn open_mounts(volumes: &BTreeSet<String>, containers: &[View<'_>]) -> Vec<(String, String)> {
    let names = containers.iter().flat_map(|container| container.list("volumeMounts"));
    names
        .filter_map(|mount| mount.get("name"))
        .filter_map(|name| Some((name.text()?.to_owned(), name.pointer)))
        .filter(|(name, _)| !name.is_empty() && !volumes.contains(name))
        .collect()
}
