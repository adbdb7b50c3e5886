//! A GET request as the kubelet makes it: no proxy, no certificate verified, no connection kept, redirects of the same host
//! followed (pkg/probe/http of Kubernetes).

use std::error::Error;
use std::net::IpAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, InvalidMessage};
use tokio_util::task::AbortOnDropHandle;

use super::heard::Heard;
use super::{answer, dial, dial_failure, failure, joined, tls};
use crate::model::{Caller, HandlerAnswer, HandlerCall, HandlerOutcome, HttpGet};
use crate::port::HANDLER_BYTES;

/// Go's own bound, which the kubelet keeps.
const REDIRECTS: usize = 10;
/// The head of an answer is no longer, and has no more headers.
const HEAD_BYTES: usize = 64 << 10;
const HEADERS: usize = 100;
/// What Go says of a server that does not speak TLS.
const PLAIN: &str = "http: server gave HTTP response to HTTPS client";
/// What Go says of one that speaks neither (crypto/tls/conn.go).
const NO_TLS: &str = "tls: first record does not look like a TLS handshake";
/// What Go says when a client's time is over.
const NO_HEAD: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
const NO_BODY: &str = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    https: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// Whether the port is written: it is, unless a redirect leaves it out.
    port_shown: bool,
    /// With its query; begins with `/`.
    path: String,
}

/// An answer, and its connection as long as somebody reads from it.
type Answered = (Response<Incoming>, AbortOnDropHandle<()>);

/// Asks; any answer at all is a success of a hook. A hook whose server does not speak TLS is asked once more without, and without
/// what it is authorized by (`runHTTPHandler` in pkg/kubelet/lifecycle/handlers.go of Kubernetes).
pub(super) async fn call(get: &HttpGet, ip: IpAddr, call: &HandlerCall) -> HandlerAnswer {
    let mut headers = match headers(get, call.caller) {
        Ok(headers) => headers,
        Err(message) => return failure(message),
    };
    let address = Address {
        https: get.https,
        host: get.host.clone().unwrap_or_else(|| ip.to_string()),
        port: get.port,
        port_shown: true,
        path: escaped(&get.path),
    };
    let deadline = Instant::now() + call.timeout;
    let answered = ask(address.clone(), headers.clone(), (deadline, call)).await;
    let is_plain = answered.outcome == HandlerOutcome::Failure && answered.text.ends_with(PLAIN);
    if !is_plain || call.caller != Caller::Hook {
        return answered;
    }
    headers.remove(header::AUTHORIZATION);
    let place = address.authority();
    let again = ask(Address { https: false, ..address }, headers, (deadline, call)).await;
    match again.outcome {
        HandlerOutcome::Failure => answered,
        _ => answer(
            HandlerOutcome::Warning,
            format!("request to HTTPS lifecycle hook {place} got HTTP response, retry with HTTP succeeded"),
        ),
    }
}

/// Asks one server, and where it sends to.
async fn ask(mut address: Address, mut headers: HeaderMap, (deadline, call): (Instant, &HandlerCall)) -> HandlerAnswer {
    let host_header = headers.remove(header::HOST);
    let first = address.host.clone();
    let mut host = host_header.clone();
    let mut asked = 1;
    loop {
        let sent = timeout_at(deadline, send(&address, &headers, host.as_ref())).await;
        let shown = address.shown();
        let (response, connection) = match sent.unwrap_or_else(|_| Err(NO_HEAD.to_owned())) {
            Ok(answered) => answered,
            Err(why) => return failure(format!("Get {shown:?}: {why}")),
        };
        match redirect(&response, &address) {
            Some(Location::Wrong(why)) => return failure(format!("Get {shown:?}: {why}")),
            Some(Location::Here { next, is_relative }) if next.host == first => {
                if asked >= REDIRECTS {
                    return failure(format!("Get {:?}: stopped after {REDIRECTS} redirects", next.shown()));
                }
                host = host_header.clone().filter(|_| is_relative);
                address = next;
                asked += 1;
            }
            // Another host is not asked: what there is so far is the answer.
            Some(Location::Here { .. } | Location::Elsewhere) | None => {
                return read(response, connection, (deadline, call)).await;
            }
        }
    }
}

