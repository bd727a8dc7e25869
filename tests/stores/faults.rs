//! An unreachable, locked or damaged store returns an error, never "no such token".

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use sqlx::Connection;
use tokengate::config::settings::StoreUrl;
use tokengate::store::{LedgerError, OpenError, StoreError, TokenRef};

use super::site::{Log, Site, found, key, user};
use crate::support::soon;

#[tokio::test]
async fn a_locked_database_is_unavailable_to_writers_in_time_while_readers_go_on() {
    let mut site = Site::sqlite();
    let patient = site.open().await;
    let alice = user(&patient, "alice").await;
    let issued = patient.ledger.issue_login(alice).await.unwrap();
    site.store.timeout = Duration::from_secs(1);
    let store = site.open().await;
    let mut intruder = site.intruder().await;
    let lock = intruder.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let refused = soon("the store keeps its own time limit", store.ledger.reset_login(alice)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::Unavailable(_))), "{refused:?}");
    let refused =
        store.tokens.revoke_exposed(issued.key.digest(), [192, 0, 2, 9].into(), super::site::START).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert_eq!(found(&patient, &issued.key).await.revoked, None);
    let refused = site.try_open().await.err().unwrap();
    let unavailable = matches!(&refused, OpenError::Database { source: StoreError::Unavailable(_), .. });
    assert!(unavailable, "{refused:?}");
    lock.rollback().await.unwrap();
    // The write that timed out had no effect, and the store works again.
    assert_eq!(patient.ledger.issue_login(alice).await.unwrap().id, issued.id);
}

#[tokio::test]
async fn a_deleted_or_replaced_database_is_an_error_also_for_tokens_it_never_had() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let copy = site.database().with_extension("copy");
    fs::copy(site.database(), &copy).unwrap();
    fs::remove_file(site.database()).unwrap();
    for known in [&issued.key, &key("unknown")] {
        assert!(matches!(store.tokens.find(known).await, Err(StoreError::Unavailable(_))));
    }
    assert!(store.ledger.revoke(TokenRef::Id(issued.id)).await.is_err());
    assert!(store.accounts.find("alice").await.is_err());
    assert!(store.tokens.newest_change().await.is_err());
    assert!(!site.database().exists(), "a query does not recreate a lost database");
    fs::rename(copy, site.database()).unwrap();
    assert!(matches!(store.tokens.find(&issued.key).await, Err(StoreError::Broken(_))));
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_an_empty_store() {
    type Damage = fn(&mut fs::File, u64);
    let table: [(&str, Damage); 3] = [
        ("all of it", |file, length| file.write_all(&vec![0xa5; usize::try_from(length).unwrap()]).unwrap()),
        ("all but the first page", |file, length| {
            file.seek(SeekFrom::Start(4096)).unwrap();
            file.write_all(&vec![0; usize::try_from(length).unwrap() - 4096]).unwrap();
        }),
        ("cut", |file, _| file.set_len(4096 * 3).unwrap()),
    ];
    for (what, damage) in table {
        let site = Site::sqlite();
        {
            let store = site.open().await;
            let alice = user(&store, "alice").await;
            store.ledger.issue_login(alice).await.unwrap();
        }
        let mut intruder = site.intruder().await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut intruder).await.unwrap();
        let store = site.open().await;
        let mut file = fs::OpenOptions::new().write(true).open(site.database()).unwrap();
        let length = file.metadata().unwrap().len();
        damage(&mut file, length);
        let answer = store.tokens.find(&key("unknown")).await;
        assert!(matches!(answer, Err(StoreError::Broken(_) | StoreError::Unavailable(_))), "{what}: {answer:?}");
        assert!(site.try_open().await.is_err(), "{what}");
    }
}

#[tokio::test]
async fn an_invalid_row_is_a_broken_store() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let query = "UPDATE tokens SET scopes = 'NO SCOPE'";
    sqlx::query(query).execute(&mut site.intruder().await).await.unwrap();
    assert!(matches!(store.tokens.find(&issued.key).await, Err(StoreError::Broken(_))));
}

#[tokio::test]
async fn a_schema_of_another_version_stops_the_start() {
    let site = Site::sqlite();
    site.open().await;
    let query = "UPDATE _sqlx_migrations SET version = version + 9000";
    sqlx::query(query).execute(&mut site.intruder().await).await.unwrap();
    assert!(matches!(site.try_open().await, Err(OpenError::Schema { .. })));
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_named() {
    let mut site = Site::sqlite();
    let path = site.database().with_file_name("missing").join("tokengate.db");
    site.store.url = StoreUrl::Sqlite(path.clone());
    let refused = site.try_open().await.err().unwrap();
    assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
}

#[tokio::test]
async fn a_change_is_rolled_back_if_its_event_cannot_be_written() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let sabotage = "CREATE TRIGGER full BEFORE INSERT ON change_log BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(sabotage).execute(&mut site.intruder().await).await.unwrap();
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap_err();
    store.ledger.reset_login(alice).await.unwrap_err();
    store.accounts.rename(alice, "alice2").await.unwrap_err();
    store.accounts.deactivate(alice).await.unwrap_err();
    store.accounts.delete(alice).await.unwrap_err();
    let record = found(&store, &issued.key).await;
    assert_eq!((record.revoked, record.owner.name.as_str(), record.owner.active), (None, "alice", true));
}

#[tokio::test]
async fn a_manual_sql_change_leaves_an_event_too() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let mut log = Log::from_now(&store).await;
    sqlx::query("DELETE FROM tokens").execute(&mut site.intruder().await).await.unwrap();
    assert_eq!(log.events(&store).await, [tokengate::store::TokenEvent::Changed(issued.key.digest())]);
}

#[tokio::test]
async fn the_database_itself_refuses_two_rows_for_one_token_and_two_login_tokens_of_one_user() {
    const SAME_DIGEST: &str = "INSERT INTO tokens (digest, hint, user_id, kind, created) \
        SELECT digest, hint, (SELECT max(id) FROM users), 'named', 0 FROM tokens";
    const SECOND_LOGIN: &str = "UPDATE tokens SET user_id = (SELECT min(id) FROM users)";
    for site in [Site::sqlite(), Site::postgres().await] {
        let store = site.open().await;
        let mut keys = Vec::new();
        for name in ["alice", "bob"] {
            let owner = user(&store, name).await;
            keys.push((name, store.ledger.issue_login(owner).await.unwrap().key));
        }
        for query in [SAME_DIGEST, SECOND_LOGIN] {
            let refused = match site.store.url {
                StoreUrl::Sqlite(_) => sqlx::query(query).execute(&mut site.intruder().await).await.map(drop),
                StoreUrl::Postgres(_) => sqlx::query(query).execute(&mut site.session().await).await.map(drop),
                StoreUrl::Django(_) => unreachable!("no such header exists"),
            };
            let refused = refused.unwrap_err();
            assert!(refused.as_database_error().is_some_and(|error| error.is_unique_violation()), "{refused}");
        }
        for (name, key) in &keys {
            assert_eq!(found(&store, key).await.owner.name, *name);
        }
    }
}
