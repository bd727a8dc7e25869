//! The certificates that clients show to a listener, and the users that they belong to.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::files::report;
use super::forward_certificate::ForwardCertificate;
use super::reader::Table;
use super::routes::Route;
use super::value::{Fault, Key};
use crate::tls::{ClientAuthorities, ClientName, ClientNames, NameKind};
use crate::token::AuthMethod;

/// Maximum length of a username.
const MAX_USER: usize = 150;

/// The certificates that clients show to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Which are accepted.
    pub authorities: ClientAuthorities,
    /// The users that they belong to.
    pub users: CertificateUsers,
}

/// The users that certificates belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateUsers {
    /// The kind of name that is the username itself; `None`: only listed names and certificates belong to users.
    pub by: Option<NameKind>,
    listed: HashMap<Listed, Arc<str>>,
}

/// What is listed for a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listed {
    /// All certificates with this name.
    Name(ClientName),
    /// The certificate with this SHA-256 fingerprint.
    Fingerprint([u8; 32]),
}

impl CertificateUsers {
    /// Lists names and certificates with their users.
    pub fn new(by: Option<NameKind>, listed: impl IntoIterator<Item = (Listed, Arc<str>)>) -> CertificateUsers {
        CertificateUsers { by, listed: listed.into_iter().collect() }
    }

    /// Whether no certificate belongs to a user.
    pub fn is_empty(&self) -> bool {
        self.by.is_none() && self.listed.is_empty()
    }

    /// The user that a certificate belongs to. `None`: none, or its names belong to several. A listed fingerprint
    /// decides alone, because it means exactly this certificate.
    pub fn user_of<'a>(&'a self, client: &'a ClientNames) -> Option<&'a str> {
        if let Some(user) = self.listed.get(&Listed::Fingerprint(client.fingerprint)) {
            return Some(user);
        }
        let user = |name: &'a ClientName| {
            let itself = || (self.by == Some(name.kind)).then(|| name.as_str());
            self.listed.get(&Listed::Name(name.clone())).map(|user| &**user).or_else(itself)
        };
        let mut users = client.names.iter().filter_map(user);
        let first = users.next()?;
        users.all(|other| other == first).then_some(first)
    }
}

impl ClientCertificates {
    /// Reads the files again, with the same checks.
    ///
    /// # Errors
    /// What is wrong with the files, and how to fix it.
    pub fn read_again(&self) -> Result<ClientCertificates, String> {
        let authorities = self.authorities.read_again().map_err(|bad| format!("{bad}; {}", bad.mend()))?;
        Ok(ClientCertificates { authorities, users: self.users.clone() })
    }

    /// The files that they were read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.authorities.files()
    }
}

/// The keys about client certificates of a listener.
pub(super) struct ClientKeys<'d> {
    ca: Key<'d>,
    mode: Key<'d>,
    crl: Key<'d>,
    by: Key<'d>,
}

