//! One blob into a file: resumed where it broke off, here or in an earlier process; verified before it is kept.
//!
//! ```text
//! downloads/HEX.part           what has come so far, locked by whoever adds to it
//! downloads/blobs/sha256/HEX   a whole blob, until its layer is unpacked
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hyper::{StatusCode, header};
use rustix::fs::{CWD, FlockOperation, OFlags};
use sha2::{Digest, Sha256};

use super::transport::Answer;
use super::{Client, Failure, Fault};
use crate::image::room::{Promise, Promised, Space, space};
use crate::image::stream::hex;
use crate::sys::beneath::Dir;
use crate::sys::effect;

/// Attempts in a row that bring next to nothing.
const ATTEMPTS: u32 = 5;
/// So often a blob may begin anew: a server that cannot go on where it broke off brings it at one go, or not at all.
const RESTARTS: u32 = 5;
/// An attempt that brings more than this is none in vain.
const WORTH: u64 = 64 << 10;
/// After the first attempt in vain; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// Less than so many bytes within so long is no download.
const SLOWEST: (u64, Duration) = (16 << 10, Duration::from_secs(60));
/// While another pull adds to the same blob.
const OTHERS: Duration = Duration::from_millis(200);
/// What is left of a pull that nobody went on with for so long is thrown away.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A blob as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::image) struct Wanted {
    /// 64 hexadecimal digits.
    pub(in crate::image) hex: String,
    pub(in crate::image) size: u64,
}

/// The directory of downloads.
#[derive(Clone, Debug)]
pub(in crate::image) struct Downloads {
    dir: PathBuf,
}

/// A file that grows.
struct Part {
    file: File,
    digest: Sha256,
    length: u64,
    /// How often what had come was thrown away.
    restarts: u32,
}

