//! What each volume is made of.

use podwright::model::{PodAction, VolumeMaterial};
use serde_json::{Value, json};

use super::world::World;
use crate::admit::without_tokens::{admitted, pod_of};

/// The material of a volume, or the message the pod waits with.
fn material(source: Value) -> Result<VolumeMaterial, String> {
    let mut volume = json!({"name": "v"});
    volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let admitted = admitted(&[
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
            "data": {"b": "text", "a": ""}, "binaryData": {"c": "AP8="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "aHVudGVyMg=="}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i:1"}], "volumes": [volume]}}),
    ]);
    let pod = pod_of(&admitted, "default", "p");
    let plan = World::new(&pod, &admitted.data).plan();
    let found = plan.steps.iter().find_map(|step| match &step.action {
        PodAction::SyncVolumes { volumes, .. } => Some(volumes[0].material.clone()),
        _ => None,
    });
    found.ok_or_else(|| {
        assert_eq!((plan.holds[0].container.as_str(), plan.holds[0].reason.as_str()), ("", "FailedMount"));
        let message = plan.holds[0].message.clone();
        assert_eq!(plan.waiting["c"], ("ContainerCreating".to_owned(), message.clone()));
        message.strip_prefix("MountVolume.SetUp failed for volume \"v\" : ").unwrap().to_owned()
    })
}

/// Path, bytes and mode of each file, and whether they are sensitive.
fn files(source: Value) -> (Vec<(String, Vec<u8>, u32)>, bool) {
    match material(source.clone()) {
        Ok(VolumeMaterial::Files { files, sensitive }) => {
            (files.into_iter().map(|f| (f.path, f.bytes.reveal().to_vec(), f.mode)).collect(), sensitive)
        }
        other => panic!("{source}: {other:?}"),
    }
}

fn file(path: &str, bytes: &[u8], mode: u32) -> (String, Vec<u8>, u32) {
    (path.to_owned(), bytes.to_vec(), mode)
}

