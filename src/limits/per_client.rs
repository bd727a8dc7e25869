//! Counts what each client holds at once, so that one client cannot take everything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Client;

/// How many places each client holds. Memory grows with the clients that hold one.
#[derive(Debug, Default)]
pub struct PerClient(Mutex<HashMap<Client, usize>>);

/// One place of a client. Dropping it gives the place back.
#[derive(Debug)]
pub struct Share {
    places: Arc<PerClient>,
    client: Client,
}

impl PerClient {
    /// No client holds anything.
    pub fn new() -> Arc<PerClient> {
        Arc::default()
    }

    /// Takes one place for `client`. `None` if the client holds `most` or more.
    pub fn take(self: &Arc<Self>, client: Client, most: usize) -> Option<Share> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = taken.get(&client).copied().unwrap_or(0);
        if held >= most {
            return None;
        }
        taken.insert(client, held + 1);
        Some(Share { places: Arc::clone(self), client })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = taken.get_mut(&self.client) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        Client::of(text.parse().unwrap())
    }

    #[test]
    fn a_client_that_holds_its_share_keeps_no_other_client_out() {
        let places = PerClient::new();
        let held: Vec<_> = (0..5).filter_map(|_| places.take(client("2001:db8:1:2::1"), 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(places.take(client("2001:db8:1:2:ffff::"), 2).is_none(), "the same network");
        assert!(places.take(client("2001:db8:1:3::1"), 2).is_some());
        assert!(places.take(client("192.0.2.1"), 2).is_some());
        drop(held);
        assert!(places.take(client("2001:db8:1:2::1"), 2).is_some());
        assert!(places.0.lock().unwrap().is_empty(), "nothing is kept of clients that hold nothing");
    }
}
