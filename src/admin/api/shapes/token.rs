//! Tokens.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::word::word;
use super::{Time, Unreadable, bounded, page_token, part, present, some, texts};
use crate::admin::api::problem::Problem;
use crate::admin::operations::{ENDING_WITHIN, TokenState, UNUSED_AFTER};
use crate::clock::Timestamp;
use crate::store::{self, End, Listing, NamedToken, Revocation, TokenDetails, TokenKind, TokenQuery, TokenView};
use crate::token::{Scope, ScopeSet, SubjectId, TokenHint, TokenKey};

/// Maximum length of an owner search: a username.
const MAX_OWNER: usize = 150;

word! {
    /// State of a token.
    State of TokenState
}

/// A token. Its key is never shown here.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Token {
    /// Public id that upstreams see; never reused.
    #[schema(minimum = 1)]
    id: i64,
    owner: Owner,
    kind: Kind,
    /// Name given by its owner; empty for a login token.
    name: String,
    /// First characters of the key.
    hint: String,
    /// Scopes.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Box<str>>,
    state: State,
    created: Time,
    /// When it expires; `null`: never.
    expires: Option<Time>,
    revoked: Option<Time>,
    /// When it was last used, approximately.
    last_used: Option<Time>,
    /// When it was first sent unencrypted.
    exposed: Option<Time>,
    /// Since when it is disabled; `null`: it is enabled.
    disabled: Option<Time>,
    /// Note of the administrators; may be empty.
    note: String,
}

/// Owner of a token.
#[derive(Serialize, ToSchema)]
struct Owner {
    #[schema(minimum = 1)]
    id: i64,
    name: String,
}

/// Kind of a token.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The token that a login returns.
    Login,
    /// A token made for a purpose; its key is shown once. A user may have many.
    Named,
}

/// A page of the list of tokens.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct TokenList {
    tokens: Vec<Token>,
    /// Rows of this page that cannot be read, and are not among the tokens.
    unreadable: Vec<Unreadable>,
    /// Token of the previous page; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// Token of the next page; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// A token with its key.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Issued {
    /// Public id that upstreams see.
    #[schema(minimum = 1)]
    pub id: i64,
    /// The secret. The key of a named token is shown only once.
    #[serde(serialize_with = "in_clear")]
    #[schema(value_type = String, min_length = 1, max_length = 40)]
    key: TokenKey,
    /// When it expires; `null`: never.
    expires: Option<Time>,
    /// True if this request created the token; `false`: it already existed.
    pub fresh: bool,
}

/// Filter of the list of tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct TokenParameters {
    /// Part of the owner's username, e-mail address or real name, case-insensitive.
    #[param(nullable = false, max_length = 150)]
    owner_name: Option<String>,
    /// Only tokens with exactly this name.
    #[param(nullable = false, max_length = 100)]
    name: Option<String>,
    /// Prefix of the key, at most as long as its hint.
    #[param(nullable = false, max_length = 11)]
    hint: Option<String>,
    /// Only tokens of this kind.
    #[param(nullable = false, inline)]
    kind: Option<Kind>,
    /// Which tokens, in which order; default: all.
    #[param(nullable = false, inline)]
    view: Option<View>,
    /// Page size; default: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another page with the same filters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

/// Filter of a user's tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct TokensOfUser {
    /// Only tokens of this kind.
    #[param(nullable = false, inline)]
    kind: Option<Kind>,
    /// Which tokens, in which order; default: all.
    #[param(nullable = false, inline)]
    view: Option<View>,
    /// Page size; default: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another page with the same filters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

/// A view of the tokens.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum View {
    /// All, newest first.
    All,
    /// Neither revoked nor expired, newest first.
    Live,
    /// Live and not used for 90 days; the longest unused first.
    Unused,
    /// Live and expiring within 30 days; the earliest expiry first.
    EndingSoon,
    /// Expired and not revoked, the latest first.
    Expired,
    /// Revoked, the latest first.
    Revoked,
    /// Sent unencrypted at least once, the latest first.
    Exposed,
    /// Disabled, the latest first.
    Disabled,
}

/// A named token to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct NewToken {
    #[schema(schema_with = texts::token_name)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = texts::scopes)]
    scopes: Vec<ScopeWord>,
    /// When it expires: in the future, at the latest in the year 9999; default: `tokens.default_ttl`.
    #[serde(default)]
    expires: Option<Time>,
}

/// Changes of a token; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Terms {
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::scopes)]
    scopes: Option<Vec<ScopeWord>>,
    /// When it expires: in the future, at the latest in the year 9999; `null`: never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Time>)]
    expires: Option<Option<Time>>,
    /// Only of a named token.
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::token_name)]
    name: Option<String>,
    /// Note of the administrators; may be empty.
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::note)]
    note: Option<String>,
    /// `true`: the token does not work until it is enabled again.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool, nullable = false)]
    disabled: Option<bool>,
}

/// How a token is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Rotation {
    /// How long the old key works on, in seconds, at most a year. 0: it is revoked at once.
    #[serde(default = "a_day", deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 31_536_000, default = 86_400)]
    overlap: u32,
}

const fn a_day() -> u32 {
    86_400
}

/// A whole number. In JSON Schema, `998.0` is one too.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let text = (number.fract() == 0.0).then(|| format!("{number:.0}"));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| D::Error::custom("must be a whole number"))
}

