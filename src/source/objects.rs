//! Many objects of a repository at once, by several threads. What one of them cannot read, or need not, is left out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use git2::{ObjectType, Odb, Oid};

use super::disk::Handle;
use super::fault::READ;
use super::intact::{Headers, Intact};
use super::loose::Loose;
use super::pack::{Packs, Place, Unpacker};
use crate::port::{ErrorKind, PortError};
use crate::sys::cores::cores;

const MOST_THREADS: usize = 4;
/// How many objects a thread takes at a time: so many times less than are worth a thread.
const BATCHES: usize = 4;

/// An object directory.
pub(super) struct Objects<'i> {
    path: PathBuf,
    intact: &'i Intact,
    packs: Packs,
    /// Where the files are that hold one object each.
    files: Option<Handle>,
}

/// An object that is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) id: Oid,
    place: Option<Place>,
    /// Those that are read fastest one after the other have neighbouring numbers. One object has one number.
    order: u64,
}

/// Wishes in the order in which they are read fastest, each object once; and for each that was given where it is now.
pub(super) fn arranged(wishes: &[Wish]) -> (Vec<Wish>, Vec<u32>) {
    let mut order: Vec<(u64, u32)> = wishes.iter().map(|wish| wish.order).zip(0..).collect();
    let id = |at: u32| wishes[at as usize].id;
    // One object has one number, and few have the same.
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| id(a.1).cmp(&id(b.1))));
    let (mut arranged, mut places) = (Vec::<Wish>::with_capacity(wishes.len()), vec![0; wishes.len()]);
    for (number, at) in order {
        if arranged.last().is_none_or(|last| last.order != number || last.id != id(at)) {
            arranged.push(wishes[at as usize]);
        }
        places[at as usize] = (arranged.len() - 1) as u32;
    }
    (arranged, places)
}

/// Objects that are wanted.
pub(super) struct Wanted {
    pub(super) kind: ObjectType,
    /// As they are [`arranged`].
    pub(super) wishes: Vec<Wish>,
    /// Bytes of one object.
    pub(super) most: u64,
    /// Bytes of all together; a little more is read.
    pub(super) most_together: u64,
    /// Bytes that each thread may make on the way to them.
    pub(super) work: u64,
    /// How many are not worth a thread of their own.
    pub(super) few: usize,
}

impl<'i> Objects<'i> {
    /// Opens an object directory, and reads its packs if they have no more than so many bytes together.
    pub(super) fn open(path: PathBuf, intact: &'i Intact, pack_bytes: u64) -> Self {
        let (packs, files) = (Packs::open(&path, pack_bytes), Handle::open(&path).ok());
        Self { packs, files, intact, path }
    }

    /// Reads packs up to another bound, if there are any that were too large.
    pub(super) fn with_packs(self, pack_bytes: u64, wishes: &mut [Wish]) -> Self {
        if self.packs.are_all() {
            return self;
        }
        let new = Self::open(self.path, self.intact, pack_bytes);
        wishes.iter_mut().for_each(|wish| *wish = new.wish(wish.id));
        new
    }

    /// An object, and where it will be looked for.
    pub(super) fn wish(&self, id: Oid) -> Wish {
        let place = self.packs.find(id);
        let start = || id.as_bytes().first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
        // After those in packs, and the files of one directory together.
        let order = place.map_or_else(|| 1 << 63 | start() >> 1, Place::order);
        Wish { id, place, order }
    }

    /// Makes something of each object that can be read, by the place of its wish, in no order.
    ///
    /// # Errors
    /// When an object takes too much work, or might take for ever, also for libgit2.
    pub(super) fn read<T: Send>(
        &self,
        wanted: &Wanted,
        make: impl Fn(usize, Arc<[u8]>) -> T + Sync,
    ) -> Result<Vec<T>, PortError> {
        let threads = cores().min(MOST_THREADS).min(wanted.wishes.len() / wanted.few).max(1);
        let work = Work { objects: self, wanted, taken: AtomicUsize::new(0), bytes: AtomicU64::new(0) };
        std::thread::scope(|scope| {
            // The system may refuse a thread, as at a limit of processes: those that there are do the work.
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, || work.some(&make)).ok();
            let others: Vec<_> = (1..threads).map_while(spawn).collect();
            let first = work.some(&make);
            let join =
                |other: ScopedJoinHandle<'_, _>| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let all: Vec<_> = std::iter::once(first).chain(others.into_iter().map(join)).collect();
            let mut read = Vec::new();
            for some in all {
                read.extend(some?);
            }
            Ok(read)
        })
    }
}

