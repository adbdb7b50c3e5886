//! What the check across objects needs to know of each: drawn once per file, while its tree is there. A round stays cheap,
//! and a problem between objects is shown at its place without reading the file again.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json::locate_both;
use super::problem::{Problem, field_path};
use super::rules::{HostPort, View, containers, host_ports};
use super::yaml::{Node, Span};
use crate::model::{ACCOUNT_NAME, ACCOUNT_TOKEN, DEFAULT_ACCOUNT, Kind, ROOT_CA_KEY, Severity};

/// Where a field stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    /// Its value.
    pub(super) span: Span,
    /// Line and column of its key, or of the item of a list.
    pub(super) key: (u32, u32),
    /// As Kubernetes writes paths.
    field: Cow<'static, str>,
}

impl Spot {
    /// An error about the value.
    pub(super) fn error(&self, rule: &'static str, message: String, help: impl Into<String>) -> Problem {
        Problem { field: Some(self.field.clone().into_owned()), ..Problem::error(rule, self.span, message, help) }
    }

    /// A warning about the value.
    pub(super) fn warning(&self, rule: &'static str, message: String, help: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..self.error(rule, message, help) }
    }
}

/// A named object that another one needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Where the name stands.
    pub(super) at: Spot,
    /// Keys of it that are needed, each with its place.
    pub(super) keys: Vec<(String, Spot)>,
    /// Whether images are pulled with it.
    pub(super) pulls: bool,
}

/// What an object has to do with others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    /// Where its name stands.
    pub(super) name: Spot,
    /// References that are not optional.
    pub(super) references: Vec<Reference>,
    pub(super) host_ports: Vec<(HostPort, Spot)>,
    /// A pod's mounts of volumes that it does not define itself.
    pub(super) open_mounts: Option<Box<OpenMounts>>,
    /// What a preset does for such mounts.
    pub(super) donor: Option<Box<Donor>>,
    /// Keys that it holds: a ConfigMap's or Secret's.
    pub(super) keys: BTreeSet<String>,
}

impl Facts {
    /// Gives back what lists took in advance: of a hundred thousand pods only this stays.
    fn shrink(&mut self) {
        self.references.iter_mut().for_each(|reference| reference.keys.shrink_to_fit());
        self.references.shrink_to_fit();
        self.host_ports.shrink_to_fit();
    }
}

/// Mounts that only a preset can make good.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenMounts {
    /// Each volume's name, and where it stands.
    pub(super) mounts: Vec<(String, Spot)>,
    /// The pod's labels, which presets select by.
    pub(super) labels: Map<String, Value>,
    /// Names of the volumes the pod does define.
    pub(super) volumes: BTreeSet<String>,
}

/// The volumes of a preset, and whom it gives them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Donor {
    pub(super) selector: Value,
    pub(super) volumes: BTreeSet<String>,
}

/// An object with its tree, of which facts are drawn.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) kind: Kind,
    pub(super) value: &'a Value,
    pub(super) node: &'a Node,
}

