//! A row that may be unreadable.

use sqlx::{ColumnIndex, Decode, FromRow, Type};

use super::Row;
use crate::store::Unreadable;

/// A row, or why it cannot be read. Its first column has to be the id.
pub(in crate::store) enum Read<T> {
    Whole(T),
    Broken(Unreadable),
}

impl<'r, R: sqlx::Row, T: FromRow<'r, R>> FromRow<'r, R> for Read<T>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Read<T>, sqlx::Error> {
        Ok(match T::from_row(row) {
            Ok(whole) => Read::Whole(whole),
            Err(error) => Read::Broken(Unreadable { id: row.try_get(0).ok(), cause: cause(&error) }),
        })
    }
}

/// Parts rows from those that cannot be read.
pub(in crate::store) fn parted<T: Row>(rows: Vec<Read<T>>) -> (Vec<T>, Vec<Unreadable>) {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for row in rows {
        match row {
            Read::Whole(row) => whole.push(row),
            Read::Broken(row) => broken.push(row),
        }
    }
    (whole, broken)
}

fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::ColumnDecode { index, source } => format!("{}: {source}", index.trim_matches('"')),
        other => other.to_string(),
    }
}
