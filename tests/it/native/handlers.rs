//! What probes and hooks ask of containers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{Caller, Handler, HandlerAnswer, HandlerCall, HandlerOutcome, HttpGet, Signal};
use podwright::port::{ContainerBackend, ErrorKind, HANDLER_BYTES};
use serde_json::json;

use super::fixture::{TestPod, is_alive, on_root, until, with_loopback};
use crate::shim::attacks::overwrite;
use crate::support;
use crate::support::registry::{Reply, Server};

fn call_of(handler: Handler, caller: Caller, timeout: Duration) -> HandlerCall {
    HandlerCall { container: "app".into(), attempt: 0, handler, timeout, caller }
}

fn exec(script: &str, timeout: Duration) -> HandlerCall {
    call_of(Handler::Exec { command: ["sh", "-c", script].map(str::to_owned).to_vec() }, Caller::Probe, timeout)
}

async fn ask(native: &Native, pod: &TestPod, call: HandlerCall) -> (HandlerOutcome, String) {
    let HandlerAnswer { outcome, text } = native.call_handler(pod.key(), &call).await.unwrap();
    (outcome, text)
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a process of this program and argument is in the pod.
fn sleeps(root: &super::fixture::Root, pod: &TestPod, seconds: &str) -> bool {
    let pids = podwright::sys::cgroup::pids(&root.cgroup(pod)).unwrap();
    pids.iter().any(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == format!("sleep\0{seconds}\0").into_bytes()
    })
}

