//! Last-used times of tokens.
//!
//! Workers record a use in a cell of the identity and from time to time send it to one writer, which writes in batches.
//! No request waits for it: when the queue is full the use is lost, and the next one follows within a minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::{Clock, Timestamp};
use crate::identity::Identity;
use crate::store::TokenLedger;
use crate::telemetry::ProcessCounters;
use crate::token::TokenId;

/// Maximum number of queued uses.
const QUEUE: usize = 4_096;
/// Maximum number of tokens in one batch.
const BATCH: usize = 1_000;
/// Maximum number of tokens whose uses are kept while the store is unreachable.
const MAX_WAITING: usize = 100_000;
/// How long uses are collected before they are written.
const COLLECT: Duration = Duration::from_secs(2);

/// The workers' handle to the writer.
#[derive(Clone)]
pub struct Uses {
    every: Duration,
    queue: mpsc::Sender<(TokenId, Timestamp)>,
    counts: Arc<ProcessCounters>,
}

impl Uses {
    /// Creates a handle and the writer task. The task ends, with everything written, when every handle is dropped.
    pub fn new(
        ledger: Arc<dyn TokenLedger>,
        every: Duration,
        clock: Clock,
        counts: Arc<ProcessCounters>,
    ) -> (Uses, impl Future<Output = ()> + Send) {
        let (queue, uses) = mpsc::channel(QUEUE);
        let pending =
            PendingUses { ledger, every, counts: Arc::clone(&counts), due: HashMap::new(), written: HashMap::new() };
        (Uses { every, queue, counts }, pending.keep(uses, clock))
    }

    /// A handle without a writer: uses are lost. For requests that are explained and not served.
    pub fn nowhere() -> Uses {
        Uses { every: Duration::MAX, queue: mpsc::channel(1).0, counts: Arc::default() }
    }

    /// Records a request with this token. Costs one comparison, unless the last record is old.
    pub fn note(&self, identity: &Identity, now: Timestamp) {
        let Some(token) = identity.token() else { return };
        if identity.note_use(now, self.every) && self.queue.try_send((token, now)).is_err() {
            self.counts.uses_lost.more();
        }
    }

    /// Records a request with a token that is not cached between requests.
    pub fn note_token(&self, token: TokenId, now: Timestamp) {
        if self.queue.try_send((token, now)).is_err() {
            self.counts.uses_lost.more();
        }
    }
}

/// The uses to write, and the uses that were written.
struct PendingUses {
    ledger: Arc<dyn TokenLedger>,
    every: Duration,
    counts: Arc<ProcessCounters>,
    due: HashMap<TokenId, Timestamp>,
    /// Keeps the interval even if an identity was invalidated and looked up again, which resets its cell.
    written: HashMap<TokenId, Timestamp>,
}

impl PendingUses {
    async fn keep(mut self, mut uses: mpsc::Receiver<(TokenId, Timestamp)>, clock: Clock) {
        let mut interval = tokio::time::interval(COLLECT);
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    self.write().await;
                    let now = clock.now();
                    self.written.retain(|_, at| now.since(*at) < self.every);
                }
                one = uses.recv() => match one {
                    Some((token, at)) => self.enter(token, at),
                    None => break,
                },
            }
        }
        self.write().await;
    }

    fn enter(&mut self, token: TokenId, at: Timestamp) {
        if self.written.get(&token).is_some_and(|last| at.since(*last) < self.every) {
            return;
        }
        if self.due.len() >= MAX_WAITING && !self.due.contains_key(&token) {
            self.counts.uses_lost.more();
            return;
        }
        self.due.insert(token, at);
    }

    /// Writes the uses that are due. Uses that could not be written are retried the next time.
    async fn write(&mut self) {
        while !self.due.is_empty() {
            let batch: Vec<(TokenId, Timestamp)> = self.due.iter().take(BATCH).map(|(id, at)| (*id, *at)).collect();
            if let Err(error) = self.ledger.mark_used(&batch).await {
                tracing::debug!(%error, "last uses could not be written");
                return;
            }
            self.counts.uses_written.add(u64::try_from(batch.len()).unwrap_or(0));
            for (token, at) in batch {
                self.due.remove(&token);
                self.written.insert(token, at);
            }
        }
    }
}
