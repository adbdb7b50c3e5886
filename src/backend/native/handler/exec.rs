//! A command in the container.

use std::sync::Arc;
use std::time::Duration;

use super::super::Inner;
use super::super::end::subject;
use super::super::paths::InstanceName;
use super::{OPERATION, answer, failure};
use crate::model::{HandlerAnswer, HandlerOutcome};
use crate::port::{ErrorKind, HANDLER_BYTES, PortError, timed_out};
use crate::shim::{self, Ran, RunRequest};

/// Runs it as the container's user, in its cgroup. One that cannot be executed, since there is no such program or the container
/// has no room for another process, is no answer: so have it the runtimes that the kubelet calls.
pub(super) async fn call(
    inner: &Arc<Inner>,
    name: &InstanceName,
    command: &[String],
    timeout: Duration,
) -> Result<HandlerAnswer, PortError> {
    let request = RunRequest {
        instance_dir: inner.paths.instance_dir(name),
        command: command.to_vec(),
        timeout,
        output_limit: HANDLER_BYTES,
    };
    match shim::run(&inner.exe, &request).await {
        Ok(Ran::Ended { code, output }) => {
            let outcome = if code == 0 { HandlerOutcome::Success } else { HandlerOutcome::Failure };
            Ok(answer(outcome, String::from_utf8_lossy(&output)))
        }
        Ok(Ran::NotBegun { why }) => Err(PortError::new(ErrorKind::Unavailable, OPERATION, subject(name), why)),
        Ok(Ran::Late) => Ok(failure(timed_out(command))),
        Err(error) => Err(PortError { operation: OPERATION, subject: subject(name), ..error }),
    }
}
