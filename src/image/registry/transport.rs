//! One request on a connection of its own, everything about it bounded.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, Error};
use tokio_util::task::AbortOnDropHandle;

use super::{Failure, Fault, Trust};
use crate::model::Masked;

/// Resolving a name, connecting and agreeing on keys.
const CONNECT: Duration = Duration::from_secs(15);
/// Until the head of an answer is there.
const HEAD: Duration = Duration::from_secs(30);
/// Between two pieces of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// A document, however it drips.
const DOCUMENT: Duration = Duration::from_secs(60);
const AGENT: &str = concat!("podwright/", env!("CARGO_PKG_VERSION"));

/// What is asked for, besides the address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) accept: &'a str,
    pub(super) authorization: Option<&'a Masked<String>>,
    /// The first byte that is wanted.
    pub(super) from: u64,
    /// A form to be posted.
    pub(super) form: Option<&'a Masked<String>>,
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Who answered, for errors.
    pub(super) host: String,
    body: Incoming,
    /// The connection lives as long as somebody reads from it.
    _connection: AbortOnDropHandle<()>,
}

/// Sends one request.
pub(super) async fn send(uri: &Uri, trust: &Trust, ask: Ask<'_>) -> Result<Answer, Failure> {
    let host = uri.host().ok_or_else(|| Failure::new(Fault::Refused, "an address without a host"))?;
    let plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let authority = uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let request = request(uri, &authority, ask)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unreachable = |why: String| Failure::new(Fault::Unreachable, format!("{authority}: {why}"));
    let open = async {
        let tcp = TcpStream::connect((bare, port)).await.map_err(|e| unreachable(e.to_string()))?;
        if plain {
            return shake(tcp).await.map_err(&unreachable);
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|e| unreachable(e.to_string()))?;
        let connector = TlsConnector::from(trust.config()?);
        let connected = connector.connect(name, tcp).await;
        shake(connected.map_err(|e| tls_failure(&authority, &e))?).await.map_err(&unreachable)
    };
    let late = |what: &str, within: Duration| unreachable(format!("{what} within {} s", within.as_secs()));
    let (mut sender, connection) = timeout(CONNECT, open).await.map_err(|_| late("no connection", CONNECT))??;
    let answer = timeout(HEAD, sender.send_request(request)).await.map_err(|_| late("no answer", HEAD))?;
    let answer = answer.map_err(|e| unreachable(format!("no answer: {e}")))?;
    let (parts, body) = answer.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, host: authority, body, _connection: connection })
}

fn request(uri: &Uri, authority: &str, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, Failure> {
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().uri(target).header(header::HOST, authority).header(header::USER_AGENT, AGENT);
    if !ask.accept.is_empty() {
        request = request.header(header::ACCEPT, ask.accept);
    }
    if let Some(authorization) = ask.authorization {
        request = request.header(header::AUTHORIZATION, authorization.reveal());
    }
    if ask.from > 0 {
        request = request.header(header::RANGE, format!("bytes={}-", ask.from));
    }
    let body = match ask.form {
        Some(form) => {
            request = request.method(Method::POST).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            Bytes::from(form.reveal().clone())
        }
        None => Bytes::new(),
    };
    // The cause of a failure may be a header that authorizes us: it is not shown.
    let bad = |_| Failure::new(Fault::Refused, format!("{authority}: what is to be sent is no valid request"));
    request.body(Full::new(body)).map_err(bad)
}

type Connected = (http1::SendRequest<Full<Bytes>>, AbortOnDropHandle<()>);

async fn shake<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T) -> Result<Connected, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(async move {
        // What breaks the connection is told by whoever waits for its answer.
        let _ = connection.await;
    });
    Ok((sender, AbortOnDropHandle::new(driver)))
}

/// What went wrong with TLS, with a hint where the cause is known.
fn tls_failure(authority: &str, error: &std::io::Error) -> Failure {
    let text = error.to_string();
    let failure = |fault, hint: &str| Failure::new(fault, format!("{authority}: {text}{hint}"));
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => failure(
            Fault::Untrusted,
            ": nobody this machine trusts signed its certificate; name the file of its authority with `ca` in the configuration",
        ),
        Some(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
            // A device that lost its clock must be able to start what it has.
        )) => failure(Fault::Unreachable, ": its certificate is not of this time; see to the clock of this machine"),
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => failure(Fault::Untrusted, ""),
        Some(Error::InvalidMessage(_)) => failure(
            Fault::Unreachable,
            ": it does not speak TLS; if that is meant to be so, say `insecure: true` of it in the configuration",
        ),
        _ => failure(Fault::Unreachable, ""),
    }
}

impl Answer {
    /// A header as text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the body claims to be.
    pub(super) fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let unreachable = |host: &str, why: &str| Failure::new(Fault::Unreachable, format!("{host}: {why}"));
        loop {
            let frame = timeout(SILENCE, self.body.frame()).await;
            let frame = frame
                .map_err(|_| unreachable(&self.host, &format!("nothing more came within {} s", SILENCE.as_secs())))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(unreachable(&self.host, &format!("the answer broke off: {error}"))),
                // Trailers say nothing we need.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, when it is no longer than `limit`.
    pub(super) async fn document(&mut self, limit: u64, what: &str) -> Result<Vec<u8>, Failure> {
        let host = self.host.clone();
        let refused = || Failure::new(Fault::Refused, format!("{host}: {what} is larger than {limit} bytes"));
        if self.length().is_some_and(|length| length > limit) {
            return Err(refused());
        }
        let read = async {
            let mut bytes = Vec::new();
            while let Some(piece) = self.piece().await? {
                if bytes.len() as u64 + piece.len() as u64 > limit {
                    return Err(refused());
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        };
        let late =
            |_| Failure::new(Fault::Unreachable, format!("{host}: {what} took longer than {} s", DOCUMENT.as_secs()));
        timeout(DOCUMENT, read).await.map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio_rustls::rustls::InvalidMessage;

    use super::*;

    #[test]
    fn only_who_is_somebody_else_is_not_trusted() {
        for (error, fault, hint) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), Fault::Untrusted, "with `ca`"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), Fault::Untrusted, "r.example:443: "),
            (Error::InvalidCertificate(CertificateError::Revoked), Fault::Untrusted, "r.example:443: "),
            (Error::NoCertificatesPresented, Fault::Untrusted, "r.example:443: "),
            // A device whose clock was lost is not to lose its pods.
            (Error::InvalidCertificate(CertificateError::NotValidYet), Fault::Unreachable, "see to the clock"),
            (Error::InvalidCertificate(CertificateError::Expired), Fault::Unreachable, "see to the clock"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), Fault::Unreachable, "`insecure: true`"),
            (Error::HandshakeNotComplete, Fault::Unreachable, "r.example:443: "),
        ] {
            let shown = error.to_string();
            let failure = tls_failure("r.example:443", &io::Error::new(io::ErrorKind::InvalidData, error));
            assert_eq!(failure.fault, fault, "{shown}");
            assert!(failure.message.contains(hint) && failure.message.contains(&shown), "{}", failure.message);
        }
        assert_eq!(tls_failure("r:1", &io::ErrorKind::ConnectionReset.into()).fault, Fault::Unreachable);
    }
}
