//! podwright keeps the pods of a Linux machine equal to a directory of Kubernetes manifests in git.
//!
//! This page is the architecture. One value flows through six floors, in one direction:
//!
//! ```text
//! git commit ─▶ Snapshot ─▶ Desired ─▶ Admitted ─▶ FleetPlan ─▶ PodPlan ─▶ running pods ─▶ StatusDocument
//!     source       │    manifest   admit       plan        plan       backend        report
//!                  └ bytes of one revision        └ compared with ObservedPod, from the world itself
//! ```
//!
//! | floor | modules | what is there | may import |
//! |---|---|---|---|
//! | 1 | [`model`] | the plain values that travel | nothing of ours |
//! | 2 | [`manifest`], [`admit`], [`plan`], [`report`] | the stages: pure functions over the model | `model` |
//! | 3 | [`port`] | what the loop needs from the world, as traits | `model` |
//! | 4 | `sys`, `shim`, `image`, `volume`, `net`, [`source`], `backend` | the adapters: all effects | `model`, `port`, `sys` |
//! | 5 | [`control`] | the loop and the workers, over ports only | 1 to 3 |
//! | 6 | [`serve`], [`config`], [`cli`] | the API, the settings, the commands: where adapters are opened | all |
//!
//! Stages are siblings that do not know each other: a star around the model, not a stack. `validate`, `render`, `diff` and
//! `run` are one path cut at different points; there is no second code path for the dry run.
//!
//! # Who does what while the agent runs
//!
//! - [`source::Watch`] turns file system events into hints. A hint only wakes the loop; the loop reads the revision anew.
//! - [`control::run`] is the one loop: hints and the resync in; for each round it reads, admits, plans the fleet, hands
//!   targets to the backend, and publishes projection and status.
//! - [`control::Kubelet`] has one worker per pod: observe, plan, perform the steps, observe again, until a plan has no
//!   steps; then wait for `wake_at`, a hint or a new target. Decisions are in [`plan`], none in a worker.
//! - `backend::native` performs: records on disk, namespaces, images, volumes, addresses. Each container has a process of
//!   its own (`shim`), outside the agent's session and cgroup, that outlives the agent and writes how the container ended.
//! - [`serve`] answers Kubernetes REST on a UNIX socket from the published projection; our own commands are its clients.
//!
//! # Rules that hold everywhere
//!
//! - An invalid revision changes nothing: the last valid one stays and is still healed.
//! - Observation is a full relist of a pod; an event is a hint that may be lost.
//! - Everything the agent must remember is on disk before the action that depends on it; status is never an input.
//! - `unsafe` is in `sys` alone; clippy's bans (`.clippy.toml`) keep I/O and clocks out of the stages; `tests/it/tidy.rs`
//!   keeps floors, file sizes and door signs.
//! - Linux-only modules stand behind `cfg(target_os = "linux")`: reviewers elsewhere validate, render and diff.

// Floor 1: plain values.
pub mod model;

// Floor 2: pure stages. They know the model and nothing of each other.
pub mod admit;
pub mod manifest;
pub mod plan;
pub mod report;

// Floor 3: ports.
pub mod port;

// Floor 4: adapters. Effects live here; `unsafe` in `sys` alone.
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod backend;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod image;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod net;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod shim;
#[allow(clippy::disallowed_methods)]
pub mod source;
#[allow(unsafe_code, clippy::disallowed_methods)]
pub mod sys;
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
pub mod volume;

// Floor 5: the control loop, over ports only.
pub mod control;

// Floor 6: where adapters are opened and people come in.
#[allow(clippy::disallowed_methods)]
pub mod cli;
#[allow(clippy::disallowed_methods)]
pub mod config;
#[allow(clippy::disallowed_methods)]
pub mod serve;
