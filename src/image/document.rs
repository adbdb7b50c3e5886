//! The JSON of images: indexes, manifests, configurations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ImageConfig;
use super::limits::Limits;
use crate::model::{architecture, is_sha256_hex};

pub(super) const ANNOTATION_NAME: &str = "io.containerd.image.name";
pub(super) const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Platforms that an error names.
const SHOWN_PLATFORMS: usize = 20;

/// What a descriptor runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

impl Platform {
    /// This machine, in the names of OCI (which are Go's).
    pub(super) fn here() -> Self {
        Self { architecture: architecture().to_owned(), os: "linux".to_owned(), variant: None }
    }

    /// Whether an image for this platform runs on `machine`.
    pub(super) fn runs_on(&self, machine: &Platform) -> bool {
        self.os == machine.os && self.architecture == machine.architecture
    }

    /// How well an image for this platform suits a machine that it runs on: the number of its variant, 0 for none. `None`
    /// when the variant may want more than the machine has.
    fn suits(&self) -> Option<u32> {
        let Some(variant) = self.variant.as_deref().filter(|variant| !variant.is_empty()) else { return Some(0) };
        let number: u32 = variant.trim_start_matches('v').split('.').next()?.parse().ok()?;
        let most = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            // What every machine of the architecture has.
            _ => 1,
        };
        (number <= most).then_some(number)
    }
}

/// The descriptor for this machine. One that does not say what it is for is taken when no other suits.
pub(super) fn for_this_machine(descriptors: &[Descriptor]) -> Result<&Descriptor, String> {
    let here = Platform::here();
    let suits = |d: &Descriptor| d.platform.as_ref().filter(|p| p.runs_on(&here)).and_then(Platform::suits);
    // Of equal ones the first, as every other client has it.
    let best = descriptors.iter().rev().filter_map(|d| Some((suits(d)?, d))).max_by_key(|(number, _)| *number);
    let unspoken = |d: &&Descriptor| d.platform.as_ref().is_none_or(|p| p.os.is_empty());
    best.map(|(_, d)| d).or_else(|| descriptors.iter().find(unspoken)).ok_or_else(|| {
        let platforms = descriptors.iter().filter_map(|d| d.platform.as_ref()).filter(|p| p.os != "unknown");
        let there: Vec<String> = platforms.take(SHOWN_PLATFORMS).map(|p| shown(&p.to_string())).collect();
        format!("it has no image for {here}; there is {}", there.join(", "))
    })
}

/// A bounded piece of foreign text, on one line.
fn shown(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The hexadecimal part of a digest that is fit to be a file name.
    pub(super) fn hex(&self) -> Result<&str, String> {
        digest_hex(&self.digest)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The name the layout gives the image, if it gives one.
    pub(super) fn name(&self) -> Option<&str> {
        self.annotation(ANNOTATION_NAME).or_else(|| self.annotation(ANNOTATION_REF_NAME))
    }
}

/// The hexadecimal part of `sha256:...`.
pub(super) fn digest_hex(digest: &str) -> Result<&str, String> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| is_sha256_hex(hex))
        .ok_or_else(|| format!("{digest:?} is no sha256 digest"))
}

/// An index or a manifest: which one shows in its fields, whatever its media type claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) manifests: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layers: Option<Vec<Descriptor>>,
}

/// One image of docker's archive.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerEntry {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
    #[serde(default)]
    config: Option<Process>,
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    stop_signal: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl Configuration {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("the image's configuration is unreadable: {e}"))
    }

    pub(super) fn platform(&self) -> Platform {
        Platform { architecture: self.architecture.clone(), os: self.os.clone(), variant: self.variant.clone() }
    }

    /// The digests of the uncompressed layers, lowest first.
    pub(super) fn diff_ids(&self, limits: &Limits) -> Result<Vec<String>, String> {
        let ids = self.rootfs.as_ref().and_then(|r| r.diff_ids.clone()).unwrap_or_default();
        if ids.is_empty() {
            return Err("the image has no layers".to_owned());
        }
        if ids.len() > limits.layers {
            return Err(format!("the image has {} layers; {} are the limit", ids.len(), limits.layers));
        }
        ids.iter().try_for_each(|id| digest_hex(id).map(|_| ()))?;
        Ok(ids)
    }

    /// What is to be run, with the defaults.
    pub(super) fn process(&self) -> ImageConfig {
        let process = self.config.clone().unwrap_or_default();
        let text = |value: Option<String>| value.filter(|v| !v.is_empty());
        let working_dir = match text(process.working_dir) {
            Some(dir) if dir.starts_with('/') => dir,
            Some(dir) => format!("/{dir}"),
            None => "/".to_owned(),
        };
        ImageConfig {
            entrypoint: process.entrypoint.unwrap_or_default(),
            cmd: process.cmd.unwrap_or_default(),
            env: variables(&process.env.unwrap_or_default()),
            user: process.user.unwrap_or_default(),
            working_dir,
            stop_signal: text(process.stop_signal),
            volumes: process.volumes.unwrap_or_default().into_keys().collect(),
            labels: process.labels.unwrap_or_default(),
        }
    }
}

