//! The limits of a cgroup whose processes run, in the files of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{cgroup, effect};

/// What processes may use, in the terms of the kernel. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The weight of the group against others: 1024 for one core.
    pub shares: i64,
    /// Microseconds of one core within a [`Limits::PERIOD`].
    pub quota: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
}

impl Limits {
    /// The period a quota is for, in microseconds.
    pub const PERIOD: i64 = 100_000;
    /// The shares of a group that nobody has given any: the kernel's.
    pub const SHARES: i64 = 1024;

    /// The same as the `cpu.weight` of version 2, by the formula of runc since
    /// 1.3.2: 1, 100 and 10000 for 2, 1024 and 262144 shares.
    fn weight(self) -> i64 {
        if self.shares <= 2 {
            return 1;
        }
        let log = (self.shares as f64).log2();
        let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
        10_f64.powf(exponent).ceil().min(10_000.0) as i64
    }
}

/// What one file of a cgroup holds.
type Content = fn(Limits) -> String;

fn or(limit: Option<i64>, none: &str) -> String {
    limit.map_or_else(|| none.to_owned(), |limit| limit.to_string())
}

/// The files of both versions with what stands in them, in the order they are written: a limit of memory can be refused.
/// No container here has a limit for memory and swap together, which would be in the way of a larger one for memory.
const MEMORY: &[(&str, Content)] =
    &[("memory.limit_in_bytes", |own| or(own.memory, "-1")), ("memory.max", |own| or(own.memory, "max"))];
const SHARES: &[(&str, Content)] =
    &[("cpu.shares", |own| own.shares.to_string()), ("cpu.weight", |own| own.weight().to_string())];
const CPU: &[(&str, Content)] = &[
    ("cpu.cfs_period_us", |_| Limits::PERIOD.to_string()),
    ("cpu.cfs_quota_us", |own| or(own.quota, "-1")),
    ("cpu.max", |own| format!("{} {}", or(own.quota, "max"), Limits::PERIOD)),
];

/// Writes those files that are there and hold something else. Returns whether any is there.
fn write(dirs: &[PathBuf], files: &[(&str, Content)], limits: Limits) -> io::Result<bool> {
    let mut any = false;
    for (name, content) in files {
        for file in dirs.iter().map(|dir| dir.join(name)) {
            let Some(now) = read(&file)? else { continue };
            any = true;
            let content = content(limits);
            if !says(&now, &content) {
                let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
                effect::write_existing(&file, &content).map_err(named)?;
            }
        }
    }
    Ok(any)
}

/// Whether a file that reads `now` holds what is to be written. Version 1 has a number for no limit of memory.
fn says(now: &str, content: &str) -> bool {
    const NONE: u64 = 1 << 62;
    now == content || content == "-1" && now.parse().is_ok_and(|now: u64| now >= NONE)
}

