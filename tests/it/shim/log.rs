//! How much of a container's log is kept, and what a container cannot do to the disk with it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use podwright::model::PodKey;
use podwright::serve::{LogRequest, Progress, stream_file};
use podwright::shim::LogLimits;
use podwright::sys::{cgroup, mount, pidfd};

use super::fixture::{Container, Place, SIGKILL, exe, text, until};
use crate::support;

const MAX_SIZE: u64 = 64 << 10;

/// The files of a log, the oldest first.
fn files(log: &Path) -> Vec<PathBuf> {
    let older = |number: u32| PathBuf::from(format!("{}.{number}", log.display()));
    let mut all: Vec<PathBuf> = (1..).map(older).take_while(|p| p.exists()).collect();
    all.reverse();
    all.push(log.to_owned());
    all
}

/// What the entries of these files say, line by line.
fn lines(files: &[PathBuf]) -> Vec<String> {
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{} ends within an entry", file.display());
        all.extend(text.lines().map(|l| l.splitn(3, ' ').nth(2).unwrap().to_owned()));
    }
    all
}

/// A container whose log is on a file system of its own.
fn on_small_disk(place: &Place, name: &str, script: &str, limits: LogLimits) -> (Container, PathBuf) {
    let disk = place.temp.path().join(format!("disk-{name}"));
    fs::create_dir(&disk).unwrap();
    mount::tmpfs(&disk, 1 << 20, 0o700).unwrap();
    let mut container = place.container(name, script);
    container.request.log_path = disk.join("0.log");
    container.request.log_limits = limits;
    (container, disk)
}

#[test]
fn e2e_a_log_is_rotated_by_size_and_no_line_is_lost_or_torn() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let mut container = place.container("rotated", "seq 1 20000; head -c 40000 /dev/zero | tr '\\0' x; echo");
    container.request.log_limits = LogLimits { max_size: MAX_SIZE, max_files: 64 };
    container.start();
    assert_eq!(container.end().exit_code, 0);
    let files = files(&container.request.log_path);
    assert!(files.len() > 10, "{files:?}");
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= MAX_SIZE, "{file:?}");
    }
    let lines = lines(&files);
    let numbers: Vec<String> = (1..=20000).map(|n| format!("F {n}")).collect();
    assert_eq!(lines[..20000], numbers, "every line, once, in order");
    let rest: Vec<(&str, usize)> = lines[20000..].iter().map(|l| (&l[..1], l.len() - 2)).collect();
    assert_eq!(rest, [("P", 16384), ("P", 16384), ("F", 40000 - 2 * 16384)]);
}

#[test]
fn e2e_a_container_cannot_fill_the_disk_with_its_log_where_a_log_without_limit_does() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script = "seq -f 'line %.0f of an attack on the disk' 1 100000";
    let free = |disk: &Path| fs::write(disk.join("other"), vec![0; 512 << 10]);
    let limits = LogLimits { max_size: MAX_SIZE, max_files: 3 };
    let (container, disk) = on_small_disk(&place, "bounded", script, limits);
    container.start();
    assert_eq!(container.end().exit_code, 0);
    let files = files(&container.request.log_path);
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["0.log.2", "0.log.1", "0.log"]);
    let lines = lines(&files);
    let first: u32 = lines[0].split(' ').nth(2).unwrap().parse().unwrap();
    let expected: Vec<String> = (first..=100_000).map(|n| format!("F line {n} of an attack on the disk")).collect();
    assert!(lines == expected, "the newest lines are kept, without a gap");
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 3);
    free(&disk).unwrap();
    mount::unmount(&disk).unwrap();
    // The control.
    let (container, disk) = on_small_disk(&place, "naive", script, LogLimits { max_size: 0, max_files: 3 });
    container.start();
    assert_eq!(container.end().exit_code, 0, "a full disk holds nobody up");
    assert_eq!(free(&disk).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    mount::unmount(&disk).unwrap();
}

#[test]
fn e2e_where_no_new_file_can_be_made_a_log_is_bounded_all_the_same() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let disk = place.temp.path().join("disk");
    fs::create_dir(&disk).unwrap();
    // The directory itself and one file.
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,nr_inodes=2", "none"]).arg(&disk).status();
    assert!(mounted.unwrap().success());
    let mut container = place.container("inodes", "seq 1 50000");
    container.request.log_path = disk.join("0.log");
    container.request.log_limits = LogLimits { max_size: MAX_SIZE, max_files: 3 };
    container.start();
    assert_eq!(container.end().exit_code, 0);
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 1);
    assert!(fs::metadata(disk.join("0.log")).unwrap().len() <= MAX_SIZE);
    assert_eq!(lines(&[disk.join("0.log")]).last().map(String::as_str), Some("F 50000"), "the newest is kept");
    mount::unmount(&disk).unwrap();
}

