//! The ConfigMap and Secret data a pod uses, and what of it differs from what the pod was last planned with.
//!
//! Files follow data while the pod runs; variables do when their container starts again, and a pod may ask for that. Either
//! way the pod is updated in place, and its record keeps digests of the data from then on: what was told once is not told
//! again. Keys are named, values never: digests are keyed with the pod's uid and stay in its record.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMapProjection, Container, KeyToPath, Pod, PodSpec, Volume};
use sha2::{Digest, Sha256};

use super::opened::Opened;
use super::restart;
use crate::model::{
    AdmittedPod, Cause, ContainerKind, ContainerRecord, DataDigests, DataObjects, FieldChange, Kind, ObjectKey, Packed,
    PodRecord, PodUid, RESTART_ON_DATA, ROOT_CA, SharedBytes, TOKEN_VOLUME, Verb,
};

/// An object with more keys in use than this has one digest for all of them.
const MOST: usize = 1000;
/// The name under which that one stands; no key is empty.
const ALL: &str = "";

/// The objects of a revision; each value is hashed once, however many pods use it.
pub(super) struct View<'a> {
    data: &'a DataObjects,
}

/// Which keys of an object are used.
enum Wanted<'a> {
    /// Every key; variables are made of text alone.
    All {
        text_only: bool,
    },
    Some(BTreeSet<&'a str>),
}

/// A place in a pod that takes data of an object.
struct Use<'a> {
    kind: Kind,
    name: &'a str,
    wanted: Wanted<'a>,
    place: Place<'a>,
}

/// Where that is; containers by list and index.
enum Place<'a> {
    EnvFrom { list: &'static str, at: usize, container: &'a Container, index: usize },
    Env { list: &'static str, at: usize, container: &'a Container, name: &'a str },
    Volume(&'a str),
}

impl Place<'_> {
    fn field(&self) -> String {
        match self {
            Place::EnvFrom { list, at, index, .. } => format!("spec.{list}[{at}].envFrom[{index}]"),
            Place::Env { list, at, name, .. } => format!("spec.{list}[{at}].env[{name}]"),
            Place::Volume(name) => format!("spec.volumes[{name}]"),
        }
    }

    /// The container whose variables it makes.
    fn container(&self) -> Option<&str> {
        match self {
            Place::EnvFrom { container, .. } | Place::Env { container, .. } => Some(&container.name),
            Place::Volume(_) => None,
        }
    }

    /// How a restart could be avoided.
    fn instead(&self) -> String {
        let kept = match self {
            Place::EnvFrom { .. } | Place::Env { .. } => "variables keep their values until the container starts again",
            Place::Volume(_) => "files follow without a restart",
        };
        format!("without the annotation {RESTART_ON_DATA} {kept}")
    }

    /// The containers that are restarted for new data, in a pod that asks for it. An init container has run.
    fn restarted<'p>(&self, spec: &'p PodSpec) -> Vec<&'p str> {
        let takes = |container: &Container| match self {
            Place::EnvFrom { container: own, .. } | Place::Env { container: own, .. } => own.name == container.name,
            Place::Volume(name) => mounts(container, name),
        };
        let init = spec.init_containers.iter().flatten().map(|c| (c, restart::kind_of(c, true)));
        let apps = spec.containers.iter().map(|c| (c, ContainerKind::App));
        let stays = apps.chain(init).filter(|(_, kind)| *kind != ContainerKind::Init);
        stays.filter(|(container, _)| takes(container)).map(|(container, _)| container.name.as_str()).collect()
    }

    /// When new data is seen, if that is not at once.
    fn note(&self, pod: &Pod) -> Option<String> {
        match self {
            Place::EnvFrom { container, .. } | Place::Env { container, .. } => {
                Some(format!("takes effect when container {} starts again", container.name))
            }
            Place::Volume(name) => parts_note(name, pod.spec.as_ref()?),
        }
    }
}

/// The text of the digests of a pod that takes no data.
const NO_DIGESTS: &str = "{}";

