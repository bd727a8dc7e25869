//! Tokens: the input and output types of a [`TokenLedger`](super::TokenLedger).

use crate::clock::Timestamp;
use crate::token::{
    Networks, OwnRate, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenHint, TokenId, TokenKey, TokenRecord,
};

/// A token that was just issued, or a login token that is shown again.
#[derive(Debug)]
pub struct Issued {
    /// Public id.
    pub id: TokenId,
    /// The secret. That of a named token is never shown again.
    pub key: TokenKey,
    /// When it expires; `None`: never.
    pub expires: Option<Timestamp>,
    /// `true`: newly issued; `false`: it existed before.
    pub fresh: bool,
}

/// How the use of a token is limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenLimits {
    /// Only safe (read-only) requests may use it.
    pub read_only: bool,
    /// Only clients in these networks may use it; `None`: all clients.
    pub networks: Option<Networks>,
    /// It ends when it is not used for this number of days; `None`: it does not.
    pub unused_days: Option<u32>,
    /// How often it may be used; `None`: only the rates of routes apply.
    pub rate: Option<OwnRate>,
}

impl TokenLimits {
    /// The limits of a stored token.
    pub fn of(restrictions: &Restrictions) -> TokenLimits {
        let Restrictions { disabled: _, read_only, networks, use_by, rates } = restrictions;
        let unused_days = use_by.map(|use_by| use_by.days);
        TokenLimits { read_only: *read_only, networks: networks.clone(), unused_days, rate: rates.token }
    }
}

/// Changes to the limits of a token; `None` keeps the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// Whether only safe (read-only) requests may use it.
    pub read_only: Option<bool>,
    /// The networks that it may be used from; `Some(None)`: all.
    pub networks: Option<Option<Networks>>,
    /// After how many days without a use it ends; `Some(None)`: it does not.
    pub unused_days: Option<Option<u32>>,
    /// How often it may be used; `Some(None)`: only the rates of routes apply.
    pub rate: Option<Option<OwnRate>>,
}

impl LimitChanges {
    /// The limits from now on.
    pub fn apply(&self, former: &TokenLimits) -> TokenLimits {
        TokenLimits {
            read_only: self.read_only.unwrap_or(former.read_only),
            networks: self.networks.as_ref().unwrap_or(&former.networks).clone(),
            unused_days: self.unused_days.unwrap_or(former.unused_days),
            rate: self.rate.unwrap_or(former.rate),
        }
    }
}

/// Sets all limits.
impl From<TokenLimits> for LimitChanges {
    fn from(limits: TokenLimits) -> LimitChanges {
        let TokenLimits { read_only, networks, unused_days, rate } = limits;
        LimitChanges {
            read_only: Some(read_only),
            networks: Some(networks),
            unused_days: Some(unused_days),
            rate: Some(rate),
        }
    }
}

/// A named token to issue.
#[derive(Clone, Debug, Default)]
pub struct NamedToken {
    /// The name that the owner chose; 1 to 100 characters.
    pub name: String,
    /// When it expires; `None`: the configured default.
    pub expires: Option<Timestamp>,
    /// Its scopes.
    pub scopes: ScopeSet,
    /// How its use is limited.
    pub limits: TokenLimits,
}

/// Changes to a token; `None` keeps the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// When it expires.
    pub end: Option<End>,
    /// Its scopes.
    pub scopes: Option<ScopeSet>,
    /// Its name. A login token has none.
    pub name: Option<String>,
    /// The note of the administrators; may be empty.
    pub note: Option<String>,
    /// Whether it is disabled: not valid until it is enabled again.
    pub disabled: Option<bool>,
    /// How its use is limited.
    pub limits: LimitChanges,
}

/// The expiry of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It never expires.
    Never,
    /// It expires at this time.
    At(Timestamp),
}

/// How an import treats a different login token of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The import is refused.
    Refuse,
    /// The other token is revoked.
    Replace,
}

/// A reference to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRef {
    /// By public id.
    Id(TokenId),
    /// By the digest of its key.
    Digest(TokenDigest),
}

/// The result of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The token.
    pub id: TokenId,
    /// `true`: it was live until now; `false`: it was already revoked or expired.
    pub was_live: bool,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The login token, which a login returns.
    Login,
    /// A named token, issued for a purpose; its key is shown once.
    Named,
}

/// The details of a token for lists and detail pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDetails {
    /// The record that authentication needs.
    pub record: TokenRecord,
    /// The part of the key that may be shown.
    pub hint: TokenHint,
    /// The kind.
    pub kind: TokenKind,
    /// The name that the owner chose; empty for a login token.
    pub name: String,
    /// The approximate time of its last use.
    pub last_used: Option<Timestamp>,
    /// When it was first sent unencrypted, if ever.
    pub exposed: Option<Timestamp>,
    /// A note of the administrators; may be empty.
    pub note: String,
    /// Since when it is disabled; `None`: it is enabled.
    pub disabled: Option<Timestamp>,
    /// Whether a login issued it for one device.
    pub device: bool,
}

/// The filters of a list of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFilter {
    /// Only tokens of this user.
    pub owner: Option<SubjectId>,
    /// Only tokens that are neither revoked nor expired.
    pub live: bool,
}

/// A page of a list, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Start after this id; 0: from the first.
    pub after: i64,
    /// Maximum number of entries.
    pub limit: u32,
}

impl Page {
    /// The first `limit` entries.
    pub const fn first(limit: u32) -> Page {
        Page { after: 0, limit }
    }
}
