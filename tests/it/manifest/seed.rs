//! The seed's manifests through reading and admission.

use std::path::PathBuf;

use podwright::admit::admit;
use podwright::model::{Desired, Origin, PodKey};
use podwright::report::diagnostics_text;

use super::read;

fn seed(names: &[&str]) -> Desired {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/seed");
    let files: Vec<_> = names.iter().map(|name| (*name, std::fs::read(directory.join(name)).unwrap())).collect();
    read(&files)
}

#[test]
fn the_website_pod_and_its_preset_are_read_and_admitted() {
    let desired = seed(&["pod.yaml", "preset.yaml"]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let admitted = admit(&desired).unwrap();
    let pod = &admitted.pods[&PodKey::new("default", "website")];
    assert_eq!(pod.applied[0].name, "allow-database");
    let container = &pod.effective.spec.as_ref().unwrap().containers[0];
    assert_eq!(container.env.as_ref().unwrap()[0].value.as_deref(), Some("6379"));
    assert_eq!(container.volume_mounts.as_ref().unwrap()[0].mount_path, "/cache");
    let places: Vec<String> = pod
        .provenance
        .iter()
        .filter_map(|field| match &field.origin {
            Origin::Preset { at, .. } => Some(format!("{} {at}", field.field)),
            _ => None,
        })
        .collect();
    assert_eq!(
        places,
        [
            "spec.volumes[0] preset.yaml:16:7",
            "spec.containers[0].env[0] preset.yaml:10:7",
            "spec.containers[0].volumeMounts[0] preset.yaml:13:7",
        ]
    );
}

#[test]
fn the_pods_that_run_here_are_read_without_a_word() {
    for (file, name) in [("two-containers.yaml", "two-containers"), ("nginx.yaml", "nginx"), ("host.yaml", "nginx")] {
        let desired = seed(&[file]);
        assert_eq!(diagnostics_text(&desired.diagnostics), "", "{file}");
        let admitted = admit(&desired).unwrap();
        assert_eq!(admitted.pods[&PodKey::new("default", name)].key.name, name, "{file}");
    }
}
