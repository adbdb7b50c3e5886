//! Floor 2: admission. Presets and defaults make `Admitted` out of `Desired`.

use crate::model::{Admitted, DataObjects, Desired, Diagnostics};

/// Admits a whole revision. `Err` holds every diagnostic when the revision has an error or admission finds one.
pub fn admit(desired: &Desired) -> Result<Admitted, Diagnostics> {
    if desired.diagnostics.has_errors() {
        return Err(desired.diagnostics.clone());
    }
    Ok(Admitted {
        revision: desired.revision.clone(),
        pods: std::collections::BTreeMap::new(),
        data: std::sync::Arc::new(DataObjects::default()),
        objects: std::collections::BTreeMap::new(),
        diagnostics: desired.diagnostics.clone(),
    })
}
