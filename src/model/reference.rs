//! Image references as people write them and as the store keys them: the grammar of the distribution project (its
//! `reference` package), read in one place for the rules of manifests and for the image store.

use std::fmt;
use std::net::Ipv6Addr;

/// The name of the image that is the machine's own root file system. `.invalid` is reserved: no registry can have it.
pub const HOST_IMAGE: &str = "podwright.invalid/host";

/// The registry of names without one.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The longest repository name, registry included, from the distribution project's grammar of references.
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

/// Why a text is no image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReference {
    /// The sentence after `the image x`.
    pub what: &'static str,
    /// The way out.
    pub help: &'static str,
}

const BLANKS: NoReference = NoReference { what: "holds blanks", help: "remove them" };
const URL: NoReference = NoReference { what: "is a URL", help: "write it as `docker pull` takes it, without a scheme" };
const CAPITALS: NoReference =
    NoReference { what: "holds capital letters in its name", help: "image names are lower case; tags may not be" };
const DIGEST: NoReference =
    NoReference { what: "has no digest behind its `@`", help: "write sha256: and 64 hexadecimal digits there" };
const OTHER_DIGEST: NoReference = NoReference {
    what: "has another digest than a sha256, by which images are kept here",
    help: "write sha256: and 64 hexadecimal digits behind the `@`",
};
const TAG: NoReference = NoReference {
    what: "has no tag behind its last `:`",
    help: "a tag is letters, digits, `_`, `.` and `-`, at most 128 of them",
};
const NAME: NoReference = NoReference {
    what: "has no name that an image can have",
    help: "write it as [REGISTRY/]NAME[:TAG][@sha256:DIGEST]",
};
const LONG: NoReference = NoReference { what: "has a name of more than 255 characters", help: "choose a shorter one" };
const ID: NoReference = NoReference {
    what: "is the id of an image and not its name",
    help: "write the name, and the id's digits behind `@sha256:` where they are its digest",
};

impl Reference {
    /// Reads a reference as a pod spells it: `nginx`, `localhost/x:1`, `registry.example:5000/a/b@sha256:...`.
    ///
    /// # Errors
    /// What it is instead, and the way out.
    pub fn parse(text: &str) -> Result<Self, NoReference> {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (domain, rest) = split_domain(rest);
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        check(text, domain, path)?;
        if let Some(digest) = digest {
            check_digest(digest)?;
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(TAG);
        }
        let domain = match domain {
            None | Some("index.docker.io") => DEFAULT_DOMAIN,
            Some(domain) => domain,
        };
        let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if domain.len() + path.len() >= MAX_NAME {
            return Err(LONG);
        }
        let latest = || digest.is_none().then(|| "latest".to_owned());
        let tag = tag.map(str::to_owned).or_else(latest);
        Ok(Self { domain: domain.to_owned(), path, tag, digest: digest.map(str::to_owned) })
    }

    /// `docker.io/library/nginx`: without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The registry: host and port as in the reference, or `docker.io`.
    pub fn registry(&self) -> &str {
        &self.domain
    }

    /// The name within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
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
fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

/// What is wrong with the name of a reference, the plainest first.
fn check(text: &str, domain: Option<&str>, path: &str) -> Result<(), NoReference> {
    if text.chars().any(char::is_whitespace) {
        Err(BLANKS)
    } else if text.contains("://") {
        Err(URL)
    } else if path.chars().any(|c| c.is_ascii_uppercase()) {
        Err(CAPITALS)
    } else if !path.split('/').all(is_component) || domain.is_some_and(|domain| !is_domain(domain)) {
        Err(NAME)
    } else if is_sha256_hex(path) && domain.is_none() {
        Err(ID)
    } else {
        Ok(())
    }
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        let end = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(end) && label.ends_with(end) && label.chars().all(|c| end(c) || c == '-')
    };
    let (is_host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
        None => {
            let (host, port) = domain.split_at(domain.find(':').unwrap_or(domain.len()));
            (host.split('.').all(label), port)
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| plain(c) || matches!(c, '.' | '_' | '-');
    let joint = |text: &str| matches!(text, "" | "." | "_" | "__") || text.chars().all(|c| c == '-');
    component.starts_with(plain)
        && component.ends_with(plain)
        && component.chars().all(inner)
        && component.split(plain).all(joint)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=MAX_TAG).contains(&tag.len())
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn check_digest(digest: &str) -> Result<(), NoReference> {
    let hex = |text: &str, length| text.len() == length && text.bytes().all(is_hex);
    match digest.split_once(':') {
        Some(("sha256", text)) if hex(text, 64) => Ok(()),
        Some(("sha384", text)) if hex(text, 96) => Err(OTHER_DIGEST),
        Some(("sha512", text)) if hex(text, 128) => Err(OTHER_DIGEST),
        _ => Err(DIGEST),
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Whether this is a sha256 in hexadecimal.
pub fn is_sha256_hex(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

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
            ("localhost/x:_1", "localhost/x:_1"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("[2001:db8::1]/x", "[2001:db8::1]/x:latest"),
            ("Registry.example:5000/a/b:V1", "Registry.example:5000/a/b:V1"),
            ("Registry/a", "Registry/a:latest"),
            ("a.b-c.example:5000/p/q_r__s---t:T.1-x_", "a.b-c.example:5000/p/q_r__s---t:T.1-x_"),
            ("podwright.invalid/host", "podwright.invalid/host:latest"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), full, "{given}");
        }
    }

    #[test]
    fn a_digest_keeps_the_tag_away_unless_both_are_given() {
        let pinned = Reference::parse(&format!("nginx@{PIN}")).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/nginx@{PIN}"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(PIN)));
        let both = Reference::parse(&format!("nginx:1@{PIN}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/nginx:1@{PIN}"));
    }

    #[test]
    fn what_is_no_reference_is_told_for_what_it_is() {
        let long = "a".repeat(300);
        let long_tag = format!("nginx:{}", "t".repeat(129));
        let id = "0".repeat(64);
        let sha512 = format!("nginx@sha512:{}", "a".repeat(128));
        let short = format!("nginx@sha512:{}", "a".repeat(64));
        let rows: [(NoReference, &[&str]); 9] = [
            (BLANKS, &[" ", "nginx:a b", "nginx\n"]),
            (URL, &["http://nginx", "docker://x"]),
            (CAPITALS, &["Nginx", "x.y/Team/nginx"]),
            (DIGEST, &["nginx@sha256:12", "nginx@md5:1", "nginx@", &short]),
            (OTHER_DIGEST, &[&sha512]),
            (TAG, &["nginx:", "nginx:-x", "nginx:1:2", "nginx:1\u{9b}", &long_tag]),
            (
                NAME,
                &[
                    "",
                    ":1",
                    "/nginx",
                    "nginx/",
                    "a//b",
                    "a/../b",
                    "a/./b",
                    "..",
                    "a..b",
                    "a___b",
                    "-a",
                    "a-",
                    ".a",
                    "ü",
                    "ng\u{1b}inx",
                    "a.b:port/x",
                    "x.y:99999/nginx",
                    "-x.y/nginx",
                    "x.y:/nginx",
                    "[::1/x",
                    "[1.2.3.4]/x",
                    "[::1]x/y",
                    "[::1]:x/y",
                ],
            ),
            (LONG, &[&long]),
            (ID, &[&id]),
        ];
        for (wrong, texts) in rows {
            for text in texts {
                assert_eq!(Reference::parse(text), Err(wrong), "{text:?}");
            }
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
