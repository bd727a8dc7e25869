//! Describes the columns of a table, and finds those that the gateway does not know.
//!
//! An unknown column may mean that a token has expired or a user is banned. So each column must be known: from Django's
//! own tables, from the list of harmless ones, by a setting for its meaning, or by a setting to ignore it
//! (docs/decisions/0029).

use crate::config::settings::{Columns, Ignored};
use crate::store::sql::row;

row! {
    /// A column as the database describes it.
    #[derive(Clone)]
    pub(super) struct Column {
        pub(super) name: String,
        /// Its declared type with its width, such as `varchar(40)`.
        pub(super) kind: String,
        /// Not 0: a new row must provide a value.
        pub(super) needed: i64,
    }
}

/// The type of a column, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Booleans and whole numbers.
    Truth,
    /// Points in time.
    Time,
    /// Dates without a time.
    Date,
    Text,
    /// IP addresses and networks, and lists of values.
    Networks,
    Other,
}

impl Column {
    pub(super) fn kind(&self) -> Kind {
        let kind = self.kind.to_ascii_lowercase();
        if kind.ends_with("[]") {
            let lists = ["inet", "cidr", "text", "character varying"];
            return if lists.iter().any(|list| kind.starts_with(list)) { Kind::Networks } else { Kind::Other };
        }
        match kind.split(['(', ' ']).next().unwrap_or_default() {
            "bool" | "boolean" | "bit" => Kind::Truth,
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" => Kind::Truth,
            "timestamp" | "datetime" => Kind::Time,
            "date" => Kind::Date,
            // SQLite has columns without a type.
            "text" | "varchar" | "char" | "character" | "tinytext" | "mediumtext" | "longtext" | "" => Kind::Text,
            "inet" | "cidr" | "json" | "jsonb" => Kind::Networks,
            _ => Kind::Other,
        }
    }

    /// Whether it holds whole numbers.
    pub(super) fn is_whole(&self) -> bool {
        let kind = self.kind.to_ascii_lowercase();
        let first = kind.split(['(', ' ']).next().unwrap_or_default();
        matches!(first, "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint") && !kind.ends_with("[]")
    }

    /// Whether it has MySQL's bit type, which is not written as a number.
    pub(super) fn is_bits(&self) -> bool {
        self.kind.to_ascii_lowercase().starts_with("bit")
    }

    /// Its maximum number of characters, if its type has one.
    pub(super) fn width(&self) -> Option<usize> {
        let (_, rest) = self.kind.split_once('(')?;
        rest.split_once(')')?.0.trim().parse().ok()
    }
}

/// Columns of Django REST Framework's token table.
pub(super) const TOKENS: [&str; 3] = ["key", "created", "user_id"];

/// Columns of Django's user table.
pub(super) const USERS: [&str; 11] = [
    "id",
    "password",
    "last_login",
    "is_superuser",
    "username",
    "first_name",
    "last_name",
    "email",
    "is_staff",
    "is_active",
    "date_joined",
];

/// Token columns that restrict nothing, whatever they contain. A name that could be a restriction in some project must
/// not be added. There is no such list for users.
pub(super) const HARMLESS: [&str; 19] = [
    // Numbers the rows.
    "id",
    // Descriptions.
    "name",
    "label",
    "title",
    "description",
    "comment",
    "comments",
    "note",
    "notes",
    // The last use of the token.
    "last_used",
    "last_used_at",
    "last_used_on",
    // When the row was created or changed.
    "created_at",
    "created_on",
    "date_created",
    "modified_at",
    "updated",
    "updated_at",
    "last_updated",
];

/// The unknown columns of the two tables, in the order of the tables.
pub(super) struct Unexplained {
    tokens: Vec<String>,
    users: Vec<String>,
}

impl Unexplained {
    /// Finds the unknown columns. `named`: user columns that other settings name.
    pub(super) fn of(tokens: &[Column], users: &[Column], named: &[&str], columns: &Columns) -> Unexplained {
        let rest = |there: &[Column], known: &dyn Fn(&str) -> bool| -> Vec<String> {
            there.iter().map(|column| &column.name).filter(|name| !known(name)).cloned().collect()
        };
        let tokens = rest(tokens, &|name| {
            TOKENS.contains(&name) || HARMLESS.contains(&name) || columns.of_tokens().any(|(column, _)| column == name)
        });
        let users = rest(users, &|name| {
            USERS.contains(&name) || named.contains(&name) || columns.of_users().any(|(column, _)| column == name)
        });
        Unexplained { tokens, users }
    }