fn read(file: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the cgroup these limits: memory first, so that nothing is changed when the kernel does not take that.
///
/// # Errors
/// `Unsupported` for a limit that no controller of this machine keeps; `ResourceBusy` when the kernel cannot get memory in
/// use below the limit; whatever else the system says.
pub fn set(path: &str, limits: Limits) -> io::Result<()> {
    set_in(&cgroup::dirs_of(&cgroup::hierarchies()?, &["memory", "cpu"], path)?, limits)
}

fn set_in(dirs: &[PathBuf], limits: Limits) -> io::Result<()> {
    for (what, files, is_limited) in
        [("memory", MEMORY, limits.memory.is_some()), ("cpu", SHARES, false), ("cpu", CPU, limits.quota.is_some())]
    {
        if !write(dirs, files, limits)? && is_limited {
            let message = format!("this machine has no cgroup controller for {what}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}

/// Gives a cgroup its weight and its limits, as far as this machine has controllers for them.
///
/// # Errors
/// From the system; `ResourceBusy` as with [`set`].
pub fn set_kept(path: &str, limits: Limits) -> io::Result<()> {
    let dirs = cgroup::dirs_of(&cgroup::hierarchies()?, &["memory", "cpu"], path)?;
    [MEMORY, SHARES, CPU].iter().try_for_each(|files| write(&dirs, files, limits).map(|_| ()))
}

/// Gives each of these cgroups its weight against those beside it, in shares ([`Limits::shares`]). Nothing to a machine
/// that has no controller for it.
///
/// # Errors
/// From the system.
pub fn set_shares(of: &[(String, i64)]) -> io::Result<()> {
    let hierarchies = cgroup::hierarchies()?;
    of.iter().try_for_each(|(path, shares)| {
        let limits = Limits { shares: *shares, quota: None, memory: None };
        write(&cgroup::dirs_of(&hierarchies, &["cpu"], path)?, SHARES, limits).map(|_| ())
    })
}

/// Lets no more than so many processes and threads be in the cgroup and below it.
///
/// # Errors
/// `Unsupported` when no controller of this machine keeps that; whatever else the system says.
pub fn set_pids(path: &str, most: u32) -> io::Result<()> {
    let dirs = cgroup::dirs_of(&cgroup::hierarchies()?, &["pids"], path)?;
    let files = dirs.into_iter().map(|dir| dir.join("pids.max"));
    let mut any = false;
    for file in files.filter(|file| file.exists()) {
        any = true;
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
        effect::write_existing(&file, &most.to_string()).map_err(named)?;
    }
    match any {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::Unsupported, "this machine has no cgroup controller for processes")),
    }
}

/// Has the kernel end all processes of the cgroup when it ends one of them for want of memory. Version 1 cannot, and leaves
/// the others running; so does a machine whose version 2 does not count memory. The kubelet has it so, too, unless its
/// `singleProcessOOMKill` is set.
///
/// # Errors
/// From the system.
pub fn set_oom_group(path: &str) -> io::Result<()> {
    let dirs = cgroup::dirs_of(&cgroup::hierarchies()?, &["memory"], path)?;
    for file in dirs.into_iter().map(|dir| dir.join("memory.oom.group")).filter(|file| file.exists()) {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
        effect::write_existing(&file, "1").map_err(named)?;
    }
    Ok(())
}

/// The memory of a cgroup in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub usage: u64,
    /// [`u64::MAX`] for none.
    pub limit: u64,
}

/// What the cgroup uses and may use; `None` when nobody counts.
///
/// # Errors
/// From the system.
pub fn memory(path: &str) -> io::Result<Option<Memory>> {
    memory_in(&cgroup::dirs_of(&cgroup::hierarchies()?, &["memory"], path)?)
}

fn memory_in(dirs: &[PathBuf]) -> io::Result<Option<Memory>> {
    for dir in dirs {
        for [usage, limit] in [["memory.usage_in_bytes", "memory.limit_in_bytes"], ["memory.current", "memory.max"]] {
            if let (Some(usage), Some(limit)) = (read(&dir.join(usage))?, read(&dir.join(limit))?) {
                let number = |text: &str| text.parse().unwrap_or(u64::MAX);
                return Ok(Some(Memory { usage: number(&usage), limit: number(&limit) }));
            }
        }
    }
    Ok(None)
}

/// The working set of a cgroup in bytes, as cadvisor has it: what it uses without files that were not read lately. `None` when
/// nobody counts.
///
/// # Errors
/// From the system.
pub fn working_set(path: &str) -> io::Result<Option<u64>> {
    working_set_in(&cgroup::dirs_of(&cgroup::hierarchies()?, &["memory"], path)?)
}

fn working_set_in(dirs: &[PathBuf]) -> io::Result<Option<u64>> {
    for dir in dirs {
        for [usage, unread] in [["memory.usage_in_bytes", "total_inactive_file"], ["memory.current", "inactive_file"]] {
            let Some(usage) = read(&dir.join(usage))?.and_then(|text| text.parse::<u64>().ok()) else { continue };
            let stat = read(&dir.join("memory.stat"))?.unwrap_or_default();
            let unread = stat.lines().find_map(|line| line.strip_prefix(unread)?.strip_prefix(' ')?.parse().ok());
            return Ok(Some(usage.saturating_sub(unread.unwrap_or(0))));
        }
    }
    Ok(None)
}

/// How many processes and threads are in a cgroup and below it; `None` when nobody counts.
///
/// # Errors
/// From the system.
pub fn tasks(path: &str) -> io::Result<Option<u64>> {
    for dir in cgroup::dirs_of(&cgroup::hierarchies()?, &["pids"], path)? {
        if let Some(text) = read(&dir.join("pids.current"))? {
            return Ok(text.parse().ok());
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        dir
    }

    fn holds(dir: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(dir.path().join(name)).unwrap()
    }

    const SOME: Limits = Limits { shares: 512, quota: Some(50_000), memory: Some(1 << 26) };
    const NONE: Limits = Limits { shares: 2, quota: None, memory: None };

    #[test]
    fn both_versions_are_written_in_their_own_words() {
        let one = [("cpu.shares", "2\n"), ("cpu.cfs_period_us", "5\n"), ("cpu.cfs_quota_us", "-1\n")];
        let (cpu, memory) = (files(&one), files(&[("memory.limit_in_bytes", "9\n")]));
        let dirs = [cpu.path().to_owned(), memory.path().to_owned(), "/no/such/cgroup".into()];
        set_in(&dirs, SOME).unwrap();
        let now = ["cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"].map(|name| holds(&cpu, name));
        assert_eq!(
            (now, holds(&memory, "memory.limit_in_bytes")),
            (["512", "100000", "50000"].map(Into::into), "67108864".into())
        );
        set_in(&dirs, NONE).unwrap();
        assert_eq!(
            (holds(&cpu, "cpu.cfs_quota_us"), holds(&memory, "memory.limit_in_bytes")),
            ("-1".into(), "-1".into())
        );

        let two = files(&[("cpu.weight", "100\n"), ("cpu.max", "max 100000\n"), ("memory.max", "max\n")]);
        set_in(&[two.path().to_owned()], SOME).unwrap();
        assert_eq!(["cpu.weight", "cpu.max", "memory.max"].map(|n| holds(&two, n)), ["59", "50000 100000", "67108864"]);
        set_in(&[two.path().to_owned()], NONE).unwrap();
        assert_eq!(["cpu.weight", "cpu.max", "memory.max"].map(|n| holds(&two, n)), ["1", "max 100000", "max"]);
    }

    #[test]
    fn what_holds_already_is_not_written_again() {
        let dir = files(&[("memory.max", "67108864\n"), ("cpu.max", "50000 100000\n"), ("cpu.weight", "59\n")]);
        set_in(&[dir.path().to_owned()], SOME).unwrap();
        assert_eq!(holds(&dir, "memory.max"), "67108864\n");
        let unlimited = files(&[("memory.limit_in_bytes", "9223372036854771712\n")]);
        set_in(&[unlimited.path().to_owned()], NONE).unwrap();
        assert_eq!(holds(&unlimited, "memory.limit_in_bytes"), "9223372036854771712\n");
    }

    #[test]
    fn a_limit_that_nobody_keeps_is_an_error() {
        let cpu = files(&[("cpu.max", "max 100000\n"), ("cpu.weight", "100\n")]);
        let error = set_in(&[cpu.path().to_owned()], SOME).unwrap_err();
        assert_eq!(error.to_string(), "this machine has no cgroup controller for memory");
        assert_eq!(holds(&cpu, "cpu.max"), "max 100000\n", "nothing is changed");
        set_in(&[cpu.path().to_owned()], Limits { memory: None, ..SOME }).unwrap();
        let error = set_in(&[], Limits { memory: None, ..SOME }).unwrap_err();
        assert_eq!(error.to_string(), "this machine has no cgroup controller for cpu");
        set_in(&[], NONE).unwrap();
    }

    #[test]
    fn weights_are_those_of_the_start() {
        let weight = |shares| Limits { shares, ..NONE }.weight();
        assert_eq!([2, 102, 1024, 2048, 262_144].map(weight), [1, 17, 100, 174, 10_000]);
    }

    #[test]
    fn memory_is_read_in_either_version() {
        let one = files(&[("memory.usage_in_bytes", "5\n"), ("memory.limit_in_bytes", "9223372036854771712\n")]);
        let two = files(&[("memory.current", "6\n"), ("memory.max", "max\n")]);
        let of = |dir: &tempfile::TempDir| memory_in(&["/none".into(), dir.path().to_owned()]).unwrap();
        assert_eq!(of(&one), Some(Memory { usage: 5, limit: 9_223_372_036_854_771_712 }));
        assert_eq!(of(&two), Some(Memory { usage: 6, limit: u64::MAX }));
        assert_eq!(memory_in(&[]).unwrap(), None);
    }

    #[test]
    fn files_that_were_not_read_lately_are_not_in_the_working_set() {
        let one = [("memory.usage_in_bytes", "900\n"), ("memory.stat", "inactive_file 5\ntotal_inactive_file 300\n")];
        let two = [("memory.current", "900\n"), ("memory.stat", "anon 1\ninactive_file 400\nactive_file 7\n")];
        let less = [("memory.current", "9\n"), ("memory.stat", "inactive_file 400\n")];
        let of = |names: &[(&str, &str)]| working_set_in(&["/none".into(), files(names).path().to_owned()]).unwrap();
        assert_eq!([of(&one), of(&two), of(&less)], [Some(600), Some(500), Some(0)]);
        assert_eq!(working_set_in(&[]).unwrap(), None);
    }
}
