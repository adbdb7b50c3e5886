//! Floor 6: the command line. Arguments in, text and an exit code out.
//!
//! Two stages: [`args`] is what was typed; `settings` and the verbs make of it what is meant. A verb returns an
//! [`Ending`] or a [`CliError`]; only [`main`] turns either into an exit code, by the table in [`error`]. The verbs that
//! look at a running agent are clients of its API; those that read manifests need neither agent nor root.

pub mod args;
pub mod error;
pub mod node;
mod printer;

#[cfg(target_os = "linux")]
mod apply;
#[cfg(target_os = "linux")]
mod attach;
mod container;
#[cfg(target_os = "linux")]
mod cp;
mod create;
#[cfg(target_os = "linux")]
mod demo;
mod describe;
mod diff;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(target_os = "linux")]
mod engine;
#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "linux")]
mod exec;
#[cfg(target_os = "linux")]
mod forward;
mod get;
#[cfg(target_os = "linux")]
mod image;
#[cfg(target_os = "linux")]
mod keeper;
mod layout;
#[cfg(target_os = "linux")]
mod local;
#[cfg(target_os = "linux")]
mod lock;
#[cfg(target_os = "linux")]
mod logging;
mod logs;
mod look;
#[cfg(target_os = "linux")]
mod machine;
mod manifests;
#[cfg(target_os = "linux")]
mod meter;
#[cfg(target_os = "linux")]
mod probe;
mod records;
#[cfg(target_os = "linux")]
mod remove;
mod render;
#[cfg(target_os = "linux")]
mod rest;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod running;
#[cfg(target_os = "linux")]
mod saver;
#[cfg(target_os = "linux")]
mod settings;
mod status;
#[cfg(target_os = "linux")]
mod statuses;
mod validate;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Global, Verb};
use error::{CliError, Ending};
use layout::Layout;
#[cfg(target_os = "linux")]
use settings::{Settings, Typed};

/// Runs the command of this process.
pub fn main() -> ExitCode {
    // Once for each container: not by way of all the arguments there are for people.
    #[cfg(target_os = "linux")]
    if let Some(code) = crate::shim::main() {
        return code;
    }
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
    let global = &cli.global;
    match cli.verb {
        Verb::Validate(args) => validate::validate(&args, global.config.as_deref()),
        Verb::Create(verb) => create::run(&verb, global),
        Verb::Render(args) => render::render(&args),
        Verb::Diff(args) => diff::run(&args, global),
        Verb::Get(args) => get::run(&args, &layout(global)?),
        Verb::Describe(args) => describe::run(&args, &layout(global)?),
        Verb::Logs(args) => logs::run(&args, &layout(global)?),
        Verb::Status(args) => status::run(&args, &layout(global)?),
        Verb::Version => {
            printer::out(&format!("podwright {}\n", env!("CARGO_PKG_VERSION")))?;
            Ok(Ending::Success)
        }
        verb => on_this_machine(verb, global),
    }
}

/// The commands that need Linux. Those before needed none of it; `main` has sent the shim its own way already.
#[cfg(target_os = "linux")]
fn on_this_machine(verb: Verb, global: &Global) -> Result<Ending, CliError> {
    let without_flags = Typed { global, agent: None, resync: None };
    match verb {
        Verb::Run(args) => {
            let typed = Typed { agent: Some(&args.agent), resync: args.resync, ..without_flags };
            run::run(&args, settings(typed)?)
        }
        Verb::Apply(args) => apply::run(&args, settings(Typed { agent: Some(&args.agent), ..without_flags })?),
        Verb::Delete(args) => remove::delete(&args, settings(without_flags)?),
        Verb::Down(args) => remove::down(&args, settings(without_flags)?),
        // Before any runtime is started: it needs a process with a single thread.
        Verb::Exec(args) => exec::run(&args, &layout(global)?),
        Verb::Attach(args) => attach::run(&args, &layout(global)?),
        Verb::Cp(args) => cp::run(&args, &layout(global)?),
        Verb::PortForward(args) => forward::run(&args, &layout(global)?),
        Verb::Image(verb) => image::run(&verb, &layout(global)?, global.config.as_deref()),
        Verb::Secret(verb) => local::secret(&verb, global),
        Verb::Configmap(verb) => local::config_map(&verb, global),
        Verb::Demo => demo::run(),
        Verb::Doctor(args) => doctor::run(&args, &layout(global)?),
        Verb::InternalProbe { attempt, directory } => Ok(probe::main(attempt, directory.as_deref())),
        other => Err(CliError::usage(format!("{other:?} is not run this way"))),
    }
}

#[cfg(not(target_os = "linux"))]
fn on_this_machine(_verb: Verb, _global: &Global) -> Result<Ending, CliError> {
    Err(CliError::new("this command runs on Linux only").hint("validate, render and diff --base work everywhere"))
}

/// Flags over the configuration over what the machine says.
#[cfg(target_os = "linux")]
fn settings(typed: Typed<'_>) -> Result<Settings, CliError> {
    let config = crate::config::load(typed.global.config.as_deref())?;
    Ok(settings::settings(typed, &config, &machine::Machine::probe(), &current_directory()?))
}

fn layout(global: &Global) -> Result<Layout, CliError> {
    Ok(Layout::new(global.root.as_deref(), &current_directory()?))
}

fn current_directory() -> Result<std::path::PathBuf, CliError> {
    std::env::current_dir().map_err(|e| CliError::new(format!("cannot find the current directory: {e}")))
}
