//! The address of a PostgreSQL server: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.
//!
//! Neither `Debug` nor `Display` nor a complaint shows its password.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::database_url::{self, BadDatabaseUrl, fault, file, one_of, unknown_parameter};
use super::files::TlsFiles;

/// How the whole is written.
const EXAMPLE: &str = "write \"postgres://USER@HOST/DATABASE\"";

/// How it may begin.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What may stand behind the `?`.
const PARAMETERS: [&str; 9] =
    ["host", "port", "user", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "options"];

/// As in libpq.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The address of a PostgreSQL server, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: Zeroizing<String>,
    place: String,
    /// Certificates of the authorities that may vouch for the server (PEM).
    pub root_certificates: Option<PathBuf>,
    /// The certificate by which the server knows us (PEM).
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// Is it elsewhere, and nothing proves who answers there?
    pub(super) unproven: bool,
}

impl PostgresUrl {
    /// The whole address with its password. Never show it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Is it meant to be one?
    pub(super) fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// The files of certificates and keys that it names.
    pub(super) fn tls_files(&self) -> TlsFiles<'_> {
        TlsFiles {
            authorities: self.root_certificates.as_deref(),
            certificate: self.certificate.as_deref(),
            key: self.key.as_deref(),
        }
    }

    /// Reads an address. Files that it names are where `resolve` says.
    ///
    /// # Errors
    /// [`BadDatabaseUrl`] for what would be misread or left out.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<PostgresUrl, BadDatabaseUrl> {
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        read(text, rest.ok_or_else(|| fault("is not the address of a PostgreSQL server", EXAMPLE))?, &resolve)
    }
}

/// Where the server is, without the password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.place)
    }
}

fn read(text: &str, rest: &str, resolve: &dyn Fn(&str) -> PathBuf) -> Result<PostgresUrl, BadDatabaseUrl> {
    let parts = database_url::cut(rest, EXAMPLE)?;
    let mut url = PostgresUrl {
        text: Zeroizing::new(text.to_owned()),
        place: String::new(),
        root_certificates: None,
        certificate: None,
        key: None,
        unproven: false,
    };
    let (mut host, mut port, mut user, mut mode) = (None, parts.port, parts.user, "prefer");
    for (name, value) in parts.parameters {
        let file = || file(name, resolve(value));
        match name {
            "host" => host = Some(value),
            "port" => port = Some(value),
            "user" => user = Some(value),
            "password" => {
                return Err(fault("has its password behind `?`", "write \"postgres://USER:PASSWORD@HOST/DATABASE\""));
            }
            "sslmode" => mode = one_of(name, value, &SSL_MODES)?,
            "sslrootcert" => url.root_certificates = Some(file()?),
            "sslcert" => url.certificate = Some(file()?),
            "sslkey" => url.key = Some(file()?),
            "application_name" | "options" => {}
            unknown => return Err(unknown_parameter(unknown, &PARAMETERS)),
        }
    }
    if parts.host.is_empty() && host.is_none_or(str::is_empty) {
        return Err(fault("names no host", "name one, or the folder of a socket with `?host=/run/postgresql`"));
    }
    database_url::check_port(port)?;
    let host = host.unwrap_or(parts.host);
    url.unproven = !database_url::is_here(host) && !matches!(mode, "verify-ca" | "verify-full");
    url.place = database_url::place("postgres://", user, host, port, parts.database);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<PostgresUrl, BadDatabaseUrl> {
        PostgresUrl::parse(text, |path| PathBuf::from(path))
    }

    #[test]
    fn an_address_says_where_the_server_is_and_hides_the_password() {
        for (text, place) in [
            ("postgres://db/gateway", "postgres://db/gateway"),
            ("postgresql://gw@db:5433/gateway", "postgres://gw@db:5433/gateway"),
            ("postgres://gw:s%40cret@[::1]:5433/gateway?sslmode=verify-full", "postgres://gw@[::1]:5433/gateway"),
            ("postgres://gw:a:secret:b@10.0.0.1/gateway", "postgres://gw@10.0.0.1/gateway"),
            ("postgres:///gateway?host=/run/pg&user=gw&port=5433", "postgres://gw@/run/pg:5433/gateway"),
            ("postgres://gw:secret@%2Frun%2Fpg/gateway?application_name=x", "postgres://gw@%2Frun%2Fpg/gateway"),
        ] {
            let url = read_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.to_string().as_str(), url.expose()), (place, text));
            assert_eq!(format!("{url:?}"), format!("PostgresUrl({place})"));
        }
    }

    #[test]
    fn a_server_elsewhere_has_to_prove_who_it_is() {
        for (text, unproven) in [
            ("postgres://db/a", true),
            ("postgres://10.0.0.1/a?sslmode=require", true),
            ("postgres://db/a?sslmode=verify-full", false),
            ("postgres://db/a?sslmode=verify-ca", false),
            ("postgres://localhost/a", false),
            ("postgres://[::1]/a", false),
            ("postgres:///a?host=/run/pg", false),
            ("postgres://gw@%2Frun%2Fpg/a", false),
            ("postgres://localhost/a?host=db", true),
        ] {
            assert_eq!(read_text(text).map(|url| url.unproven), Ok(unproven), "{text}");
        }
    }

    #[test]
    fn what_would_be_left_out_or_misread_is_refused() {
        for text in [
            "postgres://db",
            "postgres://db/",
            "postgres://db/a/b",
            "postgres:///gateway",
            "postgres://gw@/gateway?host=/run/pg",
            "postgres://db:0/gateway",
            "postgres://db:port/gateway",
            "postgres://a,b/gateway",
            "postgres://gw:p/w@db/gateway",
            "postgres://gw:p@w@db/gateway",
            "postgres://gw:p#w@db/gateway",
            "postgres://db/gateway?password=x",
            "postgres://db/gateway?sslmode=verify_full",
            "postgres://db/gateway?ssl=true",
            "postgres://db/gateway?sslrootcert=missing.pem",
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }
}
