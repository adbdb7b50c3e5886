//! What several test modules share.

pub mod images;
pub mod registry;
pub mod screen;
pub mod terminal;

/// Says loudly that a test could not run here, and writes it where `tests/run.sh` counts.
pub fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("SKIPPED {name}: {why}");
    if let Some(file) = std::env::var_os("PODWRIGHT_TEST_SKIPS") {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{name}: {why}").unwrap();
    }
}

/// Whether this process may do everything the tests of the machine need; skips the test otherwise.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

/// Whether `tests/run.sh` asked for the end-to-end tests (`e2e_*`). A plain `cargo test` leaves them out.
pub fn e2e() -> bool {
    std::env::var_os("PODWRIGHT_E2E").is_some_and(|v| v == "1") && is_root()
}
