//! A container's variables, command and mounts, resolved to plain values.
//!
//! The order and the messages are kubelet's: `envFrom` first (later sources win), then `env`, each value seeing what came
//! before it; a variable that is defined later is invisible to an earlier one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapKeySelector, Container, EnvFromSource, EnvVar, FileKeySelector, Pod, ResourceFieldSelector,
    SecretKeySelector,
};

use super::{expand, field, mounts};
use crate::model::{
    DataObject, DataObjects, EnvValue, LateValue, Masked, ROOT_CA, ROOT_CA_KEY, SharedBytes, TOKEN_KEY,
    VolumeMountPlan, late,
};

/// What values may refer to.
pub(super) struct Scope<'a> {
    pub(super) fields: field::Fields<'a>,
    pub(super) data: &'a DataObjects,
}

/// What a container starts with.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) env: Vec<EnvValue>,
    pub(super) command: Option<Vec<Masked<String>>>,
    pub(super) args: Option<Vec<Masked<String>>>,
    pub(super) mounts: Vec<VolumeMountPlan>,
    /// What of all that is in files of volumes.
    pub(super) late: Vec<LateValue>,
}

/// Resolves everything a container needs, or says why it cannot be created (`CreateContainerConfigError`).
pub(super) fn resolve(container: &Container, scope: &Scope<'_>) -> Result<Resolved, String> {
    let mut vars = Variables::default();
    for source in container.env_from.iter().flatten() {
        add_source(source, scope, &mut vars)?;
    }
    for var in container.env.iter().flatten() {
        add_variable(var, container, scope, &mut vars)?;
    }
    let has_nul = |word: &String| word.contains('\0');
    if container.command.iter().chain(&container.args).flatten().any(has_nul) {
        return Err("a word of the command has a NUL byte".to_owned());
    }
    let words = |list: &Option<Vec<String>>| {
        list.as_ref()
            .map(|words| words.iter().map(|word| Masked::new(expand::expand(word, |name| vars.get(name)).0)).collect())
    };
    Ok(Resolved {
        command: words(&container.command).filter(|words: &Vec<_>| !words.is_empty()),
        args: words(&container.args).filter(|words: &Vec<_>| !words.is_empty()),
        mounts: mounts::of(container, scope.fields.pod, &|name| vars.get(name))?,
        env: vars.values,
        late: vars.late,
    })
}

/// Variables in order of their first definition.
#[derive(Default)]
struct Variables {
    values: Vec<EnvValue>,
    index: BTreeMap<String, usize>,
    late: Vec<LateValue>,
}

impl Variables {
    /// What stands where a variable is used.
    fn get(&self, name: &str) -> Option<String> {
        self.index.get(name).map(|at| late::used(self.values[*at].value.reveal()))
    }

    /// A variable whose value is in a file of an emptyDir of the pod, when the container starts.
    fn set_late(&mut self, name: &str, file: &FileKeySelector, pod: &Pod) -> Result<(), String> {
        let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        if !volumes.any(|volume| volume.name == file.volume_name && volume.empty_dir.is_some()) {
            return Err(format!("cannot find the volume {:?} referenced by FileKeyRef", file.volume_name));
        }
        let before = self.index.get(name).map(|at| self.values[*at].value.clone());
        let mark = late::mark(self.late.len());
        self.late.push(LateValue {
            name: name.to_owned(),
            volume: file.volume_name.clone(),
            path: file.path.clone(),
            key: file.key.clone(),
            optional: file.optional == Some(true),
            before,
        });
        self.set(name, mark);
        Ok(())
    }

    /// One whose value is known, and which nothing could be started with if it had a NUL: a mark has some.
    fn set_known(&mut self, name: &str, value: String) -> Result<(), String> {
        if value.contains('\0') {
            return Err(format!("variable {name} has a NUL byte"));
        }
        self.set(name, value);
        Ok(())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.index.get(name) {
            Some(at) => self.values[*at].value = Masked::new(value),
            None => {
                self.index.insert(name.to_owned(), self.values.len());
                self.values.push(EnvValue { name: name.to_owned(), value: Masked::new(value) });
            }
        }
    }
}

fn add_source(source: &EnvFromSource, scope: &Scope<'_>, vars: &mut Variables) -> Result<(), String> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    if let Some(reference) = &source.config_map_ref {
        match scope.texts(&reference.name) {
            Some(texts) => {
                for (key, text) in texts {
                    vars.set_known(&format!("{prefix}{key}"), text_of(text))?;
                }
            }
            None if reference.optional == Some(true) => {}
            None => return Err(format!("configmap \"{}\" not found", reference.name)),
        }
    }
    if let Some(reference) = &source.secret_ref {
        match scope.secret(&reference.name) {
            Some(_) if scope.lacks(&reference.name, TOKEN_KEY) => return Err(unfilled(&reference.name)),
            Some(content) => {
                for (key, bytes) in content {
                    let value = utf8(bytes.reveal(), &reference.name, key)?;
                    vars.set(&format!("{prefix}{key}"), value);
                }
            }
            None if reference.optional == Some(true) => {}
            None => return Err(format!("secret \"{}\" not found", reference.name)),
        }
    }
    Ok(())
}

