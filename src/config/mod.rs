//! Floor 6: the configuration file. Strict: every problem at once, each with its place.
//!
//! [`Config`] is what a file says; `check` reads it out of the marked document and says what is wrong with it. The schema
//! under `schemas/` describes the same for editors; a test compares the two.

mod check;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::args::LogFormat;
use crate::manifest::read_document;
use crate::model::{
    Diagnostics, EvictionSignal, LimitRangeItem, PodSecurityLevel, PullSettings, Taint, ThresholdValue,
};
use crate::port::PortError;

/// The file that is read when none is named, if it is there.
pub const DEFAULT: &str = "/etc/podwright/config.yaml";
const OPERATION: &str = "read the configuration";

/// What a configuration file says. Everything left out is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub node_name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// `placement: fleet`.
    pub fleet: bool,
    /// What no pod of the machine may exceed.
    pub pod_security: Option<PodSecurityLevel>,
    /// Sysctls that pods may set besides the safe ones, with `*` at the end or not.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// The items of `limitRange.limits`, with the defaults that follow from their bounds.
    pub limit_range: Vec<LimitRangeItem>,
    /// Resource name → quantity.
    pub allocatable: BTreeMap<String, String>,
    pub subnet: Option<String>,
    /// A /64, or `none`.
    pub ipv6_subnet: Option<String>,
    pub allow_host_image: bool,
    pub covered_paths: Vec<PathBuf>,
    /// Bytes of one file of a container's log.
    pub container_log_max_size: Option<u64>,
    /// Files of a container's log that are kept.
    pub container_log_max_files: Option<u32>,
    /// Processes and threads of a pod.
    pub pod_pids_limit: Option<u32>,
    /// The first of the user ids that pods with `hostUsers: false` have.
    pub first_user_id: Option<u32>,
    /// Who issues the tokens of service accounts.
    pub service_account_issuer: Option<String>,
    /// What there is to be at least; `None` for a signal that is switched off. Without any nothing is looked at.
    pub eviction_hard: BTreeMap<EvictionSignal, Option<ThresholdValue>>,
    /// The kubelet's thresholds hold for signals that have none.
    pub merge_eviction: bool,
    /// How long a condition of the machine stays after its threshold was last met.
    pub eviction_transition: Option<Duration>,
    /// Zero switches the resync off.
    pub resync: Option<Duration>,
    pub status_file: Option<PathBuf>,
    pub log_format: Option<LogFormat>,
    pub pull: PullSettings,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PortError),
    /// What it says is wrong: all of it.
    Wrong(Diagnostics),
}

/// Loads the configuration: the named file, which must be there, or the default one if it is.
///
/// # Errors
/// When the file cannot be read or anything in it is wrong.
pub fn load(explicit: Option<&Path>) -> Result<Config, ConfigError> {
    let path = explicit.unwrap_or(Path::new(DEFAULT));
    match std::fs::read(path) {
        Ok(bytes) => parse(&path.display().to_string(), &bytes).map_err(ConfigError::Wrong),
        Err(e) if e.kind() == io::ErrorKind::NotFound && explicit.is_none() => Ok(Config::default()),
        Err(e) => Err(ConfigError::Unreadable(PortError::io(OPERATION, path.display().to_string(), &e))),
    }
}

/// Reads a configuration. `path` is what its diagnostics are called after. An empty file says nothing.
///
/// # Errors
/// Everything that is wrong with it, in order of place.
pub fn parse(path: &str, bytes: &[u8]) -> Result<Config, Diagnostics> {
    match read_document(path, bytes)? {
        Some(document) => check::config(&document),
        None => Ok(Config::default()),
    }
}
