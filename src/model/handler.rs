//! What a probe or a hook asks of a container: a command, a request over the network, or a wait.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A handler with its port as a number. Values may come from Secrets only by way of the container itself, never from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Runs in the container; no shell around it.
    Exec {
        command: Vec<String>,
    },
    HttpGet(HttpGet),
    /// Succeeds when a connection opens. Without a host it goes to the pod's own address.
    TcpSocket {
        host: Option<String>,
        port: u16,
    },
    /// `grpc.health.v1.Health/Check` at the pod's own address.
    Grpc {
        port: u16,
        service: String,
    },
    /// Waits (hooks only).
    Sleep {
        seconds: u32,
    },
}

/// A GET request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGet {
    pub https: bool,
    /// The pod's own address without one.
    pub host: Option<String>,
    pub port: u16,
    /// With its query; empty counts as `/`.
    pub path: String,
    /// In their order, repeated names included.
    pub headers: Vec<(String, String)>,
}

/// A handler to be called for one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerCall {
    pub container: String,
    pub attempt: u32,
    pub handler: Handler,
    /// What is longer fails.
    pub timeout: Duration,
    /// Who calls: a probe's requests and a hook's differ in their `User-Agent`, and in what they make of an answer.
    pub caller: Caller,
}

/// Who calls a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Probe,
    Hook,
}

/// What came of a call that could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerAnswer {
    pub outcome: HandlerOutcome,
    /// What it printed or answered, bounded, for the event: the text the kubelet has after `Liveness probe failed: `.
    pub text: String,
}

/// Whether a call succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerOutcome {
    Success,
    /// A success that is told by an event: a redirect to another host, a hook that was answered without TLS.
    Warning,
    Failure,
    /// An answer came that could not be read to its end: an error of the prober, which asks again.
    Unread,
}

/// Why a handler cannot be called as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoHandler {
    /// None of the kinds is set.
    None,
    /// The container has no port of this name, which is no number either.
    UnknownPort(String),
    /// Not within 1 to 65535.
    Port(i64),
}

impl fmt::Display for NoHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoHandler::None => f.write_str("no handler is named: exec, httpGet, tcpSocket, grpc or sleep"),
            // As Go's strconv.Atoi and the kubelet have it (pkg/probe/util.go, `ResolveContainerPort`).
            NoHandler::UnknownPort(name) => {
                let digits = name.trim_start_matches(['+', '-']);
                let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let why = if is_number { "value out of range" } else { "invalid syntax" };
                write!(f, "strconv.Atoi: parsing {name:?}: {why}")
            }
            NoHandler::Port(port) => write!(f, "invalid port number: {port}"),
        }
    }
}

impl Handler {
    /// What a probe of `container` asks.
    pub fn of_probe(probe: &Probe, container: &Container) -> Result<Self, NoHandler> {
        if let Some(exec) = &probe.exec {
            return Ok(Self::exec(exec));
        }
        if let Some(get) = &probe.http_get {
            return Self::http(get, container);
        }
        if let Some(tcp) = &probe.tcp_socket {
            return Self::tcp(tcp, container);
        }
        match &probe.grpc {
            Some(GRPCAction { port, service }) => {
                Ok(Self::Grpc { port: number(*port)?, service: service.clone().unwrap_or_default() })
            }
            None => Err(NoHandler::None),
        }
    }

    /// What a hook of `container` does. `tcpSocket` is of no effect in a hook, as the API documents it: it counts as none.
    pub fn of_hook(hook: &LifecycleHandler, container: &Container) -> Result<Self, NoHandler> {
        if let Some(exec) = &hook.exec {
            return Ok(Self::exec(exec));
        }
        if let Some(get) = &hook.http_get {
            return Self::http(get, container);
        }
        match &hook.sleep {
            Some(sleep) => {
                let seconds = u32::try_from(sleep.seconds.max(0)).unwrap_or(u32::MAX);
                Ok(Self::Sleep { seconds })
            }
            None => Err(NoHandler::None),
        }
    }

    fn exec(exec: &ExecAction) -> Self {
        Self::Exec { command: exec.command.clone().unwrap_or_default() }
    }

    fn http(get: &HTTPGetAction, container: &Container) -> Result<Self, NoHandler> {
        Ok(Self::HttpGet(HttpGet {
            https: get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: named(get.host.as_ref()),
            port: port(&get.port, container)?,
            path: get.path.clone().unwrap_or_default(),
            headers: get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        }))
    }

