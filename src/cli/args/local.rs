//! `secret` and `configmap`: objects of this machine alone.

use clap::{Args, Subcommand};

use super::{CreateCommon, NamespaceArgs, SecretVerb, SourceArgs};

/// `secret ...`.
#[derive(Subcommand, Debug)]
pub enum LocalSecretVerb {
    /// As `create secret`: with --local it is provisioned on this machine, without it is printed
    #[command(subcommand)]
    Create(SecretVerb),
    /// List the Secrets that were provisioned on this machine
    Ls(LocalLsArgs),
    /// Remove Secrets that were provisioned on this machine
    Rm(LocalRmArgs),
}

/// `configmap ...`.
#[derive(Subcommand, Debug)]
pub enum LocalConfigmapVerb {
    /// As `create configmap`: with --local it is provisioned on this machine, without it is printed
    Create {
        #[command(flatten)]
        sources: SourceArgs,
        #[command(flatten)]
        common: CreateCommon,
    },
    /// List the ConfigMaps that were provisioned on this machine
    Ls(LocalLsArgs),
    /// Remove ConfigMaps that were provisioned on this machine
    Rm(LocalRmArgs),
}

/// `secret ls`.
#[derive(Args, Debug)]
pub struct LocalLsArgs {
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// In every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// `secret rm`.
#[derive(Args, Debug)]
pub struct LocalRmArgs {
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
}
