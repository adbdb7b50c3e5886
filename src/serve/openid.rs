//! What a verifier of tokens asks for: who issues them, and with which keys they are signed, as Kubernetes tells it
//! (`pkg/serviceaccount/openidmetadata.go` of 1.36, after OpenID Connect Discovery 1.0).

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::status::json_response;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// Who issues the tokens of a root.
#[derive(Clone)]
pub struct OpenId {
    pub issuer: String,
    /// Gives its keys as JSON Web Keys: none while there are none, for they may be made later.
    pub keys: Arc<dyn Fn() -> Vec<Value> + Send + Sync>,
}

impl fmt::Debug for OpenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenId").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl OpenId {
    /// The document at a path, if there is one.
    pub(super) fn answer(&self, path: &str) -> Option<Response<Body>> {
        match path {
            CONFIGURATION => Some(json_response(200, &self.configuration())),
            KEYS => {
                let keys = (self.keys)();
                let mut response = json_response(200, &json!({"keys": keys}));
                let kind = HeaderValue::from_static("application/jwk-set+json");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                Some(response)
            }
            _ => None,
        }
    }

    fn configuration(&self) -> Value {
        let algorithms: Vec<Value> = (self.keys)().iter().map(|key| key["alg"].clone()).collect();
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}{KEYS}", self.issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }
}
