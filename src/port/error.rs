//! One error shape for all ports.

use std::fmt;

/// What a failure means for whoever called. Closed: retry, give up and waiting reason follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing does not exist (an image, a pod, a container).
    NotFound,
    /// The request cannot work as written: a pod field, a configuration value.
    Invalid,
    /// Something else holds it: a port, a lock, a subnet.
    Conflict,
    /// The kernel or the machine refuses: permission or a missing feature.
    Denied,
    /// No space, no memory, too many of something.
    Exhausted,
    /// Stored bytes are not what they should be.
    Corrupt,
    /// Passing trouble: try again.
    Unavailable,
    /// A programming error or something nobody foresaw.
    Internal,
}

/// Where a person finds out what the machine lacks.
pub const SEE_DOCTOR: &str = "`podwright doctor` says what this machine lacks";

/// A failed operation: what was attempted, on what, and why it failed.
#[derive(Clone, Debug)]
pub struct PortError {
    pub kind: ErrorKind,
    /// The operation, as a verb phrase: `start container`.
    pub operation: &'static str,
    /// What it was applied to: a pod, a path, an image; empty when the message names it.
    pub subject: String,
    /// The cause in one sentence.
    pub message: String,
    /// The way out, if one is known.
    pub help: Option<String>,
    /// The waiting reason of Kubernetes this failure stands for, if there is one: `ErrImagePull`, `CreateContainerError`.
    pub waiting_reason: Option<&'static str>,
}

impl PortError {
    /// A new error without help and waiting reason.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, operation, subject: subject.into(), message: message.into(), help: None, waiting_reason: None }
    }

    /// An error from the operating system, its kind taken from the error number.
    pub fn io(operation: &'static str, subject: impl Into<String>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => ErrorKind::Exhausted,
            Io::AlreadyExists | Io::AddrInUse | Io::ResourceBusy => ErrorKind::Conflict,
            Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
            Io::InvalidData | Io::UnexpectedEof => ErrorKind::Corrupt,
            Io::Interrupted | Io::TimedOut | Io::WouldBlock => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, operation, subject, error.to_string())
    }

    /// Adds the way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the way out, unless a more exact one is known already.
    #[must_use]
    pub fn or_help(self, help: &str) -> Self {
        if self.help.is_some() { self } else { self.with_help(help) }
    }

    /// Says where to look, in an error whose cause may be that the machine lacks something.
    #[must_use]
    pub fn see_doctor(mut self) -> Self {
        let help = match self.help.take() {
            Some(help) if help.contains("podwright doctor") => help,
            Some(help) => format!("{help}; {SEE_DOCTOR}"),
            None => SEE_DOCTOR.to_owned(),
        };
        self.with_help(help)
    }

    /// Adds the waiting reason.
    #[must_use]
    pub fn waiting(mut self, reason: &'static str) -> Self {
        self.waiting_reason = Some(reason);
        self
    }
}

impl fmt::Display for PortError {
    /// `cannot start container default/web/app: message; help`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.subject.is_empty() { "" } else { " " };
        write!(f, "cannot {}{space}{}: {}", self.operation, self.subject, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PortError {}
