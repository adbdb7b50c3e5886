//! Logs of containers as the API reads them.

use std::sync::Arc;

use podwright::backend::native::{Native, NativeOptions};
use podwright::port::ContainerBackend;
use podwright::serve::{BackendLogs, LogReader, LogRequest};
use podwright::shim::LogLimits;

use super::fixture::{TestPod, on_root};
use crate::support;

async fn read(native: &Arc<Native>, request: &LogRequest) -> String {
    let backend: Arc<dyn ContainerBackend> = native.clone();
    let mut stream = BackendLogs { backend }.open(request).await.unwrap();
    let mut out = Vec::new();
    while let Some(chunk) = stream.recv().await {
        out.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn e2e_rotated_logs_are_read_whole_and_go_with_their_container() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let log_limits = LogLimits { max_size: 64 << 10, max_files: 4 };
        let native = Native::open(NativeOptions { log_limits, ..root.options() }).unwrap();
        let pod = TestPod::script("web", "seq 1 20000; sleep 0.3; seq 20001 30000; echo over");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        // From some line on up to the end, whatever was rotated meanwhile.
        let whole = LogRequest::new(pod.key().clone(), "app");
        let followed = read(&native, &LogRequest { follow: true, ..whole.clone() }).await;
        pod.exit(&native, "app").await;
        let kept = read(&native, &whole).await;
        let numbers = |text: &str| -> Vec<u32> { text.lines().filter_map(|l| l.parse().ok()).collect() };
        let first = numbers(&kept)[0];
        let expected: String = (first..=30_000).map(|n| format!("{n}\n")).collect();
        assert!(kept == format!("{expected}over\n"), "from {first} on nothing is missing");
        assert!(first < 28_002, "{first}: older files belong to it too");
        // Whoever is slower than the container misses what was given up meanwhile, and nothing else.
        assert!(numbers(&followed).is_sorted_by(|a, b| a < b), "nothing comes twice");
        assert!(followed.ends_with(&kept) || kept.ends_with(&followed), "it ends with the container");
        let tail = LogRequest { tail_lines: Some(2000), ..whole.clone() };
        assert!(read(&native, &tail).await.starts_with("28002\n"), "across files");
        pod.start(&native, "app", 1).await;
        pod.exit(&native, "app").await;
        let previous = read(&native, &LogRequest { previous: true, ..whole }).await;
        assert_eq!(previous, kept);
        let dir = std::path::PathBuf::from(pod.container(&native, "app").await.record.log_path);
        let names = || {
            let entries = std::fs::read_dir(dir.parent().unwrap()).unwrap();
            let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let of = |attempt: u32| ["", ".1", ".2", ".3"].map(|part| format!("{attempt}.log{part}"));
        assert_eq!(names(), [of(0), of(1)].concat());
        native.remove_container(pod.key(), "app", 0).await.unwrap();
        assert_eq!(names(), of(1));
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
