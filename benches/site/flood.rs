//! A flood of random tokens: how many lookups reach the store, and the latency of a cached token meanwhile.

use tokio::time::Instant;

use crate::support::http2::H2;
use crate::support::{Ask, Fleet};
use crate::{as_it_comes, spread};

const FLOODERS: usize = 32;

pub async fn run(tokens: usize) {
    let fleet = Fleet::over_sqlite(1, as_it_comes).await;
    let gateway = fleet.first();
    let known = gateway.issue("alice").await;
    let mut client = H2::open(gateway).await;
    let ask = Ask::get("/api/x").token(&known);
    assert_eq!(client.ask(&ask).await.status, 200);
    let mut flood = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for flooder in 0..FLOODERS {
        let mut client = H2::open(gateway).await;
        flood.spawn(async move {
            let (mut refused, mut unknowable) = (0_usize, 0_usize);
            for number in 0..tokens / FLOODERS {
                match client.ask(&Ask::get("/api/x").token(&format!("{flooder:020}{number:020}"))).await.status {
                    401 => refused += 1,
                    503 => unknowable += 1,
                    other => panic!("a random token was answered {other}"),
                }
            }
            (refused, unknowable)
        });
    }
    let mut times = Vec::new();
    let (mut refused, mut unknowable) = (0, 0);
    while !flood.is_empty() {
        let asked = Instant::now();
        assert_eq!(client.ask(&ask).await.status, 200, "a known token is served");
        times.push(asked.elapsed());
        while let Some(done) = flood.try_join_next() {
            let (no, unknown) = done.unwrap();
            refused += no;
            unknowable += unknown;
        }
    }
    let (middle, late, last) = spread(times);
    println!("random tokens: {} in {:.1?}; 401: {refused}, 503: {unknowable}", refused + unknowable, begun.elapsed());
    println!("questions to the store: {}", gateway.metric("tokengate_store_questions_total"));
    println!("entries in memory: {}", gateway.cached_tokens());
    println!("a known token meanwhile: p50 {middle:.1?}, p99 {late:.1?}, max {last:.1?}");
}
