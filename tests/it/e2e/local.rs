//! Secrets that are provisioned on the device, under an agent that runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::harness::{World, walk};

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, \"100000\"]
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]
    volumeMounts: [{name: db, mountPath: /db}]
  volumes: [{name: db, secret: {secretName: db}}]
";
const WRITTEN: &str = "{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {password: of-the-manifests}}";

#[test]
fn e2e_a_secret_of_the_device_reaches_its_pods_below_what_the_manifests_say() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("p.yaml", POD)]);
    world.start();
    world.wait_described("p", "secret \"db\" not found");
    let provision = |value: &str| {
        let literal = format!("--from-literal=password={value}");
        world.ok(&["secret", "create", "generic", "db", &literal, "--local", "--replace"])
    };
    assert_eq!(provision("planted-one"), "secret/db created\n");
    world.wait_row("p", "1/1", "Running");
    let seen = || {
        let said = world.exec("p", "c", &["sh", "-c", "echo $PASSWORD; cat /db/password"]);
        said.lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let becomes = |expected: &str| world.wait(expected, || (seen() == expected).then_some(()));
    let origin = || world.ok(&["get", "secret", "db", "-o", "jsonpath={.metadata.annotations.podwright\\.dev/origin}"]);
    becomes("planted-one planted-one");
    assert_eq!(origin(), "local");
    assert!(world.ok(&["get", "secrets", "-o", "wide"]).lines().any(|line| line.ends_with("  local")));
    assert_eq!(provision("planted-two"), "secret/db replaced\n");
    becomes("planted-one planted-two");
    world.commit(&[("s.yaml", WRITTEN)]);
    becomes("planted-one of-the-manifests");
    assert_eq!(origin(), "");
    world.ok(&["secret", "rm", "db"]);
    assert_eq!(provision("planted-three"), "secret/db created\n");
    std::fs::remove_file(world.repo().join("s.yaml")).unwrap();
    world.commit(&[]);
    becomes("planted-one planted-three");
    // It counts although the newest revision does not.
    world.commit(&[("s.yaml", "{apiVersion: v1, kind: Secret, metadata: {name: db}, stringDatum: {}}")]);
    world.wait("the refusal", || world.log().contains("is refused").then_some(()));
    assert_eq!(provision("planted-four"), "secret/db replaced\n");
    becomes("planted-one planted-four");
    assert_eq!(world.pod("p").unwrap()["status"]["containerStatuses"][0]["restartCount"], 0);
    let status = std::fs::read_to_string(world.repo().join("status.yaml")).unwrap();
    let shown = [world.log(), status, world.ok(&["describe", "pod", "p"])].concat();
    assert!(!shown.contains("planted-") && !shown.contains("cGxhbnRl"), "{shown}");
    // On the disk only where it was provisioned.
    let (device, local) =
        (|path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok(), world.root().join("local"));
    let disk = device(&world.root());
    for path in walk(&world.root()) {
        let holds = std::fs::read(&path).unwrap_or_default().windows(8).any(|bytes| bytes == b"planted-");
        let encoded = std::fs::read(&path).unwrap_or_default().windows(8).any(|bytes| bytes == b"cGxhbnRl");
        assert!(
            !(holds || encoded) || device(&path) != disk || path.starts_with(&local),
            "{} holds a secret",
            path.display()
        );
    }
}
