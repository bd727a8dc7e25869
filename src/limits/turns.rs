//! Limits how many tasks of one kind each client runs at once; further tasks wait in order of arrival.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Client;

/// The turns of all clients. Memory grows with the number of clients that have a turn or wait.
#[derive(Debug)]
pub struct Turns {
    each: AtomicUsize,
    clients: Mutex<HashMap<Client, Line>>,
}

#[derive(Debug)]
struct Line {
    turns: Arc<Semaphore>,
    /// Number of tasks that have a turn or wait for one.
    members: usize,
}

/// A task in a client's queue.
#[derive(Debug)]
pub struct Waiting {
    all: Arc<Turns>,
    client: Client,
    turns: Arc<Semaphore>,
}

/// One turn of a client. Dropping it lets the next task run.
#[derive(Debug)]
pub struct Turn {
    // Dropped in this order: the next task runs before the queue is removed.
    _turn: Option<OwnedSemaphorePermit>,
    member: Waiting,
}

impl Turns {
    /// Each client has `each` turns at once.
    pub fn new(each: usize) -> Arc<Turns> {
        Arc::new(Turns { each: each.into(), clients: Mutex::default() })
    }

    /// Changes how many turns a client has. Existing queues keep their number.
    pub fn set_each(&self, each: usize) {
        self.each.store(each, Ordering::Relaxed);
    }

    /// Joins the client's queue.
    pub fn join(self: &Arc<Self>, client: Client) -> Waiting {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let each = self.each.load(Ordering::Relaxed).min(Semaphore::MAX_PERMITS);
        let fresh = || Line { turns: Arc::new(Semaphore::new(each)), members: 0 };
        let line = clients.entry(client).or_insert_with(fresh);
        line.members += 1;
        Waiting { all: Arc::clone(self), client, turns: Arc::clone(&line.turns) }
    }
}

impl Waiting {
    /// Completes when the task may run.
    pub async fn turn(self) -> Turn {
        // Fails only if the semaphore is closed, which never happens.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        Turn { _turn: turn, member: self }
    }
}

impl Turn {
    /// Whether other tasks of the client wait.
    pub fn is_awaited(&self) -> bool {
        let clients = self.member.all.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let each = self.member.all.each.load(Ordering::Relaxed);
        clients.get(&self.member.client).is_some_and(|line| line.members > each)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut clients = self.all.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = clients.get_mut(&self.client) {
            line.members -= 1;
            if line.members == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::of([192, 0, 2, number].into())
    }

    #[tokio::test]
    async fn each_client_has_its_turns_and_the_rest_wait_in_order() {
        let turns = Turns::new(1);
        let first = turns.join(client(1)).turn().await;
        let (second, third) = (turns.join(client(1)), turns.join(client(1)));
        let mut second = std::pin::pin!(second.turn());
        let mut third = std::pin::pin!(third.turn());
        tokio::select! {
            biased;
            _ = &mut second => panic!("two at once"),
            _ = &mut third => panic!("two at once"),
            _ = turns.join(client(2)).turn() => {}
        }
        assert!(first.is_awaited());
        drop(first);
        tokio::select! {
            biased;
            _ = &mut third => panic!("out of order"),
            _ = &mut second => {}
        }
    }

    #[tokio::test]
    async fn no_entry_remains_for_clients_without_a_turn() {
        let turns = Turns::new(2);
        let held = turns.join(client(1)).turn().await;
        drop(turns.join(client(2)));
        assert_eq!(turns.clients.lock().unwrap().len(), 1);
        drop(held);
        assert!(turns.clients.lock().unwrap().is_empty());
    }
}
