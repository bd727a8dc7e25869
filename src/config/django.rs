//! `[store.django]`: table and column names of an existing Django database, and URLs that begin with `django+`.

use std::fmt;
use std::path::PathBuf;

use super::django_columns::{self, Columns};
use super::files::TlsFiles;
use super::reader::Table;
use super::url::mysql::MysqlUrl;
use super::url::postgres::PostgresUrl;
use super::url::{BadDatabaseUrl, check_ends, fault};
use super::value::Fault;

/// The beginning of a Django database URL.
const PREFIX: &str = "django+";

/// Examples for error messages.
const EXAMPLE: &str = "write \"django+sqlite:FILE\", \"django+postgres://USER@HOST/DATABASE\" or \
                       \"django+mysql://USER@HOST/DATABASE\"";

/// The longest name in characters that all supported databases accept.
const LONGEST_NAME: usize = 63;

/// The database of an existing Django project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DjangoUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
    /// A MySQL or MariaDB server.
    Mysql(MysqlUrl),
}

/// Table and column names of a Django database, and the access mode. Names are letters, digits and `_`; a table name
/// may begin with a schema and a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Django {
    /// The access mode.
    pub mode: DjangoMode,
    /// The table of users.
    pub user_table: String,
    /// The table of Django REST Framework's tokens.
    pub token_table: String,
    /// The table of groups.
    pub group_table: String,
    /// The table that maps users to groups.
    pub membership_table: String,
    /// The table of sessions.
    pub session_table: String,
    /// The column of `membership_table` with the user's id.
    pub membership_user_column: String,
    /// The column of the user table with the name that users log in with.
    pub user_name_column: String,
    /// The column of the user table with the e-mail address.
    pub user_email_column: String,
    /// The meaning of further columns of tokens and users.
    pub columns: Columns,
}

/// The access mode of a Django database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DjangoMode {
    /// The gateway never writes.
    ReadOnly,
    /// The gateway creates and deletes tokens like Django REST Framework, and stores browser sessions.
    ReadWrite,
}

impl Default for Django {
    fn default() -> Django {
        Django {
            mode: DjangoMode::ReadOnly,
            user_table: "auth_user".to_owned(),
            token_table: "authtoken_token".to_owned(),
            group_table: "auth_group".to_owned(),
            membership_table: "auth_user_groups".to_owned(),
            session_table: "django_session".to_owned(),
            membership_user_column: "user_id".to_owned(),
            user_name_column: "username".to_owned(),
            user_email_column: "email".to_owned(),
            columns: Columns::default(),
        }
    }
}

impl DjangoUrl {
    /// Whether the text is meant as a Django database URL.
    pub(super) fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Parses a URL. `resolve` makes paths of files absolute.
    ///
    /// # Errors
    /// [`BadDatabaseUrl`] if a part would be misread or ignored.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<DjangoUrl, BadDatabaseUrl> {
        check_ends(text)?;
        let bare = text.strip_prefix(PREFIX);
        let bare = bare.ok_or_else(|| fault("is not the address of a Django database", EXAMPLE))?;
        if let Some(path) = bare.strip_prefix("sqlite:") {
            return match sqlite_file(path) {
                Some(path) => Ok(DjangoUrl::Sqlite(resolve(path))),
                None => Err(fault("names no file", EXAMPLE)),
            };
        }
        if PostgresUrl::is_meant(bare) {
            return Ok(DjangoUrl::Postgres(PostgresUrl::parse(bare, resolve)?));
        }
        if bare.starts_with("mysql://") {
            return Ok(DjangoUrl::Mysql(MysqlUrl::parse(bare, resolve)?));
        }
        Err(fault("is not the address of a Django database", EXAMPLE))
    }

    /// The TLS certificate and key files that the URL names.
    pub(super) fn tls_files(&self) -> Option<TlsFiles<'_>> {
        match self {
            DjangoUrl::Sqlite(_) => None,
            DjangoUrl::Postgres(url) => Some(url.tls_files()),
            DjangoUrl::Mysql(url) => Some(url.tls_files()),
        }
    }

    /// How to enable server authentication, if the server is remote and the URL does not ask for it.
    pub(super) fn proof_missing(&self) -> Option<&'static str> {
        match self {
            DjangoUrl::Postgres(url) if url.unproven => {
                Some("add `sslmode=verify-full`, and `sslrootcert=FILE` for an authority of your own")
            }
            DjangoUrl::Mysql(url) if url.unproven => {
                Some("add `ssl-mode=VERIFY_IDENTITY`, and `ssl-ca=FILE` for an authority of your own")
            }
            DjangoUrl::Sqlite(_) | DjangoUrl::Postgres(_) | DjangoUrl::Mysql(_) => None,
        }
    }
}

