//! The requirements on a database: queries and serialised transactions.

use std::future::Future;

use super::statement::{Row, Statement};
use crate::store::{Migration, OpenError, StoreError, TokenFeed};

/// A kind of database.
pub(in crate::store) trait Database: Send + Sync + 'static {
    /// A transaction; the transactions of all gateways run one at a time.
    type Change: Change;

    /// Records the last use of tokens; the SQL differs by database. `$1` is a JSON object of times by token ids.
    const MARK_USED: &'static str;

    /// Records the days of use, from the same argument.
    const MARK_DAYS: &'static str;

    /// SQL for rows with one column, `id`, from the JSON list of numbers at this placeholder.
    fn ids_at(place: &str) -> String;

    /// SQL for rows with the columns `id`, `since` and `used`, from the JSON list of such lists at this placeholder.
    fn counts_at(place: &str) -> String;

    /// Runs a read-only query. It sees everything that was committed before.
    fn rows<T: Row>(&self, statement: Statement) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// Begins a transaction: waits until every other [`Change`] has ended.
    fn begin(&self) -> impl Future<Output = Result<Self::Change, StoreError>> + Send;

    /// Migrates the schema, completely or not at all; returns the migrations that ran.
    fn migrate(&self) -> impl Future<Output = Result<Vec<Migration>, OpenError>> + Send;

    /// All migrations, in their order.
    fn migrations() -> Vec<Migration>;

    /// Returns the error for a database that could not be opened, with advice for this kind.
    fn unopened(&self, source: StoreError) -> OpenError;

    /// The address, without secrets.
    fn place(&self) -> String;

    /// Returns the feed of changes.
    fn feed(&self) -> Box<dyn TokenFeed>;
}

/// A transaction. Dropping it before the commit rolls it back.
pub(in crate::store) trait Change: Send + Sized {
    /// Runs a query, which may change rows.
    fn rows<T: Row>(&mut self, statement: Statement) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// Runs a statement; returns the number of changed rows.
    fn execute(&mut self, statement: Statement) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Commits. After an error, the outcome is unknown.
    fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Rolls back.
    fn roll_back(self) -> impl Future<Output = ()> + Send;

    /// Runs a query with at most one row.
    fn row<T: Row>(&mut self, statement: Statement) -> impl Future<Output = Result<Option<T>, StoreError>> + Send {
        async { Ok(self.rows(statement).await?.pop()) }
    }

    /// As [`Change::finish`], but rolls back in any case if it is only a rehearsal.
    fn finish_unless<T: Send, E: From<StoreError> + Send>(
        self,
        rehearsal: bool,
        outcome: Result<T, E>,
    ) -> impl Future<Output = Result<T, E>> + Send {
        async move {
            if !rehearsal {
                return self.finish(outcome).await;
            }
            self.roll_back().await;
            outcome
        }
    }

    /// Commits or rolls back, depending on the outcome.
    fn finish<T: Send, E: From<StoreError> + Send>(
        self,
        outcome: Result<T, E>,
    ) -> impl Future<Output = Result<T, E>> + Send {
        async {
            match outcome {
                Ok(value) => self.commit().await.map(|()| value).map_err(E::from),
                Err(error) => {
                    self.roll_back().await;
                    Err(error)
                }
            }
        }
    }
}
