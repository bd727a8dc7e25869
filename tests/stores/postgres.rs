//! Faults and special features of PostgreSQL.
//!
//! Every unknown result is `Unavailable`, in time, and the store recovers by itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokengate::config::settings::{PostgresUrl, StoreUrl};
use tokengate::store::TokenEvent::{Changed, Gap, SubjectChanged};
use tokengate::store::{LedgerError, OpenError, Store, StoreError, TokenRef};
use tokengate::token::TokenKey;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::feed::next;
use super::site::{Log, START, Site, found, key, user};
use crate::support::redis::free_port;
use crate::support::{PATIENCE, Postgres, eventually, soon};

/// The store's timeout in tests that stop the server; long enough for a busy machine while it runs.
const SHORT: Duration = Duration::from_secs(2);

/// The pool's pause after a failed connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// An open store on a server that the test may stop, with one token.
async fn on(server: &Postgres) -> (Site, Store, TokenKey) {
    let mut site = Site::on(server).await;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let key = store.ledger.issue_login(alice).await.unwrap().key;
    site.store.timeout = SHORT;
    let store = site.open().await;
    assert_eq!(found(&store, &key).await.revoked, None);
    (site, store, key)
}

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

/// Runs every query of a gateway; each must fail.
async fn nothing_is_known(store: &Store, known: &TokenKey) {
    for key in [known, &key("unknown")] {
        let answer = soon("an answer", store.tokens.find(key)).await;
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    let answer = soon("an answer", store.tokens.newest_change()).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    let answer = soon("an answer", store.ledger.revoke(TokenRef::Digest(known.digest()))).await;
    assert!(matches!(answer, Err(LedgerError::Store(StoreError::Unavailable(_)))), "{answer:?}");
}

async fn heals(store: &Store, key: &TokenKey) {
    eventually(PATIENCE, "the store answers again", || async { store.tokens.find(key).await.is_ok() }).await;
    assert_eq!(found(store, key).await.revoked, None, "nothing happened meanwhile");
    store.ledger.revoke(TokenRef::Digest(key.digest())).await.unwrap();
    assert!(found(store, key).await.revoked.is_some());
}

async fn run(session: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(session).await.unwrap();
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_the_store_recovers_by_itself() {
    let mut server = Postgres::start().await;
    let (_site, store, key) = on(&server).await;
    let mut feed = store.tokens.feed().unwrap();
    assert_eq!(next(&mut feed).await, Gap);
    server.kill().await;
    nothing_is_known(&store, &key).await;
    server.restart().await;
    assert_eq!(next(&mut feed).await, Gap, "changes in the meantime are only in the change log");
    heals(&store, &key).await;
    assert_eq!(next(&mut feed).await, Changed(key.digest()));
}

#[tokio::test]
async fn a_suspended_server_is_unavailable_and_the_store_recovers_by_itself() {
    let server = Postgres::start().await;
    let (_site, store, key) = on(&server).await;
    let mut feed = store.tokens.feed().unwrap();
    assert_eq!(next(&mut feed).await, Gap);
    server.pause();
    nothing_is_known(&store, &key).await;
    // The feed's connection is not closed: only an unanswered ping reveals that no events arrive.
    tokio::time::timeout(3 * SHORT, feed.next()).await.unwrap_err();
    server.resume();
    assert_eq!(next(&mut feed).await, Gap);
    heals(&store, &key).await;
    assert_eq!(next(&mut feed).await, Changed(key.digest()));
}

#[tokio::test]
async fn an_unreachable_server_is_not_flooded_with_attempts() {
    let mut server = Postgres::start().await;
    let (_site, store, key) = on(&server).await;
    server.kill().await;
    let attempts = server.hang_up_on_everybody();
    let begin = Instant::now();
    // Every lookup that is not allowed to connect fails at once. So this loop makes thousands of them.
    while attempts.load(Ordering::Acquire) < 3 {
        assert!(is_unavailable(&soon("an answer", store.tokens.find(&key)).await));
        tokio::task::yield_now().await;
    }
    assert!(begin.elapsed() >= 2 * CONNECT_PAUSE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_start_waits_while_another_one_migrates_the_schema() {
    let mut site = Site::postgres().await;
    site.store.timeout = SHORT;
    let mut other = site.session().await;
    run(&mut other, "BEGIN; SELECT pg_advisory_xact_lock(8390042714202661236)").await;
    let start = site.try_open();
    tokio::pin!(start);
    assert!(tokio::time::timeout(SHORT * 3 / 2, &mut start).await.is_err(), "longer than for any answer");
    run(&mut other, "COMMIT").await;
    soon("the start", start).await.unwrap();
}

#[tokio::test]
async fn dead_connections_do_not_fail_the_next_query() {
    let site = Site::postgres().await;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let mut session = site.session().await;
    for round in 0..3 {
        // Several, so that the replacement of a dead connection may be dead as well.
        let asks = (0..4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.tokens.newest_change().await.unwrap() })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap();
        }
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        run(&mut session, end).await;
        if round % 2 == 0 {
            assert_eq!(found(&store, &issued.key).await.id, issued.id);
        } else {
            store.accounts.rename(alice, "alice2").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_hanging_transaction_delays_writers_up_to_their_timeout_and_readers_never() {
    let mut site = Site::postgres().await;
    let patient = site.open().await;
    let alice = user(&patient, "alice").await;
    let issued = patient.ledger.issue_login(alice).await.unwrap();
    site.store.timeout = SHORT;
    let store = site.open().await;
    let mut session = site.session().await;
    run(&mut session, "BEGIN; UPDATE users SET email = 'a@example.com'").await;
    let refused = soon("an answer", store.ledger.reset_login(alice)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::Unavailable(_))), "{refused:?}");
    assert!(is_unavailable(&store.tokens.revoke_exposed(issued.key.digest(), [192, 0, 2, 9].into(), START).await));
    assert_eq!(found(&store, &issued.key).await.revoked, None);
    run(&mut session, "ROLLBACK").await;
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().id, issued.id, "the write that timed out had no effect");
}

/// How many sessions wait for the global lock of this database, or have it.
async fn turns(watcher: &Mutex<PgConnection>, granted: bool) -> i64 {
    let count = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
                 WHERE datname = current_database() AND locktype = 'advisory' AND granted = $1";
    sqlx::query_scalar(count).bind(granted).fetch_one(&mut *watcher.lock().await).await.unwrap()
}

#[tokio::test]
async fn a_gateway_that_stops_within_a_transaction_does_not_block_the_others() {
    let mut site = Site::postgres().await;
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    site.store.timeout = SHORT;
    let silent = site.open().await;
    let watcher = Mutex::new(site.session().await);
    let mut login = silent.ledger.issue_login(alice);
    while turns(&watcher, true).await == 0 {
        tokio::select! {
            biased;
            _ = &mut login => panic!("it is not polled"),
            () = tokio::task::yield_now() => {}
        }
    }
    // From here on it is not polled. The server aborts it, long before the other gateway's timeout.
    store.ledger.issue_login(bob).await.unwrap();
    assert!(login.await.is_err());
    assert!(store.ledger.issue_login(alice).await.unwrap().fresh, "it did nothing");
}

#[tokio::test]
async fn the_log_has_changes_in_the_order_of_their_commits() {
    let site = Site::postgres().await;
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let mut log = Log::from_now(&store).await;
    let mut session = site.session().await;
    run(&mut session, "BEGIN; UPDATE users SET active = FALSE WHERE name = 'bob'").await;
    let other = store.clone();
    let rename = tokio::spawn(async move { other.accounts.rename(alice, "alice2").await });
    let watcher = Mutex::new(site.session().await);
    eventually(PATIENCE, "the second waits for the first", || async { turns(&watcher, false).await == 1 }).await;
    assert_eq!(log.events(&store).await, [], "the second does not overtake the first");
    run(&mut session, "COMMIT").await;
    rename.await.unwrap().unwrap();
    assert_eq!(log.events(&store).await, [SubjectChanged(bob), SubjectChanged(alice)]);
}

#[tokio::test]
async fn a_manual_sql_change_leaves_an_event_and_is_pushed() {
    let site = Site::postgres().await;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let of_key = Changed(issued.key.digest());
    let mut session = site.session().await;
    store.accounts.set_groups(alice, &["sales".to_owned()]).await.unwrap();
    let mut feed = store.tokens.feed().unwrap();
    assert_eq!(next(&mut feed).await, Gap);
    let mut log = Log::from_now(&store).await;
    for (statement, event) in [
        ("UPDATE tokens SET scopes = 'read'", of_key),
        ("UPDATE tokens SET expires = 1", of_key),
        ("UPDATE tokens SET revoked = 1, sealed = NULL", of_key),
        ("UPDATE groups SET name = 'buyers'", SubjectChanged(alice)),
        ("DELETE FROM groups", SubjectChanged(alice)),
        ("UPDATE users SET email = 'a@example.com'", SubjectChanged(alice)),
        ("SET search_path = pg_catalog; DELETE FROM public.tokens", of_key),
    ] {
        run(&mut session, statement).await;
        assert_eq!(next(&mut feed).await, event, "{statement}");
        assert_eq!(log.events(&store).await, [event], "{statement}");
    }
    for silent in ["UPDATE tokens SET last_used = 1, exposed = 1", "UPDATE users SET password = '!', last_login = 1"] {
        run(&mut session, "SET search_path = public").await;
        run(&mut session, silent).await;
        assert_eq!(log.events(&store).await, [], "{silent}");
    }
    for table in ["tokens", "users", "groups", "user_groups", "change_log"] {
        let truncate = AssertSqlSafe(format!("TRUNCATE {table} CASCADE"));
        let refused = sqlx::raw_sql(truncate).execute(&mut session).await.unwrap_err();
        assert!(refused.to_string().contains("use DELETE"), "{refused}");
    }
}

#[tokio::test]
async fn the_id_of_a_manually_created_user_is_never_reused() {
    let site = Site::postgres().await;
    let store = site.open().await;
    let mut session = site.session().await;
    run(&mut session, "INSERT INTO users (id, name, created) VALUES (41, 'bob', 0), (7, 'carol', 0)").await;
    assert_eq!(user(&store, "alice").await.0, 42);
    run(&mut session, "DELETE FROM users").await;
    assert_eq!(user(&store, "alice").await.0, 43);
}

#[tokio::test]
async fn a_change_is_rolled_back_if_its_event_cannot_be_written() {
    let site = Site::postgres().await;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    run(&mut site.session().await, "ALTER TABLE change_log ADD CONSTRAINT full_up CHECK (id < 0) NOT VALID").await;
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap_err();
    store.ledger.reset_login(alice).await.unwrap_err();
    store.accounts.rename(alice, "alice2").await.unwrap_err();
    store.accounts.delete(alice).await.unwrap_err();
    let record = found(&store, &issued.key).await;
    assert_eq!((record.revoked, record.owner.name.as_str()), (None, "alice"));
}

#[tokio::test]
async fn key_and_database_password_are_not_leaked() {
    let server = Postgres::shared().await;
    let mut site = Site::postgres().await;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let dump = "SELECT concat(to_jsonb(tokens), encode(sealed, 'escape')) FROM tokens";
    let row: String = sqlx::query_scalar(dump).fetch_one(&mut site.session().await).await.unwrap();
    assert!(row.contains("login") && !row.contains(&issued.key.expose()[8..]), "{row}");

    site.store.url = server.guarded_url("postgres", Some("open sesame"));
    let refused = site.try_open().await.err().unwrap();
    let causes = std::iter::successors(Some::<&dyn std::error::Error>(&refused), |error| error.source());
    let shown: Vec<String> = causes.map(ToString::to_string).collect();
    let shown = format!("{}\n{refused:?}\n{:?}", shown.join("\n"), site.store);
    assert!(shown.contains("password authentication failed for user \"guarded\""), "{shown}");
    assert!(!shown.contains("guarded@") && !shown.contains("sesame"), "{shown}");
    assert!(matches!(refused, OpenError::Database { source: StoreError::Broken(_), .. }));
}

#[tokio::test]
async fn a_password_in_the_url_is_used() {
    let mut site = Site::postgres().await;
    let StoreUrl::Postgres(url) = &site.store.url else { panic!("not on PostgreSQL") };
    let database = url.to_string().rsplit('/').next().unwrap().to_owned();
    run(&mut site.session().await, "GRANT ALL ON SCHEMA public TO guarded").await;
    site.store.url = Postgres::shared().await.guarded_url(&database, None);
    let store = site.open().await;
    user(&store, "alice").await;
}

#[tokio::test]
async fn a_full_server_and_a_missing_database_are_reported() {
    let mut server = Postgres::start_with(&["max_connections=6", "superuser_reserved_connections=0"]).await;
    let mut site = Site::on(&server).await;
    site.store.timeout = SHORT;
    site.open().await;
    let crowd = Mutex::new(Vec::new());
    // The server may still count a returned connection, and have room a moment later.
    eventually(PATIENCE, "a new gateway finds no room", || async {
        while let Ok(session) = server.try_connect("postgres").await {
            crowd.lock().await.push(session);
        }
        matches!(site.try_open().await, Err(OpenError::Database { source: StoreError::Unavailable(_), .. }))
    })
    .await;
    drop(crowd);
    eventually(PATIENCE, "there is room again", || async { site.try_open().await.is_ok() }).await;

    let good = std::mem::replace(&mut site.store.url, server.url("missing"));
    let refused = site.try_open().await.err().unwrap();
    assert!(matches!(refused, OpenError::Database { source: StoreError::Broken(_), .. }), "{refused:?}");
    assert!(
        refused.to_string().contains("/missing: the store cannot be opened; check that the server runs"),
        "{refused}"
    );
    site.store.url = good;
    server.kill().await;
    let refused = soon("an answer", site.try_open()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Database { source: StoreError::Unavailable(_), .. }), "{refused:?}");
}

#[tokio::test]
async fn a_standby_is_never_queried() {
    let mut server = Postgres::start().await;
    let (site, store, key) = on(&server).await;
    server.kill().await;
    server.write("standby.signal", "");
    server.restart().await;
    nothing_is_known(&store, &key).await;
    let refused = site.try_open().await.err().unwrap();
    assert!(matches!(refused, OpenError::Database { source: StoreError::Unavailable(_), .. }), "{refused:?}");
    run(&mut server.connect("postgres").await, "SELECT pg_promote()").await;
    heals(&store, &key).await;
}

#[tokio::test]
async fn the_server_is_authenticated_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certify = |name: &str, host: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([host.to_owned()]).unwrap().self_signed(&key).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, certificate.pem()).unwrap();
        (certificate.pem(), key.serialize_pem(), path.display().to_string())
    };
    let (certificate, private_key, trusted) = certify("server.pem", "localhost");
    let (.., stranger) = certify("stranger.pem", "localhost");
    let port = free_port();
    let settings = ["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
    let mut server = Postgres::start_with(&settings.each_ref().map(String::as_str)).await;
    let mut site = Site::on(&server).await;
    let StoreUrl::Postgres(url) = &site.store.url else { panic!("not on PostgreSQL") };
    let database = url.to_string().rsplit('/').next().unwrap().to_owned();
    server.kill().await;
    server.write("server.crt", &certificate);
    server.write("server.key", &private_key);
    server.write("postgresql.auto.conf", "ssl = on");
    server.write("pg_hba.conf", "local all all trust\nhostssl all all all trust\n");
    server.restart().await;
    let address = |host: &str, query: String| {
        let url = format!("postgres://postgres@{host}:{port}/{database}?{query}");
        StoreUrl::Postgres(PostgresUrl::parse(&url, |path| path.into()).unwrap())
    };
    site.store.url = address("localhost", format!("sslmode=verify-full&sslrootcert={trusted}"));
    let store = site.open().await;
    user(&store, "alice").await;
    assert_eq!(next(&mut store.tokens.feed().unwrap()).await, Gap);
    for (what, url) in [
        ("unencrypted", address("localhost", "sslmode=disable".to_owned())),
        ("another authority", address("localhost", format!("sslmode=verify-full&sslrootcert={stranger}"))),
        ("another name", address("127.0.0.1", format!("sslmode=verify-full&sslrootcert={trusted}"))),
        ("no authority", address("localhost", "sslmode=verify-full".to_owned())),
    ] {
        site.store.url = url;
        let refused = site.try_open().await.err().expect(what);
        assert!(matches!(refused, OpenError::Database { .. }), "{what}: {refused:?}");
    }
}
