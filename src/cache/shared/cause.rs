//! Maps Redis errors to advice for operators.

use redis::{ErrorKind, RedisError};

/// When the error happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// While connecting over TLS: the server accepted the connection, so the handshake failed.
    TlsHandshake,
    /// While connecting.
    Connecting,
    /// On a connection that had answered before.
    Connected,
}

/// Returns the advice to append to the error; empty if the error is self-explanatory.
pub(super) fn advice(error: &RedisError, moment: Moment) -> &'static str {
    if let Some(advice) = error.code().and_then(advice_for_code) {
        return advice;
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "; check `username` and the password";
    }
    if error.to_string().contains("invalid peer certificate") {
        return "; set `ca_file` to the CA of the server's certificate";
    }
    match moment {
        Moment::TlsHandshake if error.is_io_error() || error.is_timeout() => {
            "; the TLS handshake failed: if the server does not use TLS, write redis:// in `url`"
        }
        Moment::Connecting if is_cut(error) => {
            "; it closed the connection at once: if it accepts only TLS, write rediss:// in `url`; if it is in protected \
             mode, set a password there"
        }
        Moment::TlsHandshake | Moment::Connecting | Moment::Connected => "",
    }
}

/// Reports whether something other than Redis may have answered, or nothing did after the connection was made.
pub(super) fn may_be_foreign(error: &RedisError) -> bool {
    error.code().is_none() && !error.is_connection_refusal() && error.kind() != ErrorKind::AuthenticationFailed
}

/// Returns the advice for an error code of the server.
fn advice_for_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "NOAUTH" => "; it requires a password: name a file that contains it in `password_file`",
        "WRONGPASS" => "; check `username` and the password",
        "NOPERM" => "; check that the access list allows this",
        "DENIED" => "; its protected mode accepts only clients on its own machine: set a password there",
        "READONLY" => "; it is a replica: name the primary in `url`, or the sentinels that know it",
        "MOVED" | "ASK" => "; it is a node of a cluster: write redis-cluster:// in `url`",
        _ => return None,
    })
}

/// Reports whether the server closed the connection or sent an invalid answer.
fn is_cut(error: &RedisError) -> bool {
    let is_broken = error.is_connection_dropped() && !error.is_connection_refusal();
    is_broken || error.kind() == ErrorKind::Parse
}
