//! The URL of a PostgreSQL server: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.
//!
//! Hosting providers hand out URLs with libpq parameters, some of which change the client's behaviour. A parameter that
//! asks for what happens anyway is accepted. The error for any other names the alternative (`postgres/parameters.rs`).

mod parameters;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use self::parameters::{check_other, connect_timeout};
use super::host::is_host;
use super::tls::{DatabaseTls, TlsMode};
use super::{BadDatabaseUrl, DatabaseServer, check_ends, cut, fault, file, is_here, many_hosts, one_of};

/// An example for error messages.
const EXAMPLE: &str = "write \"postgres://USER@HOST/DATABASE\"";

/// The accepted schemes.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// As in libpq.
const SSL_MODES: [(&str, TlsMode); 6] = [
    ("disable", TlsMode::Disable),
    ("allow", TlsMode::Allow),
    ("prefer", TlsMode::Prefer),
    ("require", TlsMode::Require),
    ("verify-ca", TlsMode::VerifyCa),
    ("verify-full", TlsMode::VerifyFull),
];

/// The URL of a PostgreSQL server. May contain a password. `Display` shows only the location.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The server.
    pub server: DatabaseServer,
    /// TLS to the server.
    pub tls: DatabaseTls,
    /// The application name of our sessions at the server.
    pub application_name: Option<String>,
    /// Server settings for our sessions, in the form of the server's command line.
    pub options: Option<String>,
    /// Timeout of a connection attempt, if the URL has one.
    pub connect_timeout: Option<Duration>,
}

impl PostgresUrl {
    /// Whether the text is meant as a PostgreSQL URL.
    pub(in crate::config) fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// Whether the server is remote and not authenticated.
    pub(in crate::config) fn is_unproven(&self) -> bool {
        !is_here(&self.server.host) && !self.tls.proves_server()
    }

    /// Parses a URL. `resolve` makes paths of files absolute.
    ///
    /// # Errors
    /// [`BadDatabaseUrl`] if a part would be misread or ignored.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<PostgresUrl, BadDatabaseUrl> {
        check_ends(text)?;
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        read(rest.ok_or_else(|| fault("is not the address of a PostgreSQL server", EXAMPLE))?, &resolve)
    }
}

/// The location of the server.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.server)
    }
}

