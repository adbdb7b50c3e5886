//! What docker's configuration has for a registry: names and words in the file, or programs that know them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{Failure, Fault, glob};
use crate::image::stream::read_bounded;
use crate::model::Masked;
use crate::sys::effect;

const LARGEST: u64 = 1 << 20;
/// No more are tried with one registry.
pub(super) const LOGINS: usize = 16;
/// A helper that takes longer hangs, such as one that asks a person.
const PATIENCE: Duration = Duration::from_secs(15);
/// What one may answer.
const ANSWER: u64 = 64 << 10;
/// As whom docker.io is kept in docker's files, and asked for of its helpers.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";
/// The name that says that the word is a token to get others with.
const IDENTITY: &str = "<token>";
/// What a helper says that has nothing, in the words of docker's own helpers.
const NOTHING: &str = "credentials not found in native keychain";

/// Who we are to one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Basic {
        name: String,
        word: Masked<String>,
    },
    /// A token that gets other tokens.
    Identity(Masked<String>),
    /// A token as it is sent.
    Token(Masked<String>),
}

/// A file in the form of docker's config.json; what else is in it does not concern us.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Where credentials are looked up.
#[derive(Clone, Debug, Default)]
pub(in crate::image) struct Credentials {
    file: Option<PathBuf>,
    secrets: Vec<Masked<Vec<u8>>>,
}

impl Credentials {
    /// From `secrets`, the docker configurations of a pod, then from `file`, or without it from where docker has its own.
    pub(in crate::image) fn new(file: Option<PathBuf>, secrets: Vec<Masked<Vec<u8>>>) -> Self {
        Self { file, secrets }
    }

    /// Everything there is for a registry (host and port) and a repository of it, in the order in which it is to be tried: the
    /// kubelet's, which takes the Secrets of a pod together and goes on to the next login when one does not do.
    pub(super) async fn find(&self, registry: &str, repository: &str) -> Result<Vec<Login>, Failure> {
        let mut found = Vec::new();
        for secret in &self.secrets {
            let bad = |why: &str| Failure::new(Fault::Denied, format!("a pull Secret's entry for {registry} {why}"));
            let auths = auths_of(secret.reveal())
                .ok_or_else(|| Failure::new(Fault::Denied, "a pull Secret of the pod holds no docker configuration"))?;
            found.extend(matching(&auths, registry, repository).map_err(bad)?);
        }
        let mut logins = in_order(found);
        if let Some((path, config)) = self.read()? {
            let key = if registry == "docker.io" { DOCKER_KEY } else { registry };
            let own = config.cred_helpers.iter().find(|(name, _)| host_of(name) == registry).map(|(_, helper)| helper);
            if let Some(helper) = own.or(config.creds_store.as_ref().filter(|name| !name.is_empty())) {
                logins.extend(ask(helper, key).await?);
            }
            let bad =
                |why| Failure::new(Fault::Denied, format!("the entry for {registry} in {} {why}", path.display()));
            logins.extend(in_order(matching(&config.auths, registry, repository).map_err(bad)?));
        }
        let mut once: Vec<Login> = Vec::new();
        for login in logins {
            if !once.contains(&login) && once.len() < LOGINS {
                once.push(login);
            }
        }
        Ok(once)
    }

    fn read(&self) -> Result<Option<(PathBuf, DockerConfig)>, Failure> {
        let usual = || {
            let own = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
            own.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".docker"))).map(|d| d.join("config.json"))
        };
        let Some(path) = self.file.clone().or_else(usual) else { return Ok(None) };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.file.is_none() => return Ok(None),
            Err(e) => return Err(Failure::local(format!("the credentials in {}", path.display()), &e)),
        };
        let bad = |why: String| Failure::new(Fault::Denied, format!("the credentials in {}: {why}", path.display()));
        let bytes = read_bounded(file, LARGEST, "the file").map_err(|e| bad(e.to_string()))?;
        // The place of an error is told and not its text, which may be a word of the file.
        let wrong = |e: serde_json::Error| {
            bad(format!("it is no docker configuration at line {} column {}", e.line(), e.column()))
        };
        let config = serde_json::from_slice(&bytes).map_err(wrong)?;
        Ok(Some((path, config)))
    }
}

