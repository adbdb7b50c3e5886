//! The verbs of the port.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::paths::{check_key, check_uid};
use super::records::{self, POD, Stored};
use super::{
    Inner, Native, START_PATIENCE, blocking, end, etc, handler, image, joined, observe, pressure, resize, sandbox,
    settle, start, verdicts,
};
use crate::model::{
    ContainerStart, Deletion, EvictionSignal, HandlerAnswer, HandlerCall, ImageNeed, ObservedPod, PodKey, PodRecord,
    PodUid, ProbeVerdicts, ProcessUse, ResizeOrder, ResolverNotes, SignalLevels, SignalOrder, Starved, VolumeLimit,
    VolumePayload, VolumeUse,
};
use crate::port::{Capabilities, ContainerBackend, ErrorKind, Hint, ImageStatus, PortError};

/// So long a look at the volumes of a pod takes at most: less than whoever asks waits for it.
const LOOK_PATIENCE: Duration = Duration::from_secs(240);

impl Native {
    /// Waits for the verbs of a pod that change something and were begun before. The next one waits until this is dropped.
    async fn turn(&self, key: &PodKey) -> Result<OwnedMutexGuard<()>, PortError> {
        // It takes the turns of pods as well.
        self.inner.adopt().await?;
        Ok(self.inner.turn(key).lock_owned().await)
    }

    /// Runs a verb that changes something: after the others of its pod, and to its end even if the caller goes away.
    async fn verb<T, F, W>(&self, key: &PodKey, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Inner>) -> W + Send + 'static,
        W: Future<Output = Result<T, PortError>> + Send + 'static,
    {
        let (inner, turn) = (self.inner.clone(), self.turn(key).await?);
        joined(tokio::spawn(async move {
            let _turn = turn;
            work(inner).await
        }))
        .await
    }

    /// The same of a pod that exists, with what blocks: it goes to its end on its thread.
    async fn work<T, F>(&self, key: &PodKey, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Inner>, &PodKey, &PodUid) -> Result<T, PortError> + Send + 'static,
    {
        let (inner, key, turn) = (self.inner.clone(), key.clone(), self.turn(key).await?);
        let uid = inner.uid(&key).await?;
        blocking(move || {
            let _turn = turn;
            work(&inner, &key, &uid)
        })
        .await
    }
}

/// Writes a pod's record, also over an older one of the same pod.
fn put(inner: &Inner, record: &PodRecord) -> Result<(), PortError> {
    const OPERATION: &str = "write the record of pod";
    let (key, uid) = (&record.key, &record.uid);
    check_key(key)?;
    check_uid(uid)?;
    let failed = |e: std::io::Error| PortError::io(OPERATION, key.to_string(), &e);
    if record.version != PodRecord::VERSION {
        let message = format!("this program does not write version {}", record.version);
        return Err(PortError::new(ErrorKind::Invalid, OPERATION, key.to_string(), message));
    }
    let mut record = record.clone();
    let old = observe::record(&inner.paths, uid)?;
    if matches!(old, Stored::Missing) {
        // The disk is waited for before the first container starts: until then nothing depends on it.
        let written = records::write_and_sync_later(&inner.paths.pod(uid), POD, &record);
        return written.map_err(failed);
    }
    if let Stored::There(old) = old {
        // How many sandboxes there were is counted here; a caller may know an older number.
        record.sandbox_attempts = record.sandbox_attempts.max(old.sandbox_attempts);
        if record == old {
            return inner.levels.renew(&inner.paths, &record);
        }
    }
    settle::write(&inner.paths, &record, &inner.settled(uid)).map_err(failed)?;
    inner.levels.renew(&inner.paths, &record)
}

#[async_trait]
impl ContainerBackend for Native {
    async fn list(&self) -> Result<Vec<Arc<ObservedPod>>, PortError> {
        self.inner.look_at_all().await
    }

    async fn observe(&self, key: &PodKey) -> Result<Option<Arc<ObservedPod>>, PortError> {
        let Some(uid) = self.inner.find(key).await? else { return Ok(None) };
        self.inner.settle_again(key, &uid).await;
        self.inner.look(&uid, Instant::now() + START_PATIENCE).await
    }

    async fn put_record(&self, record: &PodRecord) -> Result<(), PortError> {
        let (inner, record, turn) = (self.inner.clone(), record.clone(), self.turn(&record.key).await?);
        if let Some(uid) = inner.find(&record.key).await?.filter(|uid| *uid != record.uid) {
            let message = format!("another pod has this name: {uid}");
            let key = record.key.to_string();
            return Err(PortError::new(ErrorKind::Conflict, "write the record of pod", key, message));
        }
        blocking(move || {
            let _turn = turn;
            put(&inner, &record)?;
            inner.remember(&record.key, &record.uid);
            Ok(())
        })
        .await
    }

    async fn mark_deleted(&self, key: &PodKey, deletion: &Deletion) -> Result<(), PortError> {
        let deletion = deletion.clone();
        self.work(key, move |inner, key, uid| put(inner, &end::mark(inner.read_record(key, uid)?, &deletion))).await
    }

    async fn sync_volumes(&self, key: &PodKey, volumes: &[VolumePayload]) -> Result<(), PortError> {
        let volumes = volumes.to_vec();
        self.work(key, move |inner, _, uid| inner.volumes.sync(uid, &volumes)).await
    }

