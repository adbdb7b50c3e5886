//! `image`: the local store from the outside.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use super::harness::{Place, Said};
use crate::support::images::{Layer, Layout, Packing, arch, oci_archive};
use crate::support::is_root;
use crate::support::registry::{Reply, Server};

fn archive(name: &str) -> Vec<u8> {
    oci_archive(name, &[Layer::new().dir("bin").file("bin/tool", "x").tar()], json!({}))
}

#[test]
fn an_image_is_listed_with_what_it_says_of_its_process_and_its_labels() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let list = || -> serde_json::Value {
        serde_json::from_str(&place.run(&["image", "ls", "-o", "json"]).out).expect("one JSON document")
    };
    assert_eq!(list(), json!({"images": []}));
    assert!(!place.path("root").exists(), "looking makes no directories");
    let says = json!({"Entrypoint": ["/bin/tool"], "Cmd": ["-v"], "Env": ["A=1", "A=2"], "User": "7:8", "WorkingDir": "/work",
        "StopSignal": "SIGQUIT", "Volumes": {"/data": {}}, "Labels": {"org.opencontainers.image.version": "\u{1b}[31m3"}});
    let layer = Layer::new().dir("bin").file("bin/tool", "x").tar();
    std::fs::write(place.path("tool.tar"), oci_archive("example.com/tool:1", &[layer], says)).unwrap();
    assert_eq!(place.run(&["image", "load", "tool.tar"]).code, Some(0));
    let listed = list();
    let image = &listed["images"][0];
    assert_eq!(image["reference"], "example.com/tool:1");
    assert!(image["id"].as_str().unwrap().starts_with("sha256:") && image["size"].as_u64().unwrap() > 0, "{image}");
    let expected = json!({"entrypoint": ["/bin/tool"], "cmd": ["-v"], "env": [["A", "2"]], "user": "7:8", "workingDir": "/work",
        "stopSignal": "SIGQUIT", "volumes": ["/data"], "labels": {"org.opencontainers.image.version": "\u{1b}[31m3"}});
    assert_eq!(image["config"], expected);
    // Whatever is not as it should be is said, too.
    let layers = place.path("root/images/layers");
    std::fs::remove_dir_all(layers).unwrap();
    let damaged = list();
    let image = &damaged["images"][0];
    assert!(image["damage"].is_string() && image.get("config").is_none(), "{image}");
}

#[test]
fn images_are_loaded_from_files_and_standard_input_listed_and_removed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let none = place.run(&["image", "ls"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert!(!place.path("root").exists(), "looking makes no directories");

    std::fs::write(place.path("tool.tar"), archive("example.com/tool:1")).unwrap();
    let loaded = place.run(&["image", "load", "tool.tar"]);
    assert_eq!(loaded.out, "Loaded image: example.com/tool:1\n", "{loaded:?}");
    for args in [&["image", "load", "-", "--name", "other"][..], &["image", "load"]] {
        let mut child =
            place.podwright(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&archive("example.com/piped:1")).unwrap();
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    }
    let list = place.run(&["image", "ls"]).out;
    let lines: Vec<Vec<&str>> = list.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["IMAGE", "IMAGE", "ID", "SIZE"]);
    let names: Vec<&str> = lines[1..].iter().map(|l| l[0]).collect();
    assert_eq!(names, ["docker.io/library/other:latest", "example.com/piped:1", "example.com/tool:1"]);

    assert_eq!(place.run(&["image", "rm", "example.com/tool:1"]).out, "Removed image: example.com/tool:1\n");
    let again = place.run(&["image", "rm", "example.com/tool:1", "other"]);
    assert_eq!((again.code, again.out.as_str()), (Some(1), "Removed image: other\n"));
    assert!(again.err.contains("example.com/tool:1") && again.err.contains("image ls"), "{}", again.err);
}

