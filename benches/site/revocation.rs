//! The time from the commit of a revocation to the last 200 on any of three gateways under load.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use tokengate::config::Settings;
use tokengate::config::settings::RedisCache;
use tokengate::store::{NamedToken, NewUser, TokenRef};
use tokengate::token::ScopeSet;

use crate::support::http2::H2;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{Ask, Fleet};
use crate::{as_it_comes, spread};

const GATEWAYS: usize = 3;
/// Concurrent requests at each gateway with other tokens.
const LOAD: usize = 4;

pub async fn run(rounds: usize) {
    let (redis, postgres) = (Redis::start().await, Postgres::shared().await);
    let shared = RedisCache::at(&redis.url(), Path::new("")).unwrap();
    let sites = [
        ("none: SQLite, the log polled each 250 ms", None, false),
        ("Redis channel, over SQLite", None, true),
        ("PostgreSQL notifications", Some(postgres.database().await), false),
        ("PostgreSQL notifications and Redis channel", Some(postgres.database().await), true),
    ];
    println!("| push | revocations | p50 | p99 | max | requests/s beside |");
    println!("|---|---|---|---|---|---|");
    for (name, url, with_redis) in sites {
        let change = |settings: &mut Settings| {
            as_it_comes(settings);
            settings.redis = with_redis.then(|| shared.clone());
            settings.tokens.max_per_user = 1_000_000;
        };
        let fleet = match url {
            None => Fleet::over_sqlite(GATEWAYS, change).await,
            Some(url) => Fleet::over(url, tempfile::tempdir().unwrap(), GATEWAYS, change).await,
        };
        let (times, rate) = measure(&fleet, rounds).await;
        let (middle, late, last) = spread(times);
        println!("| {name} | {rounds} | {middle:.1?} | {late:.1?} | {last:.1?} | {rate:.0} |");
    }
}

async fn measure(fleet: &Fleet, rounds: usize) -> (Vec<Duration>, f64) {
    let store = &fleet.first().store;
    let owner = store.accounts.create(NewUser::named("victim")).await.unwrap().0.account.id;
    let order =
        NamedToken { name: "bench".to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() };
    let witness = store.ledger.issue_named(owner, &order).await.unwrap().key.expose().to_owned();

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for gateway in &fleet.gateways {
        for _ in 0..LOAD {
            let (mut client, ask) = (H2::open(gateway).await, Ask::get("/api/x").token(&witness));
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            load.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.ask(&ask).await.status, 200, "the witness is never refused");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    let begun = Instant::now();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let issued = store.ledger.issue_named(owner, &order).await.unwrap();
        let ask = Ask::get("/api/x").token(issued.key.expose());
        let mut probes = tokio::task::JoinSet::new();
        let (known, all_know) = tokio::sync::mpsc::channel(GATEWAYS);
        for gateway in &fleet.gateways {
            probes.spawn(probe(H2::open(gateway).await, ask.clone(), known.clone()));
        }
        drop(known);
        wait_for_all(all_know).await;
        store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap();
        let committed = Instant::now();
        let mut last = Duration::ZERO;
        while let Some(last_200) = probes.join_next().await {
            last = last.max(last_200.unwrap().saturating_duration_since(committed));
        }
        times.push(last);
    }
    let rate = served.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = load.join_next().await {
        done.unwrap();
    }
    let rate = rate as f64 / begun.elapsed().as_secs_f64();
    (times, rate)
}

/// Sends requests until one is refused; returns the time of the last 200.
async fn probe(mut client: H2, ask: Ask, known: tokio::sync::mpsc::Sender<()>) -> Instant {
    let mut last = Instant::now();
    let mut known = Some(known);
    loop {
        match client.ask(&ask).await.status {
            200 => {
                last = Instant::now();
                if let Some(known) = known.take() {
                    // The counting task ends only after all probes have reported.
                    let _ = known.send(()).await;
                }
            }
            401 => return last,
            other => panic!("a revoked token was answered {other}"),
        }
    }
}

async fn wait_for_all(mut told: tokio::sync::mpsc::Receiver<()>) {
    for _ in 0..GATEWAYS {
        told.recv().await;
    }
}
