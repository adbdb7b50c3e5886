//! Which pods use a ConfigMap or Secret that differs.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, PodSpec, Volume};

use super::{KeyChange, ObjectDiff};
use crate::model::{Admitted, Kind, ObjectKey, PodKey};

/// The keys of an object that differ, by kind and name within one namespace.
type Changed<'a> = BTreeMap<(Kind, &'a str), BTreeSet<&'a str>>;

/// Told of each use: the kind, the name, and the keys unless it means all of them.
type Add<'a> = dyn FnMut(Kind, &str, Option<Vec<&str>>) + 'a;

/// Names with each object the pods of the head that use a key of it which differs, or all of it.
pub(super) fn note(objects: &mut [ObjectDiff], head: &Admitted) {
    let mut found: BTreeMap<ObjectKey, BTreeSet<PodKey>> = BTreeMap::new();
    let mut namespaces: BTreeMap<&str, Changed<'_>> = BTreeMap::new();
    for object in objects.iter().filter(|object| matches!(object.key.kind, Kind::ConfigMap | Kind::Secret)) {
        let differs = object.keys.iter().filter(|key| key.change != KeyChange::Unchanged);
        let keys = differs.map(|key| key.name.as_str()).collect();
        let changed = namespaces.entry(&object.key.namespace).or_default();
        changed.insert((object.key.kind, &object.key.name), keys);
    }
    if namespaces.is_empty() {
        return;
    }
    for (key, pod) in &head.pods {
        let Some(changed) = namespaces.get(key.namespace.as_str()) else { continue };
        for (kind, name) in used(&pod.spec.open(), changed) {
            let object = ObjectKey { kind, namespace: key.namespace.clone(), name };
            found.entry(object).or_default().insert(key.clone());
        }
    }
    for object in objects {
        object.used_by = found.remove(&object.key).into_iter().flatten().collect();
    }
}

/// The objects among `changed` of which a pod uses something that differs.
fn used(pod: &Pod, changed: &Changed<'_>) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let mut add = |kind: Kind, name: &str, keys: Option<Vec<&str>>| {
        let Some(differ) = changed.get(&(kind, name)) else { return };
        if keys.is_none_or(|keys| keys.iter().any(|key| differ.contains(key))) {
            found.push((kind, name.to_owned()));
        }
    };
    if let Some(spec) = &pod.spec {
        each_use(spec, &mut add);
    }
    found
}

/// Tells every use that a pod makes of ConfigMaps and Secrets.
fn each_use(spec: &PodSpec, add: &mut Add<'_>) {
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        of_container(container, add);
    }
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, add);
    }
    for reference in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, &reference.name, None);
    }
}

fn of_container(container: &Container, add: &mut Add<'_>) {
    for source in container.env_from.iter().flatten() {
        if let Some(reference) = &source.config_map_ref {
            add(Kind::ConfigMap, &reference.name, None);
        }
        if let Some(reference) = &source.secret_ref {
            add(Kind::Secret, &reference.name, None);
        }
    }
    for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(reference) = &from.config_map_key_ref {
            add(Kind::ConfigMap, &reference.name, Some(vec![&reference.key]));
        }
        if let Some(reference) = &from.secret_key_ref {
            add(Kind::Secret, &reference.name, Some(vec![&reference.key]));
        }
    }
}

fn of_volume(volume: &Volume, add: &mut Add<'_>) {
    if let Some(source) = &volume.config_map {
        add(Kind::ConfigMap, &source.name, keys(source.items.as_deref()));
    }
    if let Some(source) = &volume.secret {
        add(Kind::Secret, source.secret_name.as_deref().unwrap_or_default(), keys(source.items.as_deref()));
    }
    for source in volume.projected.iter().filter_map(|projected| projected.sources.as_ref()).flatten() {
        if let Some(source) = &source.config_map {
            add(Kind::ConfigMap, &source.name, keys(source.items.as_deref()));
        }
        if let Some(source) = &source.secret {
            add(Kind::Secret, &source.name, keys(source.items.as_deref()));
        }
    }
}

/// No items means every key.
fn keys(items: Option<&[KeyToPath]>) -> Option<Vec<&str>> {
    items.filter(|items| !items.is_empty()).map(|items| items.iter().map(|item| item.key.as_str()).collect())
}
