//! Room: a part of the file system of the store stays free, whatever an image brings. What an archive unpacks to is known
//! when it is unpacked, and a device whose file system is full can no longer write down what runs on it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::kept_free;
use crate::sys::effect;

/// The way out where they do not fit.
pub(super) const MAKE_ROOM: &str = "make room in the file system of the image store";
/// Bytes that are written at most before the free space is looked at again: others write there, too.
const STEP: u64 = 4 << 20;

/// The space of a file system, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Space {
    pub(super) free: u64,
    /// How much of it no image takes.
    pub(super) reserve: u64,
    block: u64,
}

/// What a file system has; `None` where nothing bounds it, as a tmpfs without a size.
pub(super) fn space(of: impl AsFd) -> io::Result<Option<Space>> {
    let found = rustix::fs::fstatvfs(of)?;
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Ok((total > 0).then_some(Space { free, reserve: kept_free(total), block: found.f_frsize.max(1) }))
}

/// Whether an error says that there is no space.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The blobs that pulls of this process are bringing, by their digests: their sizes, and how many pulls want them. What of
/// them is still to come counts as taken, so that no two pulls rely on the same space.
#[derive(Debug, Default)]
pub(super) struct Promised(Mutex<BTreeMap<String, (u64, usize)>>);

impl Promised {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (u64, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises room for blobs of these digests and sizes, if `fits` says so of what others are promised. Until it has said
    /// so nobody else is promised anything.
    pub(super) fn promise<E>(
        &self,
        wanted: Vec<(String, u64)>,
        fits: impl FnOnce(&[(&str, u64)]) -> Result<(), E>,
    ) -> Result<Promise<'_>, E> {
        let mut all = self.all();
        let is_other = |hex: &String| wanted.iter().all(|(own, _)| own != hex);
        let others = all.iter().filter(|(hex, _)| is_other(hex)).map(|(hex, (size, _))| (hex.as_str(), *size));
        fits(&others.collect::<Vec<_>>())?;
        let hexes = wanted.into_iter().map(|(hex, size)| {
            all.entry(hex.clone()).or_insert((size, 0)).1 += 1;
            hex
        });
        Ok(Promise { of: self, hexes: hexes.collect() })
    }
}

/// Room that is promised while this is held.
#[must_use]
pub(super) struct Promise<'a> {
    of: &'a Promised,
    hexes: Vec<String>,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut all = self.of.all();
        for hex in &self.hexes {
            if let Some((_, pulls)) = all.get_mut(hex) {
                *pulls -= 1;
                if *pulls == 0 {
                    all.remove(hex);
                }
            }
        }
    }
}

/// What may still be written to a file system.
pub(super) struct Room<'a> {
    of: BorrowedFd<'a>,
    /// Bytes before the next look.
    left: Cell<u64>,
    block: Cell<u64>,
}

impl<'a> Room<'a> {
    /// That of the file system that a file or directory is on.
    pub(super) fn of(file: &'a impl AsFd) -> Self {
        Self { of: file.as_fd(), left: Cell::new(0), block: Cell::new(1) }
    }

    /// To be asked before so many bytes are written, or something is made that has a name: `StorageFull` when they would
    /// not leave the reserve free.
    pub(super) fn take(&self, bytes: u64) -> io::Result<()> {
        // They begin and end within blocks.
        let needed = || bytes.saturating_add(self.block.get().saturating_mul(2));
        if needed() > self.left.get() {
            let Some(Space { free, reserve, block }) = space(self.of)? else {
                self.left.set(u64::MAX);
                return Ok(());
            };
            self.block.set(block);
            let usable = free.saturating_sub(reserve);
            if needed() > usable {
                let message =
                    format!("it does not fit: the file system has {free} bytes free, of which {reserve} stay so");
                return Err(io::Error::new(io::ErrorKind::StorageFull, message));
            }
            self.left.set(usable.min(STEP.max(needed())));
        }
        self.left.set(self.left.get() - needed());
        Ok(())
    }

    /// Writes to a file of this file system.
    pub(super) fn writer<'b>(&'b self, file: &'b File) -> impl Write + 'b {
        Writer { room: self, file }
    }
}

struct Writer<'a> {
    room: &'a Room<'a>,
    file: &'a File,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room.take(bytes.len() as u64)?;
        effect::Writer(self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
