//! Manifests and blobs of one repository at one endpoint.

use std::sync::PoisonError;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::{StatusCode, Uri, header};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::{self, Challenge};
use super::credentials::{Credentials, LOGINS, Login};
use super::endpoint::Endpoint;
use super::transport::{Answer, Ask, send};
use super::{Failure, Fault, Trust};
use crate::image::document::digest_hex;
use crate::image::stream::digest_of;
use crate::model::Masked;

/// Kinds of manifests and indexes, OCI's and docker's.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// Addresses one after another.
const REDIRECTS: usize = 5;
/// What a token service may answer, and an error.
const SMALL: u64 = 256 << 10;
/// As whom we get tokens for an identity.
const CLIENT_ID: &str = "podwright";

/// One repository at one endpoint.
#[derive(Debug)]
pub(in crate::image) struct Client {
    endpoint: Endpoint,
    trust: Trust,
    credentials: Credentials,
    /// Who we are, once the registry asked.
    session: Mutex<Session>,
    /// Everything it was told that no error may show.
    told: std::sync::Mutex<Vec<Masked<String>>>,
}

/// Who we are to the registry.
#[derive(Debug, Default)]
struct Session {
    /// Everything we may be; `None` until the registry asked.
    logins: Option<Vec<Login>>,
    /// Which of them we are.
    at: usize,
    /// What it wanted to know when it last said so.
    challenge: Option<Challenge>,
    /// What it made of it.
    authorization: Option<Masked<String>>,
    /// Whether that was taken once: it may have become too old since.
    proven: bool,
}