    async fn volume_use(&self, key: &PodKey, limits: &[VolumeLimit]) -> Result<Vec<VolumeUse>, PortError> {
        let Some(uid) = self.inner.find(key).await? else { return Ok(vec![VolumeUse::default(); limits.len()]) };
        // Nothing else waits for a look that takes long, and it ends with whoever asked.
        let (inner, key, limits, off) = (self.inner.clone(), key.clone(), limits.to_vec(), CancellationToken::new());
        let _asked = off.clone().drop_guard();
        let is_off = move || off.is_cancelled();
        let end = std::time::Instant::now() + LOOK_PATIENCE;
        let taken = move |(limit, left): (&VolumeLimit, u32)| {
            let now = std::time::Instant::now();
            // What one leaves of its share is for those after it.
            let until = now + end.saturating_duration_since(now) / left;
            pressure::disk_use(&inner, (&key, &uid), (limit, until), &is_off)
        };
        let count = u32::try_from(limits.len()).unwrap_or(u32::MAX);
        blocking(move || limits.iter().zip((1..=count).rev()).map(taken).collect()).await
    }

    async fn run_sandbox(&self, key: &PodKey, attempt: u32) -> Result<(), PortError> {
        self.work(key, move |inner, key, uid| sandbox::run(inner, key, uid, attempt)).await
    }

    async fn resolver_notes(&self, key: &PodKey) -> Result<ResolverNotes, PortError> {
        self.work(key, |inner, key, uid| {
            let spec = inner.read_record(key, uid)?.realised.effective.open().spec.unwrap_or_default();
            Ok(etc::notes(&spec))
        })
        .await
    }

    async fn stop_sandbox(&self, key: &PodKey) -> Result<(), PortError> {
        let pod = key.clone();
        self.verb(key, move |inner| sandbox::stop(inner, pod)).await
    }

    async fn ensure_image(
        &self,
        need: &ImageNeed,
        pulling: &(dyn Fn() + Send + Sync),
    ) -> Result<ImageStatus, PortError> {
        image::ensure(self.inner.clone(), need.clone(), pulling).await
    }

    async fn start_container(&self, key: &PodKey, plan: &ContainerStart) -> Result<(), PortError> {
        let plan = plan.clone();
        self.work(key, move |inner, key, uid| start::start(inner, key, uid, &plan)).await
    }

    async fn signal_container(&self, key: &PodKey, order: &SignalOrder) -> Result<(), PortError> {
        let order = order.clone();
        self.work(key, move |inner, _, uid| end::signal(inner, uid, &order)).await
    }

    async fn resize_container(&self, key: &PodKey, order: &ResizeOrder) -> Result<(), PortError> {
        let order = order.clone();
        self.work(key, move |inner, _, uid| resize::resize(inner, uid, &order)).await
    }

    async fn call_handler(&self, key: &PodKey, call: &HandlerCall) -> Result<HandlerAnswer, PortError> {
        handler::call(&self.inner, key, call).await
    }

    async fn keep_verdicts(&self, key: &PodKey, verdicts: &ProbeVerdicts) -> Result<(), PortError> {
        let verdicts = verdicts.clone();
        self.work(key, move |inner, key, uid| {
            let kept = verdicts::keep(&inner.paths.run_pod(uid), &verdicts);
            kept.map_err(|e| PortError::io("keep what the probes say of pod", key.to_string(), &e))
        })
        .await
    }

    async fn kept_verdicts(&self, key: &PodKey) -> Result<ProbeVerdicts, PortError> {
        let Some(uid) = self.inner.find(key).await? else { return Ok(ProbeVerdicts::new()) };
        let (dir, key) = (self.inner.paths.run_pod(&uid), key.to_string());
        let failed = |e| PortError::io("read what the probes said of pod", key, &e);
        blocking(move || verdicts::kept(&dir).map_err(failed)).await
    }

    async fn reap_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError> {
        let name = name.to_owned();
        self.work(key, move |inner, key, uid| end::reap(inner, (key, uid), &name, attempt)).await
    }

    async fn remove_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError> {
        let (name, pod) = (name.to_owned(), key.clone());
        self.verb(key, move |inner| async move {
            let Some(uid) = inner.find(&pod).await? else { return Ok(()) };
            blocking(move || end::remove_container(&inner, (&pod, &uid), &name, attempt)).await
        })
        .await
    }

    async fn remove_pod(&self, key: &PodKey) -> Result<(), PortError> {
        let pod = key.clone();
        self.verb(key, move |inner| end::remove_pod(inner, pod)).await
    }

    async fn signal_levels(&self, signals: &[EvictionSignal]) -> Result<SignalLevels, PortError> {
        let (inner, signals) = (self.inner.clone(), signals.to_vec());
        let failed = |e| PortError::io("look at", "the machine", &e);
        let alone = inner.looking.begin("look at")?;
        blocking(move || {
            let _alone = alone;
            pressure::levels(&inner.paths, &signals).map_err(failed)
        })
        .await
    }

    async fn process_use(&self, key: &PodKey) -> Result<ProcessUse, PortError> {
        let Some(uid) = self.inner.find(key).await? else { return Ok(ProcessUse::default()) };
        let inner = self.inner.clone();
        blocking(move || pressure::process_use(&inner.paths, &uid)).await
    }

    async fn reclaim(&self, starved: Starved, evicted: &[PodUid]) -> Result<(), PortError> {
        let (inner, evicted) = (self.inner.clone(), evicted.iter().cloned().collect());
        let alone = inner.reclaiming[usize::from(starved.is_of_disk())].begin("make room on")?;
        // To its end, so that nobody begins it anew beside what goes on of it.
        joined(tokio::spawn(async move {
            let _alone = alone;
            pressure::reclaim(inner, starved, evicted).await
        }))
        .await
    }

    fn hints(&self) -> mpsc::Receiver<Hint> {
        self.inner.hub.listen()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "native".to_owned(), pod_network: true }
    }
}
