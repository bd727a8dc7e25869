//! Limits of single tokens: read-only, networks, days without a use.

use std::path::Path;
use std::time::Duration;

use tokengate::config::settings::{ForwardedFamily, RedisCache, Settings};
use tokengate::store::{LimitChanges, NamedToken, Terms, TokenLimits, TokenRef};
use tokengate::token::{Networks, TokenId};

use super::DENIED;
use super::proxies::trust;
use crate::support::client::BOTH;
use crate::support::fleet::Fleet;
use crate::support::redis::Redis;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually};
use crate::upgrade::{echo, echoes, streaming, tunnel};

const DAY: Duration = Duration::from_secs(86_400);

async fn issue(gateway: &Gateway, limits: TokenLimits) -> (TokenId, String) {
    let order = NamedToken { name: "test".to_owned(), limits, ..NamedToken::default() };
    let issued = gateway.store.ledger.issue_named(gateway.user("alice").await, &order).await.unwrap();
    (issued.id, issued.key.expose().to_owned())
}

fn from(networks: &str) -> TokenLimits {
    TokenLimits { networks: Networks::parse(networks).unwrap(), ..TokenLimits::default() }
}

#[tokio::test]
async fn a_token_is_used_only_from_its_networks_and_only_for_its_methods() {
    let origin = Origin::answering("ok").await;
    let gateway = Site::before(&origin).start().await;
    let reader = issue(&gateway, TokenLimits { read_only: true, ..TokenLimits::default() }).await.1;
    let here = issue(&gateway, from("127.0.0.1, 10.0.0.0/8")).await.1;
    let mapped = issue(&gateway, from("::ffff:127.0.0.1")).await.1;
    let there = issue(&gateway, from("192.0.2.0/24, 2001:db8::/32, ::1")).await.1;
    let both = issue(&gateway, TokenLimits { read_only: true, ..from("127.0.0.0/8") }).await.1;
    for http in BOTH {
        for (key, method, status) in [
            (&reader, "GET", 200),
            (&reader, "HEAD", 200),
            (&reader, "OPTIONS", 200),
            (&reader, "POST", 403),
            (&reader, "PUT", 403),
            (&reader, "PATCH", 403),
            (&reader, "DELETE", 403),
            (&here, "POST", 200),
            (&mapped, "POST", 200),
            (&there, "GET", 403),
            (&there, "HEAD", 403),
            (&both, "GET", 200),
            (&both, "POST", 403),
        ] {
            let seen = origin.count();
            let ask = Ask::new(method, "/api/x").token(key);
            let answer = ask.over(http, &gateway).await;
            assert_eq!(answer.status, status, "{http:?} {method}");
            assert_eq!(origin.count() - seen, usize::from(status == 200), "{method}");
            if status == 403 && method != "HEAD" {
                assert_eq!(answer.detail(), DENIED);
            }
        }
    }
    eventually(PATIENCE, "the log", || async { gateway.log.text().contains("outcome=restricted") }).await;
}

#[tokio::test]
async fn the_networks_of_a_token_are_compared_with_the_client_behind_trusted_proxies() {
    let origin = Origin::answering("ok").await;
    let change = |settings: &mut Settings| trust(settings, ForwardedFamily::XForwarded, false);
    let gateway = Site::before(&origin).with(change).start().await;
    let (_, key) = issue(&gateway, from("203.0.113.0/24, 2001:db8::/32")).await;
    let ask = |client: &str| Ask::get("/api/x").token(&key).field("X-Forwarded-For", client);
    for http in BOTH {
        for (client, status) in [
            ("203.0.113.7", 200),
            ("::ffff:203.0.113.7", 200),
            ("2001:db8:1::1", 200),
            ("198.51.100.7", 403),
            ("203.0.113.7, 198.51.100.7", 403),
            ("198.51.100.7, 203.0.113.7", 200),
            ("10.1.1.1", 403),
        ] {
            assert_eq!(ask(client).over(http, &gateway).await.status, status, "{http:?} {client}");
        }
        assert_eq!(Ask::get("/api/x").token(&key).over(http, &gateway).await.status, 403, "the proxy itself");
    }
}

#[tokio::test]
async fn a_tunnel_ends_when_its_token_may_no_longer_be_used_for_it() {
    let origin = echo().await;
    let gateway = Site::before(&origin).with(streaming).start().await;
    let elsewhere = Networks::parse("192.0.2.0/24").unwrap();
    let changes = [
        LimitChanges { networks: Some(elsewhere), ..LimitChanges::default() },
        LimitChanges { read_only: Some(true), ..LimitChanges::default() },
    ];
    for (count, limits) in (1..).zip(changes) {
        let (id, key) = issue(&gateway, TokenLimits::default()).await;
        let other = issue(&gateway, TokenLimits::default()).await.1;
        let (mut ends, mut goes_on) = (tunnel(&gateway, &key).await, tunnel(&gateway, &other).await);
        gateway.store.ledger.set_terms(id, &Terms { limits, ..Terms::default() }).await.unwrap();
        ends.ends().await;
        echoes(&mut goes_on, b"still here").await;
        gateway.has_counted("api", "token_ended", count).await;
    }
}

