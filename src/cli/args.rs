//! What was typed. What it means is worked out by `settings` and by each verb.

mod create;
mod image;
mod interact;
mod local;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::report::{MarkdownOptions, Template};

pub use create::{CreateCommon, CreateVerb, DockerArgs, SecretVerb, SourceArgs};
pub use image::{ImageFormat, ImageVerb};
pub use interact::{AttachArgs, CpArgs, ExecArgs, LogsArgs, PortForwardArgs};
pub use local::{LocalConfigmapVerb, LocalLsArgs, LocalRmArgs, LocalSecretVerb};

/// Keeps the pods of this machine equal to a directory of Kubernetes manifests in git.
#[derive(Parser, Debug)]
#[command(name = "podwright", version, about, max_term_width = 100, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Where pods, images and records live [default: /var/lib/podwright, run-time state in /run/podwright]
    #[arg(long, global = true, value_name = "DIR", env = "PODWRIGHT_ROOT", help_heading = "Global options")]
    pub root: Option<PathBuf>,
    /// The configuration file [default: /etc/podwright/config.yaml, if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Say more; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run the agent: make the pods equal to the directory and keep them so, commit after commit
    Run(RunArgs),
    /// Make the pods equal to the directory once [exit: 0 ready, 1 error, 124 not ready in time]
    Apply(ApplyArgs),
    /// Check manifests as they are on disk [exit: 0 valid, 1 not]
    Validate(ValidateArgs),
    /// Print what admission makes of manifests: presets merged, nothing defaulted
    Render(RenderArgs),
    /// Show what would change [exit: 0 nothing, 1 something, 2 error, 64 usage; see --detailed-exitcode]
    Diff(DiffArgs),
    /// Print a Secret or ConfigMap made of files and values, as kubectl's client-side dry run does
    #[command(subcommand)]
    Create(CreateVerb),
    /// The Secrets of this machine alone, which its manifests need not have
    #[command(subcommand)]
    Secret(LocalSecretVerb),
    /// The ConfigMaps of this machine alone, which its manifests need not have
    #[command(subcommand)]
    Configmap(LocalConfigmapVerb),
    /// Stop and remove the pods that the directory names
    Delete(DeleteArgs),
    /// Show the agent, its revision and its pods
    Status(StatusArgs),
    /// List objects
    Get(GetArgs),
    /// Show one object with its events
    Describe(DescribeArgs),
    /// Print the log of a container
    Logs(LogsArgs),
    /// Run a command in a container
    Exec(ExecArgs),
    /// See and feed the process that a container runs, from its terminal or its pipes
    Attach(AttachArgs),
    /// Copy files and directories into and out of containers
    Cp(CpArgs),
    /// Forward ports of this machine to a pod
    PortForward(PortForwardArgs),
    /// The images of the local store
    #[command(subcommand)]
    Image(ImageVerb),
    /// Stop and remove every pod of the root
    Down(DownArgs),
    /// Check what this machine lacks for pods, what that costs, and how to mend it [exit: 0 pods can run, 1 none can]
    Doctor(DoctorArgs),
    /// Show the main job on a small example, then remove every trace of it
    Demo,
    /// Print the version
    Version,
    /// Tries what containers need, in a process of its own; not for people
    #[command(hide = true)]
    InternalProbe {
        #[arg(value_enum)]
        attempt: Attempt,
        /// Where an overlay is to be mounted, if that is to be tried too
        directory: Option<PathBuf>,
    },
}

/// What the agent logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Options of the commands that run pods. Flags win over the configuration file.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// The directory of manifests: a git checkout or a part of one
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Read uncommitted edits too
    #[arg(long)]
    pub worktree: bool,
    /// Allow the image podwright.invalid/host: this machine's own root file system, read-only
    #[arg(long)]
    pub allow_host_image: bool,
    /// Addresses for pods, such as 10.88.0.0/24
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<String>,
    /// IPv6 addresses for pods, such as fd3b:72c5:9e10::/64; none for IPv4 alone
    #[arg(long, value_name = "CIDR")]
    pub ipv6_subnet: Option<String>,
    /// What this machine is called [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where the status is written [default: status.yaml in the directory]
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,
    /// How log lines look [default: text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

/// `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Look at everything again this often even if nothing happens, such as 60s; 0 switches it off
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub resync: Option<Duration>,
    /// Do not watch the directory: look only as often as --resync says
    #[arg(long)]
    pub no_watch: bool,
}

