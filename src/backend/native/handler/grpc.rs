//! The health of a gRPC server: one call of `grpc.health.v1.Health/Check`, answered in the words of the kubelet's prober
//! (pkg/probe/grpc/grpc.go of Kubernetes 1.36). The two messages have one field each, so they are written by hand.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{answer, dial_failure, failure, joined};
use crate::model::{HandlerAnswer, HandlerOutcome};

/// Bytes of an answer that are read, and of its headers and trailers: it takes a few dozen.
const MOST: u32 = 16 << 10;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The codes of gRPC by number, as Go writes them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// The states of a service by number.
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: usize = 1;
const USER_AGENT: &str = "kube-probe/1.36";
/// What Go says of a time that is over.
const LATE: &str = "context deadline exceeded";

/// A call that failed.
struct Status {
    code: &'static str,
    message: String,
}

impl Status {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Asks how a service is; the empty name stands for the server as a whole.
pub(super) async fn call(ip: IpAddr, port: u16, service: &str, patience: Duration) -> HandlerAnswer {
    let (host, deadline) = (ip.to_string(), Instant::now() + patience);
    let authority = joined(&host, port);
    match timeout_at(deadline, TcpStream::connect((ip, port))).await {
        Ok(Ok(stream)) => check(stream, (&authority, service), (deadline, patience)).await,
        Ok(Err(error)) => {
            let why = dial_failure(&host, port, &error);
            failure(format!("error: failed to connect service at {authority:?}: {why}"))
        }
        Err(_) => {
            let within = patience.as_secs();
            failure(format!("timeout: failed to connect service {authority:?} within {within}s: {LATE}"))
        }
    }
}

/// The same over a connection that is open.
async fn check(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (authority, service): (&str, &str),
    (deadline, patience): (Instant, Duration),
) -> HandlerAnswer {
    match timeout_at(deadline, exchange(stream, authority, service)).await {
        Err(_) | Ok(Err(Status { code: "DeadlineExceeded", .. })) => {
            failure(format!("timeout: health rpc did not complete within {}s", patience.as_secs()))
        }
        Ok(Err(Status { code: "Unimplemented", message })) => failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Ok(Err(Status { code, message })) => {
            failure(format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}"))
        }
        Ok(Ok(SERVING)) => answer(HandlerOutcome::Success, "service healthy"),
        Ok(Ok(state)) => {
            let name = STATES.get(state).map_or_else(|| state.to_string(), |name| (*name).to_owned());
            failure(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

/// One call. Returns the number of the state.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    service: &str,
) -> Result<usize, Status> {
    let broken = |error: hyper::Error| Status::new("Unavailable", format!("connection error: {error}"));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(MOST).initial_connection_window_size(MOST).max_header_list_size(MOST);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(Bytes::from(framed(&request(service)))))
        .map_err(|error| Status::new("Internal", error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        read(response).await
    };
    // The connection ends with the call, whichever of them comes to its end first.
    tokio::select! {
        biased;
        answer = answer => answer,
        ended = connection => {
            let why = ended.err().map_or_else(|| "it was closed".to_owned(), |error| error.to_string());
            Err(Status::new("Unavailable", format!("connection error: {why}")))
        }
    }
}

/// The state that a response tells, or the status it ends with.
async fn read(response: Response<hyper::body::Incoming>) -> Result<usize, Status> {
    if response.status() != StatusCode::OK {
        return Err(of_http(response.status()));
    }
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/grpc") {
        return Err(Status::new("Unknown", format!("unexpected content-type {kind:?}")));
    }
    // A response of trailers alone has them as its headers.
    let alone = status(response.headers());
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let collected = Limited::new(response.into_body(), most).collect().await;
    let collected =
        collected.map_err(|error| Status::new("Internal", format!("the answer cannot be read: {error}")))?;
    match collected.trailers().and_then(status).or(alone) {
        None => Err(Status::new("Internal", "server closed the stream without sending trailers")),
        Some(Err(status)) => Err(status),
        Some(Ok(())) => state(&collected.to_bytes()),
    }
}

/// The status among headers or trailers; `None` where there is none.
fn status(headers: &HeaderMap) -> Option<Result<(), Status>> {
    let code = headers.get("grpc-status")?.to_str().unwrap_or_default();
    let code = code.parse().ok().and_then(|code: usize| CODES.get(code)).copied().unwrap_or("Unknown");
    let message = headers.get("grpc-message").map(|message| unescaped(message.as_bytes())).unwrap_or_default();
    Some(if code == "OK" { Ok(()) } else { Err(Status { code, message }) })
}

/// What a plain HTTP status stands for (doc/http-grpc-status-mapping.md of gRPC).
fn of_http(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 => "Internal",
        401 => "Unauthenticated",
        403 => "PermissionDenied",
        404 => "Unimplemented",
        429 | 502 | 503 | 504 => "Unavailable",
        _ => "Unknown",
    };
    let words = status.canonical_reason().unwrap_or_default();
    let text = format!("unexpected HTTP status code received from server: {} ({words})", status.as_u16());
    Status::new(code, text)
}

/// A message as it travels.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut out = vec![0];
    out.extend(length.to_be_bytes());
    out.extend(message);
    out
}

/// `HealthCheckRequest`: the service's name is field 1.
fn request(service: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if !service.is_empty() {
        out.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap_or_default());
        out.extend(service.as_bytes());
    }
    out
}

