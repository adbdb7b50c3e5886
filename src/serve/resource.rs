//! REST paths: which resource, namespace, name and subresource a path means.

use crate::model::Kind;
use crate::report::Listed;

/// Everything that can be listed.
pub(super) const ALL: [Listed; 8] = [
    Listed::Kind(Kind::Pod),
    Listed::Kind(Kind::ConfigMap),
    Listed::Kind(Kind::Secret),
    Listed::Kind(Kind::ServiceAccount),
    Listed::Kind(Kind::Namespace),
    Listed::Kind(Kind::PodPreset),
    Listed::Event,
    Listed::Node,
];

/// How a resource is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub kind: &'static str,
    pub plural: &'static str,
    pub api_version: &'static str,
    pub namespaced: bool,
    pub short: &'static [&'static str],
}

pub(super) fn names(listed: Listed) -> Names {
    let short: &[&str] = match listed {
        Listed::Kind(Kind::Pod) => &["po"],
        Listed::Kind(Kind::ConfigMap) => &["cm"],
        Listed::Kind(Kind::ServiceAccount) => &["sa"],
        Listed::Kind(Kind::Namespace) => &["ns"],
        Listed::Event => &["ev"],
        Listed::Node => &["no"],
        Listed::Kind(_) => &[],
    };
    match listed {
        Listed::Kind(kind) => Names {
            kind: kind.as_str(),
            plural: kind.plural(),
            api_version: kind.api_version(),
            namespaced: kind.namespaced(),
            short,
        },
        Listed::Event => Names { kind: "Event", plural: "events", api_version: "v1", namespaced: true, short },
        Listed::Node => Names { kind: "Node", plural: "nodes", api_version: "v1", namespaced: false, short },
    }
}

/// The resource a word on the command line means: plural, singular, kind or short name, in any case.
pub fn from_name(word: &str) -> Option<Listed> {
    let word = word.to_lowercase();
    ALL.into_iter().find(|listed| {
        let names = names(*listed);
        word == names.plural || word == names.kind.to_lowercase() || names.short.contains(&word.as_str())
    })
}

/// The lower-case plural of a resource: `pods`.
pub fn plural(listed: Listed) -> &'static str {
    names(listed).plural
}

/// Whether its objects live in a namespace.
pub fn is_namespaced(listed: Listed) -> bool {
    names(listed).namespaced
}

/// What `kubectl get -o name` puts before the slash: `pod`, `podpreset.settings.k8s.io`.
pub fn qualified_name(listed: Listed) -> String {
    let names = names(listed);
    let kind = names.kind.to_lowercase();
    names.api_version.split_once('/').map_or_else(|| kind.clone(), |(group, _)| format!("{kind}.{group}"))
}

/// The path of a collection, or of one object with `name`. Without `namespace` it is the cluster-wide collection.
pub fn path(listed: Listed, namespace: Option<&str>, name: Option<&str>) -> String {
    let names = names(listed);
    let root = if names.api_version.contains('/') { "/apis/" } else { "/api/" };
    let mut path = format!("{root}{}", names.api_version);
    if let Some(namespace) = namespace.filter(|n| names.namespaced && !n.is_empty()) {
        path = format!("{path}/namespaces/{}", encode(namespace));
    }
    path = format!("{path}/{}", names.plural);
    match name {
        Some(name) => format!("{path}/{}", encode(name)),
        None => path,
    }
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Discovery and the like, by their path.
    Document(String),
    Collection {
        listed: Listed,
        namespace: Option<String>,
    },
    Object {
        listed: Listed,
        namespace: String,
        name: String,
    },
    Log {
        namespace: String,
        name: String,
    },
}

/// Reads a path; `None` for one that means nothing here.
pub(super) fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (api_version, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] if !rest.is_empty() => ("v1".to_owned(), rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (format!("{group}/{version}"), rest),
        _ => return Some(Target::Document(format!("/{}", path.trim_matches('/')))),
    };
    let find =
        |plural: &str| ALL.into_iter().find(|l| names(*l).plural == plural && names(*l).api_version == api_version);
    let owned = |text: &str| text.to_owned();
    match rest {
        ["namespaces", namespace, "pods", name, "log"] if api_version == "v1" => {
            Some(Target::Log { namespace: owned(namespace), name: owned(name) })
        }
        ["namespaces", namespace, plural] => {
            let listed = find(plural).filter(|l| names(*l).namespaced)?;
            Some(Target::Collection { listed, namespace: Some(owned(namespace)) })
        }
        ["namespaces", namespace, plural, name] => {
            let listed = find(plural).filter(|l| names(*l).namespaced)?;
            Some(Target::Object { listed, namespace: owned(namespace), name: owned(name) })
        }
        [plural] => Some(Target::Collection { listed: find(plural)?, namespace: None }),
        [plural, name] => {
            let listed = find(plural).filter(|l| !names(*l).namespaced)?;
            Some(Target::Object { listed, namespace: String::new(), name: owned(name) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_made_is_a_path_understood() {
        for listed in ALL {
            let namespaced = names(listed).namespaced;
            let namespace = namespaced.then(|| "ns".to_owned());
            assert_eq!(
                target(&path(listed, namespace.as_deref(), None)),
                Some(Target::Collection { listed, namespace: namespace.clone() })
            );
            assert_eq!(
                target(&path(listed, namespace.as_deref(), Some("x"))),
                Some(Target::Object { listed, namespace: namespace.unwrap_or_default(), name: "x".into() })
            );
        }
        assert_eq!(target("/api/v1/deployments"), None);
        assert_eq!(target("/api/v1/namespaces/a/pods/b/exec"), None);
        assert_eq!(target("/apis/settings.k8s.io/v1alpha1/pods"), None);
    }

    #[test]
    fn resources_have_the_names_people_type() {
        assert_eq!(from_name("po"), Some(Listed::Kind(Kind::Pod)));
        assert_eq!(from_name("PodPreset"), Some(Listed::Kind(Kind::PodPreset)));
        assert_eq!(from_name("ev"), Some(Listed::Event));
        assert_eq!(from_name("deployments"), None);
    }
}
