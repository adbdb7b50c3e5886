//! What libcontainer says of its errors. What it returns is often no more than "failed to prepare rootfs"; the cause goes
//! to its log. Its first error, from whichever of its processes, is the one that the others follow from.

use std::fmt::{Debug, Write};
use std::os::fd::OwnedFd;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes each error as a line into a pipe.
struct Errors {
    pipe: OwnedFd,
}

/// `message (field: value, ...)`
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let separator = if self.fields.is_empty() { "" } else { ", " };
            let _ = write!(self.fields, "{separator}{}: {value:?}", field.name());
        }
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let fields = if line.fields.is_empty() { String::new() } else { format!(" ({})", line.fields) };
        let text = format!("{}{fields}\n", line.message.replace('\n', " "));
        // A full pipe has the first errors, which are the ones that matter: it must not block.
        let _ = rustix::io::write(&self.pipe, text.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Sends the errors of this process, and of those it forks, into `pipe`, which does not block.
pub(super) fn errors_to(pipe: OwnedFd) {
    let _ = tracing::subscriber::set_global_default(Errors { pipe });
}

/// The first error of those written, put for a person.
pub(super) fn cause(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let first = lines.next()?;
    let Some(mount) = first.strip_prefix("failed to mount Mount { ") else { return Some(first.to_owned()) };
    // The whole mount as Rust shows it; where it goes and what comes from where is enough.
    let quoted = |after: &str| mount.split_once(after)?.1.split('"').next().map(str::to_owned);
    let destination = quoted("destination: \"").unwrap_or_default();
    let source = quoted("source: Some(\"").unwrap_or_default();
    let reason = mount.rsplit_once(" }: ").map_or("", |(_, reason)| reason);
    // The error number is in the next one.
    let errno = lines
        .next()
        .and_then(|l| l.split(|c: char| !c.is_ascii_uppercase()).find(|w| w.len() > 3 && w.starts_with('E')));
    let reason = errno.map_or_else(|| reason.to_owned(), |errno| format!("{reason}: {errno}"));
    Some(format!("mounting {source} at {destination}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_put_for_a_person() {
        let mount = "failed to mount Mount { destination: \"/data\", typ: Some(\"nosuchfs\"), source: Some(\"x\"), options: Some([]) }: syscall\n\
            failed to prepare rootfs (err: Mount(Syscall(Nix(ENODEV))))\n";
        assert_eq!(cause(mount).as_deref(), Some("mounting x at /data: syscall: ENODEV"));
        let other = "failed to chdir (e: ENOTDIR)\nfailed to initialize container process: failed to unix syscall\n";
        assert_eq!(cause(other).as_deref(), Some("failed to chdir (e: ENOTDIR)"));
        assert_eq!(cause(""), None);
    }
}
