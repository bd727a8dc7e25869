//! Files that the configuration names: secrets, certificates and keys, judged when they are read.

use std::path::Path;

use super::value::Key;
use crate::secret_file;
use crate::tls::{self, BadFile};

/// Reports a secret that others can read or change. A file that is not there is somebody else's matter.
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
        let what = format!("{}: holds a private key too, and is {open}", file.display());
        key.warning(what, format!("take the key out of this file, or {}", open.mend(file)));
    }
}

/// The files in PEM form that the address of a database names; its driver reads them by itself, and less strictly.
pub(super) struct TlsFiles<'a> {
    /// Certificates of authorities.
    pub authorities: Option<&'a Path>,
    /// A certificate of ours.
    pub certificate: Option<&'a Path>,
    /// Its key.
    pub key: Option<&'a Path>,
}

impl TlsFiles<'_> {
    /// Reports what the driver would misread, and a key that others can read.
    pub(super) fn check(&self, key: &Key<'_>) {
        if let Some(file) = self.key {
            check_secret_file(key, file);
        }
        for file in [self.authorities, self.certificate].into_iter().flatten().filter(|file| Some(*file) != self.key) {
            warn_of_open_key(key, file);
        }
        if let Some(Err(bad)) = self.authorities.map(tls::authorities) {
            report(key, &bad);
        }
        if let (Some(certificate), Some(own_key)) = (self.certificate, self.key)
            && let Err(bad) = tls::check_identity(certificate, own_key)
        {
            report(key, &bad);
        }
    }
}

/// Reports a file that cannot be used.
pub(super) fn report(key: &Key<'_>, bad: &BadFile) {
    key.problem(bad.to_string(), bad.mend());
}
