//! What probes and hooks ask of a container: commands in it, and requests to its pod's address from this machine's own network.

mod exec;
mod grpc;
mod heard;
mod http;
mod tcp;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::end::subject;
use super::observe::{self, State};
use super::paths::InstanceName;
use super::{Inner, blocking};
use crate::model::{Handler, HandlerAnswer, HandlerCall, HandlerOutcome, PodKey, PodUid};
use crate::port::{ErrorKind, PortError};

const OPERATION: &str = "call a handler of";
/// How many names are looked up at the same time.
const THREADS: usize = 8;

/// Calls a handler. Nothing of the pod waits meanwhile.
pub(super) async fn call(inner: &Arc<Inner>, key: &PodKey, call: &HandlerCall) -> Result<HandlerAnswer, PortError> {
    let uid = inner.uid(key).await?;
    let name = InstanceName::new(&uid, &call.container, call.attempt)?;
    let refused = |message: &str| {
        let subject = format!("{} of pod {key}", call.container);
        Err(PortError::new(ErrorKind::Invalid, OPERATION, subject, message))
    };
    if !matches!(call.handler, Handler::Exec { .. }) {
        must_run(inner, &name).await?;
    }
    match &call.handler {
        Handler::Exec { command } => exec::call(inner, &name, command, call.timeout).await,
        Handler::HttpGet(get) => {
            let address = address(inner, &uid, get.host.is_none()).await?;
            Ok(http::call(get, address, call).await)
        }
        Handler::TcpSocket { host, port } => {
            let address = address(inner, &uid, host.is_none()).await?;
            let host = host.clone().unwrap_or_else(|| address.to_string());
            Ok(tcp::call(&host, *port, call.timeout).await)
        }
        Handler::Grpc { port, service } => {
            let address = address(inner, &uid, true).await?;
            Ok(grpc::call(address, *port, service, call.timeout).await)
        }
        Handler::Sleep { .. } => refused("a wait asks nothing of a container"),
    }
}

/// The pod's first address; that of this machine for a pod that has its network. Any when it is not `wanted`.
async fn address(inner: &Arc<Inner>, uid: &PodUid, wanted: bool) -> Result<IpAddr, PortError> {
    const NONE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if !wanted {
        return Ok(NONE);
    }
    let (inner, pod) = (Arc::clone(inner), uid.clone());
    let record = blocking(move || observe::sandbox_record(&inner.paths, &pod)).await?;
    match record.ok().filter(observe::infra_lives) {
        // A pod with the machine's network may be on a machine without an address.
        Some(record) => Ok(record.ips.first().copied().unwrap_or(NONE)),
        None => Err(PortError::new(ErrorKind::NotFound, OPERATION, format!("pod {uid}"), "its sandbox does not run")),
    }
}

/// Whether the instance runs: an answer of the pod's address would be another one's.
async fn must_run(inner: &Arc<Inner>, name: &InstanceName) -> Result<(), PortError> {
    let subject = subject(name);
    let failed = subject.clone();
    let dir = inner.paths.instance_dir(name);
    let state = blocking(move || observe::state(&dir).map_err(|e| PortError::io(OPERATION, failed, &e))).await?;
    match state {
        State::Running(_) => Ok(()),
        _ => Err(PortError::new(ErrorKind::NotFound, OPERATION, subject, "it does not run")),
    }
}

/// Connects to a host, by its name or its address.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => look_up(host, port).await?,
    };
    TcpStream::connect(addresses.as_slice()).await
}

/// The addresses of a name.
async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.to_owned();
    on_few_threads(move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect)).await?
}

/// Does work on a thread that it holds for longer than whoever asks may wait, such as the system's own resolver: on few of them,
/// also when nobody waits any more.
async fn on_few_threads<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    static PLACES: Semaphore = Semaphore::const_new(THREADS);
    let place = PLACES.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

fn answer(outcome: HandlerOutcome, text: impl Into<String>) -> HandlerAnswer {
    HandlerAnswer { outcome, text: text.into() }
}

fn failure(text: impl Into<String>) -> HandlerAnswer {
    answer(HandlerOutcome::Failure, text)
}

/// Host and port, as Go's net.JoinHostPort.
fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why a connection could not be made, as Go says it, which the kubelet passes on.
fn dial_failure(host: &str, port: u16, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => format!("dial tcp {}: connect: {}", joined(host, port), reason(error)),
        // A name that is not found has no number.
        None => format!("dial tcp: lookup {host}: {}", reason(error)),
    }
}

/// An error of the system without its number, with a small letter at its beginning.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_on_few_threads_even_when_nobody_waits() {
        use std::sync::{Condvar, Mutex};
        /// How many work now, how many at most, and whether they may end.
        type Work = (Mutex<(usize, usize, bool)>, Condvar);
        let work: Arc<Work> = Arc::default();
        let look_up = |work: Arc<Work>| {
            on_few_threads(move || {
                let (state, changed) = &*work;
                let mut now = state.lock().unwrap();
                now.0 += 1;
                now.1 = now.1.max(now.0);
                changed.notify_all();
                let mut now = changed.wait_while(now, |now| !now.2).unwrap();
                now.0 -= 1;
            })
        };
        let asked: Vec<_> = (0..3 * THREADS).map(|_| tokio::spawn(look_up(Arc::clone(&work)))).collect();
        let begun = Arc::clone(&work);
        let all_begun = move || drop(begun.1.wait_while(begun.0.lock().unwrap(), |now| now.0 < THREADS).unwrap());
        tokio::task::spawn_blocking(all_begun).await.unwrap();
        // Those that wait no longer hold their threads all the same.
        asked[..THREADS].iter().for_each(tokio::task::JoinHandle::abort);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(work.0.lock().unwrap().0, THREADS);
        work.0.lock().unwrap().2 = true;
        work.1.notify_all();
        for asked in asked {
            // Cancelled, or done.
            let _ = asked.await;
        }
        assert_eq!(work.0.lock().unwrap().1, THREADS);
    }

    #[test]
    fn failures_to_connect_are_worded_as_go_does() {
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(dial_failure("10.0.0.1", 80, &refused), "dial tcp 10.0.0.1:80: connect: connection refused");
        assert_eq!(dial_failure("fd00::1", 80, &refused), "dial tcp [fd00::1]:80: connect: connection refused");
        let unknown = io::Error::other("failed to lookup address information: no such host");
        assert_eq!(
            dial_failure("web", 80, &unknown),
            "dial tcp: lookup web: failed to lookup address information: no such host"
        );
    }
}
