//! Whether a private key belongs to a certificate, as far as that can be seen without cryptography: both files say the
//! public key (RSA: modulus and exponent; elliptic curves: the point). A key file of Ed25519 seldom does (RFC 5958 lets it,
//! OpenSSL leaves it out), nor a curve's when it was written without. To derive it would take the arithmetic of the curve,
//! which nothing else here needs; then the answer is that nobody knows, and it is said.
//!
//! The sentences are those of Go's crypto/tls, which kubectl uses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What was found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Belongs,
    /// It could not be checked, and why.
    Unknown(&'static str),
}

/// What is wrong, in which file, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) in_key: bool,
    pub(super) message: String,
    pub(super) help: &'static str,
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const CURVE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A public key: the algorithm's object identifier and what identifies the key.
struct Public<'a> {
    algorithm: &'a [u8],
    /// `None` when the file does not say it.
    key: Option<Vec<&'a [u8]>>,
}

/// Compares the first certificate of one text with the private key of another.
pub(super) fn check(certificate: &[u8], key: &[u8]) -> Result<Verdict, Fault> {
    let certificate = certificate_block(certificate)?;
    let key = key_block(key)?;
    let public = certificate_key(&certificate.der).ok_or_else(|| Fault {
        in_key: false,
        message: "tls: failed to parse the certificate".to_owned(),
        help: "`openssl x509 -noout -text -in FILE` says more",
    })?;
    let private = private_key(&key).ok_or_else(|| Fault {
        in_key: true,
        message: "tls: failed to parse private key".to_owned(),
        help: "`openssl pkey -noout -text -in FILE` says more",
    })?;
    let differs = |message: &str| Fault {
        in_key: true,
        message: message.to_owned(),
        help: "name the key that the certificate was made for",
    };
    if public.algorithm != private.algorithm {
        return Err(differs("tls: private key type does not match public key type"));
    }
    match (&public.key, &private.key) {
        (Some(public), Some(private)) if public == private => Ok(Verdict::Belongs),
        (Some(_), Some(_)) => Err(differs("tls: private key does not match public key")),
        _ => Ok(Verdict::Unknown("its file does not hold the public key")),
    }
}

struct Block {
    label: String,
    encrypted: bool,
    der: Vec<u8>,
}

/// The PEM blocks of a text; what stands between them, and what is no base64, is passed over.
fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let label = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        let Some(label) = label else { continue };
        let end = format!("-----END {label}-----");
        let mut encrypted = false;
        let mut body = String::new();
        for line in lines.by_ref().take_while(|line| *line != end) {
            // Headers of the old encrypted form stand before the body.
            encrypted |= line.contains("ENCRYPTED");
            if !line.contains(':') {
                body.push_str(line.trim());
            }
        }
        if let Ok(der) = STANDARD.decode(body) {
            blocks.push(Block { label: label.to_owned(), encrypted, der });
        }
    }
    blocks
}

fn certificate_block(text: &[u8]) -> Result<Block, Fault> {
    let blocks = blocks(text);
    let fault = |message: String, help| Fault { in_key: false, message, help };
    let labels = labels(&blocks);
    let key = blocks.iter().any(|block| is_key(&block.label));
    match blocks.into_iter().find(|block| block.label == "CERTIFICATE") {
        Some(block) => Ok(block),
        None if labels.is_empty() => Err(fault(
            "tls: failed to find any PEM data in certificate input".to_owned(),
            "convert it: `openssl x509 -inform der -in FILE`",
        )),
        None if key => Err(fault(
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may \
             have been switched"
                .to_owned(),
            "--cert names the certificate, --key its private key",
        )),
        None => Err(fault(
            format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
                 following types: [{labels}]"
            ),
            "name the file that holds the certificate",
        )),
    }
}

