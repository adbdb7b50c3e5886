//! Tests of `manifest`.

mod codes;
mod fixtures;
mod hostile;
mod outline;
mod pair;
mod reading;
mod references;
mod schemas;
mod seed;
mod snapshot;
mod support;

pub(crate) use snapshot::{read, snapshot};
