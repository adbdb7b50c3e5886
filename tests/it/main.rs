//! The one integration test binary. Each file of this folder is a module here; `tidy` checks that none is forgotten.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod admit;
#[cfg(target_os = "linux")]
mod attacks;
mod cli;
mod config;
#[cfg(target_os = "linux")]
mod contract;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod dice;
#[cfg(target_os = "linux")]
mod e2e;
#[cfg(target_os = "linux")]
mod forge;
#[cfg(target_os = "linux")]
mod image;
mod manifest;
#[cfg(target_os = "linux")]
mod native;
#[cfg(target_os = "linux")]
mod net;
mod plan;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod points;
#[cfg(target_os = "linux")]
mod readers;
mod report;
mod serve;
#[cfg(target_os = "linux")]
mod shim;
mod source;
#[cfg(target_os = "linux")]
#[allow(dead_code)]
mod support;
mod tidy;
#[cfg(target_os = "linux")]
mod vm;
#[cfg(target_os = "linux")]
mod volume;