fn key_block(text: &[u8]) -> Result<Block, Fault> {
    let blocks = blocks(text);
    let fault = |message: String, help| Fault { in_key: true, message, help };
    let labels = labels(&blocks);
    match blocks.into_iter().find(|block| is_key(&block.label)) {
        Some(block) if block.encrypted || block.label.contains("ENCRYPTED") => Err(fault(
            "tls: failed to parse private key: it is encrypted".to_owned(),
            "decrypt it: `openssl pkey -in FILE`",
        )),
        Some(block) => Ok(block),
        None if labels.is_empty() => Err(fault(
            "tls: failed to find any PEM data in key input".to_owned(),
            "convert it: `openssl pkey -inform der -in FILE`",
        )),
        None if labels == "CERTIFICATE" => Err(fault(
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned(),
            "--cert names the certificate, --key its private key",
        )),
        None => Err(fault(
            format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM \
                 blocks of the following types: [{labels}]"
            ),
            "name the file that holds the private key",
        )),
    }
}

fn is_key(label: &str) -> bool {
    label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY")
}

fn labels(blocks: &[Block]) -> String {
    let mut labels: Vec<&str> = blocks.iter().map(|block| block.label.as_str()).take(10).collect();
    labels.dedup();
    labels.join(" ")
}

/// The tags of DER that are looked for.
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// A field that is numbered and may be left out: `[0]`, `[1]`.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
/// The same without a tag of its own around a bit string.
const IMPLICIT_1: u8 = 0x81;

/// Reads DER from its start: `(tag, content)` and the rest. Lengths of up to four bytes.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(first) {
        short @ 0..=0x7f => (short, rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            (bytes.iter().fold(0_usize, |n, byte| n << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The next element, if it has this tag.
fn expect<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content, rest) = element(der)?;
    *der = rest;
    (found == tag).then_some(content)
}

/// Passes over an optional element.
fn optional<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content, rest) = element(der)?;
    if found != tag {
        return None;
    }
    *der = rest;
    Some(content)
}

/// The bytes of a bit string, which must be whole.
fn whole(bits: &[u8]) -> Option<&[u8]> {
    bits.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

/// The public key of a certificate (RFC 5280, 4.1).
fn certificate_key(der: &[u8]) -> Option<Public<'_>> {
    let mut certificate = expect(&mut &*der, SEQUENCE)?;
    let mut body = expect(&mut certificate, SEQUENCE)?;
    optional(&mut body, CONTEXT_0);
    expect(&mut body, INTEGER)?;
    // Signature algorithm, issuer, validity, subject.
    for _ in 0..4 {
        expect(&mut body, SEQUENCE)?;
    }
    let mut info = expect(&mut body, SEQUENCE)?;
    let algorithm = expect(&mut expect(&mut info, SEQUENCE)?, OBJECT)?;
    let bits = whole(expect(&mut info, BITS)?)?;
    let key = if algorithm == RSA { rsa_numbers(bits, false)? } else { vec![bits] };
    Some(Public { algorithm, key: Some(key) })
}

/// Modulus and exponent: all of a public key, what follows the version in a private one (RFC 8017, A.1).
fn rsa_numbers(der: &[u8], private: bool) -> Option<Vec<&[u8]>> {
    let mut numbers = expect(&mut &*der, SEQUENCE)?;
    if private {
        expect(&mut numbers, INTEGER)?;
    }
    Some(vec![expect(&mut numbers, INTEGER)?, expect(&mut numbers, INTEGER)?])
}

/// The point in a private key of a curve, if it is there (RFC 5915).
fn curve_point(der: &[u8]) -> Option<Option<Vec<&[u8]>>> {
    let mut key = expect(&mut &*der, SEQUENCE)?;
    expect(&mut key, INTEGER)?;
    expect(&mut key, OCTETS)?;
    optional(&mut key, CONTEXT_0);
    let point = optional(&mut key, CONTEXT_1).and_then(|mut point| whole(expect(&mut point, BITS)?));
    Some(point.map(|point| vec![point]))
}

