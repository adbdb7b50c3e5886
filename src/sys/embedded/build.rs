//! Build script: compiles the tiny programs that podwright embeds, `pause` and `monitor`, for the target that podwright
//! itself is built for, with the compiler and the linker that Cargo uses. They need no library, not even C's.

// A build script is what these bans send people to: an adapter.
#![allow(clippy::disallowed_methods)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = "src/sys/embedded";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    let var = |name: &str| env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let target = var("TARGET");
    let architecture = var("CARGO_CFG_TARGET_ARCH");
    assert!(
        ["x86_64", "aarch64"].contains(&architecture.as_str()),
        "podwright runs pods on x86_64 and aarch64, and this is {target}"
    );
    let out = PathBuf::from(var("OUT_DIR"));
    for program in ["pause", "monitor"] {
        compile(program, &target, &out);
    }
}

fn compile(program: &str, target: &str, out: &Path) {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.arg(format!("{SOURCES}/{program}.rs")).arg("-o").arg(out.join(program));
    command.args(["--edition=2024", "--crate-type=bin", "--target", target]);
    for option in [
        "panic=abort",
        "opt-level=z",
        "lto=fat",
        "codegen-units=1",
        "debuginfo=0",
        "strip=symbols",
        "overflow-checks=off",
        "relocation-model=static",
        "target-feature=+crt-static",
        // No start files and no libraries; headers, relocation tables and alignment that nobody needs left away.
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-no-pie",
        "link-arg=-Wl,--gc-sections,--build-id=none,--no-eh-frame-hdr",
        "link-arg=-Wl,-z,norelro,-z,noseparate-code,-z,noexecstack",
    ] {
        command.arg("-C").arg(option);
    }
    command.args(["--check-cfg", "cfg(faults)"]);
    if env::var_os("PROFILE").is_some_and(|profile| profile == "debug") {
        // Fault points: for builds with debug assertions, as in `src/sys/effect/fault.rs`.
        command.args(["--cfg", "faults"]);
    }
    if target.contains("musl") {
        command.args(["-C", "link-self-contained=no"]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
    }
    let status = command.status().expect("the compiler that Cargo uses can be started");
    assert!(status.success(), "compiling {SOURCES}/{program}.rs for {target} failed");
}
