//! Whether a port takes connections.

use std::time::Duration;

use tokio::time::timeout;

use super::{answer, dial, dial_failure, failure, joined};
use crate::model::{HandlerAnswer, HandlerOutcome};

/// Connects, and nothing more (pkg/probe/tcp of Kubernetes).
pub(super) async fn call(host: &str, port: u16, patience: Duration) -> HandlerAnswer {
    match timeout(patience, dial(host, port)).await {
        Ok(Ok(_)) => answer(HandlerOutcome::Success, ""),
        Ok(Err(error)) => failure(dial_failure(host, port, &error)),
        Err(_) => failure(format!("dial tcp {}: i/o timeout", joined(host, port))),
    }
}
