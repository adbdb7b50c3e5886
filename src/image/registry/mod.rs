//! The pulling half of the OCI distribution protocol (version 1.1), for registries that may be hostile.
//!
//! Every answer is bounded in bytes and time before it is looked at; digests and sizes are compared with what was asked for;
//! redirects are followed by hand, so that what authorizes us never leaves the endpoint it is meant for; nothing that
//! authorizes, no query of an address and no text of a registry is ever part of an error.
//!
//! | file | what |
//! |---|---|
//! | `endpoint` | which places are asked for an image, in which order |
//! | `transport` | one request on one connection |
//! | `trust` | certificates |
//! | `challenge`, `credentials`, `glob` | who we are: what a registry wants to know, and what docker's configuration has |
//! | `client` | manifests and blobs of one repository at one endpoint |
//! | `download` | one blob into a file, resumed where it broke off |

mod challenge;
mod client;
mod credentials;
mod download;
mod endpoint;
mod glob;
mod transport;
mod trust;

use std::fmt;
use std::io;

pub(super) use client::Client;
pub(super) use credentials::Credentials;
pub(super) use download::{Downloads, Wanted};
pub(super) use endpoint::endpoints;
pub(super) use trust::Trust;

/// What a failed request means for the pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The registry does not have it.
    Missing,
    /// The registry does not let us, or we cannot say who we are.
    Denied,
    /// Whoever answers has no certificate that says he is who he should be: a wrong configuration, or an attack. It
    /// is no way to be out of reach.
    Untrusted,
    /// Nobody answers, or the answer breaks off: it may work later.
    Unreachable,
    /// What came is not what was asked for.
    Wrong,
    /// More than is taken, or something that is never done.
    Refused,
    /// The disk.
    Local(io::ErrorKind),
}

/// A failed request, in one sentence without secrets.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }

    /// Something about a file of this machine.
    pub(super) fn local(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(Fault::Local(error.kind()), format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
