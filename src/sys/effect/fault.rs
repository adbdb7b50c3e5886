//! The points that every effect passes: where a test has this process killed, or an effect fail.
//!
//! A tool of the tests, and only in builds with debug assertions, which are those the tests are made with: a release has
//! no switch. The effects and their order are the same in both. `PODWRIGHT_FAULT` is read once by a process, and reaches
//! nobody but the agent it was set for and the shims of that agent: containers get an environment of their own.
//!
//! | value | what happens |
//! |---|---|
//! | `<who>:record:<file>` | every point is written to the file |
//! | `<who>:kill:<file>` | at a point that the file does not have yet it is added, and the process killed |
//! | `<who>:abort:<file>` | likewise, but it ends as of a fault of its own: its memory is written to a file where the kernel may |
//! | `<who>:fail:<errno>,...:<file>` | likewise, but the effect is not had and ends with an error of the system, one after the other of these numbers |
//!
//! | `<who>:refuse:<errno>,...:<file>` | for a monitor alone: it fails, again and again, at every point that the file does not have |
//!
//! With `<what>%<n>`, such as `kill%7`, only one point of so many takes part, chosen by its name; others with `kill%7+1` up to
//! `kill%7+6`.
//!
//! `<who>` is `agent`, `shim` or `monitor`, which the shim tells (`src/sys/embedded/fault.rs`). A point is a line `<before or after> <name> <place>`. The place is the end of the path
//! without its numbers, so that the same step of another process or another day is the same point; a cgroup is one place
//! in all hierarchies. Behind a tab comes the line of the source that first had it.

pub(super) use steering::{after, before};
pub(crate) use steering::{after_fork, of_monitor, passed_on};

#[cfg(debug_assertions)]
mod steering {
    use std::ffi::OsString;
    use std::fs::File;
    use std::io::{self, Read, Seek, Write};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::panic::Location;
    use std::path::{Component, Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::fs::FlockOperation;
    use rustix::process::Signal;

    use super::super::Place;

    const VARIABLE: &str = "PODWRIGHT_FAULT";
    /// What a shell tells of a process that was killed.
    const KILLED: i32 = 137;
    /// How many elements of a path tell one place from another.
    const ELEMENTS: usize = 3;

    #[derive(PartialEq, Eq)]
    enum What {
        Record,
        Kill,
        Abort,
        Fail(Vec<i32>),
    }

    struct Steering {
        what: What,
        /// Of how many points one takes part, and which.
        sample: (u64, u64),
        path: PathBuf,
        /// Opened once: a container's first process does not find it any more where it was.
        file: Mutex<Option<File>>,
    }

    /// Whether anything may be asked for: what a point costs when nothing is.
    static ASKED: AtomicBool = AtomicBool::new(true);

    fn steering() -> Option<&'static Steering> {
        static STEERING: OnceLock<Option<Steering>> = OnceLock::new();
        if !ASKED.load(Ordering::Relaxed) {
            return None;
        }
        let found = STEERING.get_or_init(|| {
            let shim = std::env::args_os().nth(1).is_some_and(|verb| verb == "internal-shim");
            parse(std::env::var(VARIABLE).ok()?.as_str(), if shim { "shim" } else { "agent" })
        });
        ASKED.store(found.is_some(), Ordering::Relaxed);
        found.as_ref()
    }

    fn parse(text: &str, own: &str) -> Option<Steering> {
        let (who, rest) = text.split_once(':')?;
        let (what, rest) = rest.split_once(':').filter(|_| who == own)?;
        let (what, sample) = match what.split_once('%') {
            Some((what, sample)) => (what, parse_sample(sample)?),
            None => (what, (1, 0)),
        };
        let (what, file) = match what {
            "record" => (What::Record, rest),
            "kill" => (What::Kill, rest),
            "abort" => (What::Abort, rest),
            "fail" => {
                let (numbers, file) = rest.split_once(':')?;
                (What::Fail(numbers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?), file)
            }
            _ => return None,
        };
        Some(Steering { what, sample, path: PathBuf::from(file), file: Mutex::default() })
    }

    fn parse_sample(text: &str) -> Option<(u64, u64)> {
        let (of, which) = text.split_once('+').unwrap_or((text, "0"));
        Some((of.parse().ok()?, which.parse().ok()?)).filter(|(of, which)| which < of)
    }

