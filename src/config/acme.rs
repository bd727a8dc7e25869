//! `[acme]`: the certificate authority that issues and renews certificates, and the certificates that it issues.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::files::{check_secret_file, report};
use super::listeners::{Listener, ListenerRole, Plaintext};
use super::reader::Table;
use super::url::host::is_host;
use super::value::{Fault, Key};
use crate::tls::Authorities;

/// The directory of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The certificate authority that issues and renews certificates (RFC 8555).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The URL of its directory.
    pub directory: String,
    /// The CAs that its own certificate may come from; `None`: those of the system.
    pub authorities: Option<Authorities>,
    /// E-mail addresses for its notices, as `mailto:` URLs.
    pub contact: Vec<String>,
    /// The folder of the account and the certificates.
    pub folder: PathBuf,
    /// The profile of certificates; `None`: the CA chooses.
    pub profile: Option<String>,
    /// The account of its customer that the ACME account belongs to; `None`: the CA needs none.
    pub external_account: Option<ExternalAccount>,
    /// The program that writes and removes DNS records.
    pub dns_hook: Option<PathBuf>,
    /// How long a DNS record needs until every server of its zone has it.
    pub dns_delay: Duration,
    /// The pause after the first failed order. It doubles with each further one.
    pub retry_after: Duration,
    /// The certificates.
    pub certificates: Vec<AcmeCertificate>,
}

/// An account of a customer (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its identifier.
    pub id: String,
    /// The file with its key, in base64url. It is read when an account is created.
    pub key_file: PathBuf,
}

/// A certificate that the CA issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// Its name in the file.
    pub name: String,
    /// The DNS names; never empty. In lower case; may begin with `*.`.
    pub names: Vec<String>,
    /// How the CA checks that the names lead here.
    pub challenge: AcmeChallenge,
}

/// How the CA checks that a name belongs to this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// It fetches a file from port 80.
    Http,
    /// It makes a TLS handshake on port 443.
    TlsAlpn,
    /// It looks a DNS record up.
    Dns,
}

impl Acme {
    /// The file of a certificate and its key.
    pub fn file(&self, certificate: &str) -> PathBuf {
        self.folder.join(format!("{certificate}.pem"))
    }

    /// Whether a certificate uses this challenge.
    pub fn uses(&self, challenge: AcmeChallenge) -> bool {
        self.certificates.iter().any(|certificate| certificate.challenge == challenge)
    }
}

/// `[acme]`, without its certificates; `None`: its terms are not accepted, so there is none.
pub(super) fn read(root: &Table<'_>) -> Option<Acme> {
    root.switch("acme", |table| {
        let accepts_terms = table.key("accept_terms").bool(false);
        let key = |name| table.key(name).only_if(accepts_terms);
        let directory = key("directory").parse_text_or(LETS_ENCRYPT, https_url);
        let ca_file = key("ca_file");
        let authorities = ca_file.optional_file().map(|file| Authorities::read(&file));
        if let Some(Err(bad)) = &authorities {
            report(&ca_file, bad);
        }
        let contact = key("contact").parse_list(mailto);
        let folder = key("folder").file("acme");
        let profile = key("profile").text();
        let external_account = external_account(&key("external_account"), &key("external_account_key_file"));
        // A name alone would be searched in $PATH.
        let dns_hook = key("dns_hook").optional_file().map(|hook| Path::new(".").join(hook));
        let dns_delay = table.key("dns_delay").only_if(dns_hook.is_some()).duration(Duration::from_secs(30));
        let least = Duration::from_secs(1);
        let retry_after = key("retry_after").duration_within(least..=Duration::MAX, Duration::from_secs(120));
        accepts_terms.then_some(())?;
        Some(Acme {
            // A wrong one was reported.
            directory: directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
            authorities: authorities.and_then(Result::ok),
            contact,
            folder,
            profile,
            external_account,
            dns_hook,
            dns_delay,
            retry_after,
            certificates: Vec::new(),
        })
    })
}

fn external_account(id: &Key<'_>, key_file: &Key<'_>) -> Option<ExternalAccount> {
    match (id.text(), key_file.optional_file()) {
        (Some(id), Some(file)) => {
            check_secret_file(key_file, &file);
            Some(ExternalAccount { id, key_file: file })
        }
        (Some(_), None) if !key_file.is_set() => {
            id.problem("has no key", "add `external_account_key_file`: a file with the HMAC key from the CA");
            None
        }
        (None, Some(_)) if !id.is_set() => {
            key_file.problem("belongs to no account", "add `external_account`: the key identifier from the CA");
            None
        }
        _ => None,
    }
}