/// `apply`.
#[derive(Args, Debug)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Wait until every pod is ready
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 90s or 2m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

/// `validate`.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// Files and directories; they are checked together
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// text; json; github: annotations of a workflow; sarif: a report for code scanners
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReportFormat,
    /// What is to run the pods: a field that it cannot honour is an error
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendName,
    /// Take warnings as errors
    #[arg(long)]
    pub warnings_as_errors: bool,
}

/// What runs pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// Containers of podwright's own
    #[default]
    Native,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Text,
    Json,
    Github,
    Sarif,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ObjectFormat {
    #[default]
    Yaml,
    Json,
}

/// `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// A file or a directory, as it is on disk
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// YAML documents, or one List as JSON. Data of Secrets is printed as it is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ObjectFormat,
    /// Print pods as they run, with every default
    #[arg(long)]
    pub show_defaults: bool,
    /// Say of each field that no manifest has where it comes from: as a comment in YAML, under `metadata.provenance` of
    /// the List in JSON
    #[arg(long)]
    pub provenance: bool,
}

/// `diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The directory of manifests; not a file alone, for a pod that has no manifest is one to delete
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Compare with this commit instead of what runs: needs no root, no agent, no runtime. Reads what changed and what
    /// that reaches; `validate` reads everything
    #[arg(long, value_name = "REV")]
    pub base: Option<String>,
    /// The commit to compare [default: HEAD]
    #[arg(long, value_name = "REV", requires = "base", conflicts_with = "worktree")]
    pub head: Option<String>,
    /// Read uncommitted edits too
    #[arg(long)]
    pub worktree: bool,
    /// What the machine is called; its labels and taints are those of --config
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The configuration that the machine had at the base [default: the same]
    #[arg(long, value_name = "FILE", requires = "base")]
    pub base_config: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: DiffFormat,
    /// With -o markdown: how long the comment may be; folds that do not fit are left out and counted
    #[arg(long, value_name = "BYTES", default_value_t = MarkdownOptions::DEFAULT_BYTES, value_parser = comment_bytes)]
    pub max_bytes: usize,
    /// With -o markdown: what the comment is about, such as a machine; a forge keeps one comment per target
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = target)]
    pub target: String,
    /// Exit 0 without differences, 2 with, 3 when something is recreated or deleted, 1 on error; 64 on a usage error
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// How a diff is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    #[default]
    Text,
    Json,
    /// A comment for a pull request
    Markdown,
}

fn comment_bytes(text: &str) -> Result<usize, String> {
    let least = MarkdownOptions::LEAST_BYTES;
    match text.parse::<usize>() {
        Ok(bytes) if bytes >= least => Ok(bytes),
        _ => Err(format!("'{text}' is no number of bytes from {least} on; a summary needs that much")),
    }
}

fn target(text: &str) -> Result<String, String> {
    if MarkdownOptions::is_target(text) {
        return Ok(text.to_owned());
    }
    let longest = MarkdownOptions::LONGEST_TARGET;
    Err(format!("'{text}' is no name of a target; use at most {longest} letters, digits, '.', '_' and single '-'"))
}

/// `delete`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The directory of manifests
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Read uncommitted edits too
    #[arg(long)]
    pub worktree: bool,
    #[command(flatten)]
    pub grace: GraceArgs,
    /// How long it may take
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

/// How long pods may take to end.
#[derive(Args, Debug)]
pub struct GraceArgs {
    /// Seconds that each pod has to end, where its own grace period is longer; 0 counts as 1, what is negative does not count
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub grace_period: Option<i64>,
}

impl GraceArgs {
    /// As kubectl's `delete` has it without `--force` (staging/src/k8s.io/kubectl/pkg/cmd/delete/delete.go of 1.36).
    pub fn limit(&self) -> Option<i64> {
        self.grace_period.filter(|seconds| *seconds >= 0).map(|seconds| seconds.max(1))
    }
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Go on and show each change
    #[arg(short, long)]
    pub watch: bool,
}

/// Which namespace.
#[derive(Args, Clone, Debug)]
pub struct NamespaceArgs {
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
}

