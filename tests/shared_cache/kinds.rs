//! Every kind of connection to a server, and the errors of failed ones.

use tokengate::config::settings::{RedisCache, RedisTls};

use super::{Fleet, Gateway, record};
use crate::support::redis::{RULES, Redis, command};
use crate::support::{PATIENCE, eventually};

async fn works(gateway: &Gateway) {
    gateway.is_connected().await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    assert!(gateway.finds(&alice).await);
    let mut feed = gateway.cache.feed();
    crate::support::soon("a gap", feed.next()).await;
    gateway.change(&alice, 1).await;
    crate::support::soon("the change", feed.next()).await;
    assert_eq!(gateway.counted(|c| &c.errors), 0);
}

async fn says(gateway: &Gateway, what: &str) {
    eventually(PATIENCE, what, || async { gateway.cache.trouble().is_some_and(|why| why.contains(what)) }).await;
    let why = gateway.cache.trouble().unwrap();
    assert!(!why.contains("sesame"), "{why}");
}

#[tokio::test]
async fn a_unix_socket_works() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    works(&fleet.gateway(&fleet.settings(&format!("unix:{}", redis.socket().display())))).await;
}

#[tokio::test]
async fn another_database_works_and_shares_nothing_with_the_first() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (first, third) = (fleet.before(&redis).await, fleet.gateway(&fleet.settings(&format!("{}/3", redis.url()))));
    let bob = record("bob's key");
    first.fill(&bob).await;
    works(&third).await;
    assert!(third.finds_nothing(&bob).await);
}

#[tokio::test]
async fn a_user_with_minimal_rights_works() {
    let fleet = Fleet::new();
    let redis = Redis::start_with(&[RULES]).await;
    works(&fleet.gateway(&fleet.settings(&format!("redis://gate:open-sesame@127.0.0.1:{}", redis.port)))).await;
    let other = fleet.connected(&fleet.restricted(&redis.url())).await;
    assert!(other.finds_nothing(&record("alice's key")).await);
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_showing_it() {
    let fleet = Fleet::new();
    let redis = Redis::start_with(&[RULES]).await;
    let wrong = fleet.gateway(&fleet.settings(&format!("redis://gate:wrong-sesame@127.0.0.1:{}", redis.port)));
    says(&wrong, "check `username` and the password").await;
    let nobody = fleet.gateway(&fleet.settings(&redis.url()));
    works(&nobody).await;
    redis.ask::<String>(command(&["CONFIG", "SET", "requirepass", "another-sesame"])).await;
    says(&fleet.gateway(&fleet.settings(&redis.url())), "it requires a password").await;
}

#[tokio::test]
async fn tls_works_with_a_trusted_ca_and_is_reported_otherwise() {
    let (fleet, (redis, ca_file)) = (Fleet::new(), Redis::start_tls().await);
    let url = format!("rediss://localhost:{}", redis.port);
    let trusting = RedisCache {
        tls: Some(RedisTls { authorities: Some(std::fs::read(&ca_file).unwrap()) }),
        ..fleet.settings(&url)
    };
    works(&fleet.gateway(&trusting)).await;
    says(&fleet.gateway(&fleet.settings(&url)), "set `ca_file` to the CA of the server's certificate").await;
    let in_clear = fleet.settings(&format!("redis://localhost:{}", redis.port));
    says(&fleet.gateway(&in_clear), "write rediss://").await;
    let plain = Redis::start().await;
    let unexpected =
        RedisCache { tls: trusting.tls.clone(), ..fleet.settings(&format!("rediss://localhost:{}", plain.port)) };
    says(&fleet.gateway(&unexpected), "if the server does not use TLS").await;
}
