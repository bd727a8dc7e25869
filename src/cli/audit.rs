//! `tokengate audit`: the audit trail, as a list and as a file.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::args::{AuditCommand, AuditFilter, AuditFormat};
use super::show::Table;
use super::{show, store};
use crate::admin::export::{self, Format};
use crate::clock::Timestamp;
use crate::store::{Act, AuditQuery, AuditTrail, Listing, PagePosition, Store};
use crate::token::{SubjectId, TokenId};

/// Number of entries read from the store per query.
const PAGE: u32 = 1_000;

/// Runs a subcommand.
pub fn run(config: &Path, command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::List { filter, limit, page, json } => {
            let position = page.parse().context("--page is not one that a list has printed")?;
            let query = AuditQuery { position, limit, ..query(filter)? };
            store::with(config, async |store| list(&*trail(&store)?, &query, json).await)
        }
        AuditCommand::Export { filter, format } => {
            let format = match format {
                AuditFormat::Csv => Format::Csv,
                AuditFormat::Jsonl => Format::JsonLines,
            };
            let query = AuditQuery { limit: PAGE, ..query(filter)? };
            store::with(config, async |store| write(&*trail(&store)?, query, format).await)
        }
    }
}

fn trail(store: &Store) -> Result<Arc<dyn AuditTrail>> {
    store.audit.clone().context("this store has no audit trail: Django manages its users and tokens")
}

fn query(filter: AuditFilter) -> Result<AuditQuery> {
    let AuditFilter { actor, user, token, action, since, until } = filter;
    let act = action.map(|action| {
        let known = || Act::ALL.map(Act::as_str).join(", ");
        Act::parse(&action).with_context(|| format!("{action} is not an action; these are: {}", known()))
    });
    let user_id = match user.strip_prefix('#') {
        Some(id) => Some(SubjectId(id.parse().context("write # and the id of the user, such as '#7'")?)),
        None => None,
    };
    Ok(AuditQuery {
        actor: Some(actor).filter(|actor| !actor.is_empty()),
        user_name: Some(user).filter(|user| user_id.is_none() && !user.is_empty()),
        user: user_id,
        token: token.map(TokenId),
        act: act.transpose()?,
        since: since.map(|day| start_of(&day)).transpose()?,
        until: until.map(|day| start_of(&day)).transpose()?.map(|day| day.after(Duration::from_secs(86_400))),
        ..AuditQuery::default()
    })
}

/// The first moment of a day in UTC.
fn start_of(day: &str) -> Result<Timestamp> {
    format!("{day}T00:00:00Z").parse().ok().with_context(|| format!("{day} is not a day; write it as 2026-11-24"))
}

async fn list(trail: &dyn AuditTrail, query: &AuditQuery, json: bool) -> Result<()> {
    let Listing { entries, unreadable, next, .. } = trail.entries(query).await?;
    let unreadable = show::unreadable("audit entry", &unreadable);
    let next = (next != PagePosition::Start).then(|| next.to_string());
    if json {
        let entries: Vec<Value> = entries.iter().map(export::as_json).collect();
        show::json(&json!({ "entries": entries, "next_page": next }))?;
        return show::whole_list(unreadable);
    }
    let mut table = Table::new(&["TIME", "ACTION", "BY", "VIA", "FROM", "USER", "TOKEN", "DETAILS"]);
    let rows = entries.into_iter().map(|entry| {
        let cells = [
            entry.at.to_string(),
            entry.act.to_string(),
            entry.actor.name,
            entry.actor.via.as_str().to_owned(),
            entry.actor.from.map(|from| from.to_string()).unwrap_or_default(),
            entry.user_name,
            entry.token.map(|token| token.to_string()).unwrap_or_default(),
            entry.detail,
        ];
        cells.map(|text| (text, None)).to_vec()
    });
    table.print(&rows.collect::<Vec<_>>())?;
    if let Some(next) = next {
        show::note(format_args!("There are more; go on with --page={next}"));
    }
    show::whole_list(unreadable)
}

async fn write(trail: &dyn AuditTrail, mut query: AuditQuery, format: Format) -> Result<()> {
    let mut unreadable = 0;
    let mut text = if format == Format::Csv { export::COLUMNS.to_owned() } else { String::new() };
    loop {
        let part = trail.entries(&query).await?;
        part.entries.iter().for_each(|entry| export::write(&mut text, entry, format));
        io::stdout().write_all(std::mem::take(&mut text).as_bytes())?;
        unreadable += show::unreadable("audit entry", &part.unreadable);
        if part.next == PagePosition::Start {
            break;
        }
        query.position = part.next;
    }
    if unreadable > 0 {
        bail!("the file is incomplete; rows that cannot be read: {unreadable}");
    }
    Ok(())
}
