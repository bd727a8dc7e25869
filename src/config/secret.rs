//! The part of a value with a secret that may be shown, in error messages and in the effective configuration.

use std::borrow::Cow;

/// Replaces a secret.
const HIDDEN: &str = "***";

/// The part of a text that can be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// None.
    Open,
    /// User and password of a URL, and parameters that take any text.
    Url,
    /// The value of a header line, if its name is that of a credential.
    Header,
    /// The user in the URL of a request, and values of query parameters whose name is that of a credential.
    Request,
    /// The whole text.
    Whole,
}

/// Parameters of database URLs of which the reader knows every value, or that name a place.
const SHOWN_PARAMETERS: [&str; 16] = [
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "channel_binding",
    "target_session_attrs",
    "sslnegotiation",
    "gssencmode",
    "ssl-mode",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "socket",
];

/// Parameters that take any text. All others ask for what happens anyway, and are left out.
const HIDDEN_PARAMETERS: [&str; 4] = ["user", "options", "application_name", "fallback_application_name"];

/// Parts of the names of credentials.
const CREDENTIALS: [&str; 8] = ["auth", "cookie", "token", "key", "secret", "pass", "session", "assertion"];

impl Secrecy {
    /// The text with its secrets hidden.
    pub(super) fn shown(self, text: &str) -> String {
        match self {
            Secrecy::Open => text.to_owned(),
            Secrecy::Url => without_credentials(text),
            Secrecy::Header => match text.split_once(':') {
                Some((name, _)) if is_credential(name) => format!("{name}: {HIDDEN}"),
                // Without the colon, the name cannot be told from the value.
                None if is_credential(text) => HIDDEN.to_owned(),
                _ => text.to_owned(),
            },
            Secrecy::Request => request_shown(text),
            Secrecy::Whole => HIDDEN.to_owned(),
        }
    }
}

/// A request or a URL without its credentials.
pub fn request_shown(text: &str) -> String {
    let (before, query) = text.split_once('?').unwrap_or((text, ""));
    let (start, rest) = before.split_once("://").map_or(("", before), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut shown = match authority.rsplit_once('@') {
        Some((_, host)) if !start.is_empty() => format!("{start}://{HIDDEN}@{host}{path}"),
        _ => before.to_owned(),
    };
    if before.len() < text.len() {
        let parameters: Vec<Cow<'_, str>> = query.split('&').map(parameter).collect();
        shown += &format!("?{}", parameters.join("&"));
    }
    shown
}

fn parameter(text: &str) -> Cow<'_, str> {
    match text.split_once('=') {
        Some((name, _)) if is_credential(name) => format!("{name}={HIDDEN}").into(),
        _ => text.into(),
    }
}

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|part| name.contains(part))
}

/// A URL without user and password. Operators write passwords in place of users by mistake.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    let server = match server.rsplit_once('@') {
        Some((_, place)) => format!("{HIDDEN}@{place}"),
        None => server.to_owned(),
    };
    let shown = query.split('&').filter_map(|parameter| {
        let (name, _) = parameter.split_once('=')?;
        if SHOWN_PARAMETERS.contains(&name) {
            Some(parameter.to_owned())
        } else {
            HIDDEN_PARAMETERS.contains(&name).then(|| format!("{name}={HIDDEN}"))
        }
    });
    let parameters: Vec<String> = shown.collect();
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{scheme}://{server}{mark}{}", parameters.join("&"))
}

/// The variable that a text is replaced by, if the text is exactly `${NAME}`.
pub(super) fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    (!name.contains(['$', '{', '}'])).then_some(name)
}

/// The part of an invalid URL that a message may show: its scheme, if it is a known one.
pub(super) fn scheme_of(text: &str) -> &'static str {
    const SCHEMES: [&str; 17] = [
        "django+postgresql:",
        "django+postgres:",
        "django+sqlite:",
        "django+mysql:",
        "postgresql:",
        "postgres:",
        "sqlite:",
        "mysql:",
        "mariadb:",
        "rediss-sentinel:",
        "redis-sentinel:",
        "rediss-cluster:",
        "redis-cluster:",
        "redis+unix:",
        "rediss:",
        "redis:",
        "unix:",
    ];
    SCHEMES.into_iter().find(|scheme| text.starts_with(scheme)).unwrap_or_default()
}
