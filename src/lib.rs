//! podwright keeps the pods of a Linux machine equal to a directory of Kubernetes manifests in git.

// Floor 1: plain values.
pub mod model;

// Floor 2: pure stages. They know the model and nothing of each other.
pub mod admit;
pub mod manifest;
pub mod plan;
pub mod report;

// Floor 3: ports.
pub mod port;

// Floor 4: adapters. Effects live here; `unsafe` in `sys` alone.
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod backend;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod image;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod net;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod shim;
#[allow(clippy::disallowed_methods)]
pub mod source;
#[allow(unsafe_code, clippy::disallowed_methods)]
pub mod sys;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod volume;

// Floor 5: the control loop, over ports only.
pub mod control;

// Floor 6: where adapters are opened and people come in.
#[allow(clippy::disallowed_methods)]
pub mod cli;
#[allow(clippy::disallowed_methods)]
pub mod config;
#[allow(clippy::disallowed_methods)]
pub mod serve;
