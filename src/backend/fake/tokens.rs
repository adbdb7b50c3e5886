//! A signer whose signatures anybody can make: tokens in their form, and the same claims and word give the same token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::Masked;
use crate::port::{ErrorKind, PortError, Tokens};

/// Signs with a word in place of a key.
#[derive(Clone, Debug, Default)]
pub struct FakeTokens {
    /// The signature.
    pub word: String,
    /// Whether the keys are damaged: nothing is signed then, and there is no certificate.
    pub broken: Arc<AtomicBool>,
}

impl Tokens for FakeTokens {
    fn mint(&self, claims: &str) -> Result<Masked<String>, PortError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(PortError::new(ErrorKind::Corrupt, "sign a token", "sa.key", "it is no key"));
        }
        let [header, claims, signature] =
            [r#"{"alg":"none"}"#, claims, &self.word].map(|part| URL_SAFE_NO_PAD.encode(part));
        Ok(Masked::new(format!("{header}.{claims}.{signature}")))
    }

    fn root_ca(&self) -> Result<String, PortError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(PortError::new(ErrorKind::Corrupt, "read the certificate", "ca.crt", "it is none"));
        }
        Ok("certificate".to_owned())
    }
}