/// The entries of a Secret, of the form of today or of the old one, which is nothing but entries. Helpers that one names are
/// not run: Secrets bring no programs.
fn auths_of(bytes: &[u8]) -> Option<BTreeMap<String, Entry>> {
    #[derive(Deserialize)]
    struct Today {
        auths: BTreeMap<String, Entry>,
    }
    let today = serde_json::from_slice::<Today>(bytes).map(|today| today.auths);
    today.or_else(|_| serde_json::from_slice(bytes)).ok()
}

/// The registry that a key of `auths` means: docker's own keys are addresses.
fn host_of(key: &str) -> &str {
    let (host, path) = split(key);
    if path.is_empty() { host } else { "" }
}

/// Host and repository of a key. The versions of the protocol in docker's old keys are no repository.
fn split(key: &str) -> (&str, &str) {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    let path = path.trim_end_matches('/');
    (host, if matches!(path, "v1" | "v2") { "" } else { path })
}

/// What the entries that are about a repository say, each with its key. Keys may have a path, as the kubelet and podman write
/// them, and patterns in the labels of their host.
fn matching(
    auths: &BTreeMap<String, Entry>,
    registry: &str,
    repository: &str,
) -> Result<Vec<(String, Login)>, &'static str> {
    let mut found = Vec::new();
    for (key, entry) in auths {
        let (host, path) = split(key);
        let below = repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if (path.is_empty() || below) && is_host(host, registry) {
            found.extend(login(entry)?.map(|login| (format!("{host}/{path}"), login)));
        }
    }
    Ok(found)
}

/// The kubelet's order: the keys backwards, so that a longer path comes before a shorter one, and a name before a pattern.
/// Of equal keys the one that came first.
fn in_order(mut found: Vec<(String, Login)>) -> Vec<Login> {
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.into_iter().map(|(_, login)| login).collect()
}

/// Whether a host and port are what a key means by them: label by label, as the kubelet compares them (URLsMatch of its
/// credentialprovider).
fn is_host(pattern: &str, registry: &str) -> bool {
    let port =
        |text: &str| text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or("", |p| p.1).to_owned();
    let labels = |text: &'_ str| text.strip_suffix(&format!(":{}", port(text))).unwrap_or(text).to_owned();
    let (wanted, given) = (labels(pattern), labels(registry));
    let same_ports = port(pattern) == port(registry) && wanted.split('.').count() == given.split('.').count();
    let mut labels = wanted.split('.').zip(given.split('.'));
    pattern == registry || same_ports && labels.all(|(pattern, label)| glob::matches(pattern, label))
}

/// What an entry says; `None` when it says nothing, as beside a helper.
fn login(entry: &Entry) -> Result<Option<Login>, &'static str> {
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login::Identity(Masked::new(entry.identitytoken.clone()))));
    }
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Login::Token(Masked::new(entry.registrytoken.clone()))));
    }
    if !entry.username.is_empty() {
        let word = Masked::new(entry.password.clone());
        return Ok(Some(Login::Basic { name: entry.username.clone(), word }));
    }
    if entry.auth.is_empty() {
        return Ok(None);
    }
    let decoded = STANDARD.decode(entry.auth.trim()).map_err(|_| "has an `auth` that is no base64")?;
    let text = String::from_utf8(decoded).map_err(|_| "has an `auth` that is no text")?;
    let (name, word) = text.split_once(':').ok_or("has an `auth` without a colon between name and password")?;
    // Docker pads the words of old files with zeros.
    Ok(Some(Login::Basic { name: name.to_owned(), word: Masked::new(word.trim_end_matches('\0').to_owned()) }))
}

