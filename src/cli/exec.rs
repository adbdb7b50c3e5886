//! `exec`: a command in a running container. Needs no agent and no runtime: this process joins the container itself,
//! which only a process with a single thread can do.

use super::args::ExecArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::{container, records};
use crate::model::PodKey;
use crate::port::ErrorKind;
use crate::shim::{self, ExecRequest};

/// Runs `exec`; the exit code is the command's.
pub fn run(args: &ExecArgs, layout: &Layout) -> Result<Ending, CliError> {
    let name = container::pod_name(&args.pod);
    let record = records::pod(layout, &PodKey::new(&args.namespace.namespace, name))?;
    if let Some(phase) = &record.terminal {
        let text = format!("cannot exec into a container in a completed pod; current phase is {phase}");
        return Err(CliError::new(text));
    }
    let container = container::choose(&record.realised.effective.open(), args.container.as_deref())?;
    let not_running = |why: &str| {
        CliError::new(format!("container {container} of pod {name} does not run: {why}"))
            .hint(format!("`podwright describe pod {name}` tells more"))
    };
    let Some(instance) = records::instances(layout, &record.uid, &container)?.pop() else {
        return Err(not_running("it was not started yet"));
    };
    if let Some(exit) = instance.exit() {
        return Err(not_running(&format!("it ended with exit code {}", exit.exit_code)));
    }
    let request =
        ExecRequest { instance_dir: instance.dir, command: args.command.clone(), stdin: args.stdin, tty: args.tty };
    match shim::exec(&request) {
        Ok(code) => Ok(Ending::Command(u8::try_from(code).unwrap_or(u8::MAX))),
        Err(error) if error.kind == ErrorKind::NotFound => Err(not_running(&error.message)),
        Err(error) => Err(error.into()),
    }
}
