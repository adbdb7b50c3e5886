//! What every backend of containers has to do: one suite for all of them. A backend's own tests make a [`Contract`] and call
//! [`Contract::check`]; here it is the fake.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use podwright::backend::fake::{Answered, Behaviour, Fake, VirtualClock};
use podwright::model::{
    Caller, ContainerKind, ContainerStart, ContainerState, Deletion, DiskPart, EvictionSignal, ExitRecord, Handler,
    HandlerAnswer, HandlerCall, HandlerOutcome, ImageNeed, ImageSource, Masked, ObservedContainer, ObservedPod, PodKey,
    PodRecord, PodUid, ProbeKey, ProbeKind, ProbeVerdict, ProbeVerdicts, ProcessUse, ResizeOrder, Resources, Sandbox,
    Signal, SignalOrder, Starved, VolumeLimit, VolumeMaterial, VolumePayload,
};
use podwright::port::{ContainerBackend, ErrorKind, HANDLER_BYTES, Hint};
use serde_json::json;

use crate::admit::{admitted, pod_of};

/// How long a backend may take for what happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The containers of the suite: name and the script its shell runs.
const CONTAINERS: &[(&str, &str)] = &[
    ("runs", "trap 'exit 143' TERM; while :; do sleep 1 & wait $!; done"),
    ("ends", "exit 3"),
    ("stubborn", "trap '' TERM; while :; do sleep 1; done"),
    ("broken", ""),
    ("grows", "trap 'exit 143' TERM; while :; do sleep 1 & wait $!; done"),
];

/// What handlers run.
const FINE: &str = "echo fine";
const BAD: &str = "echo bad; echo worse >&2; exit 3";
const LATE: &str = "sleep 1000";
const LONG: &str = "head -c 100000 /dev/zero | tr '\\0' x";

/// What the last of them starts with.
const SMALL: &str = "32Mi";

/// A backend to be checked, with an image that has a shell.
pub(crate) struct Contract {
    pub(crate) backend: Arc<dyn ContainerBackend>,
    /// An image with `/bin/sh` and `sleep`.
    pub(crate) image: String,
    /// An image that cannot be had.
    pub(crate) absent: String,
    /// Now, by the backend's clock.
    pub(crate) now: Timestamp,
}

