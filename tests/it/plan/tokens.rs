//! Tokens of service accounts: what a pod is given, and when it is given another one.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, Pod};
use podwright::model::{
    AdmittedPod, ContainerState, DataObject, PodAction, PodMemory, PodPlan, Reason, SharedBytes, TokenFile,
    VolumeMaterial, VolumePayload, node_uid, stable_uid,
};
use podwright::plan::{TOKENS, note_failure, note_unsynced};
use serde_json::{Value, json};

use super::world::{World, at};
use crate::admit::without_tokens::{admitted, pod_of};

const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----";

fn pod(spec: Value) -> Value {
    let mut whole = json!({"containers": [{"name": "c", "image": "i:1"}], "automountServiceAccountToken": true});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": whole})
}

fn account(value: Value) -> Value {
    let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount"});
    account.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    account
}

fn world_of(objects: &[Value]) -> World {
    let admitted = admitted(objects);
    let mut world = World::new(&pod_of(&admitted, "shop", "p"), &admitted.data);
    world.node.root_ca = ROOT_CA.into();
    world
}

/// The volumes and tokens that a plan makes, and why the first of them.
fn synced(plan: &PodPlan) -> Option<(Vec<VolumePayload>, Vec<TokenFile>, Reason)> {
    let mut all = plan.steps.iter().filter_map(|step| match &step.action {
        PodAction::SyncVolumes { volumes, tokens } => Some((volumes.clone(), tokens.clone(), step.reason.clone())),
        _ => None,
    });
    let (mut volumes, mut tokens, reason) = all.next()?;
    for (more, others, _) in all {
        volumes.extend(more);
        tokens.extend(others);
    }
    Some((volumes, tokens, reason))
}

fn claims(token: &TokenFile) -> Value {
    serde_json::from_str(&token.claims).unwrap()
}

/// Path, text and mode.
fn files(volume: &VolumePayload) -> Vec<(String, String, u32)> {
    let VolumeMaterial::Files { files, sensitive } = &volume.material else { panic!("{volume:?}") };
    assert!(sensitive, "a token's volume is in memory");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    files.iter().map(|file| (file.path.clone(), text(file.bytes.reveal()), file.mode)).collect()
}

fn file(path: &str, text: &str, mode: u32) -> (String, String, u32) {
    (path.to_owned(), text.to_owned(), mode)
}

#[test]
fn a_pod_is_given_token_certificate_and_namespace() {
    let (volumes, tokens, _) = synced(&world_of(&[pod(json!({}))]).plan()).unwrap();
    assert_eq!(files(&volumes[0]), [file("ca.crt", ROOT_CA, 0o644), file("namespace", "shop", 0o644)]);
    assert_eq!((tokens.len(), tokens[0].path.as_str(), tokens[0].mode, tokens[0].owner), (1, "token", 0o644, None));
    assert_eq!(tokens[0].volume, volumes[0].name);
    assert!(volumes[0].name.starts_with("kube-api-access-"));
    let found = claims(&tokens[0]);
    assert_eq!(found["sub"], json!("system:serviceaccount:shop:default"));
    assert_eq!(found["kubernetes.io"]["serviceaccount"]["uid"], json!(stable_uid("ServiceAccount/shop/default")));
    assert_eq!(found["kubernetes.io"]["node"], json!({"name": "edge-1", "uid": node_uid("edge-1")}));
    assert_eq!(found["kubernetes.io"]["pod"]["name"], json!("p"));
    let issuer = "https://kubernetes.default.svc.cluster.local";
    assert_eq!((&found["iss"], &found["aud"]), (&json!(issuer), &json!([issuer])));
}

/// Its certificate could not be had: no API takes it yet, and nothing waits for it.
#[test]
fn a_machine_without_a_certificate_runs_its_pods() {
    let variable =
        json!({"name": "CA", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}});
    let all = json!({"configMapRef": {"name": "kube-root-ca.crt"}});
    let of = |container: Value| {
        let mut world = world_of(&[pod(json!({"containers": [container]}))]);
        world.node.root_ca = "".into();
        world
    };
    let mut world = of(json!({"name": "c", "image": "i:1", "envFrom": [all]}));
    let (volumes, tokens, _) = synced(&world.plan()).unwrap();
    assert_eq!((files(&volumes[0]), tokens.len()), (vec![file("namespace", "shop", 0o644)], 1));
    world.settle();
    assert!(matches!(world.pod.as_ref().unwrap().containers[0].state, ContainerState::Running { .. }));
    // Who asks for the value itself waits for it.
    let plan = of(json!({"name": "c", "image": "i:1", "env": [variable]})).settle();
    assert_eq!(plan.waiting["c"].0, "CreateContainerConfigError", "{plan:?}");
}