#[test]
fn an_image_that_a_record_names_is_not_removed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("tool.tar"), archive("example.com/tool:1")).unwrap();
    let loaded = place.run(&["image", "load", "tool.tar"]);
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    let store = podwright::image::Store::open(&place.path("root/images"), None).unwrap();
    let id = store.list().unwrap()[0].id.clone();
    let record = json!({
        "name": "c", "kind": "app", "attempt": 0, "id": "x", "sandboxAttempt": 0, "image": "example.com/tool:1",
        "imageId": id, "createdAt": "2026-01-02T03:04:05Z", "logPath": "/x",
    });
    place.write("root/pods/uid/containers/c/0/record.json", &record.to_string());
    let refused = place.run(&["image", "rm", "example.com/tool:1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("containers run on it"), "{}", refused.err);
    std::fs::remove_dir_all(place.path("root/pods")).unwrap();
    assert_eq!(place.run(&["image", "rm", "example.com/tool:1"]).code, Some(0));
}

#[test]
fn what_is_no_image_is_refused_in_one_sentence() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.write("text.tar", "no archive at all");
    for file in ["text.tar", "missing.tar"] {
        let said = place.run(&["image", "load", file]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.starts_with("error: cannot ") && !said.err.contains("panicked"), "{}", said.err);
    }
}

/// A registry of one image for those who know the password, and a configuration that names `helper` for it.
fn guarded(place: &Place, helper: &str) -> Server {
    let mut layout = Layout::new();
    let layer = Layer::new().dir("bin").file("bin/tool", "x").tar();
    let image = layout.image(&[(layer, Packing::Gzip)], json!({}), arch());
    let server = Server::of(&layout, &image, |asked| {
        // `user:hidden-word`
        let known = asked.header("authorization") == Some("Basic dXNlcjpoaWRkZW4td29yZA==");
        (!known).then(|| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""))
    });
    place.write("docker.json", &format!(r#"{{"credHelpers": {{"{}": "{helper}"}}}}"#, server.address));
    let docker = place.path("docker.json").display().to_string();
    place.write("config.yaml", &format!("registryCredentials: {docker}\n"));
    server
}

/// Puts a credential helper into the directory `bin` of the place.
fn helper(place: &Place, name: &str, script: &str) {
    let path = format!("bin/docker-credential-{name}");
    place.write(&path, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(place.path(&path), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn pull(place: &Place, server: &Server) -> Said {
    let name = format!("{}/tool", server.address);
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let output =
        place.podwright(&["image", "pull", &name, "--config", "config.yaml"]).env("PATH", path).output().unwrap();
    Said::from(output)
}

#[test]
fn a_credential_helper_is_asked_for_its_registry_and_believed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    helper(&place, "works", "echo \"$1 $(cat)\" >>asked; echo '{\"Username\": \"user\", \"Secret\": \"hidden-word\"}'");
    let server = guarded(&place, "works");
    let said = pull(&place, &server);
    assert_eq!(said.out, format!("Pulled image: {}/tool:latest\n", server.address), "{said:?}");
    assert_eq!(said.err, "", "no progress where there is no terminal");
    let asked = std::fs::read_to_string(place.path("asked")).unwrap();
    assert_eq!(asked, format!("get {}\n", server.address));
    let again = pull(&place, &server);
    assert_eq!(again.out, format!("Image is up to date: {}/tool:latest\n", server.address), "{again:?}");
}

#[test]
fn a_credential_helper_that_fails_is_named_and_what_it_says_is_not() {
    if !is_root() {
        return;
    }
    for (name, script, why) in [
        ("fails", "echo hidden; echo hidden >&2; exit 3", "docker-credential-fails failed"),
        ("odd", "echo hidden-nonsense", "docker-credential-odd gave an answer that is none"),
        ("endless", "yes hidden", "docker-credential-endless"),
        ("nothing", "echo 'credentials not found in native keychain'; exit 1", "no name and password for"),
    ] {
        let place = Place::new();
        helper(&place, name, script);
        let server = guarded(&place, name);
        let said = pull(&place, &server);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(why) && !said.err.contains("hidden"), "{name}: {}", said.err);
    }
}

#[test]
fn pulled_images_that_no_pod_needs_are_pruned_and_loaded_ones_stay() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    helper(&place, "works", "echo '{\"Username\": \"user\", \"Secret\": \"hidden-word\"}'");
    let server = guarded(&place, "works");
    assert_eq!(pull(&place, &server).code, Some(0));
    std::fs::write(place.path("tool.tar"), archive("example.com/tool:1")).unwrap();
    assert_eq!(place.run(&["image", "load", "tool.tar"]).code, Some(0));
    let pruned = place.run(&["image", "prune"]);
    let expected = format!("Removed image: {}/tool:latest\nReclaimed: 0B\n", server.address);
    assert_eq!(pruned.out, expected, "the layer is that of the loaded image too");
    assert!(place.run(&["image", "ls"]).out.contains("example.com/tool:1"));
}