#[tokio::test]
async fn a_refused_request_is_no_use_of_its_token() {
    let origin = Origin::answering("ok").await;
    let gateway = Site::before(&origin).start().await;
    let days = TokenLimits { unused_days: Some(2), ..TokenLimits::default() };
    let networks = Networks::parse("192.0.2.0/24").unwrap();
    let (elsewhere, in_network) = issue(&gateway, TokenLimits { networks, ..days.clone() }).await;
    let (reader, read_only) = issue(&gateway, TokenLimits { read_only: true, ..days.clone() }).await;
    let (unscoped, plain) = issue(&gateway, days).await;
    let last_used =
        async |id| gateway.store.ledger.show(tokengate::store::TokenRef::Id(id)).await.unwrap().unwrap().last_used;
    for http in BOTH {
        for ask in [
            Ask::get("/api/x").token(&in_network),
            Ask::post("/api/x", "x").token(&read_only),
            Ask::get("/scoped/x").token(&plain),
            Ask::get("/nowhere/x").token(&plain),
        ] {
            assert!([403, 404].contains(&ask.over(http, &gateway).await.status), "{ask:?}");
        }
    }
    // Uses are written in the order of the requests, so the others would be written by now.
    let witness = gateway.issue("witness").await;
    assert_eq!(Ask::get("/api/x").token(&witness).to(&gateway).await.status, 200);
    let counted = || async { gateway.metric("tokengate_uses_written_total") == 1 };
    eventually(PATIENCE, "the use of the witness is written, and no other", counted).await;
    for id in [elsewhere, reader, unscoped] {
        assert_eq!(last_used(id).await, None);
    }
    assert_eq!(Ask::get("/api/x").token(&read_only).to(&gateway).await.status, 200);
    eventually(PATIENCE, "an admitted request is a use", || async { last_used(reader).await.is_some() }).await;
}

#[tokio::test]
async fn an_entry_in_redis_that_does_not_know_the_last_use_refuses_no_token() {
    let redis = Redis::start().await;
    let shared = RedisCache { timeout: PATIENCE, ..RedisCache::at(&redis.url(), Path::new("")).unwrap() };
    let fleet = Fleet::over_sqlite(2, |settings| {
        settings.redis = Some(shared.clone());
        settings.memory.ttl = Duration::from_millis(1);
    })
    .await;
    let [first, second] = &fleet.gateways[..] else { panic!("two gateways") };
    let advance = |time| fleet.gateways.iter().for_each(|gateway| gateway.hand.advance(time));
    let (id, key) = issue(first, TokenLimits { unused_days: Some(1), ..TokenLimits::default() }).await;
    let ask = Ask::get("/api/x").token(&key);
    let hits = |gateway: &Gateway| gateway.metric("tokengate_shared_cache_hits_total");
    // The first gateway asks until Redis has an entry.
    let is_kept = async || {
        let before = hits(first);
        eventually(PATIENCE, "Redis has an entry", || async {
            advance(Duration::from_millis(2));
            assert_eq!(ask.to(first).await.status, 200);
            hits(first) > before
        })
        .await;
    };
    is_kept().await;
    let moment = Duration::from_secs(100);
    advance(DAY - moment);
    let before = first.clock().now();
    is_kept().await;
    eventually(PATIENCE, "the use is written", || async {
        first.store.ledger.show(TokenRef::Id(id)).await.unwrap().unwrap().last_used >= Some(before)
    })
    .await;
    // The entry of the first gateway is older than that use.
    advance(moment);
    // Otherwise the second gateway would ask the store, because it does not know of changes.
    let now = u64::try_from(second.clock().now().as_seconds()).unwrap();
    let has_read = || async { second.metric("tokengate_change_log_read_timestamp_seconds") >= now };
    eventually(PATIENCE, "the second gateway knows of all changes", has_read).await;
    assert_eq!(ask.to(second).await.status, 200);
    assert_eq!(hits(second), 1, "it has found the entry");
}

#[tokio::test]
async fn a_token_that_is_not_used_for_its_days_is_invalid_until_an_administrator_changes_it() {
    let origin = Origin::answering("ok").await;
    let gateway = Site::before(&origin).start().await;
    let (id, key) = issue(&gateway, TokenLimits { unused_days: Some(2), ..TokenLimits::default() }).await;
    let status = async || Ask::get("/api/x").token(&key).to(&gateway).await.status;
    // A use counts anew, also one that memory answers.
    for _ in 0..3 {
        assert_eq!(status().await, 200);
        let used = gateway.clock().now();
        eventually(PATIENCE, "the use is written", || async {
            let token = gateway.store.ledger.show(tokengate::store::TokenRef::Id(id)).await.unwrap().unwrap();
            token.last_used.is_some_and(|last| last >= used.before(DAY / 24))
        })
        .await;
        gateway.hand.advance(DAY + DAY / 2);
    }
    gateway.hand.advance(DAY);
    let answer = Ask::get("/api/x").token(&key).to(&gateway).await;
    assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid token."));
    assert_eq!(status().await, 401, "a refused request is no use");
    let limits = LimitChanges { unused_days: Some(None), ..LimitChanges::default() };
    gateway.store.ledger.set_terms(id, &Terms { limits, ..Terms::default() }).await.unwrap();
    eventually(PATIENCE, "it works again", || async { status().await == 200 }).await;
}
