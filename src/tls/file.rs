//! The content of a file of certificates or keys, or what is wrong with it, where, and how to fix it.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::Certificate;
use super::key::UnfitKey;
use super::pem::{self, Block, PemFault};
use super::x509::Link;

/// A file that cannot be used.
#[derive(Debug)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1, if the fault has one.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: FileFault,
}

/// What is wrong with a file of certificates or keys.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It is not strictly PEM.
    #[error("{fault}")]
    Pem {
        /// What is wrong.
        fault: PemFault,
        /// The expected content.
        wanted: Wanted,
    },
    /// It contains no block.
    #[error("contains no {0} in PEM format")]
    Nothing(Wanted),
    /// It contains something else.
    #[error("contains {found}, not a {wanted}")]
    Other {
        /// The content.
        found: Kind,
        /// The expected content.
        wanted: Wanted,
    },
    /// It contains a second private key.
    #[error("contains a second private key")]
    TwoKeys,
    /// A certificate block does not contain a valid certificate.
    #[error("this certificate is malformed")]
    DamagedCertificate,
    /// The block of a revocation list does not contain a valid one.
    #[error("this revocation list cannot be used: {0}")]
    UnusableList(String),
    /// A certificate of version 1, as `openssl x509 -req` creates it without extensions.
    #[error("this certificate has the old X.509 version 1, which clients refuse")]
    Version1,
    /// The certificate of the key is not the first one of its file.
    #[error("the certificate that belongs to {key} is here, but must be the first in the file")]
    NotFirst {
        /// The key's file.
        key: PathBuf,
    },
    /// No certificate of the file belongs to the key.
    #[error("does not belong to the certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
    },
    /// The TLS library rejects the certificate.
    #[error("this certificate cannot be used: {0}")]
    UnusableCertificate(rustls::Error),
    /// The TLS library does not support such a key.
    #[error("{0}")]
    UnfitKey(UnfitKey),
    /// The TLS library rejects the key for another reason.
    #[error("this private key cannot be used: {0}")]
    UnusableKey(rustls::Error),
}

/// The expected content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificates.
    Certificate,
    /// A private key.
    PrivateKey,
    /// Certificate revocation lists (CRLs).
    RevocationList,
}

/// The content of a block, by its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A certificate.
    Certificate,
    /// A private key of this form.
    PrivateKey(KeyForm),
    /// A private key that is encrypted with a passphrase.
    EncryptedKey,
    /// A certificate revocation list.
    RevocationList,
    /// A public key.
    PublicKey,
    /// A certificate signing request.
    Request,
    /// A private key of OpenSSH.
    SshKey,
    /// Parameters that `openssl` writes beside keys; ignored.
    Parameters,
    /// Anything else.
    Unknown(String),
}

/// The forms of private keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// `PRIVATE KEY`
    Pkcs8,
    /// `RSA PRIVATE KEY`
    Pkcs1,
    /// `EC PRIVATE KEY`
    Sec1,
}

impl Kind {
    pub(super) fn of(label: &str) -> Kind {
        match label {
            "CERTIFICATE" => Kind::Certificate,
            "PRIVATE KEY" => Kind::PrivateKey(KeyForm::Pkcs8),
            "RSA PRIVATE KEY" => Kind::PrivateKey(KeyForm::Pkcs1),
            "EC PRIVATE KEY" => Kind::PrivateKey(KeyForm::Sec1),
            "ENCRYPTED PRIVATE KEY" => Kind::EncryptedKey,
            "X509 CRL" => Kind::RevocationList,
            "PUBLIC KEY" | "RSA PUBLIC KEY" | "EC PUBLIC KEY" => Kind::PublicKey,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Kind::Request,
            "OPENSSH PRIVATE KEY" => Kind::SshKey,
            "EC PARAMETERS" | "DH PARAMETERS" => Kind::Parameters,
            other => Kind::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Certificate => "a certificate",
            Kind::PrivateKey(_) => "a private key",
            Kind::EncryptedKey => "a private key that is encrypted with a passphrase",
            Kind::RevocationList => "a certificate revocation list",
            Kind::PublicKey => "a public key",
            Kind::Request => "a request for a certificate",
            Kind::SshKey => "a private key for SSH",
            Kind::Parameters => "parameters of a key",
            Kind::Unknown(label) => return write!(f, "a block {label}"),
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wanted::Certificate => "certificate",
            Wanted::PrivateKey => "private key",
            Wanted::RevocationList => "certificate revocation list",
        })
    }
}

/// `chain.pem:20: this certificate is malformed`
impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        write!(f, "{}{line}: {}", self.path.display(), self.fault)
    }
}

