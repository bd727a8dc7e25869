//! Quotas: how many requests may come in a day or month, kept over restarts and for several gateways together.

mod reloads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokengate::clock::{Period, Timestamp};
use tokengate::config::settings::{self, QuotaRule, RateFact, RateKey, Settings, StoreUrl};
use tokengate::limits::Quota;
use tokengate::rates::{Holder, QuotaPart, Remaining};
use tokengate::store::{QuotaCount, QuotaStore, Store, StoreError};
use tokengate::token::{SubjectId, TokenKey};
use tokio::task::JoinSet;

use crate::rates::{limit, one, rate};
use crate::support::client::BOTH;
use crate::support::fleet::Fleet;
use crate::support::http2::passed_of_a_crowd;
use crate::support::postgres::Postgres;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually};

pub fn quota(name: &str, key: RateKey, limit: u64, period: Period) -> QuotaRule {
    QuotaRule { name: name.to_owned(), key, quota: Quota { limit, period }, max_keys: 1_000 }
}

/// Sets the quotas of all routes.
pub fn allow(settings: &mut Settings, quotas: Vec<QuotaRule>) {
    for route in &mut settings.routes {
        route.quotas = quotas.iter().map(|quota| quota.name.as_str().into()).collect();
    }
    settings.quotas = quotas;
}

fn daily(limit: u64) -> Vec<QuotaRule> {
    vec![quota("daily", one(RateFact::Token), limit, Period::Day)]
}

/// What a token has left of the first quota, as the store knows it.
async fn left(store: &Store, rules: &[QuotaRule], key: &str, now: Timestamp) -> u64 {
    let holder = Holder { token: Some(TokenKey::parse(key).unwrap().digest()), user: SubjectId(0) };
    let quotas = store.quotas.as_ref().unwrap();
    Remaining::of(&**quotas, &QuotaPart::all(rules, &[]), holder, now).await.unwrap()[0].left
}

/// How many requests pass until the first refusal, at most `most`.
async fn passing(gateway: &Gateway, key: &str, most: usize) -> usize {
    let mut wire = Wire::open(gateway).await;
    for passed in 0..most {
        match wire.ask(Ask::get("/api/x").token(key).bytes()).await.status {
            200 => {}
            status => {
                assert_eq!(status, 429);
                return passed;
            }
        }
    }
    most
}

#[tokio::test]
async fn a_quota_is_exact_and_ends_with_the_day_or_month() {
    let origin = Origin::answering("ok").await;
    for period in [Period::Day, Period::Month] {
        let site = Site::before(&origin).with(|settings| {
            allow(settings, vec![quota("mine", one(RateFact::Token), 3, period)]);
        });
        let gateway = site.start().await;
        let policy = match period {
            Period::Day => "\"mine\";q=3;w=86400;tokengate-period=day",
            Period::Month => "\"mine\";q=3;tokengate-period=month",
        };
        for (http, user) in BOTH.into_iter().zip(["alice", "bob"]) {
            let ask = Ask::get("/api/x").token(&gateway.issue(user).await);
            let (now, before) = (gateway.clock().now(), origin.count());
            let end = period.at(now).end;
            let wait = end.since(now).as_millis().div_ceil(1_000);
            for left in [2, 1, 0] {
                let answer = ask.over(http, &gateway).await;
                assert_eq!(answer.status, 200, "{http:?}");
                assert_eq!(answer.fields.get("ratelimit"), Some(format!("\"mine\";r={left};t={wait}").as_str()));
                assert_eq!(answer.fields.get("ratelimit-policy"), Some(policy));
            }
            for _ in 0..3 {
                let refused = ask.over(http, &gateway).await;
                assert_eq!(refused.status, 429);
                let words = format!("Request was throttled. Expected available in {wait} seconds.");
                assert_eq!(refused.detail(), words);
                assert_eq!(refused.fields.get("retry-after"), Some(wait.to_string().as_str()));
                assert_eq!(refused.fields.get("ratelimit"), Some(format!("\"mine\";r=0;t={wait}").as_str()));
                assert!(!refused.fields.has("www-authenticate"));
            }
            assert_eq!(origin.count() - before, 3, "the endpoint sees exactly the quota");
            gateway.hand.advance(end.since(now) - Duration::from_millis(1));
            let refused = ask.over(http, &gateway).await;
            assert_eq!(refused.detail(), "Request was throttled. Expected available in 1 second.");
            gateway.hand.advance(Duration::from_millis(1));
            assert_eq!(passing(&gateway, &gateway.issue(user).await, 5).await, 3, "the next one begins anew");
        }
        assert_eq!(gateway.metric("tokengate_rate_refused_total{rate=\"mine\"}"), 10);
        gateway.has_counted("api", "too_many_requests", 10).await;
    }
}

