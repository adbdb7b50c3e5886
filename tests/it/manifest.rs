//! Tests of `manifest`.

mod fixtures;
mod hostile;
mod reading;
mod references;
mod schemas;
mod seed;
mod snapshot;
mod support;

pub(crate) use snapshot::{read, snapshot};
