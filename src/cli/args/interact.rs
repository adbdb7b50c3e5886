//! What was typed for the commands that speak with containers: flags and their words are kubectl's.

use std::time::Duration;

use clap::{ArgAction, Args};
use jiff::Timestamp;

use super::{NamespaceArgs, duration};

/// `logs`.
#[derive(Args, Debug)]
pub struct LogsArgs {
    #[arg(value_name = "POD")]
    pub pod: Option<String>,
    #[arg(value_name = "CONTAINER", conflicts_with = "container")]
    pub positional_container: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The pods with these labels in place of one by its name, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Which container, when a pod has more than one
    #[arg(short, long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Every container of a pod, one after the other; with --follow side by side
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true,
        action = ArgAction::Set)]
    pub all_containers: bool,
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// The instance before the present one
    #[arg(short, long)]
    pub previous: bool,
    /// A timestamp before each line
    #[arg(long)]
    pub timestamps: bool,
    /// Pod and container before each line
    #[arg(long)]
    pub prefix: bool,
    /// Only this many lines from the end, -1 for all [default: -1, with --selector 10]
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only what is younger, such as 5s, 2m or 3h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Only what was written at or after this time, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since_time: Option<Timestamp>,
    /// End after this many bytes of each container
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub limit_bytes: Option<i64>,
    /// Tell of a container whose log cannot be read, and go on with the others
    #[arg(long)]
    pub ignore_errors: bool,
    /// How many containers may be followed at once
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub max_log_requests: usize,
}

/// `exec`.
#[derive(Args, Debug)]
pub struct ExecArgs {
    #[arg(value_name = "POD")]
    pub pod: String,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Hand standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal, when standard input is one; needs --stdin
    #[arg(short = 't', long)]
    pub tty: bool,
    /// Say nothing beside the command's own output
    #[arg(short, long)]
    pub quiet: bool,
    /// The command, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `port-forward`.
#[derive(Args, Debug)]
pub struct PortForwardArgs {
    #[arg(value_name = "POD")]
    pub pod: String,
    /// [LOCAL:]REMOTE, such as 8080:80; the remote one may be a name that a container gives it, and :REMOTE takes any free
    /// port here
    #[arg(value_name = "PORT", required = true)]
    pub ports: Vec<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// Where to listen: addresses, or localhost for 127.0.0.1 and ::1
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<String>,
}

/// `attach`.
#[derive(Args, Debug)]
pub struct AttachArgs {
    #[arg(value_name = "POD")]
    pub pod: String,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Hand standard input on; the container's `stdin` must be true
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Hand this terminal on; the container's `tty` must be true
    #[arg(short = 't', long)]
    pub tty: bool,
    /// Say nothing beside what the container says
    #[arg(short, long)]
    pub quiet: bool,
    /// The keys that leave a terminal with the container running on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: String,
}

/// `cp`.
#[derive(Args, Debug)]
pub struct CpArgs {
    /// What to copy: PATH here, or [NAMESPACE/]POD:PATH in a container
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where to: the same. What is copied goes into a directory that is there
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// In a container, do not keep owners and all permissions
    #[arg(long)]
    pub no_preserve: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("'{text}' is no time; write it like 2026-01-02T03:04:05Z"))
}
