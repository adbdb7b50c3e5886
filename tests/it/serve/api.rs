//! Requests and answers.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use podwright::model::{EventRecord, Kind, PodKey, Projection};
use podwright::port::PortError;
use podwright::report::{Listed, ProjectInput, events_between, pod_row, project, shown_pod};
use podwright::serve::{
    Client, ClientError, ListOptions, LogReader, LogRequest, OpenId, Progress, Server, resource_path, snapshot,
    stream_file,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use crate::report::fixture::{at, exited, instance, node, object, scripted};

const PODS: Listed = Listed::Kind(Kind::Pod);

struct Logs {
    path: PathBuf,
    ended: Arc<AtomicBool>,
}

struct Flag(Arc<AtomicBool>);

#[async_trait]
impl Progress for Flag {
    async fn ended(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl LogReader for Logs {
    async fn open(
        &self,
        request: &LogRequest,
    ) -> Result<mpsc::Receiver<std::io::Result<hyper::body::Bytes>>, PortError> {
        stream_file(&self.path, request, Arc::new(Flag(self.ended.clone()))).await
    }
}

struct Api {
    directory: tempfile::TempDir,
    client: Client,
    projection: watch::Sender<Arc<Projection>>,
    ended: Arc<AtomicBool>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn projection(pods: &[k8s_openapi::api::core::v1::Pod], previous: &Projection) -> Projection {
    let (observed, _) = scripted("Always", "", "a=run");
    let events: Vec<Arc<_>> =
        events_between(None, Some(&observed), ("edge-1", at(9))).into_iter().map(Arc::new).collect();
    let pods: Vec<_> = pods.iter().map(|pod| Arc::new(shown_pod(pod.clone(), None))).collect();
    let input = ProjectInput { admitted: None, pods: &pods, events: &events, node: &node(), now: at(60) };
    project(&input, previous)
}

impl Api {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/api.sock");
        let (_, pod) = scripted("Always", "", "a=run");
        let (sender, receiver) = watch::channel(Arc::new(projection(&[pod], &Projection::default())));
        let ended = Arc::new(AtomicBool::new(false));
        let logs = Logs { path: directory.path().join("a.log"), ended: ended.clone() };
        let server = Server::bind(&socket).await.unwrap();
        let server = tokio::spawn(async move { server.serve(receiver, Arc::new(logs), openid()).await.unwrap() });
        Self { directory, client: Client::new(socket), projection: sender, ended, server }
    }

    fn publish(&self, pods: &[k8s_openapi::api::core::v1::Pod]) {
        let next = projection(pods, &self.projection.borrow().clone());
        self.projection.send_replace(Arc::new(next));
    }

    /// A request as any HTTP client would write it.
    async fn raw(&self, path: &str, accept: &str) -> (u16, Value) {
        let mut stream = tokio::net::UnixStream::connect(self.client.socket()).await.unwrap();
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or(Value::String(body.into())))
    }
}

fn openid() -> OpenId {
    let key = json!({"use": "sig", "kty": "EC", "kid": "a", "crv": "P-256", "alg": "ES256", "x": "x", "y": "y"});
    OpenId { issuer: "https://issuer.example/pods/".into(), keys: Arc::new(move || vec![key.clone()]) }
}

fn options(labels: Option<&str>, fields: Option<&str>) -> ListOptions {
    ListOptions { label_selector: labels.map(str::to_owned), field_selector: fields.map(str::to_owned) }
}

fn web(labels: Value) -> k8s_openapi::api::core::v1::Pod {
    let (_, mut pod) = scripted("Always", "", "a=run");
    pod.metadata.labels = serde_json::from_value(labels).unwrap();
    pod
}

/// RFC 7517 and OpenID Connect Discovery 1.0, as an API server of Kubernetes answers.
#[tokio::test]
async fn a_verifier_is_told_who_issues_tokens_and_with_which_key() {
    let api = Api::start().await;
    let found = api.client.json("/.well-known/openid-configuration").await.unwrap();
    let expected = json!({
        "issuer": "https://issuer.example/pods/",
        "jwks_uri": "https://issuer.example/pods/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    assert_eq!(found, expected);
    assert_eq!(api.client.json("/openid/v1/jwks").await.unwrap(), json!({"keys": (openid().keys)()}));
    assert_eq!(api.raw("/openid/v1/keys", "*/*").await.0, 404);
}

#[tokio::test]
async fn pods_are_listed_got_and_selected() {
    let api = Api::start().await;
    let (_, mut job) = scripted("Never=Succeeded", "", "a=exit0");
    (job.metadata.name, job.metadata.namespace) = (Some("job".into()), Some("batch".into()));
    api.publish(&[web(serde_json::json!({"app": "web"})), job]);
    let names = async |namespace: Option<&str>, labels: Option<&str>, fields: Option<&str>| {
        let list = api.client.list(PODS, namespace, &options(labels, fields)).await.unwrap();
        list.items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, None, None).await, ["job", "web"]);
    assert_eq!(names(Some("batch"), None, None).await, ["job"]);
    assert_eq!(names(Some("nowhere"), None, None).await, [""; 0]);
    assert_eq!(names(None, Some("app in (web, db)"), None).await, ["web"]);
    assert_eq!(names(None, Some("!app"), None).await, ["job"]);
    assert_eq!(names(None, None, Some("status.phase!=Running")).await, ["job"]);
    assert_eq!(names(None, None, Some("spec.nodeName=edge-1,metadata.name=web")).await, ["web"]);
    let pod = api.client.get(PODS, "default", "web").await.unwrap();
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["metadata"]["resourceVersion"].as_str().map(|v| v.parse::<u64>().is_ok()), Some(true));
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(pod).unwrap();
    assert_eq!(pod_row(&pod, at(60)).status, "Running");
    let nodes = api.client.list(Listed::Node, None, &ListOptions::default()).await.unwrap();
    assert_eq!(nodes.items[0]["metadata"]["name"], "edge-1");
    let namespaces = api.client.list(Listed::Kind(Kind::Namespace), None, &ListOptions::default()).await.unwrap();
    let found: Vec<&Value> = namespaces.items.iter().map(|n| &n["metadata"]["name"]).collect();
    assert_eq!(found, ["batch", "default"]);
}

#[tokio::test]
async fn events_are_served_for_the_object_they_are_about() {
    let api = Api::start().await;
    let of = async |name: &str| {
        let fields = format!("involvedObject.name={name},involvedObject.namespace=default");
        api.client.list(Listed::Event, Some("default"), &options(None, Some(&fields))).await.unwrap().items
    };
    let reasons: Vec<String> = of("web").await.iter().map(|e| e["reason"].as_str().unwrap().to_owned()).collect();
    let mut sorted = reasons.clone();
    sorted.sort();
    assert_eq!(sorted, ["Created", "Pulled", "Scheduled", "Started"]);
    assert!(of("other").await.is_empty());
}

#[tokio::test]
async fn refusals_are_status_objects_in_kubectls_words() {
    let api = Api::start().await;
    let error = api.client.get(PODS, "default", "nope").await.unwrap_err();
    assert_eq!(error.to_string(), "Error from server (NotFound): pods \"nope\" not found");
    let error = api.client.get(Listed::Kind(Kind::PodPreset), "default", "nope").await.unwrap_err();
    assert_eq!(error.to_string(), "Error from server (NotFound): podpresets.settings.k8s.io \"nope\" not found");
    let (code, status) = api.raw("/api/v1/namespaces/default/pods/nope", "application/json").await;
    assert_eq!((code, &status["kind"], &status["reason"]), (404, &"Status".into(), &"NotFound".into()));
    for (path, expected) in [
        ("/api/v1/deployments", 404),
        ("/nonsense", 404),
        ("/api/v1/pods?labelSelector=a%20is%20b", 400),
        ("/api/v1/pods?fieldSelector=spec.x%3D1", 400),
        ("/api/v1/pods?watch=maybe", 400),
        ("/api/v1/pods?watch=true&resourceVersion=1", 410),
    ] {
        let (code, status) = api.raw(path, "application/json").await;
        assert_eq!((code, &status["kind"]), (expected, &"Status".into()), "{path}");
    }
    let mut stream = tokio::net::UnixStream::connect(api.client.socket()).await.unwrap();
    stream.write_all(b"DELETE /api/v1/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn discovery_names_every_resource() {
    let api = Api::start().await;
    assert_eq!(api.client.version().await.unwrap()["major"], "1");
    let mut found = Vec::new();
    for path in ["/api/v1", "/apis/settings.k8s.io/v1alpha1"] {
        let list = api.client.json(path).await.unwrap();
        found.extend(list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap().to_owned()));
    }
    let expected =
        ["pods", "pods/log", "configmaps", "secrets", "serviceaccounts", "namespaces", "events", "nodes", "podpresets"];
    assert_eq!(found, expected);
    assert_eq!(api.client.json("/apis").await.unwrap()["groups"][0]["name"], "settings.k8s.io");
}

#[tokio::test]
async fn tables_carry_cells_and_metadata() {
    let api = Api::start().await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (code, table) = api.raw("/api/v1/namespaces/default/pods?limit=500", accept).await;
    assert_eq!((code, &table["kind"]), (200, &"Table".into()));
    assert_eq!(table["columnDefinitions"][5]["priority"], 1);
    assert_eq!(table["rows"][0]["cells"][2], "Running");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let (_, one) = api.raw("/api/v1/namespaces/default/pods/web?includeObject=Object", accept).await;
    assert_eq!(one["rows"][0]["object"]["kind"], "Pod");
    let (_, plain) = api.raw("/api/v1/pods", "application/json").await;
    assert_eq!(plain["kind"], "PodList");
}

#[tokio::test]
async fn a_watch_tells_what_changes_after_the_list() {
    let api = Api::start().await;
    let list = api.client.list(PODS, Some("default"), &ListOptions::default()).await.unwrap();
    // This change happens between list and watch and must not be lost.
    api.publish(&[web(serde_json::json!({"app": "web"}))]);
    let mut watch =
        api.client.watch(PODS, Some("default"), &ListOptions::default(), &list.resource_version).await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!((event.kind.as_str(), &event.object["metadata"]["labels"]["app"]), ("MODIFIED", &"web".into()));
    api.publish(&[]);
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!((event.kind.as_str(), &event.object["metadata"]["name"]), ("DELETED", &"web".into()));
    api.publish(&[web(serde_json::json!({}))]);
    assert_eq!(watch.next().await.unwrap().unwrap().kind, "ADDED");
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is_there_and_follows_its_selector() {
    let api = Api::start().await;
    let mut watch = api.client.watch(PODS, None, &options(Some("app=web"), None), "").await.unwrap();
    api.publish(&[web(serde_json::json!({"app": "web"}))]);
    assert_eq!(watch.next().await.unwrap().unwrap().kind, "ADDED");
    // It leaves the selection: for this client it is deleted.
    api.publish(&[web(serde_json::json!({"app": "db"}))]);
    assert_eq!(watch.next().await.unwrap().unwrap().kind, "DELETED");
}

#[tokio::test]
async fn a_watch_of_events_tells_what_is_new_and_what_is_counted_and_no_other() {
    let api = Api::start().await;
    let (listed, all) = (Listed::Event, ListOptions::default());
    let list = api.client.list(listed, Some("default"), &all).await.unwrap();
    let mut watch = api.client.watch(listed, Some("default"), &all, &list.resource_version).await.unwrap();
    // Another object changes, then an event does, and one comes.
    api.publish(&[web(serde_json::json!({"app": "web"}))]);
    let before = api.projection.borrow().clone();
    let mut events = before.events.clone();
    let counted = Arc::make_mut(events.iter_mut().find(|event| event.reason == "Started").unwrap());
    (counted.count, counted.last) = (2, at(50));
    let new = EventRecord { reason: "Unhealthy".into(), first: at(55), last: at(55), ..(*events[0]).clone() };
    events.push(Arc::new(new));
    let resource_version = before.resource_version + 1;
    api.projection.send_replace(Arc::new(Projection { events, resource_version, ..(*before).clone() }));
    let mut told = Vec::new();
    for _ in 0..2 {
        let event = watch.next().await.unwrap().unwrap();
        told.push((event.kind, event.object["reason"].clone(), event.object["count"].clone()));
    }
    told.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("ADDED", "Unhealthy", 1), ("MODIFIED", "Started", 2)];
    assert_eq!(told, expected.map(|(kind, reason, count)| (kind.to_owned(), reason.into(), count.into())));
}

const LOG: &str = "2026-01-02T03:04:05.000000001Z stdout F one\n\
                   2026-01-02T03:04:06.000000002Z stderr P tw\n\
                   2026-01-02T03:04:06.000000003Z stderr F o\n\
                   2026-01-02T03:04:07.000000004Z stdout F three\n";

async fn text(client: &Client, request: &LogRequest) -> Result<String, ClientError> {
    let mut stream = client.log(request).await?;
    let mut out = Vec::new();
    while let Some(chunk) = stream.next().await {
        out.extend_from_slice(&chunk?);
    }
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn logs_are_cut_as_asked() {
    let api = Api::start().await;
    std::fs::write(api.directory.path().join("a.log"), LOG).unwrap();
    let whole = LogRequest::new(PodKey::new("default", "web"), "");
    for (request, expected) in [
        (whole.clone(), "one\ntwo\nthree\n"),
        (LogRequest { tail_lines: Some(1), ..whole.clone() }, "three\n"),
        (LogRequest { tail_lines: Some(0), ..whole.clone() }, ""),
        (LogRequest { tail_lines: Some(99), ..whole.clone() }, "one\ntwo\nthree\n"),
        (LogRequest { limit_bytes: Some(5), ..whole.clone() }, "one\nt"),
        (LogRequest { since: Some("2026-01-02T03:04:06.5Z".parse().unwrap()), ..whole.clone() }, "three\n"),
        (
            LogRequest { timestamps: true, tail_lines: Some(1), ..whole.clone() },
            "2026-01-02T03:04:07.000000004Z three\n",
        ),
    ] {
        assert_eq!(text(&api.client, &request).await.unwrap(), expected, "{request:?}");
    }
    let other = LogRequest { container: "b".into(), ..whole.clone() };
    let error = text(&api.client, &other).await.unwrap_err().to_string();
    assert_eq!(error, "Error from server (BadRequest): container b is not valid for pod web");
    let none = LogRequest { pod: PodKey::new("default", "x"), ..whole };
    assert_eq!(
        text(&api.client, &none).await.unwrap_err().to_string(),
        "Error from server (NotFound): pods \"x\" not found"
    );
}

#[tokio::test]
async fn a_log_is_followed_until_the_container_ends() {
    let api = Api::start().await;
    let path = api.directory.path().join("a.log");
    std::fs::write(&path, LOG).unwrap();
    let request =
        LogRequest { follow: true, tail_lines: Some(1), ..LogRequest::new(PodKey::new("default", "web"), "a") };
    let mut stream = api.client.log(&request).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "three\n");
    let append = |text: &str| {
        use std::io::Write;
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("2026-01-02T03:04:08Z stdout F fo");
    append("ur\n");
    assert_eq!(stream.next().await.unwrap().unwrap(), "four\n");
    append("2026-01-02T03:04:09Z stdout F last\n");
    api.ended.store(true, Ordering::SeqCst);
    assert_eq!(stream.next().await.unwrap().unwrap(), "last\n");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_log_is_followed_across_rotations_and_read_from_its_oldest_file_on() {
    let api = Api::start().await;
    let path = api.directory.path().join("a.log");
    let at = |number: u32| path.with_extension(format!("log.{number}"));
    let line = |text: &str| format!("2026-01-02T03:04:05Z stdout {text}\n");
    let append = |text: &str| {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(line(text).as_bytes()).unwrap();
    };
    // As the monitor does it: at every moment there is a log.
    let rotate = || {
        for number in (1..4).rev().filter(|n| at(*n).exists()) {
            std::fs::rename(at(number), at(number + 1)).unwrap();
        }
        std::fs::hard_link(&path, at(1)).unwrap();
        std::fs::write(path.with_extension("log.new"), "").unwrap();
        std::fs::rename(path.with_extension("log.new"), &path).unwrap();
    };
    append("F one");
    rotate();
    append("F two");
    let request = LogRequest { follow: true, ..LogRequest::new(PodKey::new("default", "web"), "a") };
    let mut stream = api.client.log(&request).await.unwrap();
    let mut seen = String::new();
    let mut expect = async |text: &str| {
        while seen.len() < text.len() {
            seen.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        assert_eq!(seen, text);
    };
    expect("one\ntwo\n").await;
    // A line that begins in one file and ends in the next, and two rotations at once.
    append("F three");
    append("P fo");
    rotate();
    append("F ur");
    rotate();
    append("F five");
    expect("one\ntwo\nthree\nfour\nfive\n").await;
    // More than is kept, in one go: what there is goes on.
    for text in ["F lost", "F 6", "F 7", "F 8", "F 9"] {
        rotate();
        append(text);
    }
    rotate();
    append("F ten");
    api.ended.store(true, Ordering::SeqCst);
    expect("one\ntwo\nthree\nfour\nfive\n6\n7\n8\n9\nten\n").await;
    assert!(stream.next().await.is_none());
    let tail = LogRequest { tail_lines: Some(3), follow: false, ..request };
    assert_eq!(text(&api.client, &tail).await.unwrap(), "8\n9\nten\n");
}

#[tokio::test]
async fn a_container_without_a_log_says_what_it_waits_for() {
    let api = Api::start().await;
    let (mut pod, _) = scripted("Always", "", "a");
    pod.containers = vec![instance("a", podwright::model::ContainerKind::App, 0, exited(1, 5))];
    api.publish(&[object(&pod, &[("a", "ErrImagePull", "no such image")])]);
    let request = LogRequest::new(PodKey::new("default", "web"), "a");
    let error = text(&api.client, &request).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "Error from server (BadRequest): container \"a\" in pod \"web\" is waiting to start: ErrImagePull"
    );
}

#[tokio::test]
async fn the_socket_is_private_and_cannot_be_taken_from_a_living_agent() {
    let api = Api::start().await;
    let socket = api.client.socket().to_owned();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let error = Server::bind(&socket).await.unwrap_err();
    assert!(error.to_string().contains("another agent answers there"), "{error}");
    assert!(api.client.version().await.is_ok());
}

#[tokio::test]
async fn a_socket_left_by_a_dead_agent_is_replaced_and_a_missing_one_is_no_agent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let client = Client::new(&socket);
    assert!(matches!(client.version().await, Err(ClientError::NoAgent { .. })));
    assert!(Server::bind(&socket).await.is_ok());
    let long = directory.path().join("x".repeat(120));
    assert!(Server::bind(&long).await.unwrap_err().to_string().contains("use a shorter --root"));
    assert_eq!(resource_path(PODS, Some("a b"), None), "/api/v1/namespaces/a%20b/pods");
}

#[test]
fn the_last_report_is_kept_in_a_file_and_read_as_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("projection.json");
    assert_eq!(snapshot::load(&path).unwrap(), None);
    let (_, pod) = scripted("Always", "", "a=run");
    let saved = snapshot::Snapshot::of(&projection(&[pod], &Projection::default()), at(70));
    snapshot::save(&path, &saved).unwrap();
    let loaded = snapshot::load(&path).unwrap().unwrap();
    assert_eq!(loaded, saved);
    assert_eq!(loaded.reported_at, at(70));
    assert_eq!(pod_row(&loaded.unknown_pods()[0], at(99)).status, "Unknown");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    std::fs::write(&path, "{").unwrap();
    assert!(snapshot::load(&path).unwrap_err().to_string().contains("remove it"));
    for left_by_a_power_cut in ["", "\0\0\0"] {
        std::fs::write(&path, left_by_a_power_cut).unwrap();
        assert_eq!(snapshot::load(&path).unwrap(), None);
    }
}