#[tokio::test]
async fn all_workers_and_connections_share_one_count() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        settings.workers = 4;
        allow(settings, daily(100));
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    assert_eq!((passed_of_a_crowd(&gateway, &key).await, origin.count()), (100, 100));
}

#[tokio::test]
async fn each_user_and_each_route_can_have_a_count_of_its_own() {
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let clock = gateway.clock();
    let alice = gateway.issue("alice").await;
    let other = gateway.issue_named("alice", "admin", None, &clock).await;
    let bob = gateway.issue_named("bob", "admin", None, &clock).await;
    let asks = [("/api/x", &alice), ("/api/x", &alice), ("/api/x", &other), ("/scoped/x", &other), ("/api/x", &bob)];
    for (name, key, expected) in [
        ("token", one(RateFact::Token), [200, 429, 200, 429, 200]),
        ("user", one(RateFact::User), [200, 429, 429, 429, 200]),
        ("route", one(RateFact::Route), [200, 429, 429, 200, 429]),
        ("pair", RateKey(RateFact::User, Some(RateFact::Route)), [200, 429, 429, 200, 200]),
    ] {
        gateway.reload(|settings| allow(settings, vec![quota(name, key, 1, Period::Day)])).await.unwrap();
        for ((path, key), status) in asks.iter().zip(expected) {
            assert_eq!(Ask::get(path).token(key).to(&gateway).await.status, status, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn rates_and_quotas_are_told_together_and_a_request_counts_for_all_or_none() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        limit(settings, vec![rate("quick", one(RateFact::Token), "2/min", 2)]);
        allow(
            settings,
            vec![
                quota("daily", one(RateFact::Token), 10, Period::Day),
                quota("monthly", one(RateFact::User), 3, Period::Month),
            ],
        );
    });
    let gateway = site.start().await;
    let ask = Ask::get("/api/x").token(&gateway.issue("alice").await);
    let told = async |status, fields: &str| {
        let answer = ask.to(&gateway).await;
        let shown = answer.fields.get("ratelimit").unwrap().to_owned();
        let left: Vec<_> = shown.split(", ").map(|one| one.rsplit_once(";t=").unwrap().0).collect();
        assert_eq!((answer.status, left.join(" ").as_str()), (status, fields));
        let policy =
            "\"quick\";q=2;w=60, \"daily\";q=10;w=86400;tokengate-period=day, \"monthly\";q=3;tokengate-period=month";
        assert_eq!(answer.fields.get("ratelimit-policy"), Some(policy));
    };
    told(200, "\"quick\";r=1 \"daily\";r=9 \"monthly\";r=2").await;
    told(200, "\"quick\";r=0 \"daily\";r=8 \"monthly\";r=1").await;
    told(429, "\"quick\";r=0 \"daily\";r=8 \"monthly\";r=1").await;
    gateway.hand.advance(Duration::from_secs(60));
    told(200, "\"quick\";r=1 \"daily\";r=7 \"monthly\";r=0").await;
    // The quota that refuses costs the others nothing.
    told(429, "\"quick\";r=0 \"daily\";r=6 \"monthly\";r=0").await;
    told(429, "\"quick\";r=0 \"daily\";r=6 \"monthly\";r=0").await;
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn a_restart_keeps_the_count() {
    let origin = Origin::answering("ok").await;
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        Site::before(&origin).with(|settings| {
            let url = StoreUrl::Sqlite(folder.path().join("tokengate.db"));
            let store = settings::Store::at(url, folder.path().join("tokengate.key"));
            settings.store = settings::Store { timeout: PATIENCE, ..store };
            allow(settings, daily(10));
        })
    };
    let gateway = start().start().await;
    let key = gateway.issue("alice").await;
    assert_eq!(passing(&gateway, &key, 6).await, 6);
    gateway.stop(PATIENCE).await;
    let gateway = start().start().await;
    assert_eq!(passing(&gateway, &key, 20).await, 4);
    assert_eq!(gateway.metric("tokengate_rate_lookups_total{rate=\"daily\"}"), 1, "the store is asked once");
    // A reload with another limit keeps it too.
    gateway.reload(|settings| allow(settings, daily(13))).await.unwrap();
    assert_eq!(passing(&gateway, &key, 20).await, 3);
    assert_eq!(origin.count(), 13);
}

#[tokio::test]
async fn what_is_refused_before_the_quota_does_not_count_and_what_fails_afterwards_does() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        allow(settings, daily(100));
        limit(settings, vec![rate("writes", RateKey(RateFact::User, Some(RateFact::Route)), "5/d", 5)]);
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    let ask = |method, path| Ask::new(method, path).token(&key);
    for (http, most) in BOTH.into_iter().zip([99, 98]) {
        for (ask, status) in [
            (Ask::get("/api/x"), 401),
            (Ask::get("/api/x").token("never-issued-0000000000000000000000000000"), 401),
            (ask("GET", "/scoped/x"), 403),
            (ask("GET", "/nowhere/x"), 404),
            (ask("TRACE", "/api/x"), 405),
        ] {
            assert_eq!(ask.over(http, &gateway).await.status, status);
        }
        let answer = ask("GET", "/api/x").over(http, &gateway).await;
        assert_eq!(answer.status, 200);
        assert!(answer.fields.get("ratelimit").unwrap().contains(&format!("\"daily\";r={most};")));
    }
    for _ in 0..3 {
        assert_eq!(ask("GET", "/api/x").to(&gateway).await.status, 200);
    }
    let refused = ask("GET", "/api/x").to(&gateway).await;
    assert_eq!(refused.status, 429, "by the rate");
    gateway.reload(|settings| limit(settings, Vec::new())).await.unwrap();
    // The gateway cannot know whether a request that failed had an effect.
    drop(origin);
    let failed = ask("GET", "/api/x").to(&gateway).await;
    assert_eq!(failed.status, 502);
    assert!(failed.fields.get("ratelimit").unwrap().starts_with("\"daily\";r=94;"));
}

