//! The seed's manifests through reading and admission.

use std::path::PathBuf;

use podwright::admit::admit;
use podwright::model::{Desired, Origin, PodKey};
use podwright::report::diagnostics_text;
use serde::Deserialize;

use super::read;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/seed")
}

fn seed(names: &[&str]) -> Desired {
    let files: Vec<_> = names.iter().map(|name| (*name, std::fs::read(directory().join(name)).unwrap())).collect();
    read(&files)
}

/// What is said, but for the images, which the seed names without a tag.
fn without_tags(desired: &Desired) -> String {
    let mut said = desired.diagnostics.clone();
    said.0.retain(|diagnostic| diagnostic.rule != "image-tag");
    diagnostics_text(&said)
}

/// One line of fixtures/seed/deviations.yaml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    manifest: String,
    field: String,
    difference: String,
    test: String,
}

fn deviations() -> Vec<Deviation> {
    serde_yaml::from_str(&std::fs::read_to_string(directory().join("deviations.yaml")).unwrap()).unwrap()
}

#[test]
fn the_website_pod_and_its_preset_are_read_and_admitted() {
    let desired = seed(&["pod.yaml", "preset.yaml"]);
    assert_eq!(without_tags(&desired), "");
    let admitted = admit(&desired).unwrap();
    let pod = &admitted.pods[&PodKey::new("default", "website")];
    assert_eq!(pod.applied[0].name, "allow-database");
    let effective = pod.effective.open();
    let container = &effective.spec.as_ref().unwrap().containers[0];
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
fn every_manifest_of_the_seed_is_valid() {
    let mut count = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "deviations.yaml" || !name.ends_with(".yaml") {
            continue;
        }
        let text = std::fs::read_to_string(directory().join(&name)).unwrap();
        // The document makes these with `kubectl create secret`.
        let secrets =
            ["user", "pass"].map(|secret| format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {secret}}}\n"));
        let mut files = vec![(name.as_str(), text)];
        if name == "secret.yaml" {
            files.push(("secrets.yaml", secrets.concat()));
        }
        let desired = read(&files);
        assert_eq!(without_tags(&desired), "", "{name}");
        assert!(admit(&desired).is_ok(), "{name}");
        count += 1;
    }
    assert!(count >= 11, "{count}");
}

/// The document's probe, put into the pod that it leaves out.
#[test]
fn the_probe_whose_delay_stands_too_deep_is_told_its_place() {
    let probe = "  livenessProbe:\n    httpGet:\n      path: /healthz\n      port: 8080\n      httpHeaders:\n        - name: \
                 X-Custom-Header\n          value: Awesome\n      initialDelaySeconds: 3\n      periodSeconds: 3\n";
    let indented: String = probe.lines().map(|line| format!("    {line}\n")).collect();
    let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: liveness-http}\nspec:\n  containers:\n    - name: liveness\n      image: nginx:1.29\n";
    let pod = |probe: &str| read(&[("liveness-http.yaml", format!("{head}{probe}"))]);
    let told: Vec<_> = pod(&indented).diagnostics.0.into_iter().filter(|d| d.rule == "misplaced-field").collect();
    let places: Vec<(u32, u32)> =
        told.iter().filter_map(|d| Some((d.place.as_ref()?.at.line, d.place.as_ref()?.at.column))).collect();
    assert_eq!(places, [(15, 11), (16, 11)], "{told:?}");
    for diagnostic in &told {
        assert!(diagnostic.message.ends_with("it is a field of `spec.containers[0].livenessProbe`"), "{diagnostic}");
    }
    let corrected = indented
        .replace("          initialDelay", "        initialDelay")
        .replace("          period", "        period");
    let rules: Vec<&str> = pod(&corrected).diagnostics.0.iter().map(|d| d.rule).collect();
    assert_eq!(rules, [""; 0]);
}

#[test]
fn each_deviation_from_the_seed_names_a_test_that_holds_it() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    let mut directories = vec![root.join("tests/it"), root.join("src/admit")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                None => directories.push(path),
                Some(_) => text.push_str(&std::fs::read_to_string(path).unwrap()),
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for deviation in deviations() {
        assert!(text.contains(&format!("fn {}()", deviation.test)), "{}", deviation.test);
        assert!(!deviation.difference.is_empty(), "{}", deviation.manifest);
        assert!(directory().join(&deviation.manifest).exists(), "{}", deviation.manifest);
        assert!(seen.insert((deviation.manifest, deviation.field.clone())), "{} is listed twice", deviation.field);
    }
}
