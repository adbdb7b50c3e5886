//! The keys of a root: tokens are signed with one of them, and the certificate in `kube-root-ca.crt` is that of the other.
//!
//! | place | what |
//! |---|---|
//! | `pki/sa.key` | signs tokens: PKCS #8, as kubeadm has it in the file of this name |
//! | `pki/ca.key`, `pki/ca.crt` | for the API that will honour them: containers are given the certificate already |
//!
//! Tokens are signed with ECDSA on P-256 (`ES256`), one of the two ways that Kubernetes signs them: a key is made in no time and a
//! signature in a tenth of a millisecond, where RSA takes a thousand times and ten times as long on a small machine. The rest of
//! a JSON Web Token is base64 with dots between it.
//!
//! Each file is written once, mode 0600, and is on the disk before anything is signed with it. Whoever has `sa.key` can be every
//! pod: it is shown to no container, for the root is covered in the host image.

mod certificate;

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use sha2::{Digest, Sha256};

use crate::model::Masked;
use crate::port::{ErrorKind, PortError, Tokens};
use crate::sys::beneath::Dir;
use crate::sys::effect;

const OPEN: &str = "open the keys of service accounts";
const SIGN: &str = "sign a token";
/// A key has a few hundred bytes, a certificate not many more.
const LARGEST: u64 = 64 << 10;
/// How many damaged files of a name are kept. A disk that damages more of them is no place for them.
const MOST_ASIDE: u32 = 9;
const KEY_LABEL: &str = "PRIVATE KEY";
const CERTIFICATE_LABEL: &str = "CERTIFICATE";

/// The keys of one root. Nothing is read or made before somebody asks for what it is for.
#[derive(Debug)]
pub struct Keys {
    /// The directory that it is in is there.
    place: PathBuf,
    opened: Mutex<Option<Signer>>,
    /// What an agent before has left there is on the disk, and root's alone.
    settled: AtomicBool,
}

