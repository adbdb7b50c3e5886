//! `create`: a Secret or ConfigMap from files and values, printed byte for byte as kubectl 1.32 prints it with
//! `--dry-run=client -o yaml`. Nothing is created: the output belongs into a file of the repository, unless `--local` asks for
//! an object of this machine ([`super::local`]).
//!
//! The rules and most sentences are kubectl's (k8s.io/kubectl/pkg/cmd/create of 1.32); tests/it/cli/create.rs holds its
//! output beside ours. What kubectl leaves to the API server is checked here by the reader that `validate` uses.

mod draft;
mod env_file;
mod go_json;
mod hash;
mod pair;
mod sources;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::args::{CreateCommon, CreateVerb, DockerArgs, Global, ObjectFormat, SecretVerb, SourceArgs};
use super::error::{CliError, Ending};
use super::printer;
use crate::manifest::Reader;
#[cfg(target_os = "linux")]
use crate::model::Kind;
use crate::model::{BlobId, Revision, RevisionKind, Snapshot, SourceFile};
use crate::report;
use draft::{Draft, Place};
use pair::Verdict;

/// The key kubelet and runtimes look for.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// The namespace of what is provisioned without one.
const DEFAULT_NAMESPACE: &str = "default";

/// Runs `create`.
pub fn run(verb: &CreateVerb, global: &Global) -> Result<Ending, CliError> {
    match verb {
        CreateVerb::Configmap { sources, common } => config_map(sources, common, global),
        CreateVerb::Secret(verb) => secret(verb, global),
    }
}

/// Runs `create configmap`.
pub(super) fn config_map(sources: &SourceArgs, common: &CreateCommon, global: &Global) -> Result<Ending, CliError> {
    let mut draft = Draft::config_map(&common.name);
    sources::files(&mut draft, &sources.from_file)?;
    sources::literals(&mut draft, &sources.from_literal)?;
    sources::env_files(&mut draft, &sources.from_env_file)?;
    give(draft, common, global)
}

/// Runs `create secret`.
pub(super) fn secret(verb: &SecretVerb, global: &Global) -> Result<Ending, CliError> {
    match verb {
        SecretVerb::Generic { sources, kind, common } => {
            give(generic(sources, kind.as_deref(), &common.name)?, common, global)
        }
        SecretVerb::Tls { cert, key, common } => give(tls(cert, key, &common.name)?, common, global),
        SecretVerb::DockerRegistry { docker, common } => give(docker_registry(docker, &common.name)?, common, global),
    }
}

fn generic(sources: &SourceArgs, kind: Option<&str>, name: &str) -> Result<Draft, CliError> {
    let mut draft = Draft::secret(name, kind);
    sources::literals(&mut draft, &sources.from_literal)?;
    sources::files(&mut draft, &sources.from_file)?;
    sources::env_files(&mut draft, &sources.from_env_file)?;
    Ok(draft)
}

fn tls(cert: &Path, key: &Path, name: &str) -> Result<Draft, CliError> {
    let (certificate, private_key) = (sources::file(cert)?, sources::file(key)?);
    match pair::check(&certificate, &private_key) {
        Ok(Verdict::Belongs) => {}
        Ok(Verdict::Unknown(why)) => {
            let (cert, key) = (cert.display(), key.display());
            printer::note(&format!("warning: whether {key} belongs to {cert} was not checked: {why}"));
        }
        Err(fault) => {
            let place = if fault.in_key { key } else { cert };
            return Err(CliError::new(format!("{}: {}", place.display(), fault.message)).hint(fault.help));
        }
    }
    let mut draft = Draft::secret(name, Some("kubernetes.io/tls"));
    draft.add("tls.crt", certificate, Place::File(cert.to_owned()))?;
    draft.add("tls.key", private_key, Place::File(key.to_owned()))?;
    Ok(draft)
}

fn docker_registry(args: &DockerArgs, name: &str) -> Result<Draft, CliError> {
    let mut draft = Draft::secret(name, Some("kubernetes.io/dockerconfigjson"));
    if !args.from_file.is_empty() {
        let mut keyed = Vec::new();
        for source in sources::split(&args.from_file)? {
            keyed.push(if source.contains('=') { source } else { format!("{DOCKER_CONFIG}={source}") });
        }
        sources::each_file(&mut draft, &keyed)?;
        return Ok(draft);
    }
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (username, password) = (given(&args.docker_username), given(&args.docker_password));
    let (Some(username), Some(password), false) = (username, password, args.docker_server.is_empty()) else {
        let message = "either --from-file or the combination of --docker-username, --docker-password and \
                       --docker-server is required";
        return Err(CliError::usage(message));
    };
    let mut entry = Map::new();
    let auth = draft::base64(format!("{username}:{password}").as_bytes());
    entry.insert("username".to_owned(), username.into());
    entry.insert("password".to_owned(), password.into());
    entry.extend(given(&args.docker_email).map(|email| ("email".to_owned(), email.into())));
    entry.insert("auth".to_owned(), auth.into());
    let config = go_json::compact(&json!({ "auths": { &*args.docker_server: entry } }));
    draft.add(DOCKER_CONFIG, config.into_bytes(), Place::Flag("--docker-username"))?;
    Ok(draft)
}

/// Prints the object, or provisions it on this machine.
fn give(mut draft: Draft, common: &CreateCommon, global: &Global) -> Result<Ending, CliError> {
    if common.append_hash {
        draft.name = format!("{}-{}", draft.name, hash::of(&draft));
    }
    let namespace = common.namespace.as_deref().or(common.local.then_some(DEFAULT_NAMESPACE));
    let object = draft.object(namespace);
    let yaml = report::object_yaml(&object);
    verify(&draft, &yaml)?;
    if common.local {
        return provision(&object, draft.is_secret(), common.replace, global);
    }
    let text = match common.output {
        ObjectFormat::Yaml => yaml,
        ObjectFormat::Json => go_json::indented(&object),
    };
    printer::bytes(text.as_bytes())?;
    Ok(Ending::Success)
}

#[cfg(target_os = "linux")]
fn provision(object: &Value, is_secret: bool, replace: bool, global: &Global) -> Result<Ending, CliError> {
    let kind = if is_secret { Kind::Secret } else { Kind::ConfigMap };
    super::local::provision(&super::layout(global)?, kind, object, replace)
}

#[cfg(not(target_os = "linux"))]
fn provision(_: &Value, _: bool, _: bool, _: &Global) -> Result<Ending, CliError> {
    Err(CliError::new("objects are provisioned on Linux only").hint("leave --local out to print the object"))
}

/// What an API server would refuse: the name, the namespace, the size, keys that a type needs.
fn verify(draft: &Draft, yaml: &str) -> Result<(), CliError> {
    let what = draft.kind();
    let file = SourceFile {
        path: format!("{what}.yaml").into(),
        blob: BlobId::of_text("the output"),
        bytes: yaml.as_bytes().into(),
    };
    let revision = Revision { kind: RevisionKind::Content, id: String::new(), subject: None, branch: None };
    let snapshot = Snapshot {
        revision,
        files: vec![file],
        local: Default::default(),
        uncommitted: Vec::new(),
        ignored: Vec::new(),
    };
    let desired = Reader::new().read(&snapshot);
    if desired.diagnostics.has_errors() {
        printer::note(&format!("the {what} that this makes would be refused:"));
        return Err(CliError::refused(&desired.diagnostics));
    }
    Ok(())
}
