//! Base64 as Go's decoders take it (`encoding/base64`, StdEncoding): line breaks are skipped, and bits that no byte needs may
//! be set.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The bytes a text stands for; `None` when it is not base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.contains(['\n', '\r']) {
        return LENIENT.decode(text).ok();
    }
    let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    LENIENT.decode(packed).ok()
}

/// The one spelling of the same bytes that every decoder takes.
pub(super) fn canonical(text: &str) -> Option<String> {
    decode(text).map(|bytes| STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_is_taken() {
        let rows = [
            ("", Some("")),
            ("QQ==", Some("QQ==")),
            ("QR==", Some("QQ==")),
            ("QUI\n=\r\n", Some("QUI=")),
            ("QQ", None),
            ("QQ=", None),
            ("QQ==QQ==", None),
            ("Q Q==", None),
            ("QR=!", None),
            ("_w==", None),
        ];
        for (text, expected) in rows {
            assert_eq!(canonical(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(decode("QUI="), Some(b"AB".to_vec()));
    }
}
