//! `[certificates.NAME]`: certificates and their keys.

use std::cell::RefCell;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::acme::{self, Acme, AcmeCertificate};
use super::document::MISSING;
use super::files::{check_secret_file, report, warn_of_open_key};
use super::reader::{Named, Table};
use super::value::Key;
use crate::clock::Timestamp;
use crate::tls::Certificate;

/// `[certificates]`. Adds those that a CA issues to `acme`.
pub(super) fn read(root: &Table<'_>, acme: &mut Option<Acme>) -> Vec<Named<Certificate>> {
    let mut issued = Vec::new();
    let read = RefCell::new(&mut issued);
    let named = root.named("certificates", |name, table| {
        table.needs_one_of(&["cert_file", "acme_names"]);
        let (names, challenge) = (table.key("acme_names"), table.key("challenge"));
        let is_issued = names.is_set();
        let challenge = challenge.only_if(is_issued);
        let wanted = acme::certificate(name, &names, &challenge, acme.as_ref());
        let add = "add `cert_file`: the certificate and its chain, in PEM format; or `acme_names` for one from a CA";
        let (cert, key) = (table.key("cert_file"), table.key("key_file"));
        for (missing, add) in [(&cert, add), (&key, "add `key_file`: the private key, in PEM format")] {
            if !is_issued && !missing.is_set() {
                missing.problem(MISSING, add);
            }
        }
        if !is_issued && challenge.is_set() {
            challenge.problem("is only allowed together with `acme_names`", "remove it");
        }
        if is_issued {
            for file in [&cert, &key].into_iter().filter(|file| file.is_set()) {
                file.problem("cannot be combined with `acme_names`", "remove one of them");
            }
            // Reads the keys, so that they are known.
            let _ = (cert.optional_file(), key.optional_file());
            let wanted = wanted?;
            let file = acme.as_ref()?.file(name);
            check_secret_file(&names, &file);
            let certificate = issued_or_stand_in(&names, &wanted, &file, table.document().now());
            read.borrow_mut().push(wanted);
            return certificate;
        }
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
    });
    if let Some(acme) = acme {
        acme.certificates = issued;
    }
    named
}

/// The certificate that the CA has issued, else one that stands in for it. A damaged file is replaced by the next
/// order.
fn issued_or_stand_in(key: &Key<'_>, wanted: &AcmeCertificate, file: &Path, now: Timestamp) -> Option<Certificate> {
    if file.exists() {
        match Certificate::read(&wanted.name, file, file) {
            Ok(certificate) => return Some(certificate),
            Err(error) => key.warning(error.to_string(), "none is needed: the gateway requests a new one"),
        }
    }
    let made = Certificate::stand_in(&wanted.name, &wanted.names, file, now);
    made.inspect_err(|error| key.problem(error.to_string(), "correct the names")).ok()
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
