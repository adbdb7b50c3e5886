//! Failures: a container that cannot start waits, the others go on.

use podwright::model::{Account, ImageNeed, ImageSource, PodAction, PodMemory, Sandbox, SharedBytes};
use serde_json::json;

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

fn base() -> World {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    settled(
        json!({
            "containers": [
                {"name": "a", "image": "a:1", "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]},
                {"name": "b", "image": "b:1", "envFrom": [{"secretRef": {"name": "s"}}]},
            ],
            "volumes": [{"name": "files", "configMap": {"name": "m"}}, {"name": "keys", "secret": {"secretName": "s"}}],
        }),
        &[map, secret],
    )
}

fn key(name: &str) -> (String, String) {
    ("default".into(), name.into())
}

fn without_map(w: &mut World) {
    w.data.config_maps.remove(&key("m"));
}

fn other_map(w: &mut World) {
    let mut map = (*w.data.config_maps[&key("m")]).clone();
    map.texts = [("other".to_owned(), SharedBytes::new("x"))].into();
    w.data.config_maps.insert(key("m"), map.into());
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("nothing differs", |_| {}, &[]),
    ("the agent restarted: volumes are synced once", |w| w.memory = PodMemory::default(), &[
        "volumes files,keys: volume data changed",
    ]),
    ("data changed: files follow, variables do not", other_map, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.volumes[files] (ConfigMap default/m: k, other); takes effect when container a starts again",
        "volumes files: volume data changed",
    ]),
    ("data is not known: files stay", |w| { w.memory = PodMemory::default(); w.known = false; }, &[]),
    ("data is not known: what needs it waits", |w| { w.bare(); w.known = false; }, &[
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found \
         (no revision could be read yet, so ConfigMaps and Secrets are not known)",
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found \
         (no revision could be read yet, so ConfigMaps and Secrets are not known)",
        "a waits: ContainerCreating MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found; \
         MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found \
         (no revision could be read yet, so ConfigMaps and Secrets are not known)",
        "b waits: ContainerCreating MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found; \
         MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found \
         (no revision could be read yet, so ConfigMaps and Secrets are not known)",
    ]),
    ("data is gone: files stay", without_map, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.volumes[files] (ConfigMap default/m: k); takes effect when container a starts again",
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found",
    ]),
    ("data is gone before the sandbox", |w| { w.bare(); without_map(w); }, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.volumes[files] (ConfigMap default/m: k); takes effect when container a starts again",
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found",
        "a waits: ContainerCreating MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found",
        "b waits: ContainerCreating MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found",
    ]),
    ("everything missing is told at once", |w| { w.bare(); without_map(w); w.data.secrets.clear(); }, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.containers[1].envFrom[0] (Secret default/s: k), spec.volumes[files] (ConfigMap default/m: k), \
         spec.volumes[keys] (Secret default/s: k); takes effect when container a starts again; \
         takes effect when container b starts again",
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found",
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found",
        "a waits: ContainerCreating MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found; \
         MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found",
        "b waits: ContainerCreating MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found; \
         MountVolume.SetUp failed for volume \"keys\" : secret \"s\" not found",
    ]),
    ("volumes come before the sandbox", World::bare, &[
        "volumes files,keys: no sandbox yet", "sandbox#0: no sandbox yet",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("the sandbox failed just now", |w| { w.bare(); w.fail("", "FailedCreatePodSandBox", 95); }, &[
        "hold pod FailedCreatePodSandBox until 105: why", "wake 105",
        "a waits: ContainerCreating why", "b waits: ContainerCreating why",
    ]),
    ("the sandbox is tried again", |w| { w.bare(); w.fail("", "FailedCreatePodSandBox", 90); }, &[
        "volumes files,keys: no sandbox yet", "sandbox#0: no sandbox yet",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("the second sandbox fails", |w| {
        w.ended("a", 137, 90);
        w.ended("b", 137, 90);
        w.sandbox(Sandbox::Dead { attempt: 0 });
        w.fail("", "FailedCreatePodSandBox", 95);
    }, &["hold pod FailedCreatePodSandBox until 105: why", "wake 105"]),
    ("syncing failed just now", |w| { w.memory.synced_volumes.clear(); w.fail("", "FailedMount", 95); }, &[
        "hold pod FailedMount until 105: why", "wake 105",
    ]),
    ("syncing failed just now: other data is tried at once", |w| { other_map(w); w.fail("", "FailedMount", 95); }, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.volumes[files] (ConfigMap default/m: k, other); takes effect when container a starts again",
        "volumes files: volume data changed",
    ]),
    ("no image: it waits, the other starts", |w| {
        w.forget("a");
        w.forget("b");
        w.fail("a", "ErrImagePull", 95);
    }, &[
        "image b:1: first start", "start b#0: first start",
        "hold a ImagePullBackOff until 105: Back-off pulling image \"a:1\": ErrImagePull: why", "wake 105",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why", "b waits: ContainerCreating",
    ]),
    ("no image: the third time it waits longer", |w| {
        w.forget("a");
        w.fail("a", "ErrImagePull", 0);
        w.fail("a", "ErrImagePull", 10);
        w.fail("a", "ErrImagePull", 90);
    }, &[
        "hold a ImagePullBackOff until 130: Back-off pulling image \"a:1\": ErrImagePull: why", "wake 130",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why",
    ]),
    ("no image: tried again", |w| { w.forget("a"); w.fail("a", "ErrImagePull", 90); }, &[
        "image a:1: first start", "start a#0: first start",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why",
    ]),
    ("no image: another one is tried at once", |w| {
        w.forget("a");
        w.fail("a", "ErrImagePull", 99);
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("a:2"));
    }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "image a:2: first start", "start a#0: first start", "a waits: ContainerCreating",
    ]),
    ("an image that must be there already", |w| { w.forget("a"); w.fail("a", "ErrImageNeverPull", 95); }, &[
        "hold a ErrImageNeverPull until 105: why", "wake 105", "a waits: ErrImageNeverPull why",
    ]),
    ("a start that fails", |w| { w.forget("a"); w.fail("a", "CreateContainerError", 95); }, &[
        "hold a CreateContainerError until 105: why", "wake 105", "a waits: CreateContainerError why",
    ]),
    ("a failure does not touch what runs", |w| w.fail("a", "ErrImagePull", 95), &[]),
    ("a variable's ConfigMap is missing", |w| { w.memory = PodMemory::default(); w.forget("a"); without_map(w); }, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.volumes[files] (ConfigMap default/m: k); takes effect when container a starts again",
        "volumes keys: volume data changed",
        "hold pod FailedMount: MountVolume.SetUp failed for volume \"files\" : configmap \"m\" not found",
        "hold a CreateContainerConfigError: configmap \"m\" not found",
        "a waits: CreateContainerConfigError configmap \"m\" not found",
    ]),
    ("a variable's key is missing", |w| { w.forget("a"); other_map(w); }, &[
        "update to 1: changed in place: spec.containers[0].env[K] (ConfigMap default/m: k), \
         spec.volumes[files] (ConfigMap default/m: k, other); takes effect when container a starts again",
        "volumes files: volume data changed",
        "hold a CreateContainerConfigError: couldn't find key k in ConfigMap default/m",
        "a waits: CreateContainerConfigError couldn't find key k in ConfigMap default/m",
    ]),
    ("a failure in the future means the clock was set back", |w| { w.forget("a"); w.fail("a", "ErrImagePull", 9000); }, &[
        "image a:1: first start", "start a#0: first start",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why",
    ]),
];

