//! Evaluates the additional columns of tokens and users for which the settings state a meaning.
//!
//! Each value is read as a text, since types differ between databases, and SQLite stores any value in any column. An
//! invalid value restricts: the token is disabled, read-only or allowed from no network; the user is inactive. It is
//! logged once per column.

use std::sync::atomic::{AtomicBool, Ordering};

use super::columns::{Column, Kind};
use super::dialect::Dialect;
use super::values::{InvalidValue, computed, truth, written};
use crate::clock::Timestamp;
use crate::config::settings::Columns;
use crate::store::sql::row;
use crate::token::{Networks, Restrictions};

/// Separator between the values of several flags.
const BETWEEN: char = ',';

/// The meanings of the columns of one token table and one user table.
#[derive(Default)]
pub(super) struct Meanings {
    expires: Option<ConfiguredColumn>,
    /// Whether the token is enabled.
    token_flags: Vec<ConfiguredColumn>,
    write_enabled: Option<ConfiguredColumn>,
    networks: Option<ConfiguredColumn>,
    user_flags: Vec<ConfiguredColumn>,
}

/// A column with a meaning.
struct ConfiguredColumn {
    column: Column,
    /// The table, for the log.
    table: String,
    /// Whether a value that is set disables.
    disables: bool,
    /// Whether the column has a time type. In a text column, any program may have written a time.
    is_time: bool,
    /// Whether an invalid value was logged.
    told: AtomicBool,
}

row! {
    /// The additional columns of a row of the token table.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct ExtraColumns {
        expires: Option<String>,
        token_flags: String,
        write_enabled: String,
        networks: Option<String>,
    }
}

/// The restrictions that follow from them.
pub(super) struct Limits {
    pub(super) expires: Option<Timestamp>,
    pub(super) restrictions: Restrictions,
}

impl Meanings {
    /// Finds the columns that the settings name. `tokens` and `users`: all columns of the two tables.
    ///
    /// # Errors
    /// Each column that is missing, or has a type that the setting does not support.
    pub(super) fn find(
        dialect: Dialect,
        columns: &Columns,
        tokens: (&str, &[Column]),
        users: (&str, &[Column]),
    ) -> Result<Meanings, Vec<String>> {
        let mut wrong = Vec::new();
        let mut find = |(table, there): (&str, &[Column]), name: &str, setting: &str, disables, takes: &[Kind]| {
            let Some(column) = there.iter().find(|column| column.name == name) else {
                wrong.push(format!("table {table} has no column {name} (store.django.{setting})"));
                return None;
            };
            if !takes.contains(&column.kind()) {
                let kind = &column.kind;
                wrong.push(format!("{table}.{name} is {kind}, which store.django.{setting} cannot read"));
                return None;
            }
            let (column, table) = (column.clone(), table.to_owned());
            let is_time = column.kind() == Kind::Time && dialect != Dialect::Sqlite;
            Some(ConfiguredColumn { column, table, disables, is_time, told: AtomicBool::new(false) })
        };
        let truth: &[Kind] = &[Kind::Truth, Kind::Text];
        let set: &[Kind] = &[Kind::Truth, Kind::Text, Kind::Time, Kind::Date];
        let mut of_tokens = |name: &Option<String>, setting, disables, takes: &[Kind]| {
            name.as_deref().and_then(|name| find(tokens, name, setting, disables, takes))
        };
        let expires = of_tokens(&columns.expires, "expires_column", false, &[Kind::Time, Kind::Text]);
        let revoked = of_tokens(&columns.revoked, "revoked_column", true, set);
        let enabled = of_tokens(&columns.enabled, "enabled_column", false, truth);
        let write_enabled = of_tokens(&columns.write_enabled, "write_enabled_column", false, truth);
        let networks =
            of_tokens(&columns.allowed_networks, "allowed_networks_column", false, &[Kind::Networks, Kind::Text]);
        let user_flags = columns.user_enabled.iter().filter_map(|flag| {
            let takes = if flag.disables { set } else { truth };
            find(users, &flag.column, "user_enabled_columns", flag.disables, takes)
        });
        let user_flags = user_flags.collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let token_flags = revoked.into_iter().chain(enabled).collect();
        Ok(Meanings { expires, token_flags, write_enabled, networks, user_flags })
    }

