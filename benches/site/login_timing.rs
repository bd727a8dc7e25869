//! What the time of a failed login reveals. Compares unknown users, wrong passwords with each kind of hash, and users
//! who may not log in, in an order that changes with each round. Shortly after each, an unknown user logs in: the time
//! that this login waits must reveal nothing either.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use crate::people::{self, DJANGOS, INACTIVE, OURS, PASSWORD, UNUSABLE};
use crate::spread;
use crate::support::Wire;

/// This many logins with the right password, which are not delayed, show what must be hidden.
const RIGHT: usize = 5;
/// Delay of the second login.
const LATER: Duration = Duration::from_millis(60);

pub async fn run(rounds: usize) {
    // One at a time, so that the second login has to wait.
    let fleet = people::fleet(|settings| settings.store.hashing.at_once = 1).await;
    let (mut wire, mut other) = (Wire::open(fleet.first()).await, Wire::open(fleet.first()).await);
    let with_hash: Vec<&str> = DJANGOS.iter().map(|(name, _)| *name).chain([OURS]).collect();
    let kinds: Vec<&str> = with_hash.iter().copied().chain(["unknown user", INACTIVE, UNUSABLE]).collect();
    let mut times = vec![(Vec::new(), Vec::new()); kinds.len()];
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..=rounds {
        order.shuffle(&mut rng);
        for kind in &order {
            let password = if kinds[*kind] == INACTIVE { PASSWORD } else { "wrong horse 9" };
            let behind = async {
                tokio::time::sleep(LATER).await;
                time(&mut other, "somebody else", "wrong horse 9", 400).await
            };
            let (took, behind) = tokio::join!(time(&mut wire, kinds[*kind], password, 400), behind);
            // The first round is a warm-up.
            if round > 0 {
                times[*kind].0.push(took);
                times[*kind].1.push(behind);
            }
        }
    }
    println!("| failed login | p50 | least | p99 | who came {} later, p50 | p99 | right password, p50 |", ms(LATER));
    println!("|---|---|---|---|---|---|---|");
    let (mut middles, mut middles_behind) = (Vec::new(), Vec::new());
    for (kind, (times, behind)) in kinds.iter().zip(times) {
        let least = times.iter().min().copied().unwrap_or_default();
        let ((middle, late, _), (middle_behind, late_behind, _)) = (spread(times), spread(behind));
        middles.push(middle);
        middles_behind.push(middle_behind);
        let right = match with_hash.contains(kind) {
            true => ms(spread(right(&mut wire, kind).await).0),
            false => "-".to_owned(),
        };
        let [middle, least, late, middle_behind, late_behind] =
            [middle, least, late, middle_behind, late_behind].map(ms);
        println!("| {kind} | {middle} | {least} | {late} | {middle_behind} | {late_behind} | {right} |");
    }
    let [own, behind] = [middles, middles_behind].map(apart);
    println!("medians of {rounds} rounds, apart by at most {own:.2} %; of those who came later, {behind:.2} %");
}

/// The largest difference in percent.
fn apart(middles: Vec<Duration>) -> f64 {
    let (least, most) = (middles.iter().min().unwrap(), middles.iter().max().unwrap());
    (most.as_secs_f64() / least.as_secs_f64() - 1.0) * 100.0
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