/// The location without secrets: the file, or the server.
impl fmt::Display for DjangoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DjangoUrl::Sqlite(path) => path.display().fmt(f),
            DjangoUrl::Postgres(url) => url.fmt(f),
            DjangoUrl::Mysql(url) => url.fmt(f),
        }
    }
}

/// The path in `sqlite:PATH`; `None` if it is empty or ambiguous.
pub(super) fn sqlite_file(path: &str) -> Option<&str> {
    (!path.is_empty() && !path.starts_with("//") && !path.contains([':', '?'])).then_some(path)
}

/// `[store.django]`
pub(super) fn read(store: &Table<'_>) -> Django {
    store.table("django", |table| {
        let default = Django::default();
        let name = |key, dots, default| table.key(key).parse(|text| checked_name(text, dots)).unwrap_or(default);
        let modes = [("read-only", DjangoMode::ReadOnly), ("read-write", DjangoMode::ReadWrite)];
        let names = Django {
            mode: table.key("mode").choice(&modes).unwrap_or(default.mode),
            user_table: name("user_table", 1, default.user_table),
            token_table: name("token_table", 1, default.token_table),
            group_table: name("group_table", 1, default.group_table),
            membership_table: name("membership_table", 1, default.membership_table),
            session_table: name("session_table", 1, default.session_table),
            membership_user_column: name("membership_user_column", 0, default.membership_user_column),
            user_name_column: name("user_name_column", 0, default.user_name_column),
            user_email_column: name("user_email_column", 0, default.user_email_column),
            columns: default.columns,
        };
        let columns = django_columns::read(table, &names);
        Django { columns, ..names }
    })
}

/// A name that is safe inside SQL quotes of every database.
pub(super) fn checked_name(text: &str, dots: usize) -> Result<String, Fault> {
    let is_part = |part: &str| {
        let fits =
            !part.is_empty() && part.len() <= LONGEST_NAME && !part.starts_with(|first: char| first.is_ascii_digit());
        fits && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if text.matches('.').count() <= dots && text.split('.').all(is_part) {
        return Ok(text.to_owned());
    }
    let schema = if dots == 0 { "" } else { ", a schema may stand before a dot" };
    Err(Fault::new(
        "is not a valid table or column name",
        format!("letters, digits and `_`, at most {LONGEST_NAME}{schema}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_kind_of_database() {
        let read = |text: &str| DjangoUrl::parse(text, |path| PathBuf::from("/here").join(path));
        assert_eq!(read("django+sqlite:db.sqlite3"), Ok(DjangoUrl::Sqlite("/here/db.sqlite3".into())));
        for (text, place) in [
            ("django+postgres://gw:secret@db/shop", "postgres://db/shop"),
            ("django+postgresql://gw:secret@db/shop", "postgres://db/shop"),
            ("django+mysql://gw:secret@db/shop", "mysql://db/shop"),
        ] {
            assert_eq!(read(text).map(|url| url.to_string()).as_deref(), Ok(place));
        }
        for text in ["django+sqlite:", "django+sqlite://x", "django+oracle://db/shop", "django+postgres://db", "x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        for good in ["auth_user", "Users2", "shop.auth_user", &"a".repeat(63)] {
            assert!(checked_name(good, 1).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", "a.b.c", "a b", "a\"b", "a`b", "a'b", "1a", "$1", "naïve", "a;b", &"a".repeat(64)] {
            assert!(checked_name(bad, 1).is_err(), "{bad}");
        }
        assert!(checked_name("a.b", 0).is_err());
    }
}
