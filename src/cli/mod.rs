//! Floor 6: the command line. Arguments in, text and an exit code out.
//!
//! Two stages: [`args`] is what was typed; `settings` and the verbs make of it what is meant. A verb returns an
//! [`Ending`] or a [`CliError`]; only [`main`] turns either into an exit code, by the table in [`error`]. The verbs that
//! look at a running agent are clients of its API; those that read manifests need neither agent nor root.

pub mod args;
pub mod error;
pub mod printer;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Verb};
use error::{CliError, Ending};

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => usage(&error),
    };
    let ending = match result {
        Ok(ending) => ending,
        Err(error) => {
            printer::failure(&error);
            error.ending
        }
    };
    ExitCode::from(ending.code())
}

/// Help and version are answers; everything else is a usage error.
fn usage(error: &clap::Error) -> Result<Ending, CliError> {
    error.print()?;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Ending::Success),
        _ => Ok(Ending::Usage),
    }
}

fn dispatch(cli: Cli) -> Result<Ending, CliError> {
    match cli.verb {
        Verb::Version => {
            printer::out(&format!("podwright {}\n", env!("CARGO_PKG_VERSION")))?;
            Ok(Ending::Success)
        }
        _ => Err(CliError::new("this command is not part of this build")),
    }
}
