//! The certificate that a client has shown, and what it says about the client.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::revocation::time;
use crate::clock::Timestamp;

/// The certificate of a client with those of its CAs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientChain {
    /// The client's own first.
    certificates: Vec<CertificateDer<'static>>,
    names: ClientNames,
    /// The first moment at which each certificate is not valid any more. Its `notAfter` is the last valid second (RFC
    /// 5280 §4.1.2.5).
    ends: Vec<Timestamp>,
}

/// What a certificate says about a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientNames {
    /// The names in its subjectAltName, without repetitions. Empty if one of them is malformed.
    pub names: Vec<ClientName>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// A name of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientName {
    /// Its kind.
    pub kind: NameKind,
    text: String,
}

/// The kinds of names that a certificate can have for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// An e-mail address.
    Email,
    /// A DNS name.
    Dns,
    /// A URI, such as a SPIFFE ID.
    Uri,
}

impl ClientName {
    /// Reads a name. Names that are equal by the rules of their kind have one text: DNS names and the domains of e-mail
    /// addresses are in lower case. `None` if it is not a name of this kind.
    pub fn parse(kind: NameKind, text: &str) -> Option<ClientName> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let text = match kind {
            NameKind::Email => {
                let (local, domain) = text.rsplit_once('@')?;
                let is_whole = !local.is_empty() && !domain.is_empty();
                is_whole.then(|| format!("{local}@{}", domain.to_ascii_lowercase()))?
            }
            NameKind::Dns => text.to_ascii_lowercase(),
            NameKind::Uri => text.contains(':').then(|| text.to_owned())?,
        };
        Some(ClientName { kind, text })
    }

    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl ClientChain {
    /// Reads the certificates of a connection, the client's own first. `None` if one of them cannot be read.
    pub fn read(certificates: &[CertificateDer<'_>]) -> Option<ClientChain> {
        let mut ends = Vec::new();
        let mut names = None;
        for certificate in certificates {
            let (behind, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
            if !behind.is_empty() {
                return None;
            }
            ends.push(time(parsed.validity().not_after.timestamp().saturating_add(1)));
            names = names.or_else(|| Some(ClientNames { names: names_of(&parsed), fingerprint: sha256(certificate) }));
        }
        let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(ClientChain { certificates, names: names?, ends })
    }

    /// What the client's own certificate says.
    pub fn names(&self) -> &ClientNames {
        &self.names
    }

    /// The certificates, encoded, the client's own first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// When the first of the certificates that are valid at `now` expires.
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        self.ends.iter().copied().filter(|end| *end > now).min()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, bytes).as_ref());
    fingerprint
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<ClientName> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let mut names = Vec::new();
    for name in &alternative.value.general_names {
        let (kind, text) = match name {
            GeneralName::RFC822Name(text) => (NameKind::Email, text),
            GeneralName::DNSName(text) => (NameKind::Dns, text),
            GeneralName::URI(text) => (NameKind::Uri, text),
            GeneralName::Invalid(..) => return Vec::new(),
            _ => continue,
        };
        let Some(name) = ClientName::parse(kind, text) else { return Vec::new() };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
