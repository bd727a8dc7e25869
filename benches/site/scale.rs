//! The cost of a token among many: a lookup in the store, a request on a cache hit, and the memory of an identity.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::postgres::{PgConnectOptions, PgPoolCopyExt};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool, Row};
use tokengate::cache::IdentityCache;
use tokengate::clock::Clock;
use tokengate::config::settings::{self, MemoryCache, StoreUrl};
use tokengate::identity::{Identity, Verdict};
use tokengate::store::{self, NewUser};
use tokengate::token::{
    Account, AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenKey, TokenRecord,
};
use tokio::time::Instant;

use crate::support::http2::H2;
use crate::support::postgres::{Postgres, options};
use crate::support::{Ask, Fleet};
use crate::{resident, spread};

const QUESTIONS: usize = 20_000;
/// Number of tokens in requests: few, so that all are cached.
const HOT: usize = 100;
const USERS: usize = 1_000;

pub async fn run(tokens: usize) {
    println!("| store | tokens | filled in | find p50 | find p99 | request on a hit, p50 | p99 |");
    println!("|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().unwrap();
    let sqlite = StoreUrl::Sqlite(folder.path().join("tokengate.db"));
    measure("SQLite", sqlite, folder, tokens).await;
    let postgres = Postgres::start_with(&["max_wal_size=8GB", "shared_buffers=1GB"]).await;
    measure("PostgreSQL", postgres.database().await, tempfile::tempdir().unwrap(), tokens).await;
    println!(
        "one identity in memory, of {}: {} bytes",
        tokens.min(1_000_000),
        bytes_of_an_identity(tokens.min(1_000_000))
    );
}

async fn measure(name: &str, url: StoreUrl, folder: tempfile::TempDir, tokens: usize) {
    let settings = settings::Store {
        timeout: Duration::from_secs(30),
        ..settings::Store::at(url.clone(), folder.path().join("tokengate.key"))
    };
    let store = store::open(&settings, &settings::Tokens::default(), Clock::system()).await.unwrap();
    let first = store.accounts.create(NewUser::named("user0")).await.unwrap().0.account.id.0;
    for number in 1..USERS {
        store.accounts.create(NewUser { password: None, ..NewUser::named(format!("user{number}")) }).await.unwrap();
    }
    let begun = Instant::now();
    match &url {
        StoreUrl::Sqlite(path) => fill_sqlite(path, tokens, first).await,
        StoreUrl::Postgres(url) => fill_postgres(options(url), tokens, first).await,
        StoreUrl::Django(_) => unreachable!("filled by Django itself"),
    }
    let filled = begun.elapsed();

    let mut rng = StdRng::seed_from_u64(1);
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let key = TokenKey::parse(&key(rng.random_range(0..tokens))).unwrap();
        let asked = Instant::now();
        assert!(store.tokens.find(&key).await.unwrap().is_some());
        times.push(asked.elapsed());
    }
    let (find, find_late, _) = spread(times);

    let fleet = Fleet::over(url, folder, 1, |settings| settings.store.timeout = Duration::from_secs(30)).await;
    let mut client = H2::open(fleet.first()).await;
    let asks: Vec<Ask> = (0..HOT).map(|number| Ask::get("/api/x").token(&key(number))).collect();
    for ask in &asks {
        assert_eq!(client.ask(ask).await.status, 200);
    }
    let mut times = Vec::new();
    for number in 0..QUESTIONS {
        let asked = Instant::now();
        assert_eq!(client.ask(&asks[number % HOT]).await.status, 200);
        times.push(asked.elapsed());
    }
    let (hit, hit_late, _) = spread(times);
    println!("| {name} | {tokens} | {filled:.0?} | {find:.1?} | {find_late:.1?} | {hit:.1?} | {hit_late:.1?} |");
}

fn key(number: usize) -> String {
    format!("{number:040x}")
}

/// The digests of all keys in order, so that the index grows at its end.
fn digests(tokens: usize) -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> =
        (0..tokens).map(|number| *TokenDigest::of(key(number).as_bytes()).as_bytes()).collect();
    all.sort_unstable();
    all
}

async fn fill_sqlite(path: &Path, tokens: usize, first: i64) {
    let mut connection =
        SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
    // The change log would be as long as the table, and these rows need no notifications.
    let triggers = sqlx::query("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'tokens'");
    let triggers: Vec<(String, String)> =
        triggers.fetch_all(&mut connection).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    for (name, _) in &triggers {
        connection.execute(AssertSqlSafe(format!("DROP TRIGGER {name}"))).await.unwrap();
    }
    let mut change = connection.begin().await.unwrap();
    let mut owner = 0_i64;
    for part in digests(tokens).chunks(200) {
        let mut insert = sqlx::QueryBuilder::new("INSERT INTO tokens (digest, hint, user_id, kind, name, created) ");
        insert.push_values(part, |mut row, digest| {
            owner += 1;
            row.push_bind(digest.as_slice())
                .push("'00000000'")
                .push_bind(first + owner % 1_000)
                .push("'named', 'bench', 0");
        });
        insert.build().execute(&mut *change).await.unwrap();
    }
    change.commit().await.unwrap();
    for (_, sql) in triggers {
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

async fn fill_postgres(server: PgConnectOptions, tokens: usize, first: i64) {
    let pool = PgPool::connect_with(server).await.unwrap();
    pool.execute("ALTER TABLE tokens DISABLE TRIGGER USER").await.unwrap();
    let mut copy =
        pool.copy_in_raw("COPY tokens (digest, hint, user_id, kind, name, created) FROM STDIN").await.unwrap();
    let mut owner = 0_i64;
    for part in digests(tokens).chunks(10_000) {
        let mut text = String::new();
        for digest in part {
            owner += 1;
            text.push_str("\\\\x");
            for byte in digest {
                text.push_str(&format!("{byte:02x}"));
            }
            text.push_str(&format!("\t00000000\t{}\tnamed\tbench\t0\n", first + owner % 1_000));
        }
        copy.send(text.as_bytes()).await.unwrap();
    }
    copy.finish().await.unwrap();
    pool.execute("ALTER TABLE tokens ENABLE TRIGGER USER").await.unwrap();
    pool.execute("ANALYZE tokens").await.unwrap();
}

/// How much the process grows per identity in bytes, all of them different.
fn bytes_of_an_identity(count: usize) -> usize {
    let settings = MemoryCache { max_entries: count * 2, ..MemoryCache::default() };
    let now = Clock::system().now();
    let memory =
        IdentityCache::new(&settings, &settings::Store::at(StoreUrl::Sqlite("unused".into()), "unused".into()), now);
    let before = resident();
    for number in 0..count {
        let number = i64::try_from(number).unwrap();
        let digest = TokenDigest::of(&number.to_be_bytes());
        let owner = Account {
            id: SubjectId(number),
            name: format!("user{number}"),
            email: format!("user{number}@example.com"),
            groups: vec!["staff".to_owned()],
            active: true,
        };
        let scopes = ScopeSet::parse("read write").unwrap();
        let record = TokenRecord {
            id: TokenId(number),
            method: AuthMethod::Token,
            digest,
            owner,
            scopes,
            created: now,
            expires: None,
            revoked: None,
            restrictions: Restrictions::default(),
        };
        let verdict = Verdict::Caller(Arc::new(Identity::establish(&record, now).unwrap()));
        memory.begin_fill(digest).keep(&verdict, now);
    }
    (resident() - before) / memory.len()
}
