//! The built program, as a person runs it: hermetic, each test in a directory of its own.

mod create;
#[cfg(target_os = "linux")]
mod credentials;
mod demo;
mod diff;
#[cfg(target_os = "linux")]
mod doctor;
mod harness;
#[cfg(target_os = "linux")]
mod hostile;
mod images;
mod local;
mod look;
mod manifests;
#[cfg(target_os = "linux")]
mod nobody;
mod render;
mod usage;
mod validate;
