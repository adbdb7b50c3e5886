//! Limits, ends and leftovers of pods on a kernel that has version 2 of cgroups and nothing else.

use serde_json::Value;

use super::disk;
use super::machine::{Disk, Machine};

const TRIES: usize = 150;

const FIRST: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sleep, "100000"]
    resources: {limits: {cpu: 250m, memory: 32Mi}, requests: {cpu: 100m}}
  - name: free
    image: podwright.invalid/host
    command: [sleep, "100000"]
---
apiVersion: v1
kind: Pod
metadata: {name: sure}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sleep, "100000"]
    resources: {limits: {cpu: 500m, memory: 32Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: many}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sh, -c, "(for i in $(seq 30); do sleep 100000 & done); exec sleep 100000"]
---
apiVersion: v1
kind: Pod
metadata: {name: eater}
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: podwright.invalid/host
    command: [tail, /dev/zero]
    resources: {limits: {memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  restartPolicy: OnFailure
  containers:
  - name: app
    image: podwright.invalid/host
    command: [tail, /dev/zero]
    resources: {limits: {memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: killed}
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sh, -c, "sleep 100000 & kill -9 $!; wait $!"]
    resources: {limits: {memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: parent}
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sh, -c, "tail /dev/zero; exit 3"]
    resources: {limits: {memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  hostUsers: false
  restartPolicy: Never
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sleep, "100000"]
"#;

const OTHER: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {key: two}\n";

/// The pods by name, as soon as `is_done` says so of them.
fn pods(machine: &mut Machine, what: &str, is_done: impl Fn(&dyn Fn(&str) -> Value) -> bool) -> Value {
    let mut last = String::new();
    for _ in 0..TRIES {
        let (code, printed) = machine.run("sleep 1; podwright get pods -o json 2>/dev/ttyS0");
        if code == 0 {
            let list: Value = serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
            if is_done(&|name| pod(&list, name)) {
                return list;
            }
        }
        last = printed;
    }
    panic!("waited in vain for {what}: {last}\nconsole:\n{}", machine.console());
}

fn pod(list: &Value, name: &str) -> Value {
    let items = list["items"].as_array().into_iter().flatten();
    items.into_iter().find(|pod| pod["metadata"]["name"] == name).cloned().unwrap_or_default()
}

fn status(pod: &Value, container: &str) -> Value {
    let all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    all.into_iter().find(|status| status["name"] == container).cloned().unwrap_or_default()
}

/// `REASON CODE` of an end.
fn end(state: &Value) -> String {
    let end = &state["terminated"];
    format!("{} {}", end["reason"].as_str().unwrap_or_default(), end["exitCode"])
}

/// What a script says that may use tests/vm/functions.
fn said(machine: &mut Machine, script: &str) -> String {
    machine.ok(&format!(". /usr/share/podwright/functions\n{script}"))
}

/// A script that goes to a pod's cgroup.
fn group(list: &Value, name: &str) -> String {
    let pod = pod(list, name);
    let class = match pod["status"]["qosClass"].as_str().unwrap() {
        "Guaranteed" => "",
        "Burstable" => "burstable/",
        _ => "besteffort/",
    };
    format!("cd /sys/fs/cgroup/podwright-*/{class}pod{}; ", pod["metadata"]["uid"].as_str().unwrap())
}

fn check_ends(list: &Value) {
    for (name, expected) in [("eater", "OOMKilled 137"), ("killed", "Error 137"), ("parent", "OOMKilled 137")] {
        assert_eq!(end(&status(&pod(list, name), "app")["state"]), expected, "{name}");
        assert_eq!(status(&pod(list, name), "app")["restartCount"], 0, "{name}");
    }
    assert_eq!(end(&status(&pod(list, "again"), "app")["lastState"]), "OOMKilled 137");
}

/// This kernel's tmpfs cannot be shown with other user ids: a pod that takes them fails with the reason, and `doctor` knows.
fn check_users(machine: &mut Machine, list: &Value) {
    let end = status(&pod(list, "own"), "app")["state"]["terminated"].clone();
    assert_eq!((end["reason"].as_str(), &end["exitCode"]), (Some("StartError"), &128.into()));
    let message = end["message"].as_str().unwrap();
    assert!(message.contains("its file system, or this kernel, cannot show it with other user ids"), "{message}");
    let told = said(machine, "podwright doctor | grep -A2 'user namespaces'");
    assert!(told.contains("files of a tmpfs cannot be shown with other user ids"), "{told}");
    assert!(told.contains("hostUsers: false"), "{told}");
}

/// The weights of classes and pods: what is asked for, and the least for who asks for nothing.
fn check_weights(machine: &mut Machine, list: &Value, burstable: &str) {
    let groups = [("limited", burstable), ("sure", "59"), ("many", "1")];
    for (name, weight) in groups {
        assert_eq!(said(machine, &format!("{} cat cpu.weight", group(list, name))), weight, "{name}");
    }
    let script = "cd /sys/fs/cgroup/podwright-*; cat burstable/cpu.weight besteffort/cpu.weight";
    assert_eq!(said(machine, script), format!("{burstable}\n1"));
}

/// A pod may use what all of its containers may together, if all of them have a limit.
fn check_pods(machine: &mut Machine, list: &Value, sure: &str) {
    for (name, expected) in [("limited", "max 100000\nmax"), ("sure", sure)] {
        assert_eq!(said(machine, &format!("{} cat cpu.max memory.max", group(list, name))), expected, "{name}");
    }
}

/// One group for each container and one for the infra process, with what the manifest asks for and nothing else.
fn check_groups(machine: &mut Machine, list: &Value) {
    let files = "cat memory.max memory.oom.group cpu.max cpu.weight";
    let script = format!("{} ls -d */; for dir in app-0 free-0; do (cd $dir; {files}); done", group(list, "limited"));
    let limits = ["33554432\n1\n25000 100000\n17", "max\n1\nmax 100000\n1"];
    assert_eq!(said(machine, &script), format!("app-0/\nfree-0/\npause/\n{}\n{}", limits[0], limits[1]));
    // The kernel counts the refusals either where the limit is or where the process is.
    let script = format!("{} cat pids.max; cat pids.events app-0/pids.events | grep -cv 'max 0'", group(list, "many"));
    assert_eq!(said(machine, &script), "24\n1");
    assert_eq!(said(machine, "podwright exec limited -c app -- cat /proc/self/cgroup"), "0::/");
    let script = "podwright exec limited -c app -- sh -c 'mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk'";
    let (code, printed) = machine.run(script);
    assert!(code != 0 && printed.contains("Operation not permitted"), "{code} {printed}");
}

#[test]
fn e2e_vm_limits_hold_and_ends_are_told_apart_with_version_2_of_cgroups_alone() {
    if !disk::can_run() {
        return;
    }
    let temp = tempfile::Builder::new().prefix("podwright-vm-").tempdir().unwrap();
    let dir = temp.path();
    let resized = FIRST.replace("cpu: 250m, memory: 32Mi", "cpu: 500m, memory: 48Mi").replace("cpu: 100m", "cpu: 200m");
    let resized = resized.replace("cpu: 500m, memory: 32Mi", "cpu: 500m, memory: 40Mi");
    let (image, ids) = disk::var(dir, &[FIRST.to_owned(), resized, OTHER.to_owned()], 64);
    let mut machine = Machine::boot(&disk::root(dir), Disk::Plain(&image), &dir.join("console"));
    let machine = &mut machine;
    assert_eq!(said(machine, "grep cgroup /proc/mounts | cut -d' ' -f3"), "cgroup2");
    let config = "echo 'podPidsLimit: 24' >/run/config.yaml; agent --config /run/config.yaml";
    said(machine, &format!("commit {}; {config}", ids[0]));
    let list = pods(machine, "all pods to run or to end", |pod| {
        let runs = [("limited", "app"), ("limited", "free"), ("sure", "app"), ("many", "app")];
        runs.iter().all(|(name, container)| status(&pod(name), container)["ready"] == true)
            && status(&pod("again"), "app")["restartCount"].as_u64() > Some(0)
            && ["eater", "killed", "parent", "own"].iter().all(|name| pod(name)["status"]["phase"] == "Failed")
    });
    check_ends(&list);
    check_users(machine, &list);
    check_groups(machine, &list);
    check_weights(machine, &list, "17");
    check_pods(machine, &list, "50000 100000\n33554432");

    let group = group(&list, "limited");
    let resized = "grep -qx 50331648 app-0/memory.max && grep -qx '50000 100000' app-0/cpu.max";
    said(machine, &format!("commit {}; {group} until {resized}; do usleep 100000; done", ids[1]));
    let before = status(&pod(&list, "limited"), "app")["containerID"].clone();
    let list = pods(machine, "the new amounts", |pod| {
        [("limited", "48Mi"), ("sure", "40Mi")]
            .iter()
            .all(|(name, memory)| status(&pod(name), "app")["resources"]["limits"]["memory"] == *memory)
    });
    assert_eq!(status(&pod(&list, "limited"), "app")["containerID"], before);
    check_weights(machine, &list, "29");
    check_pods(machine, &list, "50000 100000\n41943040");

    said(
        machine,
        &format!(
            "commit {}; settle; cd /sys/fs/cgroup/podwright-*; until [ \"$(ls -d */)\" = monitors/ ]; do usleep 100000; done",
            ids[2]
        ),
    );
    assert_eq!(said(machine, "cd /sys/fs/cgroup/podwright-*; ls -d */"), "monitors/");
    said(
        machine,
        "kill $(cat /run/agent); while [ -d /proc/$(cat /run/agent) ]; do usleep 100000; done; podwright down",
    );
    assert_eq!(said(machine, "ls /sys/fs/cgroup | grep -c podwright || true"), "0");
}
