//! Probes of real processes: a command, requests to nginx, a port, a gRPC server of the test's own; and the seed's liveness.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use super::harness::{World, text};
use super::seed::seed;
use crate::support::images::{Layer, oci_archive};

/// Events of a pod: type, reason, count and message, in the order they began.
fn events(world: &World, name: &str) -> Vec<(String, String, u64, String)> {
    let list: Value = serde_json::from_str(&world.ok(&["get", "events", "-o", "json"])).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let own = list["items"].as_array().unwrap().iter().filter(|e| e["involvedObject"]["name"] == name);
    own.map(|e| (text(&e["type"]), text(&e["reason"]), e["count"].as_u64().unwrap(), text(&e["message"]))).collect()
}

#[test]
fn e2e_seed_liveness_restarts_its_container_while_the_pod_runs() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    // The seed's manifest, in a fifth of its time: in its own, two restarts take 150 s. Every relation that decides what happens
    // stays. The file is there for six periods, the delay is one of them, and three failures, whose number is not touched, come
    // to less than the file is gone for. A probe answers in far less than its timeout of a second, which is not more than a
    // period in either. Two restarts wait for nothing, for what is killed for its probe makes no back-off the first time.
    // The grace period, which the shell waits for as the first process of a container, is what it takes from the third failure
    // on: nothing else is asked meanwhile. `control::probes` has the numbers of the seed, on a clock that costs nothing.
    let manifest = seed("liveness.yaml")
        .replace("sleep 30", "sleep 6")
        .replace("initialDelaySeconds: 5", "initialDelaySeconds: 1")
        .replace("periodSeconds: 5", "periodSeconds: 1")
        .replace("spec:\n  containers:", "spec:\n  terminationGracePeriodSeconds: 2\n  containers:");
    assert_eq!(manifest.matches("Seconds: ").count(), 3);
    world.commit(&[("liveness.yaml", &manifest)]);
    world.start();
    world.wait_row("test-liveness-exec", "1/1", "Running");
    let uid = world.pod("test-liveness-exec").unwrap()["metadata"]["uid"].clone();
    assert!(!events(&world, "test-liveness-exec").iter().any(|(_, reason, ..)| reason == "Unhealthy"));
    world.wait("two restarts", || {
        let pod = world.pod("test-liveness-exec")?;
        assert_eq!((&pod["status"]["phase"], &pod["metadata"]["uid"]), (&Value::from("Running"), &uid));
        (pod["status"]["containerStatuses"][0]["restartCount"].as_u64()? >= 2).then_some(())
    });
    let pod = world.pod("test-liveness-exec").unwrap();
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&Value::from(137), &Value::from("Error")));
    let restarts = world.row("test-liveness-exec").unwrap().2;
    assert!(restarts.parse::<u32>().unwrap() >= 2, "{restarts}");

    // The seed's list, with the words of today's Kubernetes and an image that is here already.
    let events = events(&world, "test-liveness-exec");
    let told = |reason: &str| -> (String, u64, String) {
        let own: Vec<_> = events.iter().filter(|(_, r, ..)| r == reason).collect();
        let [(kind, _, count, message)] = own.as_slice() else { panic!("{reason}: {events:#?}") };
        (kind.clone(), *count, message.clone())
    };
    let normal = |count, message: &str| ("Normal".to_owned(), count, message.to_owned());
    assert_eq!(told("Scheduled").1, 1);
    assert_eq!(
        told("Pulled"),
        normal(3, "Container image \"busybox\" already present on machine and can be accessed by the pod")
    );
    assert_eq!(told("Created"), normal(3, "Container created"));
    assert_eq!(told("Started"), normal(3, "Container started"));
    assert_eq!(told("Killing"), normal(2, "Container liveness failed liveness probe, will be restarted"));
    let (kind, count, message) = told("Unhealthy");
    let expected = "Liveness probe failed: cat: can't open '/tmp/healthy': No such file or directory";
    assert_eq!((kind.as_str(), count, message.as_str()), ("Warning", 6, expected), "three for each restart");
    let described = world.ok(&["describe", "pod", "test-liveness-exec"]);
    assert!(
        described.contains("exec [cat /tmp/healthy] delay=1s timeout=1s period=1s #success=1 #failure=3"),
        "{described}"
    );
    assert!(described.contains("(x6 over"), "{described}");
}

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: side
    image: busybox
    restartPolicy: Always
    command: [sh, -c, "trap exit TERM; sleep 2; touch /started; while :; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /started]}, periodSeconds: 1, failureThreshold: 30}
  containers:
  - name: nginx
    image: nginx
    ports: [{name: http, containerPort: 80}]
    startupProbe: {httpGet: {port: http}, periodSeconds: 1, failureThreshold: 30}
    livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1, failureThreshold: 10}
    readinessProbe: {httpGet: {path: /ready, port: http, httpHeaders: [{name: X-Test, value: "1"}]}, periodSeconds: 1, failureThreshold: 1}
