//! Values for the tests: a `Desired` out of JSON objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use podwright::admit::admit;
use podwright::manifest::Reader;
use podwright::model::{
    Admitted, AdmittedPod, BlobId, Desired, DesiredObject, Diagnostics, Kind, ObjectKey, Places, PodKey, PointerDigest,
    Revision, RevisionKind, Snapshot, SourceFile, SourceRef,
};
use serde_json::Value;

/// What reading these objects gives: object `n` stands in file `n.yaml`, each pointer at a line of its own.
pub(crate) fn desired(objects: &[Value]) -> Desired {
    let mut desired = Desired {
        revision: Revision { kind: RevisionKind::Commit, id: "a".repeat(40), subject: None, branch: None },
        pods: BTreeMap::new(),
        presets: BTreeMap::new(),
        others: BTreeMap::new(),
        excluded: vec![],
        unread: BTreeMap::new(),
        diagnostics: Diagnostics::default(),
    };
    for (index, value) in objects.iter().enumerate() {
        let mut value = value.clone();
        let kind = Kind::from_manifest(value["apiVersion"].as_str().unwrap(), value["kind"].as_str().unwrap()).unwrap();
        let name = value["metadata"]["name"].as_str().unwrap().to_owned();
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        value["metadata"]["namespace"] = Value::from(namespace.clone());
        let key = ObjectKey { kind, namespace, name };
        let mut places = Vec::new();
        number(&value, String::new(), &mut places);
        let places: Places = places.into_iter().map(|(p, at): (String, _)| (PointerDigest::of(&p), at)).collect();
        let source = SourceRef { path: Arc::from(format!("{index}.yaml")), document: 0, line: 1, column: 1 };
        let carried = (kind != Kind::Pod).then(|| Arc::new(value.clone()));
        let object = DesiredObject { key: key.clone(), source, value: carried, places: Arc::new(places) };
        match kind {
            Kind::Pod => {
                let pod = serde_json::from_value(value).unwrap();
                desired.pods.insert(PodKey::new(key.namespace, key.name), (object, pod));
            }
            Kind::PodPreset => {
                let preset = serde_json::from_value(value).unwrap();
                desired.presets.insert(key, (object, Arc::new(preset)));
            }
            _ => {
                desired.others.insert(key, object);
            }
        }
    }
    desired
}

fn number(value: &Value, pointer: String, places: &mut Vec<(String, (u32, u32))>) {
    let line = u32::try_from(places.len()).unwrap() + 1;
    places.push((pointer.clone(), (line, 1)));
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| number(v, format!("{pointer}/{k}"), places)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| number(v, format!("{pointer}/{i}"), places));
        }
        _ => {}
    }
}

/// What the reader makes of these files.
pub(crate) fn read(files: &[(&str, String)]) -> Desired {
    let file = |(path, text): &(&str, String)| SourceFile {
        path: Arc::from(*path),
        blob: BlobId::of_text(text),
        bytes: Arc::from(text.as_bytes()),
    };
    let revision = Revision { kind: RevisionKind::Content, id: "sha256:00".into(), subject: None, branch: None };
    let mut files: Vec<SourceFile> = files.iter().map(file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Reader::new().read(&Snapshot { revision, files, local: Default::default(), uncommitted: vec![], ignored: vec![] })
}

/// The same for tests that are not about tokens: a pod that does not say it wants one says that it wants none. Of that
/// no place is known.
pub(crate) mod without_tokens {
    use serde_json::Value;

    pub(crate) use super::pod_of;
    use crate::admit::build;

    pub(crate) fn desired(objects: &[Value]) -> podwright::model::Desired {
        let mut desired = build::desired(objects);
        for (_, packed) in desired.pods.values_mut() {
            let mut pod = packed.open();
            if let Some(spec) = &mut pod.spec {
                spec.automount_service_account_token.get_or_insert(false);
            }
            *packed = podwright::model::Packed::new(&pod);
        }
        desired
    }

    pub(crate) fn admitted(objects: &[Value]) -> podwright::model::Admitted {
        podwright::admit::admit(&desired(objects)).unwrap_or_else(|d| panic!("not admitted: {d:?}"))
    }
}

/// The objects admitted; panics with the diagnostics when they are not.
pub(crate) fn admitted(objects: &[Value]) -> Admitted {
    admit(&desired(objects)).unwrap_or_else(|d| panic!("not admitted: {d:?}"))
}

/// One pod of it.
pub(crate) fn pod_of(admitted: &Admitted, namespace: &str, name: &str) -> Arc<AdmittedPod> {
    Arc::clone(&admitted.pods[&PodKey::new(namespace, name)])
}
