//! `[identity]`: the headers that tell an upstream the caller's identity.

use http::HeaderName;

use super::reader::Table;
use super::secret::Secrecy;
use super::value::{Fault, Key};

/// Names of the identity headers; `None`: not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFields {
    /// Stable id of the user.
    pub user_id: Option<HeaderName>,
    /// Username.
    pub user_name: Option<HeaderName>,
    /// E-mail address.
    pub user_email: Option<HeaderName>,
    /// Groups, joined by commas.
    pub user_groups: Option<HeaderName>,
    /// Public id of the token.
    pub token_id: Option<HeaderName>,
    /// Scopes of the token, joined by spaces.
    pub scopes: Option<HeaderName>,
    /// `token`, `session` or `anonymous`; always sent.
    pub method: HeaderName,
}

impl IdentityFields {
    /// The names of all headers that are sent.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let IdentityFields { user_id, user_name, user_email, user_groups, token_id, scopes, method } = self;
        let optional = [user_id, user_name, user_email, user_groups, token_id, scopes];
        optional.into_iter().flatten().chain([method])
    }

    /// A header line without its credentials. The gateway writes these headers itself, and they have none.
    pub fn header_shown(&self, line: &str) -> String {
        let name = line.split_once(':').map_or(line, |(name, _)| name).trim();
        let is_own = self.names().any(|field| name.eq_ignore_ascii_case(field.as_str()));
        if is_own { line.to_owned() } else { Secrecy::Header.shown(line) }
    }
}

/// Headers that no route passes on from a client: the gateway's own headers, under the configured or default names, and
/// framing or hop-by-hop headers.
pub const RESERVED_FIELDS: [&str; 24] = [
    "x-user-id",
    "x-user-name",
    "x-user-email",
    "x-user-groups",
    "x-token-id",
    "x-token-scopes",
    "x-auth-method",
    "x-request-id",
    "forwarded",
    "x-real-ip",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-by",
    "x-forwarded-host",
    "x-forwarded-server",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "transfer-encoding",
    "expect",
];

/// The beginning of the folded names of headers about the client's certificate (RFC 9440), which only the gateway sets.
pub const CLIENT_CERT: &[u8] = b"clientcert";

/// The letters and digits of a name in lower case. Equal for all spellings that some server treats as one header.
pub fn fold(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
}

impl Default for IdentityFields {
    fn default() -> IdentityFields {
        IdentityFields {
            user_id: Some(HeaderName::from_static("x-user-id")),
            user_name: Some(HeaderName::from_static("x-user-name")),
            user_email: None,
            user_groups: None,
            token_id: Some(HeaderName::from_static("x-token-id")),
            scopes: Some(HeaderName::from_static("x-token-scopes")),
            method: HeaderName::from_static("x-auth-method"),
        }
    }
}

/// Headers that have another meaning for upstreams or in HTTP, in lower case.
const RESERVED: [&str; 33] = [
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
];

/// Reads `[identity]`, and whether all routes forward every `Authorization` by default.
pub(super) fn read(root: &Table<'_>) -> (IdentityFields, bool) {
    root.table("identity", |table| {
        let forward = table.key("forward_authorization");
        let forwards_all = forward.bool(false);
        if forwards_all {
            let mend =
                "write `forward_authorization = \"always\"` in the routes of upstreams that check tokens themselves";
            forward.warning("every upstream sees the callers' tokens", mend);
        }
        (table.table("headers", fields), forwards_all)
    })
}

fn fields(table: &Table<'_>) -> IdentityFields {
    let default = IdentityFields::default();
    let mut taken: Vec<(Key<'_>, HeaderName)> = Vec::new();
    let mut field = |name: &'static str, default: &str| {
        let key = table.key(name);
        let off_or_name = |text: &str| if text.is_empty() { Ok(None) } else { field_name(text).map(Some) };
        let chosen = key.parse_text_or(default, off_or_name).flatten()?;
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == chosen) {
            // At least one of two equal names was written, since the defaults differ.
            let (at, other) = if key.is_set() { (&key, other) } else { (other, &key) };
            at.problem(format!("`{chosen}` is also {}", other.path()), "give each its own name");
        }
        taken.push((key, chosen.clone()));
        Some(chosen)
    };
    let names = IdentityFields {
        user_id: field("user_id", "X-User-Id"),
        user_name: field("user_name", "X-User-Name"),
        user_email: field("user_email", ""),
        user_groups: field("user_groups", ""),
        token_id: field("token_id", "X-Token-Id"),
        scopes: field("scopes", "X-Token-Scopes"),
        method: field("method", "X-Auth-Method").unwrap_or(default.method),
    };
    let method = table.key("method");
    if method.is_text("") {
        method.problem(
            "cannot be switched off",
            "name a header: upstreams need it to distinguish anonymous from forged requests",
        );
    }
    names
}

pub(super) fn field_name(text: &str) -> Result<HeaderName, Fault> {
    let lower = text.to_ascii_lowercase();
    // `_` is not allowed: servers that turn headers into variables cannot tell `X_User` from `X-User`.
    if !lower.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Fault::new("is not a valid header name", "use letters, digits and `-`"));
    }
    if RESERVED.contains(&lower.as_str()) {
        return Err(Fault::new("has another meaning", "choose a name of your own, such as \"X-User-Name\""));
    }
    HeaderName::try_from(lower).map_err(|_| Fault::new("is not a valid header name", "use letters, digits and `-`"))
}
