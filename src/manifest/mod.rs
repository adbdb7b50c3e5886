//! Floor 2: reading manifests. Bytes become `Desired`: objects with places, and every problem at once.
//!
//! Per file, and only when its bytes are new: [`text`] decodes, [`yaml`] builds the marked tree, [`document`] finds the
//! objects in it, [`object`] checks each against its schema ([`schema`]), the rules on top ([`rules`]) and what this
//! version honours ([`support`]). Then, over all files: [`cross`] compares objects with each other. [`reader`] puts it
//! together. A problem is a [`problem::Finding`] at a JSON pointer first, a [`problem::Problem`] at a line and column
//! then, and a diagnostic at last.

mod cross;
mod document;
mod facts;
mod file;
mod json;
mod limits;
mod marked;
mod object;
mod problem;
mod reader;
mod rules;
mod schema;
mod secret;
pub mod support;
mod text;
mod yaml;

pub use marked::{MarkedDocument, read_document};
pub use reader::Reader;
