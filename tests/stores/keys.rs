//! The key file and the values that are encrypted with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sqlx::Connection;
use tokengate::store::{self, KeyFileError, LedgerError, OpenError, TokenRef};

use super::for_each_store;
use super::site::{Site, found, user};

for_each_store! {
    migrations_are_applied_once_also_by_processes_that_start_together
}

#[tokio::test]
async fn a_first_start_creates_private_files_and_a_second_keeps_them() {
    let site = Site::sqlite();
    site.open().await;
    let secret = fs::read(&site.store.key_file).unwrap();
    assert_eq!(secret.len(), 32);
    for file in [&site.store.key_file, &site.database()] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    site.open().await;
    assert_eq!(fs::read(&site.store.key_file).unwrap(), secret);
}

#[tokio::test]
async fn the_database_contains_neither_keys_nor_passwords() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let password = store::Password::parse("correct horse battery").unwrap();
    store.accounts.set_password(alice, Some(password)).await.unwrap();
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let mut bytes = fs::read(site.database()).unwrap();
    bytes.extend(fs::read(site.database().with_extension("db-wal")).unwrap());
    let contains = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(contains("alice"), "the test reads the right table");
    assert!(!contains(&issued.key.expose()[8..]));
    assert!(!contains("correct horse"));
}

#[tokio::test]
async fn a_key_file_of_another_store_stops_the_start_and_names_both_files() {
    let (site, other) = (Site::sqlite(), Site::sqlite());
    site.open().await;
    other.open().await;
    fs::copy(&other.store.key_file, &site.store.key_file).unwrap();
    let refused = site.try_open().await.err().unwrap();
    assert!(matches!(refused, OpenError::WrongKey { .. }), "{refused}");
    for file in [&site.store.key_file, &site.database()] {
        assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
    }
    assert!(store::migrate_to_new_key(&site.store).await.is_err(), "an existing key file is never replaced");
    assert_eq!(fs::read(&site.store.key_file).unwrap(), fs::read(&other.store.key_file).unwrap());
}

#[tokio::test]
async fn a_key_file_that_others_may_read_stops_the_start() {
    let site = Site::sqlite();
    site.open().await;
    fs::set_permissions(&site.store.key_file, PermissionsExt::from_mode(0o644)).unwrap();
    let refused = site.try_open().await.err().unwrap();
    assert!(matches!(refused, OpenError::KeyFile(KeyFileError::OpenToOthers { .. })), "{refused}");
}

#[tokio::test]
async fn a_lost_key_file_is_recreated_only_on_request() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let kept = store.ledger.issue_login(alice).await.unwrap();
    fs::remove_file(&site.store.key_file).unwrap();
    for refused in [site.try_open().await.err().unwrap(), store::migrate(&site.store).await.unwrap_err()] {
        assert!(matches!(refused, OpenError::KeyLost { .. }), "{refused}");
        assert!(!site.store.key_file.exists());
    }

    assert_eq!(store::migrate_to_new_key(&site.store).await.unwrap(), []);
    let store = site.open().await;
    assert_eq!(found(&store, &kept.key).await.revoked, None, "tokens stay valid");
    let next = store.ledger.issue_login(alice).await.unwrap();
    assert_ne!(next.id, kept.id);
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().key.expose(), next.key.expose());
}

#[tokio::test]
async fn a_damaged_or_swapped_sealed_key_is_an_error_and_the_token_still_works() {
    let site = Site::sqlite();
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let of_alice = store.ledger.issue_login(alice).await.unwrap();
    let of_bob = store.ledger.issue_login(bob).await.unwrap();
    let mut intruder = site.intruder().await;
    for damage in [
        "UPDATE tokens SET sealed = (SELECT sealed FROM tokens WHERE user_id = 2) WHERE user_id = 1",
        "UPDATE tokens SET sealed = x'00' WHERE user_id = 1",
        "UPDATE tokens SET sealed = x'' WHERE user_id = 1",
    ] {
        sqlx::query(damage).execute(&mut intruder).await.unwrap();
        let refused = store.ledger.issue_login(alice).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Unsealable(id) if id == of_alice.id), "{damage}: {refused}");
        assert_eq!(found(&store, &of_alice.key).await.revoked, None);
    }
    intruder.close().await.unwrap();
    assert_eq!(store.ledger.issue_login(bob).await.unwrap().key.expose(), of_bob.key.expose());
    assert!(store.ledger.reset_login(alice).await.unwrap().fresh);
}

#[tokio::test]
async fn a_revoked_token_keeps_no_sealed_key() {
    let site = Site::sqlite();
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap();
    let query = "SELECT count(*) FROM tokens WHERE sealed IS NOT NULL";
    let sealed: i64 = sqlx::query_scalar(query).fetch_one(&mut site.intruder().await).await.unwrap();
    assert_eq!(sealed, 0);
}

async fn migrations_are_applied_once_also_by_processes_that_start_together(site: Site) {
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let settings = site.store.clone();
            tokio::spawn(async move { store::migrate(&settings).await })
        })
        .collect();
    let mut applied = Vec::new();
    for start in starts {
        applied.extend(start.await.unwrap().unwrap().into_iter().map(|step| step.version));
    }
    let steps: Vec<i64> = (1..).take(applied.len()).collect();
    assert!(!steps.is_empty());
    assert_eq!(applied, steps);
    assert_eq!(store::migrate(&site.store).await.unwrap(), []);
}