impl<'a> View<'a> {
    pub(super) fn new(data: &'a DataObjects) -> Self {
        Self { data }
    }

    /// Digests of what a pod uses, by object and key. An object that is not there has no entry.
    pub(super) fn digests(&self, pod: &Pod, uid: &PodUid) -> Packed<DataDigests> {
        let mut digests = DataDigests::new();
        for place in uses(pod) {
            let object = place.object(pod);
            let Some(content) = self.content(&object, &place.wanted) else { continue };
            let keys = digests.entry(object_name(&object)).or_default();
            for (key, value) in content {
                keys.insert(key.to_owned(), self.digest(uid, value));
            }
        }
        digests.values_mut().filter(|keys| keys.len() > MOST).for_each(join);
        Packed::new(&digests)
    }

    /// What changed since the pod was last planned for, and what that takes for what it is to be. Nothing is known about a
    /// record that keeps no digests.
    pub(super) fn changes(&self, record: &PodRecord, target: &AdmittedPod) -> Vec<FieldChange> {
        let Some(before) = &record.data_digests else { return Vec::new() };
        // What admission gives to each pod takes no data but the machine's own.
        if !mentions_data(record.realised.spec.text()) && before.text() == NO_DIGESTS {
            return Vec::new();
        }
        let pod = record.realised.effective.open();
        let after = self.digests(&pod, &record.uid);
        if *before == after {
            return Vec::new();
        }
        let (before, after) = (before.open(), after.open());
        let restarts = restarts(&target.effective.open());
        let changes = uses(&pod).into_iter().filter_map(|place| place.change(&pod, &before, &after, restarts));
        changes.collect()
    }

    /// The keys in use that are there; `None` without the object.
    fn content(&self, object: &ObjectKey, wanted: &Wanted<'_>) -> Option<BTreeMap<&'a str, &'a SharedBytes>> {
        let name = (object.namespace.clone(), object.name.clone());
        // What the agent has filled in is no data that anybody wrote.
        let all = if object.kind == Kind::Secret { &self.data.secrets } else { &self.data.config_maps };
        let found = all.get(&name)?;
        let texts = found.texts.iter().map(|(key, text)| (key.as_str(), text));
        Some(match wanted {
            Wanted::All { text_only: true } if object.kind == Kind::ConfigMap => texts.collect(),
            Wanted::All { .. } => found.values().collect(),
            Wanted::Some(keys) => found.values().filter(|(key, _)| keys.contains(key)).collect(),
        })
    }

    /// The digest of a value as this pod's record keeps it: 128 bits.
    fn digest(&self, uid: &PodUid, value: &SharedBytes) -> String {
        let keyed = Sha256::new().chain_update(&uid.0).chain_update([0]).chain_update(value.digest()).finalize();
        hex(&keyed[..16])
    }
}

impl Use<'_> {
    fn object(&self, pod: &Pod) -> ObjectKey {
        let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        ObjectKey { kind: self.kind, namespace, name: self.name.to_owned() }
    }

    fn uses(&self, key: &str) -> bool {
        match &self.wanted {
            Wanted::All { .. } => true,
            Wanted::Some(keys) => keys.contains(key) || key == ALL,
        }
    }

    /// What differs for this place: keys that changed, came or went, or the object as a whole.
    fn change(&self, pod: &Pod, before: &DataDigests, after: &DataDigests, restarts: bool) -> Option<FieldChange> {
        let object = self.object(pod);
        let name = object_name(&object);
        let none = BTreeMap::new();
        let sides = [before.get(&name), after.get(&name)];
        let [old, new] = sides.map(|side| side.unwrap_or(&none));
        let mut keys: Vec<&String> = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))).collect();
        keys.retain(|key| self.uses(key) && old.get(*key) != new.get(*key));
        keys.sort();
        let came_or_went = sides[0].is_some() != sides[1].is_some();
        if keys.is_empty() && !(came_or_went && matches!(self.wanted, Wanted::All { .. })) {
            return None;
        }
        let keys = keys.into_iter().filter(|key| *key != ALL).cloned().collect();
        let change = FieldChange {
            field: self.place.field(),
            before: None,
            after: None,
            effect: Verb::UpdateInPlace,
            cause: Cause::Data { object, keys },
            container: self.place.container().map(str::to_owned),
            avoidable: None,
            note: None,
        };
        let restarted =
            pod.spec.as_ref().filter(|_| restarts).map(|spec| self.place.restarted(spec)).unwrap_or_default();
        if restarted.is_empty() {
            return Some(FieldChange { note: self.place.note(pod), ..change });
        }
        let note = self.place.container().is_none().then(|| format!("restarts {}", named(&restarted)));
        Some(FieldChange { effect: Verb::RestartContainer, avoidable: Some(self.place.instead()), note, ..change })
    }
}

