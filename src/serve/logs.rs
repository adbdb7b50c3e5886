//! A container's log: which file, how it is read, and how it is followed until the container ends.

use std::collections::VecDeque;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::rotated;
use super::status::Failure;
use crate::model::PodKey;
use crate::port::{ContainerBackend, ErrorKind, PortError};
use crate::report::crilog;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);
/// A longer line is shown in pieces.
const LONGEST_LINE: usize = 1 << 20;
const BLOCK: usize = 64 << 10;

/// Which log, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    pub pod: PodKey,
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// The instance before the newest one.
    pub previous: bool,
    /// A timestamp before each line.
    pub timestamps: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
    /// End after this many bytes.
    pub limit_bytes: Option<u64>,
    /// Only lines written at or after this time.
    pub since: Option<Timestamp>,
}

impl LogRequest {
    /// The whole log of a container's newest instance.
    pub fn new(pod: PodKey, container: impl Into<String>) -> Self {
        Self {
            pod,
            container: container.into(),
            follow: false,
            previous: false,
            timestamps: false,
            tail_lines: None,
            limit_bytes: None,
            since: None,
        }
    }
}

/// Where logs come from.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// The log as plain text in chunks. `NotFound` when the container has none.
    async fn open(&self, request: &LogRequest) -> Result<mpsc::Receiver<io::Result<Bytes>>, PortError>;
}

/// Tells whether a log may still grow.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Whether the container that writes it has ended.
    async fn ended(&self) -> bool;
}

/// Logs of a backend's containers, read from the files its records name.
pub struct BackendLogs {
    pub backend: Arc<dyn ContainerBackend>,
}

struct Instance {
    backend: Arc<dyn ContainerBackend>,
    pod: PodKey,
    id: String,
}

#[async_trait]
impl Progress for Instance {
    async fn ended(&self) -> bool {
        match self.backend.observe(&self.pod).await {
            Ok(Some(pod)) => !pod.containers.iter().any(|c| c.record.id == self.id && c.is_live()),
            Ok(None) => true,
            // Not known now: ask again later.
            Err(_) => false,
        }
    }
}

#[async_trait]
impl LogReader for BackendLogs {
    async fn open(&self, request: &LogRequest) -> Result<mpsc::Receiver<io::Result<Bytes>>, PortError> {
        let subject = format!("{}/{}", request.pod, request.container);
        let missing = |text: &str| PortError::new(ErrorKind::NotFound, "read the log of", subject.clone(), text);
        let pod = self.backend.observe(&request.pod).await?.ok_or_else(|| missing("the pod has no record"))?;
        let instance = if request.previous { pod.previous(&request.container) } else { pod.latest(&request.container) };
        let instance = instance.ok_or_else(|| missing("the container has not been started"))?;
        let progress =
            Instance { backend: self.backend.clone(), pod: request.pod.clone(), id: instance.record.id.clone() };
        stream_file(Path::new(&instance.record.log_path), request, Arc::new(progress)).await
    }
}

/// Reads a CRI-format file as plain text. The task that reads ends when the receiver is dropped.
pub async fn stream_file(
    path: &Path,
    request: &LogRequest,
    progress: Arc<dyn Progress>,
) -> Result<mpsc::Receiver<io::Result<Bytes>>, PortError> {
    let failed = |e: io::Error| PortError::io("read the log", path.display().to_string(), &e);
    let (place, lines) = (path.to_owned(), request.tail_lines);
    let files = blocking(move || {
        let files = rotated::open(&place)?;
        match lines {
            Some(lines) => rotated::tail(files, lines),
            None => Ok(files),
        }
    });
    let mut files: VecDeque<File> = files.await.map_err(failed)?.into_iter().map(File::from_std).collect();
    let file = files.pop_front().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let (sender, receiver) = mpsc::channel(16);
    let reader = Reader {
        path: path.to_owned(),
        file,
        newer: files,
        rendering: Rendering::new(request),
        follow: request.follow,
        progress,
        pending: Vec::new(),
    };
    tokio::spawn(async move {
        let errors = sender.clone();
        if let Err(error) = reader.run(sender).await {
            // The client may be gone already; then nobody misses it.
            let _ = errors.send(Err(error)).await;
        }
    });
    Ok(receiver)
}

/// Runs what waits for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// From CRI entries to text.
struct Rendering {
    timestamps: bool,
    since: Option<Timestamp>,
    left: Option<u64>,
    continued: bool,
}

impl Rendering {
    fn new(request: &LogRequest) -> Self {
        let LogRequest { timestamps, since, limit_bytes, .. } = *request;
        Self { timestamps, since, left: limit_bytes, continued: false }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let early = self.since.is_some_and(|since| {
            crilog::parse(line).and_then(|e| e.timestamp.parse::<Timestamp>().ok()).is_some_and(|at| at < since)
        });
        if !early {
            self.continued = crilog::render(line, self.timestamps, self.continued, out);
        }
    }

    /// Cuts at the limit; `true` when it is reached.
    fn limit(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(left) = self.left.as_mut() else { return false };
        out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= out.len() as u64;
        *left == 0
    }
}

