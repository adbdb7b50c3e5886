//! End to end: the real binary, the real native runtime, as root, each test on a root and a network of its own.

mod adoption;
mod agent;
mod alone;
mod attach;
mod bad_input;
mod commands;
mod cp;
mod crash;
mod deaths;
mod eviction;
mod fields;
mod forgetful;
mod forgets;
mod forward;
pub mod fsync;
pub mod harness;
mod images;
mod ipv6;
mod phases;
pub mod picture;
mod pods;
mod probes;
mod readme;
mod seed;
mod strace;
mod users;
mod watching;