impl Contract {
    /// Checks everything. The backend is left as empty as it was.
    pub(crate) async fn check(&self) {
        self.a_record_is_kept_until_it_is_removed().await;
        self.a_sandbox_runs_once().await;
        self.an_image_is_there_or_not().await;
        self.volumes_are_synced_again_and_again().await;
        self.a_container_runs_once_and_stops_when_told().await;
        self.a_stop_may_begin_before_its_signal().await;
        self.a_container_that_ended_is_not_run_again().await;
        self.what_ignores_the_stop_signal_is_killed().await;
        self.what_cannot_be_started_leaves_an_exit_record().await;
        self.an_end_is_hinted_at_to_everyone().await;
        self.what_runs_is_given_more_and_less().await;
        self.handlers_of_what_runs_answer().await;
        self.what_probes_said_is_kept_with_the_pod().await;
        self.what_is_used_is_told_and_room_is_made_around_what_runs().await;
        self.what_is_gone_may_be_removed_again().await;
        self.two_pods_do_not_meet().await;
        self.a_pod_has_a_network_of_its_own().await;
        let left = self.backend.list().await.unwrap();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    fn record(&self, name: &str) -> PodRecord {
        self.record_of(name, true)
    }

    fn record_of(&self, name: &str, host_network: bool) -> PodRecord {
        let containers: Vec<_> = CONTAINERS
            .iter()
            .map(|(name, script)| {
                let limits = if *name == "grows" { json!({"cpu": "500m", "memory": SMALL}) } else { json!({}) };
                let command = command(name, script);
                json!({"name": name, "image": self.image, "command": command, "resources": {"limits": limits}})
            })
            .collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 1, "hostNetwork": host_network}});
        let key = PodKey::new("default", name);
        PodRecord {
            version: PodRecord::VERSION,
            placed_at: None,
            uid: PodUid(format!("{:08x}-1111-4222-8333-444455556666", name.bytes().map(u32::from).sum::<u32>())),
            created_at: self.now,
            revision: "r1".into(),
            realised: pod_of(&admitted(&[pod]), "default", name),
            generation: 1,
            resized_at: None,
            sandbox_attempts: 0,
            deletion: None,
            terminal: None,
            terminal_cause: None,
            data_digests: None,
            all_restarted: None,
            bounds_storage: false,
            waits: None,
            key,
        }
    }

    /// A pod on record, with a sandbox.
    async fn pod(&self, name: &str) -> PodKey {
        self.pod_of(self.record(name)).await
    }

    async fn pod_of(&self, record: PodRecord) -> PodKey {
        self.backend.put_record(&record).await.unwrap();
        self.backend.sync_volumes(&record.key, &[]).await.unwrap();
        self.backend.run_sandbox(&record.key, 0).await.unwrap();
        record.key
    }

    async fn observe(&self, key: &PodKey) -> ObservedPod {
        let pod = self.backend.observe(key).await.unwrap().unwrap_or_else(|| panic!("{key} is not on record"));
        Arc::unwrap_or_clone(pod)
    }

    async fn start(&self, key: &PodKey, name: &str, attempt: u32) -> ContainerStart {
        let script = CONTAINERS.iter().find(|(n, _)| *n == name).unwrap().1;
        let start = ContainerStart {
            name: name.into(),
            kind: ContainerKind::App,
            attempt,
            backoff: SignedDuration::from_secs(i64::from(attempt) * 10),
            command: Some(command(name, script).into_iter().map(Masked::new).collect()),
            args: None,
            env: Vec::new(),
            late: Vec::new(),
            mounts: Vec::new(),
            data: None,
            image_source: ImageSource::Present,
        };
        let need = ImageNeed {
            container: name.into(),
            volume: None,
            image: self.image.clone(),
            policy: "IfNotPresent".into(),
            secrets: Vec::new(),
            missing_secrets: Vec::new(),
        };
        self.backend.ensure_image(&need, &|| ()).await.unwrap();
        let started = self.backend.start_container(key, &start).await;
        assert!(started.is_ok() || name == "broken", "{started:?}");
        start
    }

    async fn signal(&self, key: &PodKey, name: &str, signal: Signal) {
        let order = SignalOrder { name: name.into(), attempt: 0, signal, grace_seconds: 1, reason: "a test".into() };
        self.backend.signal_container(key, &order).await.unwrap();
    }

    async fn instance(&self, key: &PodKey, name: &str, attempt: u32) -> Option<ObservedContainer> {
        let pod = self.observe(key).await;
        pod.containers.into_iter().find(|c| c.record.name == name && c.record.attempt == attempt)
    }

    /// Waits for the end of an instance.
    async fn exit(&self, key: &PodKey, name: &str, attempt: u32) -> ExitRecord {
        let end = async {
            loop {
                let instance = self.instance(key, name, attempt).await;
                if let Some(ContainerState::Exited(exit)) = instance.map(|c| c.state) {
                    return exit;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("{name}#{attempt} does not end"))
    }

    /// Everything of a pod goes; each verb twice.
    async fn clear(&self, key: &PodKey) {
        let pod = self.observe(key).await;
        for container in pod.containers {
            let (name, attempt) = (container.record.name.as_str(), container.record.attempt);
            let order = SignalOrder {
                name: name.into(),
                attempt,
                signal: Signal::Kill,
                grace_seconds: 0,
                reason: "end".into(),
            };
            self.backend.signal_container(key, &order).await.unwrap();
            self.exit(key, name, attempt).await;
        }
        for _ in 0..2 {
            self.backend.stop_sandbox(key).await.unwrap();
        }
        for _ in 0..2 {
            self.backend.remove_pod(key).await.unwrap();
        }
        assert_eq!(self.backend.observe(key).await.unwrap(), None);
    }

    async fn a_record_is_kept_until_it_is_removed(&self) {
        let record = self.record("record");
        let key = &record.key;
        assert_eq!(self.backend.observe(key).await.unwrap(), None);
        for _ in 0..2 {
            self.backend.put_record(&record).await.unwrap();
            let pod = self.observe(key).await;
            assert_eq!((&pod.record, &pod.sandbox, pod.containers.len()), (&record, &Sandbox::Absent, 0));
            assert_eq!(self.backend.list().await.unwrap(), [Arc::new(pod)]);
        }
        let changed = PodRecord { generation: 2, revision: "r2".into(), ..record.clone() };
        self.backend.put_record(&changed).await.unwrap();
        let deletion = Deletion { requested_at: self.now, grace_seconds: 7, reason: "a test".into() };
        for _ in 0..2 {
            self.backend.mark_deleted(key, &deletion).await.unwrap();
            let expected = PodRecord { deletion: Some(deletion.clone()), ..changed.clone() };
            assert_eq!(self.observe(key).await.record, expected);
        }
        let shorter = Deletion { grace_seconds: 1, ..deletion };
        self.backend.mark_deleted(key, &shorter).await.unwrap();
        assert_eq!(self.observe(key).await.record.deletion, Some(shorter));
        self.clear(key).await;
    }

    async fn a_sandbox_runs_once(&self) {
        let key = &self.pod("sandbox").await;
        let first = self.observe(key).await;
        let Sandbox::Ready { attempt: 0, pid, .. } = first.sandbox else { panic!("{first:?}") };
        assert!(pid > 0);
        assert_eq!(first.record.sandbox_attempts, 1);
        self.backend.run_sandbox(key, 0).await.unwrap();
        assert_eq!(self.observe(key).await, first);
        for _ in 0..2 {
            self.backend.stop_sandbox(key).await.unwrap();
            let stopped = self.observe(key).await;
            assert_eq!((&stopped.sandbox, stopped.record.sandbox_attempts), (&Sandbox::Absent, 1));
        }
        self.backend.run_sandbox(key, 1).await.unwrap();
        let second = self.observe(key).await;
        assert!(matches!(second.sandbox, Sandbox::Ready { attempt: 1, .. }), "{second:?}");
        assert_eq!(second.record.sandbox_attempts, 2);
        self.clear(key).await;
    }

    async fn an_image_is_there_or_not(&self) {
        let need = |image: &str, policy: &str| ImageNeed {
            container: "runs".into(),
            volume: None,
            image: image.into(),
            policy: policy.into(),
            secrets: Vec::new(),
            missing_secrets: Vec::new(),
        };
        let first = self.backend.ensure_image(&need(&self.image, "IfNotPresent"), &|| ()).await.unwrap();
        assert_eq!(first.reference, self.image);
        assert_eq!(self.backend.ensure_image(&need(&self.image, "IfNotPresent"), &|| ()).await.unwrap(), first);
        for (policy, reason) in [("IfNotPresent", "ErrImagePull"), ("Never", "ErrImageNeverPull")] {
            let error = self.backend.ensure_image(&need(&self.absent, policy), &|| ()).await.unwrap_err();
            assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unavailable), "{error}");
            assert_eq!(error.waiting_reason, Some(reason), "{error}");
        }
    }

    async fn what_is_used_is_told_and_room_is_made_around_what_runs(&self) {
        assert!(self.backend.signal_levels(&[]).await.unwrap().is_empty());
        let levels = self.backend.signal_levels(&EvictionSignal::ALL).await.unwrap();
        assert!(levels.values().all(|level| level.available <= level.capacity), "{levels:?}");
        let nobody = PodKey::new("default", "nobody");
        assert_eq!(self.backend.process_use(&nobody).await.unwrap(), ProcessUse::default());
        let key = &self.pod("uses").await;
        self.start(key, "runs", 0).await;
        let used = self.backend.process_use(key).await.unwrap();
        // Where nobody counts, nothing is known.
        assert!(used.processes.is_none_or(|processes| processes > 0), "{used:?}");
        assert!(used.memory.is_none() || used.containers.contains_key("runs"), "{used:?}");
        let part = |of, name: &str| VolumeLimit { of, name: name.into(), bytes: u64::MAX, shown: String::new() };
        let parts = [part(DiskPart::Pod, ""), part(DiskPart::Container, "runs"), part(DiskPart::Container, "missing")];
        let taken = self.backend.volume_use(key, &parts).await.unwrap();
        assert_eq!((taken.len(), taken[2].bytes), (3, 0));
        assert!(taken[0].bytes >= taken[1].bytes, "{taken:?}");
        self.backend.reclaim(Starved::EphemeralStorage, &[]).await.unwrap();
        let instance = self.instance(key, "runs", 0).await.unwrap();
        assert!(matches!(instance.state, ContainerState::Running { .. }), "{instance:?}");
        self.clear(key).await;
    }

    async fn volumes_are_synced_again_and_again(&self) {
        let record = self.record("volumes");
        self.backend.put_record(&record).await.unwrap();
        let material = VolumeMaterial::EmptyDir { memory: false, size_limit: None };
        let volumes = [VolumePayload { name: "v".into(), material, group: None }];
        for _ in 0..2 {
            self.backend.sync_volumes(&record.key, &volumes).await.unwrap();
        }
        let limits = ["v", "missing"].map(|name| VolumeLimit {
            of: DiskPart::EmptyDir,
            name: name.into(),
            bytes: 1 << 20,
            shown: "1Mi".into(),
        });
        let taken = self.backend.volume_use(&record.key, &limits).await.unwrap();
        assert_eq!((taken.len(), taken[1].bytes), (2, 0));
        assert!(taken[0].bytes <= 1 << 20, "{taken:?}");
        self.clear(&record.key).await;
    }

    async fn a_container_runs_once_and_stops_when_told(&self) {
        let key = &self.pod("stops").await;
        let start = self.start(key, "runs", 0).await;
        let first = self.instance(key, "runs", 0).await.unwrap();
        let ContainerState::Running { pid, .. } = first.state else { panic!("{first:?}") };
        assert!(pid > 0);
        let record = &first.record;
        assert_eq!((record.kind, record.sandbox_attempt, &record.stopping), (ContainerKind::App, 0, &None));
        assert_eq!((&record.image, record.backoff), (&self.image, SignedDuration::ZERO));
        assert!(!record.id.is_empty() && !record.image_id.is_empty() && !record.log_path.is_empty());
        self.backend.start_container(key, &start).await.unwrap();
        assert_eq!(self.instance(key, "runs", 0).await.unwrap(), first);
        // The shell needs a moment until it has set its trap.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.signal(key, "runs", Signal::Stop).await;
        let told = self.instance(key, "runs", 0).await.unwrap().record.stopping.expect("a record of the signal");
        assert_eq!((told.grace_seconds, told.reason.as_str(), told.killed_at), (1, "a test", None));
        self.signal(key, "runs", Signal::Stop).await;
        let exit = self.exit(key, "runs", 0).await;
        assert_eq!((exit.exit_code, exit.oom_killed), (143, false));
        assert!(exit.started_at.is_some_and(|started| started <= exit.finished_at));
        let ended = self.instance(key, "runs", 0).await.unwrap();
        assert_eq!(ended.record.stopping.as_ref().map(|s| s.since), Some(told.since));
        // To the dead a signal is nothing, and so is cleaning up after them.
        self.signal(key, "runs", Signal::Kill).await;
        self.backend.reap_container(key, "runs", 0).await.unwrap();
        assert_eq!(self.instance(key, "runs", 0).await.unwrap().state, ended.state);
        self.clear(key).await;
    }

    async fn a_stop_may_begin_before_its_signal(&self) {
        let key = &self.pod("begins").await;
        self.start(key, "runs", 0).await;
        // The shell needs a moment until it has set its trap.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.signal(key, "runs", Signal::PreStop).await;
        let begun = self.instance(key, "runs", 0).await.unwrap();
        let told = begun.record.stopping.clone().expect("a record of the stop");
        assert!(told.pre_stop && told.killed_at.is_none() && told.reason == "a test", "{told:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.signal(key, "runs", Signal::PreStop).await;
        assert_eq!(self.instance(key, "runs", 0).await.unwrap(), begun, "nothing is sent");
        self.signal(key, "runs", Signal::Stop).await;
        assert_eq!(self.exit(key, "runs", 0).await.exit_code, 143);
        let after = self.instance(key, "runs", 0).await.unwrap().record.stopping.unwrap();
        assert!(!after.pre_stop && after.since > told.since && after.hook_since == Some(told.since), "{after:?}");
        self.clear(key).await;
    }

    async fn a_container_that_ended_is_not_run_again(&self) {
        let key = &self.pod("ends").await;
        let start = self.start(key, "ends", 0).await;
        let exit = self.exit(key, "ends", 0).await;
        assert_eq!((exit.exit_code, exit.signal), (3, None));
        let ended = self.instance(key, "ends", 0).await;
        self.backend.start_container(key, &start).await.unwrap();
        assert_eq!(self.instance(key, "ends", 0).await, ended);
        self.start(key, "ends", 1).await;
        self.exit(key, "ends", 1).await;
        let pod = self.observe(key).await;
        let attempts: Vec<u32> = pod.containers.iter().map(|c| c.record.attempt).collect();
        assert_eq!(attempts, [0, 1]);
        assert_eq!(pod.containers[1].record.backoff, SignedDuration::from_secs(10));
        assert_ne!(pod.containers[0].record.id, pod.containers[1].record.id);
        for _ in 0..2 {
            self.backend.remove_container(key, "ends", 0).await.unwrap();
            assert_eq!(self.instance(key, "ends", 0).await, None);
            assert!(self.instance(key, "ends", 1).await.is_some());
        }
        self.clear(key).await;
    }

    async fn what_ignores_the_stop_signal_is_killed(&self) {
        let key = &self.pod("stubborn").await;
        self.start(key, "stubborn", 0).await;
        // The shell needs a moment until it has set its trap.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.signal(key, "stubborn", Signal::Stop).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = self.instance(key, "stubborn", 0).await.unwrap();
        assert!(matches!(told.state, ContainerState::Running { .. }), "{told:?}");
        assert!(told.record.stopping.is_some_and(|s| s.killed_at.is_none()));
        self.signal(key, "stubborn", Signal::Kill).await;
        let exit = self.exit(key, "stubborn", 0).await;
        assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
        let killed = self.instance(key, "stubborn", 0).await.unwrap().record.stopping.unwrap();
        assert!(killed.killed_at.is_some_and(|at| at >= killed.since));
        self.clear(key).await;
    }

    async fn what_cannot_be_started_leaves_an_exit_record(&self) {
        let key = &self.pod("broken").await;
        self.start(key, "broken", 0).await;
        let exit = self.exit(key, "broken", 0).await;
        assert_eq!((exit.exit_code, exit.reason.as_deref(), exit.started_at), (128, Some("StartError"), None));
        assert!(exit.message.is_some_and(|message| !message.is_empty()));
        self.clear(key).await;
    }

    async fn an_end_is_hinted_at_to_everyone(&self) {
        let key = self.pod("hints").await;
        let (mut one, mut two) = (self.backend.hints(), self.backend.hints());
        self.start(&key, "ends", 0).await;
        self.exit(&key, "ends", 0).await;
        for hints in [&mut one, &mut two] {
            let hint = tokio::time::timeout(PATIENCE, hints.recv()).await.expect("a hint in time");
            assert_eq!(hint, Some(Hint(key.clone())));
        }
        self.clear(&key).await;
    }

    async fn what_runs_is_given_more_and_less(&self) {
        let key = &self.pod("resized").await;
        self.start(key, "grows", 0).await;
        let first = self.instance(key, "grows", 0).await.unwrap();
        let started = first.record.resources.clone().expect("what it was started with");
        assert_eq!((started.limits.cpu.as_deref(), started.requests.memory.as_deref()), (Some("500m"), Some(SMALL)));
        let order = |memory: &str, cpu: &str| {
            let limits = json!({"cpu": cpu, "memory": memory});
            let container = serde_json::from_value(json!({"name": "grows", "resources": {"limits": limits}})).unwrap();
            ResizeOrder { name: "grows".into(), attempt: 0, resources: Resources::of(&container) }
        };
        for order in [order("64Mi", "1"), order("48Mi", "250m"), order("48Mi", "0")] {
            for _ in 0..2 {
                self.backend.resize_container(key, &order).await.unwrap();
                let now = self.instance(key, "grows", 0).await.unwrap();
                assert_eq!((&now.record.resources, &now.state), (&Some(order.resources.clone()), &first.state));
            }
        }
        // What is in use is not taken away, and nothing else is changed then.
        let before = self.instance(key, "grows", 0).await;
        let error = self.backend.resize_container(key, &order("4096", "1")).await.unwrap_err();
        let told = "cannot decrease memory limits: attempting to set container \"grows\" memory limit (4096) below current usage (";
        assert!(error.to_string().starts_with(told), "{error}");
        assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Unavailable, Some("ResizeError")));
        assert_eq!(self.instance(key, "grows", 0).await, before);
        let other = ResizeOrder { attempt: 1, ..order("64Mi", "1") };
        assert_eq!(self.backend.resize_container(key, &other).await.unwrap_err().kind, ErrorKind::NotFound);
        // The dead use nothing.
        self.signal(key, "grows", Signal::Kill).await;
        self.exit(key, "grows", 0).await;
        let ended = self.instance(key, "grows", 0).await;
        self.backend.resize_container(key, &order("64Mi", "1")).await.unwrap();
        assert_eq!(self.instance(key, "grows", 0).await, ended);
        self.clear(key).await;
    }

    async fn handlers_of_what_runs_answer(&self) {
        let key = &self.pod("handlers").await;
        self.start(key, "runs", 0).await;
        let exec = |script: &str| Handler::Exec { command: command("", script) };
        let call = |handler: Handler| HandlerCall {
            container: "runs".into(),
            attempt: 0,
            handler,
            timeout: Duration::from_secs(3),
            caller: Caller::Probe,
        };
        let late = format!("command {:?} timed out", format!("/bin/sh -c {LATE}"));
        for (script, outcome, text) in [
            (FINE, HandlerOutcome::Success, "fine\n"),
            (BAD, HandlerOutcome::Failure, "bad\nworse\n"),
            (LATE, HandlerOutcome::Failure, &late),
        ] {
            let answer = self.backend.call_handler(key, &call(exec(script))).await.unwrap();
            assert_eq!((answer.outcome, answer.text.as_str()), (outcome, text), "{script}");
        }
        let long = self.backend.call_handler(key, &call(exec(LONG))).await.unwrap();
        assert_eq!((long.outcome, long.text.len()), (HandlerOutcome::Success, HANDLER_BYTES));
        let none = Handler::Exec { command: vec!["/no/such/program".into()] };
        let unusable = self.backend.call_handler(key, &call(none)).await.unwrap_err();
        assert_eq!(unusable.kind, ErrorKind::Unavailable, "what is not run gives no answer");
        assert!(unusable.message.contains("no such file or directory"), "{unusable:?}");
        let other = HandlerCall { attempt: 1, ..call(exec(FINE)) };
        assert_eq!(self.backend.call_handler(key, &other).await.unwrap_err().kind, ErrorKind::NotFound);
        self.signal(key, "runs", Signal::Kill).await;
        self.exit(key, "runs", 0).await;
        let tcp = Handler::TcpSocket { host: Some("127.0.0.1".into()), port: 1 };
        for handler in [exec(FINE), tcp] {
            assert_eq!(self.backend.call_handler(key, &call(handler)).await.unwrap_err().kind, ErrorKind::NotFound);
        }
        self.clear(key).await;
    }

    async fn what_probes_said_is_kept_with_the_pod(&self) {
        let key = &self.pod("verdicts").await;
        assert!(self.backend.kept_verdicts(key).await.unwrap().is_empty());
        let verdicts = |passed| {
            let probe = ProbeKey { container: "runs".into(), attempt: 0, id: "id".into(), kind: ProbeKind::Readiness };
            ProbeVerdicts::from([(probe, ProbeVerdict { passed, since: self.now })])
        };
        for passed in [true, false] {
            self.backend.keep_verdicts(key, &verdicts(passed)).await.unwrap();
            assert_eq!(self.backend.kept_verdicts(key).await.unwrap(), verdicts(passed), "the last ones");
        }
        self.clear(key).await;
        assert!(self.backend.kept_verdicts(key).await.unwrap().is_empty());
        assert_eq!(self.backend.keep_verdicts(key, &verdicts(true)).await.unwrap_err().kind, ErrorKind::NotFound);
    }

    async fn what_is_gone_may_be_removed_again(&self) {
        let key = PodKey::new("default", "never-was");
        self.backend.stop_sandbox(&key).await.unwrap();
        self.backend.remove_container(&key, "runs", 0).await.unwrap();
        self.backend.remove_pod(&key).await.unwrap();
        assert_eq!(self.backend.observe(&key).await.unwrap(), None);
    }

    async fn two_pods_do_not_meet(&self) {
        let (one, two) = (self.pod("one").await, self.pod("two").await);
        self.start(&one, "runs", 0).await;
        self.start(&two, "runs", 0).await;
        let before = self.observe(&two).await;
        assert_eq!(self.backend.list().await.unwrap().len(), 2);
        self.clear(&one).await;
        assert_eq!(self.observe(&two).await, before);
        self.clear(&two).await;
    }

    /// The same as the pods of the machine's network, and with addresses that no other pod has.
    async fn a_pod_has_a_network_of_its_own(&self) {
        let shared = self.pod("shared").await;
        let mut keys = vec![shared.clone()];
        for name in ["own", "other"] {
            keys.push(self.pod_of(self.record_of(name, false)).await);
        }
        let mut met = Vec::new();
        for key in &keys {
            let Sandbox::Ready { ips, .. } = self.observe(key).await.sandbox else { panic!("{key} has no sandbox") };
            assert!(!ips.is_empty() && ips.iter().all(|ip| !met.contains(ip)), "{key}: {ips:?} of {met:?}");
            met.extend(ips.clone());
            self.backend.run_sandbox(key, 0).await.unwrap();
            let again = self.observe(key).await.sandbox;
            assert!(matches!(&again, Sandbox::Ready { ips: same, .. } if *same == ips), "{again:?}");
            self.start(key, "runs", 0).await;
            let state = self.instance(key, "runs", 0).await.map(|c| c.state);
            assert!(matches!(state, Some(ContainerState::Running { .. })), "{key}: {state:?}");
        }
        for key in &keys {
            self.clear(key).await;
        }
    }
}

