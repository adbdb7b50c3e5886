//! The API from the other side: what our own commands speak to a running agent with.

use std::fmt;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::logs::LogRequest;
use super::resource::{encode, path};
use crate::model::Kind;
use crate::report::Listed;

/// No larger answer is read whole.
const LARGEST: usize = 256 << 20;
/// No longer watch event is read.
const LONGEST_EVENT: usize = 16 << 20;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Nobody answers on the socket.
    NoAgent { socket: PathBuf, message: String },
    /// The agent refused the request.
    Status { code: u16, reason: String, message: String },
    /// The connection broke or the answer made no sense.
    Protocol(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoAgent { socket, message } => {
                write!(f, "no agent answers on {} ({message}); start one with `podwright run DIR`", socket.display())
            }
            ClientError::Status { reason, message, .. } => write!(f, "Error from server ({reason}): {message}"),
            ClientError::Protocol(message) => write!(f, "the agent's answer broke off: {message}"),
        }
    }
}

impl std::error::Error for ClientError {}

fn protocol(error: impl fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}

/// Which objects of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

/// A collection at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectList {
    pub items: Vec<Value>,
    /// Watch on from here.
    pub resource_version: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: String,
    pub object: Value,
}

/// A client of one agent. Cheap: every request opens a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client for the agent behind `socket`; nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The agent's version: the cheapest way to see whether one answers.
    pub async fn version(&self) -> Result<Value, ClientError> {
        self.json("/version").await
    }

    /// One object.
    pub async fn get(&self, listed: Listed, namespace: &str, name: &str) -> Result<Value, ClientError> {
        self.json(&path(listed, Some(namespace), Some(name))).await
    }

    /// The objects of one namespace, or of all without one.
    pub async fn list(
        &self,
        listed: Listed,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<ObjectList, ClientError> {
        let mut list = self.json(&query(path(listed, namespace, None), &options.parameters())).await?;
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => return Err(protocol("a list without items")),
        };
        let resource_version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        Ok(ObjectList { items, resource_version })
    }

    /// What changes from `resource_version` on; from nothing with an empty one. Expired versions fail with code 410:
    /// list again.
    pub async fn watch(
        &self,
        listed: Listed,
        namespace: Option<&str>,
        options: &ListOptions,
        resource_version: &str,
    ) -> Result<WatchStream, ClientError> {
        let mut parameters = options.parameters();
        parameters.push(("watch", "true".to_owned()));
        if !resource_version.is_empty() {
            parameters.push(("resourceVersion", resource_version.to_owned()));
        }
        let response = self.request(&query(path(listed, namespace, None), &parameters)).await?;
        Ok(WatchStream { body: response.into_body(), buffer: Vec::new() })
    }

    /// A container's log. An empty container name means the only one.
    pub async fn log(&self, request: &LogRequest) -> Result<LogStream, ClientError> {
        let pod = path(Listed::Kind(Kind::Pod), Some(&request.pod.namespace), Some(&request.pod.name));
        let mut parameters = Vec::new();
        if !request.container.is_empty() {
            parameters.push(("container", request.container.clone()));
        }
        for (name, set) in
            [("follow", request.follow), ("previous", request.previous), ("timestamps", request.timestamps)]
        {
            if set {
                parameters.push((name, "true".to_owned()));
            }
        }
        for (name, number) in [("tailLines", request.tail_lines), ("limitBytes", request.limit_bytes)] {
            parameters.extend(number.map(|n| (name, n.to_string())));
        }
        parameters.extend(request.since.map(|at| ("sinceTime", at.to_string())));
        let response = self.request(&query(format!("{pod}/log"), &parameters)).await?;
        Ok(LogStream { body: response.into_body() })
    }

    /// Any document of the API.
    pub async fn json(&self, path_and_query: &str) -> Result<Value, ClientError> {
        let response = self.request(path_and_query).await?;
        let bytes = Limited::new(response.into_body(), LARGEST).collect().await.map_err(protocol)?.to_bytes();
        serde_json::from_slice(&bytes).map_err(protocol)
    }

    /// Sends a GET; answers other than 2xx are errors.
    async fn request(&self, path_and_query: &str) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|e| ClientError::NoAgent { socket: self.socket.clone(), message: e.to_string() })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        // It ends with the response's body; a broken connection shows up there too.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::get(path_and_query)
            .header(header::HOST, "podwright")
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(protocol)?;
        let response = sender.send_request(request).await.map_err(protocol)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(protocol)?.to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |member: &str| status[member].as_str().unwrap_or_default().to_owned();
        Err(ClientError::Status { code, reason: text("reason"), message: text("message") })
    }
}

impl ListOptions {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let labels = self.label_selector.clone().map(|s| ("labelSelector", s));
        let fields = self.field_selector.clone().map(|s| ("fieldSelector", s));
        labels.into_iter().chain(fields).collect()
    }
}

fn query(path: String, parameters: &[(&str, String)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

/// A watch under way.
#[derive(Debug)]
pub struct WatchStream {
    body: Incoming,
    buffer: Vec<u8>,
}

impl WatchStream {
    /// The next change; `None` when the agent ended the watch.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(event(&line));
            }
            if self.buffer.len() > LONGEST_EVENT {
                return Some(Err(protocol("a watch event is too long")));
            }
            match chunk(&mut self.body).await? {
                Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn event(line: &[u8]) -> Result<WatchEvent, ClientError> {
    let mut value: Value = serde_json::from_slice(line).map_err(protocol)?;
    let kind = value["type"].as_str().ok_or_else(|| protocol("a watch event without type"))?.to_owned();
    Ok(WatchEvent { kind, object: value["object"].take() })
}

/// A log under way.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
}

impl LogStream {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        chunk(&mut self.body).await
    }
}

async fn chunk(body: &mut Incoming) -> Option<Result<Bytes, ClientError>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(bytes) = frame.into_data() {
                    return Some(Ok(bytes));
                }
            }
            Err(error) => return Some(Err(protocol(error))),
        }
    }
}
