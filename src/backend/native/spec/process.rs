//! The process of a container: its command line, variables, directory, user and terminal.

use serde_json::{Value, json};

use super::{Input, SpecError, is_privileged, security};
use crate::image::ImageConfig;
use crate::model::{Masked, oom_score_adj};

/// What PATH is when neither image nor pod says: the value of runc and containerd.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn process(input: &Input<'_>) -> Result<Value, SpecError> {
    let container = input.container;
    let args = command_line(input.start.command.as_deref(), input.start.args.as_deref(), input.image)?;
    let own = container.working_dir.as_deref().filter(|d| !d.is_empty());
    let set = security::container_capabilities(input)?;
    let mut out = json!({
        "terminal": container.tty == Some(true),
        "user": {
            "uid": input.identity.uid,
            "gid": input.identity.gid,
            "additionalGids": input.identity.groups,
        },
        "args": args,
        "env": env(input),
        "cwd": own.unwrap_or(&input.image.working_dir),
        "oomScoreAdj": oom_score_adj(input.pod, container, input.memory),
        "capabilities": { "bounding": set, "effective": set, "permitted": set, "inheritable": [], "ambient": [] },
    });
    if let Some(shown) = args.first().and_then(|name| shown(input, name)) {
        out["shown"] = Value::String(shown);
    }
    // Left out and not `false` otherwise: a filter of system calls does not load where it says false.
    let security = container.security_context.as_ref();
    if security.and_then(|s| s.allow_privilege_escalation) == Some(false) && !is_privileged(container) {
        out["noNewPrivileges"] = Value::Bool(true);
    }
    Ok(out)
}

/// The command line by Kubernetes' rules: `command` replaces the image's entrypoint and its cmd, `args` its cmd alone.
///
/// # Errors
/// `NoCommand` when nothing is left.
pub fn command_line(
    command: Option<&[Masked<String>]>,
    args: Option<&[Masked<String>]>,
    image: &ImageConfig,
) -> Result<Vec<String>, SpecError> {
    let words = |list: &[Masked<String>]| list.iter().map(|w| w.reveal().clone()).collect::<Vec<String>>();
    let command = command.map(words).filter(|c| !c.is_empty());
    let args = args.map(words).filter(|a| !a.is_empty());
    let (mut line, rest) = match (command, args) {
        (Some(command), args) => (command, args.unwrap_or_default()),
        (None, Some(args)) => (image.entrypoint.clone(), args),
        (None, None) => (image.entrypoint.clone(), image.cmd.clone()),
    };
    line.extend(rest);
    if line.is_empty() { Err(SpecError::NoCommand) } else { Ok(line) }
}

/// What errors call the program whose name has the value of a variable, which may be a Secret's: what the pod calls it.
fn shown(input: &Input<'_>, name: &str) -> Option<String> {
    let list = match &input.start.command {
        Some(_) => input.container.command.as_ref(),
        None => input.container.args.as_ref().filter(|_| input.image.entrypoint.is_empty()),
    };
    list?.first().filter(|written| *written != name).cloned()
}

/// Variables, later ones in the place of earlier ones of the same name.
fn env(input: &Input<'_>) -> Vec<String> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match out.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => value.clone_into(old),
        None => out.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", input.hostname);
    if input.container.tty == Some(true) {
        set("TERM", "xterm");
    }
    for (name, value) in &input.image.env {
        set(name, value);
    }
    for variable in &input.start.env {
        set(&variable.name, variable.value.reveal());
    }
    if !out.iter().any(|(name, _)| name == "HOME") {
        let home = input.identity.home.clone().unwrap_or_else(|| "/".to_owned());
        out.push(("HOME".to_owned(), home));
    }
    out.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
