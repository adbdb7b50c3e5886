//! Floor 4: volumes of pods on disk and tmpfs.
//!
//! Everything of a pod lives in a directory of its uid, below the disk root or, for what must never touch a disk,
//! below the tmpfs root. All writes go through directory handles and follow no symbolic link: containers write to
//! these directories too.

mod atomic;
mod host_path;
mod record;
mod tmpfs;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::io::Errno;

use crate::model::{PayloadFile, PodUid, VolumeMaterial, VolumePayload, VolumeUse};
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::usage::{self, Usage};
use crate::sys::{effect, mount};

const MAKE: &str = "make volume";
const SET_ASIDE: &str = "set aside volumes of pod";
const MEASURE: &str = "look at volume";
const REMOVE: &str = "remove volumes of pod";
const EMPTY: &str = "empty volumes of pod";
/// How many names of a volume are held at a time while it is emptied.
const NAMES: usize = 1024;
/// What a pod's containers wait in while a volume cannot be made, as with the kubelet.
const WAITING: &str = "ContainerCreating";

/// The volumes of every pod of one root. Calls for different pods may run at a time.
#[derive(Debug)]
pub struct Volumes {
    disk: PathBuf,
    tmpfs: PathBuf,
    /// Where each volume of a pod is, as its record says and as it was found.
    paths: Mutex<BTreeMap<PodUid, BTreeMap<String, PathBuf>>>,
    /// Held while the tmpfs root is mounted, unmounted, or gets and loses a pod.
    mounting: Mutex<()>,
}

impl Volumes {
    /// Volumes below `disk`, sensitive ones and `medium: Memory` below `tmpfs`. Nothing is made until it is needed;
    /// a tmpfs of limited size is mounted on `tmpfs` while a pod needs it.
    pub fn new(disk: PathBuf, tmpfs: PathBuf) -> Self {
        Self { disk, tmpfs, paths: Mutex::default(), mounting: Mutex::default() }
    }

