//! What `--from-file`, `--from-literal` and `--from-env-file` name, read into the draft.

use std::path::Path;

use super::draft::{Draft, Place, ROOM};
use super::env_file;
use crate::cli::error::CliError;
use crate::cli::printer;
use crate::port::{ErrorKind, PortError};
use crate::source::{Payload, read_payload};

/// The bytes of one file that was named.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, CliError> {
    match read_payload(path, ROOM).map_err(unreadable)? {
        Payload::File(bytes) => Ok(bytes),
        Payload::Directory(_) => Err(CliError::new(format!("{} is a directory", path.display())).hint("name a file")),
    }
}

/// Every `--from-file`, each of them one or several paths with commas between them.
pub(super) fn files(draft: &mut Draft, flags: &[String]) -> Result<(), CliError> {
    each_file(draft, &split(flags)?)
}

/// Every `[KEY=]PATH`.
pub(super) fn each_file(draft: &mut Draft, sources: &[String]) -> Result<(), CliError> {
    for source in sources {
        let (key, path) = file_source(source)?;
        match read_payload(path, draft.room).map_err(unreadable)? {
            Payload::File(bytes) => {
                let name = path.file_name().map(|name| name.to_string_lossy());
                let key = key.or(name.as_deref()).unwrap_or_default();
                draft.add(key, bytes, Place::File(path.to_owned()))?;
            }
            Payload::Directory(_) if key.is_some() => {
                let message = format!("{}: cannot give a key name for a directory path", path.display());
                return Err(CliError::new(message).hint("leave out KEY=: each file gets its name as key"));
            }
            Payload::Directory(files) => {
                for (name, bytes) in files {
                    draft.add(&name, bytes, Place::File(path.join(&name)))?;
                }
            }
        }
    }
    Ok(())
}

/// `PATH` or `KEY=PATH`.
fn file_source(source: &str) -> Result<(Option<&str>, &Path), CliError> {
    let wrong = |message: String| CliError::new(message).hint("write --from-file=PATH or --from-file=KEY=PATH");
    match source.split_once('=') {
        None if source.is_empty() => Err(wrong("a --from-file is empty".to_owned())),
        None => Ok((None, Path::new(source))),
        Some((_, path)) if path.contains('=') => {
            Err(wrong(format!("{source}: key names or file paths cannot contain '='")))
        }
        Some(("", path)) => Err(wrong(format!("key name for file path {path} missing"))),
        Some((key, "")) => Err(wrong(format!("file path for key name {key} missing"))),
        Some((key, path)) => Ok((Some(key), Path::new(path))),
    }
}

/// Every `--from-literal`.
pub(super) fn literals(draft: &mut Draft, flags: &[String]) -> Result<(), CliError> {
    for (index, literal) in flags.iter().enumerate() {
        let place = Place::Literal(index + 1);
        match literal.split_once('=') {
            Some((key, value)) if !key.is_empty() => draft.add(key, value.as_bytes().to_vec(), place)?,
            _ => {
                let shown = draft.told(literal);
                let message = format!("{place}: invalid literal source {shown}, expected key=value");
                return Err(CliError::new(message));
            }
        }
    }
    Ok(())
}

/// Every `--from-env-file`.
pub(super) fn env_files(draft: &mut Draft, flags: &[String]) -> Result<(), CliError> {
    for path in split(flags)? {
        let path = Path::new(&path);
        let bytes = file(path)?;
        let entries = env_file::entries(&bytes).map_err(|fault| {
            CliError::new(format!("{}:{}: {}", path.display(), fault.line, fault.message)).hint(fault.help)
        })?;
        for entry in entries {
            let place = Place::Line(path.to_owned(), entry.line);
            let value = match entry.value {
                Some(value) => value.as_bytes().to_vec(),
                None => from_environment(entry.key, &place),
            };
            draft.add(entry.key, value, place)?;
        }
    }
    Ok(())
}

/// kubectl takes a variable that is not set for an empty one; here it is said.
fn from_environment(key: &str, place: &Place) -> Vec<u8> {
    let value = std::env::var_os(key);
    if value.is_none() {
        printer::note(&format!("warning: {place}: {key} is not set in the environment, so its value is empty"));
    }
    value.unwrap_or_default().into_encoded_bytes()
}

fn unreadable(error: PortError) -> CliError {
    let help = match (error.kind, error.subject.as_str()) {
        _ if error.help.is_some() => None,
        (_, "-") => Some("standard input is /dev/stdin: --from-file=KEY=/dev/stdin"),
        (ErrorKind::NotFound, _) => Some("name a file or directory, as seen from the current directory"),
        (ErrorKind::Denied, _) => Some("let this user read it, or run as its owner"),
        _ => None,
    };
    match help {
        Some(help) => error.with_help(help).into(),
        None => error.into(),
    }
}

/// Flags of several values: commas between them, as in a line of CSV, where double quotes keep a comma together.
pub(super) fn split(flags: &[String]) -> Result<Vec<String>, CliError> {
    let mut fields = Vec::new();
    for flag in flags {
        let found = csv(flag).ok_or_else(|| {
            CliError::usage(format!("{flag}: a double quote stands in the middle of a path"))
                .hint("quote the whole path, and double each quote in it: '\"a \"\"b\"\".txt\"'")
        })?;
        fields.extend(found);
    }
    Ok(fields)
}

fn csv(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, after) = quoted_field(quoted)?;
                rest = after;
                field
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                rest = after;
                (!field.contains('"')).then(|| field.to_owned())?
            }
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// What stands up to the closing quote, and what follows it; two quotes stand for one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_and_quotes_keep_together() {
        let of = |line: &str| csv(line).map(|fields| fields.join("|"));
        for (line, expected) in [
            ("a", Some("a")),
            ("a,b", Some("a|b")),
            ("\"a,b\",c", Some("a,b|c")),
            ("\"a\"\"b\"", Some("a\"b")),
            ("", Some("")),
            ("a,", Some("a|")),
            ("a\"b", None),
            ("\"a\"b", None),
            ("\"a", None),
        ] {
            assert_eq!(of(line).as_deref(), expected, "{line}");
        }
    }
}