/// Whether a pod's text has any of the fields that name a ConfigMap or a Secret: without them it takes no data, and need not be
/// opened to know that.
fn mentions_data(text: &str) -> bool {
    ["configMap", "secret"].iter().any(|field| text.contains(field))
}

/// Every place of a pod that takes data of a ConfigMap or Secret, in the order of its fields.
fn uses(pod: &Pod) -> Vec<Use<'_>> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let mut found = Vec::new();
    let init = spec.init_containers.iter().flatten().enumerate().map(|(at, c)| ("initContainers", at, c));
    let apps = spec.containers.iter().enumerate().map(|(at, c)| ("containers", at, c));
    for (list, at, container) in apps.chain(init) {
        of_container(container, (list, at), &mut found);
    }
    spec.volumes.iter().flatten().for_each(|volume| of_volume(volume, &mut found));
    found
}

fn of_container<'a>(container: &'a Container, (list, at): (&'static str, usize), found: &mut Vec<Use<'a>>) {
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let mut add = |kind, name| {
            let place = Place::EnvFrom { list, at, container, index };
            found.push(Use { kind, name, wanted: Wanted::All { text_only: true }, place });
        };
        if let Some(reference) = &source.config_map_ref {
            add(Kind::ConfigMap, reference.name.as_str());
        }
        if let Some(reference) = &source.secret_ref {
            add(Kind::Secret, reference.name.as_str());
        }
    }
    for variable in container.env.iter().flatten() {
        let mut add = |kind, name, key: &'a str| {
            let place = Place::Env { list, at, container, name: &variable.name };
            found.push(Use { kind, name, wanted: Wanted::Some(BTreeSet::from([key])), place });
        };
        let Some(from) = &variable.value_from else { continue };
        if let Some(reference) = &from.config_map_key_ref {
            add(Kind::ConfigMap, reference.name.as_str(), &reference.key);
        }
        if let Some(reference) = &from.secret_key_ref {
            add(Kind::Secret, reference.name.as_str(), &reference.key);
        }
    }
}

fn of_volume<'a>(volume: &'a Volume, found: &mut Vec<Use<'a>>) {
    let mut add = |kind, name: &'a str, items: &'a Option<Vec<KeyToPath>>| {
        let items = items.as_deref().filter(|items| !items.is_empty());
        let wanted = items.map_or(Wanted::All { text_only: false }, |items| {
            Wanted::Some(items.iter().map(|item| item.key.as_str()).collect())
        });
        found.push(Use { kind, name, wanted, place: Place::Volume(&volume.name) });
    };
    if let Some(source) = &volume.config_map {
        add(Kind::ConfigMap, &source.name, &source.items);
    }
    if let Some(source) = &volume.secret {
        add(Kind::Secret, source.secret_name.as_deref().unwrap_or_default(), &source.items);
    }
    // What admission has added is no data that its pod has asked for: files follow it, and nothing is told or restarted.
    let is_given = |source: &ConfigMapProjection| volume.name.starts_with(TOKEN_VOLUME) && source.name == ROOT_CA;
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        if let Some(source) = source.config_map.as_ref().filter(|source| !is_given(source)) {
            add(Kind::ConfigMap, &source.name, &source.items);
        }
        if let Some(source) = &source.secret {
            add(Kind::Secret, &source.name, &source.items);
        }
    }
}

