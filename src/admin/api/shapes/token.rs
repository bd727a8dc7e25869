//! Tokens.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::word::word;
use super::{Time, bounded, page_token, part, present, some, texts};
use crate::admin::api::problem::Problem;
use crate::admin::desk::{self, ENDING_WITHIN, TokenState, UNUSED_AFTER};
use crate::clock::Timestamp;
use crate::store::{self, End, Listing, NamedToken, Revocation, TokenDetails, TokenKind, TokenQuery, TokenView};
use crate::token::{Scope, ScopeSet, SubjectId, TokenHint, TokenKey};

/// Longest search for an owner: a user name.
const LONGEST_OWNER: usize = 150;
/// Longest text that is looked for a key: a line of a log.
const LONGEST_PASTED: usize = 4_096;

word! {
    /// Whether a token counts.
    State of TokenState
}

/// A token. Its key is never shown here.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Token {
    /// What upstreams know the token by; never used again.
    #[schema(minimum = 1)]
    id: i64,
    owner: Owner,
    kind: Kind,
    /// What its owner calls it; empty for a login token.
    name: String,
    /// How its key begins.
    hint: String,
    /// What it may be used for.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Box<str>>,
    state: State,
    created: Time,
    /// When it ends by itself; `null`: never.
    expires: Option<Time>,
    revoked: Option<Time>,
    /// When it was last used, roughly.
    last_used: Option<Time>,
    /// When it was first sent in clear.
    exposed: Option<Time>,
}

/// Whose a token is.
#[derive(Serialize, ToSchema)]
struct Owner {
    #[schema(minimum = 1)]
    id: i64,
    name: String,
}

/// What a token is for.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The one that a login returns.
    Login,
    /// One of many, made for a purpose and shown once.
    Named,
}

/// A part of the list of tokens.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct TokenList {
    tokens: Vec<Token>,
    /// What to ask for the part before with; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// What to ask for the next part with; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// A token with its key.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Issued {
    /// What upstreams know the token by.
    #[schema(minimum = 1)]
    pub id: i64,
    /// The secret. The key of a named token is shown this once.
    #[serde(serialize_with = "in_clear")]
    #[schema(value_type = String, min_length = 1, max_length = 40)]
    key: TokenKey,
    /// When it ends by itself; `null`: never.
    expires: Option<Time>,
    /// Did this request make it? `false`: it was there before.
    pub fresh: bool,
}

/// Which tokens are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct TokenParameters {
    /// How the user name of the owner begins, whatever its case.
    #[param(nullable = false, max_length = 150)]
    owner_name: Option<String>,
    /// How the key begins: as much as its hint shows.
    #[param(nullable = false, max_length = 11)]
    hint: Option<String>,
    /// Only of this kind.
    #[param(nullable = false, inline)]
    kind: Option<Kind>,
    /// Which of them, and in which order; all if nothing is said.
    #[param(nullable = false, inline)]
    view: Option<View>,
    /// Most entries; 50 if nothing is said.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another part, with the same other parameters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

/// Which tokens of a user are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct TokensOfUser {
    /// Only of this kind.
    #[param(nullable = false, inline)]
    kind: Option<Kind>,
    /// Which of them, and in which order; all if nothing is said.
    #[param(nullable = false, inline)]
    view: Option<View>,
    /// Most entries; 50 if nothing is said.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another part, with the same other parameters.
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
    /// Live and not used for 90 days; who was silent for longest comes first.
    Unused,
    /// Live with an end within 30 days; the nearest end first.
    EndingSoon,
    /// Expired and not revoked, the latest first.
    Expired,
    /// Revoked, the latest first.
    Revoked,
    /// Sent in clear once, the latest first.
    Exposed,
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
    /// When it ends, in the future, in the year 9999 at the latest; without it, as `tokens.default_ttl` says.
    #[serde(default)]
    expires: Option<Time>,
}

/// What changes of a token; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Terms {
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::scopes)]
    scopes: Option<Vec<ScopeWord>>,
    /// When it ends, in the future, in the year 9999 at the latest; `null`: never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Time>)]
    expires: Option<Option<Time>>,
}

/// A scope.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ScopeWord(Scope);

/// How many tokens stopped counting.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Revoked {
    #[schema(minimum = 0)]
    pub revoked: u64,
}

/// A text that may hold keys, such as a leak report carries: a key, or lines with some.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Pasted {
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, max_length = 4096, write_only)]
    text: Zeroizing<String>,
}

/// Whose keys they are.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Found {
    /// None: no word that was looked up is a key of this store.
    tokens: Vec<Token>,
    /// Are there more, of users whom only superusers look after? Tell one at once.
    others: bool,
    /// Had the text more words than are looked up? The likeliest ones were: send the rest alone.
    cut: bool,
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
        }
    }
}

impl TokenList {
    pub(in crate::admin::api) fn of(listing: Listing<TokenDetails>, now: Timestamp) -> TokenList {
        let [previous_page_token, next_page_token] = [&listing.previous, &listing.next].map(page_token);
        TokenList {
            tokens: listing.entries.into_iter().map(|token| Token::of(token, now)).collect(),
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
        }
    }
}

impl TokenParameters {
    pub(in crate::admin::api) fn query(self, now: Timestamp) -> Result<TokenQuery, Problem> {
        let owner_name = bounded("owner_name", self.owner_name, LONGEST_OWNER)?.unwrap_or_default();
        let hint = bounded("hint", self.hint, TokenHint::LONGEST)?.unwrap_or_default();
        let hint = TokenHint::sought(&hint).as_str().to_owned();
        let (limit, place) = part(self.limit, self.page_token.as_deref())?;
        let view = self.view.map_or(TokenView::All, |view| view.at(now));
        let kind = self.kind.map(TokenKind::from);
        Ok(TokenQuery { owner_name, hint, view, kind, place, limit, ..TokenQuery::default() })
    }
}

impl TokensOfUser {
    pub(in crate::admin::api) fn query(self, owner: SubjectId, now: Timestamp) -> Result<TokenQuery, Problem> {
        let TokensOfUser { kind, view, limit, page_token } = self;
        let all = TokenParameters { owner_name: None, hint: None, kind, view, limit, page_token };
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
        store::Terms { end, scopes: terms.scopes.map(set) }
    }
}

impl From<Revocation> for Revoked {
    fn from(revocation: Revocation) -> Revoked {
        Revoked { revoked: u64::from(revocation.was_live) }
    }
}

impl Pasted {
    pub(in crate::admin::api) fn text(&self) -> Result<&str, Problem> {
        let fits = self.text.chars().count() <= LONGEST_PASTED;
        if fits {
            Ok(&self.text)
        } else {
            Err(Problem::invalid("text", format!("at most {LONGEST_PASTED} characters")))
        }
    }
}

impl Found {
    pub(in crate::admin::api) fn of(found: desk::Found, now: Timestamp) -> Found {
        let tokens = found.tokens.into_iter().map(|token| Token::of(token, now)).collect();
        Found { tokens, others: found.others, cut: found.cut }
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

/// The one place where an answer gets a key.
fn in_clear<S: Serializer>(key: &TokenKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}
