//! A log that was rotated: the file that is written to and the older ones, `<log>.1` the newest of them, as one text.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const BLOCK: usize = 64 << 10;
/// How often the files are looked at again when the log was rotated meanwhile.
const TRIES: usize = 8;

/// What a file is, whatever it is called.
pub(super) fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|m| (m.dev(), m.ino()))
}

/// Opens all files of a log, the oldest first. The names move on while this looks: who sees that begins anew.
pub(super) fn open(path: &Path) -> io::Result<Vec<File>> {
    let identities = |files: &[File]| files.iter().map(identity).collect::<io::Result<Vec<_>>>();
    let mut files = open_once(path)?;
    for _ in 1..TRIES {
        // A file can be missed while its name moves on; it is not missed twice at the same place.
        let again = open_once(path)?;
        let is_same = identities(&files)? == identities(&again)?;
        files = again;
        if is_same {
            break;
        }
    }
    Ok(files)
}

fn open_once(path: &Path) -> io::Result<Vec<File>> {
    let mut files = vec![File::open(path)?];
    let mut seen = vec![identity(&files[0])?];
    for number in numbers(path)? {
        let mut name = OsString::from(path);
        name.push(format!(".{number}"));
        match File::open(&name) {
            Ok(file) => {
                // A rotation that was cut short can leave a file under two names.
                let own = identity(&file)?;
                if !seen.contains(&own) {
                    seen.push(own);
                    files.push(file);
                }
            }
            // Gone since the names were read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    files.reverse();
    Ok(files)
}

/// The numbers behind the log's name, in order.
fn numbers(path: &Path) -> io::Result<Vec<u32>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?.file_name();
        let number: Option<u32> = entry.to_str().and_then(|e| e.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// Leaves away what is before the last `lines` lines. The oldest file that is left stands where they begin, the others at
/// their beginning.
pub(super) fn tail(mut files: Vec<File>, lines: u64) -> io::Result<Vec<File>> {
    let mut left = lines;
    for at in (0..files.len()).rev() {
        match start_of_last(&mut files[at], left)? {
            Tail::Starts(offset) => {
                files[at].seek(SeekFrom::Start(offset))?;
                return Ok(files.split_off(at));
            }
            Tail::Has(fewer) => {
                files[at].seek(SeekFrom::Start(0))?;
                left -= fewer;
            }
        }
    }
    Ok(files)
}

enum Tail {
    /// Where the last lines begin.
    Starts(u64),
    /// The file has no more lines than that.
    Has(u64),
}

fn start_of_last(file: &mut File, lines: u64) -> io::Result<Tail> {
    let length = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(Tail::Starts(length));
    }
    let (mut end, mut found) = (length, 0);
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let size = end.min(BLOCK as u64);
        end -= size;
        file.seek(SeekFrom::Start(end))?;
        let part = &mut block[..usize::try_from(size).unwrap_or(BLOCK)];
        file.read_exact(part)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let at = end + index as u64;
            // The line end that closes the file begins no line.
            if at + 1 == length {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(Tail::Starts(at + 1));
            }
        }
    }
    // The first line begins with the file.
    found += u64::from(length > 0);
    Ok(if found == lines { Tail::Starts(0) } else { Tail::Has(found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(files: Vec<File>) -> String {
        let mut all = String::new();
        for mut file in files {
            file.read_to_string(&mut all).unwrap();
        }
        all
    }

    #[test]
    fn the_files_of_a_log_are_one_text() {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("0.log");
        assert!(open(&log).is_err());
        for (name, part) in
            [("0.log", "6\n7\n"), ("0.log.1", "5\n"), ("0.log.2", "3\n4\n"), ("0.log.10", "1\n2\n"), ("0.log.new", "x")]
        {
            std::fs::write(temp.path().join(name), part).unwrap();
        }
        std::fs::write(temp.path().join("10.log"), "another log").unwrap();
        assert_eq!(text(open(&log).unwrap()), "1\n2\n3\n4\n5\n6\n7\n");
        for (lines, expected) in
            [(0, ""), (1, "7\n"), (2, "6\n7\n"), (3, "5\n6\n7\n"), (4, "4\n5\n6\n7\n"), (9, "1\n2\n3\n4\n5\n6\n7\n")]
        {
            assert_eq!(text(tail(open(&log).unwrap(), lines).unwrap()), expected, "{lines}");
        }
        // Cut short between the second name and the new file.
        std::fs::remove_file(temp.path().join("0.log.1")).unwrap();
        std::fs::hard_link(&log, temp.path().join("0.log.1")).unwrap();
        assert_eq!(text(open(&log).unwrap()), "1\n2\n3\n4\n6\n7\n");
    }
}
