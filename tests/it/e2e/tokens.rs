//! Tokens of service accounts, as the containers of a pod find them.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::harness::{World, signal, walk};
use crate::support;

const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const PODS: &str = r#"apiVersion: v1
kind: Secret
metadata: {name: forever, annotations: {kubernetes.io/service-account.name: silent}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: silent}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: busybox, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: silent}
spec:
  terminationGracePeriodSeconds: 0
  serviceAccountName: silent
  securityContext: {runAsUser: 7}
  containers:
  - name: c
    image: busybox
    command: [sleep, "100000"]
    volumeMounts: [{name: vault, mountPath: /vault}, {name: forever, mountPath: /forever}]
  volumes:
  - {name: forever, secret: {secretName: forever}}
  - name: vault
    projected: {sources: [{serviceAccountToken: {path: token, audience: vault, expirationSeconds: 7200}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 7, fsGroup: 2000}
  containers:
  - {name: c, image: busybox, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: thief}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: podwright.invalid/host, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: owner}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, "100000"]
    volumeMounts: [{name: run, mountPath: ROOT/run}]
  volumes: [{name: run, hostPath: {path: ROOT/run}}]
"#;

/// Header and claims of a token, verified with what the agent publishes, as somebody does who knows nothing else.
fn verified(world: &World, token: &str) -> (Value, Value) {
    let document = |path: &str| serde_json::from_str::<Value>(&world.ok(&["get", "--raw", path])).unwrap();
    let configuration = document("/.well-known/openid-configuration");
    let place = configuration["jwks_uri"].as_str().unwrap();
    let issuer = configuration["issuer"].as_str().unwrap();
    let keys = document(place.strip_prefix(issuer).unwrap());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let json = |part: &str| serde_json::from_slice::<Value>(&bytes(part)).unwrap();
    let (header, claims) = (json(header), json(claims));
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let number = |name: &str| bytes(key[name].as_str().unwrap());
    let point = [&[4][..], &number("x"), &number("y")].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &bytes(signature)).unwrap();
    (header, claims)
}

/// The seed's directory and its token, decoded.
#[test]
fn e2e_seed_a_pod_says_who_it_is_with_a_token_that_no_other_pod_can_read() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pods.yaml", &PODS.replace("ROOT", world.root().to_str().unwrap()))]);
    world.start();
    for pod in ["web", "silent", "shared", "thief", "owner"] {
        world.wait_row(pod, "1/1", "Running");
    }
    assert_eq!(world.exec("web", "c", &["ls", PLACE]), "ca.crt\nnamespace\ntoken\n");
    let link = |name: &str| world.exec("web", "c", &["readlink", &format!("{PLACE}/{name}")]);
    assert!(link("..data").starts_with("..2"), "{}", link("..data"));
    assert_eq!(link("token"), "..data/token\n");
    let read = |pod: &str, path: &str| world.exec(pod, "c", &["cat", path]);
    assert_eq!(read("web", &format!("{PLACE}/namespace")), "default");
    assert!(read("web", &format!("{PLACE}/ca.crt")).starts_with("-----BEGIN CERTIFICATE-----\n"));
    let token = read("web", &format!("{PLACE}/token"));
    let (header, claims) = verified(&world, &token);
    let web = world.pod("web").unwrap();
    let pod_uid = &web["metadata"]["uid"];
    assert_eq!(header["alg"], "ES256");
    let about = &claims["kubernetes.io"];
    assert_eq!(about["pod"], json!({"name": "web", "uid": pod_uid}));
    assert_eq!((&about["namespace"], &about["serviceaccount"]["name"]), (&json!("default"), &json!("default")));
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    let number = |value: &Value| value.as_i64().unwrap();
    assert_eq!(number(&about["warnafter"]) - number(&claims["iat"]), 3607);
    assert_eq!(number(&claims["exp"]) - number(&claims["iat"]), 365 * 24 * 3600);
    let account: Value = serde_json::from_str(&world.ok(&["get", "serviceaccount", "default", "-o", "json"])).unwrap();
    assert_eq!(about["serviceaccount"]["uid"], account["metadata"]["uid"]);
    let map: Value = serde_json::from_str(&world.ok(&["get", "configmap", "kube-root-ca.crt", "-o", "json"])).unwrap();
    assert_eq!(map["data"]["ca.crt"].as_str().unwrap(), read("web", &format!("{PLACE}/ca.crt")));
    // As the seed's `kubectl describe` has it.
    let described = world.ok(&["describe", "pod", "web"]);
    let volume = web["spec"]["volumes"][0]["name"].as_str().unwrap();
    for line in [
        &format!("      {PLACE} from {volume} (ro)"),
        "    Type:                    Projected (a volume that contains injected data from multiple sources)",
        "    TokenExpirationSeconds:  3607",
        "    ConfigMapName:           kube-root-ca.crt",
        "    DownwardAPI:             true",
    ] {
        assert!(described.lines().any(|own| own == line), "{line}:\n{described}");
    }
    assert_eq!(described.matches("no API here honours tokens yet").count(), 1, "{described}");

    // An account that wants none mounted, and a token for somebody else.
    assert!(!world.output(&["exec", "silent", "-c", "c", "--", "ls", PLACE]).status.success());
    let vault = read("silent", "/vault/token");
    let (_, claims) = verified(&world, &vault);
    assert_eq!((&claims["aud"], claims["kubernetes.io"].get("warnafter")), (&json!(["vault"]), None));
    assert_eq!(number(&claims["exp"]) - number(&claims["iat"]), 7200);
    assert_eq!(world.exec("silent", "c", &["stat", "-L", "-c", "%a %u", "/vault/token"]), "600 7\n");
    // The group has its part in it, and the user can read it.
    let token_of_group = format!("{PLACE}/token");
    assert_eq!(world.exec("shared", "c", &["stat", "-L", "-c", "%a %u %g", &token_of_group]), "640 7 2000\n");
    verified(&world, &read("shared", &token_of_group));

    // One in a Secret has no end.
    let forever = read("silent", "/forever/token");
    let (_, claims) = verified(&world, &forever);
    assert_eq!((&claims["sub"], claims.get("exp")), (&json!("system:serviceaccount:default:silent"), None));
    assert_eq!(read("silent", "/forever/ca.crt"), read("web", &format!("{PLACE}/ca.crt")));
    let described = world.ok(&["describe", "serviceaccount", "silent"]);
    let tokens: Vec<&str> = described.lines().filter(|line| line.starts_with("Tokens:")).collect();
    assert_eq!(tokens, ["Tokens:              forever"], "{described}");
    stays_secret(&world, &token, volume, pod_uid.as_str().unwrap());
    is_on_no_disk(&world, &forever);
}

