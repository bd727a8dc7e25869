//! A Django project on PostgreSQL. The connections are the same as in our own PostgreSQL store.

use super::database::DjangoDatabase;
use super::dialect::Dialect;
use crate::store::postgres::PostgresDatabase;
use crate::store::sql::{Database, Row, Statement};
use crate::store::{OpenError, StoreError, TokenFeed};

impl DjangoDatabase for PostgresDatabase {
    const DIALECT: Dialect = Dialect::Postgres;

    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        Database::rows(self, statement).await
    }

    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        self.execute_alone(statement).await
    }

    fn unopened(&self, source: StoreError) -> OpenError {
        Database::unopened(self, source)
    }

    fn place(&self) -> String {
        Database::place(self)
    }

    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        Some(Database::feed(self))
    }
}