impl Source<'_> {
    fn spot(self, pointer: &str) -> Spot {
        let (key, span) = locate_both(self.node, pointer);
        Spot { span, key: (key.line, key.column), field: Cow::Owned(field_path(self.value, pointer)) }
    }

    /// Draws the facts of the object.
    pub(super) fn facts(self) -> Facts {
        let name = Spot { field: Cow::Borrowed("metadata.name"), ..self.spot("/metadata/name") };
        let mut facts = Facts {
            name,
            references: vec![],
            host_ports: vec![],
            open_mounts: None,
            donor: None,
            keys: BTreeSet::new(),
        };
        let root = View::root(self.value);
        match (self.kind, root.get("spec")) {
            (Kind::Pod, Some(spec)) => self.of_pod(&spec, &mut facts),
            (Kind::PodPreset, Some(spec)) => {
                facts.references = self.data_references(&spec, std::slice::from_ref(&spec));
                let volumes = volume_names(&spec).into_iter().map(str::to_owned).collect();
                let selector = spec.get("selector").map(|selector| selector.value.clone());
                facts.donor = selector.map(|selector| Box::new(Donor { selector, volumes }));
            }
            (Kind::ServiceAccount, _) => {
                facts.references = self.secrets(&root, "imagePullSecrets");
                facts.references.extend(self.secrets(&root, "secrets"));
            }
            (Kind::ConfigMap | Kind::Secret, _) => {
                let maps = ["data", "binaryData", "stringData"].into_iter().filter_map(|map| root.get(map));
                facts.keys = maps.flat_map(|map| map.entries()).map(|(key, _)| key.to_owned()).collect();
                if self.kind == Kind::Secret && root.text_of("type") == Some(ACCOUNT_TOKEN) {
                    facts.keys.extend(["token", ROOT_CA_KEY, "namespace"].map(str::to_owned));
                    let account = root.path(&["metadata", "annotations", ACCOUNT_NAME]);
                    let account = account.filter(|name| name.text() != Some(DEFAULT_ACCOUNT));
                    facts.references.extend(account.and_then(|name| self.named(Kind::ServiceAccount, &name)));
                }
            }
            (Kind::Pod | Kind::PodPreset | Kind::Namespace | Kind::Node, _) => {}
        }
        facts.shrink();
        facts
    }

    fn of_pod(self, spec: &View<'_>, facts: &mut Facts) {
        let containers = containers(spec);
        facts.references = self.data_references(spec, &containers);
        facts.references.extend(self.account(spec));
        facts.references.extend(self.secrets(spec, "imagePullSecrets"));
        let ports = host_ports(spec).into_iter();
        facts.host_ports = ports.map(|port| (port.clone(), self.spot(&port.pointer))).collect();
        facts.open_mounts = self.open_mounts(&volume_names(spec), &containers);
    }

    /// The name in a field, if it says one.
    fn named(self, kind: Kind, name: &View<'_>) -> Option<Reference> {
        let text = name.text().filter(|text| !text.is_empty())?;
        let pulls = name.is_below(&["imagePullSecrets"]) || name.is_below(&["spec", "imagePullSecrets"]);
        Some(Reference { kind, name: text.to_owned(), at: self.spot(&name.pointer()), keys: vec![], pulls })
    }

    /// ConfigMaps and Secrets that variables and volumes need, with the keys they need of them.
    fn data_references(self, spec: &View<'_>, containers: &[View<'_>]) -> Vec<Reference> {
        let mut found = Vec::new();
        let mut add = |source: Option<View<'_>>, name: &str, kind: Kind| {
            let Some(source) = source.filter(|source| !source.is_true("optional")) else { return };
            let Some(mut reference) = source.get(name).and_then(|name| self.named(kind, &name)) else { return };
            let items = source.list("items");
            let keys = items.iter().chain([&source]).filter_map(|item| item.get("key"));
            reference.keys = keys.filter_map(|key| Some((key.text()?.to_owned(), self.spot(&key.pointer())))).collect();
            found.push(reference);
        };
        for container in containers {
            for source in container.list("envFrom") {
                add(source.get("configMapRef"), "name", Kind::ConfigMap);
                add(source.get("secretRef"), "name", Kind::Secret);
            }
            for variable in container.list("env") {
                add(variable.path(&["valueFrom", "configMapKeyRef"]), "name", Kind::ConfigMap);
                add(variable.path(&["valueFrom", "secretKeyRef"]), "name", Kind::Secret);
            }
        }
        for volume in spec.list("volumes") {
            add(volume.get("configMap"), "name", Kind::ConfigMap);
            add(volume.get("secret"), "secretName", Kind::Secret);
            for source in volume.get("projected").map_or_else(Vec::new, |projected| projected.list("sources")) {
                add(source.get("configMap"), "name", Kind::ConfigMap);
                add(source.get("secret"), "name", Kind::Secret);
            }
        }
        found
    }

    /// The service account, unless it is the one that every namespace has.
    fn account(self, spec: &View<'_>) -> Option<Reference> {
        let field = ["serviceAccountName", "serviceAccount"].into_iter().find_map(|field| {
            spec.get(field).filter(|view| view.text().is_some_and(|text| !text.is_empty() && text != "default"))
        })?;
        self.named(Kind::ServiceAccount, &field)
    }

    /// Secrets named in a list of their own.
    fn secrets(self, holder: &View<'_>, list: &str) -> Vec<Reference> {
        let names = holder.list(list).into_iter().filter_map(|item| item.get("name"));
        names.filter_map(|name| self.named(Kind::Secret, &name)).collect()
    }

    /// Mounts of volumes that the pod does not define, and files of variables in such.
    fn open_mounts(self, volumes: &BTreeSet<&str>, containers: &[View<'_>]) -> Option<Box<OpenMounts>> {
        let mounts = containers.iter().flat_map(|container| container.list("volumeMounts"));
        let variables = containers.iter().flat_map(|container| container.list("env"));
        let files = variables.filter_map(|variable| variable.path(&["valueFrom", "fileKeyRef", "volumeName"]));
        let names = mounts.filter_map(|mount| mount.get("name")).chain(files);
        let open = |name: &View<'_>| name.text().is_some_and(|text| !text.is_empty() && !volumes.contains(text));
        let mounts: Vec<(String, Spot)> =
            names.filter(open).filter_map(|name| Some((name.text()?.to_owned(), self.spot(&name.pointer())))).collect();
        if mounts.is_empty() {
            return None;
        }
        let labels = self.value.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
        let volumes = volumes.iter().map(|name| (*name).to_owned()).collect();
        Some(Box::new(OpenMounts { mounts, labels, volumes }))
    }
}

fn volume_names<'a>(spec: &View<'a>) -> BTreeSet<&'a str> {
    spec.list("volumes").into_iter().filter_map(|volume| volume.text_of("name")).collect()
}
