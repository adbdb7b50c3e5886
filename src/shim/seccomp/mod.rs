//! Which system calls a container may make.
//!
//! The filter is named by an annotation of the OCI spec, so that a command that is run in the container later gets the same
//! one: the spec is all that is kept of a container's start.

mod filter;
mod numbers;
mod profile;

use super::oci;
use crate::sys::seccomp::Instruction;

/// The annotation that names the filter.
pub const ANNOTATION: &str = "podwright.dev/seccomp";
const RUNTIME_DEFAULT: &str = "RuntimeDefault";
const UNCONFINED: &str = "Unconfined";

/// The program of the filter that a spec asks for; `None` for none.
///
/// # Errors
/// For a filter that this program does not know: a container never runs with less than it was given.
pub(super) fn program(spec: &oci::Spec) -> Result<Option<Vec<Instruction>>, String> {
    let named = spec.annotations().as_ref().and_then(|a| a.get(ANNOTATION)).map(String::as_str);
    match named {
        None | Some(UNCONFINED) => Ok(None),
        Some(RUNTIME_DEFAULT) => {
            let bounding = spec.process().as_ref().and_then(|p| p.capabilities().as_ref()?.bounding().clone());
            let names: Vec<String> = bounding.iter().flatten().map(ToString::to_string).collect();
            let has = |name: &str| names.iter().any(|n| n.trim_start_matches("CAP_") == name);
            Ok(Some(filter::compile(&profile::runtime_default(has))))
        }
        Some(other) => Err(format!("the seccomp profile {other:?} is not known")),
    }
}
