//! The server: one handler over the published projection.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::body::ChannelBody;
use super::logs::{LogReader, LogRequest};
use super::openid::OpenId;
use super::resource::{Target, names, target};
use super::selector::{FieldSelector, LabelSelector};
use super::status::{Failure, json_response};
use super::table::{self, Include};
use super::watch::{History, Selection, changes};
use super::{discovery, logs};
use crate::model::{PodKey, Projection};
use crate::port::{ErrorKind, PortError};
use crate::report::Listed;
#[cfg(target_os = "linux")]
use crate::sys::effect;

/// A bound socket that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket (mode 0600; its directory is made with 0700). One that nobody answers on is replaced.
    #[cfg(target_os = "linux")]
    pub async fn bind(socket: &std::path::Path) -> Result<Self, PortError> {
        const OPERATION: &str = "serve the API on";
        let subject = socket.display().to_string();
        let failed = |e: &io::Error| PortError::io(OPERATION, subject.clone(), e);
        // sun_path holds 108 bytes with the closing zero.
        if socket.as_os_str().len() > 107 {
            let text = "a socket's path may have 107 bytes at most";
            return Err(PortError::new(ErrorKind::Invalid, OPERATION, subject, text).with_help("use a shorter --root"));
        }
        if let Some(directory) = socket.parent() {
            effect::make_dirs(directory, 0o700).map_err(|e| failed(&e))?;
        }
        if tokio::net::UnixStream::connect(socket).await.is_ok() {
            let text = "another agent answers there";
            let help = "stop it first, or give this one another --root";
            return Err(PortError::new(ErrorKind::Conflict, OPERATION, subject, text).with_help(help));
        }
        match effect::remove_file(socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&e)),
            _ => {}
        }
        let listen = || {
            let listener = effect::listen(socket)?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        let listener = listen().map_err(|e| failed(&e))?;
        effect::change_mode_of(socket, 0o600).map_err(|e| failed(&e))?;
        Ok(Self { listener, path: socket.to_owned() })
    }

    /// Answers until the future is dropped; the socket goes with it.
    pub async fn serve(
        self,
        projection: watch::Receiver<Arc<Projection>>,
        logs: Arc<dyn LogReader>,
        openid: OpenId,
    ) -> Result<(), PortError> {
        let subject = self.path.display().to_string();
        let _socket = RemoveOnDrop(self.path);
        let shared = Shared { projection, history: Arc::default(), logs, openid: Arc::new(openid) };
        let router = Router::new().fallback(handle).with_state(shared);
        axum::serve(self.listener, router).await.map_err(|e| PortError::io("serve the API on", subject, &e))
    }
}

struct RemoveOnDrop(PathBuf);

#[cfg(target_os = "linux")]
impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // A socket left behind is replaced by the next agent, so a failure here costs nothing.
        let _ = effect::remove_file(&self.0);
    }
}

#[derive(Clone)]
struct Shared {
    projection: watch::Receiver<Arc<Projection>>,
    history: Arc<Mutex<History>>,
    logs: Arc<dyn LogReader>,
    openid: Arc<OpenId>,
}

impl Shared {
    /// The newest projection. It is remembered, for a client may watch on from its version.
    fn current(&self) -> Arc<Projection> {
        let current = self.projection.borrow().clone();
        self.note(&current);
        current
    }

    fn note(&self, projection: &Arc<Projection>) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).note(projection);
    }
}