/// Asks `docker-credential-NAME`.
async fn ask(name: &str, key: &str) -> Result<Option<Login>, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        let message = "docker's configuration names a credential helper that is no name of a program";
        return Err(Failure::new(Fault::Denied, message));
    }
    let program = format!("docker-credential-{name}");
    let failed = |why: String| Failure::new(Fault::Denied, format!("the credential helper {program} {why}"));
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // It may say anything there.
    command.stderr(Stdio::null());
    let mut child = effect::spawn_async(&mut command).map_err(|e| failed(format!("cannot be run: {e}")))?;
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let work = async {
        if let Some(stdin) = &mut stdin {
            // One that ends early closes its input; its status tells.
            let _ = stdin.write_all(format!("{key}\n").as_bytes()).await;
        }
        drop(stdin);
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(ANSWER).read_to_end(&mut said).await?;
        }
        Ok::<_, io::Error>((child.wait().await?, said))
    };
    let (status, said) = match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|e| failed(format!("cannot be used: {e}")))?,
        Err(_) => return Err(failed(format!("gave no answer within {} s", PATIENCE.as_secs()))),
    };
    if !status.success() {
        let nothing = String::from_utf8_lossy(&said).contains(NOTHING);
        return if nothing { Ok(None) } else { Err(failed(format!("failed ({status})"))) };
    }
    let answer: Answer = serde_json::from_slice(&said).map_err(|_| failed("gave an answer that is none".to_owned()))?;
    let word = Masked::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        IDENTITY => Login::Identity(word),
        _ => Login::Basic { name: answer.username, word },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn find(config: &str, registry: &str, repository: &str) -> Result<Vec<Login>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        Credentials::new(Some(path), Vec::new()).find(registry, repository).await
    }

    fn basic(name: &str, word: &str) -> Login {
        Login::Basic { name: name.into(), word: Masked::new(word.into()) }
    }

    /// The names of basic logins.
    fn names(logins: &[Login]) -> Vec<&str> {
        fn name(login: &Login) -> &str {
            match login {
                Login::Basic { name, .. } => name,
                other => panic!("{other:?}"),
            }
        }
        logins.iter().map(name).collect()
    }

    #[tokio::test]
    async fn entries_are_found_by_host_and_path_the_longest_first() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOndvcmQ6d2l0aDpjb2xvbnM="},
            "https://registry.example:5000": {"username": "u", "password": "p"},
            "registry.example:5000/team": {"auth": "dGVhbTp4AAA="},
            "registry.example:5000/team/app": {"identitytoken": "id"},
            "token.example": {"registrytoken": "t"},
            "empty.example": {}}, "HttpHeaders": {"x": "y"}}"#;
        let (user, team) = (|| basic("u", "p"), || basic("team", "x"));
        for (registry, repository, expected) in [
            ("docker.io", "library/nginx", vec![basic("hub", "word:with:colons")]),
            ("registry.example:5000", "other", vec![user()]),
            ("registry.example:5000", "teamwork", vec![user()]),
            ("registry.example:5000", "team/web", vec![team(), user()]),
            ("registry.example:5000", "team/app", vec![Login::Identity(Masked::new("id".into())), team(), user()]),
            ("registry.example", "team", Vec::new()),
            ("token.example", "x", vec![Login::Token(Masked::new("t".into()))]),
            ("empty.example", "x", Vec::new()),
            ("5000", "x", Vec::new()),
        ] {
            assert_eq!(find(config, registry, repository).await.unwrap(), expected, "{registry}/{repository}");
        }
    }

    /// The rows of the kubelet's TestURLsMatch, as far as hosts go.
    #[test]
    fn patterns_of_hosts_are_compared_label_by_label() {
        for (pattern, host, expected) in [
            ("*.kubernetes.io", "prefix.kubernetes.io", true),
            ("prefix.*.io", "prefix.kubernetes.io", true),
            ("prefix.kubernetes.*", "prefix.kubernetes.io", true),
            ("*-good.kubernetes.io", "prefix-good.kubernetes.io", true),
            ("*-good.kubernetes.io", "prefix.kubernetes.io", false),
            ("*.kubernetes.io", "kubernetes.io", false),
            ("*.*.kubernetes.io", "prefix.kubernetes.io", false),
            ("*kubernetes.io", "a.kubernetes.io", false),
            ("*.kubernetes.io:8888", "prefix.kubernetes.io:8888", true),
            ("*.kubernetes.io:1111", "prefix.kubernetes.io:8888", false),
            ("*.kubernetes.io", "prefix.kubernetes.io:8888", false),
            ("[::1]:5000", "[::1]:5000", true),
            ("*", "localhost", true),
            ("*", "r.example", false),
        ] {
            assert_eq!(is_host(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[tokio::test]
    async fn a_name_comes_before_a_pattern_and_no_more_are_tried_than_the_bound() {
        let entry = |key: &str, name: &str| format!(r#""{key}": {{"username": "{name}", "password": "p"}}"#);
        let all = [entry("*.example", "any"), entry("r.*", "top"), entry("https://r.example/v2/", "own")].join(",");
        let found = find(&format!(r#"{{"auths": {{{all}}}}}"#), "r.example", "x").await.unwrap();
        assert_eq!(names(&found), ["own", "top", "any"]);
        let many: Vec<String> =
            (0..40).map(|n| entry(&format!("r.example/{}", "a/".repeat(n)), &n.to_string())).collect();
        let config = format!(r#"{{"auths": {{{}}}}}"#, many.join(","));
        assert_eq!(find(&config, "r.example", &"a/".repeat(40)).await.unwrap().len(), LOGINS);
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_file_is_told_without_what_it_holds() {
        for (config, message) in [
            (r#"{"auths": {"r.example": {"auth": "not base64, secret"}}}"#, "no base64"),
            (r#"{"auths": {"r.example": {"auth": "c2VjcmV0"}}}"#, "without a colon"),
            (r#"{"auths": {"r.example": {"auth": ["secret"]}}}"#, "no docker configuration at line 1 column"),
            (r#"{"auths": "secret"}"#, "no docker configuration"),
            (r#"{"credsStore": "../../secret"}"#, "no name of a program"),
            (r#"{"credHelpers": {"r.example": "absent-secret"}}"#, "docker-credential-absent-secret cannot be run"),
        ] {
            let failure = find(config, "r.example", "x").await.unwrap_err();
            assert_eq!(failure.fault, Fault::Denied, "{config}");
            assert!(failure.message.contains(message), "{config}: {failure}");
            let secret = !message.contains("absent") && failure.message.contains("secret");
            assert!(!secret, "{config}: {failure}");
        }
        let missing = Credentials::new(Some("/nonexistent/config.json".into()), Vec::new());
        assert!(missing.find("r.example", "x").await.is_err(), "a file that was named has to be there");
    }

    #[tokio::test]
    async fn the_secrets_of_a_pod_come_first_and_run_no_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, r#"{"auths": {"r.example": {"username": "file", "password": "p"}}}"#).unwrap();
        let find = async |secrets: &[&str]| {
            let secrets = secrets.iter().map(|s| Masked::new(s.as_bytes().to_vec())).collect();
            Credentials::new(Some(path.clone()), secrets).find("r.example", "x").await
        };
        let other = r#"{"auths": {"other.example": {"username": "other", "password": "p"}}}"#;
        let today = r#"{"auths": {"r.example": {"username": "today", "password": "p"}}, "credsStore": "none"}"#;
        let old = r#"{"https://r.example": {"username": "old", "password": "p"}}"#;
        let path = r#"{"auths": {"r.example/x": {"username": "path", "password": "p"}}}"#;
        for (secrets, expected) in [
            (&[][..], &["file"][..]),
            (&[other], &["file"]),
            (&[other, today], &["today", "file"]),
            (&[old, today], &["old", "today", "file"]),
            (&[old, today, path], &["path", "old", "today", "file"]),
            (&[today, today], &["today", "file"]),
            (&["{}"], &["file"]),
        ] {
            assert_eq!(names(&find(secrets).await.unwrap()), expected, "{secrets:?}");
        }
        let failure = find(&["hidden"]).await.unwrap_err();
        assert!(failure.message.contains("no docker configuration") && !failure.message.contains("hidden"));
    }
}