"#;

#[test]
fn e2e_probes_by_command_request_and_port_decide_over_a_pod() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.load("nginx");
    world.commit(&[("web.yaml", WEB)]);
    world.start();
    // The sidecar takes two seconds to start, and what follows waits for it.
    world.wait_row("web", "1/2", "Running");
    let status = world.pod("web").unwrap()["status"].clone();
    let moment = |container: &Value| {
        container["state"]["running"]["startedAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let (side, nginx) = (moment(&status["initContainerStatuses"][0]), moment(&status["containerStatuses"][0]));
    assert!(nginx.duration_since(side).as_secs() >= 2, "{status:#}");
    world.wait("the failure of readiness", || {
        let expected = "Readiness probe failed: HTTP probe failed with statuscode: 404";
        events(&world, "web")
            .iter()
            .any(|(_, reason, _, message)| reason == "Unhealthy" && message == expected)
            .then_some(())
    });
    assert_eq!(world.row("web").unwrap().0, "1/2");
    let page = "/usr/share/nginx/html/ready";
    world.exec("web", "nginx", &["sh", "-c", &format!("echo yes > {page}")]);
    world.wait_row("web", "2/2", "Running");
    world.exec("web", "nginx", &["rm", page]);
    world.wait_row("web", "1/2", "Running");
    let conditions = world.pod("web").unwrap()["status"]["conditions"].clone();
    let ready = conditions.as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["message"], "containers with unready status: [nginx]");
    assert_eq!(world.row("web").unwrap().2, "0", "readiness restarts nothing");
}

/// A gRPC server in a network whose health is `state`; it ends with the returned runtime.
fn serve((netns, address): (PathBuf, &'static str), state: &Arc<AtomicU8>) -> (tokio::runtime::Runtime, u16) {
    let bind = move || {
        let netns = std::fs::File::open(netns).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind(address).unwrap()
    };
    let listener = std::thread::spawn(bind).join().unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let state = Arc::clone(state);
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let state = Arc::clone(&state);
            let answer = service_fn(move |request: Request<Incoming>| health(request, state.load(Ordering::SeqCst)));
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer));
        }
    });
    (runtime, port)
}

