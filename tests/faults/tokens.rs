//! Similar tokens, and stores with unexpected content.

use std::collections::HashMap;

use tokengate::config::settings::{Endpoint, EndpointAddress, RedisCache};
use tokengate::store::{NamedToken, OnConflict};
use tokengate::token::{ScopeSet, TokenDigest, TokenKey};
use tokio::task::JoinSet;

use super::place::{FORGOTTEN, Place, is_kept, shared_cache, shared_entry, shared_name};
use super::traffic::random_key;
use crate::support::http2::{H2, collect};
use crate::support::origin::ok;
use crate::support::redis::Redis;
use crate::support::{Ask, Origin, PATIENCE, Step};

#[tokio::test]
async fn permissions_of_a_token_are_checked_on_every_path() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let owner = place.user("alice").await;
    let mut keys = Vec::new();
    for scopes in ["", "admin"] {
        let scopes = ScopeSet::parse(scopes).unwrap();
        let order = NamedToken { name: "a".to_owned(), expires: None, scopes, ..NamedToken::default() };
        keys.push(place.store.ledger.issue_named(owner, &order).await.unwrap().key.expose().to_owned());
    }
    place.fleet.changes_are_applied().await;
    for gateway in &place.fleet.gateways {
        for (path, plain, admin) in
            [("/api/x", 200, 200), ("/scoped/x", 403, 200), ("/api/x", 200, 200), ("/optional/x", 200, 200)]
        {
            for (key, status) in keys.iter().zip([plain, admin]) {
                assert_eq!(Ask::get(path).token(key).to(gateway).await.status, status, "{path}");
            }
        }
    }
}

/// Keys that are prefixes of one another, differ in case or in the last digit, or have digests with a common beginning.
/// Each is a different token, however many are looked up at once.
fn nearly_the_same() -> Vec<String> {
    let near = ["abc", "abcd", "ABC", "abd", "abc0", "abc00"].map(str::to_owned);
    let mut seen = HashMap::new();
    let alike = (0..).find_map(|number| {
        let key = format!("key{number}");
        let start = TokenDigest::of(key.as_bytes()).as_bytes()[..3].to_vec();
        seen.insert(start, key.clone()).map(|other| [other, key])
    });
    near.into_iter().chain(alike.unwrap()).collect()
}

#[tokio::test]
async fn similar_credentials_are_distinguished() {
    let redis = Redis::start().await;
    let origin = Origin::scripted(|request| {
        vec![Step::Read, Step::Send(ok(request.fields.get("x-user-name").unwrap_or("nobody")))]
    })
    .await;
    let place = Place::with(|settings| {
        let address = EndpointAddress::Tcp(origin.address().ip().to_string(), origin.address().port());
        settings.upstreams[0].endpoints = vec![Endpoint::at(origin.address().to_string(), address)];
        settings.redis = Some(shared_cache(&redis.url()));
    })
    .await;
    place.redis_is_up().await;
    let keys = nearly_the_same();
    // The last one of each pair is not a token.
    for (number, key) in keys.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        let owner = place.user(&format!("user{number}")).await;
        place.store.ledger.import(owner, TokenKey::parse(key).unwrap(), OnConflict::Refuse).await.unwrap();
    }
    place.fleet.changes_are_applied().await;
    // From the store, from memory, and from Redis after the entries in memory have expired.
    for _ in 0..3 {
        for gateway in &place.fleet.gateways {
            let (mut client, mut all) = (H2::open(gateway).await, JoinSet::new());
            for round in 0..40 {
                let number = round % keys.len();
                let asked = client.begin(Ask::get("/api/x").token(&keys[number]).http2());
                all.spawn(async move { (number, collect(asked.await.unwrap()).await) });
            }
            for (number, answer) in all.join_all().await {
                if number % 2 == 0 {
                    assert_eq!((answer.status, answer.text()), (200, format!("user{number}").as_str()));
                } else {
                    assert_eq!(answer.status, 401, "{}", keys[number]);
                }
            }
        }
        place.advance(FORGOTTEN);
    }
}

#[tokio::test]
async fn forged_entries_in_redis_give_no_access() {
    let redis = Redis::start().await;
    // With a long timeout: a slow server would not be read at all.
    let shared = RedisCache { timeout: PATIENCE, ..shared_cache(&redis.url()) };
    let place = Place::with(|settings| settings.redis = Some(shared.clone())).await;
    place.redis_is_up().await;
    let [alice] = &place.issue("alice", 1).await[..] else { panic!("one token") };
    place.tokens_are_old(&redis).await;
    let gateway = place.fleet.first();
    assert_eq!(Ask::get("/api/x").token(alice).to(gateway).await.status, 200);
    is_kept(&place, &redis, alice).await;
    let whole = shared_entry(&redis, alice).await;
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut count = 0;
    for forged in [whole.clone(), flipped, whole[..whole.len() / 2].to_vec(), b"e1:".to_vec(), b"{}".to_vec()] {
        let stranger = random_key();
        count += 1;
        write(&redis, &stranger, &forged).await;
        for gateway in &place.fleet.gateways {
            assert_eq!(Ask::get("/api/x").token(&stranger).to(gateway).await.status, 401);
        }
        assert_eq!(gateway.metric("tokengate_shared_cache_rejected_total"), count);
    }
    // Nor does it block valid tokens: the store is queried.
    let [bob] = &place.issue("bob", 1).await[..] else { panic!("one token") };
    write(&redis, bob, &whole[..20]).await;
    for gateway in &place.fleet.gateways {
        assert_eq!(Ask::get("/api/x").token(bob).to(gateway).await.status, 200);
    }
}

async fn write(redis: &Redis, key: &str, value: &[u8]) {
    let mut set = ::redis::cmd("SET");
    set.arg(shared_name(key)).arg(value);
    redis.ask::<String>(set).await;
}

#[tokio::test]
async fn a_store_without_tokens_gives_no_access() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let all_are_refused = async |key: &str| {
        for gateway in &place.fleet.gateways {
            for path in ["/api/x", "/optional/x", "/scoped/x"] {
                assert_eq!(Ask::get(path).token(key).to(gateway).await.status, 401, "{path}");
            }
            assert_eq!(Ask::get("/api/x").to(gateway).await.status, 401);
        }
    };
    all_are_refused(&random_key()).await;
    // A store that lost all its users while gateways had them cached.
    let [key] = &place.issue("alice", 1).await[..] else { panic!("one token") };
    place.fleet.changes_are_applied().await;
    for gateway in &place.fleet.gateways {
        assert_eq!(Ask::get("/api/x").token(key).to(gateway).await.status, 200);
    }
    place.store.accounts.delete(place.user("alice").await).await.unwrap();
    place.fleet.changes_are_applied().await;
    all_are_refused(key).await;
}