/// An agent that begins anew does not know what is there, and this one cannot have the certificate.
#[test]
fn files_that_may_have_the_certificate_are_not_written_without_it() {
    let mut world = running();
    world.memory = PodMemory::default();
    world.node.root_ca = "".into();
    // Neither of these has it.
    assert_eq!(round(&mut world).unwrap().0, ["data", "own"]);
    let plan = world.plan();
    assert!(synced(&plan).is_none(), "{plan:?}");
    assert_eq!(plan.holds.len(), 1);
    assert!(plan.holds[0].message.ends_with("the machine's certificate cannot be had now"), "{plan:?}");
    world.node.root_ca = ROOT_CA.into();
    let (names, reason) = round(&mut world).unwrap();
    assert!(names.len() == 1 && names[0].starts_with("kube-api-access-"), "{names:?}");
    assert_eq!(reason, Reason::TokenDue);
    // What was begun without it is renewed without it.
    let mut world = world_of(&[pod(json!({}))]);
    world.node.root_ca = "".into();
    world.settle();
    world.now = at(2890);
    assert_eq!(round(&mut world).unwrap().1, Reason::TokenDue);
}

#[test]
fn a_config_map_of_the_certificates_name_that_lacks_it_has_the_machines() {
    for (data, expected) in [(json!({"other": "x"}), ROOT_CA), (json!({"ca.crt": "own"}), "own")] {
        let metadata = json!({"name": "kube-root-ca.crt", "namespace": "shop"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        let variable =
            json!({"name": "CA", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}});
        let mut world =
            world_of(&[pod(json!({"containers": [{"name": "c", "image": "i:1", "env": [variable]}]})), map]);
        let (volumes, ..) = synced(&world.plan()).unwrap();
        assert_eq!(files(&volumes[0])[0], file("ca.crt", expected, 0o644));
        assert_eq!(world.settle().waiting.len(), 0);
    }
}

#[test]
fn a_projected_token_is_made_as_it_is_asked_for() {
    let source = |token: Value| json!({"serviceAccountToken": token});
    let map = json!({"configMap": {"name": "m"}});
    let data = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"},
        "data": {"token": "text"}});
    let robot = account(json!({"metadata": {"name": "robot", "namespace": "shop", "uid": "of-its-own"}}));
    let made = |sources: Value, more: Value| {
        let mut spec = json!({
            "automountServiceAccountToken": false, "serviceAccountName": "robot",
            "volumes": [{"name": "v", "projected": {"sources": sources}}],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (volumes, tokens, _) = synced(&world_of(&[pod(spec), robot.clone(), data.clone()]).plan()).unwrap();
        (files(&volumes[0]), tokens)
    };
    let (_, tokens) = made(
        json!([
            source(json!({"path": "a/./vault", "audience": "vault", "expirationSeconds": 7200})),
            source(json!({"path": "b"}))
        ]),
        json!({}),
    );
    let found: Vec<_> = tokens.iter().map(|token| (token.path.as_str(), claims(token))).collect();
    assert_eq!((found[0].0, found[1].0), ("a/vault", "b"));
    assert_eq!((&found[0].1["aud"], found[0].1["exp"].as_i64().unwrap()), (&json!(["vault"]), at(7200).as_second()));
    assert_eq!(found[1].1["exp"].as_i64().unwrap(), at(3600).as_second());
    assert_eq!(found[1].1["kubernetes.io"]["serviceaccount"], json!({"name": "robot", "uid": "of-its-own"}));
    assert_ne!(found[0].1["jti"], found[1].1["jti"]);
    // Of two with one path the later one is there.
    let token = source(json!({"path": "token"}));
    assert_eq!(made(json!([map, token]), json!({})).0, []);
    let (files, tokens) = made(json!([token, map]), json!({}));
    assert_eq!((files, tokens), (vec![file("token", "text", 0o644)], vec![]));
    // Whose file it is.
    for (security, expected) in [
        (json!({}), (0o644, None)),
        (json!({"runAsUser": 7}), (0o600, Some(7))),
        (json!({"fsGroup": 9}), (0o640, None)),
        (json!({"runAsUser": 7, "fsGroup": 9}), (0o640, Some(7))),
    ] {
        let (_, tokens) = made(json!([token]), json!({"securityContext": security}));
        assert_eq!((tokens[0].mode, tokens[0].owner), expected, "{security}");
    }
}

/// What a round does to volumes: their names and the reason, or when the next round wants to be.
fn round(world: &mut World) -> Result<(Vec<String>, Reason), Option<i64>> {
    let plan = world.plan();
    let Some((volumes, tokens, reason)) = synced(&plan) else {
        return Err(plan.wake_at.map(|wake| wake.duration_since(at(0)).as_secs()));
    };
    assert!(tokens.iter().all(|token| volumes.iter().any(|volume| volume.name == token.volume)));
    world.perform_steps(&plan.steps);
    Ok((volumes.into_iter().map(|volume| volume.name).collect(), reason))
}

/// A pod that runs with a volume of data, its own token of ten minutes, and the usual one.
fn running() -> World {
    let spec = json!({"volumes": [
        {"name": "data", "configMap": {"name": "m"}},
        {"name": "own", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 600}}]}},
    ]});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"}, "data": {"k": "1"}});
    let mut world = world_of(&[pod(spec), map]);
    world.settle();
    assert!(world.pod.as_ref().unwrap().containers.iter().all(|c| matches!(c.state, ContainerState::Running { .. })));
    world
}

