//! How many connections each client has at the door, so that none of them takes all places.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::client_of;

/// Who has how many.
pub(super) struct Shares {
    /// Most for one client.
    each: usize,
    /// Most for all of this machine: whoever comes through a tunnel comes from here.
    local: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
pub(super) struct Share {
    all: Arc<Shares>,
    client: IpAddr,
}

impl Shares {
    /// Nobody is here.
    pub(super) fn new(each: usize, local: usize) -> Arc<Shares> {
        Arc::new(Shares { each, local, taken: Mutex::default() })
    }

    /// One more from this address, unless its client has as many as one may have.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let is_local = address.to_canonical().is_loopback();
        // Each program of this machine may call itself 127.0.0.2, 127.0.0.3 and so on.
        let client = if is_local { Ipv6Addr::LOCALHOST.into() } else { client_of(address) };
        let most = if is_local { self.local } else { self.each };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.get(&client).copied().unwrap_or(0);
        if here >= most {
            return None;
        }
        taken.insert(client, here + 1);
        Some(Share { all: Arc::clone(self), client })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.all.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = taken.get_mut(&self.client) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_has_all_that_one_client_may_have_keeps_nobody_else_out() {
        let shares = Shares::new(2, 3);
        let held: Vec<_> = (0..5).filter_map(|_| shares.take(from("2001:db8:1:2::1"))).collect();
        assert_eq!(held.len(), 2);
        assert!(shares.take(from("2001:db8:1:2:ffff::")).is_none(), "the same network");
        assert!(shares.take(from("2001:db8:1:3::1")).is_some());
        assert!(shares.take(from("192.0.2.1")).is_some());
        drop(held);
        assert!(shares.take(from("2001:db8:1:2::1")).is_some());
        assert!(shares.taken.lock().unwrap().is_empty(), "nothing is kept of who has left");
    }

    #[test]
    fn this_machine_is_one_client_by_whatever_address_it_comes() {
        let shares = Shares::new(2, 3);
        let held: Vec<_> = ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"]
            .iter()
            .filter_map(|it| shares.take(from(it)))
            .collect();
        assert_eq!(held.len(), 3);
        assert!(shares.take(from("192.0.2.1")).is_some());
    }
}
