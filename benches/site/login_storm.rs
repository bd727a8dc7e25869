//! The effect of many logins on requests with tokens: their latency with and without the logins, alternately, and the
//! memory of the process.
//!
//! 200 clients log in without a pause, with right and wrong passwords and every kind of hash; a refused client retries
//! after `Retry-After`. A few other clients send requests with a token, each shortly after its last response, so that
//! the machine is busy but not saturated without the logins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::people::{self, DJANGOS, OURS, PASSWORD};
use crate::support::client::{Tls, connect};
use crate::support::http2::H2;
use crate::support::{Ask, Fleet, Wire};
use crate::{resident, spread};

const STORMERS: usize = 200;
const CALLERS: usize = 4;
/// Pause between a response and the next request.
const PAUSE: Duration = Duration::from_millis(1);
/// Duration of each half of a round.
const HALF: Duration = Duration::from_secs(5);
/// Warm-up before that.
const RISE: Duration = Duration::from_secs(2);

/// Outcomes of logins.
#[derive(Default)]
struct Counts {
    in_flight: AtomicUsize,
    given: AtomicUsize,
    refused: AtomicUsize,
    put_off: AtomicUsize,
}

pub async fn run(rounds: usize) {
    let fleet = people::fleet(|_| {}).await;
    let place = (fleet.first().address(), Tls::default().config(fleet.first()));
    let key = fleet.first().issue("caller").await;
    let (storm, storms) = watch::channel(false);
    let counts = Arc::<Counts>::default();
    for number in 0..STORMERS {
        tokio::spawn(stormer(place.clone(), number, storms.clone(), Arc::clone(&counts)));
    }
    let before = half(&fleet, &key).await;
    let (quiet_memory, mut most_memory) = (resident(), 0);
    println!("warmed up: p50 {:.0?}, p99 {:.0?}", before.0, before.1);
    println!("| round | without: p50 | p99 | with: p50 | p99 | ratio of p50 | of p99 |");
    println!("|---|---|---|---|---|---|---|");
    let (mut middles, mut lates) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // The order changes with each round.
        let mut halves = [None, None];
        for is_storm in [round % 2 == 1, round % 2 == 0] {
            storm.send(is_storm).unwrap();
            if is_storm {
                tokio::time::sleep(RISE).await;
            } else {
                while counts.in_flight.load(Ordering::Relaxed) > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            halves[usize::from(is_storm)] = Some(half(&fleet, &key).await);
            most_memory = most_memory.max(resident());
        }
        let [(calm, calm_late, _), (busy, busy_late, _)] = halves.map(Option::unwrap);
        let (middle, late) = (ratio(busy, calm), ratio(busy_late, calm_late));
        println!(
            "| {} | {calm:.1?} | {calm_late:.1?} | {busy:.1?} | {busy_late:.1?} | {middle:.2} | {late:.2} |",
            round + 1
        );
        middles.push(middle);
        lates.push(late);
    }
    storm.send(false).unwrap();
    while counts.in_flight.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    half(&fleet, &key).await;
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    println!("ratio of p50: {}; of p99: {}", range(middles), range(lates));
    println!(
        "logins: {} right, {} wrong, {} put off",
        count(&counts.given),
        count(&counts.refused),
        count(&counts.put_off)
    );
    let mib = |bytes: usize| bytes >> 20;
    println!(
        "resident memory: {} MiB before, {} at most, {} after",
        mib(quiet_memory),
        mib(most_memory),
        mib(resident())
    );
}

/// Sends requests with a token for some time.
async fn half(fleet: &Fleet, key: &str) -> (Duration, Duration, Duration) {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (mut client, ask) = (H2::open(fleet.first()).await, Ask::get("/api/x").token(key));
        callers.spawn(async move {
            let (end, mut times) = (Instant::now() + HALF, Vec::new());
            while Instant::now() < end {
                let asked = Instant::now();
                assert_eq!(client.ask(&ask).await.status, 200, "a token is served whoever logs in");
                times.push(asked.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            times
        });
    }
    spread(callers.join_all().await.concat())
}

/// Logs in repeatedly while the storm lasts, on one connection as long as it is open.
async fn stormer(
    (address, tls): (SocketAddr, Arc<ClientConfig>),
    number: usize,
    mut storms: watch::Receiver<bool>,
    counts: Arc<Counts>,
) {
    let names: Vec<&str> = DJANGOS.iter().map(|(name, _)| *name).chain([OURS]).collect();
    let password = if number.is_multiple_of(2) { PASSWORD } else { "wrong horse 9" };
    let ask = people::login(names[number / 2 % names.len()], password).bytes();
    let mut connection = None;
    loop {
        if !*storms.borrow() {
            connection = None;
            if storms.wait_for(|is_storm| *is_storm).await.is_err() {
                return;
            }
        }
        let wire = match &mut connection {
            Some(wire) => wire,
            none => none.insert(Wire::over(connect(address, &tls, "localhost").await.unwrap())),
        };
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        let answer = wire.ask(&ask).await;
        counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        // A refused client retries on a new connection, with a handshake.
        if answer.fields.get("connection") == Some("close") {
            connection = None;
        }
        let counted = match answer.status {
            200 => &counts.given,
            400 => &counts.refused,
            429 => &counts.put_off,
            other => panic!("a login was answered {other}"),
        };
        counted.fetch_add(1, Ordering::Relaxed);
        if answer.status == 429 {
            let wait = answer.fields.get("retry-after").unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// The median, the minimum and the maximum of some ratios.
fn range(mut ratios: Vec<f64>) -> String {
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |place: usize| ratios.get(place).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2}-{:.2})", at(ratios.len() / 2), at(0), at(ratios.len().saturating_sub(1)))
}
