//! The native backend.

mod changes;
mod confined;
mod containers;
mod contract;
mod crash;
pub mod fixture;
mod formats;
mod handlers;
mod image_volumes;
mod lacks;
mod levels;
mod life;
mod logs;
mod monitor;
mod proc;
mod pulling;
mod recovery;
mod refused;
mod sight;
mod spec;
mod user;
mod users;
mod volumes;
