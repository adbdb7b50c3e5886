//! A registry on loopback that does what it is told, right or wrong, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::images::Layout;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte of a range.
    pub fn from(&self) -> usize {
        let range = self.header("range").and_then(|r| r.strip_prefix("bytes="));
        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// The body is repeated until the other side has enough.
    pub endless: bool,
    /// No length is told: the end of the connection is the end of the body.
    pub unmeasured: bool,
    /// After so many bytes of the body it waits.
    pub held: Option<(usize, Gate)>,
}

/// What answers wait for.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, from now on.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let patience = Duration::from_secs(60);
        drop(self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), patience, |open| !*open).unwrap());
    }
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(200) }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A part of `body` as its range asks for it.
    pub fn part(asked: &Asked, body: &[u8]) -> Self {
        match asked.from() {
            0 => Self::ok(body),
            from if from >= body.len() => Self::status(416),
            from => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                Self { body: body[from..].to_vec(), ..Self::status(206) }.with("Content-Range", range)
            }
        }
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server; it ends when it is dropped.
pub struct Server {
    /// `127.0.0.1:PORT`.
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve("127.0.0.1:0", None, handler)
    }

    /// A server at this address and port.
    pub fn start_at(address: &str, handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(address, None, handler)
    }

    /// A server that speaks TLS, and the directory with the certificate of its authority (`ca.pem`).
    pub fn start_tls(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Self, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let chain = vec![CertificateDer::from_pem_file(dir.path().join("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(dir.path().join("key.pem")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        (Self::serve("127.0.0.1:0", Some(Arc::new(builder.with_single_cert(chain, key).unwrap())), handler), dir)
    }

    fn serve(
        address: &str,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, end) = (Arc::clone(&asked), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, log, tls) = (Arc::clone(&handler), Arc::clone(&log), tls.clone());
                // A client that goes away in the middle is what some tests are about.
                std::thread::spawn(move || drop(serve(stream.unwrap(), tls, &*handler, &log)));
            }
        });
        Self { address, asked, over, thread: Some(thread) }
    }

    /// A registry of one image under every name and tag. What `odd` answers counts before what is right.
    pub fn of(layout: &Layout, top: &Value, odd: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let (files, top) = (layout.files.clone(), top["digest"].as_str().unwrap().to_owned());
        Self::start(move |asked| odd(asked).unwrap_or_else(|| right(&files, &top, asked)))
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The paths of what was asked, without queries.
    pub fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|a| a.path.split('?').next().unwrap().to_owned()).collect()
    }

    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What a registry that has these files answers.