#[test]
fn a_token_is_made_anew_before_it_expires_and_nothing_else_is_written_for_it() {
    let mut world = running();
    // Four fifths of ten minutes, and up to half a minute less.
    let Err(Some(first)) = round(&mut world) else { panic!("written again at once") };
    assert!((450..=480).contains(&first), "{first}");
    world.now = at(first - 1);
    assert_eq!(round(&mut world), Err(Some(first)));
    world.now = at(first + 1);
    assert_eq!(round(&mut world), Ok((vec!["own".to_owned()], Reason::TokenDue)));
    let Err(Some(second)) = round(&mut world) else { panic!("written again at once") };
    assert!((first + 450..=first + 482).contains(&second), "{second}");
    // The usual one is good for an hour, or longer, and is made anew after most of that hour.
    world.now = at(2890);
    let (names, reason) = round(&mut world).unwrap();
    assert_eq!((names.len(), reason), (2, Reason::TokenDue));
    assert!(names[1].starts_with("kube-api-access-"));
    assert!(matches!(round(&mut world), Err(Some(_))));
}

#[test]
fn data_that_changes_is_written_without_a_token() {
    let mut world = running();
    let Err(wake) = round(&mut world) else { panic!("written again at once") };
    let map = DataObject { texts: [("k".to_owned(), SharedBytes::new("2"))].into(), ..DataObject::default() };
    world.data.config_maps.insert(("shop".into(), "m".into()), map.into());
    assert_eq!(round(&mut world), Ok((vec!["data".to_owned()], Reason::VolumeData)));
    assert_eq!(round(&mut world), Err(wake));
}

#[test]
fn what_could_not_be_written_is_written_again_when_its_commit_is_undone() {
    let mut world = running();
    let before = world.data.clone();
    let map = DataObject { texts: [("k".to_owned(), SharedBytes::new("2"))].into(), ..DataObject::default() };
    world.data.config_maps.insert(("shop".into(), "m".into()), map.into());
    let (volumes, tokens, _) = synced(&world.plan()).unwrap();
    assert_eq!((volumes.len(), tokens.len()), (1, 0));
    // Some of it may be there.
    world.memory = note_unsynced(&world.memory, &volumes);
    world.data = before;
    assert_eq!(round(&mut world), Ok((vec!["data".to_owned()], Reason::VolumeData)));
    assert!(round(&mut world).is_err());
    // Likewise one with a token.
    let (own, _, _) = {
        world.now = at(481);
        synced(&world.plan()).unwrap()
    };
    world.now = at(1);
    assert!(round(&mut world).is_err());
    world.memory = note_unsynced(&world.memory, &own);
    assert_eq!(round(&mut world), Ok((vec!["own".to_owned()], Reason::TokenDue)));
}