/// Two gateways count together: a part is used at one, and the rest is left at the other one.
async fn two_gateways_share_a_quota(fleet: &Fleet) {
    let [first, second] = &fleet.gateways[..] else { panic!("two gateways") };
    let key = first.issue("alice").await;
    fleet.changes_are_applied().await;
    let now = first.clock().now();
    assert_eq!(passing(first, &key, 6).await, 6);
    let saved = |expected| {
        let key = &key;
        eventually(PATIENCE, "the count is saved", move || async move {
            left(&first.store, &daily(10), key, now).await == expected
        })
    };
    saved(4).await;
    assert_eq!(passing(second, &key, 20).await, 4);
    saved(0).await;
    // The first one learns of it when it saves again, and allows until then no more than it knew to be left.
    let over = AtomicUsize::new(0);
    eventually(PATIENCE, "the first gateway learns of it", || async {
        let status = Ask::get("/api/x").token(&key).to(first).await.status;
        over.fetch_add(usize::from(status == 200), Ordering::Relaxed);
        status == 429
    })
    .await;
    assert!(over.load(Ordering::Relaxed) <= 4);
    assert_eq!(passing(first, &key, 20).await, 0);
}

#[tokio::test]
async fn gateways_count_together_with_sqlite() {
    two_gateways_share_a_quota(&Fleet::over_sqlite(2, |settings| allow(settings, daily(10))).await).await;
}

#[tokio::test]
async fn gateways_count_together_with_postgresql() {
    let postgres = Postgres::shared().await;
    let url = postgres.database().await;
    let change = |settings: &mut Settings| allow(settings, daily(10));
    two_gateways_share_a_quota(&Fleet::over(url, tempfile::tempdir().unwrap(), 2, change).await).await;
}

