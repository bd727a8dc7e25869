//! The relevant facts of one X.509 certificate in a chain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Version;

/// A certificate read from a file.
pub(super) struct Link {
    /// The line where its block begins.
    pub line: usize,
    /// The complete certificate.
    pub der: CertificateDer<'static>,
    /// The name of its subject, for messages.
    pub title: String,
    /// Whether it has version 1, without extensions.
    pub is_version_1: bool,
    /// Start of its validity: seconds since the epoch.
    pub not_before: i64,
    /// End of its validity: seconds since the epoch.
    pub not_after: i64,
    /// DNS names in lower case.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key: Vec<u8>,
}

impl Link {
    /// Parses the bytes of a block; `None` if it is not a certificate.
    pub(super) fn read(line: usize, bytes: &[u8]) -> Option<Link> {
        let (behind, parsed) = x509_parser::parse_x509_certificate(bytes).ok()?;
        let (names, addresses) = alternative_names(&parsed);
        behind.is_empty().then(|| Link {
            line,
            der: CertificateDer::from(bytes.to_vec()),
            title: title(&parsed),
            is_version_1: parsed.version() == X509Version::V1,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            names,
            addresses,
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            key: parsed.public_key().raw.to_vec(),
        })
    }

    /// The name of its subject, encoded.
    pub(super) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Reports whether `other` has the name of its issuer.
    pub(super) fn is_issued_by(&self, other: &Link) -> bool {
        self.issuer == other.subject
    }

    /// Reports whether it is a root certificate, which clients already have.
    pub(super) fn is_root(&self) -> bool {
        self.issuer == self.subject
    }

    /// Reports whether its public key (SubjectPublicKeyInfo) is this one.
    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        self.key == key
    }
}

/// Returns the common name, otherwise the whole subject.
fn title(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    common_name.map_or_else(|| subject.to_string(), str::to_owned)
}

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
