//! Many idle connections: their memory, and that requests are still served.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::client::{Tls, connect};
use crate::support::{Ask, Origin, PATIENCE, Site, Wire, eventually, soon};

/// The required number of connections.
const WANTED: u64 = 10_000;
/// Open files that are left for everything else, including other tests.
const SPARED: u64 = 1_000;
/// Memory of one connection in bytes, for *both* ends of it: twice the usual amount, since other tests run at the same
/// time.
const PER_CONNECTION: usize = 80 << 10;

/// Two such tests at once would exceed the limit of open files.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_need_little_memory_and_delay_no_request() {
    let _alone = ALONE.lock().await;
    let origin = Origin::answering("hello").await;
    // `start` raises the limit later; here only the hard limit matters. Both ends of a connection are in this process.
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let count = usize::try_from(WANTED.min(files.saturating_sub(SPARED) / 2)).unwrap();
    let site = Site::before(&origin).with(|settings| {
        settings.workers = 2;
        // On a busy machine the first connections wait for the last ones longer than the default timeouts.
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

/// Connects from a loopback address.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_halfway_delay_no_other_client() {
    /// Nothing; the beginning of a ClientHello; the beginning of a request.
    const BEGINS: [(&str, bool, &[u8]); 4] = [
        ("silent", true, b""),
        ("half a ClientHello", true, &[22, 3, 1, 2, 0, 1, 0, 1, 252]),
        ("silent without TLS", false, b""),
        ("half a request without TLS", false, b"GET /pub"),
    ];
    let _alone = ALONE.lock().await;
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let count = usize::try_from(6_000.min(files.saturating_sub(SPARED) / 3)).unwrap();
    // Enough places for all of them; too few in total; too few per client.
    for (all, each) in [(count * 2, count), (count / 4, count / 5), (count * 2, 50)] {
        for (name, tls, begin) in BEGINS {
            if !tls && !begin.is_empty() && all < count {
                // A connection with a begun request keeps its place until the timeout of the head.
                continue;
            }
            let origin = Origin::answering("hello").await;
            let site = Site::before(&origin).with(|settings| {
                settings.workers = 2;
                (settings.limits.connections, settings.limits.connections_per_ip) = (all, each);
            });
            let gateway = site.start().await;
            let to = if tls { gateway.address() } else { gateway.plain_address() };
            let mut crowd = Vec::new();
            for number in 0..count {
                let Some(mut one) = connect_from([127, 0, 0, if number % 2 == 0 { 2 } else { 3 }], to).await else {
                    continue;
                };
                // The gateway may have closed it already.
                let _ = one.write_all(begin).await;
                crowd.push(one);
            }
            let mut slowest = Duration::ZERO;
            for _ in 0..30 {
                let begun = Instant::now();
                assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello", "{name}, {all}, {each}");
                slowest = slowest.max(begun.elapsed());
            }
            println!("{count} x {name} from two addresses, places {all}/{each}: slowest of 30 requests {slowest:?}");
            // Timeouts are long here: a request that waited for one of the others would wait for an hour.
            assert!(slowest < PATIENCE);
            if each < count / 2 || all < count {
                let turned_away: u64 = ["connections", "connections_per_ip"]
                    .map(|limit| gateway.metric(&format!("tokengate_turned_away_total{{limit=\"{limit}\"}}")))
                    .iter()
                    .sum();
                assert!(turned_away > 0, "{name}, {all}, {each}");
            }
            drop(crowd);
            soon("the stop", gateway.stop(PATIENCE)).await;
        }
    }
}
