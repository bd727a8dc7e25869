//! The audit trail as a file: comma-separated values for spreadsheets, or JSON lines for programs. Pages and the API
//! give the same.
//!
//! Sent as it is read, so that it may be long. What fails on the way breaks the connection: half a trail must not pass
//! for a whole one.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body::{Body as HttpBody, Frame};
use serde_json::json;
use tokio::sync::mpsc;

use super::desk::{Caller, Desk, DeskError};
use crate::store::{AuditEntry, AuditQuery, Place};

/// Entries that are read at once.
const AT_ONCE: u32 = 1_000;

const COLUMNS: &str = "id,at,actor,actor_id,via,from,act,user,user_id,token_id,detail\r\n";

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For spreadsheets (RFC 4180).
    Csv,
    /// For programs: an object in each line.
    JsonLines,
}

impl Format {
    /// All of them.
    pub(super) const ALL: [Format; 2] = [Format::Csv, Format::JsonLines];

    /// Its name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
        }
    }

    /// The media type, and what the file is called.
    const fn fields(self) -> (&'static str, &'static str) {
        match self {
            Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
            Format::JsonLines => ("application/jsonl; charset=utf-8", "attachment; filename=\"audit.jsonl\""),
        }
    }
}

/// All that the caller may see of what the query asks for, from its beginning.
///
/// # Errors
/// What [`Acting::audit`](super::desk::Acting::audit) says of the first part.
pub(super) async fn export(
    desk: Desk,
    caller: Caller,
    query: AuditQuery,
    format: Format,
) -> Result<Response, DeskError> {
    let mut query = AuditQuery { place: Place::Start, limit: AT_ONCE, ..query };
    // The first part before the answer begins, so that a refusal is one.
    let mut part = desk.act_for(&caller).audit(&query).await?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let mut text = if format == Format::Csv { COLUMNS.to_owned() } else { String::new() };
        loop {
            part.entries.iter().for_each(|entry| write(&mut text, entry, format));
            // Nobody reads any more.
            if sender.send(Ok(std::mem::take(&mut text).into())).await.is_err() || part.next == Place::Start {
                break;
            }
            query.place = part.next;
            part = match desk.act_for(&caller).audit(&query).await {
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

/// A body that comes in parts.
struct Parts(mpsc::Receiver<Result<Bytes, DeskError>>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = DeskError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DeskError>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

fn write(text: &mut String, entry: &AuditEntry, format: Format) {
    let id = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    let actor = &entry.actor;
    let (actor_id, user, token) = (actor.id.map(|id| id.0), entry.user.map(|id| id.0), entry.token.map(|id| id.0));
    let from = actor.from.map(|from| from.to_string());
    if format == Format::JsonLines {
        let line = json!({
            "id": entry.id, "at": entry.at.to_string(), "actor": actor.name, "actor_id": actor_id,
            "via": actor.via.as_str(), "from": from, "act": entry.act.as_str(), "user": entry.user_name,
            "user_id": user, "token_id": token, "detail": entry.detail,
        });
        text.push_str(&line.to_string());
        text.push('\n');
        return;
    }
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

/// A text in quotes (RFC 4180 §2) of which no spreadsheet takes any part for a formula.
///
/// A reader that expects another delimiter than the comma, or no quotes, cuts a text where we do not. So a mark goes
/// before each sign that would begin a formula wherever such a reader could begin a cell: at the start and behind each
/// delimiter, also if blanks or quotes stand in between, which readers remove. Control characters, line breaks among
/// them, are written as their pictures: `␊`.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    cell.push('"');
    let mut begins = true;
    if text.starts_with('\'') {
        // Otherwise it would look like a mark of ours.
        cell.push('\'');
    }
    for (place, c) in text.char_indices() {
        if begins && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '﹢' | '﹣' | '﹦' | '﹫' | '−')
        {
            // An apostrophe is what spreadsheets know as a mark. Inside a text it could be a reader's quote.
            cell.push(if place == 0 { '\'' } else { '’' });
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

/// Is it a character that shows nothing, and that a reader may remove?
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

/// What stands for a control character (Unicode, Control Pictures).
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
