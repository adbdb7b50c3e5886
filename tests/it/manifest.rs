//! Tests of `manifest`.

mod codes;
mod data;
mod fixtures;
pub(crate) mod hostile;
mod local;
mod outline;
mod pair;
mod reading;
mod readme;
mod references;
mod scalars;
mod schemas;
mod seed;
mod snapshot;
mod support;
mod survey;

pub(crate) use snapshot::{read, snapshot};