/// `get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// pods, configmaps, secrets, serviceaccounts, namespaces, podpresets, events, nodes; or KIND/NAME
    #[arg(value_name = "KIND", required_unless_present = "raw")]
    pub kind: Option<String>,
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Any document of the API, such as /openid/v1/jwks
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kind", "all_namespaces", "output", "watch", "selector", "field_selector"])]
    pub raw: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// In every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// wide, yaml, json, name or jsonpath=TEMPLATE, such as jsonpath='{.items[*].metadata.name}'
    #[arg(short, long, value_name = "FORMAT", value_parser = get_format)]
    pub output: Option<GetFormat>,
    /// After listing, go on and show each change
    #[arg(short, long)]
    pub watch: bool,
    /// Only objects with these labels, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Only objects with these fields, such as status.phase=Running
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
    #[arg(long)]
    pub no_headers: bool,
}

/// How `get` prints.
#[derive(Clone, Debug, PartialEq)]
pub enum GetFormat {
    Wide,
    Yaml,
    Json,
    Name,
    Jsonpath(Template),
}

fn get_format(text: &str) -> Result<GetFormat, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("wide", "") => Ok(GetFormat::Wide),
        ("yaml", "") => Ok(GetFormat::Yaml),
        ("json", "") => Ok(GetFormat::Json),
        ("name", "") => Ok(GetFormat::Name),
        ("jsonpath", "") => Err("template format specified but no template given: write jsonpath=TEMPLATE".to_owned()),
        ("jsonpath", template) => Template::parse(template).map(GetFormat::Jsonpath).map_err(|e| e.to_string()),
        _ => Err("it must be wide, yaml, json, name or jsonpath=TEMPLATE".to_owned()),
    }
}

/// `describe`.
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// pod, node, serviceaccount, event or podpreset, or KIND/NAME
    #[arg(value_name = "KIND")]
    pub kind: String,
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
}

/// `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextOrJson,
}

/// What `doctor` prints in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    #[default]
    Text,
    Json,
}

/// What is tried in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attempt {
    Pods,
    PodsInMemory,
    Users,
    Links,
    Nft,
    Forwarding,
}

impl Attempt {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Attempt::Pods => "pods",
            Attempt::PodsInMemory => "pods-in-memory",
            Attempt::Users => "users",
            Attempt::Links => "links",
            Attempt::Nft => "nft",
            Attempt::Forwarding => "forwarding",
        }
    }
}

/// `down`.
#[derive(Args, Debug)]
pub struct DownArgs {
    #[command(flatten)]
    pub grace: GraceArgs,
    /// How long it may take
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

/// `90`, `90s`, `1m30s`, `500ms`, `2h`: a number without unit counts seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no duration; write seconds or something like 90s, 2m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest.get(..digits).and_then(|d| d.parse().ok()).ok_or_else(bad)?;
        rest = rest.get(digits..).unwrap_or_default();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = rest.get(..letters).unwrap_or_default();
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        let part = number.checked_mul(milliseconds).ok_or_else(bad)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(bad)?;
        rest = rest.get(letters..).unwrap_or_default();
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_kubectl_writes_them() {
        let good = [("90", 90_000), ("90s", 90_000), ("1m30s", 90_000), ("500ms", 500), ("2h", 7_200_000), ("0", 0)];
        for (text, milliseconds) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "5x", "1.5s", "-3", "5s5", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_grace_period_is_read_as_kubectl_reads_it_without_force() {
        for (text, limit) in [("30", Some(30)), ("1", Some(1)), ("0", Some(1)), ("-1", None), ("-5", None)] {
            let parsed = Cli::try_parse_from(["podwright", "down", "--grace-period", text]);
            let Ok(Cli { verb: Verb::Down(down), .. }) = parsed else { panic!("{text}") };
            assert_eq!(down.grace.limit(), limit, "{text}");
        }
        let Ok(Cli { verb: Verb::Delete(delete), .. }) = Cli::try_parse_from(["podwright", "delete", "."]) else {
            panic!()
        };
        assert_eq!(delete.grace.limit(), None, "each pod has its own");
    }

    #[test]
    fn the_command_of_exec_stands_after_the_dashes() {
        let parsed = Cli::try_parse_from(["podwright", "exec", "-it", "web", "-c", "app", "--", "sh", "-c", "ls"]);
        let Ok(Cli { verb: Verb::Exec(exec), .. }) = parsed else { panic!("no exec") };
        assert_eq!((exec.stdin, exec.tty, exec.command.join(" ")), (true, true, "sh -c ls".to_owned()));
    }
}
