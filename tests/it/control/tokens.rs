//! Tokens in the volumes of pods that run.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use podwright::model::{Kind, ObjectKey, Projection, VolumeMaterial};
use podwright::plan::fleet;
use serde_json::{Value, json};

use super::rig::{Rig, eventually, id, key, pod_with};
use crate::admit::without_tokens::admitted;

fn web() -> Value {
    let spec = json!({"automountServiceAccountToken": true, "containers": [{"name": "app", "image": "i:1"}]});
    pod_with("web", spec)
}

/// The token in the pod's volume, and what it claims.
fn token(rig: &Rig) -> (String, Value) {
    let volumes = rig.fake.volumes(&key("web"));
    let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
    let VolumeMaterial::Files { files, sensitive: true } = &volume.material else { panic!("{volume:?}") };
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["ca.crt", "namespace", "token"]);
    let text = String::from_utf8(files[2].bytes.reveal().to_vec()).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
    (text, serde_json::from_slice(&claims).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_while_its_pod_runs_and_nothing_else_happens() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let (first, claims) = token(&rig);
    assert_eq!(claims["kubernetes.io"]["pod"]["uid"], json!(rig.pod("web").record.uid.0));
    let (pod, running, actions) = (rig.pod("web"), rig.fake.processes(), agent.kubelet.fleet().actions.len());
    let version = agent.projection.borrow().resource_version;
    // Four fifths of its hour, and up to a twentieth of it less.
    rig.pass(2700).await;
    assert_eq!(token(&rig).0, first);
    rig.fake.forget_calls();
    rig.pass(200).await;
    let (second, later) = token(&rig);
    assert_ne!(second, first);
    let second_issued = later["iat"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((2700..2900).contains(&second_issued), "{second_issued}");
    assert_eq!(rig.changes().len(), 1, "{:?}", rig.changes());
    assert_eq!((rig.pod("web"), rig.fake.processes()), (pod, running));
    assert_eq!(agent.kubelet.fleet().actions.len(), actions);
    assert_eq!(agent.projection.borrow().resource_version, version);
    agent.stop().await;
    // The next agent knows none of them, and makes one.
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    eventually("a token of the next agent", || token(&rig).0 != second).await;
    let third = token(&rig).0;
    rig.pass(600).await;
    assert_eq!(token(&rig).0, third);
}

/// No resync tells of it: whoever waits for a moment does.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_is_followed_by_a_token_that_is_not_of_the_future() {
    let rig = Rig::new(&[web()]);
    assert!(rig.resync.is_zero());
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let (first, claims) = token(&rig);
    rig.pass(60).await;
    assert_eq!(token(&rig).0, first);
    rig.clock.set_back(Duration::from_secs(24 * 3600));
    rig.pass(5).await;
    let (second, later) = token(&rig);
    assert_ne!(second, first);
    let issued = |claims: &Value| claims["iat"].as_i64().unwrap();
    assert!(issued(&later) < issued(&claims), "{later}");
    rig.pass(600).await;
    assert_eq!(token(&rig).0, second);
    agent.stop().await;
}

