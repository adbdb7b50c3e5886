//! Certificates: those that the system trusts, and one file more for a registry that has its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Failure, Fault};
use crate::image::stream::read_bounded;

/// Where the trusted certificates of a system are, the list of Go's crypto/x509.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const LARGEST: u64 = 8 << 20;

/// Whom a registry may be. Read when the first connection needs it.
#[derive(Debug)]
pub(in crate::image) struct Trust {
    ca: Option<PathBuf>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// Trust in the system's certificates and those of `ca`.
    pub(in crate::image) fn new(ca: Option<PathBuf>) -> Self {
        Self { ca, config: OnceLock::new() }
    }

    /// The configuration of a connection.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca {
            let bad =
                |why: String| Failure::new(Fault::Refused, format!("the certificates in {}: {why}", path.display()));
            let certificates = read(path).map_err(|e| bad(e.to_string()))?;
            for certificate in certificates {
                roots.add(certificate).map_err(|e| bad(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("there is none".to_owned()));
            }
        }
        let bundle = BUNDLES.into_iter().map(Path::new).find(|path| path.exists());
        if let Some(path) = bundle {
            let found = read(path).map_err(|e| Failure::local(path.display(), &e))?;
            // Single ones that cannot be used are left out, as every other client of such a bundle does.
            roots.add_parsable_certificates(found);
        }
        if roots.is_empty() {
            let message = "this machine has no file of trusted certificates; install ca-certificates, or name a file with `ca` \
                           of the registry in the configuration";
            return Err(Failure::new(Fault::Refused, message));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|e| Failure::new(Fault::Refused, format!("TLS cannot be used: {e}")))?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(Arc::clone(self.config.get_or_init(|| config)))
    }
}

fn read(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = read_bounded(File::open(path)?, LARGEST, "it")?;
    let bad = |e| io::Error::new(io::ErrorKind::InvalidData, format!("it is no file of certificates in PEM: {e}"));
    CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(bad)
}
