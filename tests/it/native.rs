//! The native backend.

mod spec;
mod user;
