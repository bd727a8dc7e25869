//! Limits of client connections, shared by all workers and listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::config::settings::Limits;
use crate::limits::{Bounds, Client, Limit, Place, Room, Turn, TurnedAway, Turns};

/// A handshake is slow after one part in this many of its timeout, by default after one second. A whole handshake takes
/// two round trips. A slow handshake ends if other handshakes of its client wait.
const SLOW: u32 = 10;
/// How often a slow handshake checks whether other handshakes of its client wait.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of connections on which the rest of a refused request is read and discarded: of the process, and of
/// one client.
const MAX_UNREAD: usize = 512;
const MAX_UNREAD_PER_CLIENT: usize = 32;

/// The limits of client connections.
///
/// A connection has a place from its accept to its end. The place is provisional until the client has finished a
/// handshake, or has sent something on an unencrypted listener: a provisional place is evicted when no place is left. A
/// handshake has a place of its own from the first byte of its client to its end.
#[derive(Debug)]
pub struct Connections {
    places: Arc<Room>,
    handshakes: Arc<Room>,
    /// Handshakes of one client beyond its limit wait, so that a client which opens many connections at once loses
    /// none.
    turns: Arc<Turns>,
    /// In milliseconds.
    slow: AtomicU64,
    turned_away: Arc<TurnedAway>,
    unread: Arc<Room>,
}

/// A running TLS handshake. It uses its place until it is dropped.
pub struct TlsHandshake {
    place: Place,
    turn: Turn,
    slow: Duration,
    turned_away: Arc<TurnedAway>,
}

impl Connections {
    /// Creates the limits, without connections. `handshake` is the timeout of a handshake; `turned_away` counts the
    /// refusals.
    pub fn new(limits: &Limits, handshake: Duration, turned_away: &Arc<TurnedAway>) -> Arc<Connections> {
        let room = |bounds| Room::new(bounds, Arc::clone(turned_away));
        let (all_name, each_name) = (Limit::UnreadBodies, Limit::UnreadBodies);
        Arc::new(Connections {
            places: room(of_connections(limits)),
            handshakes: room(of_handshakes(limits)),
            turns: Turns::new(of_handshakes(limits).each),
            slow: AtomicU64::new(slow(handshake)),
            turned_away: Arc::clone(turned_away),
            unread: room(Bounds { all: MAX_UNREAD, all_name, each: MAX_UNREAD_PER_CLIENT, each_name }),
        })
    }

    /// Changes the limits. Open connections beyond the new limits stay open.
    pub fn set_limits(&self, limits: &Limits, handshake: Duration) {
        self.places.set_bounds(of_connections(limits));
        self.handshakes.set_bounds(of_handshakes(limits));
        self.turns.set_each(of_handshakes(limits).each);
        self.slow.store(slow(handshake), Ordering::Relaxed);
    }

    /// Takes a provisional place for a connection that was just accepted. `None`: the connection must be closed.
    pub fn enter(&self, client: Client) -> Option<Place> {
        self.places.enter(client)
    }

    /// Waits until a handshake of `client` may begin.
    pub async fn begin_handshake(&self, client: Client) -> Option<TlsHandshake> {
        let turn = self.turns.join(client).turn().await;
        let place = self.handshakes.enter(client)?;
        let slow = Duration::from_millis(self.slow.load(Ordering::Relaxed));
        Some(TlsHandshake { place, turn, slow, turned_away: Arc::clone(&self.turned_away) })
    }

    /// Takes a place for reading and discarding the rest of a refused request.
    pub fn read_on(&self, client: Client) -> Option<Place> {
        self.unread.enter(client)
    }
}

fn of_connections(limits: &Limits) -> Bounds {
    let (all_name, each_name) = (Limit::Connections, Limit::ConnectionsPerIp);
    Bounds { all: limits.connections, all_name, each: limits.connections_per_ip, each_name }
}

fn of_handshakes(limits: &Limits) -> Bounds {
    let (all_name, each_name) = (Limit::Handshakes, Limit::HandshakesPerIp);
    let each = limits.handshakes_per_ip.min(limits.handshakes);
    Bounds { all: limits.handshakes, all_name, each, each_name }
}

fn slow(handshake: Duration) -> u64 {
    u64::try_from((handshake / SLOW).as_millis()).unwrap_or(u64::MAX)
}

impl TlsHandshake {
    /// Completes when the handshake must end because another one needs its place.
    pub async fn gives_way(&mut self) {
        let is_slow = async {
            sleep(self.slow).await;
            while !self.turn.is_awaited() {
                sleep(CHECK_INTERVAL).await;
            }
            self.turned_away.count(Limit::HandshakesPerIp);
        };
        tokio::select! {
            biased;
            () = self.place.evicted() => {}
            () = is_slow => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn client(text: &str) -> Client {
        Client::of(text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn connections_and_handshakes_of_one_ipv6_network_are_those_of_one_client() {
        let limits = Limits { connections_per_ip: 2, handshakes_per_ip: 2, ..Limits::default() };
        let connections = Connections::new(&limits, Duration::from_secs(3600), &Arc::default());
        let mut held = Vec::new();
        let mut handshakes = Vec::new();
        for address in ["2001:db8:1:2::1", "2001:db8:1:2::2"] {
            let mut place = connections.enter(client(address)).unwrap();
            assert!(place.confirm());
            held.push(place);
            handshakes.push(connections.begin_handshake(client(address)).await);
        }
        let neighbour = client("2001:db8:1:2:ffff::");
        assert!(connections.enter(neighbour).is_none());
        let a_minute = Duration::from_secs(60);
        assert!(timeout(a_minute, connections.begin_handshake(neighbour)).await.is_err(), "it waits");
        for other in ["2001:db8:1:3::1", "192.0.2.1", "::ffff:192.0.2.2"] {
            assert!(connections.enter(client(other)).is_some(), "{other}");
            assert!(connections.begin_handshake(client(other)).await.is_some(), "{other}");
        }
    }
}