#[test]
fn a_volume_that_cannot_be_made_keeps_no_token_from_being_renewed() {
    let mut world = running();
    world.data.config_maps.clear();
    let plan = world.settle();
    assert_eq!(plan.holds.len(), 1, "{plan:?}");
    world.now = at(481);
    assert_eq!(round(&mut world), Ok((vec!["own".to_owned()], Reason::TokenDue)));
    assert_eq!(world.plan().holds, plan.holds);
}

#[test]
fn a_clock_that_jumps_leaves_no_token_that_nobody_takes() {
    // Far ahead: the machine had no clock when it was started.
    let mut world = running();
    world.now = at(0) + SignedDuration::from_hours(24 * 365 * 20);
    assert_eq!(round(&mut world).unwrap().1, Reason::TokenDue);
    assert!(round(&mut world).is_err());
    // Back again: what was made there is of the future.
    world.now = at(10);
    let (names, reason) = round(&mut world).unwrap();
    assert_eq!((names.len(), reason), (2, Reason::TokenDue));
    assert!(round(&mut world).is_err());
}

#[test]
fn an_agent_that_begins_anew_makes_every_token_anew_and_each_once() {
    let mut world = running();
    world.memory = Default::default();
    let reasons: Vec<Reason> = world.plan().steps.iter().map(|step| step.reason.clone()).collect();
    assert_eq!(reasons, [Reason::VolumeData, Reason::TokenDue]);
    assert_eq!(round(&mut world).unwrap().0.len(), 3);
    assert!(round(&mut world).is_err());
    // Without a revision nothing is known of the other files: what is there stays.
    world.memory = Default::default();
    world.known = false;
    assert_eq!(synced(&world.plan()).map(|(volumes, ..)| volumes.len()), None);
}

#[test]
fn a_certificate_that_changes_is_written_and_no_change_of_the_pod() {
    let mut object = pod(json!({}));
    object["metadata"]["annotations"] = json!({"podwright.dev/restart-on-data-change": "true"});
    let mut world = world_of(&[object]);
    world.settle();
    world.node.root_ca = "another".into();
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    let (volumes, tokens, reason) = synced(&plan).unwrap();
    assert_eq!((files(&volumes[0])[0].clone(), tokens.len()), (file("ca.crt", "another", 0o644), 1));
    assert_eq!(reason, Reason::VolumeData);
}