/// The state in a framed `HealthCheckResponse`: field 1, a number; without it 0.
fn state(body: &[u8]) -> Result<usize, Status> {
    let bad = || Status::new("Internal", "the answer is no HealthCheckResponse");
    let (prefix, message) = body.split_at_checked(PREFIX).ok_or_else(bad)?;
    let length = prefix[1..].iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
    if prefix[0] != 0 || length != message.len() {
        return Err(bad());
    }
    fields(message).ok_or_else(bad)
}

fn fields(mut rest: &[u8]) -> Option<usize> {
    let mut state = 0;
    while !rest.is_empty() {
        let key = number(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => state = usize::try_from(number(&mut rest)?).ok()?,
            (_, 0) => drop(number(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(number(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(state)
}

/// A number of variable length, at most ten bytes.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A message as trailers carry it: some bytes as `%` and two hexadecimal digits.
fn unescaped(text: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *byte == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::body::Incoming;
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;

    use super::*;

    type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

    /// Three seconds from now.
    fn soon() -> (Instant, Duration) {
        let patience = Duration::from_secs(3);
        (Instant::now() + patience, patience)
    }

    fn trailers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn grpc() -> hyper::http::response::Builder {
        Response::builder().header(header::CONTENT_TYPE, "application/grpc+proto")
    }

    /// An answer with a message, and a status at its end.
    fn message(bytes: &[u8], status: &str) -> Response<Body> {
        let end = trailers(&[("grpc-status", status)]);
        let body = Full::new(Bytes::from(framed(bytes))).with_trailers(async { Some(Ok(end)) });
        grpc().body(body.boxed_unsync()).unwrap()
    }

    fn alone(status: &str, message: &str) -> Response<Body> {
        let head = grpc().header("grpc-status", status).header("grpc-message", message);
        head.body(Full::default().boxed_unsync()).unwrap()
    }

    /// What a server says to a call, by the name of the service.
    async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let right = request.uri().path() == "/grpc.health.v1.Health/Check"
            && request.headers()["te"] == "trailers"
            && request.headers()["user-agent"] == "kube-probe/1.36";
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let name = String::from_utf8(body.get(7..).unwrap_or_default().to_vec()).unwrap();
        let plain = |status: u16| Response::builder().status(status).body(Full::default().boxed_unsync()).unwrap();
        Ok(match name.as_str() {
            _ if !right => plain(400),
            "" => message(&[8, 1], "0"),
            "down" => message(&[8, 2], "0"),
            "new" => message(&[8, 9], "0"),
            "late" => message(&[8, 1], "8"),
            "gone" => alone("5", "unknown%20service"),
            "other" => alone("12", "unknown service grpc.health.v1.Health"),
            "slow" => std::future::pending().await,
            "own-slow" => alone("4", "no time"),
            "odd" => alone("77", ""),
            "no-status" => grpc().body(Full::new(Bytes::from(framed(&[8, 1]))).boxed_unsync()).unwrap(),
            "html" => {
                Response::builder().header("content-type", "text/html").body(Full::default().boxed_unsync()).unwrap()
            }
            "large" => message(&vec![0; 1 << 20], "0"),
            "broken" => message(&[0x0b], "0"),
            "busy" => plain(503),
            _ => plain(404),
        })
    }

    async fn asked(service: &str) -> HandlerAnswer {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let serve =
            server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(theirs), service_fn(answer));
        let serve = tokio::spawn(serve);
        let came = check(ours, ("10.0.0.5:9000", service), soon()).await;
        serve.abort();
        came
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_is_told_in_the_kubelets_words() {
        let rpc = "error: health rpc probe failed: rpc error: code =";
        let not = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health):";
        let http = "unexpected HTTP status code received from server:";
        let rows = [
            ("", "service healthy".to_owned()),
            ("down", "service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
            ("new", "service unhealthy (responded with \"9\")".to_owned()),
            ("late", format!("{rpc} ResourceExhausted desc = ")),
            ("gone", format!("{rpc} NotFound desc = unknown service")),
            ("other", format!("{not} unknown service grpc.health.v1.Health")),
            ("slow", "timeout: health rpc did not complete within 3s".to_owned()),
            ("own-slow", "timeout: health rpc did not complete within 3s".to_owned()),
            ("odd", format!("{rpc} Unknown desc = ")),
            ("no-status", format!("{rpc} Internal desc = server closed the stream without sending trailers")),
            ("html", format!("{rpc} Unknown desc = unexpected content-type \"text/html\"")),
            ("large", format!("{rpc} Internal desc = the answer cannot be read: length limit exceeded")),
            ("broken", format!("{rpc} Internal desc = the answer is no HealthCheckResponse")),
            ("busy", format!("{rpc} Unavailable desc = {http} 503 (Service Unavailable)")),
            ("nowhere", format!("{not} {http} 404 (Not Found)")),
        ];
        for (service, expected) in rows {
            let HandlerAnswer { outcome, text } = asked(service).await;
            assert_eq!(text, expected, "{service}");
            assert_eq!(outcome == HandlerOutcome::Success, service.is_empty(), "{service}");
        }
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_is_a_failure() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let came = call(free.ip(), free.port(), "", Duration::from_secs(30)).await;
        let why = format!("dial tcp {free}: connect: connection refused");
        assert_eq!(came.text, format!("error: failed to connect service at \"{free}\": {why}"));
        assert_eq!(came.outcome, HandlerOutcome::Failure);
    }

    #[tokio::test(start_paused = true)]
    async fn what_speaks_something_else_is_a_failure() {
        for bytes in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            tokio::io::AsyncWriteExt::write_all(&mut theirs, bytes.as_bytes()).await.unwrap();
            drop(theirs);
            let came = check(ours, ("a:1", ""), soon()).await;
            assert_eq!(came.outcome, HandlerOutcome::Failure);
            assert!(
                came.text.starts_with("error: health rpc probe failed: rpc error: code = Unavailable"),
                "{}",
                came.text
            );
        }
    }

    #[test]
    fn the_name_of_a_service_is_a_field_of_the_request() {
        assert_eq!(request(""), [0_u8; 0]);
        assert_eq!(framed(&request("ab")), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request(&"x".repeat(300));
        assert_eq!((&long[..3], long.len()), (&[0x0a, 0xac, 2][..], 303));
    }

    #[test]
    fn an_answer_is_read_with_fields_that_are_not_known() {
        let rows: &[(&[u8], Option<usize>)] = &[
            (&[0, 0, 0, 0, 2, 8, 1], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 3, 8, 0xff, 1], Some(255)),
            (&[0, 0, 0, 0, 9, 0x12, 2, 9, 9, 8, 2, 0x18, 0x81, 1], Some(2)),
            (&[0, 0, 0, 0, 16, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1d, 1, 2, 3, 4, 8, 3], Some(3)),
            (&[], None),
            (&[0, 0, 0, 0], None),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 9, 8, 1], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[0, 0, 0, 0, 3, 0x12, 0xff, 1], None),
            (&[0, 0, 0, 0, 12, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], None),
            (&[0, 0, 0, 0, 1, 0x0b], None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(state(bytes).ok(), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn messages_of_trailers_are_unescaped() {
        let rows = [("a b", "a b"), ("a%20b", "a b"), ("100%", "100%"), ("%zz%e2%82%ac", "%zz\u{20ac}")];
        for (text, expected) in rows {
            assert_eq!(unescaped(text.as_bytes()), expected);
        }
    }
}
