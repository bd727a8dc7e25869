//! Limits how many connections of an upstream one client can use at once.
//!
//! An HTTP/2 stream costs its client almost nothing and uses a connection to an endpoint until it ends. So a client can
//! use at most three times as many connections as are free: a single client gets three quarters, a second one three
//! quarters of the rest, and so on. A request beyond that waits up to the connect timeout, and is then refused. Each
//! worker counts its own connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Refusal;
use crate::config::settings::{ClientShare, Upstream};
use crate::limits::{Client, FAIR, LogLimiter};

/// The shares of clients in the connections of one worker to one upstream.
pub struct Share {
    upstream: String,
    most: Most,
    /// Maximum number of connections of this worker to all endpoints together.
    connections: usize,
    wait: Duration,
    held: RefCell<HashMap<Client, Held>>,
    all: Cell<usize>,
    waiting: Cell<usize>,
    freed: Notify,
    refusals_logged: LogLimiter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Most {
    /// This multiple of the free connections.
    Free,
    /// This number.
    Of(usize),
}

#[derive(Clone, Copy, Default)]
struct Held {
    places: usize,
    waiting: usize,
}

/// A connection that a client may use. Dropping it releases the connection.
pub(super) struct ShareGuard(Rc<Share>, Client);

/// A request that waits for a connection.
struct Waiting<'s>(&'s Share, Client);

impl Share {
    /// Creates the shares; no client uses a connection. `workers` is the number of workers that share the upstream's
    /// limits.
    pub fn new(upstream: &Upstream, workers: usize) -> Share {
        let workers = workers.max(1);
        let each = upstream.max_connections.div_ceil(workers).max(1);
        Share {
            upstream: upstream.name.clone(),
            most: match upstream.client_share {
                ClientShare::Fair => Most::Free,
                ClientShare::Most(most) => Most::Of(most.div_ceil(workers).max(1)),
                ClientShare::Unlimited => Most::Of(usize::MAX),
            },
            connections: each
                .saturating_mul(upstream.endpoints.len())
                .saturating_mul(upstream.protocol.requests_per_connection()),
            wait: upstream.connect_timeout,
            held: RefCell::default(),
            all: Cell::new(0),
            waiting: Cell::new(0),
            freed: Notify::new(),
            refusals_logged: LogLimiter::default(),
        }
    }

    /// Whether the limits equal those of `other`.
    pub(super) fn has_limits_of(&self, other: &Share) -> bool {
        (self.most, self.connections, self.wait) == (other.most, other.connections, other.wait)
    }

    /// Takes a connection for a request of `client`; waits if the client uses its whole share.
    ///
    /// # Errors
    /// [`Refusal::Share`] if none became free in time, or if as many requests of the client wait as there are
    /// connections.
    pub(super) async fn enter(self: &Rc<Share>, client: Client) -> Result<ShareGuard, Refusal> {
        match self.take(client) {
            Some(place) => Ok(place),
            // Boxed: otherwise the future of every request would reserve space for this one.
            None => Box::pin(self.wait_for(client)).await,
        }
    }

    fn take(self: &Rc<Share>, client: Client) -> Option<ShareGuard> {
        let mut held = self.held.borrow_mut();
        let mine = held.get(&client).copied().unwrap_or_default();
        let most = match self.most {
            Most::Of(most) => most,
            Most::Free => self.connections.saturating_sub(self.all.get()).saturating_mul(FAIR),
        };
        // A client that uses no connection is never refused here: its first request waits for a connection like all
        // others.
        if mine.places >= most.max(1) {
            return None;
        }
        held.insert(client, Held { places: mine.places + 1, ..mine });
        self.all.set(self.all.get() + 1);
        Some(ShareGuard(Rc::clone(self), client))
    }

    async fn wait_for(self: &Rc<Share>, client: Client) -> Result<ShareGuard, Refusal> {
        let waiting = Waiting::enter(self, client).ok_or_else(|| self.refuse())?;
        let deadline = Instant::now() + self.wait;
        loop {
            let mut freed = pin!(self.freed.notified());
            // No release is missed from now on.
            freed.as_mut().enable();
            if let Some(place) = self.take(client) {
                drop(waiting);
                return Ok(place);
            }
            if timeout_at(deadline, freed).await.is_err() {
                return Err(self.refuse());
            }
        }
    }

