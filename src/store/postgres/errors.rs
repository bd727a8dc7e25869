//! Classifies errors of PostgreSQL: whether a retry can help, and whether the connection is still usable.
//!
//! Codes: PostgreSQL documentation, appendix A.

use crate::store::StoreError;
use crate::store::error::{broken, unavailable};

/// Classifies an error of the driver: whether a retry can help.
pub(super) fn sorted(error: sqlx::Error) -> StoreError {
    let passing = match &error {
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| is_passing(&code)),
        // The connection ended within a message or a handshake.
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        _ => false,
    };
    if passing { unavailable(error) } else { broken(error) }
}

/// Whether the connection has ended or is no longer usable, so that the statement can be retried on another one.
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| ends_connection(&code)),
        _ => false,
    }
}

fn ends_connection(code: &str) -> bool {
    match code {
        // The server shuts down or has crashed; it closed an idle session; the schema of a prepared statement changed.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "0A000" => true,
        code => code.starts_with("08"),
    }
}

/// Whether this error is temporary.
fn is_passing(code: &str) -> bool {
    match code {
        // Timeout of a lock; read-only, as during a failover.
        "55P03" | "25006" => true,
        // Connection, rollback because of a conflict, resources, operator, system.
        code => ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || ends_connection(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_errors_count_as_unavailable() {
        for passing in ["08006", "40001", "40P01", "53300", "57014", "57P01", "57P03", "58030", "55P03", "25006"] {
            assert!(is_passing(passing), "{passing}");
        }
        for lasting in ["23505", "28P01", "3D000", "42P01", "42501", "22021", "XX001", ""] {
            assert!(!is_passing(lasting), "{lasting}");
        }
    }

    #[test]
    fn a_refused_statement_leaves_the_connection_usable() {
        for whole in ["23505", "57014", "40P01", "53300", "55P03"] {
            assert!(!ends_connection(whole), "{whole}");
        }
        for cut in ["57P01", "57P02", "08006", "25P03"] {
            assert!(ends_connection(cut), "{cut}");
        }
    }

    #[test]
    fn errors_of_the_driver_are_classified_as_temporary_or_not() {
        let cut = || sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert!(is_cut(&cut()) && matches!(sorted(cut()), StoreError::Unavailable(_)));
        assert!(!is_cut(&sqlx::Error::RowNotFound));
        assert!(matches!(sorted(sqlx::Error::RowNotFound), StoreError::Broken(_)));
    }
}
