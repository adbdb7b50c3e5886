//! Tests of `admit`.

mod admitter;
mod bounds;
mod build;
mod limits;
mod merge;
mod origin;
pub(crate) mod placement;
mod property;
mod security;
mod seed;
mod upstream;

pub(crate) use build::{admitted, desired, pod_of, read, without_tokens};
