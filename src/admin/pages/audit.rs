//! The audit trail, as a list and as a file.

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::{Answer, ENTRIES, text};
use crate::admin::export::{self, Format};
use crate::admin::fields::Fields;
use crate::admin::operations::OperationError;
use crate::admin::visit::Visit;
use crate::clock::Timestamp;
use crate::store::{Act, AuditEntry, AuditQuery, Listing, PagePosition, Unreadable, Via};
use crate::token::SubjectId;

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    shell: Shell,
    ask: Ask,
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
        let position: PagePosition = visit
            .query
            .get("page")
            .parse()
            .map_err(|_| OperationError::Invalid(crate::store::BadPosition.to_string()))?;
        let (user, user_name) = self.user(visit).await?;
        Ok(AuditQuery {
            actor: Some(self.actor.clone()).filter(|actor| !actor.is_empty()),
            user,
            user_name,
            act: word(&self.act, Act::parse, "act")?,
            via: word(&self.via, Via::parse, "interface")?,
            since: date(&self.since)?,
            until: date(&self.until)?.map(|day| day.after(text::days(1))),
            position,
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
        if let Some(id) = self.user.strip_prefix('#') {
            let id =
                id.parse().map_err(|_| OperationError::Invalid("write # and the user id, such as #7".to_owned()))?;
            return Ok((Some(SubjectId(id)), None));
        }
        if visit.is_superuser() {
            return Ok((None, Some(self.user.clone())));
        }
        // Staff sees the entries of one user at a time.
        let user = visit.acting().user_named(&self.user).await?;
        let user = user.ok_or_else(|| OperationError::Invalid(format!("no user is called {}", self.user)))?;
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

/// Parses a word of a fixed list; `None` for an empty field.
fn word<T>(written: &str, parse: impl Fn(&str) -> Option<T>, what: &str) -> Result<Option<T>, OperationError> {
    if written.is_empty() {
        return Ok(None);
    }
    parse(written).map(Some).ok_or_else(|| OperationError::Invalid(format!("unknown {what}")))
}

fn date(written: &str) -> Result<Option<Timestamp>, OperationError> {
    if written.is_empty() {
        return Ok(None);
    }
    let bad = || OperationError::Invalid("write the date as 2026-11-24".to_owned());
    text::read_day(written).map(Some).ok_or_else(bad)
}

pub(in crate::admin) async fn list(visit: Visit) -> Answer {
    let ask = Ask::of(&visit.query);
    let Listing { entries, unreadable, previous, next } = visit.acting().audit(&ask.query(&visit).await?).await?;
    let shell = Shell::of(&visit, Section::Audit);
    let [previous, next] = [previous, next].map(|position| position.to_string());
    Ok(page(StatusCode::OK, &Page { shell, ask, entries, unreadable, previous, next, now: visit.now() }))
}

pub(in crate::admin) async fn export(visit: Visit) -> Answer {
    let format = Format::of(visit.query.get("format"))?;
    let query = Ask::of(&visit.query).query(&visit).await?;
    Ok(export::export(visit.app.operations.clone(), visit.caller, query, format).await?)
}
