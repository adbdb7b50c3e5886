//! Floor 2: reading manifests. Bytes become `Desired`: objects with places, and every problem at once.
//!
//! Per file, and only when its bytes are new: [`text`] decodes, [`yaml`] builds the marked tree, [`document`] finds the
//! objects in it, [`object`] checks each against its schema ([`schema`]), the rules on top ([`rules`]) and what this
//! version honours ([`support`]), and draws the [`facts`] that others depend on. Then, over all files: [`cross`] compares
//! the facts, [`check`] puts every problem together. [`reader`] keeps what was read for the next round, [`survey`] only
//! what it is asked to. A problem is a
//! [`problem::Finding`] at a JSON pointer first, a [`problem::Problem`] at a line and column then, and a diagnostic at last.

mod base64;
mod check;
mod cross;
mod document;
mod facts;
mod file;
mod json;
mod limits;
mod lines;
mod marked;
mod object;
pub mod outline;
mod problem;
mod reach;
mod reader;
mod rules;
mod schema;
mod secret;
pub mod support;
mod survey;
mod text;
mod yaml;

pub use lines::show_lines;
pub use marked::{MarkedDocument, read_document};
pub use reader::Reader;
pub use survey::{Keeps, survey};

use crate::model::Kind;

/// Makes the tables that the first object of a kind is checked by, for whoever knows that there will be one and has nothing
/// else to do.
pub fn prepare(kind: Kind) {
    schema::prepare(kind);
    support::prepare(kind);
}

/// Whether a text may be a key of a ConfigMap or Secret.
///
/// # Errors
/// The rest of a sentence after `must`.
pub fn data_key(text: &str) -> Result<(), &'static str> {
    rules::names::data_key(text)
}