/// `NAME=value` pairs; of two with one name the last counts, at the place of the first.
fn variables(env: &[String]) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for pair in env {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match out.iter_mut().find(|(n, _)| n == name) {
            Some(known) => value.clone_into(&mut known.1),
            None => out.push((name.to_owned(), value.to_owned())),
        }
    }
    out
}

/// The chain ids of a stack of layers, lowest first: each names a layer together with all below it.
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(parent) => super::stream::digest_of(format!("{parent} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_nulls_gets_the_defaults() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Entrypoint":null,
            "WorkingDir":"","Volumes":null,"StopSignal":null,"Labels":null,"User":null},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = Configuration::parse(text.as_bytes()).unwrap();
        assert_eq!(config.process(), ImageConfig::default());
        assert!(config.diff_ids(&Limits::default()).unwrap_err().contains("no layers"));
        assert_eq!(Configuration::parse(b"{}").unwrap().process(), ImageConfig::default());
        assert!(Configuration::parse(b"[").is_err());
    }

    #[test]
    fn a_configuration_is_read_in_full() {
        let text = r#"{"architecture":"arm64","variant":"v8","os":"linux","config":{"Env":["A=1","B=x=y","A=2","C"],
            "Cmd":["c"],"Entrypoint":["/e"],"WorkingDir":"srv","Volumes":{"/data":{}},"StopSignal":"SIGQUIT",
            "Labels":{"k":"v"},"User":"nginx:101"}}"#;
        let config = Configuration::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64/v8");
        let process = config.process();
        let env: Vec<(&str, &str)> = process.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(env, [("A", "2"), ("B", "x=y"), ("C", "")]);
        assert_eq!((process.working_dir.as_str(), process.user.as_str()), ("/srv", "nginx:101"));
        assert_eq!(process.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(
            (process.volumes, process.entrypoint, process.cmd),
            (vec!["/data".into()], vec!["/e".into()], vec!["c".into()])
        );
    }

    #[test]
    fn the_image_for_this_machine_is_chosen_by_what_every_such_machine_has() {
        let architecture = Platform::here().architecture;
        let of = |os: &str, architecture: &str, variant: Option<&str>| {
            let variant = variant.map(str::to_owned);
            let platform = Platform { architecture: architecture.into(), os: os.into(), variant };
            let digest = format!("{platform}");
            Descriptor { media_type: String::new(), digest, size: 1, platform: Some(platform), annotations: None }
        };
        let chosen = |all: &[Descriptor]| for_this_machine(all).map(|d| d.digest.clone());
        let (plain, own) = (of("linux", &architecture, None), format!("linux/{architecture}"));
        let greedy = of("linux", &architecture, Some("v9"));
        let other = of("linux", "pdp11", None);
        let windows = of("windows", &architecture, None);
        assert_eq!(chosen(&[windows.clone(), other.clone(), greedy.clone(), plain.clone()]), Ok(own.clone()));
        let mut unspoken = plain.clone();
        (unspoken.platform, unspoken.digest) = (None, "unspoken".into());
        assert_eq!(chosen(&[other.clone(), unspoken.clone()]), Ok("unspoken".into()));
        assert_eq!(chosen(&[unspoken, plain]), Ok(own));
        let why = chosen(&[other, windows]).unwrap_err();
        assert!(why.contains("there is linux/pdp11, windows/"), "{why}");
        assert!(chosen(&[greedy]).is_err());
    }

    #[test]
    fn digests_cannot_be_paths() {
        let hex = "a".repeat(64);
        assert_eq!(digest_hex(&format!("sha256:{hex}")).unwrap(), hex);
        for bad in ["", "sha256:", "sha256:../../etc", &format!("sha512:{hex}"), &format!("sha256:{}", "A".repeat(64))]
        {
            assert!(digest_hex(bad).is_err(), "{bad}");
        }
    }
}
