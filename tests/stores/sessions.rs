//! Sessions: opened with a password, found by their key only, and every way in which they end.

use std::time::Duration;

use tokengate::config::settings::StoreUrl;
use tokengate::store::{NewUser, Password, Store, TokenEvent};
use tokengate::token::{AuthMethod, SubjectId, TokenKey};

use super::for_each_store;
use super::site::{Log, START, Site, found, user};

const PASSWORD: &str = "correct horse 9";
const TTL: Duration = Duration::from_secs(60);

for_each_store! {
    a_session_is_found_by_its_key_and_has_its_user
    only_the_right_password_of_an_active_user_opens_a_session
    every_end_of_a_session_leaves_an_event
    a_password_that_is_set_by_manual_sql_ends_sessions_too
}

fn password(text: &str) -> Password {
    Password::parse(text).unwrap()
}

async fn alice(store: &Store) -> SubjectId {
    let order = NewUser { password: Some(password(PASSWORD)), ..NewUser::named("alice") };
    store.accounts.create(order).await.unwrap().0.account.id
}

async fn open(store: &Store) -> TokenKey {
    let sessions = store.sessions.as_ref().unwrap();
    sessions.open("alice", password(PASSWORD), TTL).await.unwrap().unwrap()
}

async fn a_session_is_found_by_its_key_and_has_its_user(site: Site) {
    let store = site.open().await;
    let id = alice(&store).await;
    store.accounts.set_groups(id, &["sales".to_owned()]).await.unwrap();
    let (one, other) = (open(&store).await, open(&store).await);
    assert_ne!(one.expose(), other.expose());
    let record = found(&store, &one).await;
    assert_eq!((record.method, record.digest), (AuthMethod::Session, one.digest()));
    assert_eq!((record.created, record.expires, record.revoked), (START, Some(START.after(TTL)), None));
    assert_eq!((record.owner.id, record.owner.name.as_str(), record.owner.active), (id, "alice", true));
    assert_eq!(
        (record.owner.groups.as_slice(), record.scopes.to_string()),
        (["sales".to_owned()].as_slice(), String::new())
    );
    assert_eq!(store.accounts.find("alice").await.unwrap().unwrap().last_login, Some(START));
    // A session key is no token key, and the other way round.
    let token = store.ledger.issue_login(id).await.unwrap().key;
    for key in [TokenKey::parse(one.expose()).unwrap(), TokenKey::parse(token.expose()).unwrap().into_session()] {
        assert!(store.tokens.find(&key).await.unwrap().is_none());
    }
    let mut digests = store.tokens.tokens_of(id).await.unwrap();
    let mut expected = vec![one.digest(), other.digest(), token.digest()];
    digests.sort();
    expected.sort();
    assert_eq!(digests, expected);
}

async fn only_the_right_password_of_an_active_user_opens_a_session(mut site: Site) {
    site.store.hashing.failed_after = Duration::from_millis(1);
    let store = site.open().await;
    let id = alice(&store).await;
    let sessions = store.sessions.as_ref().unwrap();
    user(&store, "nobodys").await;
    for (name, text) in [("alice", "nope"), ("Alice", PASSWORD), ("nobodys", "!"), ("missing", PASSWORD), ("a\0", "x")]
    {
        assert!(sessions.open(name, password(text), TTL).await.unwrap().is_none(), "{name}");
    }
    store.accounts.deactivate(id).await.unwrap();
    assert!(sessions.open("alice", password(PASSWORD), TTL).await.unwrap().is_none());
}

async fn every_end_of_a_session_leaves_an_event(site: Site) {
    let store = site.open().await;
    let id = alice(&store).await;
    let sessions = store.sessions.as_ref().unwrap();
    for way in ["end", "password", "deactivate", "delete"] {
        let (one, other) = (open(&store).await, open(&store).await);
        let mut log = Log::from_now(&store).await;
        match way {
            "end" => {
                sessions.end(one.digest()).await.unwrap();
                sessions.end(one.digest()).await.unwrap();
                sessions.end(other.digest()).await.unwrap();
            }
            "password" => store.accounts.set_password(id, Some(password(PASSWORD))).await.unwrap(),
            "deactivate" => drop(store.accounts.deactivate(id).await.unwrap()),
            _ => store.accounts.delete(id).await.unwrap(),
        }
        let events = log.events(&store).await;
        for key in [&one, &other] {
            assert!(store.tokens.find(key).await.unwrap().is_none(), "{way}");
            let told = events.iter().filter(|event| **event == TokenEvent::Changed(key.digest())).count();
            assert_eq!(told, 1, "{way}: {events:?}");
        }
        if way == "deactivate" {
            store.accounts.activate(id).await.unwrap();
        }
    }
}

async fn a_password_that_is_set_by_manual_sql_ends_sessions_too(site: Site) {
    let store = site.open().await;
    let id = alice(&store).await;
    let key = open(&store).await;
    let mut log = Log::from_now(&store).await;
    // Setting the same value again is no change.
    for (statement, events) in [
        ("UPDATE users SET password = password", vec![]),
        ("UPDATE users SET password = '!'", vec![TokenEvent::Changed(key.digest())]),
    ] {
        type_in(&site, statement).await;
        assert_eq!(log.events(&store).await, events, "{statement}");
    }
    assert_eq!(store.tokens.tokens_of(id).await.unwrap(), []);
}

/// Runs SQL as another program would.
async fn type_in(site: &Site, statement: &'static str) {
    let statement = sqlx::raw_sql(statement);
    let done = match site.store.url {
        StoreUrl::Sqlite(_) => statement.execute(&mut site.intruder().await).await.map(|_| ()),
        StoreUrl::Postgres(_) => statement.execute(&mut site.session().await).await.map(|_| ()),
        StoreUrl::Django(_) => unreachable!("no such header exists"),
    };
    done.unwrap();
}
