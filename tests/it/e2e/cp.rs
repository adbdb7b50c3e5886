//! `cp`: files into containers and out of them, of containers that mean no good too.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::harness::{World, text};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: busybox, workingDir: /tmp, command: [sleep, "100000"]}
  - {name: b, image: busybox, command: [sleep, "100000"], securityContext: {runAsUser: 1234, runAsGroup: 2345}}
"#;

fn running() -> Option<World> {
    let mut world = World::new()?;
    world.load("busybox");
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "2/2", "Running");
    // A copy needs no agent.
    world.kill();
    Some(world)
}

/// Where a test keeps its own files.
fn here(world: &World, name: &str) -> String {
    world.scratch().join(name).display().to_string()
}

#[test]
fn e2e_files_and_directories_go_into_a_container_and_come_out_of_it() {
    let Some(world) = running() else { return };
    let tree = world.scratch().join("tree");
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/run"), "#!/bin/sh\necho ran\n").unwrap();
    std::fs::set_permissions(tree.join("sub/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(tree.join("sub/run"), Some(77), Some(88)).unwrap();
    symlink("sub/run", tree.join("link")).unwrap();
    std::os::unix::fs::lchown(tree.join("link"), Some(77), Some(88)).unwrap();
    let source = here(&world, "tree");
    // To a name that is not there, and into a directory that is.
    world.ok(&["cp", &source, "web:/tmp/new"]);
    world.ok(&["cp", &source, "default/web:/tmp", "-c", "a"]);
    world.ok(&["cp", &format!("{source}/sub/run"), "web:relative"]);
    let listing = world.exec(
        "web",
        "a",
        &["sh", "-c", "cd /tmp; find . | sort; ./new/link; ./relative; stat -c '%u:%g %a' tree/sub/run; stat -c '%u:%g' tree/link"],
    );
    assert_eq!(
        listing,
        ".\n./new\n./new/empty\n./new/link\n./new/sub\n./new/sub/run\n./relative\n./tree\n./tree/empty\n./tree/link\n\
         ./tree/sub\n./tree/sub/run\nran\nran\n77:88 755\n77:88\n"
    );
    // The files of a container without root are its user's, and so is a directory that gets a new name.
    world.ok(&["cp", &format!("{source}/sub/.."), "web:/tmp/dot", "-c", "b"]);
    assert_eq!(world.exec("web", "b", &["stat", "-c", "%u:%g", "/tmp/dot"]), "1234:2345\n");
    world.ok(&["cp", &format!("{source}/sub/run"), "web:/tmp/mine", "-c", "b"]);
    world.ok(&["cp", &format!("{source}/sub/run"), "web:/tmp/plain", "-c", "a", "--no-preserve"]);
    assert_eq!(world.exec("web", "b", &["stat", "-c", "%u:%g %a", "/tmp/mine"]), "1234:2345 755\n");
    assert_eq!(world.exec("web", "a", &["stat", "-c", "%u:%g %a", "/tmp/plain"]), "0:0 755\n");

    world.exec("web", "a", &["sh", "-c", "chmod 4755 /tmp/new/sub/run; ln -s / /tmp/new/out; mkfifo /tmp/new/fifo"]);
    let out = world.output(&["cp", "web:new", &here(&world, "back")]);
    assert!(out.status.success(), "{}", text(&out));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    for words in [
        "warning: skipping symlink: \"new/link\" -> \"sub/run\"\n",
        "warning: skipping symlink: \"new/out\" -> \"/\"\n",
        "warning: skipping \"new/fifo\": it is neither a file nor a directory\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let back = world.scratch().join("back");
    let run = back.join("sub/run").metadata().unwrap();
    assert_eq!((run.mode() & 0o7777, run.uid()), (0o755, 0), "ours, and no set-id bit");
    assert!(back.join("empty").is_dir() && !back.join("link").exists());
    // A file into a directory that is there, and to a place that is no file.
    world.ok(&["cp", "web:/tmp/relative", &here(&world, "back")]);
    assert!(back.join("relative").is_file());
    assert_eq!(world.ok(&["cp", "web:/tmp/relative", "/dev/stdout"]), "#!/bin/sh\necho ran\n");
    for (args, words) in [
        (&["cp", "web:/no/such", "x"][..], "cannot copy /no/such: "),
        (&["cp", "/no/such", "web:/x"], "error: /no/such doesn't exist in local filesystem\n"),
        (&["cp", "/etc/hostname", "web:/no/such/dir"], "cannot copy /no/such: No such file or directory"),
        (&["cp", "nope:/x", "x"], "pods \"nope\" not found"),
    ] {
        let refused = world.output(args);
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        assert!(text(&refused).contains(words), "{args:?}: {}", text(&refused));
    }
}

#[test]
fn e2e_a_copy_never_leaves_the_container_whatever_the_container_does() {
    let Some(world) = running() else { return };
    let secret = here(&world, "secret");
    std::fs::write(&secret, "of the machine").unwrap();
    let outside = world.scratch().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("x"), "of the machine").unwrap();
    let dir = outside.display();
    let setup = format!(
        "mkdir -p /tmp/t/d /tmp/u/d; echo mine > /tmp/t/d/x; ln -s {secret} /tmp/leak; ln -s {dir} /tmp/there; ln -s /proc/self/root{dir} /tmp/magic"
    );
    world.exec("web", "a", &["sh", "-c", &setup]);
    let pid = world.identities().into_iter().find(|(name, _)| name.contains("/a/")).unwrap().1.0;
    // The attack works: whoever goes through the container's files by their names is led out.
    let naive = std::path::PathBuf::from(format!("/proc/{pid}/root/tmp/leak"));
    assert_eq!(std::fs::read_to_string(naive).unwrap(), "of the machine");
    for path in ["leak", "there", "magic"] {
        let refused = world.output(&["cp", &format!("web:/tmp/{path}"), &here(&world, "got")]);
        assert_eq!(refused.status.code(), Some(1), "{path}: {}", text(&refused));
    }
    for target in ["/tmp/there/new", "/tmp/magic/new"] {
        let refused = world.output(&["cp", "/etc/hostname", &format!("web:{target}")]);
        assert_eq!(refused.status.code(), Some(1), "{target}: {}", text(&refused));
    }
    // A file in the place of a link replaces it.
    world.ok(&["cp", "/etc/hostname", "web:/tmp/leak"]);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "of the machine");
    // And a directory that is a link every other moment, in both directions.
    let swap = format!("while :; do for t in t u; do cd /tmp/$t; mv d e; ln -s {dir} d; rm d; mv e d; done; done");
    let mut swapping = world.podwright(&["exec", "web", "-c", "a", "--", "sh", "-c", &swap]).spawn().unwrap();
    let source = world.scratch().join("source/d");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("y"), "into").unwrap();
    let source = here(&world, "source/d");
    // Until some copies in each direction came through, too.
    let (mut came, mut went) = (0, 0);
    for round in 0..400 {
        if round >= 40 && came > 0 && went > 0 {
            break;
        }
        let got = world.scratch().join(format!("got{round}"));
        world.output(&["cp", "web:/tmp/t", got.to_str().unwrap()]);
        let seen = std::fs::read_to_string(got.join("d/x")).unwrap_or_default();
        assert!(["", "mine\n"].contains(&seen.as_str()), "{seen}");
        came += usize::from(seen == "mine\n");
        went += usize::from(world.output(&["cp", &source, "web:/tmp/u"]).status.success());
        assert!(!outside.join("y").exists());
    }
    swapping.kill().unwrap();
    swapping.wait().unwrap();
    assert!(came > 0 && went > 0, "{came} {went}");
    let names: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["x"]);
}