    /// The variable, for a shim: its environment is emptied otherwise.
    pub(crate) fn passed_on() -> Option<(&'static str, OsString)> {
        std::env::var_os(VARIABLE).map(|value| (VARIABLE, value))
    }

    /// What is for the monitor that this process becomes, as its argument.
    pub(crate) fn of_monitor() -> Option<String> {
        let value = std::env::var(VARIABLE).ok()?;
        value.strip_prefix("monitor:").map(|steering| format!("fault={steering}"))
    }

    /// For a process that was forked and closes what is not its own: all but this, the file with the points. That is opened
    /// anew for it, since those who share an open file do not wait for each other's lock.
    pub(crate) fn after_fork(close: impl FnOnce(Option<BorrowedFd<'_>>) -> io::Result<()>) -> io::Result<()> {
        let Some(steering) = steering() else { return close(None) };
        let mut file = steering.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = file.insert(Steering::open(&steering.path)?);
        close(Some(file.as_fd()))
    }

    pub(in super::super) fn before(name: &str, place: Place<'_>, from: &Location<'_>) -> io::Result<()> {
        match steering() {
            Some(steering) => pass(steering, ("before", name), place, from),
            None => Ok(()),
        }
    }

    pub(in super::super) fn after(name: &str, place: Place<'_>, from: &Location<'_>) {
        if let Some(steering) = steering().filter(|s| !matches!(s.what, What::Fail(_))) {
            // Nothing but `fail` ends with an error, or a file of the test that cannot be written.
            pass(steering, ("after", name), place, from).expect("invariant: the points can be written down");
        }
    }

    fn pass(steering: &Steering, (when, name): (&str, &str), place: Place<'_>, from: &Location<'_>) -> io::Result<()> {
        let point = format!("{when} {name} {}", normal(&path(place)));
        let (of, which) = steering.sample;
        if sum(&point) % of != which {
            return Ok(());
        }
        let Some(number) = steering.note(&point, from)? else { return Ok(()) };
        match &steering.what {
            What::Record => Ok(()),
            What::Fail(numbers) => Err(io::Error::from_raw_os_error(numbers[number % numbers.len()])),
            What::Kill => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
                // The first process of a namespace does not die of what is sent from within it.
                crate::sys::spawn::exit_now(KILLED)
            }
            What::Abort => std::process::abort(),
        }
    }

