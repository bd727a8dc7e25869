//! Audit trail as a file: CSV for spreadsheets, or JSON lines for programs. Used by the pages and the API.
//!
//! The file is streamed, so its length is not limited. An error while streaming aborts the connection: a partial trail
//! must not look complete.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body::{Body as HttpBody, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::operations::{Caller, OperationError, Operations};
use crate::store::{AuditEntry, AuditQuery, PagePosition};

/// Number of entries read per query.
const ENTRIES_PER_QUERY: u32 = 1_000;

/// The first line of a CSV file.
pub(crate) const COLUMNS: &str = "id,at,actor,actor_id,via,from,act,user,user_id,token_id,detail\r\n";

/// File format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For spreadsheets (RFC 4180).
    Csv,
    /// For programs: one object per line.
    JsonLines,
}

impl Format {
    /// All formats.
    pub(super) const ALL: [Format; 2] = [Format::Csv, Format::JsonLines];

    /// Name of the format.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
        }
    }

    /// Media type and file name.
    const fn fields(self) -> (&'static str, &'static str) {
        match self {
            Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
            Format::JsonLines => ("application/jsonl; charset=utf-8", "attachment; filename=\"audit.jsonl\""),
        }
    }
}

/// Streams all matching entries that the caller may see, from the first one.
///
/// # Errors
/// Errors of [`Acting::audit`](super::operations::Acting::audit) for the first page.
pub(super) async fn export(
    operations: Operations,
    caller: Caller,
    query: AuditQuery,
    format: Format,
) -> Result<Response, OperationError> {
    let mut query = AuditQuery { position: PagePosition::Start, limit: ENTRIES_PER_QUERY, ..query };
    // The first page is read before the response starts, so that a refusal gets its own status.
    let mut part = operations.act_for(&caller).audit(&query).await?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let mut text = if format == Format::Csv { COLUMNS.to_owned() } else { String::new() };
        loop {
            part.entries.iter().for_each(|entry| write(&mut text, entry, format));
            // The client has disconnected.
            if sender.send(Ok(std::mem::take(&mut text).into())).await.is_err() || part.next == PagePosition::Start {
                break;
            }
            query.position = part.next;
            part = match operations.act_for(&caller).audit(&query).await {
                Ok(part) => part,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    break;
                }
            };
        }
    });
    let (kind, file) = format.fields();
    let fields = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, file)];
    Ok((fields, Body::new(Parts(receiver))).into_response())
}

/// A streamed body.
struct Parts(mpsc::Receiver<Result<Bytes, OperationError>>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = OperationError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OperationError>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

/// An entry as JSON.
pub(crate) fn as_json(entry: &AuditEntry) -> Value {
    let actor = &entry.actor;
    json!({
        "id": entry.id, "at": entry.at.to_string(), "actor": actor.name, "actor_id": actor.id.map(|id| id.0),
        "via": actor.via.as_str(), "from": actor.from.map(|from| from.to_string()), "act": entry.act.as_str(),
        "user": entry.user_name, "user_id": entry.user.map(|id| id.0), "token_id": entry.token.map(|id| id.0),
        "detail": entry.detail,
    })
}

/// Adds an entry to a file.
pub(crate) fn write(text: &mut String, entry: &AuditEntry, format: Format) {
    if format == Format::JsonLines {
        text.push_str(&as_json(entry).to_string());
        text.push('\n');
        return;
    }
    let id = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    let actor = &entry.actor;
    let (actor_id, user, token) = (actor.id.map(|id| id.0), entry.user.map(|id| id.0), entry.token.map(|id| id.0));
    let from = actor.from.map(|from| from.to_string());
    let cells = [
        entry.id.to_string(),
        entry.at.to_string(),
        actor.name.clone(),
        id(actor_id),
        actor.via.as_str().to_owned(),
        from.unwrap_or_default(),
        entry.act.as_str().to_owned(),
        entry.user_name.clone(),
        id(user),
        id(token),
        entry.detail.clone(),
    ];
    text.push_str(&cells.each_ref().map(|text| cell(text)).join(","));
    text.push_str("\r\n");
}

/// Quotes a text (RFC 4180 §2) so that no spreadsheet interprets any part of it as a formula.
///
/// A reader with another delimiter, or without quotes, splits a text at other places. So an apostrophe precedes each
/// formula sign wherever such a reader could start a cell: at the start and after each delimiter, even behind blanks or
/// quotes, which readers remove. Control characters, including line breaks, become their pictures: `␊`.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    cell.push('"');
    let mut begins = true;
    if text.starts_with('\'') {
        // Otherwise it would look like the inserted mark.
        cell.push('\'');
    }
    for (position, c) in text.char_indices() {
        if begins && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '﹢' | '﹣' | '﹦' | '﹫' | '−')
        {
            // Spreadsheets know an apostrophe as a mark. Inside a text a reader could take it for a quote.
            cell.push(if position == 0 { '\'' } else { '’' });
        }
        begins = match c {
            ',' | ';' | '|' => true,
            c if c.is_control() => true,
            '"' | '\'' | '`' | '\\' => begins,
            c if c.is_whitespace() || is_invisible(c) => begins,
            _ => false,
        };
        match c {
            '"' => cell.push_str("\"\""),
            c if c.is_control() => cell.push(picture(c)),
            c => cell.push(c),
        }
    }
    cell.push('"');
    cell
}

/// Whether a reader may remove this invisible character.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the picture of a control character (Unicode, Control Pictures).
fn picture(control: char) -> char {
    match u32::from(control) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '␡',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula_and_everything_else_stays() {
        for (text, written) in [
            ("alice", "alice"),
            ("", ""),
            ("a \"b\", c", "a \"\"b\"\", c"),
            ("a-b+c=d@example.test", "a-b+c=d@example.test"),
            ("name: a → b; e-mail: x@y", "name: a → b; e-mail: x@y"),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2", "'-2"),
            ("＝1+1", "'＝1+1"),
            ("'quoted'", "''quoted'"),
            (" =1", " ’=1"),
            ("\t=1", "␉’=1"),
            ("x;=cmd|' /C calc'!A0;y", "x;’=cmd|' /C calc'!A0;y"),
            ("x|@SUM(A1)", "x|’@SUM(A1)"),
            ("x,\"=1\"", "x,\"\"’=1\"\""),
            ("x;'=1'", "x;'’=1'"),
            ("x; \u{feff}\u{a0}＋1", "x; \u{feff}\u{a0}’＋1"),
            ("x\n-1\r\n+2", "x␊’-1␍␊’+2"),
            ("x;\\=1", "x;\\’=1"),
        ] {
            assert_eq!(cell(text), format!("\"{written}\""), "{text}");
        }
    }
}
