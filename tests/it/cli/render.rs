//! `render`: goldens, the way back, and what it says about origins.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::Place;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Manifests of a directory of the project.
fn manifests(directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(directory)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let is_manifest = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "json");
    paths.retain(|path| is_manifest(path) && path.file_name().is_some_and(|name| name != "deviations.yaml"));
    paths.sort();
    paths
}

/// A place whose directory `m` has these files.
fn place_with(files: &[PathBuf]) -> Place {
    let place = Place::new();
    for file in files {
        let name = Path::new("m").join(file.file_name().unwrap());
        place.write(name.to_str().unwrap(), &std::fs::read_to_string(file).unwrap());
    }
    place
}

/// Compares with fixtures/render, or renews it with UPDATE_EXPECTED=1.
fn golden(name: &str, text: &str) {
    let path = root().join("fixtures/render").join(name);
    if std::env::var("UPDATE_EXPECTED").is_ok_and(|v| v == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(text, expected, "{}", path.display());
}

#[test]
fn the_seed_and_the_examples_are_rendered_as_the_golden_files_say() {
    let seed = |name: &str| root().join("fixtures/seed").join(name);
    let mut inputs = vec![
        ("seed-website".to_owned(), vec![seed("pod.yaml"), seed("preset.yaml")]),
        ("quickstart".to_owned(), manifests("examples/quickstart")),
        ("edge".to_owned(), manifests("examples/edge")),
    ];
    for path in manifests("fixtures/seed") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // What cannot be honoured is refused: fixtures/seed/deviations.yaml.
        let place = place_with(std::slice::from_ref(&path));
        if !["pod", "preset"].contains(&name.as_str()) && place.run(&["validate", "m"]).code == Some(0) {
            inputs.push((format!("seed-{name}"), vec![path]));
        }
    }
    assert!(inputs.len() >= 8, "{inputs:?}");
    for (name, files) in inputs {
        let place = place_with(&files);
        let render = |flags: &[&str]| {
            let said = place.run(&[&["render", "m"], flags].concat());
            assert_eq!(said.code, Some(0), "{name} {flags:?}: {}", said.err);
            said.out
        };
        golden(&format!("{name}.yaml"), &render(&[]));
        golden(&format!("{name}.origins.yaml"), &render(&["--show-defaults", "--provenance"]));
        golden(&format!("{name}.json"), &render(&["-o", "json", "--provenance"]));
    }
}

#[test]
fn the_readme_shows_what_render_prints() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("```yaml\n").find(|block| block.contains("# preset")).unwrap();
    let shown = shown.split("```").next().unwrap();
    let printed = std::fs::read_to_string(root().join("fixtures/render/quickstart.origins.yaml")).unwrap();
    assert!(printed.replace("(m/", "(").contains(shown), "{shown}");
}

#[test]
fn what_is_rendered_is_valid_and_admitted_to_the_same() {
    let mut inputs: Vec<Vec<PathBuf>> = vec![manifests("examples/quickstart"), manifests("examples/edge")];
    inputs.push(["pod.yaml", "preset.yaml"].map(|name| root().join("fixtures/seed").join(name)).to_vec());
    let single = manifests("fixtures/seed").into_iter().chain(manifests("fixtures/manifests/ok"));
    inputs.extend(single.map(|path| vec![path]));
    let mut rendered = 0;
    for files in inputs {
        let place = place_with(&files);
        let render = |directory: &str, flags: &[&str]| place.run(&[&["render", directory], flags].concat());
        let plain = render("m", &[]);
        if plain.code != Some(0) {
            continue;
        }
        rendered += 1;
        let full = render("m", &["--show-defaults"]);
        let again = |name: &str, text: &str| {
            let directory = format!("again-{name}");
            place.write(&format!("{directory}/all.{}", name.rsplit('-').next().unwrap()), text);
            let said = render(&directory, &[]);
            assert_eq!(said.code, Some(0), "{files:?} {name}: {}\n{text}", said.err);
            (said.out, render(&directory, &["--show-defaults"]).out)
        };
        for (name, flags, is_full) in [
            ("plain-yaml", &[][..], false),
            ("origins-json", &["--provenance", "-o", "json"], false),
            ("both-yaml", &["--show-defaults", "--provenance"], true),
        ] {
            let (spec, effective) = again(name, &render("m", flags).out);
            assert_eq!(effective, full.out, "{files:?} {name}");
            assert_eq!(spec, if is_full { &full.out } else { &plain.out }.as_str(), "{files:?} {name}");
        }
    }
    assert!(rendered >= 28, "{rendered}");
}

#[test]
fn a_list_of_json_has_the_origins_beside_its_items() {
    let place = place_with(&manifests("examples/quickstart"));
    let list: Value = serde_json::from_str(&place.run(&["render", "m", "-o", "json", "--provenance"]).out).unwrap();
    let (items, provenance) = (list["items"].as_array().unwrap(), list["metadata"]["provenance"].as_array().unwrap());
    assert_eq!((&list["kind"], &list["apiVersion"], items.len()), (&"List".into(), &"v1".into(), provenance.len()));
    for (item, fields) in items.iter().zip(provenance) {
        for field in fields.as_array().unwrap() {
            let pointer = field["pointer"].as_str().unwrap();
            assert!(item.pointer(pointer).is_some(), "{pointer} in {item}");
            assert!(field["origin"].get("authored").is_none(), "{field}");
        }
    }
    let all = provenance.iter().flat_map(|fields| fields.as_array().unwrap());
    let from: Vec<&str> = all.filter_map(|f| f["origin"]["preset"]["at"]["path"].as_str()).collect();
    assert!(!from.is_empty() && from.iter().all(|path| path.ends_with("preset.yaml")), "{from:?}");
    let plain: Value = serde_json::from_str(&place.run(&["render", "m", "-o", "json"]).out).unwrap();
    assert_eq!(plain["metadata"], serde_json::json!({"resourceVersion": ""}));
}

#[test]
fn the_name_of_a_file_cannot_break_the_comments() {
    let place = Place::new();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";
    let preset = "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {name: db}\nspec:\n  selector: {}\n  \
                  env: [{name: A, value: b}]\n";
    place.write("m/pod.yaml", pod);
    place.write("m/a # b: 'x.yaml", preset);
    let said = place.run(&["render", "m", "--provenance"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("- name: A # preset db (m/a # b: 'x.yaml:6:10)\n"), "{}", said.out);
    place.write("again/all.yaml", &said.out);
    assert_eq!(place.run(&["render", "again"]).out, place.run(&["render", "m"]).out);
}

#[test]
fn data_of_secrets_is_printed_as_it_is_written() {
    let place = Place::new();
    place.write(
        "m/s.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: plain}\ndata: {b: Yg==}\n",
    );
    let said = place.run(&["render", "m"]);
    assert!(said.out.contains("  b: Yg==\n") && said.out.contains("  a: plain\n"), "{said:?}");
}
