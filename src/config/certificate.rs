//! A certificate chain with the key that belongs to it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// A chain and its key, read from files and known to belong together.
#[derive(Clone)]
pub struct Certificate {
    /// Its name in the file.
    pub name: String,
    /// DNS names it is for, lower case; may begin with `*.`.
    pub names: Vec<String>,
    /// Addresses it is for.
    pub addresses: Vec<IpAddr>,
    /// When it ends: seconds since the epoch.
    pub not_after: i64,
    /// For rustls.
    pub key: Arc<CertifiedKey>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate or no key in PEM form.
    #[error("{path}: no {what} in PEM form")]
    NoPem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The key is of a kind that cannot be used.
    #[error("{path}: this private key cannot be used: {source}")]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The certificate cannot be parsed.
    #[error("{path}: the certificate is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("{key}: does not belong to the certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl CertificateError {
    /// The file that is at fault; for a mismatch, the key's.
    pub fn file(&self) -> &Path {
        match self {
            CertificateError::Unreadable { path, .. }
            | CertificateError::NoPem { path, .. }
            | CertificateError::UnusableKey { path, .. }
            | CertificateError::Damaged { path } => path,
            CertificateError::Mismatch { key, .. } => key,
        }
    }
}

impl Certificate {
    /// Reads a chain (leaf first) and its key.
    ///
    /// # Errors
    /// See [`CertificateError`]. Permissions of the key file are not judged here.
    pub fn read(name: &str, cert_file: &Path, key_file: &Path) -> Result<Certificate, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert_file)?)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::NoPem { path: cert_file.into(), what: "certificate" })?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(CertificateError::NoPem { path: cert_file.into(), what: "certificate" });
        };
        let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
            .map_err(|_| CertificateError::NoPem { path: key_file.into(), what: "private key" })?;
        let signer = aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|source| CertificateError::UnusableKey { path: key_file.into(), source })?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf)
            .map_err(|_| CertificateError::Damaged { path: cert_file.into() })?;
        let (names, addresses) = alternative_names(&parsed);
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(CertificateError::Mismatch { cert: cert_file.into(), key: key_file.into() }),
        }
        Ok(Certificate {
            name: name.to_owned(),
            names,
            addresses,
            not_after: parsed.validity().not_after.timestamp(),
            key: Arc::new(certified),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.into(), source })
}

/// DNS names in lower case, and addresses.
fn alternative_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return (names, addresses) };
    for name in &alternative.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
                let six = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
                addresses.extend(four.or(six));
            }
            _ => {}
        }
    }
    (names, addresses)
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).field("names", &self.names).finish_non_exhaustive()
    }
}
