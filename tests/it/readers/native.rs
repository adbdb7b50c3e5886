//! The records of the native backend, as an agent that is started finds them: whatever stands in them it comes up, and what
//! cannot be understood is set aside.

use nix::sched::{CloneFlags, unshare};
use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{NodeInfo, PullSettings};
use podwright::port::ContainerBackend;
use podwright::shim::LogLimits;
use serde_json::{Value, json};

use super::effects::{CONTAINER, EXIT, POD};
use super::foreign::Foreign;
use crate::support::is_root;

const BOOT: &str = "00000000-0000-0000-0000-000000000000";

/// Every file of a pod with one container that ended, from one tree. What is no tree is what all of them hold.
pub fn records() -> Foreign {
    let tree = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let sandbox = json!({"attempt": 0, "pid": 2, "startTicks": 1, "bootId": BOOT, "startedAt": "2026-01-02T03:04:05Z",
        "ips": ["10.88.0.2"]});
    let started =
        json!({"pid": 2, "startTicks": 1, "monitorPid": 2, "bootId": BOOT, "startedAt": "2026-01-02T03:04:05Z"});
    let files = [
        ("record.json", tree(POD)),
        ("sandbox.json", sandbox),
        ("containers/a/0/record.json", tree(CONTAINER)),
        ("containers/a/0/started.json", started),
        ("containers/a/0/exit.json", tree(EXIT)),
    ];
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let sample: Value = files.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Foreign::new(&sample.to_string(), &["{", "}", "1", "[", "null"], move |bytes| {
        if !rustix::process::geteuid().is_root() {
            return String::new();
        }
        let (bytes, names) = (bytes.to_vec(), names.clone());
        // A network of its own: what the backend looks at there is not this machine's.
        std::thread::spawn(move || observed(&bytes, &names)).join().unwrap()
    })
    .cases(if is_root() { 60 } else { 1 })
}

fn observed(bytes: &[u8], names: &[&str]) -> String {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let tree: Value = serde_json::from_slice(bytes).unwrap_or_default();
    for name in names {
        let path = state.join("pods/u-1").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = tree.get(name).map(Value::to_string);
        std::fs::write(path, text.as_deref().map_or(bytes, str::as_bytes)).unwrap();
    }
    let options = NativeOptions {
        run: state.join("run"),
        state,
        exe: env!("CARGO_BIN_EXE_podwright").into(),
        instance: "0123abcd".into(),
        allow_host_image: false,
        covered: Vec::new(),
        log_limits: LogLimits::default(),
        pod_pids_limit: None,
        first_user_id: None,
        pull: PullSettings::default(),
        subnet: None,
        ipv6_subnet: None,
        node: NodeInfo::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let native = match Native::open(options) {
        Ok(native) => native,
        Err(error) => {
            assert!(error.help.is_some(), "{error}");
            return error.to_string();
        }
    };
    match runtime.block_on(native.list()) {
        Ok(pods) => format!("{pods:?}"),
        Err(error) => error.to_string(),
    }
}
