//! A self-signed certificate in DER: as much of X.509 (RFC 5280) as one authority takes.

use sha2::{Digest, Sha256};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BOOLEAN: u8 = 0x01;
/// The context-specific tags of the version and the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// id-ecPublicKey, prime256v1, ecdsa-with-SHA256, commonName.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// subjectKeyIdentifier, keyUsage, basicConstraints.
const KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// Whom it names.
const NAME: &str = "podwright";
/// Machines without a clock begin in 1970 whenever they are started, and nobody renews this one: it is good for ever, which has
/// a form of its own (RFC 5280, 4.1.2.5).
const NOT_BEFORE: &str = "700101000000Z";
const NOT_AFTER: &str = "99991231235959Z";

/// An element with its length, which is at most what four bytes tell.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ ..=0x7f) => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A public key on P-256 as `SubjectPublicKeyInfo`; `point` is it uncompressed.
pub(super) fn public_key(point: &[u8]) -> Vec<u8> {
    let algorithm =
        element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[EC_PUBLIC_KEY]), &element(OBJECT_IDENTIFIER, &[P256])]);
    element(SEQUENCE, &[&algorithm, &element(BIT_STRING, &[&[0], point])])
}

/// The certificate of an authority that answers for itself; `sign` gives the signature of bytes, in DER. `None` without one.
pub(super) fn of_authority(point: &[u8], sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let algorithm = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[ECDSA_WITH_SHA256])]);
    let key = public_key(point);
    let digest = Sha256::digest(&key);
    // Positive, and of full length.
    let mut serial = digest[..16].to_vec();
    serial[0] = (serial[0] & 0x3f) | 0x40;
    let common_name =
        element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[COMMON_NAME]), &element(UTF8_STRING, &[NAME.as_bytes()])]);
    let name = element(SEQUENCE, &[&element(SET, &[&common_name])]);
    let validity = element(
        SEQUENCE,
        &[&element(UTC_TIME, &[NOT_BEFORE.as_bytes()]), &element(GENERALIZED_TIME, &[NOT_AFTER.as_bytes()])],
    );
    let body = element(
        SEQUENCE,
        &[
            &element(VERSION, &[&element(INTEGER, &[&[2]])]),
            &element(INTEGER, &[&serial]),
            &algorithm,
            &name,
            &validity,
            &name,
            &key,
            &element(EXTENSIONS, &[&extensions(&digest[..20])]),
        ],
    );
    let signature = sign(&body)?;
    Some(element(SEQUENCE, &[&body, &algorithm, &element(BIT_STRING, &[&[0], &signature])]))
}

/// It is an authority, and may sign certificates, lists of revoked ones, and for itself.
fn extensions(key_identifier: &[u8]) -> Vec<u8> {
    let critical = element(BOOLEAN, &[&[0xff]]);
    let extension = |id: &[u8], parts: &[&[u8]], value: Vec<u8>| {
        let id = element(OBJECT_IDENTIFIER, &[id]);
        let value = element(OCTET_STRING, &[&value]);
        let mut all: Vec<&[u8]> = vec![&id];
        all.extend(parts);
        all.push(&value);
        element(SEQUENCE, &all)
    };
    let is_authority = element(SEQUENCE, &[&element(BOOLEAN, &[&[0xff]])]);
    // digitalSignature, keyCertSign and cRLSign: bits 0, 5 and 6, of which one is not used.
    let usage = element(BIT_STRING, &[&[1, 0b1000_0110]]);
    element(
        SEQUENCE,
        &[
            &extension(KEY_USAGE, &[&critical], usage),
            &extension(BASIC_CONSTRAINTS, &[&critical], is_authority),
            &extension(KEY_IDENTIFIER, &[], element(OCTET_STRING, &[key_identifier])),
        ],
    )
}
