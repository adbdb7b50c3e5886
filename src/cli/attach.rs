//! `attach`: the streams of a container's own process. They are its monitor's, so no agent is needed.

use std::io::{self, IsTerminal};

use super::args::AttachArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::running::{self, Wanted};
use super::{container, printer};
use crate::model::PodKey;
use crate::shim::{self, AttachEnd, AttachRequest, DetachKeys};

/// What kubectl says before a session.
const RECORDED: &str = "All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt.";
const PROMPT: &str = "If you don't see a command prompt, try pressing enter.";

/// Runs `attach` until the container ends or the caller leaves.
pub fn run(args: &AttachArgs, layout: &Layout) -> Result<Ending, CliError> {
    let detach_keys = DetachKeys::parse(&args.detach_keys)
        .map_err(|e| CliError::usage(format!("could not bind detach keys: {e}")))?;
    let wanted = Wanted {
        pod: PodKey::new(&args.namespace.namespace, container::pod_name(&args.pod)),
        container: args.container.as_deref(),
        quiet: args.quiet,
        refusal: "cannot attach a container in",
        unknown: container::unknown_to_attach,
    };
    let found = running::find(layout, &wanted)?;
    let session = shim::attach(&found.instance.dir).map_err(|error| found.failed(error))?;
    let name = &found.container;
    let streams = Streams {
        stdin: args.stdin,
        tty: args.tty,
        is_terminal: io::stdin().is_terminal(),
        has_terminal: session.has_terminal(),
        takes_input: session.takes_input(),
    };
    if !args.quiet {
        streams.notes(name).iter().for_each(|note| printer::note(note));
        printer::note(RECORDED);
        printer::note(PROMPT);
    }
    let raw = streams.raw();
    let end = session.run(&AttachRequest { stdin: args.stdin, raw, detach_keys })?;
    if raw && !args.quiet && matches!(end, AttachEnd::Ended | AttachEnd::Detached) {
        let PodKey { namespace, name: pod } = &wanted.pod;
        let again = format!("podwright attach {pod} -c {name} -n {namespace} -i -t");
        printer::out(&format!("Session ended, resume using '{again}' command\n"))?;
    }
    match end {
        AttachEnd::Ended | AttachEnd::Detached => Ok(Ending::Success),
        AttachEnd::Signal(signal) => Ok(Ending::Command(u8::try_from(128 + signal).unwrap_or(u8::MAX))),
        AttachEnd::OutputClosed => Err(CliError::silent(Ending::BrokenPipe)),
        AttachEnd::Cut => {
            let text = format!("the session with container {name} was cut: its output was not taken for too long");
            let PodKey { namespace, name: pod } = &wanted.pod;
            let log = format!("podwright logs {pod} -c {name} -n {namespace}");
            Err(CliError::new(text).hint(format!("the container runs on, and its log has everything: `{log}`")))
        }
    }
}

/// What is there to be passed on, on both sides.
#[derive(Clone, Copy, Debug)]
struct Streams {
    stdin: bool,
    tty: bool,
    is_terminal: bool,
    has_terminal: bool,
    takes_input: bool,
}

impl Streams {
    /// Whether the caller's terminal becomes the container's: as with kubectl whenever both are there, also without `-t`.
    fn raw(self) -> bool {
        self.stdin && self.is_terminal && self.has_terminal
    }

    /// What was asked for and cannot be; in kubectl's words where it has some.
    fn notes(self, container: &str) -> Vec<String> {
        let no_terminal = format!("error: Unable to use a TTY - container {container} did not allocate one");
        let no_caller = "Unable to use a TTY - input is not a terminal or the right kind of file".to_owned();
        let no_input = format!(
            "Unable to use standard input - container {container} takes none: `stdin: true` is not in its manifest, or \
             `stdinOnce` has ended it"
        );
        let notes = [
            (self.tty && !self.has_terminal, no_terminal),
            (self.stdin && self.has_terminal && !self.is_terminal, no_caller),
            (self.stdin && !self.takes_input, no_input),
        ];
        notes.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_passed_on_when_both_sides_have_one() {
        for (flags, is_terminal, container, raw, words) in [
            ("it", true, "it", true, &[][..]),
            ("i", true, "it", true, &[]),
            ("i", true, "i", false, &[]),
            ("it", true, "i", false, &["error: Unable to use a TTY - container c did not allocate one"]),
            ("it", false, "it", false, &["Unable to use a TTY - input is not a terminal"]),
            ("i", false, "it", false, &["Unable to use a TTY - input is not a terminal"]),
            ("it", true, "t", true, &["Unable to use standard input - container c takes none"]),
            ("it", true, "", false, &["did not allocate one", "Unable to use standard input"]),
            ("", true, "it", false, &[]),
            ("t", true, "it", false, &[]),
            ("", false, "", false, &[]),
        ] {
            let streams = Streams {
                stdin: flags.contains('i'),
                tty: flags.contains('t'),
                is_terminal,
                has_terminal: container.contains('t'),
                takes_input: container.contains('i'),
            };
            assert_eq!(streams.raw(), raw, "{streams:?}");
            let notes = streams.notes("c");
            assert_eq!(notes.len(), words.len(), "{streams:?}: {notes:?}");
            assert!(notes.iter().zip(words).all(|(note, word)| note.contains(word)), "{notes:?}");
        }
    }
}