impl<'d> ClientKeys<'d> {
    /// The keys of this table. `is_tls`: they can have an effect.
    pub(super) fn of(table: &Table<'d>, is_tls: bool) -> ClientKeys<'d> {
        let ca = table.key("client_ca_file").only_if(is_tls);
        let depends = is_tls && ca.is_set();
        let key = |name| table.key(name).only_if(depends);
        ClientKeys { mode: key("client_certificates"), crl: key("client_crl_file"), by: key("client_user_by"), ca }
    }

    /// All keys.
    pub(super) fn all(&self) -> [&Key<'d>; 4] {
        [&self.ca, &self.mode, &self.crl, &self.by]
    }

    /// Reads the keys, and the table `client_users`. `None` if clients are not asked for certificates, and after an
    /// error.
    pub(super) fn read(&self, listener: &Table<'_>) -> Option<Arc<ClientCertificates>> {
        let is_required = self.mode.choice(&[("required", true), ("optional", false)], true);
        let kinds = [("email", NameKind::Email), ("dns", NameKind::Dns), ("uri", NameKind::Uri)];
        let by = self.by.optional_choice(&kinds);
        let users = CertificateUsers::new(by, listed(listener));
        let (ca_file, crl_file) = (self.ca.optional_file(), self.crl.optional_file());
        if !self.ca.is_set() {
            for key in self.all().into_iter().filter(|key| key.is_set()) {
                key.problem("has no effect without `client_ca_file`", "add `client_ca_file`, or remove it");
            }
            if !users.listed.is_empty() {
                let mend = "add `client_ca_file`, or remove the table";
                listener.problem("`client_users` has no effect without `client_ca_file`", mend);
            }
            return None;
        }
        if self.crl.is_set() && crl_file.is_none() {
            return None;
        }
        match ClientAuthorities::read(&ca_file?, crl_file.as_deref(), is_required) {
            Ok(authorities) => {
                for note in authorities.notes(listener.document().now()) {
                    self.crl.warning(note.what, note.mend);
                }
                Some(Arc::new(ClientCertificates { authorities, users }))
            }
            Err(bad) => {
                let is_list = crl_file.is_some_and(|file| file == bad.path);
                report(if is_list { &self.crl } else { &self.ca }, &bad);
                None
            }
        }
    }
}

/// `[listeners.NAME.client_users]`
fn listed(listener: &Table<'_>) -> Vec<(Listed, Arc<str>)> {
    let named = listener.named("client_users", |user, table| {
        if user.is_empty() || user.chars().count() > MAX_USER || user.chars().any(char::is_control) {
            table.problem("this is not a username", "write the name of a user, in quotes if it has other characters");
        }
        let kinds = [("email", NameKind::Email), ("dns", NameKind::Dns), ("uri", NameKind::Uri)];
        let mut all = Vec::new();
        let mut is_set = false;
        for (key, kind) in kinds {
            let key = table.key(key);
            is_set |= key.is_set();
            all.extend(key.parse_list(|text| name(kind, text)));
        }
        let fingerprints = table.key("sha256");
        is_set |= fingerprints.is_set();
        all.extend(fingerprints.parse_list(fingerprint));
        if !is_set {
            table.problem("no certificate belongs to this user", "add `email`, `dns`, `uri` or `sha256`");
        }
        Some(all)
    });
    let mut taken: HashMap<Listed, Arc<str>> = HashMap::new();
    for user in named {
        for one in user.value.into_iter().flatten() {
            if let Some(other) = taken.insert(one, user.name.as_str().into()).filter(|other| **other != *user.name) {
                let what = format!("a name or certificate belongs to `{other}` and to `{}`", user.name);
                listener.document().problem(user.line, None, what, Some("leave it with one of them".to_owned()));
            }
        }
    }
    taken.into_iter().collect()
}

fn name(kind: NameKind, text: &str) -> Result<Listed, Fault> {
    let (what, example) = match kind {
        NameKind::Email => ("is not an e-mail address", "write one such as \"ci@example.com\""),
        NameKind::Dns => ("is not a DNS name", "write one such as \"build.example.com\""),
        NameKind::Uri => ("is not a URI", "write one such as \"spiffe://example.com/build\""),
    };
    ClientName::parse(kind, text).map(Listed::Name).ok_or_else(|| Fault::new(what, example))
}

/// 64 hexadecimal digits, with or without colons, as `openssl x509 -fingerprint -sha256` writes them.
fn fingerprint(text: &str) -> Result<Listed, Fault> {
    let fault = || {
        let mend = "write 64 hexadecimal digits: openssl x509 -noout -fingerprint -sha256 -in client.pem";
        Fault::new("is not the SHA-256 fingerprint of a certificate", mend)
    };
    let digits: String = text.chars().filter(|char| *char != ':').collect();
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(fault());
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        let pair = digits.get(at..at + 2).ok_or_else(fault)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| fault())?;
    }
    Ok(Listed::Fingerprint(bytes))
}

/// Reports routes for client certificates that no listener provides. `asked` is what listeners ask for.
pub(super) fn check(root: &Table<'_>, routes: &[Route], asked: &[&ClientCertificates]) {
    let problem = |route: &Route, key: &str, what: &str, mend: &str| {
        let key = format!("routes.{}.{key}", route.name);
        root.document().problem(None, Some(&key), what.to_owned(), Some(mend.to_owned()));
    };
    for route in routes {
        let identifies = route.credentials.contains(&AuthMethod::Certificate);
        if (identifies || route.forward_certificate != ForwardCertificate::Never) && asked.is_empty() {
            let key = if identifies { "credentials" } else { "forward_certificate" };
            problem(route, key, "no listener asks clients for certificates", "add `client_ca_file` to a listener");
        } else if identifies && asked.iter().all(|clients| clients.users.is_empty()) {
            let mend = "add `client_user_by` to the listener, or list users in its table `client_users`";
            problem(route, "credentials", "no client certificate belongs to a user", mend);
        }
    }
}
