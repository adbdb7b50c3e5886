//! Failures as `Status` objects.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::resource::names;
use crate::port::{ErrorKind, PortError};
use crate::report::Listed;

/// A refused request.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Value>,
}

impl Failure {
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into(), details: None }
    }

    /// `pods "x" not found`, the group behind a dot for kinds outside of the core group.
    pub fn not_found(listed: Listed, name: &str) -> Self {
        let names = names(listed);
        let group = names.api_version.split_once('/').map(|(group, _)| group);
        let resource = group.map_or_else(|| names.plural.to_owned(), |g| format!("{}.{g}", names.plural));
        let mut details = json!({"name": name, "kind": names.plural});
        if let Some(group) = group {
            details["group"] = json!(group);
        }
        let message = format!("{resource} {name:?} not found");
        Self { code: 404, reason: "NotFound", message, details: Some(details) }
    }

    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self { code: 404, reason: "NotFound", message, details: None }
    }

    pub fn method_not_allowed(method: &str) -> Self {
        let message = format!(
            "{method} is not supported: podwright's objects come from its manifests; change them there and commit"
        );
        Self { code: 405, reason: "MethodNotAllowed", message, details: None }
    }

    pub fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self { code: 410, reason: "Expired", message, details: None }
    }

    pub fn from_port(error: &PortError) -> Self {
        let (code, reason) = match error.kind {
            ErrorKind::NotFound => (404, "NotFound"),
            ErrorKind::Invalid => (400, "BadRequest"),
            ErrorKind::Conflict => (409, "Conflict"),
            ErrorKind::Denied => (403, "Forbidden"),
            ErrorKind::Exhausted | ErrorKind::Unavailable => (503, "ServiceUnavailable"),
            ErrorKind::Corrupt | ErrorKind::Internal => (500, "InternalError"),
        };
        Self { code, reason, message: error.to_string(), details: None }
    }

    pub fn object(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    pub fn response(&self) -> Response<Body> {
        json_response(self.code, &self.object())
    }
}

/// A JSON response.
pub(super) fn json_response(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
