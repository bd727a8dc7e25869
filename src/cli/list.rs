//! Lists by id: read page by page, as a table or as JSON.

use anyhow::Result;
use serde_json::Value;

use super::args::Paging;
use super::show::{self, Colour, Table};
use crate::store::{Batch, Page, StoreError};

/// Number of entries read from the store per query.
const PAGE: u32 = 500;

/// Prints a list. `row` returns the id of an entry and its cells.
///
/// # Errors
/// The store does not answer, standard output is closed, or some rows cannot be read.
pub async fn print<T>(
    paging: &Paging,
    what: &str,
    table: &mut Table,
    read: impl AsyncFn(Page) -> Result<Batch<T>, StoreError>,
    row: impl Fn(&T) -> (i64, Vec<(String, Option<Colour>)>),
    as_json: impl Fn(&T) -> Value,
) -> Result<()> {
    let mut left = paging.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let mut page = Page { after: paging.after, limit: PAGE };
    let (mut all, mut unreadable, mut last, mut more) = (Vec::new(), 0, paging.after, false);
    while !more {
        // One more than wanted shows whether the list goes on.
        page.limit = u32::try_from(left.saturating_add(1)).map_or(PAGE, |wanted| wanted.min(PAGE));
        let batch = read(page).await?;
        let Some(end) = batch.end() else { break };
        page.after = end;
        unreadable += show::unreadable(what, batch.unreadable());
        more = batch.len() > left;
        let wanted: Vec<&T> = batch.iter().take(left).collect();
        left = left.saturating_sub(wanted.len());
        if paging.json {
            all.extend(wanted.iter().map(|entry| as_json(entry)));
        }
        let (ids, rows): (Vec<i64>, Vec<_>) = wanted.into_iter().map(&row).unzip();
        last = ids.last().copied().unwrap_or(last);
        if !paging.json {
            table.print(&rows)?;
        }
    }
    if paging.json {
        show::json(&Value::Array(all))?;
    } else {
        // An empty list has a head, too. Before the first rows their widths are unknown.
        table.print(&[])?;
    }
    if more {
        show::note(format_args!("There are more; go on with --after {last}."));
    }
    show::whole_list(unreadable)
}
