//! The health of a gRPC server.

use std::net::IpAddr;

use super::OPERATION;
use crate::model::{HandlerAnswer, HandlerCall};
use crate::port::{ErrorKind, PortError};

/// Asks `grpc.health.v1.Health/Check` of a service.
pub(super) async fn call(
    address: IpAddr,
    port: u16,
    service: &str,
    call: &HandlerCall,
) -> Result<HandlerAnswer, PortError> {
    let message = format!("grpc handlers are not supported yet ({address}:{port}, service {service:?})");
    Err(PortError::new(ErrorKind::Invalid, OPERATION, call.container.clone(), message))
}