/// What the threads share.
struct Work<'a> {
    objects: &'a Objects<'a>,
    wanted: &'a Wanted,
    /// How many wishes a thread has taken.
    taken: AtomicUsize,
    bytes: AtomicU64,
}

impl Work<'_> {
    /// Reads objects until none is left.
    fn some<T>(&self, make: impl Fn(usize, Arc<[u8]>) -> T) -> Result<Vec<T>, PortError> {
        let mut read = Vec::new();
        let mut reader = Reader::new(self.objects, self.wanted);
        let size = (self.wanted.few / BATCHES).max(1);
        loop {
            let start = self.taken.fetch_add(size, Ordering::Relaxed);
            let Some(batch) = self.wanted.wishes.get(start..).filter(|rest| !rest.is_empty()) else { return Ok(read) };
            for (at, wish) in (start..).zip(batch.iter().take(size)) {
                // The other threads take no more either.
                let end = || self.taken.store(self.wanted.wishes.len(), Ordering::Relaxed);
                let Some(bytes) = reader.object(*wish).inspect_err(|_| end())? else { continue };
                let before = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if before > self.wanted.most_together {
                    end();
                    return Ok(read);
                }
                read.push(make(at, bytes));
            }
        }
    }
}

/// What one thread reads with.
struct Reader<'a> {
    objects: &'a Objects<'a>,
    wanted: &'a Wanted,
    unpacker: Unpacker<'a>,
    loose: Option<Loose<'a>>,
    /// libgit2, once something was left to it.
    odb: Option<Option<(Odb<'static>, Headers)>>,
}

impl<'a> Reader<'a> {
    fn new(objects: &'a Objects<'a>, wanted: &'a Wanted) -> Self {
        let unpacker = Unpacker::new(&objects.packs, wanted.kind, wanted.most, wanted.work);
        let loose = objects.files.as_ref().map(|files| Loose::new(files, wanted.kind, wanted.most));
        Self { objects, wanted, unpacker, loose, odb: None }
    }

    /// An object, if it can be read.
    fn object(&mut self, Wish { id, place, .. }: Wish) -> Result<Option<Arc<[u8]>>, PortError> {
        let unpacked = place.and_then(|place| self.unpacker.object(place));
        if self.unpacker.is_spent() {
            return Err(self.too_much(id));
        }
        match unpacked.or_else(|| self.loose.as_mut()?.object(id)) {
            Some(bytes) => Ok(Some(bytes)),
            None => self.other(id),
        }
    }

    /// Reads an object through libgit2, once it is known to be no larger than is allowed, and not damaged.
    fn other(&mut self, id: Oid) -> Result<Option<Arc<[u8]>>, PortError> {
        self.objects.intact.refuse(id, self.wanted.most)?;
        let odb = self.odb.get_or_insert_with(|| open(self.objects)).as_ref();
        let is_bearable =
            |(_, headers): &&(_, Headers)| headers.size(id).is_ok_and(|size| size as u64 <= self.wanted.most);
        let object = odb.filter(is_bearable).and_then(|(odb, _)| odb.read(id).ok());
        Ok(object.filter(|object| object.kind() == self.wanted.kind).map(|object| object.data().into()))
    }

    fn too_much(&self, id: Oid) -> PortError {
        let message =
            format!("its packs take too much work: {id} stands on more deltas, or larger ones, than git makes");
        PortError::new(ErrorKind::Exhausted, READ, self.objects.path.display().to_string(), message)
            .with_help("`git repack -a -d -f` packs them anew; `git fsck` says whether they are whole")
    }
}

/// An object directory for libgit2, which each thread opens for itself.
fn open(objects: &Objects<'_>) -> Option<(Odb<'static>, Headers)> {
    let odb = Odb::new().ok()?;
    odb.add_disk_alternate(objects.path.to_str()?).ok()?;
    Some((odb, objects.intact.headers().ok()?))
}

/// An object's name as people write it.
pub(super) fn hexadecimal(id: Oid) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = id.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_wished_for_once_wherever_it_was() {
        let wish = |order: u64, name: u8| Wish { id: Oid::from_bytes(&[name; 20]).unwrap(), place: None, order };
        // Two objects may have one number.
        let wishes = [wish(7, 3), wish(5, 1), wish(7, 2), wish(5, 1), wish(7, 3), wish(9, 4), wish(7, 2)];
        let (arranged, places) = arranged(&wishes);
        let names: Vec<u8> = arranged.iter().map(|wish| wish.id.as_bytes()[0]).collect();
        assert_eq!(names, [1, 2, 3, 4]);
        for (wish, place) in wishes.iter().zip(places) {
            assert_eq!(arranged[place as usize].id, wish.id);
        }
    }
}
