//! The list of tokens, and the revocation of many.

use askama::Template;

use super::lists::{self, Sort, bounded, total, word};
use super::shell::{Section, Shell, page};
use super::{Answer, ENTRIES, text, told};
use crate::admin::export::{self, Format, TokensAt};
use crate::admin::fields::Fields;
use crate::admin::operations::{ENDING_WITHIN, OperationError, UNUSED_AFTER};
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::store::{Listing, TokenDetails, TokenKind, TokenOrder, TokenQuery, TokenView, Unreadable, User};
use crate::token::{SubjectId, TokenHint, TokenId};

/// Maximum length of a search for an owner: a username.
const MAX_OWNER: usize = 150;

/// The views in the order of the menu, with their labels.
const VIEWS: [(&str, &str); 8] = [
    ("", "All"),
    ("live", "Live"),
    ("unused", "Unused for 90 days"),
    ("ending", "Expires within 30 days"),
    ("expired", "Expired"),
    ("revoked", "Revoked"),
    ("exposed", "Exposed"),
    ("disabled", "Disabled"),
];

/// The orders that the heads select.
const ORDERS: [(&str, TokenOrder); 6] = [
    ("newest", TokenOrder::Newest),
    ("oldest", TokenOrder::Oldest),
    ("expires", TokenOrder::Expiry),
    ("expires_reversed", TokenOrder::ExpiryReversed),
    ("used", TokenOrder::LastUsed),
    ("used_reversed", TokenOrder::LastUsedReversed),
];

#[derive(Template)]
#[template(path = "tokens.html")]
struct Page {
    shell: Shell,
    ask: Ask,
    /// Whether the filter is valid.
    is_valid: bool,
    /// The owner, if the list is restricted to one.
    owner: Option<User>,
    tokens: Vec<TokenDetails>,
    unreadable: Vec<Unreadable>,
    total: String,
    /// The heads that sort the list: created, expires, last used.
    sorts: [Sort; 3],
    /// Ticked tokens.
    ticked: Vec<TokenId>,
    /// Link to the previous page; empty: there is none.
    previous: String,
    /// Link to the next page; empty: there is none.
    next: String,
    now: Timestamp,
}

/// The filter, as the fields of the form.
struct Ask {
    user: String,
    owner: String,
    hint: String,
    view: String,
    kind: String,
    order: String,
    /// Page token; empty: first page.
    position: String,
}

impl Ask {
    fn of(fields: &Fields) -> Ask {
        let get = |name| fields.get(name).to_owned();
        // If a whole key was pasted, only its hint is used and shown again.
        let hint: String = TokenHint::sought(fields.get("hint").trim_end_matches('…')).as_str().to_owned();
        Ask {
            user: get("user"),
            owner: get("owner"),
            hint,
            view: get("view"),
            kind: get("kind"),
            order: get("order"),
            position: get("page"),
        }
    }

    fn is_filtered(&self) -> bool {
        [&self.user, &self.owner, &self.hint, &self.view, &self.kind].iter().any(|field| !field.is_empty())
    }

    fn is_view(&self, view: &str) -> bool {
        self.view == view
    }

    fn query(&self, now: Timestamp) -> Result<TokenQuery, OperationError> {
        let not_an_id = || OperationError::InvalidField("user", "a user id is a number".to_owned());
        let owner = match self.user.as_str() {
            "" => None,
            id => Some(SubjectId(id.parse().ok().filter(|id| *id > 0).ok_or_else(not_an_id)?)),
        };
        Ok(TokenQuery {
            owner_name: bounded("owner", &self.owner, MAX_OWNER)?,
            hint: self.hint.clone(),
            owner,
            view: match self.view.as_str() {
                "live" => TokenView::Live,
                "unused" => TokenView::UnusedSince(now.before(UNUSED_AFTER)),
                "ending" => TokenView::EndingBefore(now.after(ENDING_WITHIN)),
                "expired" => TokenView::Expired,
                "revoked" => TokenView::Revoked,
                "exposed" => TokenView::Exposed,
                "disabled" => TokenView::Disabled,
                "" => TokenView::All,
                other => return Err(OperationError::Invalid(format!("there is no view `{other}`; choose one below"))),
            },
            kind: word("kind", &self.kind, |text| match text {
                "login" => Some(TokenKind::Login),
                "named" => Some(TokenKind::Named),
                _ => None,
            })?,
            order: lists::order(&self.order, &ORDERS)?,
            position: lists::position(&self.position)?,
            limit: ENTRIES,
            ..TokenQuery::default()
        })
    }

