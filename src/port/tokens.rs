//! Who signs the tokens of service accounts.

use super::PortError;
use crate::model::Masked;

/// The signer of one root. It takes well under a millisecond and waits for nothing but, the first time, the disk.
pub trait Tokens: Send + Sync {
    /// A signed token with these claims, as JSON: a JSON Web Token in its compact form.
    ///
    /// # Errors
    /// When there is no key to sign with.
    fn mint(&self, claims: &str) -> Result<Masked<String>, PortError>;
}
