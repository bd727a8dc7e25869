//! The SQL dialects of the supported databases.
//!
//! Types differ between databases and projects. So each value is read as a 64-bit number or a text, and each time as
//! microseconds since 1970. Times are written in Django's own format.

use std::sync::Arc;

use sqlx::AssertSqlSafe;

use crate::clock::Timestamp;
use crate::store::sql::Statement;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

impl Dialect {
    /// A quoted name; a dot separates schema and table. The configuration allows no quotes in names.
    pub(super) fn quoted(self, name: &str) -> String {
        let quote = if self == Dialect::Mysql { '`' } else { '"' };
        name.split('.').map(|part| format!("{quote}{part}{quote}")).collect::<Vec<_>>().join(".")
    }

    /// Converts to a number.
    pub(super) fn number(self, value: &str) -> String {
        let kind = match self {
            Dialect::Sqlite => "INTEGER",
            Dialect::Postgres => "BIGINT",
            Dialect::Mysql => "SIGNED",
        };
        format!("CAST({value} AS {kind})")
    }

    /// Converts to a text.
    pub(super) fn text(self, value: &str) -> String {
        format!("CAST({value} AS {})", if self == Dialect::Mysql { "CHAR" } else { "TEXT" })
    }

    /// Converts a value that restricts something to text. SQLite allows bytes in any column; they become a text that no
    /// parser accepts.
    pub(super) fn plain_text(self, value: &str) -> String {
        let text = self.text(value);
        if self == Dialect::Sqlite {
            format!("CASE typeof({value}) WHEN 'blob' THEN '?' ELSE {text} END")
        } else {
            text
        }
    }

    /// Converts a condition to 1 or 0. In a number column only 1 is true: Django writes no other number.
    pub(super) fn truth(self, value: &str) -> String {
        let is_one = if self == Dialect::Postgres { "" } else { " = 1" };
        self.number(&format!("CASE WHEN {value}{is_one} THEN 1 ELSE 0 END"))
    }

