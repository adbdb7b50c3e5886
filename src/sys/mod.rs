//! Floor 4: the operating system, wrapped safe. All `unsafe` code of podwright is in this folder.

#[cfg(target_os = "linux")]
pub mod beneath;