/// What a token service answers.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Client {
    /// A client; nothing is opened yet.
    pub(in crate::image) fn new(endpoint: Endpoint, credentials: Credentials) -> Self {
        let trust = Trust::new(endpoint.ca.clone());
        Self { endpoint, trust, credentials, session: Mutex::default(), told: std::sync::Mutex::default() }
    }

    /// Host and port, for people.
    pub(in crate::image) fn place(&self) -> &str {
        &self.endpoint.authority
    }

    /// A text without what the registry was told: it might have said it back, in a place that errors quote.
    pub(in crate::image) fn redacted(&self, text: &str) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "***"))
    }

    fn will_tell(&self, secret: &Masked<String>) {
        if !secret.reveal().is_empty() {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).push(secret.clone());
        }
    }

    /// A manifest or index by tag or digest, with its digest. What is asked for by digest is what it has.
    pub(in crate::image) async fn manifest(&self, name: &str, limit: u64) -> Result<(Vec<u8>, String), Failure> {
        let mut answer = self.get(&format!("manifests/{name}"), MANIFESTS, 0).await?;
        let claimed = answer.header("docker-content-digest").map(str::to_owned);
        let bytes = answer.document(limit, "the manifest").await?;
        let digest = digest_of(&bytes);
        let expected = if name.contains(':') { Some(name.to_owned()) } else { claimed };
        match expected.filter(|expected| digest_hex(expected).is_ok() && *expected != digest) {
            Some(expected) => {
                let message = format!("{}: the manifest's digest should be {expected} and is {digest}", self.place());
                Err(Failure::new(Fault::Wrong, message))
            }
            None => Ok((bytes, digest)),
        }
    }

    /// A small blob.
    pub(in crate::image) async fn document(&self, digest: &str, size: u64, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut answer = self.get(&format!("blobs/{digest}"), "", 0).await?;
        let bytes = answer.document(limit.min(size), "the image's configuration").await?;
        let found = digest_of(&bytes);
        if found != digest {
            let message = format!("{}: the digest should be {digest} and is {found}", self.place());
            return Err(Failure::new(Fault::Wrong, message));
        }
        Ok(bytes)
    }

    /// A blob from its byte `from` on, or from its beginning: the answer's status tells.
    pub(super) async fn blob(&self, digest: &str, from: u64) -> Result<Answer, Failure> {
        self.get(&format!("blobs/{digest}"), "", from).await
    }

    /// Asks, says who we are when the registry wants to know, and follows redirects. Beyond the endpoint nobody is told who
    /// we are.
    async fn get(&self, path: &str, accept: &str, from: u64) -> Result<Answer, Failure> {
        let own = self.parse(&self.endpoint.address(path))?;
        let mut uri = own.clone();
        let (mut redirects, mut refusals) = (0, 0);
        loop {
            let at_home = same_place(&uri, &own);
            let (known, login) = match self.session.lock().await {
                session if at_home => (session.authorization.clone(), session.at),
                _ => (None, 0),
            };
            let ask = Ask { accept, authorization: known.as_ref(), from, form: None };
            let answer = send(&uri, &self.trust, ask).await?;
            match answer.status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                    self.session.lock().await.proven |= known.is_some();
                    return Ok(answer);
                }
                StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return Ok(answer),
                status if at_home && refusals <= LOGINS && is_refusal(status, known.is_some()) => {
                    refusals += 1;
                    if !self.authorize(&answer, known.map(|_| login)).await? {
                        return Err(error(&answer));
                    }
                }
                status if status.is_redirection() => {
                    redirects += 1;
                    if redirects > REDIRECTS {
                        let message = format!("{}: more than {REDIRECTS} redirects", self.place());
                        return Err(Failure::new(Fault::Refused, message));
                    }
                    uri = self.follow(&uri, &answer)?;
                }
                _ => return Err(error(&answer)),
            }
        }
    }

    fn parse(&self, address: &str) -> Result<Uri, Failure> {
        let bad = |_| Failure::new(Fault::Refused, format!("{}: an address that is none", self.place()));
        address.parse().map_err(bad)
    }

    /// Where a redirect leads.
    fn follow(&self, from: &Uri, answer: &Answer) -> Result<Uri, Failure> {
        let refused = |why: &str| Failure::new(Fault::Refused, format!("{}: a redirect {why}", answer.host));
        let location = answer.header(header::LOCATION).ok_or_else(|| refused("without an address"))?;
        let scheme = from.scheme_str().unwrap_or("https");
        let address = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", answer.host)
        } else {
            location.to_owned()
        };
        let uri = self.parse(&address)?;
        match (scheme, uri.scheme_str()) {
            ("http", Some("http" | "https")) | ("https", Some("https")) if uri.host().is_some() => Ok(uri),
            (_, Some("http")) => Err(refused("from TLS to plain HTTP is not followed")),
            _ => Err(refused("to something that is no web address")),
        }
    }

    /// Says who we are, to an answer that wants to know it: anew when what we said was taken before and may be too old, the
    /// next login when not, until none is left; then it says so. `used` is the login that was refused.
    async fn authorize(&self, answer: &Answer, used: Option<usize>) -> Result<bool, Failure> {
        let mut session = self.session.lock().await;
        let logins = match session.logins.clone() {
            Some(logins) => logins,
            None => self.credentials.find(&self.endpoint.account, &self.endpoint.repository).await?,
        };
        session.logins = Some(logins.clone());
        let headers = answer.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        if let Some(challenge) = challenge::choose(headers) {
            session.challenge = Some(challenge);
        }
        if used == Some(session.at) && !std::mem::take(&mut session.proven) {
            session.at += 1;
        }
        // Who has no login at all is let in by some.
        while session.at < logins.len().max(1) {
            match self.meet(session.challenge.clone(), logins.get(session.at)).await {
                Ok(authorization) => {
                    session.authorization = Some(authorization);
                    return Ok(true);
                }
                Err(failure) if failure.fault == Fault::Unreachable || session.at + 1 >= logins.len() => {
                    return Err(failure);
                }
                Err(_) => session.at += 1,
            }
        }
        Ok(false)
    }

    /// Meets a challenge with one login, or none.
    async fn meet(&self, challenge: Option<Challenge>, login: Option<&Login>) -> Result<Masked<String>, Failure> {
        let denied = |why: String| Failure::new(Fault::Denied, format!("{}: {why}", self.place()));
        match login {
            Some(Login::Basic { name, word }) => [word, &pair(name, word)].into_iter().for_each(|s| self.will_tell(s)),
            Some(Login::Identity(word) | Login::Token(word)) => self.will_tell(word),
            None => {}
        }
        match (challenge, login) {
            (_, Some(Login::Token(token))) => Ok(bearer(token.reveal())),
            (Some(Challenge::Bearer { realm, service }), login) => self.token(&realm, service.as_deref(), login).await,
            (Some(Challenge::Basic), Some(Login::Basic { name, word })) => Ok(basic(name, word)),
            (Some(Challenge::Basic), _) => {
                let account = &self.endpoint.account;
                Err(denied(format!(
                    "authentication required, and docker's configuration has no name and password for {account}"
                )))
            }
            (None, _) => Err(denied("authentication required, in a way that is not known here".to_owned())),
        }
    }

    /// A token for pulling from this repository and nothing else.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        login: Option<&Login>,
    ) -> Result<Masked<String>, Failure> {
        let place = self.place();
        let refused = |why: &str| Failure::new(Fault::Denied, format!("{place}: its token service {why}"));
        let realm_uri = self.parse(realm)?;
        match realm_uri.scheme_str() {
            Some("https") => {}
            Some("http") if realm_uri.host().is_some_and(|host| self.endpoint.trusts_in_plain(host)) => {}
            _ => return Err(refused("is not reached over TLS")),
        }
        let scope = format!("repository:{}:pull", self.endpoint.repository);
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(service.map(|service| ("service", service)));
        let mut answer = match login {
            Some(Login::Identity(word)) => {
                fields.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
                fields.push(("refresh_token", word.reveal().as_str()));
                let form = Masked::new(encoded(&fields));
                send(&realm_uri, &self.trust, Ask { form: Some(&form), ..Ask::default() }).await?
            }
            login => {
                let joint = if realm.contains('?') { '&' } else { '?' };
                let uri = self.parse(&format!("{realm}{joint}{}", encoded(&fields)))?;
                let authorization = match login {
                    Some(Login::Basic { name, word }) => Some(basic(name, word)),
                    _ => None,
                };
                let ask = Ask { authorization: authorization.as_ref(), ..Ask::default() };
                send(&uri, &self.trust, ask).await?
            }
        };
        if answer.status != StatusCode::OK {
            return Err(error(&answer));
        }
        let bytes = answer.document(SMALL, "a token").await?;
        // What is wrong with it is not told: its text may be half a token.
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| refused("gives no token"))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refused("gives no token"));
        }
        self.will_tell(&Masked::new(token.clone()));
        Ok(bearer(&token))
    }
}

