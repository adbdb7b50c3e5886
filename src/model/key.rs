//! Names of objects: kind, namespace, name, and the uid of one incarnation of a pod.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds podwright reads, and the machine's own. Any other kind in the manifests is refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Namespace,
    ServiceAccount,
    ConfigMap,
    Secret,
    PodPreset,
    Pod,
    /// No manifest has one: events are about it.
    Node,
}

impl Kind {
    /// Every kind that manifests have, in the order objects are listed.
    pub const ALL: [Kind; 6] =
        [Kind::Namespace, Kind::ServiceAccount, Kind::ConfigMap, Kind::Secret, Kind::PodPreset, Kind::Pod];

    /// The kind as manifests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::ServiceAccount => "ServiceAccount",
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
            Kind::PodPreset => "PodPreset",
            Kind::Pod => "Pod",
            Kind::Node => "Node",
        }
    }

    /// The only apiVersion accepted for this kind.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::PodPreset => "settings.k8s.io/v1alpha1",
            _ => "v1",
        }
    }

    /// The lower-case plural of the REST path and of `kubectl get`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Namespace => "namespaces",
            Kind::ServiceAccount => "serviceaccounts",
            Kind::ConfigMap => "configmaps",
            Kind::Secret => "secrets",
            Kind::PodPreset => "podpresets",
            Kind::Pod => "pods",
            Kind::Node => "nodes",
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(self, Kind::Namespace | Kind::Node)
    }

    /// The kind a manifest means by `apiVersion` and `kind`, if it is one of ours.
    pub fn from_manifest(api_version: &str, kind: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.as_str() == kind && k.api_version() == api_version)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object: its kind, namespace (empty for a Namespace) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectKey {
    /// `Pod default/website`; a Namespace without the slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A pod's full name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
}

impl PodKey {
    /// The key of pod `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The same name as an [`ObjectKey`].
    pub fn object(&self) -> ObjectKey {
        ObjectKey { kind: Kind::Pod, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The uid of one incarnation of a pod: a UUID in text form. A recreated pod has another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodUid(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