/// What the answer means.
async fn read(
    response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
    (deadline, call): (Instant, &HandlerCall),
) -> HandlerAnswer {
    let status = response.status();
    if call.caller == Caller::Hook {
        return answer(HandlerOutcome::Success, "");
    }
    let body = timeout_at(deadline, body(response.into_body())).await;
    drop(connection);
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return answer(HandlerOutcome::Unread, unread(&error)),
        Err(_) => return answer(HandlerOutcome::Unread, NO_BODY),
    };
    let body = String::from_utf8_lossy(&body);
    match status.as_u16() {
        200..300 => answer(HandlerOutcome::Success, body),
        300..400 => answer(HandlerOutcome::Warning, format!("Probe terminated redirects, Response body: {body}")),
        code => failure(format!("HTTP probe failed with statuscode: {code}")),
    }
}

/// As much of a body as is kept.
async fn body(mut body: Incoming) -> hyper::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(HANDLER_BYTES - bytes.len())]);
            if bytes.len() == HANDLER_BYTES {
                break;
            }
        }
    }
    Ok(bytes)
}

/// Why a body could not be read to its end, in Go's words where they are few.
fn unread(error: &hyper::Error) -> String {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let is_short = cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof);
    match broken(error) {
        _ if is_short => "unexpected EOF".to_owned(),
        why => why,
    }
}

/// The pod's headers, and those of the kubelet that it does not name.
fn headers(get: &HttpGet, caller: Caller) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &get.headers {
        let bad = |what: &str| format!("net/http: invalid header field {what} for {name:?}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| bad("value"))?;
        headers.try_append(name, value).map_err(|_| "net/http: there are too many headers".to_owned())?;
    }
    // What goes with a body, and there is none; Go takes them from nobody either.
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER] {
        headers.remove(name);
    }
    let agent = match caller {
        Caller::Probe => "kube-probe/1.36",
        Caller::Hook => "kube-lifecycle/1.36",
    };
    for (name, value) in [(header::USER_AGENT, agent), (header::ACCEPT, "*/*")] {
        match headers.get(&name) {
            None => drop(headers.insert(name, HeaderValue::from_static(value))),
            Some(value) if value.is_empty() => drop(headers.remove(name)),
            Some(_) => {}
        }
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

/// Sends one request on a connection of its own.
async fn send(address: &Address, headers: &HeaderMap, host: Option<&HeaderValue>) -> Result<Answered, String> {
    let Address { https, host: name, port, path, .. } = address;
    let mut request = Request::builder().uri(path.as_str()).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    *request.headers_mut() = headers.clone();
    let host = match host.filter(|host| !host.is_empty()) {
        Some(host) => host.clone(),
        None => HeaderValue::from_str(&address.authority()).map_err(|e| e.to_string())?,
    };
    request.headers_mut().insert(header::HOST, host);
    let tcp = dial(name, *port).await.map_err(|e| dial_failure(name, *port, &e))?;
    if !https {
        return exchange(tcp, request).await;
    }
    let server = ServerName::try_from(name.clone()).map_err(|e| format!("tls: {e}"))?;
    let connector = TlsConnector::from(tls::config().map_err(|e| format!("tls: {e}"))?);
    let connected = connector.connect(server, Heard::new(tcp)).into_fallible().await;
    exchange(connected.map_err(|(error, heard)| tls_failure(&error, &heard))?, request).await
}

async fn exchange<T>(io: T, request: Request<Empty<Bytes>>) -> Result<Answered, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|e| broken(&e))?;
    let driver = tokio::spawn(async move {
        // What breaks the connection is told by whoever waits for its answer.
        let _ = connection.await;
    });
    let connection = AbortOnDropHandle::new(driver);
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    Ok((response, connection))
}

