//! What an error of PostgreSQL means: is there a use in waiting, and is the connection still good?
//!
//! Codes: PostgreSQL documentation, appendix A.

use crate::store::StoreError;
use crate::store::error::{broken, unavailable};

/// Sorts an error of the driver by whether waiting helps.
pub(super) fn sorted(error: sqlx::Error) -> StoreError {
    let passing = match &error {
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| is_passing(&code)),
        // A connection that ends in the middle of a message, or of a handshake.
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        _ => false,
    };
    if passing { unavailable(error) } else { broken(error) }
}

/// Has the connection ended, or is it of no more use, so that the same question may be asked on another one?
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| ends_connection(&code)),
        _ => false,
    }
}

fn ends_connection(code: &str) -> bool {
    match code {
        // The server is stopping or has crashed; it ended an idle session; a prepared statement is of an older schema.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "0A000" => true,
        code => code.starts_with("08"),
    }
}

/// Does this code say "not now" rather than "not ever"?
fn is_passing(code: &str) -> bool {
    match code {
        // Waited too long for a lock; read only, as a server is that has just handed its work to another one.
        "55P03" | "25006" => true,
        // Connection, rolled back for another's sake, resources, operator, system.
        code => ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || ends_connection(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_counts_as_unavailable() {
        for passing in ["08006", "40001", "40P01", "53300", "57014", "57P01", "57P03", "58030", "55P03", "25006"] {
            assert!(is_passing(passing), "{passing}");
        }
        for lasting in ["23505", "28P01", "3D000", "42P01", "42501", "22021", "XX001", ""] {
            assert!(!is_passing(lasting), "{lasting}");
        }
    }

    #[test]
    fn a_refused_statement_leaves_the_connection_whole() {
        for whole in ["23505", "57014", "40P01", "53300", "55P03"] {
            assert!(!ends_connection(whole), "{whole}");
        }
        for cut in ["57P01", "57P02", "08006", "25P03"] {
            assert!(ends_connection(cut), "{cut}");
        }
    }

    #[test]
    fn errors_of_the_driver_are_sorted_by_whether_waiting_helps() {
        let cut = || sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert!(is_cut(&cut()) && matches!(sorted(cut()), StoreError::Unavailable(_)));
        assert!(!is_cut(&sqlx::Error::RowNotFound));
        assert!(matches!(sorted(sqlx::Error::RowNotFound), StoreError::Broken(_)));
    }
}
