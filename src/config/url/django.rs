//! URLs of existing Django databases: `django+` and the URL of the database.

use std::fmt;
use std::path::PathBuf;

use super::mysql::MysqlUrl;
use super::postgres::PostgresUrl;
use super::tls::DatabaseTls;
use super::{BadDatabaseUrl, check_ends, fault};

/// The beginning of a Django database URL.
const PREFIX: &str = "django+";

/// Examples for error messages.
const EXAMPLE: &str = "write \"django+sqlite:FILE\", \"django+postgres://USER@HOST/DATABASE\" or \
                       \"django+mysql://USER@HOST/DATABASE\"";

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

impl DjangoUrl {
    /// Whether the text is meant as a Django database URL.
    pub(in crate::config) fn is_meant(text: &str) -> bool {
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

    /// TLS to the server.
    pub(in crate::config) fn tls(&self) -> Option<&DatabaseTls> {
        match self {
            DjangoUrl::Sqlite(_) => None,
            DjangoUrl::Postgres(url) => Some(&url.tls),
            DjangoUrl::Mysql(url) => Some(&url.tls),
        }
    }

    /// How to enable server authentication, if the server is remote and the URL does not ask for it.
    pub(in crate::config) fn proof_missing(&self) -> Option<&'static str> {
        match self {
            DjangoUrl::Postgres(url) if url.is_unproven() => {
                Some("add `sslmode=verify-full`, and `sslrootcert=FILE` for an authority of your own")
            }
            DjangoUrl::Mysql(url) if url.is_unproven() => {
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
pub(in crate::config) fn sqlite_file(path: &str) -> Option<&str> {
    (!path.is_empty() && !path.starts_with("//") && !path.contains([':', '?'])).then_some(path)
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
}
