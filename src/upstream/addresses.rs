//! The IP addresses of an endpoint that is configured by host name.
//!
//! The control half resolves the name. A worker reads the addresses only when it opens a connection. A name that cannot
//! be resolved does not stop the gateway: requests for this endpoint get 503 until the name is resolved.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::race::in_turn;
use crate::config::settings::is_foreign;

/// Timeout of one query to the resolver.
const LOOK_UP: Duration = Duration::from_secs(5);

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves host names: the resolver of the system, or that of a test.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(String, u16) -> Found + Send + Sync>);

/// The addresses of one host name, shared by all workers.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: String,
    port: u16,
    /// How often the addresses have changed; 0: the name was never resolved.
    version: AtomicU64,
    /// The address that accepted the last connection comes first.
    all: RwLock<Arc<[SocketAddr]>>,
}

impl Resolver {
    /// The resolver of the system. Its blocking call runs in a thread of its own.
    pub fn system() -> Resolver {
        Resolver::new(async |host, port| Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()))
    }

    /// Another resolver.
    pub fn new<F>(resolve: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Resolver
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Resolver(Arc::new(move |host, port| Box::pin(resolve(host, port))))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Addresses {
    /// A host name that was not resolved yet.
    pub fn of(host: &str, port: u16) -> Addresses {
        let (version, all) = (AtomicU64::new(0), RwLock::default());
        Addresses(Arc::new(Inner { host: host.to_owned(), port, version, all }))
    }

    /// A host name with known addresses; no lookup is needed.
    pub fn known(host: &str, port: u16, all: impl IntoIterator<Item = SocketAddr>) -> Addresses {
        let addresses = Addresses::of(host, port);
        addresses.set(all.into_iter().collect());
        addresses
    }

    /// The host name and the port.
    pub fn name(&self) -> (String, u16) {
        (self.0.host.clone(), self.0.port)
    }

    /// Whether this is an address, which always resolves to itself.
    pub fn is_literal(&self) -> bool {
        self.0.host.parse::<IpAddr>().is_ok()
    }

    /// Whether the name was resolved at least once.
    pub fn are_known(&self) -> bool {
        self.version() > 0
    }

    /// An address over which unencrypted requests leave the networks of this site, if there is one.
    pub fn foreign(&self) -> Option<IpAddr> {
        self.all().iter().map(SocketAddr::ip).find(|address| is_foreign(*address))
    }

    /// Changes when the addresses change.
    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Relaxed)
    }

    /// All addresses, in the order in which a connection tries them.
    pub(super) fn all(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.0.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves the address that accepted a connection to the front, unless the name no longer resolves to it.
    pub(super) fn answered(&self, address: SocketAddr) {
        if self.all().first() == Some(&address) {
            return;
        }
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.contains(&address) {
            let others = all.iter().copied().filter(|other| *other != address);
            *all = std::iter::once(address).chain(others).collect();
        }
    }

    /// Replaces the addresses. Returns whether the set of addresses has changed; their order does not matter.
    fn set(&self, new: Vec<SocketAddr>) -> bool {
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = all.iter().collect::<BTreeSet<_>>() != new.iter().collect::<BTreeSet<_>>();
        if is_new {
            *all = in_turn(new).into();
            self.0.version.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// Resolves the name once. Returns whether its addresses have changed. After an error they are those of before.
    ///
    /// # Errors
    /// The resolver's error, or a timeout.
    pub async fn look_up(&self, resolver: &Resolver) -> io::Result<bool> {
        let found = tokio::time::timeout(LOOK_UP, resolver.0(self.0.host.clone(), self.0.port)).await;
        let found = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if found.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        Ok(self.set(found))
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
        addresses.answered(([127, 0, 0, 1], 9).into());
        assert_eq!(*addresses.all(), list(&[2, 3, 1]), "an address that the name does not have any more");
    }

    #[tokio::test]
    async fn a_lookup_that_fails_keeps_the_addresses_and_another_order_is_no_change() {
        let unknown = Addresses::of("127.0.0.1", 80);
        assert!(!unknown.are_known() && unknown.all().is_empty() && unknown.is_literal());
        assert!(unknown.look_up(&Resolver::system()).await.unwrap());
        assert!(unknown.are_known() && unknown == Addresses::of("127.0.0.1", 80));
        let (one, two): (SocketAddr, SocketAddr) = (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into());
        let name = Addresses::known("a.test", 80, [one, two]);
        name.answered(two);
        for (found, is_new, left) in [
            (Ok(vec![one, two]), Some(false), vec![two, one]),
            (Err(io::ErrorKind::NotFound), None, vec![two, one]),
            (Ok(vec![]), None, vec![two, one]),
            (Ok(vec![one]), Some(true), vec![one]),
        ] {
            let resolver = Resolver::new(move |_, _| std::future::ready(found.clone().map_err(io::Error::from)));
            assert_eq!(name.look_up(&resolver).await.ok(), is_new);
            assert_eq!(*name.all(), left);
        }
    }
}