    /// Whether any token column has a meaning.
    pub(super) fn restrict_tokens(&self) -> bool {
        !self.token_flags.is_empty()
            || [&self.expires, &self.write_enabled, &self.networks].into_iter().any(Option::is_some)
    }

    /// The columns of [`ExtraColumns`] in a query with the token table `t`.
    pub(super) fn of_tokens(&self, dialect: Dialect) -> String {
        let nothing = dialect.text("NULL");
        let expires = self.expires.as_ref().map_or(nothing.clone(), |meant| meant.time(dialect));
        let networks = self.networks.as_ref().map_or(nothing, |meant| dialect.plain_text(&meant.place(dialect, "t")));
        let write_enabled = self.write_enabled.as_ref().map_or_else(|| dialect.text("'1'"), |m| m.flag(dialect, "t"));
        let flags = flags(dialect, "t", &self.token_flags);
        format!(
            "{expires} AS expires, {flags} AS token_flags, {write_enabled} AS write_enabled, {networks} AS networks"
        )
    }

    /// The values of all flags of a user, in a query with the user table `u`.
    pub(super) fn of_users(&self, dialect: Dialect) -> String {
        flags(dialect, "u", &self.user_flags)
    }

    /// The restrictions of a row.
    pub(super) fn limits(&self, facts: &ExtraColumns) -> Limits {
        let mut limits = Limits { expires: None, restrictions: Restrictions::default() };
        limits.restrictions.disabled = !all_allow(&self.token_flags, &facts.token_flags);
        limits.restrictions.read_only =
            self.write_enabled.as_ref().is_some_and(|meant| !meant.allows(&facts.write_enabled));
        if let (Some(meant), Some(text)) = (&self.expires, &facts.expires) {
            match meant.end(text) {
                Ok(end) => limits.expires = end,
                Err(InvalidValue) => {
                    meant.tell();
                    limits.restrictions.disabled = true;
                }
            }
        }
        if let (Some(meant), Some(text)) = (&self.networks, &facts.networks) {
            match meant.networks(text) {
                Ok(networks) => limits.restrictions.networks = networks,
                Err(InvalidValue) => {
                    meant.tell();
                    limits.restrictions.disabled = true;
                }
            }
        }
        limits
    }

    /// Whether all flags allow the user to be active.
    pub(super) fn let_user(&self, flags: &str) -> bool {
        all_allow(&self.user_flags, flags)
    }
}

impl ConfiguredColumn {
    fn place(&self, dialect: Dialect, table: &str) -> String {
        format!("{table}.{}", dialect.quoted(&self.column.name))
    }

    /// A text for [`ConfiguredColumn::allows`], never NULL.
    fn flag(&self, dialect: Dialect, table: &str) -> String {
        let place = self.place(dialect, table);
        match (self.disables, self.column.kind()) {
            (true, Kind::Time | Kind::Date) => {
                dialect.text(&format!("CASE WHEN {place} IS NULL THEN '0' ELSE '1' END"))
            }
            // Not set.
            (true, Kind::Text) => format!("COALESCE({}, '0')", dialect.plain_text(&place)),
            _ if dialect == Dialect::Mysql && self.column.is_bits() => {
                format!("COALESCE({}, '')", dialect.text(&format!("{place} + 0")))
            }
            _ => format!("COALESCE({}, '')", dialect.plain_text(&place)),
        }
    }

    /// A text for [`ConfiguredColumn::end`].
    fn time(&self, dialect: Dialect) -> String {
        let place = self.place(dialect, "t");
        match (dialect, self.column.kind()) {
            (Dialect::Postgres, Kind::Time) => format!(
                "CASE WHEN isfinite({place}) \
                 THEN '@' || CAST(CAST(LEAST(extract(epoch FROM {place}), 253402300799) * 1000000 AS BIGINT) AS TEXT) \
                 ELSE CAST({place} AS TEXT) END"
            ),
            // An invalid time, such as one with month zero, must not look like NULL.
            (Dialect::Mysql, Kind::Time) => dialect.text(&format!(
                "CASE WHEN {place} IS NULL THEN NULL ELSE \
                 COALESCE(CONCAT('@', TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {place})), '') END"
            )),
            _ => dialect.plain_text(&place),
        }
    }

    /// When the token expires; `None`: never.
    fn end(&self, text: &str) -> Result<Option<Timestamp>, InvalidValue> {
        if self.is_time { computed(text) } else { written(text).map(Some) }
    }

