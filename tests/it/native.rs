//! The native backend.

mod containers;
mod contract;
mod fixture;
mod life;
mod recovery;
mod spec;
mod user;
