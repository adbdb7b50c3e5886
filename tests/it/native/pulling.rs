//! When the native backend asks a registry for an image, and what it does without one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use podwright::backend::LedgerFile;
use podwright::backend::fake::FakeTokens;
use podwright::backend::native::{Native, NativeOptions};
use podwright::control::{Agent, Kubelet, KubeletParts, Parts, Progress, on_a_thread, run};
use podwright::manifest::Reader;
use podwright::model::{ImageNeed, ImageSource, Mirror, NodeInfo, Projection, PullSettings, RegistryEntry};
use podwright::port::{ContainerBackend, ErrorKind, ImageStatus, PortError};
use podwright::sys::clock::SystemClock;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::fixture::{Root, TestPod, with_loopback};
use crate::control::rig::{Directory, Sink};
use crate::support;
use crate::support::images::{Layer, Layout, Packing, arch, oci_archive};
use crate::support::registry::{Gate, Server};

const IMAGE: &str = "registry.example/app:1";

fn registry() -> Server {
    let mut layout = Layout::new();
    let layer = Layer::new().dir("etc").file("etc/name", "pulled").tar();
    let image = layout.image(&[(layer, Packing::Gzip)], json!({}), arch());
    Server::of(&layout, &image, |_| None)
}

/// A backend whose only registry is at an address.
fn native(root: &Root, address: &str, strict_offline: bool) -> Arc<Native> {
    let mirrors = vec![Mirror::parse(&format!("http://{address}")).unwrap()];
    let entry = RegistryEntry { name: "*".into(), mirrors, mirrors_only: true, ..RegistryEntry::default() };
    let pull = PullSettings { registries: vec![entry], credentials: None, strict_offline };
    Native::open(NativeOptions { pull, ..root.options() }).unwrap()
}

fn need(policy: &str) -> ImageNeed {
    ImageNeed {
        container: "app".into(),
        volume: None,
        image: IMAGE.into(),
        policy: policy.into(),
        secrets: Vec::new(),
        missing_secrets: Vec::new(),
    }
}

/// What came of a need, and how many pulls were begun for it.
async fn ensure(native: &Native, policy: &str) -> (Result<ImageStatus, PortError>, usize) {
    let need = need(policy);
    let begun = AtomicUsize::new(0);
    let count = || {
        begun.fetch_add(1, Ordering::Relaxed);
    };
    let outcome = native.ensure_image(&need, &count).await;
    (outcome, begun.into_inner())
}

#[test]
fn e2e_the_policy_decides_when_a_registry_is_asked() {
    if !support::e2e() {
        return;
    }
    with_loopback(async |root| {
        let server = registry();
        let native = native(root, &server.address, false);
        let asked = |what: &str| {
            let count = server.paths().iter().filter(|p| p.contains(what)).count();
            server.forget();
            count
        };
        let (never, begun) = ensure(&native, "Never").await;
        assert_eq!((never.unwrap_err().waiting_reason, begun, asked("")), (Some("ErrImageNeverPull"), 0, 0));
        let (first, begun) = ensure(&native, "IfNotPresent").await;
        let first = first.unwrap();
        assert!(matches!(first.source, ImageSource::Pulled { size: 6, .. }), "{first:?}");
        assert_eq!((begun, asked("/manifests/")), (1, 1));
        for policy in ["IfNotPresent", "Never"] {
            let (present, begun) = ensure(&native, policy).await;
            assert_eq!(present.unwrap(), ImageStatus { source: ImageSource::Present, ..first.clone() });
            assert_eq!((begun, asked("")), (0, 0), "{policy}");
        }
        let (renewed, begun) = ensure(&native, "Always").await;
        assert!(matches!(renewed.unwrap().source, ImageSource::Pulled { .. }));
        assert_eq!((begun, asked("/blobs/") <= 1), (1, true), "no layer is fetched again");
    });
}

/// A pod that waits for its image.
fn waiting_pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 0, "hostNetwork": true,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "100000"]}]}})
}

