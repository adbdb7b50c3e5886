//! What a container says at its end: the file at `terminationMessagePath`, or the end of its log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use k8s_openapi::api::core::v1::Container;

use super::records::TERMINATION_LOG;
use crate::model::ExitRecord;
use crate::shim::MESSAGE_BYTES;
use crate::sys::beneath::Dir;

/// The kubelet's bounds, in bytes and lines.
const LOG_BYTES: usize = 2048;
const LOG_LINES: usize = 80;
/// The end of a log that holds 80 lines or 2048 bytes for sure: 2048 entries of one byte each with their heads fit.
const LOG_TAIL: u64 = 128 << 10;

/// The message of an ended instance; empty when it left none.
pub(super) fn message(container: Option<&Container>, exit: &ExitRecord, instance: &Path, log: &Path) -> String {
    let own = tail(instance, Path::new(TERMINATION_LOG), MESSAGE_BYTES).unwrap_or_default();
    if !own.is_empty() {
        return String::from_utf8_lossy(&own).into_owned();
    }
    let policy = container.and_then(|c| c.termination_message_policy.as_deref());
    if policy != Some("FallbackToLogsOnError") || exit.exit_code == 0 {
        return String::new();
    }
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return String::new() };
    let mut end = tail(dir, Path::new(name), LOG_TAIL).unwrap_or_default();
    if (end.len() as u64) < LOG_TAIL {
        // It may have been rotated just before the end.
        let mut before = name.to_owned();
        before.push(".1");
        let mut both = tail(dir, Path::new(&before), LOG_TAIL).unwrap_or_default();
        both.append(&mut end);
        end = both;
    }
    last_lines(&end)
}

/// The last bytes of a file.
fn tail(dir: &Path, name: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = Dir::open(dir)?.open_file(name)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of the last lines of a log in the CRI format.
fn last_lines(log: &[u8]) -> String {
    let mut text = Vec::new();
    // `<time> <stream> <F or P> <text>`; the first line may be a torn one and then is none.
    for line in log.split_inclusive(|b| *b == b'\n') {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let (Some(_), Some(stream), Some(tag), Some(rest)) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if !matches!(stream, b"stdout" | b"stderr") {
            continue;
        }
        text.extend_from_slice(rest.strip_suffix(b"\n").unwrap_or(rest));
        if tag.starts_with(b"F") {
            text.push(b'\n');
        }
    }
    let ends: Vec<usize> = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    // An unfinished last line is a line too.
    let lines = ends.len() + usize::from(ends.last().copied().unwrap_or(0) < text.len());
    let by_lines = if lines > LOG_LINES { ends[lines - LOG_LINES - 1] } else { 0 };
    let start = by_lines.max(text.len().saturating_sub(LOG_BYTES));
    String::from_utf8_lossy(&text[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> ExitRecord {
        ExitRecord {
            exit_code: code,
            signal: None,
            oom_killed: false,
            started_at: None,
            finished_at: jiff::Timestamp::UNIX_EPOCH,
            reason: None,
            message: None,
        }
    }

    #[test]
    fn the_file_counts_first_and_the_log_only_after_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let (file, log) = (temp.path().join(TERMINATION_LOG), temp.path().join("0.log"));
        let fallback =
            Container { termination_message_policy: Some("FallbackToLogsOnError".into()), ..Container::default() };
        let say = |container: &Container, code| message(Some(container), &exit(code), temp.path(), &log);
        assert_eq!(say(&fallback, 1), "");
        std::fs::write(&log, "2026-01-01T00:00:00Z stderr F one\n2026-01-01T00:00:00Z stdout P tw\nx stdout F o\n")
            .unwrap();
        assert_eq!(say(&fallback, 1), "one\ntwo\n");
        std::fs::rename(&log, temp.path().join("0.log.1")).unwrap();
        assert_eq!(say(&fallback, 1), "one\ntwo\n");
        std::fs::write(&log, "x stderr F three\n").unwrap();
        assert_eq!(say(&fallback, 1), "one\ntwo\nthree\n");
        assert_eq!(say(&fallback, 0), "");
        assert_eq!(say(&Container::default(), 1), "");
        std::fs::write(&file, [b"x".repeat(5000), b"end".to_vec()].concat()).unwrap();
        let text = say(&fallback, 1);
        assert_eq!((text.len(), text.ends_with("xend")), (4096, true));
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert_eq!(say(&Container::default(), 1), "");
    }

    #[test]
    fn a_long_log_is_cut_to_eighty_lines_or_2048_bytes() {
        let line = |text: &str| format!("t stdout F {text}\n");
        let short: String = (0..100).map(|n| line(&format!("line {n}"))).collect();
        let text = last_lines(short.as_bytes());
        assert_eq!((text.lines().count(), text.lines().next()), (80, Some("line 20")));
        let long: String = (0..100).map(|_| line(&"y".repeat(100))).collect();
        assert_eq!(last_lines(long.as_bytes()).len(), 2048);
        assert_eq!(last_lines(b"torn line\nt stdout P tail"), "tail");
    }
}