/// Why there is no answer, in Go's words where they are few.
fn broken(error: &hyper::Error) -> String {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause {
        Some(cause) if cause.raw_os_error().is_some() => format!("read tcp: {}", super::reason(cause)),
        _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => "EOF".to_owned(),
        _ if error.is_parse() => format!("net/http: malformed HTTP response: {error}"),
        _ => error.to_string(),
    }
}

/// Only what begins as an answer of HTTP does is one: Go looks at the first five bytes (`send` in its net/http/client.go).
fn tls_failure<T>(error: &std::io::Error, heard: &Heard<T>) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) if heard.first() == b"HTTP/" => PLAIN.to_owned(),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => NO_TLS.to_owned(),
        Some(error) => format!("tls: {error}"),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => super::reason(error),
    }
}

/// Where an answer sends to.
#[derive(Debug, PartialEq, Eq)]
enum Location {
    /// To an address, which is told relative to where the answer comes from or in full.
    Here { next: Address, is_relative: bool },
    /// To another host than one that is asked over http.
    Elsewhere,
    /// It cannot be understood: why.
    Wrong(String),
}

/// Where an answer sends to; `None` when it sends nowhere.
fn redirect(response: &Response<Incoming>, from: &Address) -> Option<Location> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(header::LOCATION).filter(|location| is_redirect && !location.is_empty())?;
    let location = String::from_utf8_lossy(location.as_bytes());
    Some(
        from.follow(&location)
            .unwrap_or_else(|| Location::Wrong(format!("failed to parse Location header {location:?}"))),
    )
}

impl Address {
    /// Host and port as a `Host` header and an address have them.
    fn authority(&self) -> String {
        match (self.port_shown, self.host.contains(':')) {
            (true, _) => joined(&self.host, self.port),
            (false, true) => format!("[{}]", self.host),
            (false, false) => self.host.clone(),
        }
    }

    fn shown(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }

    /// Where a location leads from here; `None` when that is nowhere.
    fn follow(&self, location: &str) -> Option<Location> {
        let location = location.split('#').next().unwrap_or_default();
        let here = |path: String| {
            Some(Location::Here { next: Self { path: escaped(&path), ..self.clone() }, is_relative: true })
        };
        let (scheme, rest) = match scheme_of(location) {
            Some((scheme, rest)) => match rest.strip_prefix("//") {
                Some(rest) => (Some(scheme), rest),
                // `mailto:` and its like have no host: another one than ours.
                None => return Some(Location::Elsewhere),
            },
            None => match location.strip_prefix("//") {
                Some(rest) => (None, rest),
                None if location.starts_with('/') => return here(location.to_owned()),
                None => {
                    let path = self.path.split('?').next().unwrap_or_default();
                    let base = if location.starts_with('?') { path } else { &path[..=path.rfind('/')?] };
                    return here(without_dots(&format!("{base}{location}")));
                }
            },
        };
        let https = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => self.https,
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Some(Location::Elsewhere),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, authority)| authority);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
        };
        // Which host it is comes first: another one is not asked, whatever its port.
        if !host.eq_ignore_ascii_case(&self.host) {
            return Some(Location::Elsewhere);
        }
        let port = match port.trim_start_matches(':') {
            "" => None,
            port => Some(port.parse().ok()?),
        };
        let next = Self {
            https,
            host: self.host.clone(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
            port_shown: port.is_some(),
            path: escaped(&rest[end..]),
        };
        Some(Location::Here { next, is_relative: false })
    }
}

/// The scheme of a location and what follows its colon; `None` for one that is relative.
fn scheme_of(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then_some((scheme, rest))
}

/// A path without `.` and `..` in it.
fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut parts: Vec<&str> = Vec::new();
    let is_open = path.ends_with(['/']) || path.ends_with("/.") || path.ends_with("/..");
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let end = if is_open && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}{query}", parts.join("/"))
}