#[test]
fn e2e_a_command_that_takes_too_long_is_killed_with_what_it_started() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new(
            "late",
            json!({"hostNetwork": true, "containers": [{"name": "app",
                "command": ["sh", "-c", "sleep 40001 & echo ready; exec sleep 40000"]}]}),
        );
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "ready").await;
        let own = pod.pid(&native, "app").await;
        // In the background, of a session of its own, and as a child of one that has ended.
        let script = "sleep 40002 & setsid sleep 40003 & (sleep 40004 &) ; echo begun > /tmp/begun; sleep 40005";
        let answer = ask(&native, &pod, exec(script, Duration::from_secs(2))).await;
        assert_eq!(answer, (HandlerOutcome::Failure, format!("command {:?} timed out", format!("sh -c {script}"))));
        for gone in ["40002", "40003", "40004", "40005"] {
            assert!(!sleeps(root, &pod, gone), "sleep {gone} is left");
        }
        assert!(is_alive(own) && sleeps(root, &pod, "40001"), "the container's own processes run on");
        // Nobody waits any more: it goes as well.
        let (call, key) = (exec("sleep 40006", PATIENCE), pod.key().clone());
        let waiting = tokio::spawn({
            let native = native.clone();
            async move { native.call_handler(&key, &call).await }
        });
        until("the command", async || sleeps(root, &pod, "40006").then_some(())).await;
        waiting.abort();
        until("its end", async || (!sleeps(root, &pod, "40006")).then_some(())).await;
        // A command that has ended is not waited for because of what it leaves behind.
        let begun = Instant::now();
        let answer = ask(&native, &pod, exec("echo left; sleep 40007 &", PATIENCE)).await;
        assert_eq!(answer, (HandlerOutcome::Success, "left\n".to_owned()));
        assert!(begun.elapsed() < PATIENCE);
        until("what it left", async || sleeps(root, &pod, "40007").then_some(())).await;
        pod.signal(&native, "app", Signal::Kill).await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_container_cannot_overwrite_the_program_that_runs_its_probes_and_hooks() {
    if !support::e2e() {
        return;
    }
    // The control, whom the same script overwrites, is a naive runtime: shim::attacks.
    on_root(async |root| {
        let runtime = root.temp.path().join("runtime");
        std::fs::copy(env!("CARGO_BIN_EXE_podwright"), &runtime).unwrap();
        let before = std::fs::metadata(&runtime).unwrap().len();
        let native = Native::open(NativeOptions { exe: runtime.clone(), ..root.options() }).unwrap();
        for (name, caller) in [("probe", Caller::Probe), ("hook", Caller::Hook)] {
            let overwrite = overwrite(["image ", "load"], "until [ -e /go ]; do sleep 0.05; done");
            let pod = TestPod::script(name, &format!("mkfifo /fifo; echo armed; {overwrite}; exec sleep 1000"));
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.wait_log(&native, "app", "armed").await;
            // It waits for an archive that does not come.
            let command = ["/proc/self/exe", "--root", "/tmp/none", "image", "load", "/fifo"].map(str::to_owned);
            let call = call_of(Handler::Exec { command: command.to_vec() }, caller, PATIENCE);
            assert_eq!(ask(&native, &pod, call).await.0, HandlerOutcome::Failure);
            // The process that forked it has the program open until there is another one.
            let other = root.open();
            assert_eq!(ask(&other, &pod, exec("echo > /go", PATIENCE)).await.0, HandlerOutcome::Success);
            let log = pod.wait_log(&native, "app", "done").await;
            assert_eq!(log, "armed\nfound\ndone\n", "{name}");
            assert_eq!(std::fs::metadata(&runtime).unwrap().len(), before, "{name}");
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

/// Where a process is frozen with all of its container, and what is written there for that and its end: version 1's own
/// hierarchy, and version 2.
fn freezers(pid: i32) -> Vec<(PathBuf, [&'static str; 2])> {
    let places = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |mark| places.lines().find_map(|line| line.split_once(mark)).map(|(_, path)| path.to_owned());
    let file = |root: &str, path: &str, name: &str| Path::new(root).join(path).join(name);
    let first =
        path(":freezer:/").map(|path| (file("/sys/fs/cgroup/freezer", &path, "freezer.state"), ["FROZEN", "THAWED"]));
    let second = path("0::/").into_iter().flat_map(|path| {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        roots.map(|root| (file(root, &path, "cgroup.freeze"), ["1", "0"]))
    });
    first.into_iter().chain(second).filter(|(file, _)| file.exists()).collect()
}

#[test]
fn e2e_a_container_that_holds_whoever_enters_it_is_late() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new(
            "frozen",
            json!({"hostNetwork": true, "containers": [{"name": "app", "command": ["sh", "-c", "echo ready; exec sleep 40200"]}]}),
        );
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "ready").await;
        let pids = || podwright::sys::cgroup::pids(&root.cgroup(&pod)).unwrap();
        let before = pids();
        let freezers = freezers(pod.pid(&native, "app").await);
        if freezers.is_empty() {
            eprintln!("NOT TRIED: this machine freezes no processes");
        }
        for (freezer, [freeze, thaw]) in freezers {
            std::fs::write(&freezer, freeze).unwrap();
            let call = exec("true", Duration::from_secs(1));
            let answer = native.call_handler(pod.key(), &call).await;
            std::fs::write(&freezer, thaw).unwrap();
            let late =
                HandlerAnswer { outcome: HandlerOutcome::Failure, text: "command \"sh -c true\" timed out".to_owned() };
            assert_eq!(answer.unwrap(), late, "{}", freezer.display());
            until("the end of who was held", async || (pids() == before).then_some(())).await;
            assert_eq!(ask(&native, &pod, exec("true", PATIENCE)).await.0, HandlerOutcome::Success);
        }
        pod.signal(&native, "app", Signal::Kill).await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_command_is_run_as_the_containers_user_in_its_place() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new(
            "user",
            json!({"hostNetwork": true, "containers": [{"name": "app", "workingDir": "/usr",
                "securityContext": {"runAsUser": 1234, "runAsGroup": 77},
                "command": ["sh", "-c", "echo ready; exec sleep 40000"]}]}),
        );
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "ready").await;
        let answer = ask(&native, &pod, exec("id -u; id -g; pwd; cat", PATIENCE)).await;
        assert_eq!(answer, (HandlerOutcome::Success, "1234\n77\n/usr\n".to_owned()));
        let none = call_of(Handler::Exec { command: vec!["xyz".into()] }, Caller::Probe, PATIENCE);
        let error = native.call_handler(pod.key(), &none).await.unwrap_err();
        let why = "exec: \"xyz\": executable file not found in $PATH";
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unavailable, why), "no answer");
        pod.signal(&native, "app", Signal::Kill).await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

fn get(server: &Server, path: &str) -> HttpGet {
    let (host, port) = server.address.split_once(':').unwrap();
    HttpGet {
        https: false,
        host: Some(host.into()),
        port: port.parse().unwrap(),
        path: path.into(),
        headers: vec![("X-Test".into(), "1".into())],
    }
}

/// A server with an answer of each kind.
fn answers(asked: &support::registry::Asked) -> Reply {
    match asked.path.as_str() {
        "/fine?q=1" => Reply::ok("fine"),
        "/moved" => Reply::status(301).with("Location", "fine?q=1"),
        "/round" => Reply::status(302).with("Location", "/round"),
        "/away" => Reply { body: b"gone".to_vec(), ..Reply::status(307).with("Location", "http://elsewhere.invalid/") },
        "/bad" => Reply { body: b"secret".to_vec(), ..Reply::status(500) },
        "/endless" => Reply { body: b"x".repeat(1000), endless: true, unmeasured: true, ..Reply::status(200) },
        "/slow" => {
            std::thread::sleep(Duration::from_secs(3));
            Reply::status(200)
        }
        _ => Reply::status(404),
    }
}

#[test]
fn e2e_requests_are_answered_as_the_kubelet_reads_them() {
    if !support::e2e() {
        return;
    }
    with_loopback(async |root| {
        use HandlerOutcome::{Failure, Success, Warning};
        let native = root.open();
        let pod = TestPod::new(
            "web",
            json!({"hostNetwork": true, "containers": [{"name": "app", "command": ["sleep", "40100"]}]}),
        );
        pod.create(&native).await;
        let server = Server::start(answers);
        let early = call_of(Handler::HttpGet(get(&server, "/fine?q=1")), Caller::Probe, PATIENCE);
        assert_eq!(native.call_handler(pod.key(), &early).await.unwrap_err().kind, ErrorKind::NotFound);
        pod.start(&native, "app", 0).await;
        let at = format!("http://{}", server.address);
        let round = format!("Get {:?}: stopped after 10 redirects", format!("{at}/round"));
        for (path, outcome, text) in [
            ("fine?q=1", Success, "fine"),
            ("/moved", Success, "fine"),
            ("/away", Warning, "Probe terminated redirects, Response body: gone"),
            ("/round", Failure, round.as_str()),
            ("/bad", Failure, "HTTP probe failed with statuscode: 500"),
        ] {
            let handler = Handler::HttpGet(get(&server, path));
            let answer = ask(&native, &pod, call_of(handler.clone(), Caller::Probe, PATIENCE)).await;
            assert_eq!(answer, (outcome, text.to_owned()), "{path}");
            if path != "/round" {
                // Any answer will do.
                let answer = ask(&native, &pod, call_of(handler, Caller::Hook, PATIENCE)).await;
                assert_eq!(answer, (Success, String::new()), "{path}");
            }
        }
        let asked = server.asked();
        let header = |at: usize, name: &str| asked[at].header(name).map(str::to_owned);
        assert_eq!(header(0, "user-agent").as_deref(), Some("kube-probe/1.36"));
        assert_eq!(header(1, "user-agent").as_deref(), Some("kube-lifecycle/1.36"));
        assert_eq!((header(0, "x-test").as_deref(), header(0, "host")), (Some("1"), Some(server.address.clone())));
        let endless = call_of(Handler::HttpGet(get(&server, "/endless")), Caller::Probe, PATIENCE);
        assert_eq!(ask(&native, &pod, endless).await.1.len(), HANDLER_BYTES);
        let slow = call_of(Handler::HttpGet(get(&server, "/slow")), Caller::Probe, Duration::from_secs(1));
        let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        assert_eq!(ask(&native, &pod, slow).await, (Failure, format!("Get {:?}: {late}", format!("{at}/slow"))));
        let mut named = get(&server, "/fine?q=1");
        named.headers = vec![("Host".into(), "web.example".into()), ("User-Agent".into(), String::new())];
        ask(&native, &pod, call_of(Handler::HttpGet(named), Caller::Probe, PATIENCE)).await;
        let last = server.asked().pop().unwrap();
        assert_eq!((last.header("host"), last.header("user-agent")), (Some("web.example"), None));
        secure(&native, &pod).await;
        cut_short(&native, &pod).await;
        connections(&native, &pod).await;
        pod.signal(&native, "app", Signal::Kill).await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

/// HTTPS with a certificate that nobody trusts, and with a server that does not speak TLS.
async fn secure(native: &Native, pod: &TestPod) {
    let (server, _certificates) = Server::start_tls(answers);
    let secure = HttpGet { https: true, ..get(&server, "/moved") };
    let answer = ask(native, pod, call_of(Handler::HttpGet(secure.clone()), Caller::Probe, PATIENCE)).await;
    assert_eq!(answer, (HandlerOutcome::Success, "fine".to_owned()));
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
    });
    let asked = HttpGet { port, ..secure };
    let answer = ask(native, pod, call_of(Handler::HttpGet(asked), Caller::Probe, PATIENCE)).await;
    served.join().unwrap();
    let url = format!("https://127.0.0.1:{port}/moved");
    let told = format!("Get {url:?}: http: server gave HTTP response to HTTPS client");
    assert_eq!(answer, (HandlerOutcome::Failure, told));
    fallback(native, pod).await;
    only_http_is_fallen_back_to(native, pod).await;
}

/// A hook over HTTPS is asked over HTTP by a server that does not know better, without what it is authorized by.
async fn fallback(native: &Native, pod: &TestPod) {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = plain.accept().unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            asked.push(String::from_utf8_lossy(&bytes[..count]).to_lowercase());
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
        }
        asked
    });
    let headers = vec![("Authorization".into(), "Bearer x".into()), ("X-Test".into(), "1".into())];
    let get = HttpGet { https: true, host: Some("127.0.0.1".into()), port, path: "/hook".into(), headers };
    let answer = ask(native, pod, call_of(Handler::HttpGet(get), Caller::Hook, PATIENCE)).await;
    let told = format!("request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded");
    assert_eq!(answer, (HandlerOutcome::Warning, told));
    let asked = served.join().unwrap();
    assert!(asked[1].starts_with("get /hook http/1.1\r\n") && asked[1].contains("x-test: 1"), "{}", asked[1]);
    assert!(!asked[1].contains("authorization"), "{}", asked[1]);
}

