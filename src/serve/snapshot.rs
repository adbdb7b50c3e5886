//! The last projection in a file: what `get` and `status` show when no agent answers.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Kind, Projection};
use crate::port::{ErrorKind, PortError};

/// No larger file is read.
const LARGEST: u64 = 256 << 20;

/// What was reported last. Pods only: no ConfigMap, no Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub api_version: String,
    pub kind: String,
    /// When it was written.
    pub reported_at: Timestamp,
    pub resource_version: u64,
    pub pods: Vec<Value>,
}

impl Snapshot {
    /// The pods of a projection.
    pub fn of(projection: &Projection, now: Timestamp) -> Self {
        let pods = projection.objects.iter().filter(|(key, _)| key.kind == Kind::Pod);
        Self {
            api_version: "podwright.dev/v1alpha1".into(),
            kind: "ProjectionSnapshot".into(),
            reported_at: now,
            resource_version: projection.resource_version,
            pods: pods.map(|(_, projected)| Arc::unwrap_or_clone(projected.value.once())).collect(),
        }
    }

    /// The pods as they must be shown now that nobody reports: STATUS Unknown unless they had ended for good.
    pub fn unknown_pods(&self) -> Vec<Pod> {
        let pods = self.pods.iter().filter_map(|value| serde_json::from_value(value.clone()).ok());
        pods.map(|pod: Pod| crate::report::as_unknown(&pod)).collect()
    }
}

/// Writes it in place of the file at `path`: readers see the old one or the new one, mode 0600. Not synced, to spare the
/// flash: a power cut may leave it without bytes.
#[cfg(target_os = "linux")]
pub fn save(path: &Path, snapshot: &Snapshot) -> Result<(), PortError> {
    let failed = |e: &std::io::Error| PortError::io("save the last report", path.display().to_string(), e);
    let bytes = serde_json::to_vec(snapshot).map_err(|e| failed(&e.into()))?;
    crate::sys::effect::replace_path_for_now(path, &bytes).map_err(|e| failed(&e))
}

/// Reads it; `None` when no agent ever reported here, or a power cut took what it said.
pub fn load(path: &Path) -> Result<Option<Snapshot>, PortError> {
    const OPERATION: &str = "read the last report";
    let subject = path.display().to_string();
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(PortError::io(OPERATION, subject, &e)),
    };
    if length > LARGEST {
        return Err(PortError::new(ErrorKind::Corrupt, OPERATION, subject, format!("{length} bytes are too many")));
    }
    let bytes = std::fs::read(path).map_err(|e| PortError::io(OPERATION, subject.clone(), &e))?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        PortError::new(ErrorKind::Corrupt, OPERATION, subject, e.to_string())
            .with_help("remove it; the agent writes it anew")
    })
}
