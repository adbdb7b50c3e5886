//! The containers of `describe pod`.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStatus, EnvFromSource, EnvVar, EnvVarSource, Pod, Probe,
    ResourceFieldSelector, ResourceRequirements, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{long_time, seccomp};
use crate::model::quantity;

/// One, in what [`quantity::nanos`] gives.
const UNIT: i128 = 1_000_000_000;

/// One list of containers, each with its status if it has one.
pub(super) fn section(
    out: &mut String,
    title: &str,
    containers: &[Container],
    statuses: &[ContainerStatus],
    pod: &Pod,
) {
    let _ = writeln!(out, "{title}:");
    for container in containers {
        let status = statuses.iter().find(|s| s.name == container.name);
        let _ = writeln!(out, "  {}:", container.name);
        identity(out, container, status);
        strings(out, "Command", container.command.as_deref());
        strings(out, "Args", container.args.as_deref());
        if let Some(status) = status {
            state(out, "State", status.state.as_ref());
            if status.last_state.as_ref().is_some_and(|s| s.terminated.is_some()) {
                state(out, "Last State", status.last_state.as_ref());
            }
            let _ = writeln!(out, "    Ready:\t{}", if status.ready { "True" } else { "False" });
            let _ = writeln!(out, "    Restart Count:\t{}", status.restart_count);
        }
        resources(out, "    ", container.resources.as_ref());
        probes(out, container);
        env_from(out, container.env_from.as_deref().unwrap_or_default());
        environment(out, container, pod);
        mounts(out, container.volume_mounts.as_deref().unwrap_or_default());
    }
}

fn identity(out: &mut String, container: &Container, status: Option<&ContainerStatus>) {
    if let Some(status) = status {
        let _ = writeln!(out, "    Container ID:\t{}", status.container_id.as_deref().unwrap_or_default());
    }
    let _ = writeln!(out, "    Image:\t{}", container.image.as_deref().unwrap_or_default());
    if let Some(status) = status {
        let _ = writeln!(out, "    Image ID:\t{}", status.image_id);
    }
    let ports = container.ports.as_deref().unwrap_or_default();
    let plural = if ports.len() > 1 { "s" } else { "" };
    let list = |number: &dyn Fn(&ContainerPort) -> i32| {
        let text = |port: &ContainerPort| {
            let name = port.name.as_deref().filter(|name| !name.is_empty());
            let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{}/{}{name}", number(port), port.protocol.as_deref().unwrap_or("TCP"))
        };
        let texts: Vec<String> = ports.iter().map(text).collect();
        if texts.is_empty() { "<none>".to_owned() } else { texts.join(", ") }
    };
    let _ = writeln!(out, "    Port{plural}:\t{}", list(&|p| p.container_port));
    let _ = writeln!(out, "    Host Port{plural}:\t{}", list(&|p| p.host_port.unwrap_or(0)));
    let context = container.security_context.as_ref();
    seccomp(out, "    ", context.and_then(|context| context.seccomp_profile.as_ref()));
}

fn strings(out: &mut String, title: &str, lines: Option<&[String]>) {
    let Some(lines) = lines.filter(|l| !l.is_empty()) else { return };
    let _ = writeln!(out, "    {title}:");
    for line in lines.iter().flat_map(|l| l.split('\n')) {
        let _ = writeln!(out, "      {}", line.replace('\t', "    "));
    }
}