/// A path that can be sent: it begins with `/`, has no fragment, and what may not stand in it is escaped.
fn escaped(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut escaped = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        escaped.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Address {
        Address { https: false, host: "10.0.0.1".into(), port: 8080, port_shown: true, path: "/a/b?c".into() }
    }

    #[test]
    fn locations_are_followed_from_where_they_are_found() {
        for (location, expected, relative) in [
            ("/x?y=1", "http://10.0.0.1:8080/x?y=1", true),
            ("x", "http://10.0.0.1:8080/a/x", true),
            ("../x/./y/", "http://10.0.0.1:8080/x/y/", true),
            ("../../../x", "http://10.0.0.1:8080/x", true),
            ("?d", "http://10.0.0.1:8080/a/b?d", true),
            ("//10.0.0.1/x", "http://10.0.0.1/x", false),
            ("http://10.0.0.1:81", "http://10.0.0.1:81/", false),
            ("HTTPS://user:pass@10.0.0.1/x#y", "https://10.0.0.1/x", false),
            ("/next?to=http://b/", "http://10.0.0.1:8080/next?to=http://b/", true),
            ("/a b", "http://10.0.0.1:8080/a%20b", true),
        ] {
            let Some(Location::Here { next, is_relative }) = here().follow(location) else { panic!("{location}") };
            assert_eq!((next.shown().as_str(), is_relative), (expected, relative), "{location}");
        }
        for elsewhere in [
            "https://elsewhere/",
            "http://a:99999/",
            "http://",
            "http:///x",
            "//b\u{fc}cher/",
            "myapp://login",
            "ftp://10.0.0.1/",
            "mailto:a@b",
        ] {
            assert_eq!(here().follow(elsewhere), Some(Location::Elsewhere), "{elsewhere}");
        }
        for nowhere in ["http://10.0.0.1:99999/", "http://10.0.0.1:x/", "http://[fd00::1"] {
            assert_eq!(here().follow(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_path_is_made_one_that_can_be_sent() {
        for (path, expected) in [
            ("", "/"),
            ("healthz", "/healthz"),
            ("/a b\r\nHost: x?q=\"1\"#f", "/a%20b%0D%0AHost:%20x?q=%221%22"),
            ("/ü%20", "/%C3%BC%20"),
        ] {
            assert_eq!(escaped(path), expected);
        }
    }

    #[test]
    fn a_pod_names_headers_or_takes_the_kubelets() {
        let get = |list: &[(&str, &str)]| HttpGet {
            https: false,
            host: None,
            port: 1,
            path: String::new(),
            headers: list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let lines = |list: &[(&str, &str)], caller| {
            let headers = headers(&get(list), caller)?;
            let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
            Ok::<_, String>(headers.iter().map(line).collect::<Vec<_>>())
        };
        let kubelets = ["user-agent: kube-probe/1.36", "accept: */*", "connection: close"];
        assert_eq!(lines(&[], Caller::Probe).unwrap(), kubelets);
        assert_eq!(lines(&[], Caller::Hook).unwrap()[0], "user-agent: kube-lifecycle/1.36");
        let named = lines(&[("X", "1"), ("x", "2"), ("User-Agent", "mine"), ("accept", "")], Caller::Probe).unwrap();
        assert_eq!(named, ["x: 1", "x: 2", "user-agent: mine", "connection: close"]);
        assert_eq!(lines(&[("User-Agent", "")], Caller::Probe).unwrap(), ["accept: */*", "connection: close"]);
        let bodies = [("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Trailer", "X")];
        assert_eq!(lines(&bodies, Caller::Probe).unwrap(), kubelets, "there is no body");
        let names: Vec<String> = (0..30_000).map(|number| format!("x-{number}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(lines(&many, Caller::Probe).unwrap_err(), "net/http: there are too many headers");
        let bad = "net/http: invalid header field value for \"X\"";
        assert_eq!(lines(&[("X", "a\r\nHost: b")], Caller::Probe).unwrap_err(), bad);
    }
}
