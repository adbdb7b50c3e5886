//! Tests of `manifest`.

mod reading;
mod schemas;
mod seed;
mod snapshot;

pub(crate) use snapshot::{read, snapshot};
