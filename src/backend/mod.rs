//! Floor 4: what runs pods.

pub mod fake;

mod ledger;
pub mod native;

pub use ledger::LedgerFile;