/// Its key is damaged: what runs is kept, data follows, and what needs a token waits for it.
#[tokio::test(start_paused = true)]
async fn an_agent_that_can_sign_nothing_keeps_all_that_runs() {
    let map =
        |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": value}});
    let with_data = |name: &str| {
        let mut pod = pod_with(name, web()["spec"].clone());
        pod["spec"]["volumes"] = json!([{"name": "data", "configMap": {"name": "m"}}]);
        pod
    };
    let forever = || token_secret("default", json!({}));
    let rig = Rig::new(&[with_data("web"), map("1"), forever()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    rig.broken_key.store(true, Ordering::SeqCst);
    let agent = rig.start();
    rig.pass(5).await;
    // What crashes is started again.
    rig.fake.exit(&key("web"), "app", 1);
    let attempt = || rig.pod("web").latest("app").map(|container| container.record.attempt);
    eventually("another instance", || attempt() == Some(1)).await;
    // A revision is valid although a Secret of it cannot be filled, and data does not wait for a token.
    rig.pass(400).await;
    rig.commit(&agent, &[with_data("web"), with_data("new"), map("2"), forever()]);
    let shown_data = || {
        let volumes = rig.fake.volumes(&key("web"));
        let volume = volumes.iter().find(|volume| volume.name == "data").unwrap();
        let VolumeMaterial::Files { files, .. } = &volume.material else { panic!("{volume:?}") };
        files[0].bytes.reveal().to_vec()
    };
    rig.pass(5).await;
    assert_eq!(shown_data(), b"2");
    let waits = || rig.fake.pod(&key("new")).is_some_and(|pod| pod.latest("app").is_none());
    assert!(waits());
    assert!(shown(&agent.projection.borrow()).is_empty());
    // It is mended: nobody has to start anything anew.
    rig.broken_key.store(false, Ordering::SeqCst);
    eventually("the pod that waits", || rig.fake.pod(&key("new")).is_some_and(|pod| pod.latest("app").is_some())).await;
    agent.hint();
    eventually("a Secret with its token", || shown(&agent.projection.borrow()).contains_key("token")).await;
    assert_eq!(attempt(), Some(1));
    agent.stop().await;
}

fn object(projection: &Projection, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
    let key = ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    projection.objects.get(&key).map(|object| Value::clone(&object.value))
}

fn token_secret(account: &str, more: Value) -> Value {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": account}}});
    secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    secret
}

/// What the API shows of it, decoded.
fn shown(projection: &Projection) -> BTreeMap<String, String> {
    let secret = object(projection, Kind::Secret, "default", "s").unwrap();
    let text = |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
    secret["data"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_secret_for_an_account_is_filled_and_no_agent_after_it_restarts_its_pods() {
    let spec = json!({
        "containers": [{"name": "app", "image": "i:1",
            "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
    });
    let mut pod = pod_with("web", spec);
    pod["metadata"]["annotations"] = json!({"podwright.dev/restart-on-data-change": "true"});
    let robot = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "uid": "own"}});
    let rig = Rig::new(&[pod.clone(), robot.clone(), token_secret("robot", json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let found = shown(&agent.projection.borrow());
    assert_eq!((found["ca.crt"].as_str(), found["namespace"].as_str()), ("certificate", "default"));
    let claims = URL_SAFE_NO_PAD.decode(found["token"].split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["kubernetes.io/serviceaccount/service-account.uid"], json!("own"));
    assert_eq!((&claims["sub"], claims.get("exp")), (&json!("system:serviceaccount:default:robot"), None));
    let secret = object(&agent.projection.borrow(), Kind::Secret, "default", "s").unwrap();
    assert_eq!(secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"], json!("own"));
    let VolumeMaterial::Files { files, .. } = &rig.fake.volumes(&key("web"))[0].material else { panic!() };
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["ca.crt", "namespace", "token"]);
    assert_eq!(rig.fake.started(&key("web"), "app").unwrap().env[0].value.reveal(), &found["token"]);
    // Who compares the manifests with what runs signs nothing, and finds no difference for it.
    let offline = admitted(&[pod.clone(), robot.clone(), token_secret("robot", json!({}))]);
    assert_eq!(fleet(&offline, &[rig.pod("web")]).actions, []);
    let running = rig.fake.processes();
    agent.stop().await;
    // It signs with another signature: the claims are the same.
    *rig.signature.lock().unwrap() = "another".into();
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(200).await;
    assert_ne!(shown(&agent.projection.borrow())["token"], found["token"]);
    assert_eq!(rig.fake.processes(), running);
    assert!(agent.kubelet.fleet().actions.is_empty(), "{:?}", agent.kubelet.fleet().actions);
    // What is written by hand stays, and without an account nothing is made.
    let own = token_secret("robot", json!({"stringData": {"token": "by hand"}}));
    let second = rig.commit(&agent, &[pod.clone(), robot, own]);
    agent.done(&second).await;
    assert_eq!(shown(&agent.projection.borrow())["token"], "by hand");
    rig.commit(&agent, &[pod, token_secret("robot", json!({}))]);
    eventually("a Secret without keys", || shown(&agent.projection.borrow()).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_can_be_had_again_is_given_to_pods_and_shown() {
    let mut rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let first = token(&rig).0;
    agent.stop().await;
    rig.node.root_ca = "".into();
    rig.broken_key.store(true, Ordering::SeqCst);
    let agent = rig.start();
    rig.pass(100).await;
    // With its certificate, as it was.
    assert_eq!(token(&rig).0, first);
    let map = || object(&agent.projection.borrow(), Kind::ConfigMap, "default", "kube-root-ca.crt").unwrap();
    assert_eq!(map()["data"], json!(null));
    rig.broken_key.store(false, Ordering::SeqCst);
    eventually("a certificate", || map()["data"] == json!({"ca.crt": "certificate"})).await;
    eventually("a token of this agent", || token(&rig).0 != first).await;
    agent.stop().await;
}

/// What a Secret cannot be filled with is not known: pods keep the token that they have, and are not restarted for it.
#[tokio::test(start_paused = true)]
async fn an_agent_that_can_sign_nothing_takes_no_token_of_a_secret_from_a_pod() {
    let spec = json!({
        "containers": [{"name": "app", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
    });
    let mut pod = pod_with("web", spec);
    pod["metadata"]["annotations"] = json!({"podwright.dev/restart-on-data-change": "true"});
    // Of one that asks for something else of it nothing is missing.
    let secret = json!({"secretName": "s", "items": [{"key": "namespace", "path": "n"}]});
    let plain = pod_with(
        "plain",
        json!({
            "containers": [{"name": "app", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "secret": secret}],
        }),
    );
    let rig = Rig::new(&[pod, plain, token_secret("default", json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let (volumes, running) = (rig.fake.volumes(&key("web")), rig.fake.processes());
    let VolumeMaterial::Files { files, .. } = &volumes[0].material else { panic!("{volumes:?}") };
    assert_eq!(files.len(), 3);
    agent.stop().await;
    rig.broken_key.store(true, Ordering::SeqCst);
    let agent = rig.start();
    rig.pass(200).await;
    assert_eq!((rig.fake.volumes(&key("web")), rig.fake.processes()), (volumes.clone(), running.clone()));
    let why = agent.kubelet.fleet().why(&key("web"));
    assert!(why.contains("FailedMount") && why.contains("cannot be signed now"), "{why}");
    assert_eq!(agent.kubelet.fleet().why(&key("plain")), "");
    // It is mended, and nothing hints at that.
    rig.broken_key.store(false, Ordering::SeqCst);
    eventually("a Secret with its token", || shown(&agent.projection.borrow()).contains_key("token")).await;
    rig.pass(200).await;
    assert_eq!((rig.fake.volumes(&key("web")), rig.fake.processes()), (volumes, running));
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_namespace_has_an_account_and_the_certificate() {
    let mut other = web();
    other["metadata"]["namespace"] = json!("shop");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "empty"}});
    let own = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop", "uid": "own"}});
    let rig = Rig::new(&[web(), other, namespace, own]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let projection = agent.projection.borrow().clone();
    let object = |kind, namespace: &str, name: &str| object(&projection, kind, namespace, name);
    for namespace in ["default", "shop", "empty"] {
        let account = object(Kind::ServiceAccount, namespace, "default").unwrap_or_else(|| panic!("{namespace}"));
        assert_eq!(account["metadata"]["namespace"], json!(namespace));
        let map = object(Kind::ConfigMap, namespace, "kube-root-ca.crt").unwrap_or_else(|| panic!("{namespace}"));
        assert_eq!(map["data"], json!({"ca.crt": "certificate"}), "{namespace}");
    }
    assert_eq!(object(Kind::ServiceAccount, "shop", "default").unwrap()["metadata"]["uid"], json!("own"));
    // What is served and what tokens claim is the same.
    let uid = object(Kind::ServiceAccount, "default", "default").unwrap()["metadata"]["uid"].clone();
    assert_eq!(token(&rig).1["kubernetes.io"]["serviceaccount"]["uid"], uid);
    let node = projection.node.as_ref().unwrap().value["metadata"]["uid"].clone();
    assert_eq!(token(&rig).1["kubernetes.io"]["node"]["uid"], node);
}