const ONE: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: busybox, command: [sh, -c, "until [ -e /go ]; do sleep 1; done; exit 1"]}
"#;

const PLAIN: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers:
  - {name: c, image: busybox, command: [sleep, "100000"]}
"#;

/// What runs is kept and restarted, what needs no token begins, and the rest waits.
#[test]
fn e2e_an_agent_whose_keys_are_damaged_keeps_all_that_runs() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("web.yaml", ONE)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    world.stop();
    for name in ["sa.key", "ca.key", "ca.crt"] {
        std::fs::write(world.root().join("pki").join(name), "cut").unwrap();
    }
    let before = world.log_length();
    world.start();
    world.exec("web", "c", &["touch", "/go"]);
    let restarts = || world.pod("web")?["status"]["containerStatuses"][0]["restartCount"].as_i64();
    world.wait("another instance", || restarts().filter(|count| *count == 1));
    world.commit(&[("plain.yaml", PLAIN), ("late.yaml", &ONE.replace("web", "late"))]);
    world.wait_row("plain", "1/1", "Running");
    world.wait_described("late", "sa.key");
    let log = world.log_from(before);
    for told in ["there is another authority; it is ca.key.damaged now", "pods that need a token wait"] {
        assert_eq!(log.matches(told).count(), 1, "{log}");
    }
    // With another key all is well: nobody has to start anything anew.
    std::fs::remove_file(world.root().join("pki/sa.key")).unwrap();
    world.wait_row("late", "1/1", "Running");
    let token = world.exec("late", "c", &["cat", &format!("{PLACE}/token")]);
    verified(&world, &token);
}

/// Becomes a program that may leave an image of its memory behind, in a directory.
const MAY_DUMP: &str = r#"cd "$0" && ulimit -c unlimited && exec "$@""#;

/// Keys and Secrets are in it.
#[test]
fn e2e_an_agent_that_crashes_leaves_no_image_of_its_memory() {
    let Some(mut world) = World::new() else { return };
    let place = world.scratch();
    let place = place.to_str().unwrap();
    let other = Command::new("sh").args(["-c", MAY_DUMP, place, "sh", "-c", "kill -ABRT $$"]).status().unwrap();
    if !other.core_dumped() {
        return support::skip("the machine makes no core dumps");
    }
    world.spawn_under(&["sh", "-c", MAY_DUMP, place]);
    world.wait("the agent to answer", || world.output(&["get", "pods"]).status.success().then_some(()));
    signal(world.agent_pid(), Signal::ABORT);
    let status = world.wait_end();
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
}

/// Nobody but the pod finds its token, and no disk has it.
fn stays_secret(world: &World, token: &str, volume: &str, uid: &str) {
    let place = world.root().join("run/volumes").join(uid).join(volume).join("token");
    let place = place.to_str().unwrap();
    assert_eq!(std::fs::read_to_string(place).unwrap(), token);
    // A pod that is shown the place reads it; one that has the machine's own files does not.
    assert_eq!(world.exec("owner", "c", &["cat", place]), token);
    let stolen = world.output(&["exec", "thief", "-c", "c", "--", "cat", place]);
    assert!(!stolen.status.success() && stolen.stdout.is_empty(), "{}", String::from_utf8_lossy(&stolen.stdout));
    let key = world.root().join("pki/sa.key");
    let stolen = world.output(&["exec", "thief", "-c", "c", "--", "cat", key.to_str().unwrap()]);
    assert!(!stolen.status.success() && stolen.stdout.is_empty(), "{}", String::from_utf8_lossy(&stolen.stdout));
    is_on_no_disk(world, token);
    let log = world.log();
    assert!(!log.contains(token) && !log.contains("PRIVATE KEY"));
}

/// A token is in memory, and nowhere else: neither as it is nor as the data of a Secret has it.
fn is_on_no_disk(world: &World, token: &str) {
    let disk = std::fs::metadata(world.root()).unwrap().dev();
    let forms = [token.rsplit('.').next().unwrap().to_owned(), STANDARD.encode(token)];
    let holds = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
    };
    for path in walk(&world.root()).iter().filter(|path| holds(path)) {
        assert_ne!(std::fs::metadata(path).unwrap().dev(), disk, "{} holds a token", path.display());
    }
    assert!(walk(&world.root()).iter().any(holds), "the token was not found where it is");
    let log = world.log();
    assert!(!log.contains(token) && !log.contains(&forms[1]));
}