    /// Makes the pod's volumes and brings projected ones up to date. Every volume is tried; the error names all that
    /// failed.
    ///
    /// # Errors
    /// `Invalid` for a host path of another type, `Denied` or `Exhausted` from the machine.
    pub fn sync(&self, uid: &PodUid, volumes: &[VolumePayload]) -> Result<(), PortError> {
        check_uid(uid, MAKE)?;
        let mut known = self.recorded(uid);
        let before = known.clone();
        let mut failure: Option<PortError> = None;
        for volume in volumes {
            match self.make(uid, volume) {
                Ok(path) => {
                    known.insert(volume.name.clone(), path);
                }
                Err(error) => match &mut failure {
                    Some(first) => {
                        first.message = format!("{}; volume {}: {}", first.message, volume.name, error.message)
                    }
                    None => failure = Some(error),
                },
            }
        }
        // Files in memory are written anew and found where they are: of those alone the disk need not know. It does know of an
        // emptyDir there, which other versions look up.
        let memory = self.tmpfs.join(&uid.0);
        let is_lasting = |volume: &VolumePayload| !matches!(volume.material, VolumeMaterial::Files { .. });
        let is_told = known.values().any(|path| !path.starts_with(&memory)) || volumes.iter().any(is_lasting);
        if known != before && is_told {
            record::write(&self.disk.join(&uid.0), &known).map_err(|e| PortError::io(MAKE, uid.to_string(), &e))?;
        }
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone(), known);
        failure.map_or(Ok(()), Err)
    }

    /// The path on this machine to bind into a container; `None` when the volume was not made.
    pub fn path(&self, uid: &PodUid, name: &str) -> Option<PathBuf> {
        check_uid(uid, MAKE).ok()?;
        self.recorded(uid).remove(name)
    }

    /// Opens an emptyDir itself; `None` when the volume was not made. What a container has mounted over it, and passed on to the
    /// machine, is not opened: what serves it may never answer.
    ///
    /// # Errors
    /// `EXDEV` for such a mount; from the system.
    pub fn open(&self, uid: &PodUid, name: &str) -> io::Result<Option<Dir>> {
        let Some(place) = self.path(uid, name) else { return Ok(None) };
        match place.strip_prefix(&self.disk) {
            Ok(below) => Dir::open(&self.disk)?.sub_here(below).map(Some),
            Err(_) => tmpfs::open_volume(&place).map(Some),
        }
    }

    /// What a volume of the pod takes of the disk; a look at more than `enough` bytes ends there, one that is not over at `until`
    /// with what it knows by then, and one that `is_off` at once. One that is not there takes nothing.
    ///
    /// # Errors
    /// From the system, and when it was off.
    pub fn taken(
        &self,
        uid: &PodUid,
        (name, enough, until): (&str, u64, Instant),
        is_off: &dyn Fn() -> bool,
    ) -> Result<VolumeUse, PortError> {
        check_uid(uid, MEASURE)?;
        let pod = Dir::open(&self.disk.join(&uid.0));
        let volume = pod.and_then(|pod| pod.sub_here(Path::new(name)));
        match volume.and_then(|volume| usage::of(&volume, enough, until, is_off)) {
            Ok(Usage { bytes, entries, is_part }) => Ok(VolumeUse { bytes, entries, is_part }),
            // Of what is mounted over it by a container the disk has nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_mount(&error) => Ok(VolumeUse::default()),
            Err(error) => Err(PortError::io(MEASURE, format!("{name} of pod {uid}"), &error)),
        }
    }

    /// Where the pod's volumes on the disk are.
    pub fn of_pod_on_disk(&self, uid: &PodUid) -> PathBuf {
        self.disk.join(&uid.0)
    }

    /// Deletes what the pod's volumes on the disk hold, not the volumes; what a hostPath points to is left alone.
    ///
    /// # Errors
    /// When something could not be deleted.
    pub fn empty(&self, uid: &PodUid) -> Result<(), PortError> {
        check_uid(uid, EMPTY)?;
        let failed = |e: io::Error| PortError::io(EMPTY, uid.to_string(), &e);
        let is_none = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        let pod = match Dir::open(&self.of_pod_on_disk(uid)) {
            Err(error) if is_none(&error) => return Ok(()),
            other => other.map_err(failed)?,
        };
        let clear = |name: &String| match pod.sub_here(Path::new(name)) {
            Err(error) if is_none(&error) => Ok(()),
            other => clear(&other?),
        };
        let place = self.of_pod_on_disk(uid);
        past_mounts(&place, || self.recorded(uid).keys().try_for_each(clear)).map_err(failed)
    }

    /// Unmounts and deletes every volume of the pod; what a hostPath points to is left alone. Repeating it is fine.
    ///
    /// # Errors
    /// When something could not be unmounted or deleted.
    pub fn remove(&self, uid: &PodUid) -> Result<(), PortError> {
        check_uid(uid, REMOVE)?;
        let failed = |e: io::Error| PortError::io(REMOVE, uid.to_string(), &e);
        {
            let _mounting = self.mounting.lock().unwrap_or_else(PoisonError::into_inner);
            tmpfs::clear(&self.tmpfs, OsStr::new(&uid.0)).map_err(failed)?;
            tmpfs::release_root(&self.tmpfs).map_err(failed)?;
        }
        match Dir::open(&self.disk) {
            Ok(disk) => {
                past_mounts(&self.of_pod_on_disk(uid), || disk.remove_tree(OsStr::new(&uid.0))).map_err(failed)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        Ok(())
    }

    /// Moves what the pod has on the disk to `place`, a path that is free, for people to look at; when that is on another
    /// file system, it stays here under a name that is no pod's. Nothing there is fine.
    ///
    /// # Errors
    /// When it could not be moved; then it is where it was.
    pub fn set_aside(&self, uid: &PodUid, place: &Path) -> Result<(), PortError> {
        check_uid(uid, SET_ASIDE)?;
        let from = self.disk.join(&uid.0);
        let moved = match effect::move_path(&from, place) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                effect::move_path(&from, &self.disk.join(format!(".damaged-{uid}")))
            }
            other => other,
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PortError::io(SET_ASIDE, uid.to_string(), &error))
            }
            _ => Ok(()),
        }
    }

    fn recorded(&self, uid: &PodUid) -> BTreeMap<String, PathBuf> {
        if let Some(known) = self.paths.lock().unwrap_or_else(PoisonError::into_inner).get(uid) {
            return known.clone();
        }
        let mut known = self.found_in_memory(uid);
        known.extend(record::read(&self.disk.join(&uid.0)));
        known
    }

    /// The volumes that the pod has in memory, of which the disk may know nothing. One that was being made when an agent ended is
    /// among them: no sandbox was begun with it.
    fn found_in_memory(&self, uid: &PodUid) -> BTreeMap<String, PathBuf> {
        let place = self.tmpfs.join(&uid.0);
        // Where there are none, or they cannot be seen, they are made anew when the volumes are next brought up to date.
        let names = Dir::open(&place).and_then(|pod| pod.names()).unwrap_or_default();
        let names = names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| is_name(name));
        names.map(|name| (name.clone(), place.join(&name))).collect()
    }

    fn make(&self, uid: &PodUid, volume: &VolumePayload) -> Result<PathBuf, PortError> {
        let subject = format!("{} of pod {uid}", volume.name);
        if !is_name(&volume.name) {
            return Err(PortError::new(ErrorKind::Invalid, MAKE, subject, "the name is no DNS label"));
        }
        let failed = |e: io::Error| PortError::io(MAKE, subject.clone(), &e).waiting(WAITING);
        match &volume.material {
            VolumeMaterial::HostPath { path, kind } => host_path::make(Path::new(path), kind)
                .map(|()| PathBuf::from(path))
                .map_err(|(kind, message)| PortError::new(kind, MAKE, subject.clone(), message).waiting(WAITING)),
            VolumeMaterial::EmptyDir { memory: false, .. } => self.on_disk(uid, volume).map_err(failed),
            VolumeMaterial::EmptyDir { memory: true, size_limit } => {
                self.in_memory(uid, volume, *size_limit).map_err(failed)
            }
            VolumeMaterial::Files { files, sensitive } => {
                let place = if *sensitive { self.sensitive(uid, volume) } else { self.on_disk(uid, volume) };
                let path = place.map_err(failed)?;
                write(&path, files).map_err(failed)?;
                Ok(path)
            }
        }
    }

    fn on_disk(&self, uid: &PodUid, volume: &VolumePayload) -> io::Result<PathBuf> {
        let disk = Dir::make(&self.disk, 0o700)?;
        disk.pass_on_nothing()?;
        let pod = disk.make_sub(Path::new(&uid.0), 0o700)?;
        match open_to_all(&pod, volume) {
            // It is there, with what a container has mounted over it.
            Err(error) if is_mount(&error) => {}
            other => drop(other?),
        }
        Ok(self.disk.join(&uid.0).join(&volume.name))
    }

    fn in_memory(&self, uid: &PodUid, volume: &VolumePayload, size: Option<u64>) -> io::Result<PathBuf> {
        let _mounting = self.mounting.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = tmpfs::root(&self.tmpfs)?.make_sub(Path::new(&uid.0), 0o700)?;
        tmpfs::mount_volume(&pod, &volume.name, (size, volume.group))?;
        Ok(self.tmpfs.join(&uid.0).join(&volume.name))
    }

    fn sensitive(&self, uid: &PodUid, volume: &VolumePayload) -> io::Result<PathBuf> {
        let _mounting = self.mounting.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = tmpfs::root(&self.tmpfs)?.make_sub(Path::new(&uid.0), 0o700)?;
        tmpfs::check(&open_to_all(&pod, volume)?)?;
        Ok(self.tmpfs.join(&uid.0).join(&volume.name))
    }
}

