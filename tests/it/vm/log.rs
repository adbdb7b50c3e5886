//! What a disk holds after a power cut, from the log of everything that was written to it.
//!
//! The log is that of qemu's `blklogwrites`, in the form of Linux' dm-log-writes (Documentation/admin-guide/device-mapper/
//! log-writes.rst; struct log_write_super and log_write_entry in its source). A disk may keep what was written since the
//! last flush in memory of its own, and write it in any order: of that a cut leaves any part. Everything before the flush
//! is there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::dice::Dice;

/// What the log counts in.
const SECTOR: usize = 512;
/// What a disk writes as a whole or not at all: ext4 does not mount after a commit of its journal was torn.
const ATOM: usize = 4096;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One request to the disk.
struct Entry {
    /// Byte of the disk.
    at: u64,
    bytes: Vec<u8>,
    flags: u64,
}

/// Everything that was asked of the disk, in order.
pub struct Log(Vec<Entry>);

/// What a cut takes of what was written since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything.
    All,
    /// Any part of it, and any part of a request.
    Part,
}

impl Log {
    /// Reads a log whose writer may have been killed.
    pub fn read(path: &Path) -> Log {
        let bytes = std::fs::read(path).unwrap();
        let number = |at: usize| bytes.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
        let mut entries = Vec::new();
        let mut at = SECTOR;
        // The head of the file is written with the first flush.
        assert!([Some(MAGIC), Some(0), None].contains(&number(0)), "no log of writes: {:x?}", number(0));
        while let (Some(sector), Some(sectors), Some(flags)) = (number(at), number(at + 8), number(at + 16)) {
            let length = if flags & DISCARD == 0 { usize::try_from(sectors).unwrap() * SECTOR } else { 0 };
            let Some(data) = bytes.get(at + SECTOR..at + SECTOR + length) else { break };
            if sectors == 0 && flags == 0 {
                break;
            }
            entries.push(Entry { at: sector * SECTOR as u64, bytes: data.to_vec(), flags });
            at += SECTOR + length;
        }
        Log(entries)
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The flushes, by how many requests there were before each.
    pub fn flushes(&self) -> Vec<usize> {
        self.0.iter().enumerate().filter(|(_, entry)| entry.flags & FLUSH != 0).map(|(number, _)| number).collect()
    }

    /// Changes the image of a disk, as it was before the first request, into what a power cut after the first `count` may
    /// leave. How many requests were lost, wholly or in part.
    pub fn cut(&self, count: usize, image: &Path, loss: Loss, dice: &mut Dice) -> usize {
        let image = File::options().write(true).open(image).unwrap();
        let done = &self.0[..count];
        let flushed = done.iter().rposition(|e| e.flags & FLUSH != 0).map_or(0, |at| at + 1);
        let mut lost = 0;
        for (number, entry) in done.iter().enumerate() {
            let safe = number < flushed || entry.flags & FUA != 0;
            let kept = if safe || loss == Loss::Part && dice.below(2) == 0 {
                entry.bytes.len()
            } else {
                lost += 1;
                let torn = loss == Loss::Part && dice.below(2) == 0;
                if torn { dice.below(entry.bytes.len() / ATOM + 1) * ATOM } else { 0 }
            };
            image.write_all_at(&entry.bytes[..kept], entry.at).unwrap();
        }
        lost
    }
}

#[test]
fn a_cut_takes_only_what_was_not_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, image) = (dir.path().join("log"), dir.path().join("image"));
    let mut bytes = vec![0; SECTOR];
    bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    // Sector, how many of them, flags, what they hold.
    for (sector, sectors, flags, value) in [(0, 2, 0, 1), (0, 0, FLUSH, 0), (1, 1, 0, 2), (2, 1, FUA, 3), (3, 1, 0, 4)]
    {
        let mut head: Vec<u8> = [sector, sectors, flags].iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
        head.resize(SECTOR, 0);
        bytes.extend(head);
        bytes.extend(vec![value; SECTOR * usize::try_from(sectors).unwrap()]);
    }
    // The last one was being written.
    std::fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    let log = Log::read(&log);
    assert_eq!(log.len(), 4);
    assert_eq!(log.flushes(), [1]);
    let both = [[1, 1, 3, 0], [1, 2, 3, 0]];
    for (loss, expected) in [(Loss::Part, &both[..]), (Loss::All, &both[..1])] {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            std::fs::write(&image, vec![0; SECTOR * 4]).unwrap();
            log.cut(4, &image, loss, &mut Dice::new(seed));
            let disk = std::fs::read(&image).unwrap();
            seen.insert([0, 1, 2, 3].map(|sector| disk[sector * SECTOR]));
        }
        assert!(seen.iter().eq(expected), "{loss:?}: {seen:?}");
    }
}