#[test]
fn directories_of_pod_and_machine() {
    let rows = [
        (json!({"emptyDir": {}}), VolumeMaterial::EmptyDir { memory: false, size_limit: None }),
        (json!({}), VolumeMaterial::EmptyDir { memory: false, size_limit: None }),
        (
            json!({"emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}),
            VolumeMaterial::EmptyDir { memory: true, size_limit: Some(64 << 20) },
        ),
        (json!({"emptyDir": {"sizeLimit": "0"}}), VolumeMaterial::EmptyDir { memory: false, size_limit: None }),
        (json!({"hostPath": {"path": "/x"}}), VolumeMaterial::HostPath { path: "/x".into(), kind: String::new() }),
        (
            json!({"hostPath": {"path": "/x", "type": "Socket"}}),
            VolumeMaterial::HostPath { path: "/x".into(), kind: "Socket".into() },
        ),
    ];
    for (source, expected) in rows {
        assert_eq!(material(source.clone()), Ok(expected), "{source}");
    }
}

#[test]
fn files_of_config_maps_and_secrets() {
    let (list, sensitive) = files(json!({"configMap": {"name": "m"}}));
    assert_eq!(list, [file("a", b"", 0o644), file("b", b"text", 0o644), file("c", &[0, 255], 0o644)]);
    assert!(!sensitive);
    let (list, sensitive) = files(json!({"secret": {"secretName": "s", "defaultMode": 256}}));
    assert_eq!(list, [file("p", b"hunter2", 0o400)]);
    assert!(sensitive);
    let items = json!([{"key": "b", "path": "x/y"}, {"key": "c", "path": "z", "mode": 0o755}]);
    let (list, _) = files(json!({"configMap": {"name": "m", "items": items, "defaultMode": 0o600}}));
    assert_eq!(list, [file("x/y", b"text", 0o600), file("z", &[0, 255], 0o755)]);
}

#[test]
fn what_is_optional_gives_an_empty_directory() {
    for source in [
        json!({"configMap": {"name": "no", "optional": true}}),
        json!({"secret": {"secretName": "no", "optional": true}}),
        json!({"configMap": {"name": "m", "optional": true, "items": [{"key": "no", "path": "x"}]}}),
    ] {
        assert_eq!(files(source).0, []);
    }
}

#[test]
fn a_projected_volume_has_the_files_of_all_its_sources() {
    let map = json!({"configMap": {"name": "m", "items": [{"key": "b", "path": "x/y", "mode": 0o640}, {"key": "a", "path": "p"}]}});
    let secret = json!({"secret": {"name": "s"}});
    let of = |sources: Value| json!({"projected": {"sources": sources, "defaultMode": 0o440}});
    let (list, sensitive) = files(of(json!([map, secret])));
    // The later one of two with one path.
    assert_eq!(list, [file("p", b"hunter2", 0o440), file("x/y", b"text", 0o640)]);
    assert!(sensitive, "one of them is a Secret");
    let (list, sensitive) = files(of(json!([map])));
    assert_eq!(list, [file("p", b"", 0o440), file("x/y", b"text", 0o640)]);
    assert!(!sensitive);
    assert_eq!(files(json!({"projected": {"sources": [secret]}})).0, [file("p", b"hunter2", 0o644)]);
    assert_eq!(files(json!({"projected": {"sources": []}})), (vec![], false));
    let optional = json!([{"configMap": {"name": "no", "optional": true}}, {"secret": {"name": "no", "optional": true}}, {"secret": {"name": "s"}}]);
    assert_eq!(files(of(optional)).0, [file("p", b"hunter2", 0o440)]);
    let missing =
        json!([{"secret": {"name": "no"}}, map, {"configMap": {"name": "m", "items": [{"key": "no", "path": "x"}]}}]);
    let both = "[secret \"no\" not found, references non-existent config key: no]";
    assert_eq!(material(of(missing)), Err(both.to_owned()));
    assert_eq!(material(of(json!([{"configMap": {"name": "no"}}]))), Err("configmap \"no\" not found".to_owned()));
}

#[test]
fn what_cannot_be_made_says_why() {
    let item = |path: &str| json!({"configMap": {"name": "m", "items": [{"key": "b", "path": path}]}});
    let invalid =
        |path: &str| format!("invalid path {path:?}: it must be relative, without \"..\" and at most 4096 bytes long");
    let rows = [
        (json!({"configMap": {"name": "no"}}), "configmap \"no\" not found".to_owned()),
        (json!({"secret": {"secretName": "no"}}), "secret \"no\" not found".to_owned()),
        (
            json!({"configMap": {"name": "m", "items": [{"key": "no", "path": "x"}]}}),
            "references non-existent config key: no".to_owned(),
        ),
        (
            json!({"secret": {"secretName": "s", "items": [{"key": "no", "path": "x"}]}}),
            "references non-existent secret key: no".to_owned(),
        ),
        (item("/etc/passwd"), invalid("/etc/passwd")),
        (item("a/../../b"), invalid("a/../../b")),
        (item("..data"), invalid("..data")),
        (item(""), invalid("")),
        (item(&"x".repeat(256)), invalid(&"x".repeat(256))),
        (item(&"x/".repeat(2049)), invalid(&"x/".repeat(2049))),
        (json!({"configMap": {"name": "m", "defaultMode": 512}}), "mode of \"a\" is not between 0 and 0777".to_owned()),
        (
            json!({"emptyDir": {"medium": "HugePages"}}),
            "unknown storage medium \"HugePages\": use \"\" or \"Memory\"".to_owned(),
        ),
        (
            json!({"nfs": {"server": "x", "path": "/"}}),
            "this kind of volume is not supported: use emptyDir, hostPath, configMap, secret, projected, downwardAPI or image"
                .to_owned(),
        ),
    ];
    for (source, expected) in rows {
        assert_eq!(material(source.clone()), Err(expected), "{source}");
    }
}