impl Downloads {
    /// Makes what is missing.
    pub(in crate::image) fn open(dir: &Path) -> io::Result<Self> {
        effect::make_dirs(&dir.join("blobs/sha256"), 0o700)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Shaped as an OCI layout: whole blobs are in `blobs/sha256`.
    pub(in crate::image) fn layout(&self) -> &Path {
        &self.dir
    }

    fn whole(&self, hex: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(hex)
    }

    fn part(&self, hex: &str) -> PathBuf {
        self.dir.join(format!("{hex}.part"))
    }

    /// The file of a blob, locked, if it is there and is what it is called. A power cut may leave less of one than its name
    /// says.
    fn hold_whole(&self, hex: &str) -> io::Result<Option<File>> {
        let path = self.whole(hex);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // Nobody has it to himself for longer than it takes to clear it away.
        rustix::fs::flock(&file, FlockOperation::LockShared)?;
        if !is_at(&file, &path)? {
            return Ok(None);
        }
        let (digest, _) = digest_file(&mut file)?;
        if hex_of(&digest) == hex {
            return Ok(Some(file));
        }
        effect::remove_file(&path)?;
        Ok(None)
    }

    /// Removes a whole blob, if it is there.
    pub(in crate::image) fn forget(&self, hex: &str) {
        // What stays behind is cleared as stale later.
        let _ = effect::remove_file(&self.whole(hex));
    }

    /// Removes what there is of a blob, unless somebody else works on it.
    pub(in crate::image) fn give_up(&self, hex: &str) {
        self.forget(hex);
        let part = self.part(hex);
        let unused = |file: &File| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if File::open(&part).is_ok_and(|file| unused(&file)) {
            // As above.
            let _ = effect::remove_file(&part);
        }
    }

    /// Refuses blobs that the file system has no space for, besides what other pulls are promised, before one byte of them is
    /// asked for. What they unpack to is not known yet: unpacking ends where they do not fit.
    pub(in crate::image) fn make_sure_of_room<'a>(
        &self,
        wanted: &[Wanted],
        promised: &'a Promised,
    ) -> Result<Promise<'a>, Failure> {
        let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let here = |hex: &str| length(self.whole(hex)).max(length(self.part(hex)));
        let lacking = |hex: &str, size: u64| size.saturating_sub(here(hex));
        let own: Vec<(String, u64)> = wanted.iter().map(|wanted| (wanted.hex.clone(), wanted.size)).collect();
        let needed = own.iter().fold(0_u64, |sum, (hex, size)| sum.saturating_add(lacking(hex, *size)));
        promised.promise(own, |others| {
            let found = Dir::open(&self.dir).and_then(space).map_err(|e| Failure::local(self.dir.display(), &e))?;
            let taken = others.iter().fold(0_u64, |sum, (hex, size)| sum.saturating_add(lacking(hex, *size)));
            let Some(Space { free, reserve, .. }) = found.filter(|_| needed > 0) else { return Ok(()) };
            if needed.saturating_add(taken).saturating_add(reserve) <= free {
                return Ok(());
            }
            let besides = if taken > 0 { format!(" besides the {taken} of other pulls") } else { String::new() };
            let message = format!(
                "{needed} bytes are to be downloaded{besides}, and the file system of {} has {free} free, of which {reserve} \
                 stay so",
                self.dir.display()
            );
            Err(Failure::new(Fault::Local(io::ErrorKind::StorageFull), message))
        })
    }

    /// Removes what nobody works on any more; with `all` whatever its age.
    pub(in crate::image) fn clear(&self, all: bool) -> io::Result<()> {
        for dir in [self.dir.clone(), self.dir.join("blobs/sha256")] {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let age = metadata.modified().ok().and_then(|t| SystemTime::now().duration_since(t).ok());
                if !metadata.is_file() || !(all || age.is_some_and(|age| age > STALE)) {
                    continue;
                }
                let file = File::open(entry.path())?;
                if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    effect::remove_file(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Brings a blob, from the first of the clients that has it. `tell` hears how many bytes are there. While the file that is
    /// given back is open nobody clears the blob away.
    pub(in crate::image) async fn fetch(
        &self,
        clients: &[Client],
        wanted: &Wanted,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<File, Failure> {
        let path = self.part(&wanted.hex);
        let failed = |e: &io::Error| local(&path, wanted, e);
        let mut part = loop {
            if let Some(whole) = self.hold_whole(&wanted.hex).map_err(|e| failed(&e))? {
                tell(wanted.size);
                return Ok(whole);
            }
            match Part::open(&path).map_err(|e| failed(&e))? {
                Some(part) => break part,
                // Whoever holds it does the same work: it is waited for, and gone on with if it fails.
                None => tokio::time::sleep(OTHERS).await,
            }
        };
        if part.length > wanted.size {
            part.restart().map_err(|e| failed(&e))?;
        }
        let mut last = Failure::new(Fault::Missing, "nobody has it");
        let mut passing: Option<Failure> = None;
        for client in clients {
            match self.fetch_from(client, wanted, &mut part, tell).await {
                Ok(()) => {
                    return self.keep(part, wanted).map_err(|e| failed(&e));
                }
                Err(failure) if matches!(failure.fault, Fault::Local(_)) => return Err(failure),
                Err(failure) => {
                    last = failure.clone();
                    let untrusted = |f: &Failure| f.fault == Fault::Untrusted;
                    if !passing.as_ref().is_some_and(untrusted)
                        && (failure.fault == Fault::Unreachable || untrusted(&failure))
                    {
                        passing = Some(failure);
                    }
                }
            }
        }
        if last.fault == Fault::Wrong || last.fault == Fault::Refused {
            // What nobody can go on with is no beginning.
            let _ = effect::remove_file(&path);
        }
        // What one lacks, another that is out of reach may have.
        let failure = passing.unwrap_or(last);
        Err(Failure { message: format!("the layer sha256:{}: {}", wanted.hex, failure.message), ..failure })
    }

    /// Gives a whole blob its name. Others may use it too from now on.
    fn keep(&self, part: Part, wanted: &Wanted) -> io::Result<File> {
        let whole = self.whole(&wanted.hex);
        effect::move_at((CWD, self.part(&wanted.hex).as_os_str()), (CWD, whole.as_os_str()))?;
        rustix::fs::flock(&part.file, FlockOperation::LockShared)?;
        match is_at(&part.file, &whole)? {
            true => Ok(part.file),
            false => Err(io::Error::new(io::ErrorKind::Interrupted, "it was cleared away meanwhile")),
        }
    }

    async fn fetch_from(
        &self,
        client: &Client,
        wanted: &Wanted,
        part: &mut Part,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Failure> {
        let failed = |e: &io::Error| local(&self.part(&wanted.hex), wanted, e);
        let mut in_vain = 0;
        let most_restarts = part.restarts + RESTARTS;
        let mut resumed = part.length > 0;
        loop {
            let before = part.length;
            let outcome = attempt(client, wanted, part, tell, &failed).await;
            match outcome {
                Ok(()) if part.hex() == wanted.hex => return Ok(()),
                // The beginning may be what a power cut left of it.
                Ok(()) if resumed => {
                    resumed = false;
                    part.restart().map_err(|e| failed(&e))?;
                }
                Ok(()) => {
                    let found = part.hex();
                    part.restart().map_err(|e| failed(&e))?;
                    let message = format!("{}: the digest should be that and is sha256:{found}", client.place());
                    return Err(Failure::new(Fault::Wrong, message));
                }
                Err(failure) if failure.fault == Fault::Unreachable => {
                    resumed = true;
                    in_vain = if part.length.saturating_sub(before) >= WORTH { 0 } else { in_vain + 1 };
                    if in_vain >= ATTEMPTS || part.restarts >= most_restarts {
                        return Err(failure);
                    }
                    tracing::debug!("a download broke off at byte {}: {failure}", part.length);
                    tokio::time::sleep(PAUSE * 2_u32.pow(in_vain)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// One request for what is missing.
async fn attempt(
    client: &Client,
    wanted: &Wanted,
    part: &mut Part,
    tell: &(dyn Fn(u64) + Sync),
    failed: &(dyn Fn(&io::Error) -> Failure + Sync),
) -> Result<(), Failure> {
    if part.length == wanted.size {
        return Ok(());
    }
    let mut answer = client.blob(&format!("sha256:{}", wanted.hex), part.length).await?;
    if answer.status != StatusCode::PARTIAL_CONTENT || first_byte(&answer) != Some(part.length) {
        part.restart().map_err(|e| failed(&e))?;
        if answer.status != StatusCode::OK {
            let message = format!("{}: it does not go on where the download broke off", client.place());
            return Err(Failure::new(Fault::Unreachable, message));
        }
    }
    let lies = |says: u64| {
        let message = format!("{}: a blob is of {says} bytes where the manifest has {}", client.place(), wanted.size);
        Failure::new(Fault::Refused, message)
    };
    if let Some(length) = answer.length().map(|length| length.saturating_add(part.length)).filter(|l| *l != wanted.size)
    {
        return Err(lies(length));
    }
    let mut window = (Instant::now(), part.length);
    while let Some(piece) = answer.piece().await? {
        let length = part.length + piece.len() as u64;
        if length > wanted.size {
            return Err(lies(length));
        }
        part.add(&piece).map_err(|e| failed(&e))?;
        tell(part.length);
        if window.0.elapsed() >= SLOWEST.1 {
            if part.length - window.1 < SLOWEST.0 {
                let message = format!("{}: it sends less than {} bytes a minute", client.place(), SLOWEST.0);
                return Err(Failure::new(Fault::Unreachable, message));
            }
            window = (Instant::now(), part.length);
        }
    }
    if part.length < wanted.size {
        let message = format!("{}: a blob broke off at byte {} of {}", client.place(), part.length, wanted.size);
        return Err(Failure::new(Fault::Unreachable, message));
    }
    Ok(())
}

/// Where the bytes of a partial answer begin: `bytes 100-199/200`.
fn first_byte(answer: &Answer) -> Option<u64> {
    if answer.status == StatusCode::OK {
        return None;
    }
    answer.header(header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

impl Part {
    /// Opens the file and takes its lock; `None` when another has it, or has just moved it away.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = effect::create(path, OFlags::RDWR, 0o600)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if !is_at(&file, path)? {
            return Ok(None);
        }
        let (digest, length) = digest_file(&mut file)?;
        Ok(Some(Self { file, digest, length, restarts: 0 }))
    }

    fn restart(&mut self) -> io::Result<()> {
        effect::truncate(&self.file, 0)?;
        self.restarts += u32::from(self.length > 0);
        (self.digest, self.length) = (Sha256::new(), 0);
        Ok(())
    }

    fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        effect::write_at(&self.file, piece, self.length)?;
        self.digest.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    fn hex(&self) -> String {
        hex_of(&self.digest)
    }
}

/// Whether a file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    Ok(std::fs::metadata(path).is_ok_and(|named| named.ino() == own.ino() && named.dev() == own.dev()))
}

/// Something about the file that a blob comes into.
fn local(path: &Path, wanted: &Wanted, error: &io::Error) -> Failure {
    Failure::local(format_args!("the layer sha256:{} in {}", wanted.hex, path.display()), error)
}

fn hex_of(digest: &Sha256) -> String {
    hex(&digest.clone().finalize())
}

/// The digest of a file from where it stands on, and how many bytes that are.
fn digest_file(file: &mut File) -> io::Result<(Sha256, u64)> {
    let (mut digest, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((digest, length));
        }
        digest.update(&buffer[..read]);
        length += read as u64;
    }
}
