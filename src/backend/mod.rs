//! Floor 4: what runs pods.

pub mod fake;

mod ledger;
pub mod native;
mod tokens;

pub use ledger::LedgerFile;
pub use tokens::Keys;
