//! Values of Secrets that a pod is given in every way there is, looked for everywhere else: on the disk, in the log, in the
//! status, in events, descriptions, differences and errors.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};

use super::harness::{World, text, walk};

/// How every value of these Secrets begins.
const MARK: &str = "planted-";
/// What is no secret, to be found where the values are not: as it is, and in base64 among other bytes.
const PLAIN: &str = "control-plain";
const CODED: &str = "control-coded";

/// The value of a place. Where it is quoted its end differs, and how it begins does not.
fn value(place: &str, round: u32) -> String {
    format!("{MARK}{place}-{round}-\"q")
}

/// Every form of a text that is looked for: as it is, in base64 wherever it begins in what is encoded, in hexadecimal, and as
/// the numbers of its bytes.
fn forms(mark: &str) -> Vec<Vec<u8>> {
    let bytes = mark.as_bytes();
    let coded = |before: usize| {
        let text = STANDARD_NO_PAD.encode([vec![0; before], bytes.to_vec()].concat());
        text.as_bytes()[(before * 8).div_ceil(6)..(before + bytes.len()) * 8 / 6].to_vec()
    };
    let each = |form: fn(&u8) -> String| bytes.iter().map(form).collect::<Vec<_>>();
    let mut all = vec![bytes.to_vec(), each(|byte| format!("{byte:02x}")).concat().into_bytes()];
    all.extend((0..3).map(coded));
    all.extend([", ", ","].map(|between| each(u8::to_string).join(between).into_bytes()));
    all
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    forms(mark).iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

#[test]
fn every_form_of_a_planted_value_is_found() {
    let planted = value("a", 0);
    let mut spelled = vec![planted.clone(), format!("{planted:?}"), json!({"a": planted}).to_string()];
    spelled.push(json!(spelled[2]).to_string());
    spelled.extend((0..3).map(|before| STANDARD.encode([vec![b'x'; before], planted.as_bytes().to_vec()].concat())));
    spelled.push(format!("{:?}", planted.as_bytes()));
    spelled.push(json!(planted.as_bytes()).to_string());
    for text in spelled {
        assert!(holds(text.as_bytes(), MARK), "{text}");
    }
    assert!(!holds(STANDARD.encode("something else").as_bytes(), MARK));
}

fn secrets(round: u32) -> Vec<Value> {
    let secret = |name: &str, more: Value| {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        secret
    };
    let login = json!({"auths": {"127.0.0.1:1": {"username": "u", "password": value("login", round)}}});
    let mut token = secret(
        "token",
        json!({"type": "kubernetes.io/service-account-token", "stringData": {"extra": value("token", round)}}),
    );
    token["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "default"});
    vec![
        secret(
            "own",
            json!({"data": {"file": STANDARD.encode(value("file", round))},
            "stringData": {"word": value("word", round), "env": value("env", round), "part": value("part", round)}}),
        ),
        secret("all", json!({"stringData": {"ALL": value("all", round)}})),
        secret(
            "login",
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": login.to_string()}}),
        ),
        token,
    ]
}

/// The names of [`pods`].
const NAMES: [&str; 6] = ["holder", "late", "part", "program", "shown", "unpulled"];

/// One that has them all, and others that cannot run for what they have of them.
fn pods(round: u32) -> Vec<Value> {
    let variable =
        |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "own", "key": key}}});
    let pod = |name: &str, container: Value, spec: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let own = json!({"name": "c", "image": "busybox", "env": [variable("E", "env"), variable("P", "part"), {"name": "S", "value": "/"}]});
        pod["spec"]["containers"] = json!([own]);
        pod["spec"]["containers"][0].as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        pod["spec"]["terminationGracePeriodSeconds"] = 0.into();
        pod
    };
    let memory = json!([{"name": "memory", "emptyDir": {"medium": "Memory"}}]);
    let mut holder = pod(
        "holder",
        json!({
            "command": ["sh", "-c", "sleep 100000", "$(E)"],
            "envFrom": [{"secretRef": {"name": "all"}}],
            "volumeMounts": [
                {"name": "own", "mountPath": "/own"}, {"name": "token", "mountPath": "/token"},
                {"name": "both", "mountPath": "/both"}, {"name": "memory", "mountPath": "/memory"},
                {"name": "memory", "mountPath": "/part", "subPathExpr": "$(P)"},
            ],
        }),
        json!({"volumes": [
            {"name": "own", "secret": {"secretName": "own"}}, {"name": "token", "secret": {"secretName": "token"}},
            {"name": "both", "projected": {"sources": [{"secret": {"name": "own", "items": [{"key": "word", "path": "word"}]}}]}},
            memory[0],
        ]}),
    );
    let coded = STANDARD.encode(format!("x{CODED}"));
    holder["metadata"]["annotations"] = json!({"plain": format!("{PLAIN}-{round}"), "coded": coded});
    let mount = json!([{"name": "memory", "mountPath": "/part", "subPathExpr": "$(S)$(E)"}]);
    let login = json!([{"name": "login"}]);
    let shown = json!([{"name": "files", "mountPath": "/part", "subPathExpr": "$(E)"}]);
    let files = json!([{"name": "files", "image": {"reference": "busybox", "pullPolicy": "IfNotPresent"}}]);
    let found = json!({"name": "L", "valueFrom": {"fileKeyRef": {"volumeName": "memory", "path": "f", "key": "L"}}});
    let writes = json!({"name": "writes", "image": "busybox", "env": [variable("E", "env")],
        "command": ["sh", "-c", "echo \"L='$E'\" > /memory/f"], "volumeMounts": [{"name": "memory", "mountPath": "/memory"}]});
    let late = json!([{"name": "memory", "mountPath": "/part", "subPathExpr": "$(S)$(L)"}]);
    let taken = json!([{"name": "S", "value": "/"}, found]);
    vec![
        holder,
        pod("part", json!({"volumeMounts": mount}), json!({"volumes": memory})),
        pod(
            "late",
            json!({"env": taken, "volumeMounts": late}),
            json!({"initContainers": [writes], "volumes": memory}),
        ),
        pod("shown", json!({"volumeMounts": shown}), json!({"volumes": files})),
        pod("program", json!({"command": ["$(E)"]}), json!({"restartPolicy": "Never"})),
        pod("unpulled", json!({"image": "127.0.0.1:1/none:1"}), json!({"imagePullSecrets": login})),
    ]
}

