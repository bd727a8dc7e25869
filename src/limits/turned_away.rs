//! Counts the refusals of limits, for metrics and the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that refuses clients, named after its setting if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections of the process.
    Connections,
    /// Connections of one client.
    ConnectionsPerIp,
    /// Unfinished TLS handshakes of the process.
    Handshakes,
    /// Unfinished TLS handshakes of one client.
    HandshakesPerIp,
    /// Refused request bodies that are read and discarded.
    UnreadBodies,
    /// Connections of one client to the admin application or to an internal listener.
    AdminConnections,
}

impl Limit {
    /// All limits, in the order of [`TurnedAway`].
    const ALL: [(Limit, &str); 6] = [
        (Limit::Connections, "connections"),
        (Limit::ConnectionsPerIp, "connections_per_ip"),
        (Limit::Handshakes, "handshakes"),
        (Limit::HandshakesPerIp, "handshakes_per_ip"),
        (Limit::UnreadBodies, "unread_bodies"),
        (Limit::AdminConnections, "admin_connections"),
    ];
}

/// The number of refusals of each limit.
#[derive(Debug, Default)]
pub struct TurnedAway([Count; Limit::ALL.len()]);

#[derive(Debug, Default)]
struct Count {
    total: AtomicU64,
    /// How many of them were logged.
    logged: AtomicU64,
}

impl TurnedAway {
    /// Counts a refusal of `limit`.
    pub fn count(&self, limit: Limit) {
        for ((named, _), count) in Limit::ALL.iter().zip(&self.0) {
            if *named == limit {
                count.total.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The name and the number of refusals of each limit.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.iter().zip(&self.0).map(|((_, name), count)| (*name, count.total.load(Ordering::Relaxed)))
    }

    /// The refusals of each limit since the last call, without zeros. Called once a second for the log, so that a flood
    /// of clients does not flood the log.
    pub fn since_last_call(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts().zip(&self.0).filter_map(|((name, total), count)| {
            let new = total.saturating_sub(count.logged.swap(total, Ordering::Relaxed));
            (new > 0).then_some((name, new))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_refusals_are_reported_once_and_counts_stay() {
        let turned_away = TurnedAway::default();
        assert_eq!(turned_away.since_last_call().count(), 0);
        for limit in [Limit::Handshakes, Limit::Connections, Limit::Handshakes] {
            turned_away.count(limit);
        }
        assert_eq!(turned_away.since_last_call().collect::<Vec<_>>(), [("connections", 1), ("handshakes", 2)]);
        turned_away.count(Limit::Handshakes);
        assert_eq!(turned_away.since_last_call().collect::<Vec<_>>(), [("handshakes", 1)]);
        assert_eq!(turned_away.since_last_call().count(), 0);
        let total: u64 = turned_away.counts().map(|(_, count)| count).sum();
        assert_eq!(total, 4);
    }
}