impl Rotation {
    pub(in crate::admin::api) fn overlap(&self) -> Result<Duration, Problem> {
        if self.overlap > 31_536_000 {
            return Err(Problem::invalid_field("overlap", "must be between 0 and 31536000"));
        }
        Ok(Duration::from_secs(self.overlap.into()))
    }
}

/// A scope.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ScopeWord(Scope);

/// Number of tokens that stopped working.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Revoked {
    #[schema(minimum = 0)]
    pub revoked: u64,
}

impl Token {
    pub(in crate::admin::api) fn of(token: TokenDetails, now: Timestamp) -> Token {
        let state = State(TokenState::of(&token, now));
        let record = token.record;
        Token {
            id: record.id.0,
            owner: Owner { id: record.owner.id.0, name: record.owner.name },
            kind: token.kind.into(),
            name: token.name,
            hint: token.hint.as_str().to_owned(),
            scopes: record.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            state,
            created: Time(record.created),
            expires: record.expires.map(Time),
            revoked: record.revoked.map(Time),
            last_used: token.last_used.map(Time),
            exposed: token.exposed.map(Time),
            disabled: token.disabled.map(Time),
            note: token.note,
        }
    }
}

impl TokenList {
    pub(in crate::admin::api) fn of(listing: Listing<TokenDetails>, now: Timestamp) -> TokenList {
        let [previous_page_token, next_page_token] = [&listing.previous, &listing.next].map(page_token);
        TokenList {
            tokens: listing.entries.into_iter().map(|token| Token::of(token, now)).collect(),
            unreadable: listing.unreadable.into_iter().map(Unreadable::from).collect(),
            previous_page_token,
            next_page_token,
        }
    }
}

impl From<store::Issued> for Issued {
    fn from(issued: store::Issued) -> Issued {
        Issued { id: issued.id.0, key: issued.key, expires: issued.expires.map(Time), fresh: issued.fresh }
    }
}

impl From<TokenKind> for Kind {
    fn from(kind: TokenKind) -> Kind {
        match kind {
            TokenKind::Login => Kind::Login,
            TokenKind::Named => Kind::Named,
        }
    }
}

impl From<Kind> for TokenKind {
    fn from(kind: Kind) -> TokenKind {
        match kind {
            Kind::Login => TokenKind::Login,
            Kind::Named => TokenKind::Named,
        }
    }
}

impl View {
    fn at(self, now: Timestamp) -> TokenView {
        match self {
            View::All => TokenView::All,
            View::Live => TokenView::Live,
            View::Unused => TokenView::UnusedSince(now.before(UNUSED_AFTER)),
            View::EndingSoon => TokenView::EndingBefore(now.after(ENDING_WITHIN)),
            View::Expired => TokenView::Expired,
            View::Revoked => TokenView::Revoked,
            View::Exposed => TokenView::Exposed,
            View::Disabled => TokenView::Disabled,
        }
    }
}

impl TokenParameters {
    pub(in crate::admin::api) fn query(self, now: Timestamp) -> Result<TokenQuery, Problem> {
        let owner_name = bounded("owner_name", self.owner_name, MAX_OWNER)?.unwrap_or_default();
        let hint = bounded("hint", self.hint, TokenHint::MAX_LENGTH)?.unwrap_or_default();
        let hint = TokenHint::sought(&hint).as_str().to_owned();
        let (limit, position) = part(self.limit, self.page_token.as_deref())?;
        let view = self.view.map_or(TokenView::All, |view| view.at(now));
        let kind = self.kind.map(TokenKind::from);
        let name = bounded("name", self.name, 100)?;
        Ok(TokenQuery { owner_name, name, hint, view, kind, position, limit, ..TokenQuery::default() })
    }
}

impl TokensOfUser {
    pub(in crate::admin::api) fn query(self, owner: SubjectId, now: Timestamp) -> Result<TokenQuery, Problem> {
        let TokensOfUser { kind, view, limit, page_token } = self;
        let all = TokenParameters { owner_name: None, name: None, hint: None, kind, view, limit, page_token };
        Ok(TokenQuery { owner: Some(owner), ..all.query(now)? })
    }
}

impl From<NewToken> for NamedToken {
    fn from(token: NewToken) -> NamedToken {
        let expires = token.expires.map(|Time(at)| at);
        NamedToken { name: token.name, expires, scopes: set(token.scopes) }
    }
}

impl From<Terms> for store::Terms {
    fn from(terms: Terms) -> store::Terms {
        let end = terms.expires.map(|expires| expires.map_or(End::Never, |Time(at)| End::At(at)));
        let Terms { scopes, name, note, disabled, .. } = terms;
        store::Terms { end, scopes: scopes.map(set), name, note, disabled }
    }
}

impl From<Revocation> for Revoked {
    fn from(revocation: Revocation) -> Revoked {
        Revoked { revoked: u64::from(revocation.was_live) }
    }
}

impl TryFrom<String> for ScopeWord {
    type Error = crate::token::InvalidScope;

    fn try_from(text: String) -> Result<ScopeWord, Self::Error> {
        Scope::parse(&text).map(ScopeWord)
    }
}

fn set(scopes: Vec<ScopeWord>) -> ScopeSet {
    ScopeSet::new(scopes.into_iter().map(|ScopeWord(scope)| scope))
}

/// Serializes a key in plain text: the only place where a response contains a key.
fn in_clear<S: Serializer>(key: &TokenKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose())
}