    /// Microseconds since 1970 of a time that Django wrote; NULL if it is invalid.
    pub(super) fn micros(self, time: &str) -> String {
        match self {
            // `2026-11-24 05:53:04.123456` in UTC; the fraction may be missing. `strftime` also takes numbers and `now`.
            Dialect::Sqlite => format!(
                "CASE WHEN typeof({time}) = 'text' AND {time} GLOB '????-??-?? ??:??:??*' \
                 THEN CAST(strftime('%s', {time}) AS INTEGER) * 1000000 \
                      + CAST(substr(substr({time}, 21) || '000000', 1, 6) AS INTEGER) END"
            ),
            Dialect::Postgres => {
                format!("CASE WHEN isfinite({time}) THEN CAST(extract(epoch FROM {time}) * 1000000 AS BIGINT) END")
            }
            Dialect::Mysql => format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {time})"),
        }
    }

    /// The placeholder of an argument from [`Dialect::written`].
    pub(super) fn time_argument(self, place: &str) -> String {
        if self == Dialect::Postgres { format!("CAST({place} AS TIMESTAMPTZ)") } else { place.to_owned() }
    }

    /// A time in Django's format: in UTC, with six decimals, or with none if they are zero.
    pub(super) fn written(self, at: Timestamp) -> String {
        let seconds: String = at.to_string().chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect();
        let micros = at.as_micros().rem_euclid(1_000_000);
        let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
        let zone = if self == Dialect::Postgres { "+00" } else { "" };
        format!("{seconds}{fraction}{zone}")
    }

    /// A complete statement. `text` has `$1`, `$2`, …, each once and in this order; for MySQL they become `?`.
    pub(super) fn finished(self, text: &str) -> Arc<str> {
        if self != Dialect::Mysql {
            return text.into();
        }
        (1..=9).fold(text.to_owned(), |text, number| text.replace(&format!("${number}"), "?")).into()
    }

    /// The clause that lets an insertion do nothing if the row exists.
    pub(super) fn unless_there(self, table: &str) -> String {
        match self {
            Dialect::Sqlite | Dialect::Postgres => "ON CONFLICT DO NOTHING".to_owned(),
            Dialect::Mysql => format!("ON DUPLICATE KEY UPDATE {table}.`user_id` = {table}.`user_id`"),
        }
    }

    /// Queries the columns of a table, as [`Column`](super::columns::Column); no rows if there is no such table.
    pub(super) fn columns(self, table: &str) -> Statement {
        let (schema, bare) = table.split_once('.').map_or((None, table), |(schema, bare)| (Some(schema), bare));
        let in_schema = |schema: &str| {
            Statement::new(AssertSqlSafe(format!(
                "SELECT CAST(COLUMN_NAME AS CHAR) AS name, CAST(COLUMN_TYPE AS CHAR) AS kind, \
                        CAST(IS_NULLABLE = 'NO' AND COLUMN_DEFAULT IS NULL AND EXTRA NOT LIKE '%auto_increment%' \
                             AND EXTRA NOT LIKE '%GENERATED%' AS SIGNED) AS needed \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = ?"
            )))
        };
        match (self, schema) {
            (Dialect::Sqlite, _) => {
                // SQLite assigns an integer primary key itself: it is the row's number.
                let text = "SELECT CAST(name AS TEXT) AS name, CAST(type AS TEXT) AS kind, \
                                   CAST(\"notnull\" = 1 AND dflt_value IS NULL AND hidden = 0 \
                                        AND NOT (pk > 0 AND lower(type) = 'integer') AS INTEGER) AS needed \
                            FROM pragma_table_xinfo($1)";
                Statement::new(text).bind(bare)
            }
            (Dialect::Postgres, _) => Statement::new(
                "SELECT CAST(attname AS TEXT) AS name, CAST(format_type(atttypid, atttypmod) AS TEXT) AS kind, \
                        CAST(CASE WHEN attnotnull AND NOT atthasdef AND attidentity = '' THEN 1 ELSE 0 END AS BIGINT) \
                        AS needed \
                 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
            )
            .bind(self.quoted(table)),
            (Dialect::Mysql, None) => in_schema("DATABASE()").bind(bare),
            (Dialect::Mysql, Some(schema)) => in_schema("?").bind(schema).bind(bare),
        }
    }

    /// Queries the columns of a table that have a unique index of their own: rows with one name.
    pub(super) fn unique_columns(self, table: &str) -> Statement {
        let (schema, bare) = table.split_once('.').map_or((None, table), |(schema, bare)| (Some(schema), bare));
        let in_schema = |schema: &str| {
            Statement::new(AssertSqlSafe(format!(
                "SELECT CAST(MIN(COLUMN_NAME) AS CHAR) FROM information_schema.STATISTICS \
                 WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
                 GROUP BY INDEX_NAME HAVING COUNT(*) = 1 AND MIN(COLUMN_NAME) IS NOT NULL"
            )))
        };
        match (self, schema) {
            (Dialect::Sqlite, _) => Statement::new(
                "SELECT CAST(MIN(i.name) AS TEXT) FROM pragma_index_list($1) AS l JOIN pragma_index_info(l.name) AS i \
                 WHERE l.\"unique\" = 1 AND l.partial = 0 GROUP BY l.name HAVING COUNT(*) = 1 AND MIN(i.name) IS NOT NULL \
                 UNION SELECT CAST(MIN(name) AS TEXT) FROM pragma_table_info($2) WHERE pk > 0 HAVING COUNT(*) = 1",
            )
            .bind(bare)
            .bind(bare),
            (Dialect::Postgres, _) => Statement::new(
                "SELECT CAST(attname AS TEXT) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] \
                 WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indpred IS NULL AND indnkeyatts = 1",
            )
            .bind(self.quoted(table)),
            (Dialect::Mysql, None) => in_schema("DATABASE()").bind(bare),
            (Dialect::Mysql, Some(schema)) => in_schema("?").bind(schema).bind(bare),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_django_writes_them() {
        for (micros, text) in [
            (1_795_499_584_123_456, "2026-11-24 05:53:04.123456"),
            (1_795_499_584_000_001, "2026-11-24 05:53:04.000001"),
            (1_795_499_584_000_000, "2026-11-24 05:53:04"),
        ] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(Dialect::Sqlite.written(at), text);
            assert_eq!(Dialect::Mysql.written(at), text);
            assert_eq!(Dialect::Postgres.written(at), format!("{text}+00"));
        }
    }

    #[test]
    fn names_are_quoted_and_placeholders_numbered_in_each_dialect() {
        assert_eq!(Dialect::Postgres.quoted("shop.auth_user"), "\"shop\".\"auth_user\"");
        assert_eq!(Dialect::Mysql.quoted("key"), "`key`");
        assert_eq!(&*Dialect::Mysql.finished("a = $1 AND b = $2"), "a = ? AND b = ?");
        assert_eq!(&*Dialect::Sqlite.finished("a = $1 AND b = $2"), "a = $1 AND b = $2");
    }
}
