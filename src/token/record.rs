//! The stored record of a token.

use std::fmt;
use std::time::Duration;

use super::{Networks, OwnRate, ScopeSet, TokenDigest};
use crate::clock::Timestamp;

/// The stable id of a user; upstreams receive it in `X-User-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(pub i64);

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The public id of a token; upstreams receive it in `X-Token-Id`. Unrelated to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub i64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The owner of a token, with the facts that authentication needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Stable id.
    pub id: SubjectId,
    /// Username, exactly as stored.
    pub name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// Names of the groups, sorted.
    pub groups: Vec<String>,
    /// `false`: the user is deactivated, and no token works.
    pub active: bool,
}

/// The kind of credentials of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A token in the `Authorization` header.
    Token,
    /// A browser session, in a cookie.
    Session,
    /// The certificate that the client showed in the TLS handshake.
    Certificate,
}

impl AuthMethod {
    /// Its name in the configuration and for upstreams.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuthMethod::Token => "token",
            AuthMethod::Session => "session",
            AuthMethod::Certificate => "certificate",
        }
    }
}

/// How the use of a token is restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// The token never works: it was disabled, or revoked at an unknown time, or its row is invalid.
    pub disabled: bool,
    /// Only safe (read-only) requests may use it.
    pub read_only: bool,
    /// Only clients in these networks may use it; `None`: all clients.
    pub networks: Option<Networks>,
    /// It ends when it is not used for some days; `None`: it does not.
    pub use_by: Option<UseBy>,
    /// The rates of the token and of its user.
    pub rates: OwnRates,
}

/// The rates of a token and of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnRates {
    /// That of the token.
    pub token: Option<OwnRate>,
    /// That of the user.
    pub user: Option<OwnRate>,
}

/// A token ends when it is not used for some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UseBy {
    /// Number of days.
    pub days: u32,
    /// When it was last used, or issued if it was never used.
    pub last: Timestamp,
}

impl UseBy {
    /// When the token ends, unless it is used before.
    pub fn end(self) -> Timestamp {
        self.last.after(self.span())
    }

    /// How long it may be unused.
    pub fn span(self) -> Duration {
        Duration::from_secs(u64::from(self.days) * 86_400)
    }
}

/// A stored token, valid or not. Sessions are records too; their `method` tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Public id. Sessions have internal ids that are never shown.
    pub id: TokenId,
    /// Token or session.
    pub method: AuthMethod,
    /// The digest of the key.
    pub digest: TokenDigest,
    /// The user whom the token authenticates.
    pub owner: Account,
    /// What it may be used for.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created: Timestamp,
    /// When it expires; `None`: never.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// Further restrictions.
    pub restrictions: Restrictions,
}

impl TokenRecord {
    /// What the client certificate of a user authenticates. It depends on the user alone. `digest` is that of the
    /// username,
    /// `rate` the user's own.
    pub fn of_certificate(digest: TokenDigest, owner: Account, rate: Option<OwnRate>) -> TokenRecord {
        TokenRecord {
            // It has none, and none is shown.
            id: TokenId(0),
            method: AuthMethod::Certificate,
            digest,
            owner,
            scopes: ScopeSet::default(),
            created: Timestamp::from_micros(0),
            expires: None,
            revoked: None,
            restrictions: Restrictions { rates: OwnRates { user: rate, token: None }, ..Restrictions::default() },
        }
    }

    /// Reports whether the token is neither revoked nor at its end. It may be disabled.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let ends = self.expires.into_iter().chain(self.restrictions.use_by.map(UseBy::end));
        self.revoked.is_none() && ends.min().is_none_or(|end| end > now)
    }
}
