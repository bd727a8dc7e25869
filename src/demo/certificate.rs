//! Development certificates: a small authority of its own and a server certificate signed by it.
//!
//! Used by `tokengate cert`, by the demo and by tests. For development only: nothing renews or revokes these
//! certificates. The CA's private key is discarded unless the caller asks to keep it, so trusting `dev-ca.pem` means
//! trusting this one certificate only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::clock::Timestamp;

/// Names in every development certificate.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// 397 days: the longest validity that every client accepts (ballot SC22 of the CA/Browser Forum).
const LIFETIME: Duration = Duration::from_secs(397 * 86_400);

/// One hour: clocks of containers and virtual machines may be slow.
const SKEW: Duration = Duration::from_secs(3_600);

/// Options of a certificate.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Names and addresses beside `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
    /// Replace existing files.
    pub force: bool,
    /// Keep the key of the authority.
    pub keep_ca_key: bool,
}

/// The created files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The authority's certificate, for clients to trust.
    pub ca_file: PathBuf,
    /// The authority's key, if it was kept.
    pub ca_key_file: Option<PathBuf>,
    /// The server's certificate and the authority's, in that order.
    pub cert_file: PathBuf,
    /// The server's key, readable by its owner only.
    pub key_file: PathBuf,
    /// Names and addresses in the certificate.
    pub names: Vec<String>,
}

/// Reason why no certificate was created.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file exists already.
    #[error("{0}: already exists; add --force to replace it")]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{path}: cannot be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A name is not valid in a certificate.
    #[error("{name:?}: neither a host name nor an IP address")]
    BadName {
        /// The name.
        name: String,
    },
    /// The library failed.
    #[error("the certificate cannot be created")]
    Failed(#[from] rcgen::Error),
}

/// Creates `dev-ca.pem`, `dev-cert.pem` and `dev-key.pem` in `dir`, and `dir` itself if needed.
///
/// # Errors
/// See [`CertError`]. Nothing is written if one of the files exists and `wish` does not ask to replace it.
pub fn make(dir: &Path, wish: &Wish, now: Timestamp) -> Result<Made, CertError> {
    let made = Made {
        ca_file: dir.join("dev-ca.pem"),
        ca_key_file: wish.keep_ca_key.then(|| dir.join("dev-ca-key.pem")),
        cert_file: dir.join("dev-cert.pem"),
        key_file: dir.join("dev-key.pem"),
        names: all_names(&wish.names)?,
    };
    let files = [Some(&made.ca_file), made.ca_key_file.as_ref(), Some(&made.cert_file), Some(&made.key_file)];
    for file in files.into_iter().flatten() {
        if !wish.force && file.exists() {
            return Err(CertError::Exists(file.clone()));
        }
    }
    fs::create_dir_all(dir).map_err(|source| CertError::Unwritable { path: dir.to_owned(), source })?;

    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let ca = CertifiedIssuer::self_signed(authority(now), &ca_key)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = server(&made.names, now)?.signed_by(&key, &ca)?;

    write_new(&made.ca_file, &ca.pem(), 0o644)?;
    if let Some(file) = &made.ca_key_file {
        write_new(file, &ca_key.serialize_pem(), 0o600)?;
    }
    write_new(&made.cert_file, &(leaf.pem() + &ca.pem()), 0o644)?;
    write_new(&made.key_file, &key.serialize_pem(), 0o600)?;
    Ok(made)
}

fn all_names(more: &[String]) -> Result<Vec<String>, CertError> {
    let mut names: Vec<String> = LOCAL_NAMES.into_iter().map(str::to_owned).collect();
    for name in more {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:*".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(CertError::BadName { name: name.clone() });
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

fn authority(now: Timestamp) -> CertificateParams {
    let mut params = dated(CertificateParams::default(), now);
    params.distinguished_name.push(DnType::CommonName, "tokengate development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(names: &[String], now: Timestamp) -> Result<CertificateParams, CertError> {
    let mut params = dated(CertificateParams::new(names)?, now);
    params.distinguished_name.push(DnType::CommonName, "tokengate development certificate");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn dated(mut params: CertificateParams, now: Timestamp) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = now.since(Timestamp::from_micros(0));
    params.not_before = epoch + since_epoch.saturating_sub(SKEW);
    params.not_after = epoch + since_epoch + LIFETIME - SKEW;
    params.distinguished_name = DistinguishedName::new();
    params
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let write = || {
        // Removes the file instead of truncating it: an existing file would keep its mode, which may be too permissive.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|source| CertError::Unwritable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;
    use crate::tls::Certificate;

    const NOW: Timestamp = Timestamp::from_micros(1_795_499_584_000_000);

    #[test]
    fn a_client_that_trusts_the_authority_accepts_the_certificate_for_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let wish = Wish { names: vec!["api.test".to_owned()], ..Wish::default() };
        let made = make(dir.path(), &wish, NOW).unwrap();

        let read = Certificate::read("dev", &made.cert_file, &made.key_file).unwrap();
        assert_eq!(read.names, ["localhost", "api.test"]);
        assert_eq!(read.key.cert.len(), 2);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&made.ca_file).unwrap()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
        let verifier = verifier.build().unwrap();
        let verify = |name: &'static str, at: i64| {
            use rustls::client::danger::ServerCertVerifier;
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at.try_into().unwrap()));
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&read.key.cert[0], &read.key.cert[1..], &name, &[], at).is_ok()
        };
        for name in ["localhost", "127.0.0.1", "::1", "api.test"] {
            assert!(verify(name, NOW.as_seconds()), "{name}");
        }
        assert!(!verify("example.com", NOW.as_seconds()));
        assert!(!verify("localhost", NOW.as_seconds() + 397 * 86_400));
    }

    #[test]
    fn keys_are_readable_by_their_owner_only_and_the_ca_key_is_kept_only_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        let made = make(dir.path(), &Wish::default(), NOW).unwrap();
        assert_eq!(mode(&made.key_file), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);

        fs::set_permissions(&made.key_file, fs::Permissions::from_mode(0o644)).unwrap();
        let wish = Wish { force: true, keep_ca_key: true, ..Wish::default() };
        let made = make(dir.path(), &wish, NOW).unwrap();
        assert_eq!(mode(&made.key_file), 0o600);
        assert_eq!(mode(&made.ca_key_file.unwrap()), 0o600);
    }

    #[test]
    fn no_file_is_overwritten_and_none_is_written_for_an_invalid_name() {
        let dir = tempfile::tempdir().unwrap();
        let bad = Wish { names: vec!["no name".to_owned()], ..Wish::default() };
        assert!(matches!(make(dir.path(), &bad, NOW), Err(CertError::BadName { .. })));
        fs::write(dir.path().join("dev-key.pem"), "mine").unwrap();
        assert!(matches!(make(dir.path(), &Wish::default(), NOW), Err(CertError::Exists(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(dir.path().join("dev-key.pem")).unwrap(), "mine");
    }
}
