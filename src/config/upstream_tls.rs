//! `[upstreams.NAME.tls]`: TLS towards endpoints with `https://`.

use super::files::{check_secret_file, report, warn_of_open_key};
use super::reader::Table;
use super::value::{Fault, Key};
use crate::tls::{Authorities, Certificate, ServerName};

/// TLS towards the endpoints of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The CAs of which one must have issued the endpoints' certificates.
    pub authorities: Authorities,
    /// The certificate that endpoints get when they ask for one.
    pub client: Option<Certificate>,
    /// The name in the endpoints' certificates; `None`: the host of the endpoint.
    pub server_name: Option<ServerName<'static>>,
    /// Whether TLS 1.2 is allowed.
    pub tls12: bool,
}

/// Reads the table. `None` if no endpoint `is_used` with TLS, and after an error.
pub(super) fn read(upstream: &Table<'_>, is_used: bool) -> Option<UpstreamTls> {
    upstream.table_if(is_used, "tls", |table| {
        let (ca, cert, key) = (table.key("ca_file"), table.key("client_cert_file"), table.key("client_key_file"));
        let name = table.key("server_name");
        for key in [&ca, &cert, &key, &name].into_iter().filter(|key| key.is_set() && !is_used) {
            key.problem("no endpoint uses TLS", "write https:// in `endpoints`, or remove this");
        }
        let server_name = name.parse(server_name);
        let min_version = table.key("min_version").only_if(is_used);
        let tls12 = min_version.choice(&[("1.2", true), ("1.3", false)], true);
        let authorities = authorities(table, &ca, is_used);
        let client = client(table, &cert, &key);
        is_used.then(|| Some(UpstreamTls { authorities: authorities?, client: client?, server_name, tls12 }))?
    })
}

/// A host name or an IP address, as certificates contain it.
pub(super) fn server_name(text: &str) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| Fault::new("is neither a host name nor an IP address", "write the name in the certificate"))
}

fn authorities(table: &Table<'_>, ca: &Key<'_>, is_used: bool) -> Option<Authorities> {
    match ca.optional_file() {
        Some(file) => {
            warn_of_open_key(ca, &file);
            Authorities::read(&file).map_err(|bad| report(ca, &bad)).ok()
        }
        None if is_used && !ca.is_set() => {
            let mend = "set `ca_file` in the table `tls` of this upstream, or install the package ca-certificates";
            Authorities::of_system().map_err(|none| table.problem(none.to_string(), mend)).ok()
        }
        None => None,
    }
}

/// `Some(None)`: there is none.
fn client(table: &Table<'_>, cert: &Key<'_>, key: &Key<'_>) -> Option<Option<Certificate>> {
    let files = (cert.optional_file(), key.optional_file());
    let missing =
        |present: &Key<'_>, name: &str| present.problem("is only one of the two files", format!("add `{name}`"));
    match files {
        (Some(cert_file), Some(key_file)) => {
            check_secret_file(key, &key_file);
            if cert_file != key_file {
                warn_of_open_key(cert, &cert_file);
            }
            match Certificate::read("", &cert_file, &key_file) {
                Ok(certificate) => {
                    for note in certificate.notes_of_client(table.document().now()) {
                        cert.warning(note.what, note.mend);
                    }
                    return Some(Some(certificate));
                }
                Err(bad) => report(if bad.path == cert_file { cert } else { key }, &bad),
            }
        }
        (None, None) if !cert.is_set() && !key.is_set() => return Some(None),
        (None, None) => {}
        (Some(_), None) if !key.is_set() => missing(cert, "client_key_file"),
        (None, Some(_)) if !cert.is_set() => missing(key, "client_cert_file"),
        _ => {}
    }
    None
}

impl UpstreamTls {
    /// The files that it was read from.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.authorities.file().into_iter().chain(self.client.iter().flat_map(Certificate::files))
    }

    /// Reads the same files again, with the same checks.
    ///
    /// # Errors
    /// What is wrong with the files, and how to fix it.
    pub fn read_again(&self) -> Result<UpstreamTls, String> {
        let authorities = match self.authorities.file() {
            Some(file) => Authorities::read(file).map_err(|bad| format!("{bad}; {}", bad.mend()))?,
            None => self.authorities.clone(),
        };
        let client = self.client.as_ref().map(super::files::read_again).transpose()?;
        Ok(UpstreamTls { authorities, client, ..self.clone() })
    }
}
