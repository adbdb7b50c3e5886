//! Tests of `control` over the fake backend, on paused time: a minute costs nothing.

mod commits;
mod crash;
mod data;
mod eviction;
mod failures;
mod hooks;
mod kubelet;
mod ledger;
mod life;
mod placement;
mod pressure;
mod probes;
mod real;
mod resize;
mod retold;
pub(crate) mod rig;
mod room;
mod security;
mod simulation;
mod stale;
mod status;
mod tokens;