#[test]
fn e2e_many_lines_from_two_sides_cost_no_memory_and_none_is_lost() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // Far more than ten thousand a second, from two sides at once.
    let script = "seq 1 100000 & seq 1 100000 >&2; wait; echo done; exec sleep 1000";
    let mut container = place.container("many", script);
    container.request.log_limits = LogLimits { max_size: 1 << 20, max_files: 64 };
    let started = container.start();
    let log = container.request.log_path.clone();
    // The other side may have a file's worth of entries after it.
    let done = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains(" F done\n"));
    until("the last line", || files(&log).iter().rev().take(3).any(done).then_some(()));
    let status = fs::read_to_string(format!("/proc/{}/status", started.monitor_pid)).unwrap();
    let peak: u64 =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(peak < 512, "{peak} kB");
    pidfd::kill(started.pid, SIGKILL).unwrap();
    container.end();
    let mut seen = [0, 0];
    for file in files(&log) {
        for line in fs::read_to_string(file).unwrap().lines().filter(|l| !l.ends_with("done")) {
            let mut words = line.split(' ').skip(1);
            let side = usize::from(words.next() == Some("stderr"));
            seen[side] += 1;
            assert_eq!(words.nth(1).unwrap(), seen[side].to_string(), "in order, none missing");
        }
    }
    assert_eq!(seen, [100_000, 100_000]);
}

/// Writes 100,000 lines, twenty for each millisecond that has passed, to a pipe that holds more than a second's worth, and
/// never waits: it gives up when the pipe is full. What it could not write because the machine was busy it writes later.
const PACED: &str = "use Fcntl; use Time::HiRes qw(time sleep); fcntl STDOUT, 1031, 1 << 18 or die; \
     fcntl STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK or die; my ($begun, $done) = (time, 0); \
     while ($done < 100_000) { my $due = 20_000 * (time - $begun); \
     for (1..2_000) { last if $done >= $due || $done == 100_000; $done++; \
     syswrite STDOUT, qq($done\\n) or do { syswrite STDERR, qq(held up\\n); exit 1 } } sleep 0.002 }";

#[test]
fn e2e_twenty_thousand_lines_a_second_hold_nobody_up_where_a_reader_that_syncs_each_does() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let mut container = Container::new(&place, "paced", &["perl", "-e", PACED]);
    container.request.log_limits = LogLimits { max_size: 1 << 20, max_files: 64 };
    container.start();
    let exit = container.end();
    let lines = lines(&files(&container.request.log_path));
    assert_eq!(exit.exit_code, 0, "{:?}", lines.last());
    let expected: Vec<String> = (1..=100_000).map(|n| format!("F {n}")).collect();
    assert!(lines == expected, "every line, once, in order");
    // The control. A place that forgets, such as a tmpfs, has nothing to sync.
    let mut writer =
        Command::new("perl").args(["-e", PACED]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::with_capacity(4096, writer.stdout.take().unwrap());
    let mut slow = tempfile::tempfile_in(exe().parent().unwrap()).unwrap();
    let mut line = Vec::new();
    while writer.try_wait().unwrap().is_none() && lines.read_until(b'\n', &mut line).unwrap() > 0 {
        slow.write_all(&line).unwrap();
        slow.sync_all().unwrap();
        line.clear();
    }
    drop(lines);
    assert_eq!(text(&writer.wait_with_output().unwrap().stderr), "held up\n");
}

/// Nothing is waited for: what stands in the files is all there is.
struct Over;

#[async_trait::async_trait]
impl Progress for Over {
    async fn ended(&self) -> bool {
        true
    }
}

#[test]
fn e2e_a_monitor_that_is_killed_amid_rotations_leaves_a_log_without_a_gap() {
    if !support::e2e() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = Place::new();
    for round in 0..12_u32 {
        let mut container = place.container(&format!("killed{round}"), "exec seq 1 100000000");
        container.request.log_limits = LogLimits { max_size: MAX_SIZE, max_files: 4 };
        let started = container.start();
        let log = container.request.log_path.clone();
        until("some rotations", || files(&log).get(3).map(drop));
        // Anywhere within a rotation, which comes every few hundred microseconds.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 173));
        pidfd::kill(started.monitor_pid, SIGKILL).unwrap();
        until("its end", || podwright::sys::process::start_ticks(started.monitor_pid).is_none().then_some(()));
        cgroup::kill_all(&container.request.cgroup).unwrap();
        assert!(log.exists(), "at every moment there is a log");
        let text = runtime.block_on(async {
            let request = LogRequest::new(PodKey::new("default", "killed"), "main");
            let mut stream = stream_file(&log, &request, Arc::new(Over)).await.unwrap();
            let mut text = Vec::new();
            while let Some(chunk) = stream.recv().await {
                text.extend_from_slice(&chunk.unwrap());
            }
            String::from_utf8(text).unwrap()
        });
        // The kernel may have stopped within the last entry.
        let whole = text.lines().count() - 1;
        let numbers: Vec<u64> = text.lines().take(whole).map(|l| l.parse().unwrap()).collect();
        assert!(numbers.len() > 1000, "round {round}: {} lines", numbers.len());
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "round {round}: lines are missing or doubled");
    }
}
