//! A budget that all clients share, with a maximum per client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Client, FAIR};

/// A budget for places or for bytes. Its memory grows with the number of clients that use it.
#[derive(Debug)]
pub struct Budget {
    /// Maximum of all clients together.
    all: usize,
    /// Maximum of each client.
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<Client, usize>,
}

/// The amount that one client uses. Dropping it releases the amount.
#[derive(Debug)]
pub struct Hold {
    room: Arc<Budget>,
    client: Client,
    amount: usize,
}

/// Why an amount was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The client has reached its maximum. Other clients can get more.
    ForClient,
    /// The budget is used up, or the rest is reserved for clients that use little.
    ForAll,
}

impl Budget {
    /// An unused budget: `all` for all clients together, `each` for each one.
    pub fn new(all: usize, each: usize) -> Arc<Budget> {
        Arc::new(Budget { all, each, taken: Mutex::default() })
    }

    /// Takes `amount` for a client.
    ///
    /// # Errors
    /// [`Full`]; nothing is taken.
    pub fn take(self: &Arc<Budget>, client: Client, amount: usize) -> Result<Hold, Full> {
        let mut hold = Hold { room: Arc::clone(self), client, amount: 0 };
        hold.grow(amount)?;
        Ok(hold)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Every change is complete before the lock is released.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Takes `more` in addition.
    ///
    /// # Errors
    /// [`Full`]; the amount stays as it is.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        let mut taken = self.room.taken();
        let of_client = taken.of.get(&self.client).copied().unwrap_or(0);
        if of_client.saturating_add(more) > self.room.each {
            return Err(Full::ForClient);
        }
        let free = self.room.all.saturating_sub(taken.all);
        if more > free || of_client.saturating_add(more) > free.saturating_mul(FAIR) {
            return Err(Full::ForAll);
        }
        taken.all += more;
        taken.of.insert(self.client, of_client + more);
        self.amount += more;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.all = taken.all.saturating_sub(self.amount);
        if let Some(of_client) = taken.of.get_mut(&self.client) {
            *of_client = of_client.saturating_sub(self.amount);
            if *of_client == 0 {
                taken.of.remove(&self.client);
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
    fn greedy_clients_leave_some_to_others() {
        let room = Budget::new(1_024, 128);
        let mut held = Vec::new();
        for number in 1..=10 {
            let client = client(&format!("192.0.2.{number}"));
            held.extend(std::iter::from_fn(|| room.take(client, 1).ok()));
        }
        assert!(room.take(client("192.0.2.200"), 1).is_ok(), "{}", held.len());
    }

    #[test]
    fn one_client_gets_its_maximum_and_all_together_get_the_budget() {
        let room = Budget::new(10, 4);
        let (one, same, other) = (client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::"), client("192.0.2.1"));
        let mut held = room.take(one, 1).unwrap();
        held.grow(2).unwrap();
        assert_eq!(room.take(same, 2).err(), Some(Full::ForClient), "the same network");
        assert_eq!(held.grow(2), Err(Full::ForClient));
        let rest = (room.take(same, 1).unwrap(), room.take(other, 4).unwrap());
        assert_eq!(room.take(client("192.0.2.2"), 3).err(), Some(Full::ForAll));
        let last = room.take(client("192.0.2.2"), 2).unwrap();
        drop(held);
        assert!(room.take(client("192.0.2.3"), 3).is_ok());
        drop((rest, last));
        let taken = room.taken();
        assert!(taken.all == 0 && taken.of.is_empty(), "no entry remains for clients that use nothing");
    }
}
