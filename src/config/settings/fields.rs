//! Names of headers: the identity headers, and those that clients may not send to upstreams.

use http::HeaderName;

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
