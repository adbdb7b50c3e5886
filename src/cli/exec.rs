//! `exec`: a command in a running container. Needs no agent and no runtime: this process joins the container itself,
//! which only a process with a single thread can do.

use std::io::{self, IsTerminal};

use super::args::ExecArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::running::{self, Wanted};
use super::{container, printer};
use crate::model::PodKey;
use crate::shim::{self, ExecRequest};

/// Runs `exec`; the exit code is the command's.
pub fn run(args: &ExecArgs, layout: &Layout) -> Result<Ending, CliError> {
    // Before a word is said: what starts again says it again.
    shim::prepare_exec()?;
    let found = running::find(
        layout,
        &Wanted {
            pod: PodKey::new(&args.namespace.namespace, container::pod_name(&args.pod)),
            container: args.container.as_deref(),
            quiet: args.quiet,
            refusal: "cannot exec into a container in",
            unknown: container::unknown_to_server,
        },
    )?;
    let terminal = Terminal::of(args.stdin, args.tty, io::stdin().is_terminal());
    if !args.quiet {
        terminal.note.into_iter().for_each(printer::note);
    }
    let request = ExecRequest {
        instance_dir: found.instance.dir.clone(),
        command: args.command.clone(),
        stdin: args.stdin,
        tty: terminal.tty,
    };
    let code = shim::exec(&request).map_err(|error| found.failed(error))?;
    if code != 0 {
        printer::note(&format!("command terminated with exit code {code}"));
    }
    Ok(Ending::Command(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Whether the command gets a terminal, decided as kubectl does: only when there is one to pass on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    pub(super) tty: bool,
    /// What kubectl says when a terminal was asked for and cannot be.
    pub(super) note: Option<&'static str>,
}

impl Terminal {
    pub(super) fn of(stdin: bool, tty: bool, is_terminal: bool) -> Self {
        let note = match (tty, stdin, is_terminal) {
            (true, true, false) => Some("Unable to use a TTY - input is not a terminal or the right kind of file"),
            (true, false, _) => Some("Unable to use a TTY - standard input is not passed on; add -i"),
            _ => None,
        };
        Self { tty: tty && note.is_none(), note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gets_a_terminal_when_there_is_one_to_pass_on() {
        for (stdin, tty, is_terminal, expected, words) in [
            (true, true, true, true, ""),
            (true, true, false, false, "input is not a terminal"),
            (false, true, true, false, "add -i"),
            (false, true, false, false, "add -i"),
            (true, false, true, false, ""),
            (false, false, true, false, ""),
        ] {
            let terminal = Terminal::of(stdin, tty, is_terminal);
            assert_eq!(terminal.tty, expected, "{stdin} {tty} {is_terminal}");
            assert!(terminal.note.unwrap_or_default().contains(words) && (terminal.note.is_some() != words.is_empty()));
        }
    }
}
