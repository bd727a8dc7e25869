//! Parameters of libpq and of other clients that change the client's behaviour.

use std::time::Duration;

use crate::config::url::{BadDatabaseUrl, fault, unknown_parameter};

/// The supported parameters.
const KNOWN: [&str; 16] = [
    "host",
    "port",
    "user",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "fallback_application_name",
    "options",
    "connect_timeout",
    "channel_binding",
    "target_session_attrs",
    "sslnegotiation",
    "gssencmode",
    "client_encoding",
];

const PROVE: &str = "remove it, and let `sslmode=verify-full` prove the identity of the server";
const WATCHED: &str = "remove it: `store.timeout` bounds every wait";
const IN_ADDRESS: &str = "remove it, and write host, user and database in the address";
const KERBEROS: &str = "remove it: the gateway does not speak Kerberos; use `sslmode=verify-full`";
const POOL: &str = "remove it; `store.max_connections` bounds the connections";

/// Name, the values that ask for what happens anyway, and the alternative for all other values.
const OTHERS: &[(&str, &[&str], &str)] = &[
    (
        "target_session_attrs",
        &["any", "read-write", "primary"],
        "the gateway writes, so it needs the primary: write `read-write`, or remove it",
    ),
    ("sslnegotiation", &["postgres"], "write `sslnegotiation=postgres`, or remove it"),
    ("gssencmode", &["disable", "prefer"], KERBEROS),
    ("krbsrvname", &[], KERBEROS),
    ("gsslib", &[], KERBEROS),
    ("gssdelegation", &["0"], KERBEROS),
    ("load_balance_hosts", &["disable"], "name the one address that always leads to the primary, and remove it"),
    ("client_encoding", &["utf8", "UTF8", "utf-8", "UTF-8", "auto"], "remove it: the gateway speaks UTF-8"),
    ("sslcompression", &["0"], "write `sslcompression=0`, or remove it"),
    ("sslsni", &["1"], "remove it: the gateway names the host to the server"),
    ("sslcertmode", &["allow"], "remove it"),
    (
        "ssl_min_protocol_version",
        &["TLSv1", "TLSv1.1", "TLSv1.2"],
        "write `TLSv1.2`, and set a higher version at the server",
    ),
    ("ssl_max_protocol_version", &["TLSv1.3"], "remove it, and set a lower version at the server"),
    ("require_auth", &[], PROVE),
    ("requirepeer", &[], PROVE),
    ("requiressl", &[], "write `sslmode=require` or `sslmode=verify-full` in its place"),
    ("sslcrl", &[], "remove it: lists of revoked certificates are not read"),
    ("sslcrldir", &[], "remove it: lists of revoked certificates are not read"),
    ("sslpassword", &[], "decrypt the key file, let only the gateway's user read it, and remove this"),
    ("hostaddr", &[], "write the address in place of the host name"),
    ("dbname", &[], "write the database behind the `/`"),
    ("service", &[], IN_ADDRESS),
    ("servicefile", &[], IN_ADDRESS),
    ("passfile", &[], "name the file in the environment, as PGPASSFILE"),
    ("replication", &["false", "off", "no", "0"], "remove it"),
    ("keepalives", &[], WATCHED),
    ("keepalives_idle", &[], WATCHED),
    ("keepalives_interval", &[], WATCHED),
    ("keepalives_count", &[], WATCHED),
    ("tcp_user_timeout", &[], WATCHED),
    // Of other clients: JDBC, node-postgres, Prisma.
    ("ssl", &[], "write `sslmode=require` or `sslmode=verify-full` in its place"),
    ("sslaccept", &[], "write `sslmode=require` or `sslmode=verify-full` in its place"),
    ("uselibpqcompat", &["true"], "remove it"),
    ("pgbouncer", &[], "name the server itself, or a pooler that keeps sessions apart, and remove it"),
    ("schema", &[], "write `options=-csearch_path%3DSCHEMA` in its place"),
    ("currentSchema", &[], "write `options=-csearch_path%3DSCHEMA` in its place"),
    ("connection_limit", &[], POOL),
    ("pool_timeout", &[], WATCHED),
    ("socket_timeout", &[], WATCHED),
];

/// Accepts a parameter that asks for what happens anyway.
///
/// # Errors
/// [`BadDatabaseUrl`] names the alternative.
pub(super) fn check_other(name: &str, value: &str) -> Result<(), BadDatabaseUrl> {
    match OTHERS.iter().find(|(other, _, _)| *other == name) {
        Some((_, fine, _)) if fine.contains(&value) => Ok(()),
        Some((name, [], way_out)) => {
            Err(fault(format!("has the parameter `{name}`, which the gateway does not know"), *way_out))
        }
        Some((name, _, way_out)) => {
            Err(fault(format!("asks for a `{name}` that the gateway does not support"), *way_out))
        }
        None => Err(unknown_parameter(name, &KNOWN)),
    }
}

/// Timeout of a connection attempt in whole seconds; zero and less mean no timeout of its own.
pub(super) fn connect_timeout(value: &str) -> Result<Option<Duration>, BadDatabaseUrl> {
    let seconds: i32 = value.parse().map_err(|_| fault("has an invalid connect_timeout", "write whole seconds"))?;
    Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs))
}
