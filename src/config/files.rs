//! Files that the configuration names: secrets, certificates and keys. Each is checked when it is read.

use std::path::Path;

use super::url::tls::DatabaseTls;
use super::value::Key;
use crate::secret_file;
use crate::tls::{self, BadFile, Certificate};

/// Reports a secret file that others can read or change. A missing file is reported elsewhere.
pub(super) fn check_secret_file(key: &Key<'_>, file: &Path) {
    let Ok(metadata) = file.metadata() else { return };
    if let Err(open) = secret_file::check(&metadata) {
        key.problem(format!("{}: {open}", file.display()), open.mend(file));
    }
}

/// Warns of a file for certificates that holds a private key as well, which others can read.
pub(super) fn warn_of_open_key(key: &Key<'_>, file: &Path) {
    let Ok(metadata) = file.metadata() else { return };
    if let Err(open) = secret_file::check(&metadata)
        && tls::holds_a_key(file)
    {
        let what = format!("{}: contains a private key too, and is {open}", file.display());
        key.warning(what, format!("take the key out of this file, or {}", open.mend(file)));
    }
}

/// Reports PEM files of a database URL that the driver, which reads them itself, would misread, and a key that others
/// can read.
pub(super) fn check_database_tls(key: &Key<'_>, tls: &DatabaseTls) {
    let DatabaseTls { mode: _, authorities, certificate, key: own_key } = tls;
    if let Some(file) = own_key {
        check_secret_file(key, file);
    }
    for file in [authorities, certificate].into_iter().flatten().filter(|file| Some(*file) != own_key.as_ref()) {
        warn_of_open_key(key, file);
    }
    if let Some(Err(bad)) = authorities.as_deref().map(tls::authorities) {
        report(key, &bad);
    }
    if let (Some(certificate), Some(own_key)) = (certificate, own_key)
        && let Err(bad) = tls::check_identity(certificate, own_key)
    {
        report(key, &bad);
    }
}

/// Reads a certificate and its key again, from the same files and with the same checks.
///
/// # Errors
/// What is wrong with the files, and how to fix it.
pub fn read_again(certificate: &Certificate) -> Result<Certificate, String> {
    let [cert_file, key_file] = certificate.files();
    // The CA has issued none yet.
    if certificate.is_stand_in() && !key_file.exists() {
        return Ok(certificate.clone());
    }
    if let Ok(metadata) = key_file.metadata()
        && let Err(open) = secret_file::check(&metadata)
    {
        return Err(format!("{}: {open}; {}", key_file.display(), open.mend(key_file)));
    }
    Certificate::read(&certificate.name, cert_file, key_file).map_err(|bad| format!("{bad}; {}", bad.mend()))
}

/// Reports a file that cannot be used.
pub(super) fn report(key: &Key<'_>, bad: &BadFile) {
    key.problem(bad.to_string(), bad.mend());
}