impl std::error::Error for BadFile {}

impl BadFile {
    /// How to fix it.
    pub fn mend(&self) -> String {
        let path = self.path.display();
        match &self.fault {
            FileFault::Unreadable(_) => "correct the path, or let the user that runs the gateway read it".to_owned(),
            FileFault::Pem { fault, wanted } => mend_of_pem(fault, *wanted, &self.path),
            FileFault::Nothing(Wanted::Certificate) => {
                "copy the certificate to this file, beginning with `-----BEGIN CERTIFICATE-----`".to_owned()
            }
            FileFault::Nothing(Wanted::PrivateKey) => {
                "copy the private key to this file, beginning with `-----BEGIN PRIVATE KEY-----`".to_owned()
            }
            FileFault::Nothing(Wanted::RevocationList) => {
                "copy the CRL to this file, beginning with `-----BEGIN X509 CRL-----`".to_owned()
            }
            FileFault::Other { found, wanted } => match (found, wanted) {
                (Kind::PrivateKey(_) | Kind::EncryptedKey, Wanted::Certificate)
                | (Kind::Certificate, Wanted::PrivateKey) => {
                    "the files of the certificate and of the key may be swapped".to_owned()
                }
                (Kind::Request, _) => "use the certificate that the CA issued for this request".to_owned(),
                (Kind::SshKey, Wanted::PrivateKey) => "create a TLS key: openssl genpkey".to_owned(),
                (Kind::PublicKey, Wanted::PrivateKey) => "use the private key that belongs to it".to_owned(),
                (_, Wanted::Certificate) => "copy the certificate to this file, as a CERTIFICATE block".to_owned(),
                (_, Wanted::RevocationList) => "copy the CRL to this file, as an `X509 CRL` block".to_owned(),
                (_, Wanted::PrivateKey) => format!("convert the key: openssl pkey -in {path} -out {path}.new"),
            },
            FileFault::TwoKeys => "leave only the key that belongs to the certificate".to_owned(),
            FileFault::UnusableList(_) => "get the current CRL from the CA".to_owned(),
            FileFault::DamagedCertificate => "copy the whole block again from its source".to_owned(),
            FileFault::Version1 => {
                "request a new certificate with extensions, which makes it version 3 (openssl x509 -req -extfile …)"
                    .to_owned()
            }
            FileFault::NotFirst { .. } => "put it first, and let the issuer follow each certificate".to_owned(),
            FileFault::Mismatch { .. } => "use the key that belongs to the certificate".to_owned(),
            FileFault::UnusableCertificate(_) => "request a new certificate".to_owned(),
            FileFault::UnfitKey(unfit) => unfit.mend().to_owned(),
            FileFault::UnusableKey(_) => {
                "use an RSA key of 2048 to 8192 bits, an ECDSA key on P-256, P-384 or P-521, or Ed25519".to_owned()
            }
        }
    }
}

fn mend_of_pem(fault: &PemFault, wanted: Wanted, path: &Path) -> String {
    let path = path.display();
    match fault {
        PemFault::ByteOrderMark => "save the file as UTF-8 without byte order mark, or as ASCII".to_owned(),
        PemFault::Binary("PKCS #12") => match wanted {
            Wanted::Certificate => format!("convert it: openssl pkcs12 -in {path} -nokeys -out {path}.pem"),
            Wanted::PrivateKey => format!("convert it: openssl pkcs12 -in {path} -nocerts -noenc -out {path}.pem"),
            Wanted::RevocationList => "get the CRL of the CA in PEM format".to_owned(),
        },
        PemFault::Binary("DER") => match wanted {
            Wanted::Certificate => format!("convert it: openssl x509 -inform DER -in {path} -out {path}.pem"),
            Wanted::PrivateKey => format!("convert it: openssl pkey -inform DER -in {path} -out {path}.pem"),
            Wanted::RevocationList => format!("convert it: openssl crl -inform DER -in {path} -out {path}.pem"),
        },
        PemFault::Binary(_) => "export it in PEM format".to_owned(),
        PemFault::Boundary(_) => "put it on a line of its own, with exactly five dashes on each side".to_owned(),
        PemFault::Encrypted => format!("decrypt it: openssl pkey -in {path} -out {path}.new"),
        PemFault::NoEnd { .. } | PemFault::WrongEnd { .. } | PemFault::NotBase64 { .. } | PemFault::Damaged { .. } => {
            "copy the whole block again, from its BEGIN line to its END line".to_owned()
        }
    }
}

