//! The addresses of an endpoint that is configured by name.
//!
//! Looked up by the control half, read by a worker when it makes a connection, never for a request on a warm one. A name
//! that is unknown does not stop the gateway: its requests get 503 until it is known.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::race::in_turn;

/// Longest wait for one answer of the system's resolver.
const LOOK_UP: Duration = Duration::from_secs(5);
/// How long an unknown name rests before it is looked up again: at first, and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The addresses of one name, shared by all workers.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: String,
    port: u16,
    is_known: AtomicBool,
    /// The one that answered last comes first.
    all: RwLock<Arc<[SocketAddr]>>,
}

impl Addresses {
    /// Of a name that was not looked up yet.
    pub fn of(host: &str, port: u16) -> Addresses {
        Addresses(Arc::new(Inner {
            host: host.to_owned(),
            port,
            is_known: AtomicBool::new(false),
            all: RwLock::default(),
        }))
    }

    /// Known without asking.
    pub fn known(host: &str, port: u16, all: impl IntoIterator<Item = SocketAddr>) -> Addresses {
        let addresses = Addresses::of(host, port);
        addresses.set(all);
        addresses
    }

    /// Was the name ever found?
    pub(super) fn are_known(&self) -> bool {
        self.0.is_known.load(Ordering::Relaxed)
    }

    /// All of them, in the order in which they should be tried.
    pub(super) fn all(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.0.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers which one answered, to try it first.
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

    /// Looks the name up once. Blocks on the system's resolver in a thread of its own.
    ///
    /// # Errors
    /// What the resolver says, also if it says nothing in time.
    pub async fn look_up(&self) -> io::Result<()> {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((self.0.host.as_str(), self.0.port)));
        let found: Vec<SocketAddr> = found.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
        if found.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        self.set(found);
        Ok(())
    }

    /// Looks the name up again and again until it is known; logs once at the begin and once at the end.
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

/// The same name and port: connections to it are interchangeable, whatever it means at the moment.
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
    async fn the_address_that_answered_is_tried_first_from_then_on() {
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
