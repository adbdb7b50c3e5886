//! What a process of a container gives up last, before it becomes the container's program.

use std::io;

use rustix::thread as this;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::failure::doing;
use super::oci;
use crate::sys::seccomp::{self, Instruction};

fn capability_set(names: &[String]) -> CapabilitySet {
    let one =
        |name: &String| CapabilitySet::from_name(name.trim_start_matches("CAP_")).unwrap_or(CapabilitySet::empty());
    names.iter().map(one).fold(CapabilitySet::empty(), |all, one| all | one)
}

/// Loads the filter of system calls, and leaves this process the capabilities that the spec gives it. It has its user
/// already, and still holds every capability it may have: a filter takes CAP_SYS_ADMIN where the process may gain
/// privileges later, and where it may not, the filter need not allow what is done here.
///
/// # Errors
/// From the system, with what was being done: the process must not go on.
pub(super) fn confine(process: &oci::Process, filter: Option<&[Instruction]>) -> io::Result<()> {
    let load = || filter.map_or(Ok(()), |filter| doing("loading the seccomp filter", seccomp::load(filter)));
    let sealed = process.no_new_privileges;
    // Becoming another user than root took them out of effect.
    let held = doing("reading the capabilities", this::capabilities(None))?;
    let all = CapabilitySets { effective: held.permitted, ..held };
    doing("keeping the capabilities", this::set_capabilities(None, all))?;
    if !sealed {
        load()?;
    }
    reduce(process)?;
    if sealed { load() } else { Ok(()) }
}

fn reduce(process: &oci::Process) -> io::Result<()> {
    let wanted = process.capabilities.clone().unwrap_or_default();
    let bounding = capability_set(&wanted.bounding);
    // Those too that came after this program.
    let all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    for one in all.filter(|c| !bounding.contains(*c)) {
        match this::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel has no more.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return doing("dropping a capability", Err(error)),
        }
    }
    let sets = CapabilitySets {
        effective: capability_set(&wanted.effective),
        permitted: capability_set(&wanted.permitted),
        inheritable: capability_set(&wanted.inheritable),
    };
    doing("setting the capabilities", this::set_capabilities(None, sets))?;
    // A filter may answer for the kernel.
    let left = doing("reading the capabilities", this::capabilities(None))?;
    if (left.effective, left.permitted, left.inheritable) != (sets.effective, sets.permitted, sets.inheritable) {
        return doing("setting the capabilities", Err(io::Error::other("they are not those that were set")));
    }
    for one in capability_set(&wanted.ambient).iter() {
        doing("setting an ambient capability", this::configure_capability_in_ambient_set(one, true))?;
    }
    Ok(())
}
