//! Filters of lists of tokens.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::token::Kind;
use super::{bounded, part};
use crate::admin::api::problem::Problem;
use crate::admin::operations::{ENDING_WITHIN, UNUSED_AFTER};
use crate::clock::Timestamp;
use crate::store::{TokenKind, TokenQuery, TokenView};
use crate::token::{SubjectId, TokenHint};

/// Maximum length of an owner search: a username.
const MAX_OWNER: usize = 150;

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
