//! Many idle connections: what they cost, and that requests are still answered.

use std::fs;
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::{Tls, connect};
use crate::support::{Ask, Origin, PATIENCE, Site, Wire, eventually};

/// What the issue asks for.
const WANTED: u64 = 10_000;
/// Open files that are left to everything else, other tests included.
const SPARED: u64 = 1_000;
/// Memory of one connection, *both* ends of it: twice what they take, since other tests run at the same time.
const PER_CONNECTION: usize = 80 << 10;

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little_and_keep_nobody_waiting() {
    let origin = Origin::answering("hello").await;
    // `start` raises the limit; asking for it before, the hard one counts. Both ends of a connection are here.
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let count = usize::try_from(WANTED.min(files.saturating_sub(SPARED) / 2)).unwrap();
    let site = Site::before(&origin).with(|settings| {
        settings.workers = 2;
        // On a busy machine the first ones wait for the last ones for longer than by default.
        (settings.timeouts.request_headers, settings.timeouts.idle) = (PATIENCE * 10, PATIENCE * 10);
        settings.limits.connections = count + 100;
        settings.limits.connections_per_ip = count + 100;
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.text(), "hello");

    let before = resident();
    let (config, address) = (Tls::default().config(&gateway), gateway.address());
    let (turns, mut all) = (Arc::new(Semaphore::new(64)), JoinSet::new());
    for _ in 0..count {
        let (config, turns) = (Arc::clone(&config), Arc::clone(&turns));
        all.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            connect(address, &config, "localhost").await.unwrap()
        });
    }
    let mut idle = all.join_all().await;
    eventually(PATIENCE, "all are counted", || async {
        gateway.metric("tokengate_connections_open") == u64::try_from(count).unwrap()
    })
    .await;
    let each = resident().saturating_sub(before) / count.max(1);
    println!(
        "{count} idle connections (of {WANTED}; {files} open files allowed), {} KiB each with both ends",
        each >> 10
    );
    assert!(each < PER_CONNECTION, "{each} bytes for each connection");

    for _ in 0..10 {
        assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.text(), "hello");
        let used = idle.pop().unwrap();
        assert_eq!(Wire::over(used).ask(Ask::get("/api/x").token(&key).bytes()).await.text(), "hello");
    }
    drop(idle);
    eventually(PATIENCE, "all have left", || async { gateway.metric("tokengate_connections_open") == 0 }).await;
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.text(), "hello");
}
