//! The cost of ten open traffic pages: requests per second of a saturated gateway, with and without them, alternately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::as_it_comes;
use crate::operator::{Operator, admin};
use crate::support::{Ask, Fleet, Wire};

const CALLERS: usize = 32;
const PAGES: i64 = 10;
/// The interval of the page's script.
const EVERY: Duration = Duration::from_secs(2);
/// Duration of each half of a round: several times [`EVERY`].
const HALF: Duration = Duration::from_secs(8);

pub async fn run(rounds: usize) {
    let fleet = Fleet::over_sqlite(1, |settings| {
        as_it_comes(settings);
        settings.workers = 2;
        settings.admin = Some(admin());
    })
    .await;
    let gateway = fleet.first();
    let ask = Ask::get("/api/x").token(&gateway.issue("caller").await).bytes();
    let (answered, shown) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut wire, ask, answered) = (Wire::open(gateway).await, ask.clone(), Arc::clone(&answered));
        callers.spawn(async move {
            loop {
                assert_eq!(wire.ask(&ask).await.status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (polls, polling) = watch::channel(false);
    for number in 0..PAGES {
        let operator = Operator::new(gateway, number).await;
        tokio::spawn(poll(operator, polling.clone(), Arc::clone(&shown)));
    }
    let rate = async || {
        let (begun, before) = (Instant::now(), answered.load(Ordering::Relaxed));
        tokio::time::sleep(HALF).await;
        let count = u32::try_from(answered.load(Ordering::Relaxed) - before).unwrap();
        f64::from(count) / begun.elapsed().as_secs_f64()
    };
    println!("warmed up: {:.0} a second", rate().await);
    println!("| round | without | with | ratio |");
    println!("|---|---|---|---|");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut halves = [0.0, 0.0];
        // The order changes with each round.
        for is_polled in [round % 2 == 1, round % 2 == 0] {
            polls.send(is_polled).unwrap();
            halves[usize::from(is_polled)] = rate().await;
        }
        let [without, with] = halves;
        println!("| {} | {without:.0} | {with:.0} | {:.3} |", round + 1, with / without);
        ratios.push(with / without);
    }
    callers.shutdown().await;
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |place: usize| ratios.get(place).copied().unwrap_or(f64::NAN);
    println!("middle {:.3} ({:.3}-{:.3})", at(ratios.len() / 2), at(0), at(ratios.len().saturating_sub(1)));
    println!("shown: {} times", shown.load(Ordering::Relaxed));
}

/// A page that is open while `polling`: loads all of it once, then its live part repeatedly.
async fn poll(mut operator: Operator, mut polling: watch::Receiver<bool>, shown: Arc<AtomicU64>) {
    while polling.wait_for(|is_polled| *is_polled).await.is_ok() {
        operator.page("/traffic").await;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while *polling.borrow() {
            operator.page("/traffic/live?minutes=15").await;
            shown.fetch_add(1, Ordering::Relaxed);
            ticks.tick().await;
        }
    }
}
