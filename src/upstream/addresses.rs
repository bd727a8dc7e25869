//! The IP addresses of an endpoint that is configured by host name.
//!
//! The control half resolves the name. A worker reads the addresses only when it opens a connection. A name that cannot
//! be resolved does not stop the gateway: requests for this endpoint get 503 until the name is resolved.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::race::in_turn;

/// Timeout of one query to the system's resolver.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Delay before an unresolved name is looked up again: the first one, and the longest one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The addresses of one host name, shared by all workers.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: String,
    port: u16,
    is_known: AtomicBool,
    /// The address that accepted the last connection comes first.
    all: RwLock<Arc<[SocketAddr]>>,
}

impl Addresses {
    /// A host name that was not resolved yet.
    pub fn of(host: &str, port: u16) -> Addresses {
        Addresses(Arc::new(Inner {
            host: host.to_owned(),
            port,
            is_known: AtomicBool::new(false),
            all: RwLock::default(),
        }))
    }

    /// A host name with known addresses; no lookup is needed.
    pub fn known(host: &str, port: u16, all: impl IntoIterator<Item = SocketAddr>) -> Addresses {
        let addresses = Addresses::of(host, port);
        addresses.set(all);
        addresses
    }

    /// Whether the name was resolved at least once.
    pub(super) fn are_known(&self) -> bool {
        self.0.is_known.load(Ordering::Relaxed)
    }

    /// All addresses, in the order in which a connection tries them.
    pub(super) fn all(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.0.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves the address that accepted a connection to the front.
    pub(super) fn answered(&self, address: SocketAddr) {
        if self.all().first() == Some(&address) {
            return;
        }
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        let others = all.iter().copied().filter(|other| *other != address);
        *all = std::iter::once(address).chain(others).collect();
    }

    fn set(&self, all: impl IntoIterator<Item = SocketAddr>) {
        *self.0.all.write().unwrap_or_else(PoisonError::into_inner) = in_turn(all).into();
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// Resolves the name once. The blocking call of the system's resolver runs in a thread of its own.
    ///
    /// # Errors
    /// The resolver's error, or a timeout.
    pub async fn look_up(&self) -> io::Result<()> {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((self.0.host.as_str(), self.0.port)));
        let found: Vec<SocketAddr> = found.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
        if found.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        self.set(found);
        Ok(())
    }

    /// Resolves the name repeatedly, with backoff, until it succeeds. Logs the failure once and the success once.
    pub async fn keep_looking_up(self, upstream: String, first: io::Error) {
        let Inner { host, .. } = &*self.0;
        tracing::warn!(upstream, host, error = %first, "an endpoint's host cannot be resolved; requests for it get 503");
        let mut rest = FIRST_REST;
        loop {
            tokio::time::sleep(rest).await;
            if self.look_up().await.is_ok() {
                tracing::info!(upstream, host, "the endpoint's host was resolved");
                return;
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
    }
}

/// Equal if host and port are equal: their connections are interchangeable, whichever addresses the name has now.
impl PartialEq for Addresses {
    fn eq(&self, other: &Addresses) -> bool {
        (&self.0.host, self.0.port) == (&other.0.host, other.0.port)
    }
}

impl Eq for Addresses {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_address_that_accepted_the_last_connection_is_tried_first() {
        let list = |ports: &[u16]| ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect::<Vec<SocketAddr>>();
        let addresses = Addresses::known("a.test", 80, list(&[1, 2, 3]));
        for (answered, order) in [(3, [3, 1, 2]), (3, [3, 1, 2]), (2, [2, 3, 1])] {
            addresses.answered(([127, 0, 0, 1], answered).into());
            assert_eq!(*addresses.all(), list(&order));
        }
        let unknown = Addresses::of("127.0.0.1", 80);
        assert!(!unknown.are_known() && unknown.all().is_empty());
        unknown.look_up().await.unwrap();
        assert!(unknown.are_known() && unknown == Addresses::of("127.0.0.1", 80) && unknown != addresses);
    }
}
