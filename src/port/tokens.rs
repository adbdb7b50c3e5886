//! Who signs the tokens of service accounts, and vouches for the API that is to honour them.

use super::PortError;
use crate::model::Masked;

/// The signer of one root. It takes well under a millisecond and waits for nothing but, the first time, the disk.
pub trait Tokens: Send + Sync {
    /// A signed token with these claims, as JSON: a JSON Web Token in its compact form.
    ///
    /// # Errors
    /// When there is no key to sign with.
    fn mint(&self, claims: &str) -> Result<Masked<String>, PortError>;

    /// The certificate for `kube-root-ca.crt`, as PEM; made at the first call, and the same ever after.
    ///
    /// # Errors
    /// When it is not there and cannot be made.
    fn root_ca(&self) -> Result<String, PortError>;
}