struct Signer {
    pair: EcdsaKeyPair,
    /// What every token of it begins with, encoded.
    header: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Keys {
    /// The keys in a directory, whose own directory is there.
    pub fn new(place: impl Into<PathBuf>) -> Self {
        Self { place: place.into(), opened: Mutex::default(), settled: AtomicBool::new(false) }
    }

    /// What a verifier needs to know of the key that tokens are signed with: a JSON Web Key.
    ///
    /// # Errors
    /// When a file can be neither read nor written, or is not what it should be.
    pub fn public(&self) -> Result<serde_json::Value, PortError> {
        self.with_signer(|signer| {
            let point = signer.pair.public_key().as_ref();
            let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
            let id = key_id(point);
            Ok(serde_json::json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}))
        })
    }

    fn with_signer<T>(&self, work: impl FnOnce(&Signer) -> Result<T, PortError>) -> Result<T, PortError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let signer = match opened.take() {
            Some(signer) => signer,
            None => {
                let pair = self.key("sa.key", &ECDSA_P256_SHA256_FIXED_SIGNING)?;
                let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key_id(pair.public_key().as_ref()));
                Signer { pair, header: URL_SAFE_NO_PAD.encode(header) }
            }
        };
        work(opened.insert(signer))
    }

    fn dir(&self) -> Result<Dir, PortError> {
        Dir::make(&self.place, 0o700).map_err(|e| PortError::io(OPEN, self.place.display().to_string(), &e))
    }

    /// The authority's key; a damaged one is set aside, and another one takes its place: it can sign nothing any more, and
    /// nobody has to trust in what it has signed.
    fn authority(&self) -> Result<EcdsaKeyPair, PortError> {
        let name = "ca.key";
        match self.key(name, &ECDSA_P256_SHA256_ASN1_SIGNING) {
            Err(error) if error.kind == ErrorKind::Corrupt => {
                self.set_aside(name, &format!("{}; there is another authority", error.message))?;
                self.key(name, &ECDSA_P256_SHA256_ASN1_SIGNING)
            }
            key => key,
        }
    }

    /// Gives a damaged file another name, which none of those before it has, and tells why.
    fn set_aside(&self, name: &str, why: &str) -> Result<(), PortError> {
        let (dir, place) = (self.dir()?, self.place.join(name).display().to_string());
        let failed = |error: io::Error| PortError::io(OPEN, place.clone(), &error);
        let mut aside = format!("{name}.damaged");
        let mut number = 1;
        while number < MOST_ASIDE && dir.stat(Path::new(&aside)).map_err(failed)?.is_some() {
            number += 1;
            aside = format!("{name}.damaged-{number}");
        }
        effect::move_at((&dir, OsStr::new(name)), (&dir, OsStr::new(&aside))).map_err(failed)?;
        tracing::warn!(place, "{why}; it is {aside} now");
        Ok(())
    }

    /// The key in a file, which is made unless it is there.
    fn key(&self, name: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Result<EcdsaKeyPair, PortError> {
        let random = SystemRandom::new();
        let document = match self.read(name)? {
            Some(text) => decoded(&text, KEY_LABEL),
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| unsigned(OPEN))?;
                self.write(name, &encoded(made.as_ref(), KEY_LABEL))?;
                Some(made.as_ref().to_vec())
            }
        };
        let key = document.and_then(|bytes| EcdsaKeyPair::from_pkcs8(algorithm, &bytes, &random).ok());
        key.ok_or_else(|| {
            let help = "restore it, or remove it: then another one is made, and nobody trusts the tokens of before";
            self.damaged(name, "it is no key on the curve P-256 in PKCS #8").with_help(help)
        })
    }

    /// The text of a file, if it is there.
    fn read(&self, name: &str) -> Result<Option<String>, PortError> {
        let failed = |error: io::Error| PortError::io(OPEN, self.place.join(name).display().to_string(), &error);
        let dir = match Dir::open(&self.place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            dir => dir.map_err(failed)?,
        };
        self.settle(&dir).map_err(failed)?;
        let file = match dir.open_nothing_but_file(Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(self.damaged(name, "it is no regular file"));
            }
            file => file.map_err(failed)?,
        };
        self.tighten(&file, name, 0o600).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
        String::from_utf8(bytes).map(Some).map_err(|_| self.damaged(name, "it is no text"))
    }

    /// An agent before may have ended when a file had its name and the disk did not know of it yet: it does before anything is
    /// made of what is there.
    fn settle(&self, dir: &Dir) -> io::Result<()> {
        if self.settled.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.tighten(dir, "", 0o700)?;
        let above = self.place.parent().map(Dir::open).transpose()?;
        match effect::sync(dir).and_then(|()| above.map_or(Ok(()), |above| effect::sync(&above))) {
            // What cannot be written to loses nothing.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            synced => synced?,
        }
        self.settled.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Takes what is open from another owner, and the rights that others have to it. Where that cannot be, it is used as it is,
    /// and told.
    fn tighten(&self, file: impl AsFd, name: &str, mode: u32) -> io::Result<()> {
        let stat = rustix::fs::fstat(&file)?;
        let (found, place) = (stat.st_mode & 0o7777, self.place.join(name).display().to_string());
        let (owner, own) = (stat.st_uid, rustix::process::geteuid().as_raw());
        if owner != own {
            match effect::change_owner(&file, own, None) {
                Ok(()) => {
                    tracing::warn!(place, "it was of the user {owner}, and is of {own} now: it is for root alone")
                }
                Err(error) => tracing::warn!(place, "it is of the user {owner}, and is for root alone: {error}"),
            }
        }
        if found & !mode == 0 {
            return Ok(());
        }
        match effect::change_mode(&file, mode) {
            Ok(()) => tracing::warn!(place, "its mode was {found:o}, and is {mode:o} now: it is for root alone"),
            Err(error) => tracing::warn!(place, "its mode is {found:o}, and it is for root alone: {error}"),
        }
        Ok(())
    }

    /// Writes a file, so that the disk has it with all that leads to it.
    fn write(&self, name: &str, text: &str) -> Result<(), PortError> {
        let dir = self.dir()?;
        let write = || {
            effect::replace(&dir, name, text.as_bytes())?;
            self.place.parent().map_or(Ok(()), |above| effect::sync(&Dir::open(above)?))
        };
        write().map_err(|e: io::Error| PortError::io(OPEN, self.place.join(name).display().to_string(), &e))
    }

    fn damaged(&self, name: &str, why: &str) -> PortError {
        PortError::new(ErrorKind::Corrupt, OPEN, self.place.join(name).display().to_string(), why)
    }
}

fn unsigned(operation: &'static str) -> PortError {
    PortError::new(ErrorKind::Internal, operation, "", "the machine gives no random numbers")
}

impl Keys {
    /// A certificate of the authority's key, which is made unless it is there.
    fn certified(&self) -> Result<String, PortError> {
        let key = self.authority()?;
        let made = certificate::of_authority(key.public_key().as_ref(), |bytes| {
            key.sign(&SystemRandom::new(), bytes).ok().map(|signature| signature.as_ref().to_vec())
        });
        let text = encoded(&made.ok_or_else(|| unsigned(OPEN))?, CERTIFICATE_LABEL);
        self.write("ca.crt", &text)?;
        Ok(text)
    }
}

