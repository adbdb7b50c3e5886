//! `image`: the local store from the outside.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use super::harness::{Place, Said};
use crate::support::images::{Layer, Layout, Packing, arch, digest, oci_archive};
use crate::support::is_root;
use crate::support::registry::{Gate, Reply, Server};
use crate::support::screen::Screen;
use crate::support::terminal::Terminal;

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
    let says = json!({"Entrypoint": ["/bin/tool"], "Cmd": ["-v"], "Env": ["A=1", "A=2", "DB_PASSWORD=hunter2"], "User": "7:8", "WorkingDir": "/work",
        "StopSignal": "SIGQUIT", "Volumes": {"/data": {}}, "Labels": {"org.opencontainers.image.version": "\u{1b}[31m3"}});
    let layer = Layer::new().dir("bin").file("bin/tool", "x").tar();
    std::fs::write(place.path("tool.tar"), oci_archive("example.com/tool:1", std::slice::from_ref(&layer), says))
        .unwrap();
    assert_eq!(place.run(&["image", "load", "tool.tar"]).code, Some(0));
    let listed = list();
    let image = &listed["images"][0];
    assert_eq!(image["reference"], "example.com/tool:1");
    assert!(image["id"].as_str().unwrap().starts_with("sha256:") && image["size"].as_u64().unwrap() > 0, "{image}");
    let expected = json!({"entrypoint": ["/bin/tool"], "cmd": ["-v"], "env": [["A", "2"], ["DB_PASSWORD", "hunter2"]], "user": "7:8", "workingDir": "/work",
        "stopSignal": "SIGQUIT", "volumes": ["/data"], "labels": {"org.opencontainers.image.version": "\u{1b}[31m3"}});
    assert_eq!(image["config"], expected);
    let size = &image["layers"][0]["size"];
    assert_eq!(image["layers"], json!([{"digest": digest(&layer), "size": size}]));
    assert_eq!((size, image["platform"].as_str()), (&image["size"], Some(format!("linux/{}", arch()).as_str())));
    // The same as YAML, in which no control character stands as it is.
    let said = place.run(&["image", "ls", "example.com/tool:1", "-o", "yaml"]);
    let yaml: serde_json::Value = serde_yaml::from_str(&said.out).unwrap();
    assert_eq!((said.code, &yaml), (Some(0), &listed));
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
    let help = place.run(&["image", "ls", "--help"]).out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("Its environment is shown as it is: whoever can pull the image has it"), "{help}");
    // Whatever is not as it should be is said, too.
    let layers = place.path("root/images/layers");
    std::fs::remove_dir_all(layers).unwrap();
    let damaged = list();
    let image = &damaged["images"][0];
    assert!(image["damage"].is_string() && image.get("config").is_none(), "{image}");
    assert_eq!((&image["layers"], image.get("platform")), (&json!([]), None));
}

