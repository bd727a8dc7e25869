//! Counters of an endpoint, of all workers together.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Health, TlsFault};
use crate::telemetry::Outage;

/// Counters of an endpoint, of all workers together.
///
/// Written only when a connection is opened, refused or closed: a request on an idle connection does not touch them.
#[derive(Debug, Default)]
pub struct EndpointTally {
    made: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    refused_in_a_row: AtomicU64,
    retried: AtomicU64,
    outage: Outage,
    /// Whether requests are sent to it.
    pub health: Health,
}

/// Whether an endpoint can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// No connection was attempted yet.
    Untried,
    /// The last attempt to connect succeeded.
    Reachable,
    /// This many attempts to connect failed in a row.
    Unreachable(u64),
}

impl EndpointTally {
    /// Counts a connection that was opened. Logs the end of an outage.
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

    /// Counts a failed attempt to connect. Logs the start of an outage.
    pub(super) fn refused(&self, endpoint: &str, error: &dyn Display) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refused_in_a_row.fetch_add(1, Ordering::Relaxed);
        if self.outage.failed() {
            tracing::warn!(code = "endpoint_unreachable", endpoint, %error, "cannot connect to the endpoint");
        }
    }

    /// Counts a failed TLS handshake. Logs the start of an outage.
    pub(super) fn distrusted(&self, endpoint: &str, fault: &TlsFault) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refused_in_a_row.fetch_add(1, Ordering::Relaxed);
        if self.outage.failed() {
            let (error, mend) = (&fault.what, fault.mend);
            tracing::warn!(code = "endpoint_tls", endpoint, error, mend, "the TLS handshake with the endpoint failed");
        }
    }

    /// Connections that are open now. Counters that are read out of step give 0.
    pub fn open(&self) -> u64 {
        // Reads the smaller counter first; both only grow.
        let lost = self.lost.load(Ordering::Relaxed);
        self.made.load(Ordering::Relaxed).saturating_sub(lost)
    }

    /// How many attempts to connect failed.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a request that failed here and is sent once more.
    pub(super) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests failed here and were sent once more.
    pub fn retries(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Whether the endpoint can be reached, according to the last attempt.
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
    fn reachability_follows_the_last_attempt_to_connect() {
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
