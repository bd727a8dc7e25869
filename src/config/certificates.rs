//! `[certificates.NAME]`: certificates and their keys.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::files::{check_secret_file, report, warn_of_open_key};
use super::reader::{Named, Table};
use super::value::Key;
use crate::tls::Certificate;

/// `[certificates]`
pub(super) fn read(root: &Table<'_>) -> Vec<Named<Certificate>> {
    root.named("certificates", |name, table| {
        let cert = table.key("cert_file").required("add `cert_file`: the certificate and its chain, in PEM format");
        let key = table.key("key_file").required("add `key_file`: the private key, in PEM format");
        let (cert_file, key_file) = (cert.optional_file(), key.optional_file());
        let readable = [(&cert, &cert_file), (&key, &key_file)]
            .map(|(key, file)| file.as_ref().is_some_and(|file| is_readable(key, file)));
        let (cert_file, key_file) = (cert_file?, key_file?);
        check_secret_file(&key, &key_file);
        if cert_file != key_file {
            warn_of_open_key(&cert, &cert_file);
        }
        if readable.contains(&false) {
            return None;
        }
        match Certificate::read(name, &cert_file, &key_file) {
            Ok(certificate) => {
                for note in certificate.notes(table.document().now()) {
                    cert.warning(note.what, note.mend);
                }
                Some(certificate)
            }
            Err(error) => {
                report(if error.path == cert_file { &cert } else { &key }, &error);
                None
            }
        }
    })
}

fn is_readable(key: &Key<'_>, file: &Path) -> bool {
    let Err(error) = File::open(file) else { return true };
    let mend = match error.kind() {
        ErrorKind::NotFound => "correct the path; `tokengate cert` creates development certificates".to_owned(),
        _ => "let the user that runs the gateway read it".to_owned(),
    };
    key.problem(format!("{}: cannot be read: {error}", file.display()), mend);
    false
}