    /// Error messages for the columns that the settings do not ignore.
    pub(super) fn told(self, token_table: &str, user_table: &str, ignored: &[Ignored]) -> Vec<String> {
        let Unexplained { tokens, users } = self;
        let waived = |table: &str, name: &str, other: &[String]| {
            ignored.iter().filter(|waiver| waiver.column == name).any(|waiver| match &waiver.table {
                Some(named) => named == table,
                // Ignoring one column must not ignore another by accident.
                None => !other.iter().any(|other| other == name),
            })
        };
        let left = |table: &str, own: &[String], other: &[String]| -> Vec<String> {
            own.iter().filter(|name| !waived(table, name, other)).cloned().collect()
        };
        let (of_tokens, of_users) = (left(token_table, &tokens, &users), left(user_table, &users, &tokens));
        let told = |table: &str, columns: &[String], other: &[String], whom: &str, settings: &str| {
            let example = columns.first()?;
            let both = other.contains(example);
            let example = if both { format!("{table}.{example}") } else { example.clone() };
            let names = columns.iter().map(|name| format!("{table}.{name}")).collect::<Vec<_>>().join(", ");
            Some(format!(
                "the gateway does not know whether {names} restrict{} {whom}; below [store.django] say what each column \
                 means ({settings}), or write `ignore_columns = [\"{example}\"]` for each that restricts nothing",
                if columns.len() == 1 { "s" } else { "" },
            ))
        };
        let settings =
            "`expires_column`, `revoked_column`, `enabled_column`, `write_enabled_column`, `allowed_networks_column`";
        let messages = [
            told(token_table, &of_tokens, &users, "a token", settings),
            told(user_table, &of_users, &tokens, "a user", "`user_enabled_columns`"),
        ];
        messages.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Flag;

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.to_owned(), kind: kind.to_owned(), needed: 0 }
    }

    fn left(tokens: &[&str], users: &[&str], columns: &Columns) -> Vec<String> {
        let there = |names: &[&str]| names.iter().map(|name| column(name, "text")).collect::<Vec<_>>();
        let unexplained = Unexplained::of(&there(tokens), &there(users), &["nick"], columns);
        unexplained.told("users_token", "users_user", &columns.ignored)
    }

    #[test]
    fn a_column_must_be_known_configured_or_ignored() {
        let none = Columns::default();
        assert_eq!(
            left(&[TOKENS.as_slice(), &HARMLESS].concat(), &[USERS.as_slice(), &["nick"]].concat(), &none),
            [""; 0]
        );
        for name in [
            "expires",
            "expiry",
            "valid_until",
            "revoked",
            "is_active",
            "enabled",
            "disabled",
            "write_enabled",
            "read_only",
            "scope",
            "scopes",
            "permissions",
            "allowed_ips",
            "ip",
            "is_deleted",
            "is_banned",
            "locked",
            "deleted_at",
            "suspended",
            "active",
            "type",
            "version",
            "state",
            "status",
            "Name",
            "x",
        ] {
            let told = left(&["key", name], &[], &none);
            assert!(told.len() == 1 && told[0].contains(&format!("users_token.{name} ")), "{told:?}");
            assert!(told[0].contains("expires_column") && told[0].contains(&format!("ignore_columns = [\"{name}\"]")));
        }
        for name in ["is_deleted", "is_banned", "name", "phone", "note", "created_at"] {
            let told = left(&[], &["id", name], &none);
            assert!(told.len() == 1 && told[0].contains(&format!("users_user.{name} ")), "{told:?}");
            assert!(told[0].contains("user_enabled_columns"));
        }
        let meant = Columns {
            expires: Some("expiry".to_owned()),
            user_enabled: vec![Flag { column: "is_banned".to_owned(), disables: true }],
            ..none
        };
        assert_eq!(left(&["expiry"], &["is_banned"], &meant), [""; 0]);
        assert_eq!(left(&["is_banned"], &["expiry"], &meant).len(), 2, "a setting is for one table");
    }

    #[test]
    fn an_ignored_column_is_one_column_of_one_table() {
        let ignoring = |waivers: &[(Option<&str>, &str)]| Columns {
            ignored: waivers
                .iter()
                .map(|(table, column)| Ignored { table: table.map(str::to_owned), column: (*column).to_owned() })
                .collect(),
            ..Columns::default()
        };
        let phone = ignoring(&[(None, "phone")]);
        assert_eq!(left(&[], &["phone"], &phone), [""; 0]);
        assert_eq!(left(&["phone"], &[], &phone), [""; 0]);
        let both = left(&["phone"], &["phone"], &phone);
        assert!(both[0].contains("[\"users_token.phone\"]") && both[1].contains("[\"users_user.phone\"]"), "{both:?}");
        let one = ignoring(&[(Some("users_user"), "phone")]);
        assert_eq!(left(&["phone"], &["phone"], &one).len(), 1);
        assert_eq!(left(&["phone"], &[], &one).len(), 1);
    }

    #[test]
    fn types_are_recognised_by_their_first_word() {
        for (kind, means, width) in [
            ("varchar(40)", Kind::Text, Some(40)),
            ("character varying(12)", Kind::Text, Some(12)),
            ("TEXT", Kind::Text, None),
            ("", Kind::Text, None),
            ("bool", Kind::Truth, None),
            ("tinyint(1)", Kind::Truth, Some(1)),
            ("bigint unsigned", Kind::Truth, None),
            ("interval", Kind::Other, None),
            ("point", Kind::Other, None),
            ("datetime(6)", Kind::Time, Some(6)),
            ("timestamp with time zone", Kind::Time, None),
            ("date", Kind::Date, None),
            ("inet[]", Kind::Networks, None),
            ("character varying(64)[]", Kind::Networks, Some(64)),
            ("integer[]", Kind::Other, None),
            ("jsonb", Kind::Networks, None),
            ("bytea", Kind::Other, None),
            ("uuid", Kind::Other, None),
        ] {
            let column = column("x", kind);
            assert_eq!((column.kind(), column.width()), (means, width), "{kind}");
        }
        assert!(column("id", "bigint(20)").is_whole() && !column("id", "interval").is_whole());
        assert!(!column("id", "boolean").is_whole() && !column("id", "integer[]").is_whole());
    }

    #[test]
    fn the_manual_names_every_harmless_column() {
        let manual = include_str!("../../../docs/DJANGO.md");
        for name in HARMLESS {
            assert!(manual.contains(&format!("`{name}`")), "{name}");
        }
    }
}