impl Tokens for Keys {
    fn mint(&self, claims: &str) -> Result<Masked<String>, PortError> {
        self.with_signer(|signer| {
            let signed = format!("{}.{}", signer.header, URL_SAFE_NO_PAD.encode(claims));
            let signature = signer.pair.sign(&SystemRandom::new(), signed.as_bytes());
            let signature = signature.map_err(|_| unsigned(SIGN))?;
            Ok(Masked::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
        })
    }

    /// Who has it needs its key no more than a directory that can be written to. What is none is made anew, with the key that it
    /// was made with if that one is whole: a machine that nobody looks after would be without one for ever.
    fn root_ca(&self) -> Result<String, PortError> {
        let name = "ca.crt";
        let why = match self.read(name) {
            Ok(None) => return self.certified(),
            Ok(Some(text)) if decoded(&text, CERTIFICATE_LABEL).is_some() => return Ok(text),
            Ok(Some(_)) => "it is no certificate".to_owned(),
            Err(error) if error.kind == ErrorKind::Corrupt => error.message,
            Err(error) => return Err(error),
        };
        self.set_aside(name, &format!("{why}, and is made anew"))?;
        self.certified()
    }
}

/// What a token says of its key: the digest of it as `SubjectPublicKeyInfo`, as Kubernetes has it (`keyIDFromPublicKey`).
fn key_id(point: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(certificate::public_key(point)))
}