/// What a server without TLS says first, and what comes of a hook over HTTPS: only what begins as an answer of HTTP has it asked
/// again (`isHTTPResponseError` in pkg/kubelet/lifecycle/handlers.go of Kubernetes 1.36, `send` in Go's net/http/client.go).
const FIRST_WORDS: &[(&str, &[u8], &str)] = &[
    ("an answer of HTTP/1", b"HTTP/1.1 400 Bad Request\r\n\r\n", "asked again"),
    ("the shortest that is one", b"HTTP/", "asked again"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n", "tls: first record does not look like a TLS handshake"),
    ("nearly one", b"HTTPS/1.1 400\r\n\r\n", "tls: first record does not look like a TLS handshake"),
    ("one without its beginning", b"<html>Bad Request</html>", "tls: first record does not look like a TLS handshake"),
    ("an alert of TLS", b"\x15\x03\x03\x00\x02\x02\x28", "tls: received fatal alert: HandshakeFailure"),
    ("nothing", b"", "EOF"),
];

async fn only_http_is_fallen_back_to(native: &Native, pod: &TestPod) {
    for (what, words, expected) in FIRST_WORDS {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(words).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Whoever is asked again answers in plain; nobody else is asked at all.
            if words.starts_with(b"HTTP/") {
                let (mut stream, _) = server.accept().unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            }
        });
        let get = HttpGet { https: true, host: Some("127.0.0.1".into()), port, path: "/".into(), headers: Vec::new() };
        let answer = ask(native, pod, call_of(Handler::HttpGet(get), Caller::Hook, PATIENCE)).await;
        if *expected == "asked again" {
            assert_eq!(answer.0, HandlerOutcome::Warning, "{what}: {answer:?}");
        } else {
            let told = format!("Get \"https://127.0.0.1:{port}/\": {expected}");
            assert_eq!(answer, (HandlerOutcome::Failure, told), "{what}");
        }
        served.join().unwrap();
    }
}

