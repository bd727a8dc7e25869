//! A row that may be unreadable.

use sqlx::{ColumnIndex, Decode, FromRow, Type};

use super::Row;
use crate::store::{StoreError, Unreadable};

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

impl<T> Read<T> {
    /// The id, if it can be read.
    pub(in crate::store) fn id(&self, id: impl Fn(&T) -> i64) -> Option<i64> {
        match self {
            Read::Whole(row) => Some(id(row)),
            Read::Broken(row) => row.id,
        }
    }

    /// Converts the row; one that says something impossible is as unreadable as one with broken text.
    pub(in crate::store) fn and_then<U>(
        self,
        id: impl Fn(&T) -> i64,
        read: impl FnOnce(T) -> Result<U, StoreError>,
    ) -> Result<U, Unreadable> {
        let row = match self {
            Read::Whole(row) => row,
            Read::Broken(row) => return Err(row),
        };
        let id = id(&row);
        read(row).map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Unreadable { id: Some(id), cause }
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
