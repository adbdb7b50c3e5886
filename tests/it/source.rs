//! Tests of `source`, on real repositories made with the `git` program.

mod damaged;
mod git;
mod hostile;
mod ignore;
mod owner;
mod pair;
mod plain;
mod repo;
mod status_file;
mod watch;
mod worktree;
