//! What the traits need of a database: rows of one statement, and transactions that come one after the other.

use std::future::Future;

use super::statement::{Row, Statement};
use crate::store::{Migration, OpenError, StoreError, TokenFeed};

/// A kind of database.
pub(in crate::store) trait Database: Send + Sync + 'static {
    /// A transaction that no other transaction of any gateway runs beside.
    type Change: Change;

    /// Spelt by each in its own way, as the next: notes the last use of tokens. `$1` is a JSON object of times by
    /// token ids.
    const MARK_USED: &'static str;

    /// Rows of one column, `id`, from the JSON list of numbers that stands at this place.
    fn ids_at(place: &str) -> String;

    /// The rows of a statement that only reads. Sees what was committed before, all of it.
    fn rows<T: Row>(&self, statement: Statement) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// Begins to change something: waits until every other [`Change`] has ended.
    fn begin(&self) -> impl Future<Output = Result<Self::Change, StoreError>> + Send;

    /// Brings the schema up to this version, all of it or nothing, and says which steps it took.
    fn migrate(&self) -> impl Future<Output = Result<Vec<Migration>, OpenError>> + Send;

    /// Why it could not be opened, in the words that fit this kind.
    fn unopened(&self, source: StoreError) -> OpenError;

    /// Where it is, without anything secret.
    fn place(&self) -> String;

    /// Hears of changes.
    fn feed(&self) -> Box<dyn TokenFeed>;
}

/// A transaction. Dropped before its commit, it changes nothing.
pub(in crate::store) trait Change: Send + Sized {
    /// The rows of a statement, which may change something.
    fn rows<T: Row>(&mut self, statement: Statement) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// Runs a statement and says how many rows it touched.
    fn execute(&mut self, statement: Statement) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Makes it last. An error leaves open whether it does.
    fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives it up.
    fn roll_back(self) -> impl Future<Output = ()> + Send;

    /// The only row of a statement, if there is one.
    fn row<T: Row>(&mut self, statement: Statement) -> impl Future<Output = Result<Option<T>, StoreError>> + Send {
        async { Ok(self.rows(statement).await?.pop()) }
    }

    /// Ends the change as its outcome wants it.
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
