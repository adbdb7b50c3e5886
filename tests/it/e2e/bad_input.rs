//! Bad input: one clear sentence with the place and the way out, exit code 1, no panic, nothing that runs is touched.

use std::process::Command;

use super::harness::{World, run, text};

fn sleeper(name: &str, extra: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  terminationGracePeriodSeconds: 0\n{extra}  containers:\n  - name: c\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n"
    )
}

/// Applies the repository and expects a refusal that mentions every one of the words.
fn refused(world: &World, args: &[&str], words: &[&str]) {
    let output = world.output(args);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{args:?} should mention {word:?}: {said}");
    }
}

#[test]
fn e2e_a_bad_directory_is_refused_and_nothing_that_runs_is_touched() {
    let Some(world) = World::new() else { return };
    let repo = world.repo();
    let repo = repo.to_str().unwrap();
    refused(&world, &["apply", repo, "--allow-host-image"], &["commit"]);
    refused(&world, &["apply", "/nonexistent", "--allow-host-image"], &["/nonexistent"]);
    world.commit(&[("a.yaml", &sleeper("web", ""))]);
    world.ok(&["apply", repo, "--allow-host-image", "--wait", "--timeout", "60s"]);
    let before = world.identities();
    assert_eq!(before.len(), 1);

    world.commit(&[("b.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x\n")]);
    refused(&world, &["apply", repo, "--allow-host-image"], &["b.yaml:"]);
    world.commit(&[("b.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n")]);
    refused(&world, &["apply", repo, "--allow-host-image"], &["b.yaml:2:", "Deployment", ".podwrightignore"]);
    run(world.git().args(["rm", "-q", "a.yaml", "b.yaml"]));
    world.commit(&[("README", "no manifests here")]);
    refused(&world, &["apply", repo, "--allow-host-image"], &["no manifests"]);
    assert_eq!(world.identities(), before);
}