/// The image of a container is being pulled.
fn pulls(world: &mut World, name: &str, image: &str) {
    world.memory.pulls.insert(name.to_owned(), image.to_owned());
}

/// The hook of the first one has yet to be done.
fn greets(world: &mut World) {
    world.hook("a", podwright::model::HookKind::PostStart, podwright::model::HookState::Running);
}

fn three() -> World {
    settled(
        json!({"containers": [
            {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"},
        ]}),
        &[],
    )
}

#[rustfmt::skip]
const PULLED: &[Row] = &[
    ("it is waited for, and those that have not run come after it", |w| { w.forget("b"); w.forget("c"); pulls(w, "b", "b:1"); }, &[
        "hold b Pulling: image \"b:1\" is being pulled", "b waits: ContainerCreating", "c waits: ContainerCreating",
    ]),
    ("one before it has not run", |w| { w.forget("a"); w.forget("b"); pulls(w, "b", "b:1"); }, &[
        "image a:1: first start", "start a#0: first start", "hold b Pulling: image \"b:1\" is being pulled",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("one before it is being pulled too", |w| { w.forget("a"); w.forget("b"); pulls(w, "a", "a:1"); pulls(w, "b", "b:1"); }, &[
        "hold a Pulling: image \"a:1\" is being pulled", "hold b Pulling: image \"b:1\" is being pulled",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("one before it is restarted, and has its hook yet to do", |w| {
        w.forget("b");
        w.forget("c");
        pulls(w, "b", "b:1");
        w.hook("a", podwright::model::HookKind::PostStart, podwright::model::HookState::Running);
    }, &[
        "hold b Pulling: image \"b:1\" is being pulled",
        "a waits: ContainerCreating", "b waits: ContainerCreating", "c waits: ContainerCreating",
    ]),
    ("it restarts itself, and one before it has its hook yet to do", |w| {
        w.ended("b", 1, 100);
        pulls(w, "b", "b:1");
        w.hook("a", podwright::model::HookKind::PostStart, podwright::model::HookState::Running);
    }, &["hold b Pulling: image \"b:1\" is being pulled", "a waits: ContainerCreating"]),
    ("one after it that has run restarts", |w| { w.forget("b"); w.ended("c", 1, 100); pulls(w, "b", "b:1"); }, &[
        "image c:1: exited with 1, restartPolicy Always", "start c#1: exited with 1, restartPolicy Always",
        "hold b Pulling: image \"b:1\" is being pulled", "b waits: ContainerCreating",
    ]),
    ("another image is wanted by now", |w| { w.forget("b"); pulls(w, "b", "b:0"); }, &[
        "image b:1: first start", "start b#0: first start", "b waits: ContainerCreating",
    ]),
    ("it is pulled for a container that runs on", |w| pulls(w, "b", "b:1"), &[]),
    ("a restart waits for its own image", |w| { w.ended("b", 1, 100); pulls(w, "b", "b:1"); }, &[
        "hold b Pulling: image \"b:1\" is being pulled",
    ]),
    ("a kill that is due comes meanwhile", |w| {
        w.forget("b");
        pulls(w, "b", "b:1");
        w.stubborn.insert("a".into());
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("a:2"));
        w.settle();
        w.now = at(130);
    }, &["kill a#0: grace period exceeded", "hold b Pulling: image \"b:1\" is being pulled", "b waits: ContainerCreating"]),
    ("the pod is to go", |w| { w.forget("b"); pulls(w, "b", "b:1"); w.target = None; }, &[
        "mark deleted 30s: removed from the manifests", "stop a#0 30s: removed from the manifests",
        "stop c#0 30s: removed from the manifests",
    ]),
];

/// With those whose turn comes after that of others.
#[rustfmt::skip]
const HELD: &[Row] = &[
    ("all run", |_| {}, &[]),
    ("one is restarted by itself", |w| w.ended("b", 1, 100), &[]),
    ("those that have run and those that have not", |w| { w.ended("b", 1, 100); w.forget("c"); greets(w); }, &["b", "c"]),
    ("what runs waits for nobody", greets, &[]),
    ("an image is pulled before", |w| { w.forget("b"); w.forget("c"); pulls(w, "b", "b:1"); }, &["c"]),
];

/// What a pull came to is kept for them.
#[test]
fn all_that_wait_for_their_turn_are_named() {
    for (name, mutate, expected) in HELD {
        let mut world = three();
        mutate(&mut world);
        assert_eq!(world.plan().held.into_iter().collect::<Vec<_>>(), *expected, "{name}");
    }
}

#[test]
fn an_image_that_is_being_pulled_holds_up_what_comes_after_it_for_the_first_time() {
    check(three, PULLED);
}

#[test]
fn what_fails_waits_and_the_rest_goes_on() {
    check(base, ROWS);
}

fn with_account() -> World {
    let robot = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    settled(json!({"serviceAccountName": "robot", "containers": [{"name": "a", "image": "a:1"}]}), &[robot])
}

#[rustfmt::skip]
const ACCOUNT: &[Row] = &[
    ("it is there", World::bare, &["sandbox#0: no sandbox yet", "a waits: ContainerCreating"]),
    ("it is gone: what runs runs on", |w| w.data.accounts.clear(), &[]),
    ("it is not there: nothing starts", |w| { w.bare(); w.data.accounts.clear(); }, &[
        "hold pod FailedCreate: error looking up service account default/robot: serviceaccount \"robot\" not found",
        "a waits: ContainerCreating error looking up service account default/robot: serviceaccount \"robot\" not found",
    ]),
    ("one of another namespace does not count", |w| {
        w.bare();
        w.data.accounts = [(("other".to_owned(), "robot".to_owned()), Account::default())].into();
    }, &[
        "hold pod FailedCreate: error looking up service account default/robot: serviceaccount \"robot\" not found",
        "a waits: ContainerCreating error looking up service account default/robot: serviceaccount \"robot\" not found",
    ]),
];

#[test]
fn a_pod_does_not_start_before_its_account_is_there() {
    check(with_account, ACCOUNT);
}

#[test]
fn the_back_off_of_failures_doubles_to_five_minutes_and_ends_with_a_success() {
    let mut memory = PodMemory::default();
    let mut waits = Vec::new();
    for _ in 0..8 {
        memory = podwright::plan::note_failure(&memory, "a", "ErrImagePull", "why", at(0));
        waits.push(memory.failures["a"].backoff.as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(memory.failures["a"].count, 8);
    assert!(podwright::plan::note_success(&memory, "a").failures.is_empty());
}

/// `a` was not started yet.
fn without_a() -> World {
    let mut world = base();
    world.forget("a");
    world
}

/// The image of a container could not be had at this second.
fn no_image(w: &mut World, container: &str, image: &str, second: i64) {
    let (container, image) = (container.to_owned(), image.to_owned());
    let policy = "Always".into();
    let need = ImageNeed { container, volume: None, image, policy, secrets: vec![], missing_secrets: vec![] };
    w.memory = podwright::plan::note_failed_pull(&w.memory, &need, ("ErrImagePull", "why"), at(second));
}

#[rustfmt::skip]
const PULLS: &[Row] = &[
    ("it waits", |w| no_image(w, "a", "a:1", 95), &[
        "hold a ImagePullBackOff until 105: Back-off pulling image \"a:1\": ErrImagePull: why", "wake 105",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why",
    ]),
    ("a label does not end the wait", |w| {
        no_image(w, "a", "a:1", 95);
        w.edit(|v| v["metadata"]["labels"]["app"] = json!("y"));
    }, &[
        "update to 2: changed in place: metadata.labels[app]",
        "hold a ImagePullBackOff until 105: Back-off pulling image \"a:1\": ErrImagePull: why", "wake 105",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why",
    ]),
    ("another image does", |w| {
        no_image(w, "a", "a:1", 95);
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("a:2"));
    }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "image a:2: first start", "start a#0: first start", "a waits: ContainerCreating",
    ]),
    ("that of the container beside it does not", |w| {
        no_image(w, "a", "a:1", 95);
        w.edit(|v| v["spec"]["containers"][1]["image"] = json!("b:2"));
    }, &[
        "update to 2: changed in place: spec.containers[1].image",
        "stop b#0 30s: image changed from b:1 to b:2",
        "hold a ImagePullBackOff until 105: Back-off pulling image \"a:1\": ErrImagePull: why", "wake 105",
        "a waits: ImagePullBackOff Back-off pulling image \"a:1\": ErrImagePull: why",
    ]),
    ("what failed otherwise is tried at once", |w| {
        w.fail("a", "CreateContainerError", 95);
        w.edit(|v| v["metadata"]["labels"]["app"] = json!("y"));
    }, &[
        "update to 2: changed in place: metadata.labels[app]",
        "image a:1: first start", "start a#0: first start", "a waits: ContainerCreating",
    ]),
    ("a new pod waits for nothing", |w| {
        no_image(w, "a", "a:1", 95);
        w.pod = None;
    }, &[
        "create: new in the manifests", "volumes files,keys: no sandbox yet", "sandbox#0: no sandbox yet",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
];

#[test]
fn the_back_off_of_a_pull_is_that_of_the_image() {
    check(without_a, PULLS);
    // It doubles for the same image, begins anew for another, and is kept over a change that is none of the image.
    let mut world = base();
    let waits = |w: &World| w.memory.failures.get("a").map(|failure| (failure.backoff.as_secs(), failure.count));
    no_image(&mut world, "a", "a:1", 0);
    no_image(&mut world, "a", "a:1", 10);
    assert_eq!(waits(&world), Some((20, 2)));
    let record = |w: &World| PodAction::UpdatePod { record: Box::new(w.pod.as_ref().unwrap().record.clone()) };
    world.memory = podwright::plan::note_step(&world.memory, &record(&world));
    assert_eq!(waits(&world), Some((20, 2)));
    no_image(&mut world, "a", "a:2", 30);
    assert_eq!(waits(&world), Some((10, 1)));
    world.memory = podwright::plan::note_step(&world.memory, &record(&world));
    assert_eq!(waits(&world), None, "the pod asks for another");
}

#[test]
fn a_step_that_succeeded_ends_the_failures_it_stands_for() {
    use podwright::model::{ContainerKind, ContainerStart};
    let failed = |names: &[&str]| {
        names.iter().fold(PodMemory::default(), |m, name| podwright::plan::note_failure(&m, name, "x", "why", at(0)))
    };
    let world = base();
    let record = Box::new(world.pod.as_ref().unwrap().record.clone());
    let remaining = |action: PodAction| -> Vec<String> {
        podwright::plan::note_step(&failed(&["", "a"]), &action).failures.into_keys().collect()
    };
    assert_eq!(remaining(PodAction::RunSandbox { attempt: 0 }), ["a"]);
    let start = ContainerStart {
        name: "a".into(),
        kind: ContainerKind::App,
        attempt: 0,
        backoff: jiff::SignedDuration::ZERO,
        command: None,
        args: None,
        env: Vec::new(),
        late: Vec::new(),
        mounts: Vec::new(),
        data: None,
        image_source: ImageSource::Present,
    };
    assert_eq!(remaining(PodAction::StartContainer(Box::new(start))), [""]);
    assert_eq!(remaining(PodAction::UpdatePod { record: record.clone() }), [""; 0]);
    assert_eq!(remaining(PodAction::CreatePod { record }), [""; 0]);
    assert_eq!(remaining(PodAction::StopSandbox), ["", "a"]);
}

pub(super) const TABLES: &[Table] = &[(base, ROWS), (three, PULLED), (without_a, PULLS), (with_account, ACCOUNT)];
