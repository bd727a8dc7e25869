//! The certificate authorities (CAs) that the gateway trusts as a client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;

use super::file::{BadFile, FileFault, certificates};

/// A set of trusted CA certificates.
#[derive(Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    file: Option<PathBuf>,
}

/// The system has no usable CA certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no CA certificates{0}")]
pub struct NoAuthorities(String);

impl Authorities {
    /// Reads the CA certificates of a file, and trusts no others.
    ///
    /// # Errors
    /// [`BadFile`].
    pub fn read(file: &Path) -> Result<Authorities, BadFile> {
        let mut roots = RootCertStore::empty();
        for link in certificates(file)? {
            let line = Some(link.line);
            let bad = |error| BadFile { path: file.to_owned(), line, fault: FileFault::UnusableCertificate(error) };
            roots.add(link.der).map_err(bad)?;
        }
        Ok(Authorities { roots: Arc::new(roots), file: Some(file.to_owned()) })
    }

    /// Reads the CA certificates of the system: `SSL_CERT_FILE` and `SSL_CERT_DIR`, or the files of the distribution.
    /// Certificates that cannot be used are left out, as all clients of the system do.
    ///
    /// # Errors
    /// [`NoAuthorities`] if none is left.
    pub fn of_system() -> Result<Authorities, NoAuthorities> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let causes: Vec<String> = found.errors.iter().map(|error| format!("; {error}")).collect();
            return Err(NoAuthorities(causes.concat()));
        }
        Ok(Authorities { roots: Arc::new(roots), file: None })
    }

    /// No CA: every certificate is refused.
    pub fn none() -> Authorities {
        Authorities { roots: Arc::new(RootCertStore::empty()), file: None }
    }

    /// Their file; `None`: those of the system.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The form that rustls uses.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

/// The same certificates from the same place.
impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        self.file == other.file && self.roots.roots == other.roots.roots
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities").field("file", &self.file).field("count", &self.roots.len()).finish()
    }
}
