//! The native backend.

mod confined;
mod containers;
mod contract;
mod fixture;
mod life;
mod recovery;
mod spec;
mod user;