/// The text of a file with CA certificates, in which every TLS library finds all of them.
///
/// # Errors
/// [`BadFile`] if a library could miss one of them.
pub fn authorities(path: &Path) -> Result<Vec<u8>, BadFile> {
    let text = read(path)?;
    certificates_of(path, &text)?;
    Ok(text.to_vec())
}

/// Checks a client certificate and its key, which another library will read.
///
/// # Errors
/// [`BadFile`], as [`Certificate::read`].
pub fn check_identity(cert_file: &Path, key_file: &Path) -> Result<(), BadFile> {
    Certificate::read("", cert_file, key_file).map(|_| ())
}

/// Reports whether a file holds a private key that is not encrypted. `false` for a file that cannot be read.
pub fn holds_a_key(path: &Path) -> bool {
    let blocks = read(path).and_then(|text| blocks(path, &text, Wanted::Certificate));
    blocks.is_ok_and(|blocks| blocks.iter().any(|block| matches!(Kind::of(&block.label), Kind::PrivateKey(_))))
}

/// All certificates of a file; never empty.
pub(super) fn certificates(path: &Path) -> Result<Vec<Link>, BadFile> {
    certificates_of(path, &read(path)?)
}

fn certificates_of(path: &Path, text: &[u8]) -> Result<Vec<Link>, BadFile> {
    let wanted = Wanted::Certificate;
    let blocks = blocks(path, text, wanted)?;
    let bad = |line, fault| BadFile { path: path.to_owned(), line, fault };
    let mut found = Vec::new();
    let mut other = None;
    for block in blocks {
        match Kind::of(&block.label) {
            Kind::Certificate => {
                let link = Link::read(block.line, &block.bytes);
                found.push(link.ok_or_else(|| bad(Some(block.line), FileFault::DamagedCertificate))?);
            }
            // A file may contain the certificate and its key, and the parameters that openssl writes.
            kind @ (Kind::PrivateKey(_) | Kind::EncryptedKey | Kind::Parameters) => other = Some((block.line, kind)),
            found => return Err(bad(Some(block.line), FileFault::Other { found, wanted })),
        }
    }
    match (found.is_empty(), other) {
        (false, _) => Ok(found),
        (true, Some((line, found))) => Err(bad(Some(line), FileFault::Other { found, wanted })),
        (true, None) => Err(bad(None, FileFault::Nothing(wanted))),
    }
}

/// The private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadFile> {
    let wanted = Wanted::PrivateKey;
    let blocks = blocks(path, &read(path)?, wanted)?;
    let bad = |line, fault| BadFile { path: path.to_owned(), line, fault };
    let mut key: Option<PrivateKeyDer<'static>> = None;
    let mut other = None;
    for block in blocks {
        match Kind::of(&block.label) {
            Kind::PrivateKey(form) => {
                if key.replace(key_of(form, &block)).is_some() {
                    return Err(bad(Some(block.line), FileFault::TwoKeys));
                }
            }
            Kind::EncryptedKey => {
                return Err(bad(Some(block.line), FileFault::Pem { fault: PemFault::Encrypted, wanted }));
            }
            kind @ (Kind::Certificate | Kind::Parameters | Kind::PublicKey) => other = Some((block.line, kind)),
            found => return Err(bad(Some(block.line), FileFault::Other { found, wanted })),
        }
    }
    match (key, other) {
        (Some(key), _) => Ok(key),
        (None, Some((line, found))) => Err(bad(Some(line), FileFault::Other { found, wanted })),
        (None, None) => Err(bad(None, FileFault::Nothing(wanted))),
    }
}

/// The caller wipes the copy, as the block is wiped.
fn key_of(form: KeyForm, block: &Block) -> PrivateKeyDer<'static> {
    let bytes = block.bytes.to_vec();
    match form {
        KeyForm::Pkcs8 => PrivatePkcs8KeyDer::from(bytes).into(),
        KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(bytes).into(),
        KeyForm::Sec1 => PrivateSec1KeyDer::from(bytes).into(),
    }
}

pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, BadFile> {
    let bad = |error| BadFile { path: path.to_owned(), line: None, fault: FileFault::Unreadable(error) };
    // A FIFO would block the reader until something writes to it.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(bad(std::io::Error::other("it is not a regular file")));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(bad)
}

pub(super) fn blocks(path: &Path, text: &[u8], wanted: Wanted) -> Result<Vec<Block>, BadFile> {
    let bad = |line, fault| BadFile { path: path.to_owned(), line, fault };
    pem::read(text).map_err(|error| bad(Some(error.line), FileFault::Pem { fault: error.fault, wanted }))
}
