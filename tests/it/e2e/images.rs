//! Images from a real registry, over TLS with a password, as an agent and people pull them.

use std::process::Command;

use serde_json::Value;
use tar::EntryType;

use super::harness::{World, run, text, walk};
use super::seed;
use crate::support::images::{Layer, Layout};
use crate::support::registry::{Real, WORD};

/// A pod of busybox; its image has no tag, so it is asked for again at each start.
fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - {{name: c, image: busybox, command: [sleep, \"100000\"]}}\n"
    )
}

/// A world whose docker.io is a registry on its loopback, with busybox in it.
fn world() -> Option<(World, Real)> {
    let world = World::new()?;
    let registry = {
        let inside = |program: &str| -> Command { world.inside(program) };
        let registry = Real::start(&inside);
        let (layout, top) = Layout::of_test_image("busybox");
        registry.push(&inside, &layout, &top, ("library/busybox", "latest"));
        registry
    };
    configure(&world, &registry, &registry.docker_config(), "present");
    let config = world.scratch().join("config.yaml").display().to_string();
    Some((world.with_flags(&["--allow-host-image", "--config", &config]), registry))
}

fn configure(world: &World, registry: &Real, docker: &str, offline: &str) {
    let at = world.scratch();
    std::fs::write(at.join("docker.json"), docker).unwrap();
    let config = format!(
        "registries:\n- {{name: docker.io, mirrors: [\"https://{}\"], ca: {}, mirrorsOnly: true}}\n\
         registryCredentials: {}/docker.json\nofflinePull: {offline}\n",
        registry.address,
        registry.ca(),
        at.display()
    );
    std::fs::write(at.join("config.yaml"), config).unwrap();
}

fn condition(world: &World, pod: &str, kind: &str) -> Option<Value> {
    let pod = world.pod(pod)?;
    pod["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind).cloned()
}

#[test]
fn e2e_a_commit_pulls_its_image_through_the_mirror_under_its_usual_name() {
    let Some((mut world, registry)) = world() else { return };
    world.commit(&[("a.yaml", &pod("one")), ("b.yaml", &pod("two"))]);
    world.start();
    world.wait_row("one", "1/1", "Running");
    world.wait_row("two", "1/1", "Running");
    for event in ["Pulling", "Successfully pulled image \"busybox\" in ", "including waiting). Image size: "] {
        world.wait_described("one", event);
    }
    assert_eq!(condition(&world, "one", "ImageStale"), None);
    let pod = world.pod("one").unwrap();
    let (_, top) = Layout::of_test_image("busybox");
    assert!(
        pod["status"]["containerStatuses"][0]["imageID"].as_str().unwrap().contains(top["digest"].as_str().unwrap())
    );

    // Without the registry the next pod starts on what is here, and says so.
    let address = registry.address.clone();
    drop(registry);
    world.commit(&[("c.yaml", &self::pod("three"))]);
    world.wait_row("three", "1/1", "Running");
    let stale = world.wait("the condition", || condition(&world, "three", "ImageStale"));
    assert_eq!((stale["status"].as_str(), stale["reason"].as_str()), (Some("True"), Some("RegistryUnavailable")));
    assert!(stale["message"].as_str().unwrap().contains("image \"busybox\" of container c: "), "{stale}");
    world.wait_described("three", "ImageStale");
    assert!(world.log().contains(&address));

    // What pods run or are to run is not pruned.
    let pruned = world.ok(&["image", "prune"]);
    assert!(!pruned.contains("Removed image"), "{pruned}");
    assert_eq!(world.stop(), Some(0));
    world.ok(&["down"]);
    let pruned = world.ok(&["image", "prune"]);
    assert!(pruned.contains("Removed image: docker.io/library/busybox:latest"), "{pruned}");
    assert_eq!(world.ok(&["image", "ls"]).lines().count(), 1);
}

#[test]
fn e2e_an_image_that_was_damaged_while_no_agent_ran_is_pulled_again_and_runs() {
    let Some((mut world, _registry)) = world() else { return };
    let config = world.scratch().join("config.yaml").display().to_string();
    world.ok(&["image", "pull", "busybox", "--config", &config]);
    let program = walk(&world.root().join("images/layers"))
        .into_iter()
        .find(|path| path.ends_with("bin/busybox"))
        .expect("the program of the image");
    let whole = std::fs::read(&program).unwrap();
    std::fs::write(&program, vec![0; whole.len()]).unwrap();
    world.commit(&[("a.yaml", &pod("one").replace("image: busybox", "image: busybox, imagePullPolicy: IfNotPresent"))]);
    world.start();
    world.wait_row("one", "1/1", "Running");
    assert!(std::fs::read(&program).unwrap() == whole);
    world.wait_described("one", "damaged in the store");
    assert_eq!(world.row("one").unwrap().2, "0", "it was not tried with the damaged one first");
}

/// The two images of javaweb-2: one brings a file, the other one shows it.
fn stand_in(name: &str) -> (Layout, Value) {
    let (mut layout, top) = Layout::of_test_image("busybox");
    let layer = match name {
        "sample" => Layer::new().file("sample.war", "what the war says\n"),
        _ => {
            let script = "#!/bin/sh\nmkdir /www\ncp /root/apache-tomcat-7.0.42-v2/webapps/sample.war /www/index.html\n\
                          exec busybox httpd -f -p 8080 -h /www\n";
            let dirs =
                Layer::new().dir("root/").dir("root/apache-tomcat-7.0.42-v2/").dir("root/apache-tomcat-7.0.42-v2/bin/");
            let path = "root/apache-tomcat-7.0.42-v2/bin/start.sh";
            dirs.entry(path, EntryType::Regular, |header| header.set_mode(0o755), script.as_bytes())
        }
    };
    let top = layout.extended(&top, &layer);
    (layout, top)
}

#[test]
fn e2e_seed_manifests_run_from_one_registry_by_one_mirror_setting() {
    let Some(world) = World::new() else { return };
    let _data = seed::Data::alone();
    let inside = |program: &str| -> Command { world.inside(program) };
    let registry = Real::start(&inside);
    for (image, repository, tag) in [
        ("nginx", "library/nginx", "latest"),
        ("debian", "library/debian", "latest"),
        ("busybox", "library/busybox", "latest"),
        ("busybox", "busybox", "latest"),
    ] {
        let (layout, top) = Layout::of_test_image(image);
        registry.push(&inside, &layout, &top, (repository, tag));
    }
    for (image, repository, tag) in [("sample", "geektime/sample", "v2"), ("tomcat", "geektime/tomcat", "7.0")] {
        let (layout, top) = stand_in(image);
        registry.push(&inside, &layout, &top, (repository, tag));
    }
    configure(&world, &registry, &registry.docker_config(), "present");
    let config = world.scratch().join("config.yaml");
    let every = std::fs::read_to_string(&config).unwrap().replace("name: docker.io", "name: \"*\"");
    std::fs::write(&config, every).unwrap();
    let config = config.display().to_string();
    let mut world = world.with_flags(&["--config", &config]);
    let secrets = seed::SECRETS.map(|(name, key, value)| seed::secret(name, key, value)).join("---\n");
    let names = [
        "pod.yaml",
        "preset.yaml",
        "two-containers.yaml",
        "nginx.yaml",
        "mysecret.yaml",
        "secret.yaml",
        "javaweb-2.yaml",
        // Of another registry than all others.
        "downward_api.yaml",
    ];
    let mut files: Vec<(&str, String)> = names.iter().map(|name| (*name, seed::seed(name))).collect();
    files.push(("secrets.yaml", secrets));
    world.commit(&files.iter().map(|(path, text)| (*path, text.as_str())).collect::<Vec<_>>());
    world.start();
    for (name, ready, status) in [
        ("website", "1/1", "Running"),
        ("two-containers", "1/2", "NotReady"),
        ("nginx", "2/2", "Running"),
        ("test-projected-volume", "1/1", "Running"),
        ("javaweb-2", "1/1", "Running"),
        ("test-downwardapi-volume", "1/1", "Running"),
    ] {
        world.wait_row(name, ready, status);
    }
    let page = world.wait("the war's page", || {
        let page = world.page("127.0.0.1", 8001);
        page.contains("200 OK").then_some(page)
    });
    assert!(page.ends_with("what the war says\n"), "{page}");
    // The same name again: the machine's namespaces in place of the pod's own.
    run(world.git().args(["rm", "-q", "nginx.yaml"]));
    world.commit(&[("host.yaml", &seed::seed("host.yaml"))]);
    world.wait("the pod of host.yaml", || {
        let pod = world.pod("nginx")?;
        let ready = pod["status"]["containerStatuses"].as_array()?.iter().filter(|c| c["ready"] == true).count();
        (pod["spec"]["hostNetwork"] == true && ready == 2).then_some(())
    });
}

#[test]
fn e2e_strict_pulls_wait_for_the_registry_as_kubernetes_has_it() {
    let Some((mut world, registry)) = world() else { return };
    configure(&world, &registry, &registry.docker_config(), "strict");
    let config = world.scratch().join("config.yaml").display().to_string();
    world.ok(&["image", "pull", "busybox", "--config", &config]);
    drop(registry);
    world.commit(&[("a.yaml", &pod("one"))]);
    world.start();
    world.wait_row("one", "0/1", "ImagePullBackOff");
    for event in ["Failed to pull image \"busybox\": ", "Error: ErrImagePull", "Back-off pulling image \"busybox\""] {
        world.wait_described("one", event);
    }
}

#[test]
fn e2e_a_wrong_password_is_an_error_of_the_pod_that_does_not_show_it() {
    let Some((mut world, registry)) = world() else { return };
    let wrong = registry.docker_config().replace(WORD, "other-hidden");
    configure(&world, &registry, &wrong, "present");
    world.commit(&[("a.yaml", &pod("one"))]);
    world.start();
    world.wait_row("one", "0/1", "ImagePullBackOff");
    world.wait_described("one", "access denied (401)");
    let told = text(&world.output(&["describe", "pod", "one"])) + &world.log() + &world.ok(&["status"]);
    assert!(!told.contains("other-hidden") && !told.contains("Basic "), "{told}");
    // The file is read at each pull: mended, it is all that is needed.
    configure(&world, &registry, &registry.docker_config(), "present");
    world.wait_row("one", "1/1", "Running");
}

#[test]
fn e2e_a_pull_secret_of_the_namespace_is_who_the_pod_is_to_the_registry() {
    let Some((mut world, registry)) = world() else { return };
    configure(&world, &registry, "{}", "present");
    let docker = registry.docker_config();
    let secret = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: pull, namespace: {namespace}}}\ntype: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '{docker}'\n"
        )
    };
    let with = pod("one").replace("spec:\n", "spec:\n  imagePullSecrets: [{name: pull}]\n");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n";
    world.commit(&[("n.yaml", namespace), ("s.yaml", &secret("other")), ("p.yaml", &with)]);
    world.start();
    // Of another namespace it is not this pod's.
    world.wait_row("one", "0/1", "ImagePullBackOff");
    world.wait_described("one", "no name and password for");
    world.commit(&[("s.yaml", &secret("default"))]);
    world.wait_row("one", "1/1", "Running");
    // So it is through the pod's account. What is here already is asked for again.
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\nimagePullSecrets: [{name: pull}]\n";
    let of_account = pod("two").replace("spec:\n", "spec:\n  serviceAccountName: robot\n");
    world.commit(&[("a.yaml", account), ("q.yaml", &of_account)]);
    world.wait_row("two", "1/1", "Running");
    world.wait_described("two", "Successfully pulled image");
    let told = text(&world.output(&["describe", "pod", "one"])) + &world.log();
    assert!(!told.contains(WORD), "{told}");
}

