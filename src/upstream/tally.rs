//! What is known of an endpoint, all workers together.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Outage;

/// What is known of an endpoint, all workers together.
///
/// Written when a connection is made, refused or lost, which is seldom: a request on a warm connection does not come
/// here.
#[derive(Debug, Default)]
pub struct EndpointTally {
    made: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    refused_in_a_row: AtomicU64,
    outage: Outage,
}

/// Whether an endpoint can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// Nobody has tried.
    Untried,
    /// The last attempt to connect succeeded.
    Reachable,
    /// The last attempts to connect, so many, failed.
    Unreachable(u64),
}

impl EndpointTally {
    /// A connection was made to `endpoint`. Tells of the end of an outage.
    pub(super) fn made(&self, endpoint: &str) {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.refused_in_a_row.store(0, Ordering::Relaxed);
        if let Some(ended) = self.outage.succeeded() {
            let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
            tracing::info!(
                code = "endpoint_unreachable",
                endpoint,
                failures,
                lasted_ms,
                "the endpoint can be reached again"
            );
        }
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// No connection to `endpoint` could be made. Tells of the beginning of an outage.
    pub(super) fn refused(&self, endpoint: &str, error: &dyn Display) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refused_in_a_row.fetch_add(1, Ordering::Relaxed);
        if self.outage.failed() {
            tracing::warn!(code = "endpoint_unreachable", endpoint, %error, "cannot connect to the endpoint");
        }
    }

    /// Connections now open. A moment's inconsistency reads as 0.
    pub fn open(&self) -> u64 {
        // First the smaller one, which only grows.
        let lost = self.lost.load(Ordering::Relaxed);
        self.made.load(Ordering::Relaxed).saturating_sub(lost)
    }

    /// Attempts to connect that failed.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Can it be reached, as far as the last attempt says?
    pub fn reachability(&self) -> Reachability {
        match (self.refused_in_a_row.load(Ordering::Relaxed), self.made.load(Ordering::Relaxed)) {
            (0, 0) => Reachability::Untried,
            (0, _) => Reachability::Reachable,
            (count, _) => Reachability::Unreachable(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_says_whether_an_endpoint_can_be_reached() {
        let tally = EndpointTally::default();
        assert_eq!(tally.reachability(), Reachability::Untried);
        tally.refused("a", &"why");
        tally.refused("a", &"why");
        assert_eq!((tally.reachability(), tally.refusals(), tally.open()), (Reachability::Unreachable(2), 2, 0));
        tally.made("a");
        tally.made("a");
        tally.lost();
        assert_eq!((tally.reachability(), tally.refusals(), tally.open()), (Reachability::Reachable, 2, 1));
    }
}
