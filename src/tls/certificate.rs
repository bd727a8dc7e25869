//! A certificate chain with its private key.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use super::file::{BadFile, FileFault, certificates, private_key};
use super::key::UnfitKey;
use super::x509::Link;
use crate::clock::Timestamp;

/// A certificate that expires within this time causes a warning.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// A chain and its key, read from files and known to match.
#[derive(Clone)]
pub struct Certificate {
    /// Its name in the configuration.
    pub name: String,
    /// Its DNS names, in lower case; may begin with `*.`.
    pub names: Vec<String>,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
    /// When it becomes valid: seconds since the epoch.
    pub not_before: i64,
    /// When it expires: seconds since the epoch.
    pub not_after: i64,
    /// The form that rustls uses.
    pub key: Arc<CertifiedKey>,
    file: PathBuf,
    key_file: PathBuf,
    chain: Arc<[Link]>,
    is_stand_in: bool,
}

/// The same certificates from the same files under the same name. The key belongs to the first of them. Stand-ins are
/// equal if they stand in for the same certificate.
impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        let same_text = match (self.is_stand_in, other.is_stand_in) {
            (true, true) => self.names == other.names,
            (false, false) => self.key.cert == other.key.cert,
            _ => false,
        };
        same_text && (&self.name, self.files()) == (&other.name, other.files())
    }
}

impl Eq for Certificate {}

/// A warning about a certificate that works but is probably a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The warning.
    pub what: String,
    /// How to fix it.
    pub mend: &'static str,
}

impl Certificate {
    /// Reads a chain (leaf first) and its key.
    ///
    /// # Errors
    /// [`BadFile`]. The caller checks the permissions of the key file.
    pub fn read(name: &str, cert_file: &Path, key_file: &Path) -> Result<Certificate, BadFile> {
        let chain = certificates(cert_file)?;
        let key = private_key(key_file)?;
        let bad_cert = |line, fault| BadFile { path: cert_file.into(), line, fault };
        let bad_key = |fault| BadFile { path: key_file.into(), line: None, fault };
        let signer = aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| bad_key(UnfitKey::of(&key).map_or(FileFault::UnusableKey(error), FileFault::UnfitKey)))?;
        let Some(leaf) = chain.first() else { return Err(bad_key(FileFault::Mismatch { cert: cert_file.into() })) };
        if let Some(key) = signer.public_key().filter(|key| !leaf.has_key(key)) {
            return Err(match chain.iter().find(|link| link.has_key(&key)) {
                Some(link) => bad_cert(Some(link.line), FileFault::NotFirst { key: key_file.into() }),
                None => bad_key(FileFault::Mismatch { cert: cert_file.into() }),
            });
        }
        if let Some(old) = chain.iter().find(|link| link.is_version_1 && (link.line == leaf.line || !link.is_root())) {
            return Err(bad_cert(Some(old.line), FileFault::Version1));
        }
        let certified = CertifiedKey::new(chain.iter().map(|link| link.der.clone()).collect(), signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(bad_cert(Some(leaf.line), FileFault::UnusableCertificate(error))),
        }
        Ok(Certificate {
            name: name.to_owned(),
            names: leaf.names.clone(),
            addresses: leaf.addresses.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            key: Arc::new(certified),
            file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            chain: chain.into(),
            is_stand_in: false,
        })
    }

    /// A certificate that stands in for the one that `file` will have.
    pub(super) fn made(name: &str, file: &Path, key: CertifiedKey, link: Link) -> Certificate {
        Certificate {
            name: name.to_owned(),
            names: link.names.clone(),
            addresses: link.addresses.clone(),
            not_before: link.not_before,
            not_after: link.not_after,
            key: Arc::new(key),
            file: file.to_owned(),
            key_file: file.to_owned(),
            chain: [link].into(),
            is_stand_in: true,
        }
    }

    /// Whether it is self-signed, until a CA has issued one.
    pub fn is_stand_in(&self) -> bool {
        self.is_stand_in
    }

    /// The file of the chain, and that of the key.
    pub fn files(&self) -> [&Path; 2] {
        [&self.file, &self.key_file]
    }

    /// Returns warnings about the chain at the time `now`.
    pub fn notes(&self, now: Timestamp) -> Vec<Note> {
        let mut notes = self.notes_of_client(now);
        if self.names.is_empty() && self.addresses.is_empty() {
            let what = "the certificate names no host in its subjectAltName, so that clients refuse it".to_owned();
            notes.push(Note { what, mend: "request a new certificate with the names that clients use" });
        }
        notes
    }

    /// As [`Certificate::notes`], for the certificate of a client, which needs no host name.
    pub fn notes_of_client(&self, now: Timestamp) -> Vec<Note> {
        let Some((leaf, others)) = self.chain.split_first() else { return Vec::new() };
        let mut notes = Vec::new();
        let end = time(leaf.not_after);
        if end <= now.after(ENDS_SOON) {
            let verb = if end <= now { "expired" } else { "expires" };
            notes.push(Note { what: format!("the certificate {verb} at {end}"), mend: "renew it" });
        }
        if time(leaf.not_before) > now {
            let what = format!("the certificate is not valid before {}", time(leaf.not_before));
            notes.push(Note { what, mend: "check the clock of this machine" });
        }
        for link in others.iter().filter(|link| !link.is_root() && time(link.not_after) <= now) {
            let what =
                format!("{}: the certificate of {} expired at {}", self.at(link), link.title, time(link.not_after));
            notes.push(Note { what, mend: "get the current certificates of the CA" });
        }
        notes.extend(self.order());
        notes
    }

    /// Checks that each certificate is followed by that of its issuer.
    fn order(&self) -> Option<Note> {
        let (link, next) =
            self.chain.iter().zip(self.chain.iter().skip(1)).find(|(link, next)| !link.is_issued_by(next))?;
        let issuer = self.chain.iter().find(|other| link.is_issued_by(other) && other.line != link.line);
        Some(match issuer {
            Some(issuer) => Note {
                what: format!("{}: {} issued {}, but does not follow it", self.at(issuer), issuer.title, link.title),
                mend: "order the chain so that the issuer follows each certificate; some clients refuse another order",
            },
            None => Note {
                what: format!("{}: {} did not issue {} before it", self.at(next), next.title, link.title),
                mend: "remove it, or add the certificates between them",
            },
        })
    }

    fn at(&self, link: &Link) -> String {
        format!("{}:{}", self.file.display(), link.line)
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).field("names", &self.names).finish_non_exhaustive()
    }
}
