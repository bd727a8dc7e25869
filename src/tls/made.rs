//! Certificates that the gateway signs itself: a stand-in until a CA has issued one, and the answers to challenges.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::x509::Link;
use crate::clock::Timestamp;

/// The protocol name with which an ACME server asks for the answer to its challenge (RFC 8737).
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// How long such a certificate is valid. Each start makes another stand-in.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// Clocks of containers and virtual machines may be slow.
const SKEW: Duration = Duration::from_secs(3_600);

/// The gateway cannot sign a certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The names cannot be in a certificate, or there are no random numbers.
    #[error("the certificate cannot be created: {0}")]
    Params(#[from] rcgen::Error),
    /// The TLS library does not take the key.
    #[error("the key of the certificate cannot be used: {0}")]
    Key(#[from] rustls::Error),
    /// What was made cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
}

/// A certificate that answers a challenge.
#[derive(Clone)]
pub struct ChallengeCertificate(Arc<CertifiedKey>);

/// A key for a new certificate, and the request for it.
pub struct NewKey {
    /// The private key, in PEM form.
    pub pem: Zeroizing<String>,
    /// The certificate signing request, in DER form.
    pub request: Vec<u8>,
}

impl ChallengeCertificate {
    /// A certificate for `name` with the digest of the key authorization (RFC 8737 §3).
    ///
    /// # Errors
    /// [`NotMade`].
    pub fn new(name: &str, digest: &[u8; 32], now: Timestamp) -> Result<ChallengeCertificate, NotMade> {
        let mut params = params(std::slice::from_ref(&name.to_owned()), now)?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        Ok(ChallengeCertificate(Arc::new(self_signed(&params)?.0)))
    }

    /// The form that rustls uses.
    pub fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ChallengeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeCertificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// A self-signed certificate that is used until `file` has one of a CA, so that the listener works and can answer
    /// the challenges of the CA. Clients refuse it.
    ///
    /// # Errors
    /// [`NotMade`].
    pub fn stand_in(name: &str, names: &[String], file: &Path, now: Timestamp) -> Result<Certificate, NotMade> {
        let mut params = params(names, now)?;
        params.distinguished_name.push(DnType::CommonName, "tokengate waits for its certificate");
        let (key, link) = self_signed(&params)?;
        Ok(Certificate::made(name, file, key, link))
    }
}

impl NewKey {
    /// Draws a key on P-256, and writes a request for a certificate with these names.
    ///
    /// # Errors
    /// [`NotMade`].
    pub fn draw(names: &[String]) -> Result<NewKey, NotMade> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = params.serialize_request(&key)?.der().to_vec();
        Ok(NewKey { pem: Zeroizing::new(key.serialize_pem()), request })
    }
}

fn params(names: &[String], now: Timestamp) -> Result<CertificateParams, NotMade> {
    let mut params = CertificateParams::new(names)?;
    let begin = date_time_ymd(1970, 1, 1) + now.since(Timestamp::from_micros(0));
    (params.not_before, params.not_after) = (begin - SKEW, begin + LIFETIME);
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

fn self_signed(params: &CertificateParams) -> Result<(CertifiedKey, Link), NotMade> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    let link = Link::read(1, certificate.der()).filter(|link| link.has_key(&key.subject_public_key_info()));
    let link = link.ok_or(NotMade::Unreadable)?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = aws_lc_rs::sign::any_supported_type(&der)?;
    Ok((CertifiedKey::new(vec![link.der.clone()], signer), link))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_499_584_000_000);

    #[test]
    fn a_stand_in_has_the_names_that_are_waited_for_and_equals_another_one() {
        let names = ["a.test", "b.test"].map(str::to_owned);
        let make = |names: &[String]| Certificate::stand_in("main", names, Path::new("main.pem"), NOW).unwrap();
        let one = make(&names);
        assert!(one.is_stand_in());
        assert_eq!((one.names.as_slice(), one.files()), (&names[..], [Path::new("main.pem"); 2]));
        assert_eq!(one.key.keys_match(), Ok(()));
        assert_eq!(one, make(&names), "a reload that makes another one changes nothing");
        assert_ne!(one, make(&names[..1]));
    }

    #[test]
    fn the_answer_to_a_challenge_holds_the_digest_in_a_critical_extension() {
        let made = ChallengeCertificate::new("a.test", &[7; 32], NOW).unwrap();
        let der = made.key().cert[0].clone();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        // id-pe-acmeIdentifier, RFC 8737 §6.1.
        let oid = x509_parser::oid_registry::asn1_rs::oid!(1.3.6.1.5.5.7.1.31);
        let extension = parsed.get_extension_unique(&oid).unwrap().unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        assert_eq!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
    }

    #[test]
    fn a_request_for_a_certificate_has_its_names() {
        let NewKey { pem, request } = NewKey::draw(&["a.test".to_owned()]).unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(request.windows(6).any(|part| part == b"a.test"));
    }
}