/// Data that a container starts with is known to be that of now although a token cannot be signed: nothing is restarted when it
/// can be again.
#[test]
fn a_token_that_cannot_be_signed_keeps_no_data_and_restarts_nothing() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"}, "data": {"k": "1"}});
    let variable = json!({"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}});
    let mut object = pod(json!({
        "containers": [{"name": "c", "image": "i:1", "env": [variable]}],
        "volumes": [{"name": "data", "configMap": {"name": "m"}}],
    }));
    object["metadata"]["annotations"] = json!({"podwright.dev/restart-on-data-change": "true"});
    let mut world = world_of(&[object, map]);
    world.settle();
    // An agent begins anew, and its key is damaged: it has been tried for the third time.
    world.memory = PodMemory::default();
    for _ in 0..3 {
        world.memory = note_failure(&world.memory, TOKENS, "FailedMount", "why", world.now);
    }
    let (volumes, tokens, reason) = synced(&world.plan()).unwrap();
    assert_eq!((volumes[0].name.as_str(), volumes.len(), tokens.len(), reason), ("data", 1, 0, Reason::VolumeData));
    assert_eq!(world.plan().holds.len(), 1);
    let container = &mut world.pod.as_mut().unwrap().containers[0];
    let exited = super::world::exit(1, world.now, world.now);
    container.state = ContainerState::Exited(exited);
    world.settle_until(at(30));
    let started = world.pod.as_ref().unwrap().containers.iter().map(|c| c.record.attempt).max();
    assert_eq!(started, Some(1));
    // It is mended.
    world.now = at(50);
    assert_eq!(round(&mut world).unwrap().1, Reason::TokenDue);
    let plan = world.settle();
    assert!(plan.steps.is_empty());
    assert_eq!(world.pod.as_ref().unwrap().containers.iter().map(|c| c.record.attempt).max(), Some(1));
}

#[test]
fn an_agent_of_before_finds_no_volume_on_record_that_it_does_not_know() {
    let data = json!({"name": "data", "emptyDir": {}});
    let mounted = json!({"name": "d", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let own = json!({"name": "o", "image": "i:1",
        "volumeMounts": [{"name": "data", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]});
    let bare = json!({"name": "c", "image": "i:1"});
    for (containers, volumes) in
        [(json!([bare]), json!([])), (json!([bare, mounted, own]), json!([data])), (json!([own]), json!([data]))]
    {
        let of = |automount: bool| {
            let spec = json!({"containers": containers, "volumes": volumes, "automountServiceAccountToken": automount});
            pod_of(&admitted(&[pod(spec)]), "shop", "p")
        };
        let with_token = of(true);
        let written = serde_json::to_value(&*with_token).unwrap();
        assert_eq!(serde_json::from_value::<AdmittedPod>(written.clone()).unwrap(), *with_token, "{containers}");
        // As it reads a pod, and what it would have made of it itself.
        let read = |value: &Value| serde_json::from_value::<Pod>(value.clone()).unwrap().spec.unwrap();
        let (before, without) = (read(&written["effective"]), of(false).effective.open().spec.unwrap());
        assert_eq!(before.volumes.unwrap_or_default(), without.volumes.unwrap_or_default(), "{containers}");
        let mounts = |container: &Container| container.volume_mounts.clone().unwrap_or_default();
        let [before, without] =
            [before.containers, without.containers].map(|all| all.iter().map(mounts).collect::<Vec<_>>());
        assert_eq!(before, without, "{containers}");
    }
}

/// The pod of the world as it was admitted, but with what another account gives it: nothing.
fn without_token(pod: Value) -> Arc<AdmittedPod> {
    let whole = pod_of(&admitted(std::slice::from_ref(&pod)), "shop", "p");
    let mut bare = pod;
    bare["spec"]["automountServiceAccountToken"] = json!(false);
    let bare = pod_of(&admitted(&[bare]), "shop", "p");
    AdmittedPod { effective: bare.effective.clone(), ..(*whole).clone() }.into()
}

fn labelled(mut pod: Value) -> Value {
    pod["metadata"]["labels"] = json!({"new": "label"});
    pod
}

/// What an agent of an earlier version has realised has no such volume: it is not restarted for want of it, and a container that
/// starts anew finds no mount whose volume is not there.
#[test]
fn a_pod_of_before_runs_on_and_has_its_token_when_it_is_made_anew() {
    let mut world = world_of(&[pod(json!({}))]);
    world.settle();
    world.pod.as_mut().unwrap().record.realised = without_token(pod(json!({})));
    world.memory = Default::default();
    assert_eq!(world.plan().steps, []);
    assert_eq!(record_of(&world), "None");
    world.target = Some(pod_of(&admitted(&[labelled(pod(json!({})))]), "shop", "p"));
    world.log.clear();
    world.settle();
    assert_eq!((world.log.join(" "), record_of(&world)), ("update to 2".to_owned(), "None".to_owned()));
    world.target = Some(pod_of(&admitted(&[pod(json!({"hostname": "h"}))]), "shop", "p"));
    world.settle();
    assert!(record_of(&world).starts_with("kube-api-access-"), "{}", record_of(&world));
}

#[test]
fn a_pod_that_runs_keeps_the_volume_that_its_account_gave_it() {
    let mut world = world_of(&[pod(json!({}))]);
    world.settle();
    let name = record_of(&world);
    world.target = Some(without_token(labelled(pod(json!({})))));
    world.log.clear();
    world.settle();
    assert_eq!((world.log.join(" "), record_of(&world)), ("update to 2".to_owned(), name.clone()));
    let realised = &world.pod.as_ref().unwrap().record.realised;
    let mounts = realised.effective.open().spec.unwrap().containers[0].volume_mounts.clone().unwrap();
    assert!(mounts.len() == 1 && mounts[0].name == name, "{mounts:?}");
}

/// The name of the volume that the pod on record has for its token.
fn record_of(world: &World) -> String {
    let pod = world.pod.as_ref().unwrap().record.realised.effective.open();
    let volumes = pod.spec.unwrap().volumes.unwrap_or_default();
    volumes.first().map_or("None".to_owned(), |volume| volume.name.clone())
}
