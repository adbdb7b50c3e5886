//! The CRI log format: `<timestamp> stdout|stderr F|P <text>`, one entry per line.

/// Which stream an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// RFC 3339 with nanoseconds, as written.
    pub timestamp: &'a str,
    pub stream: Stream,
    /// The text goes on in the next entry: no line end follows it.
    pub partial: bool,
    pub text: &'a [u8],
}

/// Reads one line, with or without its line end. `None` for a line that is no entry.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |b| *b == b' ');
    let timestamp = std::str::from_utf8(parts.next()?).ok().filter(|t| !t.is_empty())?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first one says whether the line is full.
    let partial = match parts.next()?.split(|b| *b == b':').next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Entry { timestamp, stream, partial, text: parts.next().unwrap_or_default() })
}

/// Appends what `logs` shows of an entry. A timestamp stands before each line, not before each part of one:
/// `continued` says whether the entry before was partial. A line that is no entry is shown as it is.
pub fn render(line: &[u8], timestamps: bool, continued: bool, out: &mut Vec<u8>) -> bool {
    let Some(entry) = parse(line) else {
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.push(b'\n');
        return false;
    };
    if timestamps && !continued {
        out.extend_from_slice(entry.timestamp.as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(entry.text);
    if !entry.partial {
        out.push(b'\n');
    }
    entry.partial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_others_are_not() {
        let at = "2026-01-02T03:04:05.123456789Z";
        for (line, expected) in [
            (format!("{at} stdout F hello world"), Some((Stream::Stdout, false, "hello world"))),
            (format!("{at} stderr P part\n"), Some((Stream::Stderr, true, "part"))),
            (format!("{at} stdout F "), Some((Stream::Stdout, false, ""))),
            (format!("{at} stdout F"), Some((Stream::Stdout, false, ""))),
            (format!("{at} stdout F:x  two"), Some((Stream::Stdout, false, " two"))),
            (format!("{at} stdin F x"), None),
            (format!("{at} stdout X x"), None),
            (String::new(), None),
            ("plain text".into(), None),
        ] {
            let found = parse(line.as_bytes()).map(|e| (e.stream, e.partial, std::str::from_utf8(e.text).unwrap()));
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn parts_join_to_one_line_with_one_timestamp() {
        let mut out = Vec::new();
        let mut continued = false;
        for line in ["t1 stdout P ab\n", "t2 stdout F cd\n", "t3 stderr F ef\n", "broken\n"] {
            continued = render(line.as_bytes(), true, continued, &mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap(), "t1 abcd\nt3 ef\nbroken\n");
    }
}
