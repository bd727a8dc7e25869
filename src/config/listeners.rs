//! `[listeners.NAME]` and `[certificates.NAME]`: the addresses that clients connect to, and the certificates.

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::document::Document;
use super::files::{check_secret_file, report, warn_of_open_key};
use super::names::Names;
use super::reader::{Named, Table};
use super::settings::{ExposedToken, Listener, ListenerRole, PlainListener, Plaintext, TlsListener};
use super::value::{Fault, Key};
use crate::tls::Certificate;

/// `[listeners]`
pub(super) fn read(root: &Table<'_>, certificates: &Names) -> Vec<Listener> {
    let named = root.named("listeners", |name, table| listener(name, table, certificates));
    if named.is_empty() {
        let mend = "add [listeners.public] with `address` and `certificates`".to_owned();
        root.document().problem(None, Some("listeners"), "no listener is configured".to_owned(), Some(mend));
    }
    refuse_equal_addresses(root.document(), &named);
    named.into_iter().filter_map(|listener| listener.value).collect()
}

fn listener(name: &str, table: &Table<'_>, certificates: &Names) -> Option<Listener> {
    let address = table.key("address");
    address.require("add `address = \"0.0.0.0:443\"`");
    let address = address.parse(|text| {
        let example = "write an IP address with a port, such as \"0.0.0.0:443\" or \"[::]:443\"";
        text.parse::<SocketAddr>().map_err(|_| Fault::new("is not an address with a port", example))
    });
    let (chain, protocols) = (table.key("certificates"), table.key("protocols"));
    let (min_tls, hsts) = (table.key("min_tls"), table.key("hsts").or_word("off"));
    let (plaintext, exposed_token) = (table.key("plaintext"), table.key("exposed_token"));
    let services = table.key("services");

    let role = match (chain.is_set(), plaintext.is_set(), services.is_set()) {
        (true, false, false) => {
            let tls = tls(&chain, &protocols, &min_tls, &hsts, certificates);
            ListenerRole::Tls(TlsListener { exposed_token: fate(&exposed_token), ..tls })
        }
        (false, true, false) => {
            only_for("certificates", &[&protocols, &min_tls, &hsts]);
            ListenerRole::Plain(plain(&plaintext, &exposed_token, address))
        }
        (false, false, true) => {
            only_for("certificates", &[&protocols, &min_tls, &hsts]);
            only_for("certificates` or `plaintext", &[&exposed_token]);
            internal(&services)
        }
        (false, false, false) => {
            let mend =
                "add `certificates` for HTTPS, `plaintext` for unencrypted HTTP, or `services` for health and metrics";
            table.problem("this listener has no purpose", mend);
            return None;
        }
        _ => {
            let mend = "make one listener for each";
            table.problem("only one of `certificates`, `plaintext` and `services` is allowed", mend);
            return None;
        }
    };
    Some(Listener { name: name.to_owned(), address: address?, role })
}

fn only_for(role: &str, keys: &[&Key<'_>]) {
    for key in keys.iter().filter(|key| key.is_set()) {
        key.problem(format!("is only allowed together with `{role}`"), "remove it");
    }
}

fn tls(chain: &Key<'_>, protocols: &Key<'_>, min_tls: &Key<'_>, hsts: &Key<'_>, names: &Names) -> TlsListener {
    let chosen = protocols.list().map(|list| {
        list.iter().filter_map(|protocol| protocol.choice(&[("h1", Protocol::H1), ("h2", Protocol::H2)])).collect()
    });
    let chosen: Vec<Protocol> = chosen.unwrap_or_else(|| vec![Protocol::H1, Protocol::H2]);
    TlsListener {
        certificates: chain.list().unwrap_or_default().iter().filter_map(|name| names.find(name)).collect(),
        http1: chosen.contains(&Protocol::H1),
        http2: chosen.contains(&Protocol::H2),
        tls12: min_tls.choice(&[("1.2", true), ("1.3", false)]).unwrap_or(true),
        hsts: hsts.optional_duration(Some(Duration::from_secs(365 * 86_400))),
        exposed_token: ExposedToken::Mark,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    H1,
    H2,
}

fn plain(plaintext: &Key<'_>, exposed_token: &Key<'_>, address: Option<SocketAddr>) -> PlainListener {
    let ways = [("refuse", Plaintext::Refuse), ("redirect", Plaintext::Redirect), ("serve", Plaintext::Serve)];
    let way = plaintext.choice(&ways).unwrap_or(Plaintext::Refuse);
    if way == Plaintext::Serve && address.is_some_and(|address| !address.ip().is_loopback()) {
        let mend = "use \"refuse\" or \"redirect\", or listen on 127.0.0.1";
        plaintext.problem("`serve` would send tokens over the network unencrypted", mend);
    }
    PlainListener { plaintext: way, exposed_token: fate(exposed_token) }
}

fn fate(exposed_token: &Key<'_>) -> ExposedToken {
    let fates = [("ignore", ExposedToken::Ignore), ("mark", ExposedToken::Mark), ("revoke", ExposedToken::Revoke)];
    exposed_token.choice(&fates).unwrap_or(ExposedToken::Mark)
}

fn internal(services: &Key<'_>) -> ListenerRole {
    let list = services.list().unwrap_or_default();
    let chosen: Vec<bool> =
        list.iter().filter_map(|service| service.choice(&[("health", true), ("metrics", false)])).collect();
    ListenerRole::Internal { health: chosen.contains(&true), metrics: chosen.contains(&false) }
}

fn refuse_equal_addresses(document: &Document<'_>, listeners: &[Named<Listener>]) {
    let mut placed: Vec<_> =
        listeners.iter().filter_map(|named| Some((named, named.value.as_ref()?.address))).collect();
    placed.sort_by_key(|(named, _)| named.line);
    for (index, (named, address)) in placed.iter().enumerate() {
        let earlier = placed.iter().take(index).find(|(_, other)| other == address && address.port() != 0);
        if let Some((other, _)) = earlier {
            let (key, other) = (format!("listeners.{}", named.name), &other.name);
            let what = format!("`{address}` is already used by listeners.{other}");
            document.problem(named.line, Some(&key), what, Some("choose another port".to_owned()));
        }
    }
}

/// `[certificates]`
pub(super) fn read_certificates(root: &Table<'_>) -> Vec<Named<Certificate>> {
    root.named("certificates", |name, table| {
        let (cert, key) = (table.key("cert_file"), table.key("key_file"));
        cert.require("add `cert_file`: the certificate and its chain, in PEM format");
        key.require("add `key_file`: the private key, in PEM format");
        let (cert_file, key_file) = (cert.file(), key.file());
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
