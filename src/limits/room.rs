//! Limits the number of places of all clients together and of each client, and evicts idle holders for new ones.
//!
//! A place is *provisional* until its holder has made progress, for instance finished a handshake. When no place is
//! left, the oldest provisional place of the client with the most provisional places is evicted. So a client that takes
//! many places without using them displaces only itself. The cost of each operation is logarithmic in the number of
//! places.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Client, Limit, TurnedAway};

/// The limits of one kind of place.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Maximum number of places of all clients.
    pub all: usize,
    /// The name of this limit in the counters.
    pub all_name: Limit,
    /// Maximum number of places of one client.
    pub each: usize,
    /// The name of this limit in the counters.
    pub each_name: Limit,
}

/// A bounded number of places, shared by all workers.
#[derive(Debug)]
pub struct Room {
    turned_away: Arc<TurnedAway>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    held: usize,
    clients: HashMap<Client, Held>,
    /// Clients with provisional places, ordered by how many they have.
    ranked: BTreeSet<(usize, Client)>,
    next: u64,
}

/// The places of one client.
#[derive(Debug, Default)]
struct Held {
    places: usize,
    /// The provisional places, oldest first. Dropping a sender evicts its place.
    provisional: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One place of a client. Dropping it releases the place.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    client: Client,
    /// `None`: the place can no longer be evicted.
    provisional: Option<(u64, oneshot::Receiver<()>)>,
}

impl Bounds {
    /// The maximum of one client is at most that of all clients.
    fn in_order(self) -> Bounds {
        Bounds { each: self.each.min(self.all), ..self }
    }
}

impl Room {
    /// An empty room. `turned_away` counts its refusals.
    pub fn new(bounds: Bounds, turned_away: Arc<TurnedAway>) -> Arc<Room> {
        let (clients, ranked) = (HashMap::new(), BTreeSet::new());
        let state = State { bounds: bounds.in_order(), held: 0, clients, ranked, next: 0 };
        Arc::new(Room { turned_away, state: Mutex::new(state) })
    }