/// Bytes as a PEM document.
fn encoded(bytes: &[u8], label: &str) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The bytes of the first PEM document with this label.
fn decoded(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    fn keys() -> (tempfile::TempDir, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path().join("pki"));
        (dir, keys)
    }

    fn json(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    /// Whether the key that is published verifies a token, as somebody does who knows nothing else.
    fn is_verified(token: &str, key: &Value) -> bool {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [&[4][..], &number("x"), &number("y")].concat();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn a_token_is_verified_with_the_key_that_is_published() {
        let (_dir, keys) = keys();
        let token = keys.mint(r#"{"sub":"a"}"#).unwrap().reveal().clone();
        let parts: Vec<&str> = token.split('.').collect();
        let key = keys.public().unwrap();
        assert_eq!(json(parts[0]), serde_json::json!({"alg": "ES256", "kid": key["kid"]}));
        assert_eq!(json(parts[1]), serde_json::json!({"sub": "a"}));
        assert!(is_verified(&token, &key));
        let other = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(r#"{"sub":"b"}"#), parts[2]);
        assert!(!is_verified(&other, &key));
        let (_elsewhere, others) = self::keys();
        assert!(!is_verified(&token, &others.public().unwrap()));
    }

    #[test]
    fn keys_are_made_once_and_for_root_alone() {
        let (dir, keys) = keys();
        let place = dir.path().join("pki");
        assert!(!place.exists(), "nothing is made before it is needed");
        let root_ca = keys.root_ca().unwrap();
        let token = keys.mint("{}").unwrap().reveal().clone();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&place), 0o700);
        let mut names: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ca.crt", "ca.key", "sa.key"]);
        names.iter().for_each(|name| assert_eq!(mode(&place.join(name)), 0o600, "{name:?}"));
        let again = Keys::new(&place);
        assert_eq!(again.root_ca().unwrap(), root_ca);
        assert!(is_verified(&token, &again.public().unwrap()));
        assert!(!format!("{keys:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_damaged_key_is_told_and_not_replaced() {
        for (name, text) in
            [("sa.key", ""), ("sa.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")]
        {
            let (dir, keys) = keys();
            let place = dir.path().join("pki");
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join(name), text).unwrap();
            let error = keys.mint("{}").unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt);
            assert!(error.to_string().contains("sa.key"), "{error}");
            assert_eq!(std::fs::read_to_string(place.join(name)).unwrap(), text);
        }
    }

    #[test]
    fn an_authority_that_is_damaged_is_set_aside_for_another_one() {
        for (certificate, key) in [(Some("cut"), Some("cut")), (None, Some("cut")), (Some("cut"), None)] {
            let (dir, keys) = keys();
            let first = keys.root_ca().unwrap();
            let place = dir.path().join("pki");
            for (name, text) in [("ca.crt", certificate), ("ca.key", key)] {
                match text {
                    Some(text) => std::fs::write(place.join(name), text).unwrap(),
                    None => std::fs::remove_file(place.join(name)).unwrap(),
                }
            }
            let second = keys.root_ca().unwrap();
            assert!(decoded(&second, CERTIFICATE_LABEL).is_some() && second != first);
            assert_eq!(Keys::new(&place).root_ca().unwrap(), second);
            assert!(Keys::new(&place).key("ca.key", &ECDSA_P256_SHA256_ASN1_SIGNING).is_ok());
            for (name, text) in [("ca.crt.damaged", certificate), ("ca.key.damaged", key)] {
                assert_eq!(std::fs::read_to_string(place.join(name)).ok().as_deref(), text);
            }
        }
    }

    #[test]
    fn what_is_no_text_in_a_file_is_a_damaged_key() {
        let (dir, keys) = keys();
        let key = dir.path().join("pki/sa.key");
        std::fs::create_dir(dir.path().join("pki")).unwrap();
        std::fs::write(&key, b"\xff\xfe").unwrap();
        assert_eq!(keys.mint("{}").unwrap_err().kind, ErrorKind::Corrupt);
        std::fs::remove_file(&key).unwrap();
        // Nobody writes to it: who opened it would wait for ever.
        let made = std::process::Command::new("mkfifo").arg(&key).status().unwrap();
        assert!(made.success());
        assert_eq!(keys.mint("{}").unwrap_err().kind, ErrorKind::Corrupt);
    }

    #[test]
    fn what_others_may_read_is_taken_from_them() {
        let (dir, keys) = keys();
        let token = keys.mint("{}").unwrap().reveal().clone();
        let place = dir.path().join("pki");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for (path, open) in [(place.clone(), 0o755), (place.join("sa.key"), 0o644)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(open)).unwrap();
        }
        assert!(is_verified(&token, &Keys::new(&place).public().unwrap()));
        assert_eq!((mode(&place), mode(&place.join("sa.key"))), (0o700, 0o600));
    }

    #[test]
    fn what_another_one_owns_is_taken_from_him() {
        let (dir, keys) = keys();
        let token = keys.mint("{}").unwrap().reveal().clone();
        let place = dir.path().join("pki");
        let key = place.join("sa.key");
        if std::os::unix::fs::chown(&key, Some(1000), None).is_err() {
            eprintln!("only root can give a file away: not tested");
            return;
        }
        std::os::unix::fs::chown(&place, Some(1000), None).unwrap();
        assert!(is_verified(&token, &Keys::new(&place).public().unwrap()));
        for path in [&place, &key] {
            assert_eq!(std::fs::metadata(path).unwrap().uid(), rustix::process::geteuid().as_raw());
        }
    }

    #[test]
    fn each_damaged_file_is_kept() {
        let (dir, keys) = keys();
        let place = dir.path().join("pki");
        keys.root_ca().unwrap();
        for number in 1..=11 {
            std::fs::write(place.join("ca.crt"), number.to_string()).unwrap();
            keys.root_ca().unwrap();
        }
        let text = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
        assert_eq!((text("ca.crt.damaged"), text("ca.crt.damaged-2")), ("1".to_owned(), "2".to_owned()));
        // No more of them than are of use.
        assert_eq!((text("ca.crt.damaged-9"), place.join("ca.crt.damaged-10").exists()), ("11".to_owned(), false));
    }

    #[test]
    fn a_damaged_certificate_is_made_anew_with_its_key() {
        let (dir, keys) = keys();
        keys.root_ca().unwrap();
        let place = dir.path().join("pki");
        let key = std::fs::read_to_string(place.join("ca.key")).unwrap();
        std::fs::write(place.join("ca.crt"), "cut").unwrap();
        let again = keys.root_ca().unwrap();
        assert!(decoded(&again, CERTIFICATE_LABEL).is_some());
        assert_eq!(Keys::new(&place).root_ca().unwrap(), again);
        assert_eq!(std::fs::read_to_string(place.join("ca.key")).unwrap(), key);
    }

    #[test]
    fn a_certificate_that_is_there_is_given_without_its_key() {
        let (dir, keys) = keys();
        let root_ca = keys.root_ca().unwrap();
        std::fs::write(dir.path().join("pki/ca.key"), "cut").unwrap();
        assert_eq!(keys.root_ca().unwrap(), root_ca);
    }

    #[test]
    fn what_could_not_be_written_is_made_once_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("pki");
        // Root may write everywhere, but not below a file.
        std::fs::write(&place, "").unwrap();
        let keys = Keys::new(&place);
        assert!(keys.root_ca().is_err() && keys.public().is_err() && keys.mint("{}").is_err());
        std::fs::remove_file(&place).unwrap();
        let token = keys.mint("{}").unwrap().reveal().clone();
        assert!(is_verified(&token, &keys.public().unwrap()));
        assert!(keys.root_ca().is_ok());
    }

    #[test]
    fn the_certificate_is_one_that_clients_take_as_a_root() {
        use tokio_rustls::rustls::RootCertStore;
        use tokio_rustls::rustls::pki_types::CertificateDer;

        let (_dir, keys) = keys();
        let text = keys.root_ca().unwrap();
        let bytes = decoded(&text, CERTIFICATE_LABEL).unwrap();
        RootCertStore::empty().add(CertificateDer::from(bytes)).unwrap();
        assert!(text.lines().all(|line| line.len() <= 64), "{text}");
    }
}
