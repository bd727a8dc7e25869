//! What the time of a failed login tells: unknown users, wrong passwords under each kind of hash, users who may not log in,
//! one after the other in an order that changes with each round.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use crate::people::{self, DJANGOS, INACTIVE, OURS, PASSWORD, UNUSABLE};
use crate::spread;
use crate::support::Wire;

/// So many logins with the right password, which are not held back, show what there is to hide.
const RIGHT: usize = 5;

pub async fn run(rounds: usize) {
    let fleet = people::fleet(|_| {}).await;
    let mut wire = Wire::open(fleet.first()).await;
    let with_hash: Vec<&str> = DJANGOS.iter().map(|(name, _)| *name).chain([OURS]).collect();
    let kinds: Vec<&str> = with_hash.iter().copied().chain(["unknown user", INACTIVE, UNUSABLE]).collect();
    let mut times = vec![Vec::new(); kinds.len()];
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..=rounds {
        order.shuffle(&mut rng);
        for kind in &order {
            let password = if kinds[*kind] == INACTIVE { PASSWORD } else { "wrong horse 9" };
            let took = time(&mut wire, kinds[*kind], password, 400).await;
            // The first round warms up.
            if round > 0 {
                times[*kind].push(took);
            }
        }
    }
    println!("| failed login | p50 | least | p99 | right password, p50 |");
    println!("|---|---|---|---|---|");
    let mut middles = Vec::new();
    for (kind, times) in kinds.iter().zip(times) {
        let least = times.iter().min().copied().unwrap_or_default();
        let (middle, late, _) = spread(times);
        middles.push(middle);
        let right = match with_hash.contains(kind) {
            true => ms(spread(right(&mut wire, kind).await).0),
            false => "-".to_owned(),
        };
        println!("| {kind} | {} | {} | {} | {right} |", ms(middle), ms(least), ms(late));
    }
    let (least, most) = (middles.iter().min().unwrap(), middles.iter().max().unwrap());
    let apart = (most.as_secs_f64() / least.as_secs_f64() - 1.0) * 100.0;
    println!("medians of {rounds} rounds, apart by at most {apart:.2} %");
}

async fn right(wire: &mut Wire, kind: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..RIGHT {
        times.push(time(wire, kind, PASSWORD, 200).await);
    }
    times
}

async fn time(wire: &mut Wire, name: &str, password: &str, status: u16) -> Duration {
    let ask = people::login(name, password).bytes();
    let asked = Instant::now();
    let answer = wire.ask(ask).await;
    let took = asked.elapsed();
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    took
}

fn ms(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}