    /// The networks that may use the token; `None`: all.
    fn networks(&self, text: &str) -> Result<Option<Networks>, InvalidValue> {
        let kind = self.column.kind.to_ascii_lowercase();
        // A text can contain JSON: SQLite and MariaDB have no JSON type.
        let networks = match self.column.kind() {
            Kind::Networks if kind.ends_with("[]") => Networks::from_array(text),
            Kind::Networks if kind.starts_with("json") => Networks::from_json(text),
            Kind::Text if text == "null" || text.starts_with(['[', '"']) => Networks::from_json(text),
            _ => Networks::parse(text),
        };
        networks.map_err(|_| InvalidValue)
    }

    fn allows(&self, value: &str) -> bool {
        match truth(value) {
            Ok(set) => set != self.disables,
            // A text that contains a time.
            Err(InvalidValue) if self.disables && written(value).is_ok() => false,
            Err(InvalidValue) => {
                self.tell();
                false
            }
        }
    }

    fn tell(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                code = "django_value_unknown",
                table = self.table,
                column = self.column.name,
                "invalid value in this column: its token or user is not valid; further invalid values are not logged"
            );
        }
    }
}

fn flags(dialect: Dialect, table: &str, all: &[ConfiguredColumn]) -> String {
    let all: Vec<String> = all.iter().map(|meant| meant.flag(dialect, table)).collect();
    match (all.as_slice(), dialect) {
        ([], _) => dialect.text("''"),
        (_, Dialect::Mysql) => dialect.text(&format!("CONCAT_WS('{BETWEEN}', {})", all.join(", "))),
        _ => all.join(&format!(" || '{BETWEEN}' || ")),
    }
}

/// Whether all these columns, with these values, allow it.
fn all_allow(meant: &[ConfiguredColumn], values: &str) -> bool {
    if meant.is_empty() {
        return true;
    }
    // A text that contains a comma makes more values than there are columns.
    let fits = values.split(BETWEEN).count() == meant.len();
    if !fits {
        meant.iter().for_each(ConfiguredColumn::tell);
    }
    fits && meant.iter().zip(values.split(BETWEEN)).all(|(meant, value)| meant.allows(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Flag;

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.to_owned(), kind: kind.to_owned(), needed: 0 }
    }

    fn named(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn an_invalid_value_restricts() {
        let settings = Columns { revoked: named("revoked"), write_enabled: named("write"), ..Columns::default() };
        let there = [column("revoked", "text"), column("write", "bool")];
        let meanings = Meanings::find(Dialect::Sqlite, &settings, ("t", &there), ("u", &[])).ok().unwrap();
        let limits = |flags: &str, write: &str| {
            let facts = ExtraColumns {
                expires: None,
                token_flags: flags.to_owned(),
                write_enabled: write.to_owned(),
                networks: None,
            };
            let restrictions = meanings.limits(&facts).restrictions;
            (restrictions.disabled, restrictions.read_only)
        };
        for (value, is_set) in [
            ("0", Some(false)),
            ("False", Some(false)),
            ("f", Some(false)),
            ("1", Some(true)),
            ("t", Some(true)),
            ("TRUE", Some(true)),
            ("", None),
            ("2", None),
            ("-1", None),
            ("yes", None),
            ("1.0", None),
            ("0,0", None),
            ("off", None),
        ] {
            assert_eq!(limits(value, "1"), (is_set != Some(false), false), "{value:?}");
            assert_eq!(limits("0", value), (false, is_set != Some(true)), "{value:?}");
        }
        assert_eq!(limits("2024-01-01 00:00:00", "1"), (true, false));
    }

    #[test]
    fn missing_columns_and_unsupported_types_are_named() {
        let settings = Columns {
            expires: named("day"),
            enabled: named("since"),
            allowed_networks: named("gone"),
            user_enabled: vec![Flag { column: "since".to_owned(), disables: false }],
            ..Columns::default()
        };
        let there = [column("day", "date"), column("since", "datetime")];
        assert_eq!(
            Meanings::find(Dialect::Sqlite, &settings, ("tokens", &there), ("users", &there)).err().unwrap(),
            [
                "tokens.day is date, which store.django.expires_column cannot read",
                "tokens.since is datetime, which store.django.enabled_column cannot read",
                "table tokens has no column gone (store.django.allowed_networks_column)",
                "users.since is datetime, which store.django.user_enabled_columns cannot read",
            ]
        );
    }
}
