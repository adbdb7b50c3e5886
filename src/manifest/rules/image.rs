//! Rules for image references: the grammar of the distribution project, in the words of what goes wrong.

use super::{Subject, View};
use crate::manifest::problem::{Finding, quoted};

/// This machine's own root file system, of which there is one.
const HOST_IMAGE: &str = "podwright.invalid/host";

pub(super) fn reference(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let Some(image) = container.get("image").filter(|image| image.text() != Some("")) else {
            out.push(container.missing("image"));
            continue;
        };
        let Some(text) = image.text() else { continue };
        match wrong(text) {
            Some((what, help)) => {
                out.push(image.error("image", format!("the image {} {what}", quoted(text))).help(help));
            }
            None => floats(&image, text, out),
        }
    }
}

/// What is wrong with a reference, and the way out.
fn wrong(text: &str) -> Option<(&'static str, &'static str)> {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let (registry, path, tag) = parts(rest);
    if text.chars().any(char::is_whitespace) {
        Some(("holds blanks", "remove them"))
    } else if text.contains("://") {
        Some(("is a URL", "write it as `docker pull` takes it, without a scheme"))
    } else if path.chars().any(|c| c.is_ascii_uppercase()) {
        Some(("holds capital letters in its name", "image names are lower case; tags may not be"))
    } else if digest.is_some_and(|digest| !is_digest(digest)) {
        Some(("has no digest behind its `@`", "write sha256: and 64 hexadecimal digits there"))
    } else if tag.is_some_and(|tag| !is_tag(tag)) {
        Some(("has no tag behind its last `:`", "a tag is letters, digits, `_`, `.` and `-`, at most 128 of them"))
    } else if !path.split('/').all(is_component) || registry.is_some_and(|registry| !is_registry(registry)) {
        Some(("has no name that an image can have", "write it as [REGISTRY/]NAME[:TAG][@sha256:DIGEST]"))
    } else {
        None
    }
}

/// Registry, path and tag of a reference without its digest.
fn parts(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (registry, rest) = match text.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
        _ => (None, text),
    };
    let last = rest.rfind('/').map_or(0, |at| at + 1);
    match rest[last..].find(':') {
        Some(colon) => (registry, &rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (registry, rest, None),
    }
}

fn is_digest(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.chars().all(hex))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len()) && text.starts_with(word) && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// Lower case letters and digits, joined by one dot, one or two underscores, or hyphens.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| plain(c) || matches!(c, '.' | '_' | '-');
    let joint = |text: &str| matches!(text, "" | "." | "_" | "__") || text.chars().all(|c| c == '-');
    text.starts_with(plain) && text.ends_with(plain) && text.chars().all(inner) && text.split(plain).all(joint)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let end = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(end) && label.ends_with(end) && label.chars().all(|c| end(c) || c == '-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// A reference that says neither tag nor digest.
fn floats(image: &View<'_>, text: &str, out: &mut Vec<Finding>) {
    let (_, _, tag) = parts(text);
    if tag.is_none() && !text.contains('@') && text != HOST_IMAGE {
        let message = format!("the image {} has no tag: it is `latest`, whatever that is by then", quoted(text));
        let help = "write a tag or a digest, so that what runs changes with a commit and not without one";
        out.push(Finding::warning("image-tag", &image.pointer, message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_what_only_looks_like_one() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let good = [
            "nginx",
            "nginx:1.29-alpine",
            "team/a__b/c.d-e",
            "localhost/x:_1",
            "localhost:5000/x",
            "Registry.example:5000/a/b:V1",
            &format!("nginx@{digest}"),
            &format!("example.com/nginx:1@{digest}"),
        ];
        for text in good {
            assert_eq!(wrong(text), None, "{text}");
        }
        let bad = [
            "nginx:",
            "nginx:a b",
            ":1",
            "/nginx",
            "nginx/",
            "a//b",
            "a/./b",
            "-a",
            "a___b",
            "a..b",
            "nginx:1\u{9b}",
            "ng\u{1b}inx",
            "é",
            "Nginx",
            "http://x",
            "nginx@sha256:00",
            "nginx@md5:00",
            "nginx:1:2",
            "-x.y/nginx",
            "x.y:99999/nginx",
            &format!("nginx:{}", "a".repeat(129)),
        ];
        for text in bad {
            assert!(wrong(text).is_some(), "{text}");
        }
    }
}
