//! The `podwright` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    podwright::cli::main()
}
