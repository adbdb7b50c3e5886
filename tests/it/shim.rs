//! The infra process, the shim, the monitor, exec and attach, on this machine's own root file system. Root needed.

mod attach;
pub mod attacks;
mod entry;
mod exec;
mod fixture;
mod infra;
mod log;
mod seccomp;
mod start;
