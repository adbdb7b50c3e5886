//! Which system calls a container may make.
//!
//! The filter is named by an annotation of the OCI spec, so that a command that is run in the container later gets the same
//! one: the spec is all that is kept of a container's start.

mod filter;
mod local;
mod numbers;
mod profile;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::oci;
use crate::sys::seccomp::Instruction;

/// The annotation that names the filter, or holds a profile of one's own.
pub const ANNOTATION: &str = "podwright.dev/seccomp";
const RUNTIME_DEFAULT: &str = "RuntimeDefault";
const UNCONFINED: &str = "Unconfined";
/// What the kernel takes.
const MAX_INSTRUCTIONS: usize = 4096;

/// That of the containers that name no capabilities, once it is made.
static USUAL: OnceLock<Vec<Instruction>> = OnceLock::new();

/// Of the capabilities that the profile asks for, the one that containers have unless they say otherwise.
fn is_usual(capability: &str) -> bool {
    capability == "SYS_CHROOT"
}

/// Makes the filter that most containers have. Processes that are forked afterwards need not make it again.
pub(super) fn prepare() {
    USUAL.get_or_init(|| filter::compile(&profile::runtime_default(is_usual)));
}

/// The program of the filter that a spec asks for; `None` for none.
///
/// # Errors
/// For a filter that this program does not know: a container never runs with less than it was given.
pub(super) fn program(
    annotations: &BTreeMap<String, String>,
    process: &oci::Process,
) -> Result<Option<Vec<Instruction>>, String> {
    let named = annotations.get(ANNOTATION).map(String::as_str);
    match named {
        None | Some(UNCONFINED) => Ok(None),
        Some(RUNTIME_DEFAULT) => {
            let bounding = process.capabilities.as_ref().map(|sets| sets.bounding.as_slice()).unwrap_or_default();
            let has = |name: &str| bounding.iter().any(|n| n.trim_start_matches("CAP_") == name);
            let ready = USUAL.get().filter(|_| profile::differing(has).eq(profile::differing(is_usual)));
            Ok(Some(ready.cloned().unwrap_or_else(|| filter::compile(&profile::runtime_default(has)))))
        }
        Some(document) if document.starts_with('{') => own(document).map(Some),
        Some(other) => Err(format!("the seccomp profile {other:?} is not known")),
    }
}

fn own(document: &str) -> Result<Vec<Instruction>, String> {
    let program = filter::compile(&local::Document::read(document)?.filter()?);
    match program.len() {
        0..=MAX_INSTRUCTIONS => Ok(program),
        _ => Err("the seccomp profile makes a larger filter than the kernel takes".to_owned()),
    }
}

/// Reads a profile of one's own, in the form of the OCI runtime specification, and gives it as the annotation has it.
///
/// # Errors
/// With everything in it that could not be done as it says.
pub fn check(document: &str) -> Result<String, String> {
    let document = document.trim();
    if !document.starts_with('{') {
        return Err("the seccomp profile cannot be read: it is no JSON object".to_owned());
    }
    own(document).map(|_| document.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter of a container with these capabilities.
    fn of(capabilities: &[&str]) -> Vec<(u16, u8, u8, u32)> {
        let bounding: Vec<String> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
        let process = serde_json::json!({
            "user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/", "capabilities": {"bounding": bounding},
        });
        let process = serde_json::from_value(process).unwrap();
        let annotations = BTreeMap::from([(ANNOTATION.to_owned(), RUNTIME_DEFAULT.to_owned())]);
        let program = program(&annotations, &process).unwrap().unwrap();
        program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()
    }

    #[test]
    fn what_is_made_before_is_for_those_with_the_same_capabilities() {
        let lists: [&[&str]; 4] = [&["CHOWN", "SYS_CHROOT"], &[], &["SYS_CHROOT", "SYS_ADMIN"], &["SYS_CHROOT", "BPF"]];
        let before = lists.map(of);
        prepare();
        assert!(lists.map(of) == before);
        assert!(before[1..].iter().all(|other| *other != before[0]));
    }
}
