//! Image references as people write them and as the store keys them.

use std::fmt;

use crate::port::{ErrorKind, PortError};

/// The name of the image that is the machine's own root file system. `.invalid` is reserved: no registry can have it.
pub const HOST_IMAGE: &str = "podwright.invalid/host";

/// The registry of names without one.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The longest repository name, from the distribution project's grammar of references.
const MAX_NAME: usize = 255;
/// The longest tag, from the same grammar.
const MAX_TAG: usize = 128;

/// A normalised reference: domain, path, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads a reference as a pod spells it: `nginx`, `localhost/x:1`, `registry.example:5000/a/b@sha256:...`.
    ///
    /// # Errors
    /// `Invalid` with the waiting reason `InvalidImageName`.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let bad = |message: String| {
            PortError::new(ErrorKind::Invalid, "read image reference", format!("{text:?}"), message)
                .with_help("write it as [REGISTRY/]NAME[:TAG][@sha256:DIGEST], in lower case")
                .waiting("InvalidImageName")
        };
        if text.is_empty() {
            return Err(bad("the reference is empty".to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        if let Some(digest) = &digest {
            check_digest(digest).map_err(bad)?;
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if let Some(tag) = &tag {
            check_tag(tag).map_err(bad)?;
        }
        let (domain, path) = split_domain(name);
        check_domain(domain).map_err(bad)?;
        check_path(path).map_err(bad)?;
        if domain.len() + path.len() >= MAX_NAME {
            return Err(bad(format!("the name is longer than {MAX_NAME} characters")));
        }
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        let path =
            if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { domain: domain.to_owned(), path, tag, digest })
    }

    /// `docker.io/library/nginx`: without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The digest, if the reference pins one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The tag, if there is one; `latest` when neither tag nor digest were given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Whether it means the machine's own root file system.
    pub fn is_host(&self) -> bool {
        self.repository() == HOST_IMAGE
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a registry when it could be a host name and not a path: a dot, a port, `localhost`, or an
/// upper-case letter.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn check_domain(domain: &str) -> Result<(), String> {
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if !host.split('.').all(label) {
        return Err(format!("{host:?} is no registry host name"));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => Err(format!("{port:?} is no port number")),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    for component in path.split('/') {
        check_component(component)?;
    }
    let hex = path.len() == 64 && path.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex {
        return Err("64 hexadecimal digits are an image id, not a name".to_owned());
    }
    Ok(())
}

/// Lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn check_component(component: &str) -> Result<(), String> {
    if component.is_empty() {
        return Err("a component of the name is empty".to_owned());
    }
    if component.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("{component:?} has upper-case letters"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(c) = component.chars().find(|c| !plain(*c) && !matches!(c, '.' | '_' | '-')) {
        return Err(format!("{component:?} has the character {c:?}"));
    }
    let separators = component.split(plain);
    let fine = |s: &str| s.is_empty() || matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-');
    if !component.starts_with(plain) || !component.ends_with(plain) || !separators.into_iter().all(fine) {
        return Err(format!("{component:?} must start and end with a letter or digit, with single separators between"));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fine = tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if !fine || tag.len() > MAX_TAG {
        return Err(format!("{tag:?} is no tag: up to {MAX_TAG} letters, digits, '_', '.' and '-'"));
    }
    Ok(())
}

fn check_digest(digest: &str) -> Result<(), String> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if is_sha256_hex(hex) => Ok(()),
        Some(_) => Err("the digest is not 64 lower-case hexadecimal digits".to_owned()),
        None => Err("the digest does not start with sha256:".to_owned()),
    }
}

/// Whether this is a sha256 in hexadecimal.
pub(super) fn is_sha256_hex(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn short_names_become_full_ones() {
        for (given, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/library/nginx:latest", "docker.io/library/nginx:latest"),
            ("geektime/sample:v2", "docker.io/geektime/sample:v2"),
            ("k8s.gcr.io/busybox", "k8s.gcr.io/busybox:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("a.b-c.example:5000/p/q_r__s---t:T.1-x_", "a.b-c.example:5000/p/q_r__s---t:T.1-x_"),
            ("podwright.invalid/host", "podwright.invalid/host:latest"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), full, "{given}");
        }
    }

    #[test]
    fn a_digest_keeps_the_tag_away_unless_both_are_given() {
        let pinned = Reference::parse(&format!("nginx@{DIGEST}")).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/nginx@{DIGEST}"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(DIGEST)));
        let both = Reference::parse(&format!("nginx:1@{DIGEST}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/nginx:1@{DIGEST}"));
    }

    #[test]
    fn bad_references_are_invalid_image_names() {
        let long = "a".repeat(300);
        let long_tag = format!("nginx:{}", "t".repeat(129));
        let id = "0".repeat(64);
        for bad in [
            "",
            " ",
            "Nginx",
            "nginx:",
            "nginx:a b",
            "nginx:-x",
            "nginx@sha256:12",
            "nginx@md5:1",
            "nginx@",
            "/nginx",
            "nginx/",
            "a//b",
            "a/../b",
            "..",
            "a..b",
            "a___b",
            "-a",
            "a-",
            ".a",
            "http://nginx",
            "nginx:1:2",
            "a.b:port/x",
            "nginx\n",
            "ü",
            &long,
            &long_tag,
            &id,
        ] {
            let error = Reference::parse(bad).unwrap_err();
            assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Invalid, Some("InvalidImageName")), "{bad:?}");
        }
    }

    #[test]
    fn only_the_reserved_name_is_the_host() {
        assert!(Reference::parse("podwright.invalid/host").unwrap().is_host());
        assert!(Reference::parse("podwright.invalid/host:any").unwrap().is_host());
        assert!(!Reference::parse("podwright.invalid/host2").unwrap().is_host());
        assert!(!Reference::parse("host").unwrap().is_host());
    }
}
