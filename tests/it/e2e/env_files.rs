//! Variables whose values another container of the pod has written to a file.

use super::harness::World;

/// A pod whose first container writes a file, and whose other one has these variables.
fn pod(name: &str, variables: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{name: found, emptyDir: {{}}}}]
  initContainers:
  - name: writes
    image: busybox
    volumeMounts: [{{name: found, mountPath: /found}}]
    command: [sh, -c]
    args:
    - |
      cat > /found/app.env <<'EOF'
      # what was found
        ADDRESS='db.example' # not far
      TWO='one
      two'
      EOF
  containers:
  - name: c
    image: busybox
    command: [sleep, \"100000\"]
    env:
{variables}"
    )
}

fn variable(name: &str, path: &str, key: &str, rest: &str) -> String {
    format!(
        "    - {{name: {name}, valueFrom: {{fileKeyRef: {{volumeName: found, path: {path}, key: {key}{rest}}}}}}}\n"
    )
}

#[test]
fn e2e_a_container_takes_variables_from_a_file_that_another_one_has_written() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let good = [
        variable("HOST", "app.env", "ADDRESS", ""),
        "    - {name: URL, value: \"http://$(HOST)/\"}\n".to_owned(),
        variable("TWO", "app.env", "TWO", ""),
        variable("NONE", "app.env", "NONE", ", optional: true"),
    ];
    world.commit(&[
        ("good.yaml", &pod("good", &good.concat())),
        ("no-key.yaml", &pod("no-key", &variable("A", "app.env", "NONE", ""))),
        ("no-file.yaml", &pod("no-file", &variable("A", "none.env", "ADDRESS", ", optional: true"))),
    ]);
    world.start();
    world.wait_row("good", "1/1", "Running");
    let seen = world.exec("good", "c", &["sh", "-c", "echo \"$HOST|$URL|$TWO|${NONE-unset}\"; ls /found 2>&1 || true"]);
    assert!(seen.starts_with("db.example|http://db.example/|one\ntwo|unset\n"), "{seen}");
    assert!(seen.contains("No such file"), "the volume is not the container's: {seen}");
    for (name, why) in [
        ("no-key", "environment variable key \"NONE\" not found in file \"app.env\""),
        ("no-file", "couldn't parse env file \"none.env\" of volume found: "),
    ] {
        world.wait_row(name, "0/1", "CreateContainerConfigError");
        world.wait_described(name, why);
    }
}