/// A private key in any of its three wrappings: PKCS #1, SEC 1, or PKCS #8 around either (RFC 5958).
fn private_key(block: &Block) -> Option<Public<'_>> {
    let der = &*block.der;
    match block.label.as_str() {
        "RSA PRIVATE KEY" => return Some(Public { algorithm: RSA, key: Some(rsa_numbers(der, true)?) }),
        "EC PRIVATE KEY" => return Some(Public { algorithm: CURVE, key: curve_point(der)? }),
        _ => {}
    }
    let mut wrapped = expect(&mut &*der, SEQUENCE)?;
    expect(&mut wrapped, INTEGER)?;
    let algorithm = expect(&mut expect(&mut wrapped, SEQUENCE)?, OBJECT)?;
    let inner = expect(&mut wrapped, OCTETS)?;
    let key = match algorithm {
        RSA => Some(rsa_numbers(inner, true)?),
        CURVE => curve_point(inner)?,
        _ => None,
    };
    // Version 2 may hold attributes and, behind them, the public key as a certificate has it.
    optional(&mut wrapped, CONTEXT_0);
    let beside = optional(&mut wrapped, IMPLICIT_1).and_then(whole).map(|bytes| vec![bytes]);
    Some(Public { algorithm, key: key.or(beside) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILES: [(&str, &str); 4] = [
        (
            include_str!("../../../fixtures/create/input/rsa.crt"),
            include_str!("../../../fixtures/create/input/rsa.key"),
        ),
        (include_str!("../../../fixtures/create/input/ec.crt"), include_str!("../../../fixtures/create/input/ec.key")),
        (include_str!("../../../fixtures/create/input/ec.crt"), include_str!("../../../fixtures/create/input/ec8.key")),
        (include_str!("../../../fixtures/create/input/ed.crt"), include_str!("../../../fixtures/create/input/ed.key")),
    ];

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    /// The Ed25519 key of the fixtures in version 2 of PKCS #8, with a public key beside it.
    fn with_public(public: &[u8]) -> String {
        let der = blocks(FILES[3].1.as_bytes()).remove(0).der;
        let body = [&der[2..], &[IMPLICIT_1, 33, 0], public].concat();
        let mut body = body;
        body[2] = 1;
        pem("PRIVATE KEY", &[&[SEQUENCE, u8::try_from(body.len()).unwrap()], &body[..]].concat())
    }

    #[test]
    fn a_public_key_beside_a_private_one_is_compared() {
        let certificate = blocks(FILES[3].0.as_bytes()).remove(0).der;
        let public = certificate_key(&certificate).unwrap().key.unwrap()[0].to_vec();
        let check = |key: &str| check(FILES[3].0.as_bytes(), key.as_bytes());
        assert_eq!(check(&with_public(&public)), Ok(Verdict::Belongs));
        let fault = check(&with_public(&[7; 32])).unwrap_err();
        assert_eq!((fault.in_key, fault.message.as_str()), (true, "tls: private key does not match public key"));
        assert!(matches!(check(FILES[3].1), Ok(Verdict::Unknown(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn damaged_files_are_answered(
            pair in 0..FILES.len(),
            of_key in any::<bool>(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let (certificate, key) = FILES[pair];
            let block = blocks(if of_key { key } else { certificate }.as_bytes()).remove(0);
            let mut der = block.der;
            edits.iter().for_each(|(at, byte)| {
                let at = at.index(der.len());
                der[at] = *byte;
            });
            if let Some(cut) = cut {
                der.truncate(cut.index(der.len()));
            }
            let damaged = pem(&block.label, &der);
            let (certificate, key) = if of_key { (certificate, &*damaged) } else { (&*damaged, key) };
            match check(certificate.as_bytes(), key.as_bytes()) {
                Ok(_) => {}
                Err(fault) => prop_assert!(fault.message.starts_with("tls: ") && !fault.help.is_empty()),
            }
        }

        #[test]
        fn random_der_is_answered(der in prop::collection::vec(any::<u8>(), 0..200), label in 0..4_usize) {
            let label = ["CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"][label];
            let text = pem(label, &der);
            prop_assert!(check(text.as_bytes(), text.as_bytes()).is_err());
        }
    }
}
