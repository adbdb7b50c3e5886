//! Log lines on standard error, as text or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::args::LogFormat;

/// Which commands log how much when nobody asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// The agent tells what it does.
    No,
    /// Commands that end by themselves print their results; only warnings stand beside them.
    Yes,
}

/// Switches logging on for this process. `verbose` counts `-v`.
pub fn start(format: LogFormat, verbose: u8, quiet: Quiet) {
    let level = match (verbose, quiet) {
        (0, Quiet::Yes) => "warn",
        (0, Quiet::No) | (1, Quiet::Yes) => "info",
        (1, Quiet::No) | (2, Quiet::Yes) => "podwright=debug,info",
        _ => "podwright=trace,debug",
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(verbose > 0);
    // A second call in one process changes nothing.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}
