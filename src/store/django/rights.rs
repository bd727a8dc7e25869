//! Checks write permissions at start, before a login needs them.
//!
//! PostgreSQL, MySQL and MariaDB check permissions when they explain a statement, which changes nothing and runs no
//! trigger. SQLite has only file permissions, and does not check them in an explain; there the statements run, but
//! match no row.

use super::database::DjangoDatabase;
use super::dialect::Dialect;
use super::statement;
use super::texts::Texts;
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::sql::Statement;

/// An id that no user has.
const UNUSED_ID: i64 = -1;

/// The missing permissions for a table.
pub(super) struct Missing {
    rights: Vec<&'static str>,
    /// The error of the database.
    cause: String,
}

impl Missing {
    /// The error message.
    pub(super) fn told(&self, table: &str) -> String {
        let Missing { rights, cause } = self;
        format!("the gateway may not {} in table {table} ({cause})", rights.join(", "))
    }
}

/// The missing permissions for tokens.
pub(super) async fn of_tokens<D: DjangoDatabase>(database: &D, texts: &Texts) -> Option<Missing> {
    let never = D::DIALECT.written(Timestamp::from_micros(0));
    let token = |text| statement(text).bind("").bind(never.clone()).bind(UNUSED_ID);
    let replace = token(&texts.replace).bind("");
    let delete = statement(&texts.delete).bind("").bind(UNUSED_ID);
    missing(database, [("INSERT", token(&texts.insert)), ("UPDATE", replace), ("DELETE", delete)]).await
}

/// The missing permissions for sessions.
pub(super) async fn of_sessions<D: DjangoDatabase>(database: &D, texts: &Texts) -> Option<Missing> {
    let never = D::DIALECT.written(Timestamp::from_micros(0));
    let open = statement(&texts.open_session).bind("").bind("").bind(never).bind(UNUSED_ID).bind("");
    missing(database, [("INSERT", open), ("DELETE", statement(&texts.end_session).bind(""))]).await
}

async fn missing<D: DjangoDatabase>(
    database: &D,
    tried: impl IntoIterator<Item = (&'static str, Statement)>,
) -> Option<Missing> {
    let mut missing: Option<Missing> = None;
    for (right, statement) in tried {
        let statement = match D::DIALECT {
            Dialect::Sqlite => statement,
            Dialect::Postgres | Dialect::Mysql => statement.around(|text| format!("EXPLAIN {text}")),
        };
        // A lock by another writer or an unreachable server tells nothing about permissions.
        if let Err(StoreError::Broken(cause)) = database.execute(statement).await {
            let cause = cause.to_string();
            missing.get_or_insert(Missing { rights: Vec::new(), cause }).rights.push(right);
        }
    }
    missing
}
