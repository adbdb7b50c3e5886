//! Why a container could not be started, as one sentence for a person.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use crate::port::SEE_DOCTOR;

/// The sentence.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error with its causes; a cause that the text before it names already is left away.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Says what was being done when an error came.
pub(super) trait Step<T> {
    /// `making a mount namespace: Operation not permitted`
    fn step(self, doing: &str) -> Result<T, Failure>;
    /// The same of a step at which a machine fails that lacks something, with where to look.
    fn step_of_the_machine(self, doing: &str) -> Result<T, Failure>;
    /// `covering /etc/shadow: Permission denied`
    fn step_on(self, doing: &str, path: &Path) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> Step<T> for Result<T, E> {
    fn step(self, doing: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{doing}: {}", chain(&error))))
    }

    fn step_of_the_machine(self, doing: &str) -> Result<T, Failure> {
        self.step(doing).map_err(|Failure(text)| Failure(format!("{text}; {SEE_DOCTOR}")))
    }

    fn step_on(self, doing: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{doing} {}: {}", path.display(), chain(&error))))
    }
}

/// Says what was being done, and leaves the error one of the system.
pub(super) fn doing<T, E: Into<io::Error>>(what: &str, result: Result<T, E>) -> io::Result<T> {
    result.map_err(|error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    })
}