fn state(out: &mut String, title: &str, state: Option<&ContainerState>) {
    let Some(state) = state else {
        let _ = writeln!(out, "    {title}:\tWaiting");
        return;
    };
    if let Some(running) = &state.running {
        let _ = writeln!(out, "    {title}:\tRunning");
        if let Some(at) = &running.started_at {
            let _ = writeln!(out, "      Started:\t{}", long_time(at.0));
        }
    } else if let Some(ended) = &state.terminated {
        let _ = writeln!(out, "    {title}:\tTerminated");
        optional(out, "Reason", ended.reason.as_deref());
        optional(out, "Message", ended.message.as_deref());
        let _ = writeln!(out, "      Exit Code:\t{}", ended.exit_code);
        if let Some(signal) = ended.signal.filter(|s| *s > 0) {
            let _ = writeln!(out, "      Signal:\t{signal}");
        }
        for (title, at) in [("Started", &ended.started_at), ("Finished", &ended.finished_at)] {
            let text = at.as_ref().map_or_else(|| "<unknown>".to_owned(), |t| long_time(t.0));
            let _ = writeln!(out, "      {title}:\t{text}");
        }
    } else {
        let _ = writeln!(out, "    {title}:\tWaiting");
        optional(out, "Reason", state.waiting.as_ref().and_then(|w| w.reason.as_deref()));
    }
}

fn optional(out: &mut String, title: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        let _ = writeln!(out, "      {title}:\t{}", text.trim_end().replace(['\n', '\t'], " "));
    }
}

/// Limits and requests, of a container or of a pod as a whole.
pub(super) fn resources(out: &mut String, indent: &str, resources: Option<&ResourceRequirements>) {
    let Some(resources) = resources else { return };
    for (title, list) in [("Limits", &resources.limits), ("Requests", &resources.requests)] {
        let Some(list) = list.as_ref().filter(|l| !l.is_empty()) else { continue };
        let _ = writeln!(out, "{indent}{title}:");
        for (name, quantity) in list {
            let _ = writeln!(out, "{indent}  {name}:\t{}", quantity.0);
        }
    }
}

fn probes(out: &mut String, container: &Container) {
    for (title, probe) in [
        ("Liveness", &container.liveness_probe),
        ("Readiness", &container.readiness_probe),
        ("Startup", &container.startup_probe),
    ] {
        if let Some(probe) = probe {
            let _ = writeln!(out, "    {title}:\t{}", probe_text(probe));
        }
    }
}

/// A path as Go writes that of a URL (`escape` of net/url with `encodePath`): a query has no place in it.
fn url_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    if !path.is_empty() && !path.starts_with('/') {
        out.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte.into()),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn probe_text(probe: &Probe) -> String {
    let what = if let Some(exec) = &probe.exec {
        format!("exec [{}]", exec.command.as_deref().unwrap_or_default().join(" "))
    } else if let Some(get) = &probe.http_get {
        let scheme = get.scheme.as_deref().unwrap_or("http").to_lowercase();
        let port = serde_json::to_value(&get.port).map(|p| p.to_string().replace('"', "")).unwrap_or_default();
        let host = get.host.as_deref().unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        format!("http-get {scheme}://{host}:{port}{}", url_path(get.path.as_deref().unwrap_or_default()))
    } else if let Some(tcp) = &probe.tcp_socket {
        let port = serde_json::to_value(&tcp.port).map(|p| p.to_string().replace('"', "")).unwrap_or_default();
        format!("tcp-socket {}:{port}", tcp.host.as_deref().unwrap_or_default())
    } else if let Some(grpc) = &probe.grpc {
        format!("grpc <pod>:{} {}", grpc.port, grpc.service.as_deref().unwrap_or_default())
    } else {
        "unknown".to_owned()
    };
    format!(
        "{what} delay={}s timeout={}s period={}s #success={} #failure={}",
        probe.initial_delay_seconds.unwrap_or(0),
        probe.timeout_seconds.unwrap_or(1),
        probe.period_seconds.unwrap_or(10),
        probe.success_threshold.unwrap_or(1),
        probe.failure_threshold.unwrap_or(3),
    )
}

fn env_from(out: &mut String, sources: &[EnvFromSource]) {
    if sources.is_empty() {
        return;
    }
    out.push_str("    Environment Variables from:\n");
    for source in sources {
        let (name, kind, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (map.name.as_str(), "ConfigMap", map.optional),
            (None, Some(secret)) => (secret.name.as_str(), "Secret", secret.optional),
            (None, None) => continue,
        };
        let prefix = source.prefix.as_deref().filter(|p| !p.is_empty());
        let prefix = prefix.map(|p| format!(" with prefix '{p}'")).unwrap_or_default();
        let _ = writeln!(out, "      {name}\t{kind}{prefix}\tOptional: {}", optional.unwrap_or(false));
    }
}