#[tokio::test]
async fn under_load_gateways_stay_within_the_bound_and_no_request_is_lost_from_the_count() {
    const LIMIT: usize = 300;
    let rules = || vec![quota("daily", one(RateFact::Token), 300, Period::Day)];
    let fleet = Fleet::over_sqlite(2, |settings| allow(settings, rules())).await;
    let key = fleet.first().issue("alice").await;
    fleet.changes_are_applied().await;
    let passed = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for gateway in &fleet.gateways {
        for _ in 0..4 {
            let (mut wire, passed) = (Wire::open(gateway).await, Arc::clone(&passed));
            let request = Ask::get("/api/x").token(&key).bytes();
            clients.spawn(async move {
                for _ in 0..2 * LIMIT {
                    match wire.ask(&request).await.status {
                        200 => drop(passed.fetch_add(1, Ordering::Relaxed)),
                        status => assert_eq!(status, 429),
                    }
                }
            });
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let passed = passed.load(Ordering::Relaxed);
    assert!((LIMIT..=2 * LIMIT).contains(&passed), "{passed}");
    // The store has counted each of them once.
    let larger = vec![quota("daily", one(RateFact::Token), 10_000, Period::Day)];
    let (store, now) = (&fleet.first().store, fleet.first().clock().now());
    let is_saved = || async { left(store, &larger, &key, now).await == u64::try_from(10_000 - passed).unwrap() };
    eventually(PATIENCE, "all requests are saved", is_saved).await;
    for gateway in &fleet.gateways {
        assert_eq!(passing(gateway, &key, 5).await, 0);
    }
}

/// A store whose counts of quotas can be out of reach.
struct Fragile {
    store: Arc<dyn QuotaStore>,
    away: AtomicBool,
}

impl Fragile {
    fn reach(&self) -> Result<&dyn QuotaStore, StoreError> {
        match self.away.load(Ordering::Acquire) {
            true => Err(StoreError::Unavailable("the test made it unreachable".into())),
            false => Ok(&*self.store),
        }
    }
}

#[async_trait]
impl QuotaStore for Fragile {
    async fn add(&self, counted: &[(QuotaCount, i64)]) -> Result<Vec<u64>, StoreError> {
        self.reach()?.add(counted).await
    }

    async fn used(&self, counts: &[QuotaCount]) -> Result<Vec<u64>, StoreError> {
        self.reach()?.used(counts).await
    }

    async fn prune_quotas(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.reach()?.prune_quotas(before).await
    }
}

/// A gateway whose counts of quotas can be out of reach.
async fn fragile(site: Site) -> (Gateway, Arc<Fragile>) {
    let mut fragile = None;
    let gateway = site
        .start_with(|store| {
            let quotas = Arc::clone(store.quotas.as_ref().unwrap());
            let wrapped = fragile.insert(Arc::new(Fragile { store: quotas, away: AtomicBool::new(false) }));
            Store { quotas: Some(Arc::<Fragile>::clone(wrapped)), ..store }
        })
        .await;
    (gateway, fragile.unwrap())
}

#[tokio::test]
async fn without_the_store_a_gateway_counts_alone_and_never_beyond_the_limit_that_it_knows() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| allow(settings, daily(10)));
    let (gateway, fragile) = fragile(site).await;
    let (known, new) = (gateway.issue("alice").await, gateway.issue("bob").await);
    assert_eq!(passing(&gateway, &known, 4).await, 4);
    fragile.away.store(true, Ordering::Release);
    assert_eq!(passing(&gateway, &known, 20).await, 6, "neither 401 nor 503");
    assert_eq!(passing(&gateway, &new, 3).await, 3);
    assert_eq!(gateway.metric("tokengate_rate_alone_total{rate=\"daily\"}"), 1, "a new token waits for it once");
    fragile.away.store(false, Ordering::Release);
    let now = gateway.clock().now();
    eventually(PATIENCE, "what was counted meanwhile is saved", || async {
        let rules = daily(10);
        let left = async |key| left(&gateway.store, &rules, key, now).await;
        (left(&known).await, left(&new).await) == (0, 7)
    })
    .await;
    assert_eq!(passing(&gateway, &new, 20).await, 7);
    assert_eq!(origin.count(), 20);
}