    fn refuse(&self) -> Refusal {
        let now = Instant::now().into_std();
        if self.refusals_logged.is_due(now) {
            let mend = "where it stands for many clients, raise upstreams.NAME.max_connections_per_client";
            let upstream = self.upstream.as_str();
            tracing::warn!(code = "upstream_share", upstream, mend, "a client uses its whole share of the connections");
        }
        Refusal::Share
    }

    fn change(&self, client: Client, change: impl FnOnce(&mut Held)) {
        let mut held = self.held.borrow_mut();
        let mine = held.entry(client).or_default();
        change(mine);
        if mine.places == 0 && mine.waiting == 0 {
            held.remove(&client);
        }
    }
}

impl Drop for ShareGuard {
    fn drop(&mut self) {
        let ShareGuard(share, client) = self;
        share.change(*client, |held| held.places = held.places.saturating_sub(1));
        share.all.set(share.all.get().saturating_sub(1));
        if share.waiting.get() > 0 {
            share.freed.notify_waiters();
        }
    }
}

impl<'s> Waiting<'s> {
    fn enter(share: &'s Share, client: Client) -> Option<Waiting<'s>> {
        let is_full = share.held.borrow().get(&client).is_some_and(|held| held.waiting >= share.connections);
        if is_full {
            return None;
        }
        share.change(client, |held| held.waiting += 1);
        share.waiting.set(share.waiting.get() + 1);
        Some(Waiting(share, client))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Waiting(share, client) = self;
        share.change(*client, |held| held.waiting = held.waiting.saturating_sub(1));
        share.waiting.set(share.waiting.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Endpoint, EndpointAddress};

    fn client(number: u8) -> Client {
        Client::of([192, 0, 2, number].into())
    }

    fn shares(connections: usize, share: ClientShare, workers: usize) -> Rc<Share> {
        let endpoint = Endpoint::at("a:1", EndpointAddress::Tcp("a".to_owned(), 1));
        let upstream =
            Upstream { max_connections: connections, client_share: share, ..Upstream::of("a", vec![endpoint]) };
        Rc::new(Share::new(&upstream, workers))
    }

    /// Takes all connections.
    fn take_all(share: &Rc<Share>, number: u8) -> Vec<ShareGuard> {
        std::iter::from_fn(|| share.take(client(number))).take(10_000).collect()
    }

    #[test]
    fn each_client_gets_three_quarters_of_what_is_left() {
        let shares = shares(1_000, ClientShare::Fair, 1);
        let mut held = Vec::new();
        for number in 0..3 {
            held.push(take_all(&shares, number));
        }
        let counts: Vec<usize> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [750, 188, 47]);
        assert_eq!(take_all(&shares, 9).len(), 12);
        drop(held);
        assert_eq!(take_all(&shares, 0).len(), 750);
        assert!(shares.held.borrow().is_empty() && shares.all.get() == 0);
    }

    #[test]
    fn a_share_is_what_the_settings_say() {
        for (connections, share, workers, places) in [
            (1_000, ClientShare::Fair, 2, 375),
            (8, ClientShare::Fair, 1, 6),
            (2, ClientShare::Fair, 1, 2),
            (1, ClientShare::Fair, 1, 1),
            (1_000, ClientShare::Most(100), 1, 100),
            (1_000, ClientShare::Most(100), 8, 13),
            (10, ClientShare::Unlimited, 1, 10_000),
        ] {
            assert_eq!(take_all(&shares(connections, share, workers), 1).len(), places, "{connections} {share:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_beyond_the_share_waits_and_is_refused_in_time() {
        let shares = shares(4, ClientShare::Fair, 1);
        let mut held = take_all(&shares, 1);
        assert_eq!(held.len(), 3);
        let began = Instant::now();
        assert_eq!(shares.enter(client(1)).await.err(), Some(Refusal::Share));
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        assert!(shares.enter(client(2)).await.is_ok(), "another client");
        let mut waiting = pin!(shares.enter(client(1)));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err());
        held.pop();
        let place = waiting.await;
        assert!(place.is_ok());
        drop((place, held));
        assert!(shares.held.borrow().is_empty() && shares.waiting.get() == 0);
    }
}
