//! A statement with its arguments. The placeholders `$1`, `$2`, … work on every database.

use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Arguments, AssertSqlSafe, Database, Encode, FromRow, SqlSafeStr, SqlStr, Type};

/// One statement; can be run several times.
pub(in crate::store) struct Statement {
    text: SqlStr,
    arguments: Vec<Argument>,
}

/// The value of a placeholder.
pub(in crate::store) enum Argument {
    Number(Option<i64>),
    Text(String),
    Bytes(Option<Vec<u8>>),
    Truth(bool),
}

/// Declares a type that is read from a row: each field from the column of its name, and each field after `..` from the
/// columns of its type. The macro of the library does the same, but brings a second build of all database drivers.
macro_rules! row {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[$note:meta])* $shown:vis $field:ident: $kind:ty,)*
        $(.. $part:ident: $columns:ty,)*
    }) => {
        $(#[$attribute])*
        $visibility struct $name {
            $($(#[$note])* $shown $field: $kind,)*
            $($part: $columns,)*
        }

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for $name
        where
            &'static str: sqlx::ColumnIndex<R>,
            $($kind: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
            $($columns: sqlx::FromRow<'r, R>,)*
        {
            fn from_row(row: &'r R) -> Result<$name, sqlx::Error> {
                Ok($name {
                    $($field: row.try_get(stringify!($field))?,)*
                    $($part: sqlx::FromRow::from_row(row)?,)*
                })
            }
        }
    };
}
pub(in crate::store) use row;

/// A row type that every database supports.
pub(in crate::store) trait Row:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, MySqlRow> + Send + Unpin + 'static
{
}

impl<T> Row for T where
    T: for<'r> FromRow<'r, SqliteRow>
        + for<'r> FromRow<'r, PgRow>
        + for<'r> FromRow<'r, MySqlRow>
        + Send
        + Unpin
        + 'static
{
}

impl Statement {
    pub(in crate::store) fn new(text: impl SqlSafeStr) -> Statement {
        Statement { text: text.into_sql_str(), arguments: Vec::new() }
    }

    /// A statement with all its arguments.
    pub(in crate::store) fn with(text: impl SqlSafeStr, arguments: Vec<Argument>) -> Statement {
        Statement { text: text.into_sql_str(), arguments }
    }

    /// A statement around this one, with the same arguments.
    pub(in crate::store) fn around(self, outer: impl FnOnce(&str) -> String) -> Statement {
        let text = outer(self.text.as_str());
        Statement { text: AssertSqlSafe(text).into_sql_str(), ..self }
    }

    /// Sets the value of the next placeholder.
    pub(in crate::store) fn bind(mut self, argument: impl Into<Argument>) -> Statement {
        self.arguments.push(argument.into());
        self
    }

    pub(in crate::store) fn text(&self) -> SqlStr {
        self.text.clone()
    }

    /// The arguments in the form that one database needs.
    pub(in crate::store) fn arguments<D: Database>(&self) -> Result<D::Arguments, sqlx::Error>
    where
        for<'t> Option<i64>: Encode<'t, D> + Type<D>,
        for<'t> &'t str: Encode<'t, D> + Type<D>,
        for<'t> Option<&'t [u8]>: Encode<'t, D> + Type<D>,
        for<'t> bool: Encode<'t, D> + Type<D>,
    {
        let mut arguments = D::Arguments::default();
        for argument in &self.arguments {
            let added = match argument {
                Argument::Number(number) => arguments.add(*number),
                Argument::Text(text) => arguments.add(text.as_str()),
                Argument::Bytes(bytes) => arguments.add(bytes.as_deref()),
                Argument::Truth(truth) => arguments.add(*truth),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Argument {
        Argument::Number(Some(number))
    }
}

impl From<Option<i64>> for Argument {
    fn from(number: Option<i64>) -> Argument {
        Argument::Number(number)
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Argument {
        Argument::Text(text.to_owned())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Argument {
        Argument::Text(text)
    }
}

impl From<&[u8]> for Argument {
    fn from(bytes: &[u8]) -> Argument {
        Argument::Bytes(Some(bytes.to_vec()))
    }
}

impl From<Option<Vec<u8>>> for Argument {
    fn from(bytes: Option<Vec<u8>>) -> Argument {
        Argument::Bytes(bytes)
    }
}

impl From<bool> for Argument {
    fn from(truth: bool) -> Argument {
        Argument::Truth(truth)
    }
}
