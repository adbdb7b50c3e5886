//! The infra process, the shim, the monitor and exec, on this machine's own root file system. Root needed.

mod attacks;
mod exec;
mod fixture;
mod infra;
mod log;
mod seccomp;
mod start;
