//! `image`: the local store from the outside.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use super::harness::{Place, Said};
use crate::support::images::{Layer, oci_archive};
use crate::support::is_root;

fn archive(name: &str) -> Vec<u8> {
    oci_archive(name, &[Layer::new().dir("bin").file("bin/tool", "x").tar()], json!({}))
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