fn environment(out: &mut String, container: &Container, pod: &Pod) {
    let variables: &[EnvVar] = container.env.as_deref().unwrap_or_default();
    if variables.is_empty() {
        out.push_str("    Environment:\t<none>\n");
        return;
    }
    out.push_str("    Environment:\n");
    for variable in variables {
        let text = match &variable.value_from {
            Some(source) => source_text(source, container, pod),
            None => variable.value.clone().unwrap_or_default(),
        };
        let mut lines = text.split('\n');
        let _ = writeln!(out, "      {}:\t{}", variable.name, lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "      \t{line}");
        }
    }
}

fn source_text(source: &EnvVarSource, container: &Container, pod: &Pod) -> String {
    if let Some(secret) = &source.secret_key_ref {
        let optional = secret.optional.unwrap_or(false);
        format!("<set to the key '{}' in secret '{}'>\tOptional: {optional}", secret.key, secret.name)
    } else if let Some(map) = &source.config_map_key_ref {
        let optional = map.optional.unwrap_or(false);
        format!("<set to the key '{}' of config map '{}'>\tOptional: {optional}", map.key, map.name)
    } else if let Some(field) = &source.field_ref {
        let version = field.api_version.as_deref().unwrap_or("v1");
        format!("{} ({version}:{})", field_value(&field.field_path, pod), field.field_path)
    } else if let Some(resource) = &source.resource_field_ref {
        format!("{} ({})", amount(resource, container), resource.resource)
    } else if let Some(file) = &source.file_key_ref {
        let optional = file.optional.unwrap_or(false);
        let (key, path, volume) = (&file.key, &file.path, &file.volume_name);
        format!("<set to the key '{key}' in file '{path}' of volume '{volume}'>\tOptional: {optional}")
    } else {
        "<unknown source>".to_owned()
    }
}

/// What the container has of a resource, in whole units of the divisor; without a limit what the machine has, of which the object
/// tells nothing.
fn amount(resource: &ResourceFieldSelector, container: &Container) -> String {
    let resources = container.resources.as_ref();
    let (list, name) = resource.resource.split_once('.').unwrap_or_default();
    let list = match list {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        _ => resources.and_then(|resources| resources.requests.as_ref()),
    };
    let nanos = |text: Option<&Quantity>| text.and_then(|text| quantity::nanos(&text.0));
    let divisor = nanos(resource.divisor.as_ref()).filter(|divisor| *divisor > 0).unwrap_or(UNIT);
    let amount = nanos(list.and_then(|list| list.get(name))).unwrap_or(0).max(0);
    match amount.saturating_add(divisor - 1) / divisor {
        0 if matches!(resource.resource.as_str(), "limits.cpu" | "limits.memory") => "node allocatable".to_owned(),
        amount => amount.to_string(),
    }
}

/// What a downward field holds, as far as the object tells: metadata alone, as kubectl resolves it.
fn field_value(path: &str, pod: &Pod) -> String {
    let meta = &pod.metadata;
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        _ => None,
    };
    value.unwrap_or_default()
}

fn mounts(out: &mut String, mounts: &[VolumeMount]) {
    if mounts.is_empty() {
        out.push_str("    Mounts:\t<none>\n");
        return;
    }
    out.push_str("    Mounts:\n");
    let mut sorted: Vec<&VolumeMount> = mounts.iter().collect();
    sorted.sort_by(|a, b| a.mount_path.cmp(&b.mount_path));
    for mount in sorted {
        let mode = if mount.read_only == Some(true) { "ro" } else { "rw" };
        let path = mount.sub_path.as_deref().filter(|p| !p.is_empty());
        let path = path.map(|p| format!(",path=\"{p}\"")).unwrap_or_default();
        let _ = writeln!(out, "      {} from {} ({mode}{path})", mount.mount_path, mount.name);
    }
}