    fn tcp(tcp: &TCPSocketAction, container: &Container) -> Result<Self, NoHandler> {
        Ok(Self::TcpSocket { host: named(tcp.host.as_ref()), port: port(&tcp.port, container)? })
    }
}

fn named(host: Option<&String>) -> Option<String> {
    host.filter(|host| !host.is_empty()).cloned()
}

/// A port by its number or by the name that the container gives one of its own. A name that is a number counts as one, as
/// the kubelet has it (pkg/probe/util.go, `ResolveContainerPort`).
fn port(port: &IntOrString, container: &Container) -> Result<u16, NoHandler> {
    match port {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            match ports.find(|port| port.name.as_deref() == Some(name)) {
                Some(port) => number(port.container_port),
                None => number(name.parse::<i64>().map_err(|_| NoHandler::UnknownPort(name.clone()))?),
            }
        }
    }
}

fn number(port: impl Into<i64>) -> Result<u16, NoHandler> {
    let port = port.into();
    u16::try_from(port).ok().filter(|port| *port != 0).ok_or(NoHandler::Port(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        serde_json::from_value(serde_json::json!({
            "name": "c",
            "ports": [{"name": "web", "containerPort": 8080}, {"name": "7000", "containerPort": 7001}],
        }))
        .unwrap()
    }

    fn probe(value: serde_json::Value) -> Result<Handler, NoHandler> {
        Handler::of_probe(&serde_json::from_value(value).unwrap(), &container())
    }

    fn hook(value: serde_json::Value) -> Result<Handler, NoHandler> {
        Handler::of_hook(&serde_json::from_value(value).unwrap(), &container())
    }

    fn tcp(port: serde_json::Value) -> Result<Handler, NoHandler> {
        probe(serde_json::json!({"tcpSocket": {"port": port}}))
    }

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let rows = [
            (80.into(), Ok(80)),
            ("web".into(), Ok(8080)),
            ("7000".into(), Ok(7001)),
            ("90".into(), Ok(90)),
            ("gone".into(), Err(NoHandler::UnknownPort("gone".into()))),
            (0.into(), Err(NoHandler::Port(0))),
            (65536.into(), Err(NoHandler::Port(65536))),
            ("65536".into(), Err(NoHandler::Port(65536))),
            ("5000000000".into(), Err(NoHandler::Port(5_000_000_000))),
        ];
        for (port, expected) in rows {
            assert_eq!(tcp(port), expected.map(|port| Handler::TcpSocket { host: None, port }));
        }
    }

    #[test]
    fn ports_that_are_none_are_told_as_the_kubelet_does() {
        for (port, told) in [
            (serde_json::json!("gone"), "strconv.Atoi: parsing \"gone\": invalid syntax"),
            ("".into(), "strconv.Atoi: parsing \"\": invalid syntax"),
            ("99999999999999999999".into(), "strconv.Atoi: parsing \"99999999999999999999\": value out of range"),
            ("70000".into(), "invalid port number: 70000"),
            ((-1).into(), "invalid port number: -1"),
        ] {
            assert_eq!(tcp(port).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn each_kind_of_handler_is_read() {
        let get = serde_json::json!({"httpGet": {"port": "web", "path": "/a?b=c", "scheme": "HTTPS", "host": "h",
            "httpHeaders": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}});
        let headers = vec![("A".into(), "1".into()), ("A".into(), "2".into())];
        let http = Handler::HttpGet(HttpGet {
            https: true,
            host: Some("h".into()),
            port: 8080,
            path: "/a?b=c".into(),
            headers,
        });
        assert_eq!(probe(get.clone()), Ok(http.clone()));
        assert_eq!(hook(get), Ok(http));
        let exec = serde_json::json!({"exec": {"command": ["sh", "-c", "true"]}});
        let command = vec!["sh".into(), "-c".into(), "true".into()];
        assert_eq!(probe(exec.clone()), Ok(Handler::Exec { command: command.clone() }));
        assert_eq!(hook(exec), Ok(Handler::Exec { command }));
        let grpc = probe(serde_json::json!({"grpc": {"port": 9}}));
        assert_eq!(grpc, Ok(Handler::Grpc { port: 9, service: String::new() }));
        assert_eq!(hook(serde_json::json!({"sleep": {"seconds": 3}})), Ok(Handler::Sleep { seconds: 3 }));
        assert_eq!(probe(serde_json::json!({})), Err(NoHandler::None));
        assert_eq!(hook(serde_json::json!({"tcpSocket": {"port": 1}})), Err(NoHandler::None));
    }
}