/// Bodies that end before they are whole.
async fn cut_short(native: &Native, pod: &TestPod) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    });
    let get = HttpGet { https: false, host: Some("127.0.0.1".into()), port, path: "/".into(), headers: Vec::new() };
    let answer = ask(native, pod, call_of(Handler::HttpGet(get), Caller::Probe, PATIENCE)).await;
    served.join().unwrap();
    assert_eq!(answer, (HandlerOutcome::Unread, "unexpected EOF".to_owned()));
}

/// Ports that take connections, and ports that do not.
async fn connections(native: &Native, pod: &TestPod) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = || call_of(Handler::TcpSocket { host: Some("127.0.0.1".into()), port }, Caller::Probe, PATIENCE);
    assert_eq!(ask(native, pod, tcp()).await, (HandlerOutcome::Success, String::new()));
    drop(listener);
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    // A process that another test has just forked may hold the port open until it runs its program.
    let answer = until("nobody to answer", async || {
        Some(ask(native, pod, tcp()).await).filter(|answer| answer.0 != HandlerOutcome::Success)
    });
    assert_eq!(answer.await, (HandlerOutcome::Failure, refused.clone()));
    let http = HttpGet { https: false, host: Some("127.0.0.1".into()), port, path: String::new(), headers: Vec::new() };
    let answer = ask(native, pod, call_of(Handler::HttpGet(http), Caller::Probe, PATIENCE)).await;
    assert_eq!(answer, (HandlerOutcome::Failure, format!("Get \"http://127.0.0.1:{port}/\": {refused}")));
    // The pod's own address, which nobody has here.
    let own = Handler::TcpSocket { host: None, port };
    let answer = ask(native, pod, call_of(own, Caller::Probe, Duration::from_secs(1))).await;
    assert_eq!(answer.0, HandlerOutcome::Failure);
    assert!(answer.1.starts_with(&format!("dial tcp 192.0.2.7:{port}: ")), "{answer:?}");
}
