//! The lasting counts of quotas: workers count in memory, and one task adds what they counted to the store.
//!
//! A worker waits for the store only at the first request of a key in a period. If the store does not answer, the key is
//! counted from zero until a later addition tells the total. Requests since the last addition are lost if the process is
//! killed: a quota then allows that many more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::limits::{QuotaCounts, Unsaved};
use crate::store::{QuotaCount, QuotaStore};
use crate::telemetry::RateCounters;
use crate::token::TokenDigest;

/// How long requests are counted before they are saved.
const COLLECT: Duration = Duration::from_secs(1);
/// Maximum number of counts in one transaction.
const BATCH: usize = 1_000;
/// Maximum number of queued questions.
const QUEUE: usize = 1_024;
/// How long a request waits for a count.
const WAIT: Duration = Duration::from_secs(2);

/// By the name of the quota and the size of the table.
type Tables = Arc<Mutex<BTreeMap<(String, usize), Arc<QuotaCounts>>>>;
type Question = (QuotaCount, oneshot::Sender<u64>);

/// The workers' handle to the counts of all quotas.
#[derive(Clone)]
pub struct Quotas {
    /// They outlast a configuration, so a reload loses no count.
    tables: Tables,
    questions: mpsc::Sender<Question>,
}

impl Quotas {
    /// Creates a handle and the task that reads and saves the counts. The task ends, with everything saved, when every handle
    /// is dropped.
    pub fn new(store: Arc<dyn QuotaStore>) -> (Quotas, impl Future<Output = ()> + Send) {
        let (questions, asked) = mpsc::channel(QUEUE);
        let tables = Tables::default();
        (Quotas { tables: Arc::clone(&tables), questions }, keep(store, tables, asked))
    }

    /// The counts of a quota.
    pub fn table(&self, name: &str, keys: usize, counters: &RateCounters) -> Arc<QuotaCounts> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(QuotaCounts::new(keys, Arc::clone(&counters.forgotten)));
        Arc::clone(tables.entry((name.to_owned(), keys)).or_insert_with(new))
    }

    /// The lasting count; `None`: the store does not answer.
    pub async fn used(&self, id: TokenDigest, since: Timestamp) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.questions.send((QuotaCount { id, since }, answer)).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(WAIT, asked).await.ok().flatten()
    }
}

async fn keep(store: Arc<dyn QuotaStore>, tables: Tables, mut asked: mpsc::Receiver<Question>) {
    let (over, mut is_over) = oneshot::channel::<()>();
    let answering = async {
        let mut questions = Vec::new();
        while asked.recv_many(&mut questions, BATCH).await > 0 {
            let counts: Vec<QuotaCount> = questions.iter().map(|(count, _)| *count).collect();
            match store.used(&counts).await {
                Ok(used) => {
                    for ((_, answer), used) in questions.drain(..).zip(used) {
                        // An asker that no longer waits needs no answer.
                        let _ = answer.send(used);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the counts of quotas could not be read");
                    questions.clear();
                }
            }
        }
        drop(over);
    };
    let saving = async {
        let mut interval = tokio::time::interval(COLLECT);
        loop {
            tokio::select! {
                _ = interval.tick() => save(&*store, &tables).await,
                _ = &mut is_over => break,
            }
        }
        save(&*store, &tables).await;
    };
    tokio::join!(answering, saving);
}

/// Saves what was counted. What could not be saved is saved the next time.
async fn save(store: &dyn QuotaStore, tables: &Tables) {
    let tables: Vec<_> = tables.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
    for table in tables {
        for batch in table.unsaved().chunks(BATCH) {
            let counted = |unsaved: &Unsaved| {
                let id = TokenDigest::from_bytes(&unsaved.id)?;
                Some((QuotaCount { id, since: unsaved.since }, unsaved.events))
            };
            let counted: Vec<_> = batch.iter().filter_map(counted).collect();
            match store.add(&counted).await {
                Ok(totals) => batch.iter().zip(totals).for_each(|(unsaved, total)| table.saved(unsaved, total)),
                Err(error) => {
                    tracing::debug!(%error, "the counts of quotas could not be saved");
                    table.not_saved();
                    return;
                }
            }
        }
    }
}
