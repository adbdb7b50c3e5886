//! Floor 4: the operating system, wrapped safe. All `unsafe` code of podwright is in this folder.

#[cfg(target_os = "linux")]
pub mod beneath;
#[cfg(target_os = "linux")]
pub mod cgroup;
pub mod clock;
pub mod embedded;
#[cfg(target_os = "linux")]
pub mod git;
#[cfg(target_os = "linux")]
pub mod infra;
#[cfg(target_os = "linux")]
pub mod lock;
#[cfg(target_os = "linux")]
pub mod mount;
#[cfg(target_os = "linux")]
pub mod netns;
#[cfg(target_os = "linux")]
pub mod pidfd;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod sealed;
#[cfg(target_os = "linux")]
pub mod spawn;