/// The volume's directory, of mode 0777 when it is new: as Kubernetes makes them, for containers of any user. That of a group
/// is the group's, and so is, by its `S_ISGID`, all that is made in it. It has its name when it has all of that, whatever the
/// umask; what a container does to it later stays.
fn open_to_all(pod: &Dir, volume: &VolumePayload) -> io::Result<Dir> {
    let name = OsStr::new(&volume.name);
    match pod.sub_here(Path::new(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    // No volume can have this name.
    let unfinished = OsString::from(format!(".{}.new", volume.name));
    pod.remove_tree(&unfinished)?;
    let dir = pod.make_sub(Path::new(&unfinished), 0o700)?;
    if let Some(group) = volume.group {
        effect::change_group(&dir, group)?;
    }
    effect::change_mode(&dir, if volume.group.is_some() { 0o2777 } else { 0o777 })?;
    effect::move_at((pod, unfinished.as_os_str()), (pod, name))?;
    Ok(dir)
}

/// Deletes something at a place on the disk. Mounts there, which a container has passed on to the machine, go first.
fn past_mounts(place: &Path, remove: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match remove() {
        Err(error) if is_mount(&error) || error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            let top = place.canonicalize()?;
            let outermost =
                || -> io::Result<_> { Ok(mount::points()?.into_iter().find(|point| point.starts_with(&top))) };
            // It takes those in it along, so that on the way to them is nobody who may not answer. The path of one that has gone
            // with it may lead anywhere by now: it is never gone.
            let mut left = mount::points()?.len();
            while let Some(point) = outermost()?.filter(|_| left > 0) {
                mount::unmount(&point)?;
                left -= 1;
            }
            remove()
        }
        other => other,
    }
}

/// That a mount was in the way.
fn is_mount(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

/// Deletes what is in a volume: a few names at a time, until there is none.
fn clear(volume: &Dir) -> io::Result<()> {
    loop {
        let names = volume.some_names(NAMES)?;
        if names.is_empty() {
            return Ok(());
        }
        names.iter().try_for_each(|name| volume.remove_tree(name))?;
    }
}

fn write(path: &Path, files: &[PayloadFile]) -> io::Result<()> {
    // The path is ours down to the volume, and `Dir` follows nothing from there on.
    atomic::write(&Dir::open(path)?, files).map(|_| ())
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63 && name.starts_with(plain) && name.chars().all(|c| plain(c) || c == '-')
}

/// A uid becomes the name of a directory.
fn check_uid(uid: &PodUid, operation: &'static str) -> Result<(), PortError> {
    let fine = !uid.0.is_empty() && uid.0.len() <= 64 && uid.0.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fine { Ok(()) } else { Err(PortError::new(ErrorKind::Invalid, operation, uid.to_string(), "it is no pod uid")) }
}
