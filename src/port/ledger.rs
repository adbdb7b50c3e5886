//! What must survive a restart of the agent.

use async_trait::async_trait;

use super::PortError;
use crate::model::Durable;

/// The durable ledger of one root.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// What was saved last; the default when nothing ever was. Of a ledger that a later program wrote nothing but the place
    /// where the next save keeps it.
    async fn load(&self) -> Result<Durable, PortError>;

    /// Replaces it. When this returns `Ok` the value survives a power cut.
    async fn save(&self, durable: &Durable) -> Result<(), PortError>;
}