fn pair(name: &str, word: &Masked<String>) -> Masked<String> {
    Masked::new(STANDARD.encode(format!("{name}:{}", word.reveal())))
}

fn basic(name: &str, word: &Masked<String>) -> Masked<String> {
    Masked::new(format!("Basic {}", pair(name, word).reveal()))
}

fn bearer(token: &str) -> Masked<String> {
    Masked::new(format!("Bearer {token}"))
}

/// Whether an answer wants to know who we are, or somebody else. One that refuses without a challenge has no way to ask.
fn is_refusal(status: StatusCode, told: bool) -> bool {
    status == StatusCode::UNAUTHORIZED || told && status == StatusCode::FORBIDDEN
}

/// Whether two addresses are of one scheme, host and port.
fn same_place(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme_str() == b.scheme_str() && host(a) == host(b) && port(a) == port(b)
}

/// Names and values as a form has them.
fn encoded(fields: &[(&str, &str)]) -> String {
    let one = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
                other => out.push_str(&format!("%{other:02X}")),
            }
        }
        out
    };
    fields.iter().map(|(name, value)| format!("{}={}", one(name), one(value))).collect::<Vec<_>>().join("&")
}

/// What an answer that is none means. What else it says is not told: a registry could say what it was sent.
fn error(answer: &Answer) -> Failure {
    let status = answer.status;
    let (fault, what) = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => (Fault::Missing, "not found".to_owned()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Fault::Denied, format!("access denied ({})", status.as_u16()))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            (Fault::Unreachable, format!("it answers {status}"))
        }
        status if status.is_server_error() => (Fault::Unreachable, format!("it answers {status}")),
        _ => (Fault::Wrong, format!("it answers {status}")),
    };
    Failure::new(fault, format!("{}: {what}", answer.host))
}
