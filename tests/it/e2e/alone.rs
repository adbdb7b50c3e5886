//! What the agent takes of the machine: the program `nft`, and no other.

use std::path::Path;

use super::harness::World;

#[test]
fn e2e_pods_with_all_that_they_have_run_where_no_program_but_nft_is_found() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let programs = world.scratch().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let nft = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].into_iter().find(|place| Path::new(place).exists());
    std::os::unix::fs::symlink(nft.expect("nft is installed"), programs.join("nft")).unwrap();
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {key: value}\n";
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
               shareProcessNamespace: true\n  volumes:\n  - {name: memory, emptyDir: {medium: Memory}}\n  - {name: disk, emptyDir: {}}\n  \
               - {name: settings, configMap: {name: settings}}\n  initContainers:\n  - {name: first, image: busybox, command: [touch, /d/x], \
               volumeMounts: [{name: disk, mountPath: /d}]}\n  containers:\n  - name: c\n    image: busybox\n    imagePullPolicy: IfNotPresent\n    \
               command: [sh, -c, \"mkdir /w; cat /s/key >/w/index.html; exec httpd -f -p 80 -h /w\"]\n    ports: [{containerPort: 80, hostPort: 8080}]\n    \
               volumeMounts: [{name: memory, mountPath: /m}, {name: disk, mountPath: /d, subPath: sub}, {name: settings, mountPath: /s}]\n    \
               resources: {limits: {cpu: 500m, memory: 64Mi}}\n    readinessProbe: {exec: {command: [test, -e, /w/index.html]}, periodSeconds: 1}\n";
    let pod = pod.replacen("image: busybox, command", "image: busybox, imagePullPolicy: IfNotPresent, command", 1);
    world.commit(&[("config.yaml", config), ("pod.yaml", &pod)]);
    let path = format!("PATH={}", programs.display());
    world.spawn_under(&["env", &path]);
    world.wait_row("web", "1/1", "Running");
    assert!(world.page("127.0.0.1", 8080).ends_with("value"));
    // Made anew in its place, with all that goes with the old one.
    world.commit(&[("pod.yaml", &pod.replace("8080", "8081"))]);
    world.wait("the other port", || world.page("127.0.0.1", 8081).ends_with("value").then_some(()));
    assert_eq!(world.stop(), Some(0));
}
