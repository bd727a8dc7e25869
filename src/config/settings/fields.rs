//! The names of fields: those by which the gateway says who is calling, and those that no client may use.

use http::HeaderName;

/// Names of the fields that tell an upstream who is calling; `None`: not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFields {
    /// Stable id of the user.
    pub user_id: Option<HeaderName>,
    /// User name.
    pub user_name: Option<HeaderName>,
    /// E-mail address.
    pub user_email: Option<HeaderName>,
    /// Groups, joined by commas.
    pub user_groups: Option<HeaderName>,
    /// Public id of the token.
    pub token_id: Option<HeaderName>,
    /// Scopes of the token, joined by blanks.
    pub scopes: Option<HeaderName>,
    /// `token`, `session` or `anonymous`; always sent.
    pub method: HeaderName,
}

impl IdentityFields {
    /// All names that are sent.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let IdentityFields { user_id, user_name, user_email, user_groups, token_id, scopes, method } = self;
        let optional = [user_id, user_name, user_email, user_groups, token_id, scopes];
        optional.into_iter().flatten().chain([method])
    }
}

/// What no client says to an upstream, whatever a route lets pass: what the gateway says itself, under the names of the
/// settings or of the defaults, and what is part of a message or of a hop.
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

/// The lower-case letters and digits of a name: what is equal in all spellings that some server takes for one field.
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