#[test]
fn e2e_however_many_pods_wait_for_an_image_an_agent_pulls_it_once() {
    if !support::e2e() {
        return;
    }
    with_loopback(async |root| {
        let (layout, image) = Layout::of_test_image("busybox");
        let gate = Gate::default();
        let held = gate.clone();
        let server = Server::of(&layout, &image, move |_| {
            held.wait();
            None
        });
        let native = native(root, &server.address, false);
        let (clock, node) = (Arc::new(SystemClock), NodeInfo { name: "edge-1".into(), ..NodeInfo::default() });
        let kubelet = Kubelet::start(KubeletParts {
            backend: native.clone(),
            clock: clock.clone(),
            tokens: Arc::new(FakeTokens::default()),
            node: node.clone(),
            instance: root.instance.clone(),
            resync: Duration::ZERO,
            starts: 8,
        });
        let (directory, mut reader) = (Arc::new(Directory::default()), Reader::new());
        directory.commit(&["a", "b", "c", "d", "e"].map(waiting_pod));
        let agent = Agent::new(Parts {
            source: directory.clone(),
            parse: Box::new(move |snapshot| reader.read(snapshot)),
            blocking: on_a_thread,
            kubelet,
            sink: Arc::new(Sink::default()),
            ledger: Arc::new(LedgerFile::new(root.temp.path().join("ledger.json"))),
            clock,
            node,
            resync: Duration::ZERO,
        });
        let (mut progress, mut shown) = (agent.progress(), agent.projection());
        let (cancel, (hint, hints)) = (CancellationToken::new(), mpsc::channel(1));
        let task = tokio::spawn(run(agent, hints, cancel.clone()));
        let pulling = |shown: &Arc<Projection>| shown.events.iter().filter(|e| e.reason == "Pulling").count() == 5;
        timeout(Duration::from_secs(60), shown.wait_for(pulling)).await.expect("all of them wait").unwrap();
        gate.open();
        let last = progress.clone();
        let ready = timeout(Duration::from_secs(60), progress.wait_for(|p| p.pods.len() == 5 && p.is_done())).await;
        ready.unwrap_or_else(|_| panic!("{:#?}, {:?}", last.borrow(), server.paths())).unwrap();
        let mut asked = server.paths();
        asked.retain(|path| path.contains("/manifests/") || path.contains("/blobs/"));
        let once: BTreeSet<&String> = asked.iter().collect();
        assert_eq!(asked.len(), once.len(), "{asked:?}");
        let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "none"}});
        let empty = directory.commit(&[none]);
        hint.send(()).await.unwrap();
        let gone = |p: &Progress| p.applied.as_ref().is_some_and(|r| r.id == empty) && p.pods.is_empty();
        timeout(Duration::from_secs(60), progress.wait_for(|p| gone(p))).await.unwrap().unwrap();
        cancel.cancel();
        task.await.unwrap();
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_an_image_that_is_here_does_while_its_registry_is_out_of_reach_unless_that_is_strict() {
    if !support::e2e() {
        return;
    }
    with_loopback(async |root| {
        let server = registry();
        let address = server.address.clone();
        let lenient = native(root, &address, false);
        ensure(&lenient, "IfNotPresent").await.0.unwrap();
        drop(server);
        let (stale, begun) = ensure(&lenient, "Always").await;
        let ImageSource::Stale { why } = stale.unwrap().source else { panic!("not stale") };
        assert!(why.contains(&address) && begun == 1, "{why}");
        let (again, begun) = ensure(&lenient, "Always").await;
        assert!(matches!(again.unwrap().source, ImageSource::Stale { .. }));
        assert_eq!(begun, 0, "a registry that was not reached a moment ago is not waited for again");
        drop(lenient);
        let strict = native(root, &address, true);
        let error = ensure(&strict, "Always").await.0.unwrap_err();
        assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Unavailable, Some("ErrImagePull")), "{error}");
        assert!(ensure(&strict, "IfNotPresent").await.0.is_ok());
        // One that is not who it should be is not passed over.
        drop(strict);
        let [(foreign, _), (_, authority)] =
            [(); 2].map(|()| Server::start_tls(|_| support::registry::Reply::status(404)));
        let mirrors = vec![Mirror::parse(&format!("https://{}", foreign.address)).unwrap()];
        let ca = Some(authority.path().join("ca.pem"));
        let entry = RegistryEntry { name: "*".into(), mirrors, mirrors_only: true, ca, insecure: false };
        let pull = PullSettings { registries: vec![entry], credentials: None, strict_offline: false };
        let lenient = Native::open(NativeOptions { pull, ..root.options() }).unwrap();
        let error = ensure(&lenient, "Always").await.0.unwrap_err();
        assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Denied, Some("ErrImagePull")), "{error}");
        drop(lenient);
        // A registry that answers that it has no such image any more is believed.
        let empty = Server::start(|_| support::registry::Reply::status(404));
        let lenient = native(root, &empty.address, false);
        assert_eq!(ensure(&lenient, "Always").await.0.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn e2e_a_pull_that_fails_says_the_way_out_that_fits() {
    if !support::e2e() {
        return;
    }
    use nix::mount::{MsFlags, mount, umount};
    with_loopback(async |root| {
        let absent = native(root, "127.0.0.1:1", false);
        let error = ensure(&absent, "IfNotPresent").await.0.unwrap_err();
        assert_eq!(error.help.as_deref(), Some("or load it: podwright image load FILE"), "{error}");
        let missing_secrets = vec!["one".to_owned(), "two".to_owned()];
        let need = ImageNeed { missing_secrets, ..need("IfNotPresent") };
        let error = absent.ensure_image(&need, &|| ()).await.unwrap_err();
        assert!(error.message.contains("(without the pull Secrets that are not there: one, two)"), "{error}");
        drop(absent);
        // The threads of this one see the same mounts.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let images = root.state().join("images");
        mount(Some("none"), &images, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        let mut layout = Layout::new();
        let large = Layer::new().file("large", &"x".repeat(2 << 20)).tar();
        let image = layout.image(&[(large, Packing::Plain)], json!({}), arch());
        let server = Server::of(&layout, &image, |_| None);
        let full = native(root, &server.address, false);
        let error = ensure(&full, "IfNotPresent").await.0.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
        let help = "make room in the file system of the image store; `podwright doctor` says what this machine lacks";
        assert_eq!(error.help.as_deref(), Some(help), "{error}");
        drop(full);
        umount(&images).unwrap();
    });
}

#[test]
fn e2e_a_damaged_image_is_pulled_again_before_anything_starts_from_it() {
    if !support::e2e() {
        return;
    }
    with_loopback(async |root| {
        let server = registry();
        let first = native(root, &server.address, false);
        ensure(&first, "IfNotPresent").await.0.unwrap();
        let layer = first.images().resolve(IMAGE).unwrap().unwrap().lower[0].clone();
        drop(first);
        let zero = || std::fs::write(layer.join("etc/name"), [0; 6]).unwrap();
        zero();
        let again = native(root, &server.address, false);
        let error = ensure(&again, "Never").await.0.unwrap_err();
        assert_eq!(error.waiting_reason, Some("ImageInspectError"), "{error}");
        let (mended, begun) = ensure(&again, "IfNotPresent").await;
        let ImageSource::Pulled { mended, .. } = mended.unwrap().source else { panic!("not pulled") };
        assert!(mended.is_some_and(|why| why.contains("damaged in the store")) && begun == 1);
        assert_eq!(std::fs::read_to_string(layer.join("etc/name")).unwrap(), "pulled");
        drop(again);
        // Without the registry nothing starts from it, whatever the policy.
        zero();
        drop(server);
        let alone = native(root, "127.0.0.1:1", false);
        // Not even where nobody asked before.
        let spec = json!({ "containers": [{ "name": "app", "image": IMAGE, "command": ["/no/program"] }] });
        let pod = TestPod::new("damaged", spec);
        pod.create(&alone).await;
        let error = alone.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
        assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Corrupt, Some("ImageInspectError")), "{error}");
        assert!(pod.look(&alone).await.containers.is_empty() && !root.instance_dir(&pod, "app", 0).exists());
        for policy in ["IfNotPresent", "Always"] {
            let error = ensure(&alone, policy).await.0.unwrap_err();
            assert_eq!(error.waiting_reason, Some("ErrImagePull"), "{policy}: {error}");
            assert!(error.message.contains("damaged") && error.message.contains("127.0.0.1:1"), "{error}");
        }
        // What was loaded by hand is mended by loading it again.
        let archive = oci_archive(IMAGE, &[Layer::new().file("x", "loaded").tar()], json!({}));
        alone.images().load(archive.as_slice(), None).unwrap();
        assert!(ensure(&alone, "IfNotPresent").await.0.is_ok());
        let error = alone.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
        assert!(error.message.contains("/no/program"), "it is looked for in the image: {error}");
        pod.remove(&alone).await;
        alone.teardown_root().await.unwrap();
    });
}