fn command(name: &str, script: &str) -> Vec<String> {
    match name {
        "broken" => vec!["/no/such/program".to_owned()],
        _ => ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
    }
}

fn answer(outcome: HandlerOutcome, text: &str) -> HandlerAnswer {
    HandlerAnswer { outcome, text: text.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn the_fake_keeps_the_contract() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let fake = Fake::new(Arc::new(VirtualClock::new(now)));
    fake.set_image("absent:1", false);
    fake.behave("ends", Behaviour::exits(Duration::from_millis(50), 3));
    fake.behave("grows", Behaviour { memory: 1 << 20, ..Behaviour::default() });
    fake.behave("stubborn", Behaviour { ignores_stop: true, ..Behaviour::default() });
    fake.answer("runs", |call| {
        let Handler::Exec { command } = &call.handler else { panic!("{call:?}") };
        match command.last().map(String::as_str) {
            Some(FINE) => Answered { answer: Ok(answer(HandlerOutcome::Success, "fine\n")), ..Answered::success() },
            Some(BAD) => Answered::failure("bad\nworse\n"),
            Some(LATE) => Answered::success().after(Duration::from_secs(1000)),
            Some(LONG) => {
                Answered { answer: Ok(answer(HandlerOutcome::Success, &"x".repeat(100_000))), ..Answered::success() }
            }
            _ => Answered::error("exec: no such file or directory"),
        }
    });
    fake.behave("broken", Behaviour { fails_to_start: Some("no such program".into()), ..Behaviour::default() });
    Contract { backend: fake, image: "shell:1".into(), absent: "absent:1".into(), now }.check().await;
}
