//! A machine in a network namespace of its own, with an outside and pods, each in namespaces of theirs.
//!
//! ```text
//!   outside 192.0.2.1 ── eth0 192.0.2.2 machine ── bridge ── pods
//!       2001:db8::1           2001:db8::2
//! ```

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use podwright::model::PodUid;
use podwright::net::{HostPort, Network, Protocol, Wishes, subnet6};
use podwright::port::PortError;
use podwright::sys::infra::Infra;
use podwright::sys::netns::NetNs;
use podwright::sys::process;

use crate::support;

pub const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const MACHINE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub const ID: &str = "0badcafe";
/// Long enough for a loaded machine; only what must fail by silence waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process in a network namespace of its own.
pub struct Space(Child);

impl Space {
    pub fn new() -> Self {
        let start = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
        };
        Self(std::thread::spawn(start).join().unwrap())
    }

    pub fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    pub fn infra(&self) -> Infra {
        Infra { pid: self.pid(), start_ticks: process::start_ticks(self.pid()).unwrap() }
    }

    /// Does something inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        NetNs::of_process(self.pid()).unwrap().enter(work).unwrap()
    }

    /// Serves its name and the caller's address inside, until it is dropped.
    pub fn serve(&self, name: &str, at: impl Into<SocketAddr>) -> Server {
        let at = at.into();
        self.inside(|| Server::start(name, at))
    }

    /// What a server says to a caller from inside.
    pub fn ask(&self, at: impl Into<SocketAddr>) -> io::Result<String> {
        let at = at.into();
        self.inside(|| ask(at))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Answers every TCP connection with `<name> <address of the caller>`.
pub struct Server(TcpListener);

impl Server {
    pub fn start(name: &str, at: impl Into<SocketAddr>) -> Self {
        let listener = TcpListener::bind(at.into()).unwrap();
        let (ours, name) = (listener.try_clone().unwrap(), name.to_owned());
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = ours.accept() {
                let _ = write!(stream, "{name} {}", from.ip());
            }
        });
        Self(listener)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both).unwrap();
    }
}

/// What a TCP server says.
pub fn ask(at: impl Into<SocketAddr>) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends a datagram from `from` (inside) and waits for its echo, which `server` gives.
pub fn echo(from: &Space, to: (Ipv4Addr, u16), server: &UdpSocket) -> io::Result<String> {
    echo_to(from.inside(|| UdpSocket::bind("0.0.0.0:0"))?, to, server)
}

/// The same of a client's own socket.
pub fn echo_to(client: UdpSocket, to: (Ipv4Addr, u16), server: &UdpSocket) -> io::Result<String> {
    server.set_read_timeout(Some(PATIENCE))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(b"ping", to)?;
    let mut buffer = [0; 64];
    let (_, peer) = server.recv_from(&mut buffer)?;
    server.send_to(b"pong", peer)?;
    let (n, _) = client.recv_from(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

/// Runs a command line in the namespace of the calling thread; its output.
pub fn sh(line: &str) -> String {
    let out = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The machine, as the test's thread sees it: it *is* in the machine's namespace.
pub struct Machine {
    pub outside: Space,
    pub state: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Machine {
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The network as a newly started agent opens it.
    pub fn open(&self, subnet: Option<&str>) -> Result<Network, PortError> {
        self.open_with(Wishes { subnet, ..Wishes::default() })
    }

    pub fn open_with(&self, wishes: Wishes<'_>) -> Result<Network, PortError> {
        Network::open(ID, self.state.path(), wishes)
    }

    pub fn attach(&self, network: &Network, name: &str, ports: &[HostPort]) -> Pod {
        let space = Space::new();
        let ips = self.wait(network.attach(&uid(name), space.infra(), ports)).unwrap();
        let IpAddr::V4(ip) = ips[0] else { panic!("{ips:?}") };
        Pod { space, ip, ips }
    }

    /// Everything a network may leave behind.
    pub fn traces(&self) -> String {
        let files: Vec<_> = std::fs::read_dir(self.state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        let seen = sh(
            "ip -o link | cut -d: -f2; ip -o -4 addr | sed 's/ *valid_lft.*//'; ip -4 route show table all | sed 's/ linkdown//' | sort; \
             nft list ruleset; cat /proc/sys/net/ipv4/ip_forward; ip -o -6 addr show scope global | sed 's/ *valid_lft.*//'; \
             [ ! -e /proc/sys/net/ipv6 ] || cat /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/eth0/accept_ra",
        );
        format!("{seen}{files:?}")
    }
}

/// A pod that is attached.
pub struct Pod {
    pub space: Space,
    pub ip: Ipv4Addr,
    /// That one first.
    pub ips: Vec<IpAddr>,
}

impl Pod {
    /// Its address of IPv6.
    pub fn ip6(&self) -> Ipv6Addr {
        let [_, IpAddr::V6(ip)] = self.ips[..] else { panic!("{:?}", self.ips) };
        ip
    }
}

/// Whether the kernel has IPv6; says so where it has not.
pub fn has_ipv6() -> bool {
    let there = Path::new("/proc/sys/net/ipv6").exists();
    if !there {
        support::skip("the kernel has no IPv6");
    }
    there
}

/// The subnet of IPv6 that the network chooses.
pub fn subnet6() -> subnet6::Subnet6 {
    subnet6::candidates(ID).next().unwrap()
}

pub fn uid(name: &str) -> PodUid {
    PodUid(name.to_owned())
}

pub const fn tcp(host_port: u16, container_port: u16) -> HostPort {
    HostPort { host_port, protocol: Protocol::Tcp, host_ip: None, container_port }
}

/// Runs a test on a machine of its own; skips it where that cannot be.
pub fn on_a_machine(test: impl FnOnce(&Machine) + Send) {
    if !support::e2e() {
        return;
    }
    if !["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().any(|p| Path::new(p).exists()) {
        return support::skip("needs nft: apt-get install nftables");
    }
    let on_it = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let outside = Space::new();
        sh("ip link set lo up");
        sh(&format!("ip link add eth0 type veth peer name far netns {}", outside.pid()));
        sh("ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.1");
        outside.inside(|| sh("ip link set lo up; ip addr add 192.0.2.1/24 dev far; ip link set far up"));
        if Path::new("/proc/sys/net/ipv6").exists() {
            outside.inside(|| sh("ip -6 addr add 2001:db8::1/64 dev far nodad"));
            sh("ip -6 addr add 2001:db8::2/64 dev eth0 nodad; ip -6 route add default via 2001:db8::1");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let machine = Machine { outside, state: tempfile::tempdir().unwrap(), runtime };
        test(&machine);
    };
    std::thread::scope(|scope| {
        // Named as the test's own thread, so that messages about it name the test.
        let name = std::thread::current().name().unwrap_or("machine").to_owned();
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, on_it).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
