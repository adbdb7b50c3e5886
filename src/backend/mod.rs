//! Floor 4: what runs pods.

mod ledger;

pub use ledger::LedgerFile;
