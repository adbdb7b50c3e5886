//! How commands end: the one place where an ending becomes an exit code.

use std::fmt;
use std::io;

use crate::config::ConfigError;
use crate::model::Diagnostics;
use crate::port::{ErrorKind, PortError, ReadError};
use crate::report;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Success,
    /// It could not do what it was asked.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// `diff` found differences.
    Differences,
    /// `diff --detailed-exitcode`: everything that differs changes in place or is new.
    Gentle,
    /// `diff --detailed-exitcode`: something is recreated or deleted.
    Disruptive,
    /// `diff` itself failed: its 1 is taken.
    DiffFailed,
    /// A demo that could not show everything on this machine.
    Incomplete,
    /// `--timeout` passed before everything was ready.
    NotReadyInTime,
    /// Nobody reads the output any more.
    BrokenPipe,
    /// Ctrl-C.
    Interrupted,
    /// `exec`: what the command in the container returned.
    Command(u8),
}

impl Ending {
    /// The exit code. 64 is sysexits' EX_USAGE, 77 its EX_NOPERM; 124 is what timeout(1) returns; 128 + n a signal's.
    pub fn code(self) -> u8 {
        match self {
            Ending::Success => 0,
            Ending::Failed | Ending::Differences => 1,
            Ending::Gentle | Ending::DiffFailed => 2,
            Ending::Disruptive => 3,
            Ending::Usage => 64,
            Ending::Incomplete => 77,
            Ending::NotReadyInTime => 124,
            Ending::Interrupted => 130,
            Ending::BrokenPipe => 141,
            Ending::Command(code) => code,
        }
    }
}

/// What is printed when a command fails.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Words {
    /// `error: message`, and a line per way out.
    Sentence {
        message: String,
        hints: Vec<String>,
    },
    /// As it is, with its own layout: diagnostics, or what kubectl would print.
    Verbatim(String),
    Nothing,
}

/// A command's failure: how it ends and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    pub ending: Ending,
    words: Words,
}

impl CliError {
    /// One sentence with the place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { ending: Ending::Failed, words: Words::Sentence { message: message.into(), hints: Vec::new() } }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).ending(Ending::Usage)
    }

    /// A text with a layout of its own.
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self { ending: Ending::Failed, words: Words::Verbatim(text.into()) }
    }

    /// An ending without words.
    pub fn silent(ending: Ending) -> Self {
        Self { ending, words: Words::Nothing }
    }

    /// Manifests that were refused.
    pub fn refused(diagnostics: &Diagnostics) -> Self {
        Self::verbatim(report::diagnostics_text(diagnostics))
    }

    /// An object that is not there, in kubectl's words.
    pub fn not_found(plural: &str, name: &str) -> Self {
        Self::verbatim(format!("Error from server (NotFound): {plural} \"{name}\" not found\n"))
    }

    /// Another ending for the same words.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Words::Sentence { hints, .. } = &mut self.words {
            hints.push(hint.into());
        }
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Words::Sentence { message, hints } => {
                writeln!(f, "error: {message}")?;
                hints.iter().try_for_each(|hint| writeln!(f, "  help: {hint}"))
            }
            Words::Verbatim(text) => f.write_str(text),
            Words::Nothing => Ok(()),
        }
    }
}

impl From<PortError> for CliError {
    fn from(error: PortError) -> Self {
        let sentence = format!("cannot {} {}: {}", error.operation, error.subject, error.message);
        match (error.help, error.kind) {
            (Some(help), _) => CliError::new(sentence).hint(help),
            (None, ErrorKind::Denied) => CliError::new(sentence).hint("run it as root"),
            (None, _) => CliError::new(sentence),
        }
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Rejected(diagnostics) => CliError::refused(&diagnostics),
            ReadError::Failed(error) => error.into(),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Unreadable(error) => error.into(),
            ConfigError::Wrong(diagnostics) => CliError::refused(&diagnostics),
        }
    }
}

impl From<io::Error> for CliError {
    /// For writing output only; every other operation names its subject.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::silent(Ending::BrokenPipe),
            _ => CliError::new(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_the_exit_code_the_documentation_names() {
        let codes = [
            (Ending::Success, 0),
            (Ending::Failed, 1),
            (Ending::Usage, 64),
            (Ending::Differences, 1),
            (Ending::Gentle, 2),
            (Ending::Disruptive, 3),
            (Ending::DiffFailed, 2),
            (Ending::Incomplete, 77),
            (Ending::NotReadyInTime, 124),
            (Ending::BrokenPipe, 141),
            (Ending::Interrupted, 130),
            (Ending::Command(7), 7),
        ];
        for (ending, code) in codes {
            assert_eq!(ending.code(), code, "{ending:?}");
        }
    }

    #[test]
    fn a_port_error_reads_as_a_sentence_and_a_way_out() {
        let error = PortError::new(ErrorKind::Denied, "create", "/x", "permission denied").with_help("run it as root");
        assert_eq!(
            CliError::from(error).to_string(),
            "error: cannot create /x: permission denied\n  help: run it as root\n"
        );
    }

    #[test]
    fn what_is_denied_always_has_a_way_out() {
        let error = PortError::new(ErrorKind::Denied, "read", "/x", "permission denied");
        assert!(CliError::from(error).to_string().ends_with("\n  help: run it as root\n"));
    }

    #[test]
    fn a_closed_pipe_says_nothing() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.to_string().as_str(), error.ending), ("", Ending::BrokenPipe));
    }
}
