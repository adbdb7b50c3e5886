//! What a pod is given for its service account, as the API server's admission plugin ServiceAccount gives it
//! (`plugin/pkg/admission/serviceaccount` of Kubernetes 1.36): the pull Secrets of the account when it has none itself, and a
//! volume with a token, mounted where clients look for it.
//!
//! What is given is part of what runs and of no digest: an account that changes its mind restarts nothing.

use k8s_openapi::api::core::v1::{LocalObjectReference, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

use crate::model::{Account, Accounts, MIRROR_POD, PodKey, TOKEN_PATH, TOKEN_VOLUME, mount_token};

/// What names are made of where Kubernetes draws lots (`k8s.io/apimachinery/pkg/util/rand`).
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Gives a pod with all its defaults what its account brings. One that mirrors a static pod stays as it is.
pub(super) fn give(key: &PodKey, metadata: &ObjectMeta, accounts: &Accounts, spec: &mut PodSpec) {
    if metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR_POD)) {
        return;
    }
    let name = spec.service_account_name.clone().unwrap_or_default();
    let account = if accounts.is_empty() { None } else { accounts.get(&(key.namespace.clone(), name)) };
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty)
        && let Some(account) = account.filter(|account| !account.pull_secrets.is_empty())
    {
        let reference = |name: &String| LocalObjectReference { name: name.clone() };
        spec.image_pull_secrets = Some(account.pull_secrets.iter().map(reference).collect());
    }
    if is_mounted(spec, account) {
        let name = volume_name(key, spec);
        mount_token(spec, &name);
    }
}

/// Whether the pod gets a token: by its own word, else by that of its account.
fn is_mounted(spec: &PodSpec, account: Option<&Account>) -> bool {
    spec.automount_service_account_token.or_else(|| account.and_then(|account| account.automount)).unwrap_or(true)
}

/// The name of the volume: that of the pod's own volume of such a name, whatever it holds, as one has it that was written down
/// from a cluster; else one that is always the same for the pod.
fn volume_name(key: &PodKey, spec: &PodSpec) -> String {
    let own = spec.volumes.iter().flatten().find(|volume| volume.name.starts_with(TOKEN_VOLUME));
    if let Some(own) = own {
        return own.name.clone();
    }
    let hash = Sha256::digest(format!("{key}\n0"));
    let letters = hash[..5].iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
    TOKEN_VOLUME.chars().chain(letters).collect()
}

