//! The store on a PostgreSQL server, which many gateways can share.
//!
//! `server` opens connections, `errors` classifies errors, `feed` listens for changes. Every transaction of a gateway
//! that changes something first takes the advisory lock which the schema's triggers take too. So changes run one at a
//! time, and the change log has the order of the commits; the schema explains why.

mod errors;
mod feed;
mod server;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Postgres};

use self::errors::{is_cut, sorted};
use self::feed::PostgresFeed;
use self::server::{NoEncoding, PostgresServer};
use crate::config::settings;
use crate::store::error::unavailable;
use crate::store::pool::{Lease, Pool, Server};
use crate::store::sql::{Change, Database, Row, Statement, apply, described, migrations};
use crate::store::{Migration, OpenError, StoreError, TokenFeed};

static MIGRATIONS: LazyLock<Migrator> = migrations! { "postgres":
    1 "users and tokens" "0001_users_and_tokens"
    2 "sessions" "0002_sessions"
    3 "directory" "0003_directory"
    4 "audit by name" "0004_audit_by_name"
    5 "imported" "0005_imported"
    6 "for people" "0006_for_people"
    7 "limits of tokens" "0007_limits_of_tokens"
    8 "quotas" "0008_quotas"
};

/// Begins a change with the schema's lock. Each statement sees what was committed before it, so statements after the
/// wait for the lock see what was committed during the wait.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(8390042714202661236)";

/// The same for migrations, which have no timeout, once another gateway's migration has ended.
const BEGIN_MIGRATION: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
                               SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'; \
                               SET LOCAL client_min_messages = warning; \
                               SELECT pg_advisory_xact_lock(8390042714202661236)";

/// Timeout of a migration's connection: longer than the wait for another gateway's migration, so a server that exceeds
/// it does not respond.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);

/// A PostgreSQL server.
pub(in crate::store) struct PostgresDatabase {
    pool: Arc<Pool<PostgresServer>>,
    place: String,
}

/// A transaction that holds the global change lock.
pub(in crate::store) struct PostgresChange {
    lease: Lease<PostgresServer>,
    spoilt: bool,
}

impl PostgresDatabase {
    /// Parses the address; does not connect yet.
    pub(in crate::store) fn new(
        url: &settings::PostgresUrl,
        settings: &settings::Store,
    ) -> Result<PostgresDatabase, OpenError> {
        let place = url.to_string();
        let server = PostgresServer::new(url, settings.timeout).map_err(|error| unopened(&place, error))?;
        let pool = Arc::new(Pool::new(server, settings.max_connections, settings.timeout));
        Ok(PostgresDatabase { pool, place })
    }

    /// Runs one statement as its own transaction; returns the number of changed rows.
    pub(in crate::store) async fn execute_alone(&self, statement: Statement) -> Result<u64, StoreError> {
        let mut lease = self.pool.lease().await?;
        let done = execute(lease.connection(), &statement).await.map_err(sorted)?;
        lease.give_back();
        Ok(done)
    }

    /// Returns a connection on which the statement that begins a transaction was run. A connection that died while idle
    /// is replaced: nothing can have happened on it.
    async fn begin_with(&self, begin: &'static str) -> Result<Lease<PostgresServer>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let begun = match sqlx::raw_sql(begin).execute(lease.connection()).await {
            Err(error) if lease.was_used() && is_cut(&error) => {
                lease = lease.renew().await?;
                sqlx::raw_sql(begin).execute(lease.connection()).await
            }
            begun => begun,
        };
        begun.map_err(sorted)?;
        Ok(lease)
    }
}

impl Database for PostgresDatabase {
    type Change = PostgresChange;

    const MARK_USED: &'static str = "UPDATE tokens SET last_used = used.at \
                                     FROM (SELECT key::BIGINT AS id, value::BIGINT AS at FROM json_each_text($1::JSON)) \
                                     AS used \
                                     WHERE tokens.id = used.id AND (last_used IS NULL OR last_used < used.at)";

