//! The operations that the traits need of a database which belongs to Django.

use std::future::Future;

use super::dialect::Dialect;
use crate::store::sql::{Row, Statement};
use crate::store::{OpenError, StoreError, TokenFeed};

/// A kind of database.
pub(super) trait DjangoDatabase: Send + Sync + 'static {
    /// Its SQL dialect.
    const DIALECT: Dialect;

    /// The rows of a read-only statement. Sees everything that was committed before.
    fn rows<T: Row>(&self, statement: Statement) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send;

    /// Runs one statement as a transaction of its own. Returns the number of changed rows.
    fn execute(&self, statement: Statement) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The error for a database that could not be opened, with advice for this kind.
    fn unopened(&self, source: StoreError) -> OpenError;

    /// The location, without secrets.
    fn place(&self) -> String;

    /// The feed of the triggers' notifications, if this kind supports that.
    fn feed(&self) -> Option<Box<dyn TokenFeed>>;
}