/// Whether a pointer into a pod that runs leads to what [`give`] has added: below one of these.
pub(super) fn places(shown: &serde_json::Value, written: &PodSpec) -> Vec<String> {
    let spec = &shown["spec"];
    let mut found = Vec::new();
    let is_own = |name: &str| written.volumes.iter().flatten().any(|volume| volume.name == name);
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        if volume["name"].as_str().is_some_and(|name| name.starts_with(TOKEN_VOLUME) && !is_own(name)) {
            found.push(format!("/spec/volumes/{index}"));
        }
    }
    let init = ("initContainers", written.init_containers.as_deref().unwrap_or_default());
    for (list, containers) in [init, ("containers", &written.containers[..])] {
        let mut bare = containers.iter().enumerate().collect::<Vec<_>>();
        bare.retain(|(_, own)| !own.volume_mounts.iter().flatten().any(|mount| mount.mount_path == TOKEN_PATH));
        for (index, _) in bare {
            let mounts = spec[list][index]["volumeMounts"].as_array().into_iter().flatten().enumerate();
            let given = mounts.filter(|(_, mount)| mount["mountPath"] == TOKEN_PATH);
            found.extend(given.map(|(at, _)| format!("/spec/{list}/{index}/volumeMounts/{at}")));
        }
    }
    let has_own_secrets = written.image_pull_secrets.as_ref().is_some_and(|own| !own.is_empty());
    if !has_own_secrets && spec["imagePullSecrets"].is_array() {
        found.push("/spec/imagePullSecrets".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Volume;
    use serde_json::{Value, json};

    use super::*;

    fn given(spec: Value, metadata: Value, accounts: &Accounts) -> PodSpec {
        let mut spec: PodSpec = serde_json::from_value(spec).unwrap();
        spec.service_account_name.get_or_insert_with(|| "default".to_owned());
        give(&PodKey::new("ns", "p"), &serde_json::from_value(metadata).unwrap(), accounts, &mut spec);
        spec
    }

    fn accounts(automount: Option<bool>, pull_secrets: &[&str]) -> Accounts {
        let pull_secrets = pull_secrets.iter().map(|name| (*name).to_owned()).collect();
        let account = Account { uid: None, automount, pull_secrets };
        [(("ns".to_owned(), "robot".to_owned()), account)].into()
    }

    #[test]
    fn the_pod_says_whether_it_gets_a_token_and_else_its_account() {
        for (pod, account, expected) in [
            (None, None, true),
            (None, Some(true), true),
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), Some(true), false),
            (Some(false), None, false),
            (Some(true), None, true),
        ] {
            let spec = json!({"serviceAccountName": "robot", "automountServiceAccountToken": pod, "containers": [{"name": "c"}]});
            let spec = given(spec, json!({}), &accounts(account, &[]));
            assert_eq!(spec.volumes.is_some(), expected, "{pod:?} {account:?}");
        }
        // The word of another account, of an account that is not there, and no word.
        for name in ["other", "default"] {
            let spec = json!({"serviceAccountName": name, "containers": [{"name": "c"}]});
            assert!(given(spec, json!({}), &accounts(Some(false), &[])).volumes.is_some(), "{name}");
        }
        let mirror = json!({"annotations": {MIRROR_POD: ""}});
        assert!(given(json!({"containers": [{"name": "c"}]}), mirror, &Accounts::new()).volumes.is_none());
    }

    #[test]
    fn it_is_mounted_in_every_container_that_has_nothing_there() {
        let spec = json!({
            "initContainers": [{"name": "i"}, {"name": "j", "volumeMounts": [{"name": "v", "mountPath": TOKEN_PATH}]}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}, {"name": "d"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        let spec = serde_json::to_value(given(spec, json!({}), &Accounts::new())).unwrap();
        let mount = json!({"name": "kube-api-access-64sdt", "mountPath": TOKEN_PATH, "readOnly": true});
        assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
        assert_eq!(spec["initContainers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(spec["containers"][0]["volumeMounts"], json!([{"name": "v", "mountPath": "/v"}, mount]));
        assert_eq!(spec["containers"][1]["volumeMounts"], json!([mount]));
        let volume = json!({"name": "kube-api-access-64sdt", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}});
        assert_eq!(spec["volumes"], json!([{"name": "v", "emptyDir": {}}, volume]));
        // Where every container has something else there, nobody needs it.
        let own = json!({"containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": TOKEN_PATH}]}],
            "volumes": [{"name": "v", "emptyDir": {}}]});
        assert_eq!(given(own, json!({}), &Accounts::new()).volumes.unwrap().len(), 1);
    }

    /// As one is that was written down from a cluster.
    #[test]
    fn a_pod_with_a_volume_of_such_a_name_is_given_no_other_one() {
        let own = json!({"name": "kube-api-access-own", "emptyDir": {}});
        let spec = json!({
            "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-own", "mountPath": TOKEN_PATH}]},
                {"name": "d"}],
            "volumes": [own, {"name": "v", "emptyDir": {}}],
        });
        let written: PodSpec = serde_json::from_value(spec.clone()).unwrap();
        let spec = serde_json::to_value(given(spec, json!({}), &Accounts::new())).unwrap();
        assert_eq!(spec["volumes"], json!([own, {"name": "v", "emptyDir": {}}]));
        let mount = |index: usize| spec["containers"][index]["volumeMounts"].clone();
        assert_eq!(mount(0), json!([{"name": "kube-api-access-own", "mountPath": TOKEN_PATH}]));
        assert_eq!(mount(1), json!([{"name": "kube-api-access-own", "mountPath": TOKEN_PATH, "readOnly": true}]));
        assert_eq!(places(&json!({"spec": spec}), &written), ["/spec/containers/1/volumeMounts/0"]);
    }

    #[test]
    fn its_name_is_the_same_every_time_and_nobody_elses() {
        let name = |key: &PodKey, taken: &[&str]| {
            let volumes = taken.iter().map(|name| Volume { name: (*name).to_owned(), ..Volume::default() }).collect();
            volume_name(key, &PodSpec { volumes: Some(volumes), ..PodSpec::default() })
        };
        let p = PodKey::new("ns", "p");
        assert_eq!(name(&p, &[]), name(&p, &["v"]));
        assert_ne!(name(&p, &[]), name(&PodKey::new("ns", "q"), &[]));
        assert_ne!(name(&p, &[]), name(&PodKey::new("other", "p"), &[]));
        let first = name(&p, &[]);
        assert_eq!(name(&p, &["kube-api-access-own", "v"]), "kube-api-access-own");
        assert!(
            first.strip_prefix(TOKEN_VOLUME).unwrap().bytes().all(|byte| LETTERS.contains(&byte)) && first.len() == 21
        );
    }

    #[test]
    fn the_pull_secrets_of_the_account_are_those_of_a_pod_without_any() {
        let names = |spec: Value| {
            let spec = given(spec, json!({}), &accounts(None, &["a", "b"]));
            spec.image_pull_secrets.into_iter().flatten().map(|secret| secret.name).collect::<Vec<_>>()
        };
        assert_eq!(names(json!({"serviceAccountName": "robot", "containers": []})), ["a", "b"]);
        let own = json!({"serviceAccountName": "robot", "imagePullSecrets": [{"name": "own"}], "containers": []});
        assert_eq!(names(own), ["own"]);
        assert_eq!(names(json!({"containers": []})), [""; 0]);
    }
}
