//! `port-forward`: connections to ports here reach ports of a pod, from within the pod's own network namespace: also what
//! listens on its loopback only. Needs no agent, and no tool of the image.

mod ports;

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::args::PortForwardArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::running::describe_hint;
use super::{container, look, printer, records};
use crate::backend::native::{self, PodNetwork};
use crate::model::PodKey;
use crate::sys::netns::NetNs;
use crate::sys::pidfd;
use ports::{Address, Forward};

/// Connections at one time. More wait until one has ended.
const CONNECTIONS: usize = 256;
/// Connections that the kernel lets wait.
const BACKLOG: u32 = 128;
/// How long what listens in the pod may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is accepted when there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs `port-forward` until Ctrl-C or the end of the pod's sandbox.
pub fn run(args: &PortForwardArgs, layout: &Layout) -> Result<Ending, CliError> {
    let name = container::pod_name(&args.pod);
    let key = PodKey::new(&args.namespace.namespace, name);
    let record = records::pod(layout, &key)?;
    let forwards = ports::forwards(&args.ports, &record.realised.effective.open())?;
    let addresses = ports::addresses(&args.address)?;
    let not_running = |phase: &str| {
        let text = format!("unable to forward port because pod is not running. Current status={phase}");
        CliError::new(text).hint(describe_hint(&key))
    };
    if let Some(phase) = &record.terminal {
        return Err(not_running(phase));
    }
    let network = native::pod_network(&layout.pods().join(&record.uid.0))?;
    let PodNetwork { infra, namespace } = network.ok_or_else(|| not_running("Pending"))?;
    look::block_on(async {
        let pod = Arc::new(Pod { name: name.to_owned(), namespace, room: Arc::new(Semaphore::new(CONNECTIONS)) });
        // Dropped at the end, with all that was accepted.
        let _listening = listen_on_all(&forwards, &addresses, &pod)?;
        // Cancel-safe: whichever is first, the command ends.
        tokio::select! {
            ended = pidfd::wait_exited(&infra) => {
                ended.map_err(|e| CliError::new(format!("cannot watch pod {name}: {e}")))?;
                Err(CliError::new("lost connection to pod"))
            }
            pressed = tokio::signal::ctrl_c() => {
                pressed.map_err(|e| CliError::new(format!("cannot wait for Ctrl-C: {e}")))?;
                Ok(Ending::Success)
            }
        }
    })
}

/// Listens on every port that can be had; an error when none can.
fn listen_on_all(forwards: &[Forward], addresses: &[Address], pod: &Arc<Pod>) -> Result<JoinSet<()>, CliError> {
    let mut tasks = JoinSet::new();
    for forward in forwards {
        match listen(*forward, addresses) {
            Ok((forward, listeners)) => {
                for listener in listeners {
                    let address = listener.local_addr().map_err(|e| CliError::new(format!("cannot listen: {e}")))?;
                    printer::out(&format!("Forwarding from {address} -> {}\n", forward.remote))?;
                    tasks.spawn(accept(listener, forward, pod.clone()));
                }
            }
            Err(errors) => printer::note(&format!(
                "Unable to listen on port {}: Listeners failed to create with the following errors: [{}]",
                forward.local,
                errors.join(" ")
            )),
        }
    }
    if tasks.is_empty() {
        let list: Vec<String> = forwards.iter().map(|f| format!("{{{} {}}}", f.local, f.remote)).collect();
        let list = list.join(" ");
        return Err(CliError::new(format!("unable to listen on any of the requested ports: [{list}]")));
    }
    Ok(tasks)
}

/// Listens on one port of all addresses; of those of `localhost` one is enough. A free port is the same on all of them.
fn listen(mut forward: Forward, addresses: &[Address]) -> Result<(Forward, Vec<TcpListener>), Vec<String>> {
    let (mut listeners, mut errors, mut missing) = (Vec::new(), Vec::new(), false);
    let mut any_optional = false;
    for address in addresses {
        match bind(SocketAddr::new(address.ip, forward.local)) {
            Ok(listener) => {
                forward.local = listener.local_addr().map_or(forward.local, |a| a.port());
                any_optional |= address.optional;
                listeners.push(listener);
            }
            Err(error) => {
                let kind = if address.ip.is_ipv4() { "tcp4" } else { "tcp6" };
                let place = SocketAddr::new(address.ip, forward.local);
                let reason = words(&error);
                errors.push(format!("unable to create listener: Error listen {kind} {place}: bind: {reason}"));
                missing |= !address.optional;
            }
        }
    }
    let loopback_missing = !any_optional && addresses.iter().any(|a| a.optional);
    if missing || loopback_missing { Err(errors) } else { Ok((forward, listeners)) }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // Its IPv4 counterpart is another address.
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A system's error without its number, as Go writes it.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The other side.
struct Pod {
    name: String,
    namespace: NetNs,
    room: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, forward: Forward, pod: Arc<Pod>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((connection, _)) => {
                // Whoever closed standard output still has the connections.
                let _ = printer::out(&format!("Handling connection for {}\n", forward.local));
                let Ok(room) = pod.room.clone().acquire_owned().await else { return };
                let pod = pod.clone();
                connections.spawn(async move {
                    if let Err(error) = pod.serve(connection, forward.remote).await {
                        let Forward { local, remote } = forward;
                        printer::note(&format!("error: an error occurred forwarding {local} -> {remote}: {error}"));
                    }
                    drop(room);
                });
            }
            Err(error) => {
                printer::note(&format!("error: cannot accept a connection for {}: {}", forward.local, words(&error)));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Pod {
    /// Copies both ways until the pod's side has said all, or nobody takes it any more.
    async fn serve(&self, mut here: TcpStream, port: u16) -> Result<(), String> {
        let mut there = self.connect(port).await?;
        let (mut here_read, mut here_write) = here.split();
        let (mut there_read, mut there_write) = there.split();
        let inward = async {
            tokio::io::copy(&mut here_read, &mut there_write).await?;
            there_write.shutdown().await?;
            // The answer may still come.
            pending::<io::Result<()>>().await
        };
        let outward = async {
            tokio::io::copy(&mut there_read, &mut here_write).await?;
            here_write.shutdown().await
        };
        // Cancel-safe: what is dropped is a connection that has ended.
        let copied = tokio::select! {
            copied = inward => copied,
            copied = outward => copied,
        };
        copied.map_err(|e| words(&e))
    }

    /// Connects to `localhost` in the pod's namespace, IPv4 first as the kubelet's runtimes do.
    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let first = match self.dial(IpAddr::V4(Ipv4Addr::LOCALHOST), port).await {
            Ok(stream) => return Ok(stream),
            Err(error) => words(&error),
        };
        self.dial(IpAddr::V6(Ipv6Addr::LOCALHOST), port).await.map_err(|second| {
            let (pod, second) = (&self.name, words(&second));
            format!(
                "failed to connect to localhost:{port} inside the network of pod {pod}, IPv4: {first}, IPv6: {second}"
            )
        })
    }

    async fn dial(&self, ip: IpAddr, port: u16) -> io::Result<TcpStream> {
        let open = move || if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = self.namespace.enter(open)??;
        let connecting = socket.connect(SocketAddr::new(ip, port));
        tokio::time::timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
