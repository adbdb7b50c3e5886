//! Service accounts, and the tokens by which their pods say who they are.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, PodSpec,
    ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use sha2::{Digest, Sha256};

use super::{Kind, ObjectKey, SharedBytes};

/// The account of a pod that names none; it is in every namespace.
pub const DEFAULT_ACCOUNT: &str = "default";
/// The ConfigMap of every namespace with the certificate of who answers for the API, and the key that has it.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// That key.
pub const ROOT_CA_KEY: &str = "ca.crt";
/// Where containers find token, certificate and namespace.
pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the name of the volume begins with that a pod is given for that.
pub const TOKEN_VOLUME: &str = "kube-api-access-";
/// Who issues tokens, as kubeadm has it for a cluster of the default domain.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The type of Secrets that hold a token of an account, and the annotations that name it.
pub const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
/// Its name.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// Its uid.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The key of such a Secret that has the token.
pub const TOKEN_KEY: &str = "token";

/// How long the token in that volume is to be good for, in seconds: of this one the issuer knows that nobody has chosen it
/// (`WarnOnlyBoundTokenExpirationPeriod`).
const EXPIRATION: i64 = 3607;
/// Permission bits of the files in it.
const FILE_MODE: i32 = 0o644;

/// What a ServiceAccount says of the pods that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// `metadata.uid`, if it says one.
    pub uid: Option<String>,
    /// `automountServiceAccountToken`.
    pub automount: Option<bool>,
    /// The names of its `imagePullSecrets`.
    pub pull_secrets: Vec<String>,
}

/// The accounts of the manifests by namespace and name.
pub type Accounts = BTreeMap<(String, String), Account>;

/// What a Secret for an account holds beside what its manifest says: the agent fills it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// By key, of which its manifest has none.
    pub values: BTreeMap<String, SharedBytes>,
    /// The keys that it is to have, and whose values cannot be had now: what it held before is not known to be wrong.
    pub missing: BTreeSet<String>,
}

/// The Secrets that are filled by namespace and name.
pub type Fillings = BTreeMap<(String, String), Filling>;

/// A file of a projected volume that holds a token: what is to be signed, and when another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// The volume, which is among those that are made with it.
    pub volume: String,
    /// Relative, without `..`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The user whose file it is; `None` for root.
    pub owner: Option<u32>,
    /// What the pod asks for, whenever that is: of another text another token is made.
    pub asked: String,
    /// The claims as JSON. Without a signature they are no secret.
    pub claims: String,
    pub issued_at: Timestamp,
    pub refresh_at: Timestamp,
}

/// What is remembered of a volume with tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    pub volume: String,
    /// Of its other files, and of what was asked for.
    pub digest: String,
    /// When the oldest of its tokens was made.
    pub issued_at: Timestamp,
    /// When the first of them is to be made anew.
    pub refresh_at: Timestamp,
}

/// Mounts a volume of this name with token, certificate and namespace in every container that has nothing at their place, and
/// adds it if one has not, and the pod has no volume of this name.
pub fn mount_token(spec: &mut PodSpec, name: &str) {
    let mut is_needed = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let mounts = container.volume_mounts.get_or_insert_default();
        if !mounts.iter().any(|mount| mount.mount_path == TOKEN_PATH) {
            is_needed = true;
            mounts.push(VolumeMount {
                name: name.to_owned(),
                mount_path: TOKEN_PATH.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            });
        }
    }
    if is_needed && !spec.volumes.iter().flatten().any(|volume| volume.name == name) {
        spec.volumes.get_or_insert_default().push(token_volume(name));
    }
}

/// The same pod before [`mount_token`], and the name that was given to it; `None` if the two would not make this one again.
pub(super) fn without_token(spec: &PodSpec) -> Option<(PodSpec, String)> {
    let mut before = spec.clone();
    let mut volumes = before.volumes.take()?;
    let name = volumes.pop()?.name;
    if !name.starts_with(TOKEN_VOLUME) {
        return None;
    }
    before.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    for container in before.init_containers.iter_mut().flatten().chain(&mut before.containers) {
        let mut mounts = container.volume_mounts.take().unwrap_or_default();
        if mounts.last().is_some_and(|mount| mount.name == name) {
            mounts.pop();
        }
        container.volume_mounts = Some(mounts).filter(|mounts| !mounts.is_empty());
    }
    let mut again = before.clone();
    mount_token(&mut again, &name);
    (again == *spec).then_some((before, name))
}

fn token_volume(name: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        expiration_seconds: Some(EXPIRATION),
        path: "token".to_owned(),
        ..ServiceAccountTokenProjection::default()
    };
    let root_ca = ConfigMapProjection {
        name: ROOT_CA.to_owned(),
        items: Some(vec![KeyToPath { key: ROOT_CA_KEY.to_owned(), path: ROOT_CA_KEY.to_owned(), mode: None }]),
        optional: None,
    };
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.namespace".to_owned() };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(root_ca), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    let projected = ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(sources) };
    Volume { name: name.to_owned(), projected: Some(projected), ..Volume::default() }
}

/// A uid that is the same on every run: a digest of what it is for, in the shape of a UUID.
pub fn stable_uid(subject: &str) -> String {
    let hex: String = Sha256::digest(subject.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect();
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

/// The uid of the machine's Node, of all machines that have the same manifests no other one's.
pub fn node_uid(name: &str) -> String {
    stable_uid(&format!("Node//{name}"))
}

impl ObjectKey {
    /// The uid of an object that brings none.
    pub fn uid(&self) -> String {
        stable_uid(&format!("{}/{}/{}", self.kind, self.namespace, self.name))
    }

    /// The key of a service account.
    pub fn account(namespace: &str, name: &str) -> Self {
        Self { kind: Kind::ServiceAccount, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}