#[test]
fn e2e_a_missing_image_is_named_with_the_way_out_and_blocks_nobody() {
    let Some(mut world) = World::new() else { return };
    let broken = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: broken\nspec:\n  containers:\n  - {name: c, image: busybox, command: [sleep, \"100000\"]}\n";
    world.commit(&[("a.yaml", &sleeper("web", "")), ("b.yaml", broken)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    world.wait("the waiting reason", || {
        let row = world.row("broken")?;
        (row.1 == "ErrImagePull" || row.1 == "ImagePullBackOff").then_some(())
    });
    let described = world.ok(&["describe", "pod", "broken"]);
    assert!(described.contains("podwright image load"), "{described}");
    let repo = world.repo();
    assert_eq!(world.stop(), Some(0));
    let repo_arg = repo.to_str().unwrap();
    refused(&world, &["apply", repo_arg, "--allow-host-image"], &["pod/broken", "podwright image load"]);
    // Told to wait it waits: the image may be loaded meanwhile.
    let output = world.output(&["apply", repo_arg, "--allow-host-image", "--wait", "--timeout", "2s"]);
    assert_eq!(output.status.code(), Some(124), "{}", text(&output));
    assert!(text(&output).contains("broken"), "{}", text(&output));
    // Loaded, it starts without any other help.
    world.load("busybox");
    world.ok(&["apply", repo.to_str().unwrap(), "--allow-host-image", "--wait", "--timeout", "80s"]);
}

#[test]
fn e2e_a_busy_host_port_is_named() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    // Something of the machine listens there: a pod with its network that does not declare the port.
    let holder = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: holder\nspec:\n  terminationGracePeriodSeconds: 0\n  hostNetwork: true\n  containers:\n  - {name: c, image: busybox, command: [httpd, -f, -p, \"0.0.0.0:8099\"]}\n";
    world.commit(&[("holder.yaml", holder)]);
    world.start();
    world.wait_row("holder", "1/1", "Running");
    world.wait("the port to be busy", || {
        run(world.inside("cat").arg("/proc/net/tcp")).contains(":1FA3 00000000:0000 0A").then_some(())
    });
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n    ports: [{containerPort: 80, hostPort: 8099}]\n";
    world.commit(&[("a.yaml", pod), ("b.yaml", &sleeper("other", ""))]);
    world.wait_row("other", "1/1", "Running");
    world.wait_described("web", "8099/TCP is");
    // Without an agent the same is an error of `apply`.
    assert_eq!(world.stop(), Some(0));
    let repo = world.repo();
    refused(&world, &["apply", repo.to_str().unwrap(), "--allow-host-image"], &["pod/web", "8099/TCP is"]);
    world.start();
    run(world.git().args(["rm", "-q", "holder.yaml"]));
    world.commit(&[]);
    world.wait_row("web", "1/1", "Running");
}

#[test]
fn e2e_a_subnet_that_clashes_with_a_route_is_refused() {
    let Some(world) = World::new() else { return };
    run(world.inside("ip").args(["link", "add", "clash0", "type", "bridge"]));
    run(world.inside("ip").args(["addr", "add", "10.77.0.1/16", "dev", "clash0"]));
    run(world.inside("ip").args(["link", "set", "clash0", "up"]));
    world.commit(&[("a.yaml", &sleeper("web", ""))]);
    let repo = world.repo();
    refused(
        &world,
        &[
            "apply",
            repo.to_str().unwrap(),
            "--allow-host-image",
            "--subnet",
            "10.77.3.0/24",
            "--wait",
            "--timeout",
            "5s",
        ],
        &["10.77.3.0/24", "10.77.0.1/16", "clash0"],
    );
    // Without a wish the next free one is taken.
    world.ok(&["apply", repo.to_str().unwrap(), "--allow-host-image", "--wait", "--timeout", "60s"]);
}

#[test]
fn e2e_without_root_rights_the_way_out_is_named() {
    let Some(world) = World::new() else { return };
    world.commit(&[("a.yaml", &sleeper("web", ""))]);
    let repo = world.repo();
    let root = world.scratch().join("unprivileged");
    std::fs::create_dir_all(&root).unwrap();
    run(Command::new("chmod").args(["-R", "a+rwX", world.scratch().to_str().unwrap()]));
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(readable_binary(&world))
        .args(["run", repo.to_str().unwrap(), "--root", root.to_str().unwrap(), "--allow-host-image"])
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("root") && !said.contains("panicked"), "{said}");
}

/// A copy of the program that another user can reach.
fn readable_binary(world: &World) -> std::path::PathBuf {
    let copy = world.scratch().join("podwright");
    std::fs::copy(env!("CARGO_BIN_EXE_podwright"), &copy).unwrap();
    run(Command::new("chmod").args(["755", world.scratch().to_str().unwrap(), copy.to_str().unwrap()]));
    copy
}

#[test]
fn e2e_a_full_or_read_only_root_directory_is_named() {
    let Some(world) = World::new() else { return };
    world.commit(&[("a.yaml", &sleeper("web", ""))]);
    let repo = world.repo();
    let small = world.scratch().join("small");
    std::fs::create_dir_all(&small).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none", small.to_str().unwrap()]));
    std::fs::write(small.join("fill"), vec![0u8; 60 * 1024]).unwrap();
    let full = world
        .inside(env!("CARGO_BIN_EXE_podwright"))
        .args([
            "apply",
            repo.to_str().unwrap(),
            "--root",
            small.join("root").to_str().unwrap(),
            "--allow-host-image",
            "--wait",
            "--timeout",
            "5s",
        ])
        .output()
        .unwrap();
    let said = text(&full);
    std::fs::remove_file(small.join("fill")).unwrap();
    let down = |root: &str| {
        let _ = world.inside(env!("CARGO_BIN_EXE_podwright")).args(["down", "--root", root]).output();
    };
    down(small.join("root").to_str().unwrap());
    run(Command::new("mount").args(["-o", "remount,ro", small.to_str().unwrap()]));
    let read_only = world
        .inside(env!("CARGO_BIN_EXE_podwright"))
        .args(["apply", repo.to_str().unwrap(), "--root", small.join("other").to_str().unwrap(), "--allow-host-image"])
        .output()
        .unwrap();
    run(Command::new("umount").arg("-l").arg(&small));
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left") && said.contains("small") && !said.contains("panicked"), "{said}");
    let said = text(&read_only);
    assert_eq!(read_only.status.code(), Some(1), "{said}");
    assert!(said.contains("Read-only") && said.contains("small/other") && !said.contains("panicked"), "{said}");
}

#[test]
fn e2e_a_checkout_of_another_user_is_refused_with_the_setting() {
    let Some(world) = World::new() else { return };
    world.commit(&[("a.yaml", &sleeper("web", ""))]);
    let repo = world.repo();
    run(Command::new("chown").args(["-R", "65534:65534", repo.to_str().unwrap()]));
    refused(
        &world,
        &["apply", repo.to_str().unwrap(), "--allow-host-image"],
        &["safe.directory", repo.to_str().unwrap()],
    );
    // Root by sudo acts for the owner.
    let validate = world.podwright(&["render", repo.to_str().unwrap()]).env("SUDO_UID", "65534").output().unwrap();
    assert!(validate.status.success(), "{}", text(&validate));
    run(Command::new("chown").args(["-R", "0:0", repo.to_str().unwrap()]));
}
