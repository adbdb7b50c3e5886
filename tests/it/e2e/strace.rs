//! What processes ask of the kernel, as `strace` tells it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that changes files.
const TRACED: &str = "trace=open,openat,openat2,write,pwrite64,writev,lseek,ftruncate,fallocate,sendfile,\
                      copy_file_range,fsync,fdatasync,syncfs,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,\
                      rmdir,symlinkat,linkat,fchmod,fchmodat";

/// The words of a `strace` that follows a program and whatever it starts, and writes the calls that change files, with so
/// many of the bytes that are written.
pub fn words(log: &Path, bytes: usize) -> Vec<String> {
    let bytes = bytes.to_string();
    let words = ["strace", "-f", "-y", "-qq", "-s", &bytes, "-e", "signal=none", "-e", TRACED, "-o"];
    words.iter().map(|word| (*word).to_owned()).chain([log.to_str().unwrap().to_owned()]).collect()
}

/// The same as a command.
pub fn strace(log: &Path, bytes: usize) -> Command {
    let words = words(log, bytes);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A call that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub thread: u32,
    pub name: String,
    pub arguments: Vec<String>,
    pub result: String,
}

/// The calls that succeeded, in the order in which they ended.
pub fn asked(log: &str) -> Vec<Asked> {
    let mut begun: BTreeMap<u32, String> = BTreeMap::new();
    let mut out = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.trim().split_once(char::is_whitespace) else { continue };
        let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else { continue };
        if let Some(part) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, part.to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => begun.remove(&thread).unwrap_or_default() + end,
            None => rest.to_owned(),
        };
        let Some((called, result)) = whole.rsplit_once(" = ") else { continue };
        let Some((name, arguments)) = called.trim_end().strip_suffix(')').and_then(|call| call.split_once('(')) else {
            continue;
        };
        if !result.starts_with('-') {
            let (name, result) = (name.to_owned(), result.to_owned());
            out.push(Asked { thread, name, arguments: split(arguments), result });
        }
    }
    out
}

/// The arguments of a call. What is in quotation marks is in one of them, whatever it is.
fn split(arguments: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in arguments.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                out.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
        out.last_mut().unwrap().push(c);
    }
    out.iter().map(|argument| argument.trim_start().to_owned()).collect()
}

/// The path that strace gives with a descriptor: `7</path>`.
pub fn open_path(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    Some(path.rsplit_once('>')?.0.into()).filter(|path: &PathBuf| path.is_absolute())
}

/// What a name means below a directory that is open.
pub fn below(dir: &str, name: &str) -> Option<PathBuf> {
    let name = name.trim_matches('"');
    if name.starts_with('/') { Some(name.into()) } else { Some(open_path(dir)?.join(name)) }
}

/// The bytes of an argument in quotation marks, as strace writes them; `None` if it has left some out.
pub fn bytes(argument: &str) -> Option<Vec<u8>> {
    let text = argument.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let letter = *text.get(at)?;
        at += 1;
        out.push(match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'0'..=b'7' => {
                let mut number = u32::from(letter - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = text.get(at) else { break };
                    number = number * 8 + u32::from(digit - b'0');
                    at += 1;
                }
                u8::try_from(number).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

#[test]
fn calls_are_told_with_their_arguments() {
    let log = "7 write(5</r/a>, \"a, \\\"b\\0012\\n\\\\\", 8 <unfinished ...>\n8 rmdir(\"/r/x\") = -1 ENOENT (none)\n\
               7 <... write resumed>) = 8\n";
    let [asked] = &asked(log)[..] else { panic!() };
    assert_eq!((asked.thread, asked.name.as_str(), asked.result.as_str()), (7, "write", "8"));
    assert_eq!(bytes(&asked.arguments[1]).unwrap(), b"a, \"b\x012\n\\");
    assert_eq!(open_path(&asked.arguments[0]), Some("/r/a".into()));
    assert_eq!(bytes("\"abc\"..."), None);
}
