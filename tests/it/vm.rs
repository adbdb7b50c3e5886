//! podwright in a virtual machine: on a kernel with version 2 of cgroups alone, and with power that can be cut.

mod booted;
mod cgroups;
mod disk;
pub mod kept;
mod log;
mod machine;
mod power;
