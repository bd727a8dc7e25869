//! What the three traits need of a database that belongs to Django.

use std::future::Future;

use super::dialect::Dialect;
use crate::store::sql::{Row, Statement};
use crate::store::{OpenError, StoreError, TokenFeed};

/// A kind of database.
pub(super) trait DjangoDatabase: Send + Sync + 'static {
    /// How it spells things.
    const DIALECT: Dialect;

    /// The rows of a statement that only reads. Sees what was committed before, all of it.
    fn rows<T: Row>(&self, statement: Statement) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// Runs one statement as a transaction of its own, and says how many rows it touched.
    fn execute(&self, statement: Statement) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Why it could not be opened, in the words that fit this kind.
    fn unopened(&self, source: StoreError) -> OpenError;

    /// Where it is, without anything secret.
    fn place(&self) -> String;

    /// Hears what triggers tell, if it can.
    fn feed(&self) -> Option<Box<dyn TokenFeed>>;
}
