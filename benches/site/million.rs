//! A million users, two million tokens and a million entries of the audit trail, in SQLite and in PostgreSQL.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;
use tokengate::clock::Clock;
use tokengate::config::settings::{self, StoreUrl};
use tokengate::store::{self, Store};

use crate::support::postgres::{Postgres, options};

/// One of ten thousand is staff, one of twenty is inactive, half are in one group and a hundred in another.
const USERS: &str = "INSERT INTO users (id, name, email, active, staff, created, last_login) \
    SELECT n, 'user' || CAST((CAST(n AS BIGINT) * 7919) % 1000003 AS TEXT), 'u' || CAST(n AS TEXT) || '@example.com', \
           CASE WHEN n % 20 = 0 THEN {false} ELSE {true} END, CASE WHEN n % 10000 = 0 THEN {true} ELSE {false} END, n, \
           CASE WHEN n % 3 = 0 THEN NULL ELSE n * 1000 END FROM {numbers}";
const MEMBERS: &str = "INSERT INTO user_groups (user_id, group_id) \
    SELECT n, CASE WHEN n % 2 = 0 THEN 1 ELSE 2 END FROM {numbers} WHERE n % 2 = 0 OR n % 10000 = 1";
/// A login token and a named token for each; some are revoked, some expired, some expire soon.
const TOKENS: &str = "INSERT INTO tokens (digest, hint, user_id, kind, created, expires, revoked, last_used) \
    SELECT {digest}, {hint}, (n + 1) / 2, CASE WHEN n % 2 = 0 THEN 'login' ELSE 'named' END, n, \
           CASE WHEN n % 10 = 0 THEN {now} + (n % 1000 - 500) * 86400000000 END, \
           CASE WHEN n % 5 = 0 THEN {now} - n END, \
           CASE WHEN n % 3 = 0 THEN NULL ELSE {now} - (n % 400) * 86400000000 END FROM {numbers}";
const ENTRIES: &str = "INSERT INTO audit (at, actor, via, act, user_id, user_name) \
    SELECT n, CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'gateway' END, 'gateway', \
           CASE WHEN n % 7 = 0 THEN 'login_failed' ELSE 'token_issued' END, n, 'somebody' FROM {numbers}";

/// The filled databases.
pub struct Million {
    pub sqlite: Filled,
    pub postgres: Filled,
    _server: Postgres,
}

/// A filled database, and the folder of its key file.
pub struct Filled {
    pub url: StoreUrl,
    folder: TempDir,
}

impl Million {
    /// Creates this many users, and twice as many tokens.
    pub async fn of(users: usize) -> Million {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokengate.db");
        let sqlite = Filled { url: StoreUrl::Sqlite(path.clone()), folder };
        sqlite.open().await;
        fill_sqlite(&mut SqliteConnectOptions::new().filename(path).connect().await.unwrap(), users).await;
        let server = Postgres::start_with(&["max_wal_size=8GB", "shared_buffers=1GB"]).await;
        let postgres = Filled { url: server.database().await, folder: tempfile::tempdir().unwrap() };
        postgres.open().await;
        let StoreUrl::Postgres(url) = &postgres.url else { unreachable!("it is on PostgreSQL") };
        fill_postgres(&mut options(url).connect().await.unwrap(), users).await;
        Million { sqlite, postgres, _server: server }
    }
}

impl Filled {
    pub fn settings(&self) -> settings::Store {
        let store = settings::Store::at(self.url.clone(), self.folder.path().join("tokengate.key"));
        settings::Store { timeout: Duration::from_secs(60), ..store }
    }

    pub async fn open(&self) -> Store {
        store::open(&self.settings(), &settings::Tokens::default(), Clock::system()).await.unwrap()
    }
}

async fn fill_sqlite(connection: &mut SqliteConnection, users: usize) {
    let now = Clock::system().now().as_micros();
    connection.execute("PRAGMA cache_size = -1000000; PRAGMA synchronous = OFF").await.unwrap();
    // These rows need no notifications, and building an index at the end is faster.
    let rest = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL";
    let rest = sqlx::query(rest).fetch_all(&mut *connection).await.unwrap();
    let rest: Vec<(String, String, String)> = rest.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    for (kind, name, _) in &rest {
        connection.execute(AssertSqlSafe(format!("DROP {kind} {name}"))).await.unwrap();
    }
    connection.execute("INSERT INTO groups (id, name) VALUES (1, 'half'), (2, 'few')").await.unwrap();
    for (text, count) in [(USERS, users), (MEMBERS, users), (TOKENS, 2 * users), (ENTRIES, users)] {
        let numbers = format!(
            "(WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {count}) SELECT n FROM r)"
        );
        let text = text
            .replace("{numbers}", &numbers)
            .replace("{true}", "1")
            .replace("{false}", "0")
            .replace("{digest}", "randomblob(32)")
            .replace("{hint}", "lower(hex(randomblob(4)))")
            .replace("{now}", &now.to_string());
        connection.execute(AssertSqlSafe(text)).await.unwrap();
    }
    for (_, _, sql) in rest {
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

async fn fill_postgres(connection: &mut PgConnection, users: usize) {
    let now = Clock::system().now().as_micros();
    connection.execute("SET session_replication_role = replica").await.unwrap();
    connection.execute("INSERT INTO groups (name) VALUES ('half'), ('few')").await.unwrap();
    for (text, count) in [(USERS, users), (MEMBERS, users), (TOKENS, 2 * users), (ENTRIES, users)] {
        let text = text
            .replace("{numbers}", &format!("generate_series(1::BIGINT, {count}) AS r(n)"))
            .replace("{true}", "TRUE")
            .replace("{false}", "FALSE")
            .replace("{digest}", "sha256(int8send(n))")
            .replace("{hint}", "left(md5(n::TEXT), 8)")
            .replace("{now}", &now.to_string());
        connection.execute(AssertSqlSafe(text)).await.unwrap();
    }
    connection.execute("ANALYZE").await.unwrap();
}
