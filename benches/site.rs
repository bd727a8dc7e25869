//! Measurements of a whole site: the delay of a revocation, the cost of a token among millions, the effect of a flood
//! of unknown tokens on the store, the time of failed logins, the effect of many logins on other requests, the cost of
//! a list page among a million users, and the cost of open traffic pages.
//!
//! cargo bench --bench site -- revocation | scale | flood | lists | login-timing | login-storm | polling [--tokens N]
//! [--rounds N] [--users N]
//!
//! Starts real servers, as the tests do. Compare only figures of the same run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "what goes wrong ends the bench, as in the tests"
)]

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

#[path = "site/flood.rs"]
mod flood;
#[path = "site/lists.rs"]
mod lists;
#[path = "site/login_storm.rs"]
mod login_storm;
#[path = "site/login_timing.rs"]
mod login_timing;
#[path = "site/million.rs"]
mod million;
#[path = "site/operator.rs"]
mod operator;
#[path = "site/pages.rs"]
mod pages;
#[path = "site/people.rs"]
mod people;
#[path = "site/polling.rs"]
mod polling;
#[path = "site/revocation.rs"]
mod revocation;
#[path = "site/scale.rs"]
mod scale;

use std::time::Duration;

use tokengate::config::Settings;
use tokengate::config::settings;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// With the default limits of the store, which are lower than those of the tests.
fn as_it_comes(settings: &mut Settings) {
    let store = settings::Store::at(settings.store.url.clone(), settings.store.key_file.clone());
    settings.store = settings::Store { max_connections: settings.store.max_connections, ..store };
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match arguments.first().map(String::as_str) {
            Some("revocation") => revocation::run(number("--rounds", 1_000)).await,
            Some("scale") => scale::run(number("--tokens", 100_000)).await,
            Some("flood") => flood::run(number("--tokens", 100_000)).await,
            Some("lists") => lists::run(number("--users", 1_000_000)).await,
            Some("login-timing") => login_timing::run(number("--rounds", 20)).await,
            Some("login-storm") => login_storm::run(number("--rounds", 10)).await,
            Some("polling") => polling::run(number("--rounds", 10)).await,
            _ => println!("site: name one of revocation, scale, flood, lists, login-timing, login-storm, polling"),
        }
    });
}

/// The median, the 99th percentile, and the maximum.
fn spread(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    (at(50).unwrap_or_default(), at(99).unwrap_or_default(), times.last().copied().unwrap_or_default())
}

/// Resident memory of the process in bytes.
fn resident() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