fn add_variable(var: &EnvVar, container: &Container, scope: &Scope<'_>, vars: &mut Variables) -> Result<(), String> {
    let value = var.value.as_deref().unwrap_or_default();
    let Some(from) = var.value_from.as_ref().filter(|_| value.is_empty()) else {
        if value.contains('\0') {
            return Err(format!("variable {} has a NUL byte", var.name));
        }
        let value = expand::expand(value, |name| vars.get(name)).0;
        vars.set(&var.name, value);
        return Ok(());
    };
    if let Some(file) = &from.file_key_ref {
        return vars.set_late(&var.name, file, scope.fields.pod);
    }
    let value = if let Some(key) = &from.config_map_key_ref {
        scope.config_map_key(key)?
    } else if let Some(key) = &from.secret_key_ref {
        scope.secret_key(key)?
    } else if let Some(reference) = &from.field_ref {
        Some(scope.fields.get(&reference.field_path)?)
    } else if let Some(reference) = &from.resource_field_ref {
        Some(scope.resource(reference, container)?)
    } else {
        return Err(format!("env `{}`: this kind of valueFrom is not supported", var.name));
    };
    // An optional reference to what is not there defines no variable.
    value.map_or(Ok(()), |value| vars.set_known(&var.name, value))
}

impl Scope<'_> {
    fn key(&self, name: &str) -> (String, String) {
        (self.fields.namespace().to_owned(), name.to_owned())
    }

    pub(super) fn config_map(&self, name: &str) -> Option<&DataObject> {
        self.data.config_maps.get(&self.key(name)).map(AsRef::as_ref)
    }

    /// The texts of a ConfigMap by key; `None` when it is not there. `kube-root-ca.crt` always is, with the machine's certificate
    /// where no manifest has another one.
    fn texts(&self, name: &str) -> Option<BTreeMap<&str, &[u8]>> {
        let map = self.config_map(name);
        if map.is_none() && name != ROOT_CA {
            return None;
        }
        let own = self.root_ca().filter(|_| name == ROOT_CA).map(|text| (ROOT_CA_KEY, text.as_bytes()));
        let written = map.into_iter().flat_map(|map| &map.texts);
        Some(own.into_iter().chain(written.map(|(key, text)| (key.as_str(), text.reveal()))).collect())
    }

    /// The machine's certificate; `None` while it cannot be had.
    pub(super) fn root_ca(&self) -> Option<&str> {
        Some(&*self.fields.node.root_ca).filter(|text| !text.is_empty())
    }

    /// What a Secret holds by key, with what the agent has filled in; `None` when it is not there.
    pub(super) fn secret(&self, name: &str) -> Option<BTreeMap<&str, &SharedBytes>> {
        let key = self.key(name);
        let written = self.data.secrets.get(&key)?;
        let filled = self.data.filled.get(&key).into_iter().flat_map(|filling| &filling.values);
        Some(filled.map(|(key, value)| (key.as_str(), value)).chain(written.values()).collect())
    }

    /// Whether the agent is to fill a key of a Secret, and cannot now.
    pub(super) fn lacks(&self, secret: &str, key: &str) -> bool {
        self.data.filled.get(&self.key(secret)).is_some_and(|filling| filling.missing.contains(key))
    }

    fn config_map_key(&self, reference: &ConfigMapKeySelector) -> Result<Option<String>, String> {
        let ConfigMapKeySelector { key, name, .. } = reference;
        let optional = reference.optional == Some(true);
        match self.texts(name) {
            None if optional => Ok(None),
            None => Err(format!("configmap \"{name}\" not found")),
            Some(texts) => match texts.get(key.as_str()) {
                Some(text) => Ok(Some(text_of(text))),
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {key} in ConfigMap {}/{name}", self.fields.namespace())),
            },
        }
    }

    fn secret_key(&self, reference: &SecretKeySelector) -> Result<Option<String>, String> {
        let SecretKeySelector { key, name, .. } = reference;
        let optional = reference.optional == Some(true);
        match self.secret(name) {
            None if optional => Ok(None),
            None => Err(format!("secret \"{name}\" not found")),
            Some(content) => match content.get(key.as_str()) {
                Some(bytes) => utf8(bytes.reveal(), name, key).map(Some),
                None if key == TOKEN_KEY && self.lacks(name, key) => Err(unfilled(name)),
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {key} in Secret {}/{name}", self.fields.namespace())),
            },
        }
    }

    fn resource(&self, reference: &ResourceFieldSelector, container: &Container) -> Result<String, String> {
        match reference.container_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => self.fields.resource(reference, self.fields.named(name)?),
            None => self.fields.resource(reference, container),
        }
    }
}

/// Why what takes a Secret waits whose token cannot be signed.
pub(super) fn unfilled(secret: &str) -> String {
    format!("secret \"{secret}\" has no token yet: it cannot be signed now")
}

/// A value of a ConfigMap that was written as text.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Environment variables are text; the bytes themselves are not shown.
fn utf8(bytes: &[u8], secret: &str, key: &str) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        format!("key {key} of secret \"{secret}\" is not UTF-8 text and cannot be a variable; mount it as a file")
    })?;
    if text.contains('\0') {
        return Err(format!("key {key} of secret \"{secret}\" holds a NUL byte and cannot be a variable"));
    }
    Ok(text.to_owned())
}
