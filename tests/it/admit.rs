//! Tests of `admit`.

mod build;
mod merge;
mod property;
mod seed;

pub(crate) use build::{admitted, desired, pod_of};
