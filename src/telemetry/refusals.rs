//! The latest requests that failed or were refused, for the admin application.
//!
//! Each worker keeps its own, and only for the responses that a client would complain about. It keeps neither queries
//! nor headers nor bodies, and only the beginning of a part of a path that could be a key.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::access_log::Entry;
use super::metrics::Outcome;
use crate::clock::Timestamp;

/// Maximum number for each worker.
const MAX_KEPT: usize = 100;
/// Maximum number in one second: in a flood of refusals, one more costs a comparison.
const MAX_PER_SECOND: u32 = 20;
/// Maximum number of characters of a path and of a name.
const MAX_TEXT: usize = 120;
/// From this length on, a part of a path that has digits could be a key. UUIDs without hyphens have 32 characters.
const KEY_LENGTH: usize = 24;
/// The characters of such a part that are kept, as in lists of tokens.
const HINT: usize = 8;

/// The latest requests of one worker that failed or were refused.
#[derive(Debug, Default)]
pub struct LatestRefusals(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    entries: VecDeque<RefusedRequest>,
    /// The second of the newest entry, and the number of entries in it.
    second: (i64, u32),
}

/// A request that failed or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    /// When it ended.
    pub at: Timestamp,
    /// Its id.
    pub request_id: String,
    /// The client.
    pub from: IpAddr,
    /// Its method.
    pub method: String,
    /// The beginning of its path, without the query.
    pub path: String,
    /// The status of the response; `None`: there was none.
    pub status: Option<u16>,
    /// Why.
    pub outcome: Outcome,
    /// The fault in the endpoint's response.
    pub cause: Option<String>,
    /// The route, if one matched.
    pub route: Option<String>,
    /// The user, if one was established.
    pub user: Option<String>,
}

impl LatestRefusals {
    /// Keeps this request, unless the second has too many.
    pub fn note(&self, entry: &Entry<'_>) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = entry.time.as_seconds();
        let count = if latest.second.0 == second { latest.second.1 } else { 0 };
        if count >= MAX_PER_SECOND {
            return;
        }
        latest.second = (second, count + 1);
        if latest.entries.len() >= MAX_KEPT {
            latest.entries.pop_front();
        }
        latest.entries.push_back(RefusedRequest {
            at: entry.time,
            request_id: entry.request_id.to_owned(),
            from: entry.peer.ip().to_canonical(),
            method: beginning(entry.method),
            path: beginning(&without_keys(entry.path)),
            status: entry.status,
            outcome: entry.outcome,
            cause: entry.cause.map(str::to_owned),
            route: entry.route.map(str::to_owned),
            user: entry.user_name.map(beginning),
        });
    }

    /// Returns the latest requests of several workers, newest first.
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a Arc<super::Recorder>>) -> Vec<RefusedRequest> {
        let of_worker = |worker: &'a Arc<super::Recorder>| {
            let latest = worker.refusals().0.lock().unwrap_or_else(PoisonError::into_inner);
            latest.entries.iter().rev().cloned().collect::<Vec<_>>()
        };
        let mut all: Vec<_> = workers.into_iter().flat_map(of_worker).collect();
        all.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        all
    }
}

fn beginning(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_TEXT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Shortens the parts of a path that could be keys.
fn without_keys(path: &str) -> String {
    let could_be_key = |part: &str| {
        part.len() >= KEY_LENGTH && part.bytes().any(|byte| byte.is_ascii_digit()) || part.starts_with("tg_")
    };
    let shown = |part: &str| match could_be_key(part) {
        true => part.chars().take(HINT).chain(['…']).collect(),
        false => part.to_owned(),
    };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Recorder;

    fn entry(at: i64, path: &str) -> Entry<'_> {
        Entry {
            time: Timestamp::from_micros(at),
            request_id: "id",
            peer: "192.0.2.7:1".parse().unwrap(),
            version: None,
            method: "GET",
            path,
            has_query: true,
            status: Some(401),
            outcome: Outcome::Unknown,
            cause: None,
            route: Some("api"),
            user_id: None,
            user_name: None,
            token_id: None,
            bytes_out: 0,
            total: std::time::Duration::ZERO,
            upstream: None,
        }
    }

    #[test]
    fn the_latest_of_all_workers_are_kept_newest_first() {
        let workers = [Recorder::new(), Recorder::new()];
        for second in 0..250_i64 {
            let worker = &workers[usize::from(second % 2 == 1)];
            worker.refusals().note(&entry(second * 1_000_000, "/x"));
        }
        let latest = LatestRefusals::of(&workers);
        let seconds: Vec<_> = latest.iter().map(|entry| entry.at.as_seconds()).collect();
        assert_eq!(seconds, (50..250).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_flood_does_not_push_out_what_was_there_before() {
        let worker = Recorder::new();
        worker.refusals().note(&entry(0, "/first"));
        (0..10_000).for_each(|micros| worker.refusals().note(&entry(1_000_000 + micros, "/flood")));
        let latest = LatestRefusals::of([&worker]);
        assert_eq!((latest.len(), latest[20].path.as_str()), (21, "/first"));
    }

    #[test]
    fn a_part_of_a_path_that_could_be_a_key_is_shortened() {
        for (path, shown) in [
            ("/", "/"),
            ("/orders/7/", "/orders/7/"),
            ("/a-long-name-without-any-digit/x", "/a-long-name-without-any-digit/x"),
            ("/reset/9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b/", "/reset/9944b091…/"),
            ("/k/tg_short", "/k/tg_short…"),
        ] {
            assert_eq!(without_keys(path), shown);
        }
        assert_eq!(beginning(&"ä".repeat(200)).chars().count(), 121);
    }
}
