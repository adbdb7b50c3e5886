//! Floor 3: the ports. What the control loop needs from the world, in plain values.
//!
//! Every trait here is object-safe, every error has a closed [`ErrorKind`], so that nothing decides a retry from a
//! text. A fake is a complete implementation of a port (`backend/fake`), not a mock.

mod backend;
mod error;
mod ledger;
mod source;
mod time;
mod tokens;

pub use backend::{
    Capabilities, ContainerBackend, HANDLER_BYTES, Hint, ImageStatus, PodBackend, memory_in_use, timed_out,
};
pub use error::{ErrorKind, PortError, SEE_DOCTOR};
pub use ledger::LedgerStore;
pub use source::{ReadError, Source, StatusSink};
pub use time::Clock;
pub use tokens::Tokens;