    fn sorts(&self) -> [Sort; 3] {
        let href = |order: &str| format!("/tokens?{}", self.with(&self.view, order));
        [
            Sort::of("Created", ("newest", "oldest"), "descending", &self.order, href),
            Sort::of("Expires", ("expires", "expires_reversed"), "ascending", &self.order, href),
            Sort::of("Last used", ("used", "used_reversed"), "descending", &self.order, href),
        ]
    }

    /// The first page of the same list in this view, in the order of the view.
    fn with_view(&self, view: &str) -> String {
        self.with(view, "")
    }

    fn with(&self, view: &str, order: &str) -> String {
        let fields = [
            ("user", &*self.user),
            ("owner", &*self.owner),
            ("hint", &*self.hint),
            ("kind", &*self.kind),
            ("view", view),
            ("order", order),
        ];
        let set = fields.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| format!("{name}={}&", text::escaped(value))).collect()
    }

    fn to_query(&self) -> String {
        self.with(&self.view, &self.order)
    }

    /// The same page of the same list.
    fn here(&self) -> String {
        if self.is_first() {
            self.to_query()
        } else {
            format!("{}page={}", self.to_query(), text::escaped(&self.position))
        }
    }

    fn is_first(&self) -> bool {
        self.position.is_empty()
    }
}

pub(in crate::admin) async fn list(visit: Visit) -> Answer {
    let ask = Ask::of(&visit.query);
    show(&visit, ask, Vec::new(), None).await
}

/// Renders the list, with the error of a failed bulk revocation, or of the filter.
async fn show(visit: &Visit, ask: Ask, ticked: Vec<TokenId>, failed: Option<&OperationError>) -> Answer {
    let (acting, mut owner) = (visit.acting(), None);
    let search = async {
        let query = ask.query(visit.now())?;
        if let Some(id) = query.owner {
            owner = Some(acting.user(id).await.map_err(|error| match error {
                OperationError::UnknownUser(_) => OperationError::InvalidField("user", error.to_string()),
                error => error,
            })?);
        }
        Ok((acting.tokens(&query).await?, acting.count_tokens(&query).await?))
    };
    let (list, count, wrong) = lists::or_refused(search.await)?;
    let (is_valid, failed) = (wrong.is_none(), wrong.as_ref().or(failed));
    let Listing { entries, unreadable, previous, next } = list;
    let total = total(count, "token");
    let (status, shell) = lists::frame(visit, Section::Tokens, failed);
    let [previous, next] = [previous, next].map(|position| position.to_string());
    let (sorts, now) = (ask.sorts(), visit.now());
    let list =
        Page { shell, ask, is_valid, owner, tokens: entries, unreadable, total, sorts, ticked, previous, next, now };
    Ok(page(status, &list))
}

/// The list as a file, without pages.
pub(in crate::admin) async fn export(visit: Visit) -> Answer {
    let format = Format::of(visit.query.get("format"))?;
    let now = visit.now();
    let list = TokensAt { query: Ask::of(&visit.query).query(now)?, now };
    Ok(export::export(visit.app.operations.clone(), visit.caller, list, format).await?)
}

pub(in crate::admin) async fn revoke(sent: Sent) -> Answer {
    let visit = &sent.visit;
    let ask = Ask::of(&Fields::read(sent.fields.get("back").as_bytes()));
    let back = format!("/tokens?{}", ask.here());
    let ids: Vec<TokenId> = sent.fields.all("token").filter_map(|id| id.parse().ok()).map(TokenId).collect();
    if ids.is_empty() {
        return Ok(visit.failed(&back, "No token was selected."));
    }
    match sent.confirm().await {
        Ok(()) => {}
        // Ticked boxes stay ticked.
        Err(error) if error.is_of_password() => {
            return Ok(told(&error, show(visit, ask, ids, Some(&error)).await?));
        }
        Err(error) => return Err(error.into()),
    }
    let mut ended = 0_usize;
    for id in &ids {
        match visit.acting().revoke(*id).await {
            Ok(revocation) => ended += usize::from(revocation.was_live),
            // Deleted, or not the caller's to manage: the other tokens are still revoked.
            Err(OperationError::UnknownToken | OperationError::NotAllowed(_) | OperationError::UnknownUser(_)) => {}
            Err(error) => {
                let so_far = format!("{ended} of {} tokens were revoked; then: {error}.", ids.len());
                return Ok(visit.failed(&back, so_far));
            }
        }
    }
    let word = if ended == 1 { "token was" } else { "tokens were" };
    Ok(visit.done(&back, format!("{ended} {word} revoked.")))
}
