//! The native backend.

mod confined;
mod containers;
mod contract;
mod fixture;
mod life;
mod logs;
mod pulling;
mod recovery;
mod spec;
mod user;