/// The query parameters, the last of equal ones.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Result<Self, Failure> {
        let parsed = Query::<Vec<(String, String)>>::try_from_uri(uri);
        parsed.map(|Query(pairs)| Self(pairs)).map_err(|e| Failure::bad_request(e.to_string()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some("false" | "0" | "False") => Ok(false),
            Some("" | "true" | "1" | "True") => Ok(true),
            Some(other) => Err(Failure::bad_request(format!("{name} must be true or false, not {other:?}"))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let text = self.get(name).filter(|t| !t.is_empty());
        text.map(|t| t.parse().map_err(|_| Failure::bad_request(format!("{name} must be a number, not {t:?}"))))
            .transpose()
    }
}

async fn handle(State(shared): State<Shared>, request: Request) -> Response<Body> {
    answer(&shared, &request.into_parts().0).await.unwrap_or_else(|failure| failure.response())
}

async fn answer(shared: &Shared, request: &Parts) -> Result<Response<Body>, Failure> {
    if request.method != Method::GET {
        return Err(Failure::method_not_allowed(request.method.as_str()));
    }
    let parameters = Parameters::of(&request.uri)?;
    match target(request.uri.path()).ok_or_else(Failure::no_such_path)? {
        Target::Document(path) if matches!(path.as_str(), "/healthz" | "/livez" | "/readyz") => {
            Ok(Response::new(Body::from("ok")))
        }
        Target::Document(path) => {
            let known = || discovery::document(&path).map(|document| json_response(200, &document));
            shared.openid.answer(&path).or_else(known).ok_or_else(Failure::no_such_path)
        }
        Target::Collection { listed, namespace } => {
            let selection = selection(listed, namespace, None, &parameters)?;
            collection(shared, selection, &parameters, &request.headers)
        }
        Target::Object { listed, namespace, name } => {
            let namespace = names(listed).namespaced.then_some(namespace);
            let selection = selection(listed, namespace, Some(name.clone()), &parameters)?;
            if parameters.flag("watch")? {
                return collection(shared, selection, &parameters, &request.headers);
            }
            let current = shared.current();
            let object = selection.view_once(&current).into_values().next();
            let object = object.ok_or_else(|| Failure::not_found(listed, &name))?;
            let style = Style::of(listed, &request.headers, &parameters)?;
            Ok(json_response(200, &style.one(&object)))
        }
        Target::Log { namespace, name } => log(shared, PodKey::new(namespace, name), &parameters).await,
    }
}

fn selection(
    listed: Listed,
    namespace: Option<String>,
    name: Option<String>,
    parameters: &Parameters,
) -> Result<Selection, Failure> {
    let labels = LabelSelector::parse(parameters.get("labelSelector").unwrap_or_default());
    let fields = FieldSelector::parse(listed, parameters.get("fieldSelector").unwrap_or_default());
    Ok(Selection {
        listed,
        namespace,
        name,
        labels: labels.map_err(Failure::bad_request)?,
        fields: fields.map_err(Failure::bad_request)?,
    })
}

/// How a client wants its objects.
#[derive(Clone, Copy)]
struct Style {
    listed: Listed,
    table: bool,
    include: Include,
}

impl Style {
    fn of(listed: Listed, headers: &HeaderMap, parameters: &Parameters) -> Result<Self, Failure> {
        let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
        let include = Include::parse(parameters.get("includeObject")).map_err(Failure::bad_request)?;
        Ok(Self { listed, table: table::wanted(accept), include })
    }

    fn one(&self, object: &Value) -> Value {
        if !self.table {
            return object.clone();
        }
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        table::table(self.listed, &[object], self.include, version, Timestamp::now())
    }

    fn list(&self, objects: &[Arc<Value>], version: u64) -> Value {
        let version = version.to_string();
        if self.table {
            let objects: Vec<&Value> = objects.iter().map(|o| &**o).collect();
            return table::table(self.listed, &objects, self.include, &version, Timestamp::now());
        }
        let names = names(self.listed);
        json!({
            "kind": format!("{}List", names.kind),
            "apiVersion": names.api_version,
            "metadata": {"resourceVersion": version},
            "items": objects,
        })
    }
}

fn collection(
    shared: &Shared,
    selection: Selection,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let style = Style::of(selection.listed, headers, parameters)?;
    let current = shared.current();
    if !parameters.flag("watch")? {
        let objects: Vec<Arc<Value>> = selection.view_once(&current).into_values().collect();
        return Ok(json_response(200, &style.list(&objects, current.resource_version)));
    }
    let from = match parameters.number("resourceVersion")? {
        None | Some(0) => None,
        Some(version) => {
            let history = shared.history.lock().unwrap_or_else(PoisonError::into_inner);
            Some(history.at(version).map_err(|oldest| Failure::expired(version, oldest))?)
        }
    };
    let timeout = parameters.number("timeoutSeconds")?.map(Duration::from_secs);
    let (sender, receiver) = mpsc::channel(16);
    let work = watch_changes(shared.clone(), selection, style, from, sender);
    tokio::spawn(async move {
        match timeout {
            Some(limit) => drop(tokio::time::timeout(limit, work).await),
            None => work.await,
        }
    });
    Ok(stream(receiver, "application/json"))
}

fn stream(receiver: mpsc::Receiver<io::Result<Bytes>>, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(ChannelBody(receiver)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sends what changes until the client goes or the agent ends. Without `from` every object is told as added first.
async fn watch_changes(
    shared: Shared,
    selection: Selection,
    style: Style,
    from: Option<Arc<Projection>>,
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut projections = shared.projection.clone();
    let mut known = from.map(|p| selection.view(&p)).unwrap_or_default();
    loop {
        let current = projections.borrow_and_update().clone();
        shared.note(&current);
        let view = selection.view(&current);
        for (kind, object) in changes(&known, &view, current.resource_version) {
            let mut line = json!({"type": kind, "object": style.one(&object)}).to_string();
            line.push('\n');
            if sender.send(Ok(line.into())).await.is_err() {
                return;
            }
        }
        known = view;
        // Cancel-safe: neither future loses anything when the other one wins.
        tokio::select! {
            changed = projections.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

async fn log(shared: &Shared, key: PodKey, parameters: &Parameters) -> Result<Response<Body>, Failure> {
    let current = shared.current();
    let pods = Listed::Kind(crate::model::Kind::Pod);
    let pod = current.objects.get(&key.object()).ok_or_else(|| Failure::not_found(pods, &key.name))?;
    let container = logs::choose_container(&pod.value, parameters.get("container")).map_err(Failure::bad_request)?;
    let since = match (parameters.number("sinceSeconds")?, parameters.get("sinceTime")) {
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        (Some(seconds), None) => {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            Some(Timestamp::now().saturating_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN))
        }
        (None, Some(text)) => Some(text.parse().map_err(|_| {
            Failure::bad_request(format!("sinceTime must be a time such as 2026-01-02T03:04:05Z, not {text:?}"))
        })?),
        (None, None) => None,
    };
    let request = LogRequest {
        pod: key,
        container: container.clone(),
        follow: parameters.flag("follow")?,
        previous: parameters.flag("previous")?,
        timestamps: parameters.flag("timestamps")?,
        tail_lines: parameters.number("tailLines")?,
        limit_bytes: parameters.number("limitBytes")?,
        since,
    };
    match shared.logs.open(&request).await {
        Ok(receiver) => Ok(stream(receiver, "text/plain")),
        Err(error) if error.kind == ErrorKind::NotFound => {
            Err(logs::nothing_yet(&pod.value, &request).unwrap_or_else(|| Failure::from_port(&error)))
        }
        Err(error) => Err(Failure::from_port(&error)),
    }
}