#[test]
fn e2e_an_authority_that_nobody_named_is_not_trusted() {
    let Some((world, registry)) = world() else { return };
    let name = format!("{}/library/busybox", registry.address);
    let at = world.scratch().join("other.yaml");
    // Loopback is spoken to in plain HTTP unless something says otherwise; as a mirror it is named with its scheme.
    let entry =
        format!("registries:\n- {{name: docker.io, mirrors: [\"https://{}\"], mirrorsOnly: true}}\n", registry.address);
    std::fs::write(&at, entry).unwrap();
    let output = world.output(&["image", "pull", "busybox", "--config", at.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("nobody this machine trusts signed its certificate"), "{}", text(&output));
    let docker = world.scratch().join("docker.json");
    let own = format!(
        "registries:\n- {{name: \"{}\", ca: {}}}\nregistryCredentials: {}\n",
        registry.address,
        registry.ca(),
        docker.display()
    );
    std::fs::write(&at, own).unwrap();
    let pulled = world.ok(&["image", "pull", &name, "--config", at.to_str().unwrap()]);
    assert_eq!(pulled, format!("Pulled image: {name}:latest\n"));
    let again = world.ok(&["image", "pull", &name, "--config", at.to_str().unwrap()]);
    assert_eq!(again, format!("Image is up to date: {name}:latest\n"));
}