pub fn right(files: &BTreeMap<String, Vec<u8>>, top: &str, asked: &Asked) -> Reply {
    let path = asked.path.split('?').next().unwrap();
    let blob = |digest: &str| files.get(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")));
    let (kind, name) = match path.rsplit_once('/') {
        Some((rest, name)) if rest.ends_with("/manifests") => ("manifest", name),
        Some((rest, name)) if rest.ends_with("/blobs") => ("blob", name),
        _ => return Reply::status(404),
    };
    let digest = if kind == "manifest" && !name.contains(':') { top } else { name };
    match blob(digest) {
        Some(bytes) if kind == "manifest" => Reply::ok(bytes.clone()).with("Docker-Content-Digest", digest),
        Some(bytes) => Reply::part(asked, bytes),
        None => Reply::status(404),
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handler: &Handler,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    match tls {
        None => converse(stream, handler, log),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
            converse(StreamOwned::new(session, stream), handler, log)
        }
    }
}

fn converse(stream: impl Read + Write, handler: &Handler, log: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |l: &String| l.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = Asked { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() };
    log.lock().unwrap().push(asked.clone());
    answer(reader.get_mut(), &handler(&asked))
}

fn answer(stream: &mut (impl Read + Write), reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    let measured = reply.headers.iter().any(|(name, _)| name == "Content-Length");
    if !(measured || reply.endless || reply.unmeasured) {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let end = reply.cut.unwrap_or(reply.body.len());
    let mut begin = 0;
    if let Some((held, gate)) = &reply.held {
        stream.write_all(&reply.body[..*held])?;
        stream.flush()?;
        begin = *held;
        gate.wait();
    }
    stream.write_all(&reply.body[begin..end])?;
    if !reply.endless {
        return stream.flush();
    }
    loop {
        stream.write_all(&reply.body)?;
    }
}

/// Name and password of a [`Real`] registry that asks for them.
pub const USER: &str = "user";
pub const WORD: &str = "hidden-word";
/// The same as htpasswd has it (bcrypt).
const HTPASSWD: &str = "user:$2y$05$podwrightpodwrightpoduoQOO6UhSZe3A7E54./OTu.bEUIuZTea\n";

/// Debian's docker-registry, over TLS with an authority of its own, for those who know its password.
pub struct Real {
    /// `127.0.0.1:PORT`.
    pub address: String,
    dir: tempfile::TempDir,
    child: std::process::Child,
}

impl Real {
    /// Starts one. `program` makes the command for a program, such as one in a network namespace.
    pub fn start(program: &dyn Fn(&str) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        certificates(dir.path());
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        let at = dir.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\n\
             http: {{addr: \"{address}\", tls: {{certificate: {at}/cert.pem, key: {at}/key.pem}}}}\n\
             auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n"
        );
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let binary = super::images::test_file("docker-registry");
        let mut command = program(binary.to_str().unwrap());
        command.arg("serve").arg(dir.path().join("config.yml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { address, child: command.spawn().unwrap(), dir };
        let answers = || registry.curl(program, &["/v2/"]).status.success();
        for _ in 0..600 {
            if answers() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not answer");
    }

    /// The certificate of its authority.
    pub fn ca(&self) -> String {
        self.dir.path().join("ca.pem").display().to_string()
    }

    /// docker's configuration with its password.
    pub fn docker_config(&self) -> String {
        format!(r#"{{"auths": {{"{}": {{"username": "{USER}", "password": "{WORD}"}}}}}}"#, self.address)
    }

    fn curl(&self, program: &dyn Fn(&str) -> Command, arguments: &[&str]) -> std::process::Output {
        let (url, rest) = arguments.split_first().unwrap();
        let url = if url.starts_with("https:") { (*url).to_owned() } else { format!("https://{}{url}", self.address) };
        let mut curl = program("curl");
        curl.args(["-sS", "-f", "-u", &format!("{USER}:{WORD}"), "--cacert", &self.ca(), &url]).args(rest);
        curl.output().unwrap()
    }

    /// Pushes an image with everything below it.
    pub fn push(&self, program: &dyn Fn(&str) -> Command, layout: &Layout, top: &Value, (name, tag): (&str, &str)) {
        let ok = |arguments: &[&str]| {
            let output = self.curl(program, arguments);
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let file = self.dir.path().join("upload");
        let data = format!("@{}", file.display());
        let is_manifest = |bytes: &[u8]| {
            bytes.starts_with(b"{") && serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v["schemaVersion"] == 2)
        };
        for (path, bytes) in layout.files.iter().filter(|(_, bytes)| !is_manifest(bytes)) {
            let Some(hex) = path.strip_prefix("blobs/sha256/") else { continue };
            let begun = ok(&[&format!("/v2/{name}/blobs/uploads/"), "-X", "POST", "-D", "-", "-d", ""]);
            let location =
                begun.lines().find_map(|l| l.strip_prefix("Location: ").or(l.strip_prefix("location: "))).unwrap();
            std::fs::write(&file, bytes).unwrap();
            let url = format!("{}&digest=sha256:{hex}", location.trim());
            ok(&[&url, "-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", &data]);
        }
        let mut manifests: Vec<(&String, &Vec<u8>)> = layout.files.iter().filter(|(_, b)| is_manifest(b)).collect();
        // Those of images before those of indexes.
        manifests.sort_by_key(|(_, bytes)| bytes.windows(11).any(|w| w == b"\"manifests\""));
        let top = top["digest"].as_str().unwrap();
        for (path, bytes) in manifests {
            let index = bytes.windows(11).any(|w| w == b"\"manifests\"");
            let kind = if index { "index" } else { "manifest" };
            let kind = format!("Content-Type: application/vnd.oci.image.{kind}.v1+json");
            let digest = path.replace("blobs/sha256/", "sha256:");
            std::fs::write(&file, bytes).unwrap();
            let mut names = vec![digest.as_str()];
            names.extend((digest == top).then_some(tag));
            for reference in names {
                ok(&[&format!("/v2/{name}/manifests/{reference}"), "-X", "PUT", "-H", &kind, "--data-binary", &data]);
            }
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority and a certificate for 127.0.0.1 that it signed.
fn certificates(dir: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(dir.join("extensions"), "subjectAltName = IP:127.0.0.1\nbasicConstraints = CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca-key.pem -out ca.pem -days 30 -subj /CN=authority"));
    openssl(&format!("req {key} -keyout key.pem -out request.pem -subj /CN=registry"));
    let sign = "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile extensions";
    openssl(&format!("{sign} -out cert.pem"));
}