fn read(rest: &str, resolve: &dyn Fn(&str) -> PathBuf) -> Result<PostgresUrl, BadDatabaseUrl> {
    let mut parts = cut(rest, EXAMPLE)?;
    let parameters = std::mem::take(&mut parts.parameters);
    let (mut host, mut port, own_host) = (None, None, parts.own_host()?);
    let (mut tls, mut binds_channel, mut fallback_name) = (DatabaseTls::default(), false, None);
    let (mut application_name, mut options, mut timeout) = (None, None, None);
    for (name, value) in &parameters {
        let (name, value) = (*name, value.as_str());
        let file = || file(name, resolve(value));
        match name {
            "host" => host = Some(value),
            "port" => port = Some(value),
            "user" => parts.user = Some(value.to_owned()),
            "password" => {
                return Err(fault("has its password after `?`", "write \"postgres://USER:PASSWORD@HOST/DATABASE\""));
            }
            "sslmode" => tls.mode = Some(one_of(name, value, &SSL_MODES)?),
            "sslrootcert" if value == "system" => tls.mode = tls.mode.or(Some(TlsMode::VerifyFull)),
            "sslrootcert" => tls.authorities = Some(file()?),
            "sslcert" => tls.certificate = Some(file()?),
            "sslkey" => tls.key = Some(file()?),
            "channel_binding" => {
                binds_channel = one_of(name, value, &[("disable", false), ("prefer", false), ("require", true)])?;
            }
            "connect_timeout" => timeout = connect_timeout(value)?,
            "application_name" => application_name = Some(value.to_owned()),
            "fallback_application_name" => fallback_name = Some(value.to_owned()),
            "options" => options = Some(value.to_owned()),
            other => check_other(other, value)?,
        }
    }
    let system = parameters.iter().any(|(name, value)| *name == "sslrootcert" && value == "system");
    let proves = tls.mode == Some(TlsMode::VerifyFull);
    if system && !proves {
        return Err(fault("trusts the authorities of the system, which needs more", "write `sslmode=verify-full`"));
    }
    if binds_channel && !proves {
        let mend = "write `sslmode=verify-full` in its place, which also proves the identity of the server";
        return Err(fault("asks for `channel_binding=require`, which the gateway does not support", mend));
    }
    if [host, port].iter().flatten().any(|value| value.contains(',')) {
        return Err(many_hosts());
    }
    let host = host.map_or(own_host, str::to_owned);
    if host.is_empty() {
        return Err(fault("names no host", "name one, or the folder of a socket with `?host=/run/postgresql`"));
    }
    if !(host.starts_with('/') || is_host(&host) || is_host(&format!("[{host}]"))) {
        return Err(fault("has no valid host", EXAMPLE));
    }
    let port = port.or(parts.port);
    Ok(PostgresUrl {
        server: parts.server("postgres://", host, port)?,
        tls,
        application_name: application_name.or(fallback_name),
        options,
        connect_timeout: timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<PostgresUrl, BadDatabaseUrl> {
        PostgresUrl::parse(text, |path| PathBuf::from(path))
    }

    #[test]
    fn a_url_shows_the_location_and_hides_everything_else() {
        for (text, place, user, password) in [
            ("postgres://db/gateway", "postgres://db/gateway", None, None),
            ("postgresql://gw@db:5433/gateway", "postgres://db:5433/gateway", Some("gw"), None),
            (
                "postgres://gw:s%40cret@[::1]:5433/gateway?sslmode=verify-full",
                "postgres://[::1]:5433/gateway",
                Some("gw"),
                Some("s@cret"),
            ),
            ("postgres://gw:a:b@10.0.0.1/gateway", "postgres://10.0.0.1/gateway", Some("gw"), Some("a:b")),
            ("postgres:///gateway?host=/run/pg&user=gw&port=5433", "postgres:///run/pg:5433/gateway", Some("gw"), None),
            (
                "postgres://gw:p@%2Frun%2Fpg/gateway?application_name=x",
                "postgres:///run/pg/gateway",
                Some("gw"),
                Some("p"),
            ),
            ("postgres://:p@db/gateway", "postgres://db/gateway", None, Some("p")),
        ] {
            let url = read_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.to_string().as_str(), url.server.user.as_deref()), (place, user));
            assert_eq!(url.server.password(), password);
            assert_eq!(format!("{url:?} {:?}", url.server), format!("PostgresUrl({place}) {place}"));
        }
    }

    #[test]
    fn a_remote_server_must_be_authenticated() {
        for (text, unproven) in [
            ("postgres://db/a", true),
            ("postgres://10.0.0.1/a?sslmode=require", true),
            ("postgres://db/a?sslmode=verify-full", false),
            ("postgres://db/a?sslmode=verify-ca", false),
            ("postgres://db/a?sslrootcert=system", false),
            ("postgres://localhost/a", false),
            ("postgres://[::1]/a", false),
            ("postgres:///a?host=/run/pg", false),
            ("postgres://gw@%2Frun%2Fpg/a", false),
            ("postgres://localhost/a?host=db", true),
        ] {
            assert_eq!(read_text(text).map(|url| url.is_unproven()), Ok(unproven), "{text}");
        }
    }

    #[test]
    fn a_part_that_would_be_ignored_or_misread_is_refused_and_not_shown() {
        for text in [
            "postgres://hunter2:hunter2@db",
            "postgres://hunter2:hunter2@db/",
            "postgres://hunter2:hunter2@db/a/b",
            "postgres:///gateway",
            "postgres://gw@/gateway?host=/run/pg",
            "postgres://db:hunter2/gateway",
            "postgres://db:0/gateway",
            "postgres://a,b:hunter2/gateway",
            "postgres://gw:hunter2/w@db/gateway",
            "postgres://gw:hunter2@w@db/gateway",
            "postgres://gw:hunter2#w@db/gateway",
            "postgres://gw:hunter2%@db/gateway",
            "postgres://gw:hunter2%zz@db/gateway",
            "postgres://gw:hunter2%00@db/gateway",
            "postgres://db/gateway?password=hunter2",
            "postgres://db/gateway?sslmode=hunter2",
            "postgres://db/gateway?hunter2=true",
            "postgres://db/gateway?sslrootcert=hunter2.pem",
            "postgres://db/gateway?host=hunter2/x",
            "postgres://db/gateway?port=hunter2",
            "postgres://db/gateway?connect_timeout=hunter2",
        ] {
            let error = read_text(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn urls_of_hosting_providers_are_accepted_or_refused_with_the_alternative() {
        let taken = [
            "sslmode=require",
            "sslmode=verify-full&channel_binding=require",
            "sslmode=verify-full&sslrootcert=system",
            "channel_binding=prefer",
            "channel_binding=disable",
            "connect_timeout=10",
            "connect_timeout=0",
            "application_name=tokengate%20eu",
            "fallback_application_name=x",
            "options=endpoint%3Dep-cool-1",
            "options=-c%20search_path%3Dgateway",
            "target_session_attrs=read-write",
            "target_session_attrs=primary",
            "target_session_attrs=any",
            "sslnegotiation=postgres",
            "gssencmode=prefer",
            "gssencmode=disable",
            "load_balance_hosts=disable",
            "client_encoding=utf8",
            "sslcompression=0",
            "sslsni=1",
            "ssl_min_protocol_version=TLSv1.2",
        ];
        for parameters in taken {
            let read = read_text(&format!("postgres://gw:p@db/a?{parameters}"));
            assert!(read.is_ok(), "{parameters}: {read:?}");
        }
        for (parameters, way_out) in [
            ("sslmode=no-verify", "write one of disable"),
            ("sslmode=require&channel_binding=require", "sslmode=verify-full"),
            ("sslmode=require&sslrootcert=system", "sslmode=verify-full"),
            ("target_session_attrs=standby", "`read-write`"),
            ("target_session_attrs=prefer-standby", "`read-write`"),
            ("target_session_attrs=read-only", "`read-write`"),
            ("sslnegotiation=direct", "`sslnegotiation=postgres`"),
            ("gssencmode=require", "sslmode=verify-full"),
            ("load_balance_hosts=random", "one address"),
            ("hostaddr=10.0.0.1", "in place of the host"),
            ("dbname=b", "behind the `/`"),
            ("service=prod", "in the address"),
            ("passfile=/x", "PGPASSFILE"),
            ("keepalives_idle=30", "remove it"),
            ("tcp_user_timeout=1000", "remove it"),
            ("require_auth=scram-sha-256", "sslmode=verify-full"),
            ("sslpassword=x", "key file"),
            ("ssl_min_protocol_version=TLSv1.3", "TLSv1.2"),
            ("ssl=true", "sslmode=verify-full"),
            ("pgbouncer=true", "pooler"),
            ("schema=gateway", "options=-csearch_path%3D"),
            ("connection_limit=5", "store.max_connections"),
            ("sslmod=require", "did you mean `sslmode`?"),
        ] {
            let error = read_text(&format!("postgres://gw:p@db/a?{parameters}")).expect_err(parameters);
            assert!(error.mend.contains(way_out), "{parameters}: {error}");
        }
        for several in
            ["postgres://gw:p@a,b/x", "postgres://gw:p@a:1,b:2/x", "postgres:///x?host=a,b", "postgres://a/x?port=1,2"]
        {
            let error = read_text(several).expect_err(several);
            assert!(error.what.contains("more than one host") && error.mend.contains("primary"), "{error}");
        }
        let url = read_text("postgres://db/a?connect_timeout=3&options=-cx%3Dy&application_name=n").unwrap();
        let read = (url.connect_timeout, url.options.as_deref(), url.application_name.as_deref());
        assert_eq!(read, (Some(Duration::from_secs(3)), Some("-cx=y"), Some("n")));
    }
}
