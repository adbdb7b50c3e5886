//! The built program, as a person runs it: hermetic, each test in a directory of its own.

mod create;
mod demo;
mod diff;
mod harness;
mod images;
mod look;
mod manifests;
mod render;
mod usage;
mod validate;