#[test]
fn only_the_images_that_are_named_are_listed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let none = place.run(&["image", "ls", "a"]);
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""));
    assert!(none.err.starts_with("error: there are no images in "), "{}", none.err);
    for name in ["a", "b"] {
        std::fs::write(place.path("x.tar"), archive(name)).unwrap();
        assert_eq!(place.run(&["image", "load", "x.tar", "--name", name]).code, Some(0));
    }
    let said = place.run(&["image", "ls", "b", "c"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 2), "{said:?}");
    assert!(said.out.lines().nth(1).unwrap().starts_with("docker.io/library/b:latest "), "{said:?}");
    assert!(said.err.contains("docker.io/library/c:latest: there is no such image in the store"), "{}", said.err);
    let said = place.run(&["image", "ls", "c", "-o", "json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
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

/// A registry of one image, whatever it is called.
fn registry(layer: &Layer) -> Server {
    let mut layout = Layout::new();
    let image = layout.image(&[(layer.tar(), Packing::Gzip)], json!({}), arch());
    Server::of(&layout, &image, |_| None)
}

#[test]
fn pulled_images_that_no_pod_needs_are_pruned_and_loaded_ones_stay() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let server = registry(&Layer::new().dir("bin").file("bin/tool", "x"));
    let name = format!("{}/tool", server.address);
    assert_eq!(place.run(&["image", "pull", &name]).code, Some(0));
    std::fs::write(place.path("tool.tar"), archive("example.com/tool:1")).unwrap();
    assert_eq!(place.run(&["image", "load", "tool.tar"]).code, Some(0));
    let pruned = place.run(&["image", "prune"]);
    let expected = format!("Removed image: {name}:latest\nReclaimed: 0B\n");
    assert_eq!(pruned.out, expected, "the layer is that of the loaded image too");
    assert!(place.run(&["image", "ls"]).out.contains("example.com/tool:1"));
}

/// A registry of an image of three layers. The first two wait in their middle, each for its gate. With `lost` the third one is
/// not there, which is said when the first gate is open.
fn slow(lost: bool) -> (Server, [Gate; 2], [String; 3]) {
    let mut layout = Layout::new();
    let layers = ["one", "two", "three"].map(|name| {
        let bytes = vec![b'x'; 100_000];
        Layer::new().entry(name, tar::EntryType::Regular, |_| (), &bytes).tar()
    });
    let hexes = layers.each_ref().map(|layer| digest(layer)[7..].to_owned());
    let image = layout.image(&layers.clone().map(|layer| (layer, Packing::Plain)), json!({}), arch());
    let gates = [Gate::default(), Gate::default()];
    let (held, names) = (gates.clone(), hexes.clone());
    let server = Server::of(&layout, &image, move |asked| {
        let at = names.iter().position(|hex| asked.path.ends_with(hex.as_str()))?;
        match held.get(at) {
            Some(gate) if asked.from() == 0 => {
                Some(Reply { held: Some((50_000, gate.clone())), ..Reply::ok(layers[at].clone()) })
            }
            None if lost => {
                held[0].wait();
                Some(Reply::status(404))
            }
            _ => None,
        }
    });
    (server, gates, hexes)
}

#[test]
fn a_pull_shows_each_layer_on_a_terminal_and_leaves_nothing_of_it() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (server, gates, hexes) = slow(false);
    let name = format!("{}/tool", server.address);
    let (mut terminal, mut screen) = (Terminal::new(), Screen::new(24, 80));
    let resize = |terminal: &Terminal, screen: &mut Screen, rows, columns| {
        terminal.resize(rows, columns);
        screen.resize(rows, columns);
    };
    resize(&terminal, &mut screen, 24, 80);
    let mut child = terminal.spawn(&mut place.podwright(&["image", "pull", &name]));
    // The third layer has come, the two others wait in the middle.
    let half = |hex: &String| format!("  {}  [{:<40}]  50.0kB of 102kB", &hex[..12], "=".repeat(19));
    let image = format!("pulling 66 %, 202kB of 306kB, 0 of 3 layers: {name}");
    let expected = [image.clone(), half(&hexes[0]), half(&hexes[1])].join("\n");
    terminal.shows_on(&mut screen, |text| text == expected);
    // Narrower, with nothing new to tell: the terminal has broken the lines anew.
    resize(&terminal, &mut screen, 10, 40);
    let half = |hex: &String| format!("  {}  50.0kB of 102kB", &hex[..12]);
    let expected = [image[..37].trim_end().to_owned(), half(&hexes[0]), half(&hexes[1])].join("\n");
    terminal.shows_on(&mut screen, |text| text == expected);
    // No more lines than there is room for.
    gates[0].open();
    let first = "pulling 83 %, 254kB of 306kB, 0 of 3 layers"[..37].trim_end();
    terminal.shows_on(&mut screen, |text| text == format!("{first}\n{}", half(&hexes[1])));
    resize(&terminal, &mut screen, 2, 40);
    terminal.shows_on(&mut screen, |text| text == first);
    resize(&terminal, &mut screen, 2, 80);
    gates[1].open();
    let pulled = format!("Pulled image: {name}:latest");
    terminal.shows_on(&mut screen, |text| text == pulled);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_pull_that_fails_or_is_interrupted_leaves_no_bars() {
    if !is_root() {
        return;
    }
    let started = |place: &Place, server: &Server, come: &str| {
        let (mut terminal, mut screen) = (Terminal::new(), Screen::new(24, 250));
        terminal.resize(24, 250);
        let child = terminal.spawn(&mut place.podwright(&["image", "pull", &format!("{}/tool", server.address)]));
        terminal.shows_on(&mut screen, |text| text.contains(come));
        (terminal, screen, child)
    };
    let place = Place::new();
    let (server, gates, _) = slow(true);
    let (mut terminal, mut screen, mut child) = started(&place, &server, "pulling 32 %, ");
    gates.iter().for_each(Gate::open);
    let shown = terminal.shows_on(&mut screen, |text| text.contains(": not found"));
    assert!(!shown.contains("pulling") && !shown.contains("kB of"), "{shown}");
    assert_eq!(child.wait().unwrap().code(), Some(1));

    let place = Place::new();
    let (server, gates, hexes) = slow(false);
    let (mut terminal, mut screen, mut child) = started(&place, &server, "pulling 66 %, ");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    terminal.shows_on(&mut screen, str::is_empty);
    gates.iter().for_each(Gate::open);
    // What had come is not asked for again, and where there is no terminal nothing is told.
    server.forget();
    let name = format!("{}/tool", server.address);
    let again = place.run(&["image", "pull", &name]);
    assert_eq!((again.out, again.err.as_str()), (format!("Pulled image: {name}:latest\n"), ""));
    let asked = server.asked();
    let of = |hex: &String| asked.iter().find(|a| a.path.ends_with(hex.as_str()));
    assert!(of(&hexes[2]).is_none() && of(&hexes[0]).is_some_and(|a| a.from() > 0), "{asked:?}");
}

#[test]
fn images_of_containers_on_record_and_of_pods_that_are_to_run_are_not_pruned() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let servers = ["runs", "first", "wanted", "nobody's", "shown", "second"];
    let servers = servers.map(|text| registry(&Layer::new().file("f", text)));
    let [runs, first, wanted, nobodys, shown, second] =
        servers.each_ref().map(|server| format!("{}/tool:latest", server.address));
    for name in [&runs, &first, &wanted, &nobodys, &shown, &second] {
        assert_eq!(place.run(&["image", "pull", name]).code, Some(0));
    }
    let store = podwright::image::Store::open(&place.path("root/images"), None).unwrap();
    let [id, shown_id] = [&runs, &shown].map(|name| store.resolve(name).unwrap().unwrap().id);
    // A container that runs on what its pod asked for once, and a pod none of whose containers was ever started.
    let instance = json!({
        "name": "c", "kind": "app", "attempt": 0, "id": "x", "sandboxAttempt": 0, "image": "gone.example/old:1",
        "imageId": id, "volumeImages": {"v": shown_id}, "createdAt": "2026-01-02T03:04:05Z", "logPath": "/x",
    });
    place.write("root/pods/u-1/containers/c/0/record.json", &instance.to_string());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"initContainers": [{"name": "i", "image": first}], "containers": [{"name": "a", "image": wanted}],
            "volumes": [{"name": "v", "image": {"reference": second}}]},
    });
    let key = json!({"namespace": "default", "name": "web"});
    let source = json!({"path": "web.yaml", "document": 0, "line": 1, "column": 1});
    let record = json!({
        "version": 1, "key": key, "uid": "u-2", "createdAt": "2026-01-02T03:04:05Z", "revision": "r1",
        "generation": 1, "sandboxAttempts": 0,
        "realised": {"key": key, "source": source, "spec": pod, "effective": pod,
            "applied": [], "skipped": [], "provenance": [], "digest": "d"},
    });
    place.write("root/pods/u-2/record.json", &record.to_string());
    let prune = || place.run(&["image", "prune"]).out;
    assert_eq!(prune(), format!("Removed image: {nobodys}\nReclaimed: 8B\n"));
    std::fs::remove_dir_all(place.path("root/pods/u-1")).unwrap();
    let removed = |mut names: Vec<&String>, bytes: u32| {
        names.sort();
        let lines: String = names.iter().map(|name| format!("Removed image: {name}\n")).collect();
        format!("{lines}Reclaimed: {bytes}B\n")
    };
    assert_eq!(prune(), removed(vec![&runs, &shown], 9));
    assert_eq!(prune(), "Reclaimed: 0B\n");
    std::fs::remove_dir_all(place.path("root/pods/u-2")).unwrap();
    assert_eq!(prune(), removed(vec![&first, &wanted, &second], 17));
}

#[test]
fn a_layout_directory_is_loaded() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut layout = Layout::new();
    let image = layout.image(&[(Layer::new().file("f", "f").tar(), Packing::Zstd)], json!({}), arch());
    layout.name(image, Some("example.com/dir:1")).write(&place.path("layout"));
    let said = place.run(&["image", "load", "layout"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "Loaded image: example.com/dir:1\n"), "{said:?}");
    let said = place.run(&["image", "load", "layout", "--name", "other:2"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "Loaded image: docker.io/library/other:2\n"), "{said:?}");
    std::fs::create_dir(place.path("empty")).unwrap();
    let said = place.run(&["image", "load", "empty"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: cannot load image empty: it has neither an oci-layout"), "{}", said.err);
}