/// The names and the challenge of a certificate that the CA issues; `None`: they are not valid.
pub(super) fn certificate(
    name: &str,
    names: &Key<'_>,
    challenge: &Key<'_>,
    acme: Option<&Acme>,
) -> Option<AcmeCertificate> {
    let challenges =
        [("tls-alpn-01", AcmeChallenge::TlsAlpn), ("http-01", AcmeChallenge::Http), ("dns-01", AcmeChallenge::Dns)];
    let challenge_of = challenge.choice(&challenges, AcmeChallenge::TlsAlpn);
    let read = names.parse_list(dns_name);
    if !names.is_set() || read.is_empty() {
        return None;
    }
    // The name becomes the name of a file.
    if name == "lock" || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        names
            .problem("the name of this certificate cannot be the name of its file", "use letters, digits, `-` and `_`");
    }
    if read.iter().any(|name| name.starts_with("*.")) && challenge_of != AcmeChallenge::Dns {
        names.problem("names with `*` can only be proved by DNS", "write `challenge = \"dns-01\"`");
    }
    let Some(acme) = acme else {
        let mend = "read the terms of the CA (by default Let's Encrypt), then add [acme] with `accept_terms = true`";
        names.problem("needs a certificate authority", mend);
        return None;
    };
    if challenge_of == AcmeChallenge::Dns && acme.dns_hook.is_none() {
        challenge.problem("needs a program that writes DNS records", "add `dns_hook` to [acme]");
    }
    Some(AcmeCertificate { name: name.to_owned(), names: read, challenge: challenge_of })
}

/// Reports challenges that no listener can answer, and an `[acme]` without certificates.
pub(super) fn check(root: &Table<'_>, acme: Option<&Acme>, listeners: &[Listener]) {
    let Some(acme) = acme else { return };
    let problem = |key: &str, what: &str, mend: &str| {
        root.document().problem(None, Some(key), what.to_owned(), Some(mend.to_owned()));
    };
    if acme.certificates.is_empty() {
        let mend = "add `acme_names` to a certificate, or remove [acme]".to_owned();
        root.document().warning(None, Some("acme"), "no certificate uses it".to_owned(), Some(mend));
    }
    let has = |fits: fn(&ListenerRole) -> bool| listeners.iter().any(|one| fits(&one.role));
    let answers_http = has(|role| matches!(role, ListenerRole::Plain(plain) if plain.plaintext != Plaintext::Serve));
    let answers_tls = has(|role| matches!(role, ListenerRole::Tls(_)));
    for certificate in &acme.certificates {
        let key = format!("certificates.{}.challenge", certificate.name);
        match certificate.challenge {
            AcmeChallenge::Http if !answers_http => problem(
                &key,
                "http-01 needs a listener for unencrypted HTTP",
                "add a listener on port 80 with `plaintext = \"redirect\"`",
            ),
            AcmeChallenge::TlsAlpn if !answers_tls => {
                problem(&key, "tls-alpn-01 needs an HTTPS listener", "add a listener on port 443 with `certificates`");
            }
            _ => {}
        }
    }
}

fn https_url(text: &str) -> Result<String, Fault> {
    let fault =
        || Fault::new("is not an HTTPS URL", "write the URL of the CA's directory, such as \"https://…/directory\"");
    let uri: Uri = text.parse().map_err(|_| fault())?;
    let host = uri.authority().filter(|authority| !authority.as_str().contains('@')).map(http::uri::Authority::host);
    match host {
        Some(host) if uri.scheme() == Some(&Scheme::HTTPS) && is_host(host) => Ok(text.to_owned()),
        _ => Err(fault()),
    }
}

fn mailto(text: &str) -> Result<String, Fault> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let is_address = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_host(host));
    if !is_address || address.contains([' ', ',', '?']) {
        return Err(Fault::new("is not an e-mail address", "write one such as \"admin@example.com\""));
    }
    Ok(format!("mailto:{address}"))
}

fn dns_name(text: &str) -> Result<String, Fault> {
    let host = text.strip_prefix("*.").unwrap_or(text);
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    if is_address || !is_host(host) || !host.contains('.') {
        return Err(Fault::new("is not a DNS name that a CA can check", "write one such as \"example.com\""));
    }
    Ok(text.to_ascii_lowercase())
}