struct Reader {
    path: PathBuf,
    file: File,
    /// What is to be read after it, the oldest first.
    newer: VecDeque<File>,
    rendering: Rendering,
    follow: bool,
    progress: Arc<dyn Progress>,
    /// The beginning of a line that is not complete yet.
    pending: Vec<u8>,
}

impl Reader {
    async fn run(mut self, sender: mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let mut last_round = !self.follow;
        loop {
            if self.read_to_end(&sender).await? {
                return Ok(());
            }
            if self.follow && self.find_newer().await? {
                continue;
            }
            if last_round {
                return self.finish(&sender).await;
            }
            // What was written before the end was seen is read in one more round.
            last_round = self.progress.ended().await;
            if last_round {
                continue;
            }
            // Cancel-safe: nothing is read while waiting.
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = sender.closed() => return Ok(()),
            }
        }
    }

    /// Sends all complete lines up to the end of the newest file; `true` when nothing more is wanted.
    async fn read_to_end(&mut self, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<bool> {
        let mut block = vec![0; BLOCK];
        loop {
            let count = self.file.read(&mut block).await?;
            if count == 0 {
                // No file ends within an entry, and a line that does not end here ends in the next one.
                let Some(next) = self.newer.pop_front() else { return Ok(false) };
                self.file = next;
                continue;
            }
            self.pending.extend_from_slice(&block[..count]);
            let mut out = Vec::new();
            let mut lines: VecDeque<&[u8]> = self.pending.split_inclusive(|b| *b == b'\n').collect();
            let rest = lines.pop_back_if(|line| !line.ends_with(b"\n") && line.len() < LONGEST_LINE);
            for line in lines {
                self.rendering.line(line, &mut out);
            }
            self.pending = rest.map(<[u8]>::to_vec).unwrap_or_default();
            if self.send(out, sender).await {
                return Ok(true);
            }
        }
    }

    /// Sends text; `true` when nothing more is wanted.
    async fn send(&mut self, mut out: Vec<u8>, sender: &mpsc::Sender<io::Result<Bytes>>) -> bool {
        let full = self.rendering.limit(&mut out);
        let gone = !out.is_empty() && sender.send(Ok(out.into())).await.is_err();
        full || gone
    }

    /// A last line without a line end: its writer is gone or has not finished it, and it is all there is.
    async fn finish(mut self, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let mut out = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.rendering.line(&pending, &mut out);
        }
        self.send(out, sender).await;
        Ok(())
    }

    /// Whether there is more to read because the log was rotated, or cut. Nothing is added to a file that was put aside:
    /// it is read to its end, and then those that came after it.
    async fn find_newer(&mut self) -> io::Result<bool> {
        let Ok(named) = tokio::fs::metadata(&self.path).await else { return Ok(false) };
        let open = self.file.metadata().await?;
        if (named.dev(), named.ino()) == (open.dev(), open.ino()) {
            let is_cut = named.len() < self.file.stream_position().await?;
            if is_cut {
                self.file.seek(SeekFrom::Start(0)).await?;
                self.pending.clear();
            }
            return Ok(is_cut);
        }
        let path = self.path.clone();
        let files = blocking(move || {
            let mut files = rotated::open(&path)?;
            let identities = files.iter().map(rotated::identity).collect::<io::Result<Vec<_>>>()?;
            match identities.iter().position(|own| *own == (open.dev(), open.ino())) {
                Some(at) => Ok(files.split_off(at + 1)),
                // What came between is gone as this one is.
                None if open.nlink() == 0 => Ok(files),
                // It has a name and was not seen, so others may have been missed too: the next look tells.
                None => Ok(Vec::new()),
            }
        });
        self.newer = files.await?.into_iter().map(File::from_std).collect();
        Ok(!self.newer.is_empty())
    }
}

/// The container a log request means: the one named, or the only one.
pub(super) fn choose_container(pod: &Value, wanted: Option<&str>) -> Result<String, String> {
    let list = |member: &str| {
        let containers = pod["spec"][member].as_array().cloned().unwrap_or_default();
        containers.iter().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect::<Vec<String>>()
    };
    let (apps, init) = (list("containers"), list("initContainers"));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    match (wanted.filter(|w| !w.is_empty()), apps.as_slice()) {
        (Some(wanted), _) if apps.iter().chain(&init).any(|c| c == wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => Err(format!("container {wanted} is not valid for pod {name}")),
        (None, [only]) if init.is_empty() => Ok(only.clone()),
        (None, _) => {
            let init = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            };
            Err(format!("a container name must be specified for pod {name}, choose one of: [{}]{init}", apps.join(" ")))
        }
    }
}

/// Why a container of a pod has no log yet, if its state tells.
pub(super) fn nothing_yet(pod: &Value, request: &LogRequest) -> Option<Failure> {
    let (container, name) = (&request.container, &request.pod.name);
    if request.previous {
        let text = format!("previous terminated container {container:?} in pod {name:?} not found");
        return Some(Failure::bad_request(text));
    }
    let status = ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|member| pod["status"][*member].as_array())
        .flatten()
        .find(|s| s["name"] == container.as_str())?;
    let reason = status["state"]["waiting"]["reason"].as_str()?;
    let text = format!("container {container:?} in pod {name:?} is waiting to start: {reason}");
    Some(Failure::bad_request(text))
}