    const MARK_DAYS: &'static str = "INSERT INTO token_days (token_id, day) SELECT tokens.id, used.at / 86400000000 \
                                     FROM (SELECT key::BIGINT AS id, value::BIGINT AS at FROM json_each_text($1::JSON)) \
                                     AS used JOIN tokens ON tokens.id = used.id ON CONFLICT DO NOTHING";

    fn ids_at(place: &str) -> String {
        format!("SELECT value::BIGINT AS id FROM json_array_elements_text({place}::JSON)")
    }

    fn counts_at(place: &str) -> String {
        format!(
            "SELECT value->>0 AS id, (value->>1)::BIGINT AS since, (value->>2)::BIGINT AS used \
             FROM json_array_elements({place}::JSON)"
        )
    }

    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.pool.rows(&statement).await
    }

    async fn begin(&self) -> Result<PostgresChange, StoreError> {
        Ok(PostgresChange { lease: self.begin_with(BEGIN).await?, spoilt: false })
    }

    async fn migrate(&self) -> Result<Vec<Migration>, OpenError> {
        let failed = |error| self.unopened(sorted(error));
        let mut lease = self.pool.lease().await.map_err(|error| self.unopened(error))?;
        let begun = tokio::time::timeout(MIGRATION_TIMEOUT, lease.connection().begin_with(BEGIN_MIGRATION)).await;
        let mut change = begun.map_err(|elapsed| self.unopened(unavailable(elapsed)))?.map_err(failed)?;
        let applied = apply(&mut *change, &MIGRATIONS).await.map_err(|error| match error {
            // A server that becomes unreachable is not a schema error.
            MigrateError::Execute(error) => failed(error),
            MigrateError::ExecuteMigration(error, _) if is_cut(&error) => failed(error),
            other => OpenError::Schema { store: self.place(), source: Box::new(other) },
        })?;
        change.commit().await.map_err(failed)?;
        lease.give_back();
        Ok(applied)
    }

    fn migrations() -> Vec<Migration> {
        described(&MIGRATIONS)
    }

    fn unopened(&self, source: StoreError) -> OpenError {
        unopened(&self.place, source)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn feed(&self) -> Box<dyn TokenFeed> {
        Box::new(PostgresFeed::new(self.pool.server().options(), self.pool.timeout()))
    }
}

impl Change for PostgresChange {
    async fn rows<T: Row>(&mut self, statement: Statement) -> Result<Vec<T>, StoreError> {
        let rows = PostgresServer::rows(self.lease.connection(), &statement).await;
        self.spoilt |= rows.is_err();
        rows.map_err(sorted)
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let done = execute(self.lease.connection(), &statement).await;
        self.spoilt |= done.is_err();
        done.map_err(sorted)
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("COMMIT").execute(self.lease.connection()).await.map_err(sorted)?;
        self.lease.give_back();
        Ok(())
    }

    async fn roll_back(mut self) {
        // After a server error the connection is closed, which rolls back and cannot fail.
        if !self.spoilt && sqlx::raw_sql("ROLLBACK").execute(self.lease.connection()).await.is_ok() {
            self.lease.give_back();
        }
    }
}

fn unopened(place: &str, source: StoreError) -> OpenError {
    let is_encoding = std::error::Error::source(&source).is_some_and(|cause| cause.is::<NoEncoding>());
    let mend = if is_encoding { "use a database in UTF-8" } else { MEND };
    OpenError::Database { store: place.to_owned(), mend, source }
}

const MEND: &str =
    "check that the server runs and can be reached, that user and password are right, and that the database exists";

async fn execute(connection: &mut PgConnection, statement: &Statement) -> Result<u64, sqlx::Error> {
    let query = sqlx::query_with(statement.text(), statement.arguments::<Postgres>()?);
    Ok(query.execute(connection).await?.rows_affected())
}