/// Whether a volume of a pod has data of a ConfigMap or Secret.
pub(super) fn has_data(pod: &Pod, volume: &str) -> bool {
    uses(pod).iter().any(|one| matches!(one.place, Place::Volume(name) if name == volume))
}

/// A mount of a part of a volume keeps the file it was made with.
fn parts_note(volume: &str, spec: &PodSpec) -> Option<String> {
    let part = |c: &&Container| {
        let mut mounts = c.volume_mounts.iter().flatten().filter(|mount| mount.name == volume);
        mounts.any(|mount| mount.sub_path.is_some() || mount.sub_path_expr.is_some())
    };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let names: Vec<&str> = containers.filter(part).map(|c| c.name.as_str()).collect();
    let s = if names.len() == 1 { "s" } else { "" };
    (!names.is_empty()).then(|| format!("mounted by subPath: takes effect when {} start{s} again", named(&names)))
}

/// `container a`, `containers a, b and c`
pub(super) fn named(containers: &[&str]) -> String {
    match containers.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("containers {} and {last}", rest.join(", ")),
        _ => format!("container {}", containers.join("")),
    }
}

fn mounts(container: &Container, volume: &str) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.name == volume)
}

/// Whether a pod asks to be restarted when data that it uses changes.
pub(super) fn restarts(pod: &Pod) -> bool {
    let annotation = pod.metadata.annotations.as_ref().and_then(|all| all.get(RESTART_ON_DATA));
    annotation.is_some_and(|value| value == "true")
}

/// Whether an instance was started with other data than its container takes now, in a pod that asks to be restarted for it.
pub(super) fn restart_due(record: &ContainerRecord, container: &Container, pod: &Opened<'_>) -> bool {
    // A record of a version that kept none does not say that it was other data.
    let Some(before) = record.data.as_ref().filter(|_| restarts(&pod.effective)) else { return false };
    of_one(container, &pod.effective, &pod.record).is_some_and(|now| now != *before)
}

/// The digest of all data that a container takes, by variables and by mounts, as its pod's record knows it; `None` when it
/// takes none, or when that is not known.
pub(super) fn of_one(container: &Container, pod: &Pod, record: &PodRecord) -> Option<String> {
    let digests = record.data_digests.as_ref()?.open();
    let takes = |place: &Place<'_>| match place {
        Place::Volume(name) => mounts(container, name),
        _ => place.container() == Some(&container.name),
    };
    let mut found = BTreeMap::new();
    for place in uses(pod).into_iter().filter(|place| takes(&place.place)) {
        let name = object_name(&place.object(pod));
        let keys = digests.get(&name).into_iter().flatten().filter(|(key, _)| place.uses(key));
        let known: BTreeMap<String, String> = keys.map(|(key, digest)| (key.clone(), digest.clone())).collect();
        found.entry(name).or_insert_with(BTreeMap::new).extend(known);
    }
    if found.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    for (object, mut keys) in found {
        join(&mut keys);
        hash.update(object);
        hash.update(&keys[ALL]);
    }
    Some(hex(&hash.finalize()[..16]))
}

/// The object as digests are listed: `ConfigMap name`; a pod uses those of its own namespace alone.
fn object_name(object: &ObjectKey) -> String {
    format!("{} {}", object.kind, object.name)
}

/// One digest in place of too many.
fn join(keys: &mut BTreeMap<String, String>) {
    let mut hash = Sha256::new();
    for (key, digest) in keys.iter() {
        hash.update(key);
        hash.update([0]);
        hash.update(digest);
    }
    *keys = BTreeMap::from([(ALL.to_owned(), hex(&hash.finalize()[..16]))]);
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
