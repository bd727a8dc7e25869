//! The audit trail, as a list and as a file.

use super::lists::{self, bounded, word};
use super::shell::{Section, Shell, page};
use super::{Answer, ENTRIES, text};
use crate::admin::export::{self, Format};
use crate::admin::fields::Fields;
use crate::admin::operations::OperationError;
use crate::admin::visit::Visit;
use crate::clock::Timestamp;
use crate::store::{Act, AuditEntry, AuditQuery, Listing, Unreadable, Via};
use crate::token::SubjectId;
use askama::Template;

/// Maximum length of a search for a name.
const MAX_NAME: usize = 150;

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    shell: Shell,
    ask: Ask,
    /// Whether the filter is valid.
    is_valid: bool,
    entries: Vec<AuditEntry>,
    unreadable: Vec<Unreadable>,
    /// Link to the previous page; empty: there is none.
    previous: String,
    /// Link to the next page; empty: there is none.
    next: String,
    now: Timestamp,
}

/// The filter, as the fields of the form.
struct Ask {
    actor: String,
    user: String,
    act: String,
    via: String,
    since: String,
    until: String,
    is_first: bool,
}

impl Ask {
    fn of(fields: &Fields) -> Ask {
        let get = |name| fields.get(name).to_owned();
        let is_first = fields.get("page").is_empty();
        Ask {
            actor: get("actor"),
            user: get("user"),
            act: get("act"),
            via: get("via"),
            since: get("since"),
            until: get("until"),
            is_first,
        }
    }

    fn is_filtered(&self) -> bool {
        [&self.actor, &self.user, &self.act, &self.via, &self.since, &self.until].iter().any(|field| !field.is_empty())
    }

    async fn query(&self, visit: &Visit) -> Result<AuditQuery, OperationError> {
        let (since, until) = (date("since", &self.since)?, date("until", &self.until)?);
        if since > until && until.is_some() {
            return Err(OperationError::InvalidField(
                "until",
                "the last day must not be before the first one".to_owned(),
            ));
        }
        let actor = bounded("actor", &self.actor, MAX_NAME)?;
        let (act, via) = (word("act", &self.act, Act::parse)?, word("via", &self.via, Via::parse)?);
        let (user, user_name) = self.user(visit).await?;
        Ok(AuditQuery {
            actor: Some(actor).filter(|actor| !actor.is_empty()),
            user,
            user_name,
            act,
            via,
            since,
            until: until.map(|day| day.after(text::days(1))),
            position: lists::position(visit.query.get("page"))?,
            limit: ENTRIES,
            ..AuditQuery::default()
        })
    }

    /// Parses `#7` as an id, anything else as a part of a name: of a user, or of users who had it at the time of an
    /// entry.
    async fn user(&self, visit: &Visit) -> Result<(Option<SubjectId>, Option<String>), OperationError> {
        if self.user.is_empty() {
            return Ok((None, None));
        }
        let invalid = |text: String| OperationError::InvalidField("user", text);
        if let Some(id) = self.user.strip_prefix('#') {
            let id = id.parse().map_err(|_| invalid("write # and the user id, such as #7".to_owned()))?;
            return Ok((Some(SubjectId(id)), None));
        }
        if visit.is_superuser() {
            return Ok((None, Some(bounded("user", &self.user, MAX_NAME)?)));
        }
        // Staff sees the entries of one user at a time.
        let user = visit.acting().user_named(&self.user).await?;
        let user = user.ok_or_else(|| invalid(format!("no user is called {}", self.user)))?;
        Ok((Some(user.account.id), None))
    }

    fn to_query(&self) -> String {
        let fields = [
            ("actor", &self.actor),
            ("user", &self.user),
            ("act", &self.act),
            ("via", &self.via),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let set = fields.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| format!("{name}={}&", text::escaped(value))).collect()
    }
}

fn date(field: &'static str, written: &str) -> Result<Option<Timestamp>, OperationError> {
    if written.is_empty() {
        return Ok(None);
    }
    let bad = || OperationError::InvalidField(field, "this is not a date; write it as 2026-11-24".to_owned());
    text::read_day(written).map(Some).ok_or_else(bad)
}

pub(in crate::admin) async fn list(visit: Visit) -> Answer {
    let ask = Ask::of(&visit.query);
    // The trail is not counted.
    let search = async { Ok((visit.acting().audit(&ask.query(&visit).await?).await?, 0)) };
    let (list, _, wrong) = lists::or_refused(search.await)?;
    let Listing { entries, unreadable, previous, next } = list;
    let (status, shell) = lists::frame(&visit, Section::Audit, wrong.as_ref());
    let [previous, next] = [previous, next].map(|position| position.to_string());
    let (is_valid, now) = (wrong.is_none(), visit.now());
    Ok(page(status, &Page { shell, ask, is_valid, entries, unreadable, previous, next, now }))
}

pub(in crate::admin) async fn export(visit: Visit) -> Answer {
    let format = Format::of(visit.query.get("format"))?;
    let query = Ask::of(&visit.query).query(&visit).await?;
    Ok(export::export(visit.app.operations.clone(), visit.caller, query, format).await?)
}