    /// Changes the limits. Places beyond them stay until they are released.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.lock().bounds = bounds.in_order();
    }

    /// Takes a provisional place for `client`. If none is left, evicts the oldest one of the client with the most.
    /// `None`: no place can be evicted.
    pub fn enter(self: &Arc<Self>, client: Client) -> Option<Place> {
        self.take(client, None)
    }

    /// Like [`Room::enter`], for a client with a maximum of `each` places.
    pub fn enter_within(self: &Arc<Self>, client: Client, each: usize) -> Option<Place> {
        self.take(client, Some(each))
    }

    fn take(self: &Arc<Self>, client: Client, each: Option<usize>) -> Option<Place> {
        let mut state = self.lock();
        let each = each.unwrap_or(state.bounds.each);
        let here = state.clients.get(&client).map_or(0, |held| held.places);
        let (full, from) = if here >= each {
            (Some(state.bounds.each_name), Some(client))
        } else if state.held >= state.bounds.all {
            (Some(state.bounds.all_name), state.ranked.last().map(|(_, client)| *client))
        } else {
            (None, None)
        };
        if let Some(limit) = full {
            self.turned_away.count(limit);
            if !from.is_some_and(|from| state.take_oldest(from)) {
                return None;
            }
        }
        let (keep, evicted) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.held += 1;
        state.change(client, |held| {
            held.places += 1;
            held.provisional.insert(number, keep);
        });
        drop(state);
        Some(Place { room: Arc::clone(self), client, provisional: Some((number, evicted)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Evicts the oldest provisional place of `client`. `false`: the client has none.
    fn take_oldest(&mut self, client: Client) -> bool {
        let taken = self.change(client, |held| {
            let taken = held.provisional.pop_first().is_some();
            held.places -= usize::from(taken);
            taken
        });
        self.held -= usize::from(taken);
        taken
    }

    /// Changes the places of a client, and updates the order of clients.
    fn change<T>(&mut self, client: Client, change: impl FnOnce(&mut Held) -> T) -> T {
        let held = self.clients.entry(client).or_default();
        let before = held.provisional.len();
        let result = change(held);
        let (after, is_empty) = (held.provisional.len(), held.places == 0);
        if before != after {
            self.ranked.remove(&(before, client));
            if after > 0 {
                self.ranked.insert((after, client));
            }
        }
        if is_empty {
            self.clients.remove(&client);
        }
        result
    }
}

impl Place {
    /// Completes when the place is evicted. Never completes for a confirmed place.
    pub async fn evicted(&mut self) {
        match &mut self.provisional {
            // Receives an error when the sender is dropped; no value is ever sent.
            Some((_, evicted)) => drop(evicted.await),
            None => std::future::pending().await,
        }
    }

    /// Confirms the place: it can no longer be evicted. `false`: it was evicted just before.
    pub fn confirm(&mut self) -> bool {
        let Some((number, _)) = &self.provisional else { return true };
        let number = *number;
        let kept = self.room.lock().change(self.client, |held| held.provisional.remove(&number).is_some());
        if kept {
            self.provisional = None;
        }
        kept
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        let number = self.provisional.as_ref().map(|(number, _)| *number);
        let given_back = state.change(self.client, |held| {
            // An evicted place is released already.
            let is_held = number.is_none_or(|number| held.provisional.remove(&number).is_some());
            held.places -= usize::from(is_held);
            is_held
        });
        state.held -= usize::from(given_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(all: usize, each: usize) -> (Arc<Room>, Arc<TurnedAway>) {
        let turned_away = Arc::<TurnedAway>::default();
        let bounds = Bounds { all, all_name: Limit::Connections, each, each_name: Limit::ConnectionsPerIp };
        (Room::new(bounds, Arc::clone(&turned_away)), turned_away)
    }

    fn client(number: u8) -> Client {
        Client::of([192, 0, 2, number].into())
    }

    fn is_evicted(place: &mut Place) -> bool {
        place
            .provisional
            .as_mut()
            .is_some_and(|(_, evicted)| evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed))
    }

    #[test]
    fn the_client_with_the_most_provisional_places_loses_its_oldest_one() {
        let (room, turned_away) = room(5, 4);
        let mut greedy: Vec<_> = (0..4).map(|_| room.enter(client(1)).unwrap()).collect();
        let mut modest = room.enter(client(2)).unwrap();
        let mut newcomer = room.enter(client(3)).unwrap();
        let taken: Vec<_> = greedy.iter_mut().map(is_evicted).collect();
        assert_eq!(taken, [true, false, false, false]);
        assert!(!is_evicted(&mut modest) && !is_evicted(&mut newcomer));
        assert!(newcomer.confirm() && modest.confirm());
        assert!(!greedy[0].confirm(), "it was taken away");
        drop(greedy);
        drop((modest, newcomer));
        let state = room.lock();
        assert!(state.held == 0 && state.clients.is_empty() && state.ranked.is_empty(), "{state:?}");
        assert_eq!(turned_away.counts().collect::<Vec<_>>()[..2], [("connections", 1), ("connections_per_ip", 0)]);
    }

    #[test]
    fn confirmed_places_stay_and_newcomers_are_refused() {
        let (room, turned_away) = room(3, 2);
        let mut held: Vec<_> = [1, 1, 2].map(|number| room.enter(client(number)).unwrap()).into();
        assert!(held.iter_mut().all(Place::confirm));
        assert!(room.enter(client(1)).is_none(), "the maximum of one client");
        assert!(room.enter(client(3)).is_none(), "all places");
        assert_eq!(turned_away.counts().collect::<Vec<_>>()[..2], [("connections", 1), ("connections_per_ip", 1)]);
        held.pop();
        assert!(room.enter(client(3)).is_some());
    }

    #[test]
    fn a_client_at_its_maximum_displaces_only_itself() {
        let (room, _) = room(100, 2);
        let mut other: Vec<_> = (0..2).map(|_| room.enter(client(2)).unwrap()).collect();
        let mut held: Vec<_> = (0..9).map(|_| room.enter(client(1)).unwrap()).collect();
        assert_eq!(held.iter_mut().filter_map(|place| is_evicted(place).then_some(())).count(), 7);
        assert!(!other.iter_mut().any(is_evicted));
    }
}