async fn health(
    request: Request<Incoming>,
    state: u8,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&asked[..], b"\0\0\0\0\x05\x0a\x03web");
    let mut end = HeaderMap::new();
    end.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, state])).with_trailers(async { Some(Ok(end)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

/// An agent that is killed once its events are kept, and the next one: it has them all, and tells none of them as new.
fn the_next_agent_goes_on_counting(world: &mut World, name: &str) {
    let list = |world: &World| -> Option<Vec<Value>> {
        let list = world.output(&["get", "events", "-o", "json"]);
        let list: Value = serde_json::from_slice(&list.stdout).ok()?;
        Some(list["items"].as_array()?.iter().filter(|e| e["involvedObject"]["name"] == name).cloned().collect())
    };
    let kept = world.root().join("run/events.json");
    let kept = world.wait("the events to be kept", || {
        let kept: Value = serde_json::from_slice(&std::fs::read(&kept).ok()?).unwrap();
        kept["events"].as_array()?.iter().find(|event| event["reason"] == "Unhealthy").cloned()
    });
    let before = list(world).unwrap();
    world.kill();
    world.start();
    let after = world.wait("the pod to be looked after", || {
        list(world).filter(|list| list.iter().any(|event| event["reason"] == "Started"))
    });
    let shown = |list: &[Value]| -> Vec<[Value; 3]> {
        list.iter().map(|e| ["reason", "message", "firstTimestamp"].map(|member| e[member].clone())).collect()
    };
    assert_eq!(shown(&after), shown(&before));
    let count = |reason: &str| after.iter().find(|e| e["reason"] == reason).unwrap()["count"].as_u64().unwrap();
    assert!(count("Unhealthy") >= kept["count"].as_u64().unwrap(), "{after:#?}");
    assert_eq!(["Scheduled", "Pulled", "Created", "Started"].map(count), [1; 4]);
    world.wait("another failure", || {
        let last = list(world)?.iter().find(|e| e["reason"] == "Unhealthy")?["count"].as_u64()?;
        (last > count("Unhealthy")).then_some(())
    });
}

#[test]
fn e2e_a_grpc_service_is_ready_when_it_says_so() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let state = Arc::new(AtomicU8::new(2));
    let (_server, port) = serve((world.netns(), "127.0.0.1:0"), &state);
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: grpc}}\nspec:\n  hostNetwork: true\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: app\n    image: busybox\n    command: [sleep, '1000']\n    readinessProbe: {{grpc: {{port: {port}, service: web}}, periodSeconds: 1, failureThreshold: 1}}\n"
    );
    world.commit(&[("grpc.yaml", &manifest)]);
    world.start();
    world.wait("the service to be called unhealthy", || {
        let expected = "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")";
        events(&world, "grpc").iter().any(|(_, _, _, message)| message == expected).then_some(())
    });
    assert_eq!(world.row("grpc").unwrap().0, "0/1");
    the_next_agent_goes_on_counting(&mut world, "grpc");
    state.store(1, Ordering::SeqCst);
    world.wait_row("grpc", "1/1", "Running");
    state.store(2, Ordering::SeqCst);
    world.wait_row("grpc", "0/1", "Running");
    a_pod_without_any_other_program_is_asked_in_its_own_network(&world, &state);
}

/// A program that does nothing, and needs nothing.
fn idle() -> Vec<u8> {
    let (machine, code): (u16, &[u8]) = match std::env::consts::ARCH {
        // 1: mov eax, 34; syscall (pause); jmp 1b
        "x86_64" => (62, &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]),
        // 1: wfe; b 1b
        "aarch64" => (183, &[0x5f, 0x20, 0x03, 0xd5, 0xff, 0xff, 0xff, 0x17]),
        other => panic!("no program for {other}"),
    };
    let (base, header) = (0x40_0000_u64, 64 + 56);
    let size = (header + code.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2_u16, machine].map(u16::to_le_bytes).concat());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([base + header as u64, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend(0_u32.to_le_bytes());
    elf.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    // One segment, which is the file: loaded, read and executed.
    elf.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    elf.extend([0, base, base, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(code);
    elf
}

fn a_pod_without_any_other_program_is_asked_in_its_own_network(world: &World, state: &Arc<AtomicU8>) {
    let layer = Layer::new().entry("idle", tar::EntryType::Regular, |header| header.set_mode(0o755), &idle());
    let image = world.scratch().join("idle.tar");
    let config = serde_json::json!({"Entrypoint": ["/idle"]});
    std::fs::write(&image, oci_archive("docker.io/library/idle:1", &[layer.tar()], config)).unwrap();
    world.ok(&["image", "load", image.to_str().unwrap()]);
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: alone}\nspec:\n  containers:\n  - name: only\n    image: idle:1\n    \
                    readinessProbe: {grpc: {port: 7000, service: web}, periodSeconds: 1, failureThreshold: 1}\n    \
                    livenessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1, failureThreshold: 1000}\n";
    world.commit(&[("alone.yaml", manifest)]);
    let pid = world.wait("its process", || {
        let all = world.identities();
        all.iter().find(|(name, _)| name.contains("/only/")).map(|(_, (pid, _))| *pid)
    });
    let _server = serve((PathBuf::from(format!("/proc/{pid}/ns/net")), "0.0.0.0:7000"), state);
    world.wait("the service to be called unhealthy", || {
        let expected = "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")";
        events(world, "alone").iter().any(|(_, _, _, message)| message == expected).then_some(())
    });
    state.store(1, Ordering::SeqCst);
    world.wait_row("alone", "1/1", "Running");
    let said = world.output(&["exec", "alone", "--", "sh", "-c", "true"]);
    assert!(!said.status.success() && text(&said).contains("executable file not found"), "{}", text(&said));
}
