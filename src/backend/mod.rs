//! Floor 4: what runs pods.

pub mod fake;

mod ledger;

pub use ledger::LedgerFile;