fn write(world: &World, round: u32) {
    for object in secrets(round).into_iter().chain(pods(round)) {
        let name = object["metadata"]["name"].as_str().unwrap();
        world.write(&format!("{}-{name}.json", object["kind"].as_str().unwrap()), &object.to_string());
    }
}

/// What a revision says that is refused for its Secrets.
const REFUSED: &str = "apiVersion: v1
kind: Secret
metadata: {name: wrong}
stringData: {list: [planted-list], number: 1}
data: {bad: \"%planted-data\"}
stringDatum: {x: planted-too}
";

/// Files of the root on its disk, or on another file system, that hold a mark.
fn files(world: &World, on_disk: bool, mark: &str) -> Vec<PathBuf> {
    let device = |path: &PathBuf| std::fs::metadata(path).ok().map(|found| found.dev());
    let disk = device(&world.root());
    let is_one = |path: &PathBuf| {
        let is_named = holds(path.as_os_str().as_encoded_bytes(), mark);
        (device(path) == disk) == on_disk && (is_named || holds(&std::fs::read(path).unwrap_or_default(), mark))
    };
    walk(&world.root()).into_iter().filter(is_one).collect()
}

/// What differs, in every output, with a word that all of them have.
fn differences(world: &World, more: &[&str], word: &str) {
    let repo = world.repo();
    for format in ["text", "json", "markdown"] {
        let args = [&["diff", repo.to_str().unwrap(), "-o", format], more].concat();
        let told = text(&world.output(&args));
        assert!(told.contains(word), "{args:?}: {told}");
        assert!(!holds(told.as_bytes(), MARK), "{args:?}: {told}");
    }
}

/// Everything that is told of the pods, and everything on the disk.
fn nothing_is_told(world: &World) {
    let status = || std::fs::read_to_string(world.repo().join("status.yaml")).ok();
    let mut told =
        vec![world.log(), world.wait("the status file", || status().filter(|text| text.contains("unpulled")))];
    for pod in NAMES {
        told.push(world.ok(&["describe", "pod", pod]));
    }
    told.push(world.ok(&["get", "pods", "-o", "yaml"]));
    told.push(world.ok(&["get", "events", "-o", "json"]));
    told.push(text(&world.output(&["status"])));
    for text in &told {
        assert!(NAMES.iter().any(|name| text.contains(name)), "{text}");
        assert!(!holds(text.as_bytes(), MARK), "{text}");
    }
    assert_eq!(files(world, true, MARK), [] as [PathBuf; 0]);
    // The same search finds what is no secret, and the values where they are.
    for control in [PLAIN, CODED] {
        assert_ne!(files(world, true, control), [] as [PathBuf; 0], "{control}");
    }
    assert!(told.iter().any(|text| holds(text.as_bytes(), PLAIN)));
    assert_ne!(files(world, false, MARK), [] as [PathBuf; 0]);
}

#[test]
fn e2e_values_of_secrets_are_in_memory_and_in_their_containers_and_nowhere_else() {
    let Some(world) = World::new() else { return };
    let mut world = world.with_flags(&["--allow-host-image", "-vv"]);
    world.load("busybox");
    write(&world, 0);
    world.commit(&[]);
    world.start();
    world.wait_row("holder", "1/1", "Running");
    world.wait_described("part", "error SubPath `$(S)$(E)` must not be an absolute path");
    world.wait_described("late", "error SubPath `$(S)$(L)` must not be an absolute path");
    world.wait_described("shown", "subPath \"$(E)\" is no directory of it");
    world.wait_described("program", "exec: \"$(E)\": executable file not found in $PATH");
    world.wait_described("unpulled", "Failed to pull image");
    let sh = |script: &str| world.exec("holder", "c", &["sh", "-c", script]);
    let has = |round: u32| {
        ["file", "word", "token", "word"].map(|place| value(place, round) + "\n").concat()
            == sh("for f in /own/file /own/word /token/extra /both/word; do cat $f; echo; done")
    };
    assert!(has(0));
    let given = ["part", "env", "all"].map(|place| value(place, 0) + "\n").concat();
    assert_eq!(sh("ls /memory; echo \"$E\"; echo \"$ALL\""), given);
    nothing_is_told(&world);

    write(&world, 1);
    world.commit(&[]);
    world.wait("the new values", || has(1).then_some(()));
    differences(&world, &["--base", "HEAD~1"], "holder");
    write(&world, 2);
    differences(&world, &["--worktree"], "holder");
    world.commit(&[("wrong.yaml", REFUSED)]);
    world.wait("the refusal", || world.log().contains("is refused").then_some(()));
    let repo = world.repo();
    for format in ["text", "json", "github", "sarif"] {
        let told = world.output(&["validate", repo.to_str().unwrap(), "-o", format]);
        assert!(!told.status.success() && text(&told).contains("wrong.yaml"), "{}", text(&told));
        assert!(!holds(text(&told).as_bytes(), MARK), "{}", text(&told));
    }
    nothing_is_told(&world);
}