    /// A number that tells points apart well enough, the same in every run: FNV-1a.
    fn sum(point: &str) -> u64 {
        point.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    impl Steering {
        fn open(path: &Path) -> io::Result<File> {
            File::options().read(true).append(true).create(true).open(path)
        }

        /// Adds the point unless the file has it. Which one in the file it is if it was added.
        fn note(&self, point: &str, from: &Location<'_>) -> io::Result<Option<usize>> {
            let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let file = match &mut *held {
                Some(file) => file,
                none => none.insert(Self::open(&self.path)?),
            };
            rustix::fs::flock(&*file, FlockOperation::LockExclusive)?;
            let noted = add(file, point, from);
            rustix::fs::flock(&*file, FlockOperation::Unlock)?;
            noted
        }
    }

    fn add(file: &mut File, point: &str, from: &Location<'_>) -> io::Result<Option<usize>> {
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        if text.lines().any(|line| line.split('\t').next() == Some(point)) {
            return Ok(None);
        }
        file.write_all(format!("{point}\t{from}\n").as_bytes())?;
        Ok(Some(text.lines().count()))
    }

    fn path(place: Place<'_>) -> PathBuf {
        // The current directory has no number there: then the name has to do.
        let open =
            |fd: BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
        match place {
            Place::At(path) => path.to_owned(),
            Place::Below(dir, path) => open(dir).join(path),
            Place::Open(fd) => open(fd),
        }
    }

    /// The end of the path with a `#` for what differs from run to run: numbers, and digits of another base among them.
    fn normal(place: &Path) -> String {
        const CGROUPS: &str = "/sys/fs/cgroup";
        let hierarchy = usize::from(place.starts_with(CGROUPS));
        let place = place.strip_prefix(CGROUPS).unwrap_or(place);
        let names: Vec<String> = place
            .components()
            .skip(hierarchy)
            .filter_map(|c| match c {
                Component::Normal(name) => Some(without_numbers(&name.to_string_lossy())),
                _ => None,
            })
            .collect();
        names[names.len().saturating_sub(ELEMENTS)..].join("/")
    }

    fn without_numbers(name: &str) -> String {
        /// Shorter words of the letters a to f are words.
        const LONG: usize = 8;
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f' | '-');
        let mut out = String::new();
        let mut rest = name;
        while let Some(first) = rest.chars().next() {
            let run = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
            let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
            let number = if run.len() >= LONG && run.contains(|c: char| c.is_ascii_digit()) { run } else { digits };
            let skipped = match number.len() {
                0 => {
                    out.push(first);
                    first.len_utf8()
                }
                length => {
                    out.push('#');
                    length
                }
            };
            rest = &rest[skipped..];
        }
        out
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_place_is_the_same_in_every_run() {
            for (path, expected) in [
                ("/sys/fs/cgroup/cpu/podwright-0a1b2c3d/monitors", "podwright#/monitors"),
                ("/sys/fs/cgroup/memory/podwright-0a1b2c3d/monitors", "podwright#/monitors"),
                ("pod4f1c2b1e-77aa-5e0c-9bd1-00ff00ff00ff/app-12", "po#/app-#"),
                ("..2024_05_06_07_08_09.1234", "..#_#_#_#_#_#.#"),
                ("/x/a/b/record.json", "a/b/record.json"),
                ("/proc/self/fd/12", "self/fd/#"),
                ("deadbeef", "deadbeef"),
                ("é1", "é#"),
                ("", ""),
            ] {
                assert_eq!(normal(Path::new(path)), expected);
            }
        }

        #[test]
        fn only_whom_it_names_is_steered() {
            assert!(parse("agent:kill:/f", "agent").is_some_and(|s| s.what == What::Kill && s.path == Path::new("/f")));
            assert!(parse("shim:fail:28,5:/f", "shim").is_some_and(|s| s.what == What::Fail(vec![28, 5])));
            assert!(parse("agent:record:/a:b", "agent").is_some_and(|s| s.path == Path::new("/a:b")));
            assert!(parse("agent:kill%7:/f", "agent").is_some_and(|s| s.what == What::Kill && s.sample == (7, 0)));
            assert!(parse("agent:kill%7+6:/f", "agent").is_some_and(|s| s.sample == (7, 6)));
            let nobody = [
                "",
                "agent",
                "agent:kill",
                "agent:kill%0:/f",
                "agent:kill%7+7:/f",
                "agent:fail:x:/f",
                "agent:other:/f",
                "shim:kill:/f",
            ];
            for none in nobody {
                assert!(parse(none, "agent").is_none(), "{none}");
            }
        }

        #[test]
        fn a_sample_is_a_part_of_all_points() {
            let points = 0..1000;
            let taken = points.filter(|n| sum(&format!("before write place/{n}")).is_multiple_of(7)).count();
            assert!((100..200).contains(&taken), "{taken}");
        }

        #[test]
        fn a_point_is_new_once() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("points");
            let steering = Steering { what: What::Fail(vec![28, 5]), sample: (1, 0), path, file: Mutex::default() };
            let from = Location::caller();
            let pass = |name| pass(&steering, ("before", name), "x".into(), from);
            assert_eq!(pass("write").unwrap_err().raw_os_error(), Some(28));
            pass("write").unwrap();
            assert_eq!(pass("sync").unwrap_err().raw_os_error(), Some(5));
            let expected = format!("before write x\t{from}\nbefore sync x\t{from}\n");
            assert_eq!(std::fs::read_to_string(&steering.path).unwrap(), expected);
        }
    }
}

#[cfg(not(debug_assertions))]
mod steering {
    use std::ffi::OsString;
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::panic::Location;

    use super::super::Place;

    pub(crate) fn after_fork(close: impl FnOnce(Option<BorrowedFd<'_>>) -> io::Result<()>) -> io::Result<()> {
        close(None)
    }

    pub(crate) fn passed_on() -> Option<(&'static str, OsString)> {
        None
    }

    pub(crate) fn of_monitor() -> Option<String> {
        None
    }

    #[inline(always)]
    pub(in super::super) fn before(_: &str, _: Place<'_>, _: &Location<'_>) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(in super::super) fn after(_: &str, _: Place<'_>, _: &Location<'_>) {}
}
