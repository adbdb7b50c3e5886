//! `create`: the flags of kubectl 1.32, as far as they make sense without an API server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ObjectFormat;

/// `create ...`.
#[derive(Subcommand, Debug)]
pub enum CreateVerb {
    /// Print a Secret
    #[command(subcommand)]
    Secret(SecretVerb),
    /// Print a ConfigMap made of files, directories and values
    #[command(visible_alias = "cm")]
    Configmap {
        #[command(flatten)]
        sources: SourceArgs,
        #[command(flatten)]
        common: CreateCommon,
    },
}

/// `create secret ...`.
#[derive(Subcommand, Debug)]
pub enum SecretVerb {
    /// A Secret made of files, directories and values
    Generic {
        #[command(flatten)]
        sources: SourceArgs,
        /// What kind of Secret it is, such as kubernetes.io/basic-auth [default: Opaque, unwritten]
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        #[command(flatten)]
        common: CreateCommon,
    },
    /// A certificate and its private key
    Tls {
        /// The certificate, PEM; intermediate ones may follow it in the file
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Its private key, PEM, not encrypted
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        common: CreateCommon,
    },
    /// What a registry asks for before it hands out images
    DockerRegistry {
        #[command(flatten)]
        docker: DockerArgs,
        #[command(flatten)]
        common: CreateCommon,
    },
}

/// What every object has.
#[derive(Args, Debug)]
pub struct CreateCommon {
    /// The name of the object
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The namespace that is written; without it the object has none
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Append a hash of the content to the name
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, overrides_with = "append_hash", value_parser = truth)]
    pub append_hash: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ObjectFormat,
    /// Provision it on this machine instead of printing it: below the root, for root alone, under what the manifests say
    #[arg(long, conflicts_with_all = ["output", "dry_run"])]
    pub local: bool,
    /// With --local: in place of one that is there
    #[arg(long, requires = "local")]
    pub replace: bool,
    /// For kubectl's command lines: `client` is all that podwright does
    #[arg(long, value_name = "client", num_args = 0..=1, require_equals = true, default_missing_value = "client",
          overrides_with = "dry_run", value_parser = dry_run)]
    pub dry_run: Option<()>,
}

/// Where values come from.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// A file, the files of a directory, or KEY=FILE; several with commas or by repeating it
    #[arg(long, value_name = "[KEY=]PATH")]
    pub from_file: Vec<String>,
    /// A value as it is
    #[arg(long, value_name = "KEY=VALUE")]
    pub from_literal: Vec<String>,
    /// A file of KEY=VALUE lines; a line with only a KEY takes its value from the environment
    #[arg(long, value_name = "PATH", conflicts_with_all = ["from_file", "from_literal"])]
    pub from_env_file: Vec<String>,
}

/// The credentials of a registry.
#[derive(Args, Debug)]
pub struct DockerArgs {
    #[arg(long, value_name = "URL", default_value = "https://index.docker.io/v1/")]
    pub docker_server: String,
    #[arg(long, value_name = "NAME")]
    pub docker_username: Option<String>,
    /// Seen by every user of this machine while the command runs; --from-file is not
    #[arg(long, value_name = "PASSWORD")]
    pub docker_password: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    pub docker_email: Option<String>,
    /// A config.json of docker instead; a path without key gets the key .dockerconfigjson
    #[arg(long, value_name = "[KEY=]PATH")]
    pub from_file: Vec<String>,
}

/// The spellings that Go's `strconv.ParseBool` takes, with which kubectl reads its flags.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("it must be true or false".to_owned()),
    }
}

/// The truth values are what the flag took first; kubectl still takes them.
fn dry_run(text: &str) -> Result<(), String> {
    match (text, truth(text)) {
        ("client", _) | (_, Ok(true)) => Ok(()),
        ("server" | "none", _) | (_, Ok(false)) => {
            Err("podwright has no API server to create it on: it prints the object, which is \
                                  --dry-run=client"
                .to_owned())
        }
        _ => Err("it must be client".to_owned()),
    }
}
