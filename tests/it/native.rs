//! The native backend.

mod confined;
mod containers;
mod contract;
mod crash;
mod fixture;
mod life;
mod logs;
mod pulling;
mod recovery;
mod spec;
mod user;
