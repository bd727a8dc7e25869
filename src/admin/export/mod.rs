//! Lists as files: CSV for spreadsheets, or JSON lines for programs. Used by the pages, the API and the command line.
//!
//! A file is streamed, so its length is not limited. An error while streaming aborts the connection: a partial file
//! must not look complete. A row that cannot be read has a line that says so.

mod audit;
mod cell;
mod tokens;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body::{Body as HttpBody, Frame};
use serde_json::json;
use tokio::sync::mpsc;

use super::operations::{Caller, OperationError, Operations};
use crate::store::{Listing, PagePosition, Unreadable};
pub(crate) use audit::{COLUMNS, as_json, write};
use cell::cell;
pub(super) use tokens::TokensAt;

/// Number of entries read per query.
const ENTRIES_PER_QUERY: u32 = 1_000;

/// File format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For spreadsheets (RFC 4180).
    Csv,
    /// For programs: one object per line.
    JsonLines,
}

/// A list that can be a file.
pub(super) trait Exported: Send + Sync + 'static {
    /// An entry of the list.
    type Entry: Send;
    /// The name of the file, without its ending.
    const NAME: &'static str;
    /// The first line of a CSV file.
    const COLUMNS: &'static str;

    /// Reads a page that the caller may see.
    fn read(
        &self,
        operations: &Operations,
        caller: &Caller,
        position: PagePosition,
        limit: u32,
    ) -> impl Future<Output = Result<Listing<Self::Entry>, OperationError>> + Send;

    /// Adds an entry to a file.
    fn write(&self, text: &mut String, entry: &Self::Entry, format: Format);
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

    /// Parses the name of a format; an empty one is CSV.
    pub(super) fn of(name: &str) -> Result<Format, OperationError> {
        let named = Format::ALL.into_iter().find(|format| format.as_str() == name);
        let named = named.or(name.is_empty().then_some(Format::Csv));
        named.ok_or_else(|| OperationError::Invalid("unknown format".to_owned()))
    }

    const fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8",
            Format::JsonLines => "application/jsonl; charset=utf-8",
        }
    }
}

/// Streams all entries that the caller may see, from the first one.
///
/// # Errors
/// Errors of the first page.
pub(super) async fn export<E: Exported>(
    operations: Operations,
    caller: Caller,
    list: E,
    format: Format,
) -> Result<Response, OperationError> {
    // The first page is read before the response starts, so that a refusal gets its own status.
    let mut part = list.read(&operations, &caller, PagePosition::Start, ENTRIES_PER_QUERY).await?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let mut text = if format == Format::Csv { E::COLUMNS.to_owned() } else { String::new() };
        loop {
            part.entries.iter().for_each(|entry| list.write(&mut text, entry, format));
            part.unreadable.iter().for_each(|row| write_unreadable(&mut text, row, E::COLUMNS, format));
            // The client has disconnected.
            if sender.send(Ok(std::mem::take(&mut text).into())).await.is_err() {
                break;
            }
            if part.next == PagePosition::Start {
                break;
            }
            part = match list.read(&operations, &caller, part.next, ENTRIES_PER_QUERY).await {
                Ok(part) => part,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    break;
                }
            };
        }
    });
    let file = format!("attachment; filename=\"{}.{}\"", E::NAME, format.as_str());
    let fields = [(header::CONTENT_TYPE, format.media_type().to_owned()), (header::CONTENT_DISPOSITION, file)];
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

/// Adds a row that cannot be read: its id, and the cause in place of the last column.
fn write_unreadable(text: &mut String, unreadable: &Unreadable, columns: &str, format: Format) {
    if format == Format::JsonLines {
        text.push_str(&json!({"id": unreadable.id, "unreadable": unreadable.cause.to_string()}).to_string());
        text.push('\n');
        return;
    }
    let (id, cause) = (unreadable.id.map(|id| id.to_string()), format!("cannot be read: {}", unreadable.cause));
    let empty = columns.split(',').count().saturating_sub(2);
    let cells = [id.as_deref().unwrap_or_default()].into_iter().chain(std::iter::repeat_n("", empty)).chain([&*cause]);
    row(text, &cells.collect::<Vec<_>>());
}

/// Adds a row to a CSV file.
fn row(text: &mut String, cells: &[&str]) {
    text.push_str(&cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(","));
    text.push_str("\r\n");
}
