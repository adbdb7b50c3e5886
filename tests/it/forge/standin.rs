//! A stand-in of the two forges' APIs on the loopback: comments of one pull request, notes of one merge request. It knows
//! who owns which token, hands comments out page by page, and remembers every request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub id: u64,
    pub author: String,
    pub body: String,
}

#[derive(Default)]
pub struct Forge {
    pub comments: Vec<Comment>,
    /// `METHOD path` of every request, without its query.
    pub log: Vec<String>,
    /// Tokens, whose they are, and whether they may write.
    tokens: BTreeMap<&'static str, (&'static str, bool)>,
    /// The answer to every request that writes, instead of doing it.
    pub broken: Option<StatusCode>,
    /// Updates find nothing any more.
    pub gone: bool,
    next: u64,
}

impl Forge {
    pub fn add(&mut self, author: &str, body: &str) -> u64 {
        self.next += 1;
        self.comments.push(Comment { id: self.next, author: author.to_owned(), body: body.to_owned() });
        self.next
    }

    /// The requests that were not mere reading.
    pub fn writes(&self) -> Vec<&str> {
        self.log.iter().map(String::as_str).filter(|request| !request.starts_with("GET ")).collect()
    }

    pub fn by(&self, author: &str) -> Vec<&Comment> {
        self.comments.iter().filter(|comment| comment.author == author).collect()
    }
}

/// A running stand-in; it ends with this value.
pub struct Standin {
    forge: Arc<Mutex<Forge>>,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Standin {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tokens = BTreeMap::from([
            ("t0ken-of-actions", ("github-actions[bot]", true)),
            ("t0ken-of-a-fork", ("github-actions[bot]", false)),
            ("t0ken-of-the-project", ("project_1_bot", true)),
        ]);
        let forge = Arc::new(Mutex::new(Forge { tokens, ..Forge::default() }));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(forge.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { forge, address, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn forge(&self) -> MutexGuard<'_, Forge> {
        self.forge.lock().unwrap()
    }
}

/// How one forge names things.
struct Dialect {
    author: &'static str,
    name: &'static str,
    /// The path of the list; a comment is `one/<id>`.
    list: &'static str,
    one: &'static str,
    update: Method,
}

fn dialects() -> [Dialect; 2] {
    [
        Dialect {
            author: "user",
            name: "login",
            list: "/repos/acme/fleet/issues/7/comments",
            one: "/repos/acme/fleet/issues/comments",
            update: Method::PATCH,
        },
        Dialect {
            author: "author",
            name: "username",
            list: "/api/v4/projects/42/merge_requests/7/notes",
            one: "/api/v4/projects/42/merge_requests/7/notes",
            update: Method::PUT,
        },
    ]
}

async fn answer(
    State(forge): State<Arc<Mutex<Forge>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut forge = forge.lock().unwrap();
    let path = uri.path().to_owned();
    forge.log.push(format!("{method} {path}"));
    let bearer = headers.get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let private = headers.get("private-token").and_then(|v| v.to_str().ok());
    let Some(&(login, writes)) = bearer.or(private).and_then(|token| forge.tokens.get(token)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if path == "/api/v4/user" {
        return axum::Json(json!({ "id": 9, "username": login })).into_response();
    }
    if method != Method::GET && !writes {
        let message = json!({ "message": "Resource not accessible by integration" });
        return (StatusCode::FORBIDDEN, axum::Json(message)).into_response();
    }
    if let Some(status) = forge.broken.filter(|_| method != Method::GET) {
        return status.into_response();
    }
    for dialect in dialects() {
        if path == dialect.list && method == Method::GET {
            return axum::Json(page(&forge, &dialect, uri.query().unwrap_or_default())).into_response();
        }
        let text = || serde_json::from_slice::<Value>(&body).unwrap()["body"].as_str().unwrap().to_owned();
        if path == dialect.list && method == Method::POST {
            let id = forge.add(login, &text());
            return (StatusCode::CREATED, axum::Json(json!({ "id": id }))).into_response();
        }
        let id = path.strip_prefix(dialect.one).and_then(|rest| rest.strip_prefix('/')?.parse::<u64>().ok());
        if let Some(id) = id.filter(|_| method == dialect.update && !forge.gone) {
            let Some(comment) = forge.comments.iter_mut().find(|comment| comment.id == id) else { continue };
            if comment.author != login {
                return StatusCode::FORBIDDEN.into_response();
            }
            comment.body = text();
            return axum::Json(json!({ "id": id })).into_response();
        }
    }
    StatusCode::NOT_FOUND.into_response()
}

/// At most 100 comments, whatever is asked for: as both forges do.
fn page(forge: &Forge, dialect: &Dialect, query: &str) -> Value {
    let number = |name: &str, otherwise: usize| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(otherwise)
    };
    let size = number("per_page", 30).min(100);
    let shown = forge.comments.iter().skip((number("page", 1) - 1) * size).take(size);
    shown.map(|c| json!({ "id": c.id, "body": c.body, dialect.author: { dialect.name: c.author } })).collect()
}
