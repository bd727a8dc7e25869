//! The lasting counts of quotas: workers count in memory, and one task adds what they counted to the store.
//!
//! A worker waits for the store only at the first request of a key in a period. If the store does not answer, the key
//! is counted from zero until a later addition tells the total. Requests since the last addition are lost if the
//! process is killed: a quota then allows that many more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::{Period, Timestamp};
use crate::config::settings::QuotaRule;
use crate::limits::{QuotaCounts, Unsaved};
use crate::store::{QuotaCount, QuotaStore, report};
use crate::telemetry::{Outage, RateCounters};
use crate::token::TokenDigest;

/// How long requests are counted before they are saved.
const COLLECT: Duration = Duration::from_secs(1);
/// Maximum number of counts in one transaction.
const BATCH: usize = 1_000;
/// Maximum number of queued questions.
const QUEUE: usize = 1_024;
/// How long a request waits for a count.
const WAIT: Duration = Duration::from_secs(2);

/// Older ones first.
type Tables = Arc<Mutex<Vec<Table>>>;
type Question = (QuotaCount, oneshot::Sender<u64>);

/// The counts of one quota, in a table of one size.
struct Table {
    name: String,
    /// A quota that gets another period has other counts.
    period: Period,
    keys: usize,
    counts: Arc<QuotaCounts>,
}

/// The workers' handle to the counts of all quotas.
#[derive(Clone)]
pub struct Quotas {
    /// They outlast a configuration, so a reload loses no count.
    tables: Tables,
    questions: mpsc::Sender<Question>,
}

impl Quotas {
    /// Creates a handle and the task that reads and saves the counts. The task ends, with everything saved, when every
    /// handle is dropped.
    pub fn new(store: Arc<dyn QuotaStore>) -> (Quotas, impl Future<Output = ()> + Send) {
        let (questions, asked) = mpsc::channel(QUEUE);
        let tables = Tables::default();
        (Quotas { tables: Arc::clone(&tables), questions }, keep(store, tables, asked))
    }

    /// The counts of a quota. If a table of another size has counted it, the new one goes on from there.
    pub fn table(&self, rule: &QuotaRule, counters: &RateCounters) -> Arc<QuotaCounts> {
        let (name, period, keys) = (&rule.name, rule.quota.period, rule.max_keys);
        let mut tables = locked(&self.tables);
        let newest = tables.iter().rfind(|table| table.name == *name && table.period == period);
        let counts = match newest {
            Some(table) if table.keys == keys => return Arc::clone(&table.counts),
            Some(table) => Arc::new(table.counts.resized(keys)),
            None => Arc::new(QuotaCounts::new(keys, Arc::clone(&counters.forgotten))),
        };
        tables.push(Table { name: name.clone(), period, keys, counts: Arc::clone(&counts) });
        counts
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
        let (mut questions, outage) = (Vec::new(), Outage::default());
        while asked.recv_many(&mut questions, BATCH).await > 0 {
            let counts: Vec<QuotaCount> = questions.iter().map(|(count, _)| *count).collect();
            match store.used(&counts).await {
                Ok(used) => {
                    let _ = outage.succeeded();
                    for ((_, answer), used) in questions.drain(..).zip(used) {
                        // An asker that no longer waits needs no answer.
                        let _ = answer.send(used);
                    }
                }
                Err(error) => {
                    if outage.failed() {
                        report("the counts of quotas could not be read", &error);
                    }
                    questions.clear();
                }
            }
        }
        drop(over);
    };
    let saving = async {
        let (mut interval, outage) = (tokio::time::interval(COLLECT), Outage::default());
        loop {
            tokio::select! {
                _ = interval.tick() => save(&*store, &tables, &outage).await,
                _ = &mut is_over => break,
            }
        }
        save(&*store, &tables, &outage).await;
    };
    tokio::join!(answering, saving);
}

/// Saves what was counted. What could not be saved is saved the next time.
async fn save(store: &dyn QuotaStore, tables: &Tables, outage: &Outage) {
    let all: Vec<_> = locked(tables).iter().map(|table| Arc::clone(&table.counts)).collect();
    for table in all {
        for batch in table.unsaved().chunks(BATCH) {
            let counted = |unsaved: &Unsaved| {
                let id = TokenDigest::from_bytes(&unsaved.id)?;
                Some((QuotaCount { id, since: unsaved.since }, unsaved.events))
            };
            let counted: Vec<_> = batch.iter().filter_map(counted).collect();
            match store.add(&counted).await {
                Ok(totals) => batch.iter().zip(totals).for_each(|(unsaved, total)| table.saved(unsaved, total)),
                Err(error) => {
                    if outage.failed() {
                        report("the counts of quotas could not be saved", &error);
                    }
                    table.not_saved();
                    return;
                }
            }
            let _ = outage.succeeded();
        }
    }
    // A quota that no configuration has any more needs no table, once its counts are saved.
    locked(tables).retain(|table| Arc::strong_count(&table.counts) > 1 || !table.counts.is_saved());
}

fn locked(tables: &Tables) -> MutexGuard<'_, Vec<Table>> {
    // Each change is complete, so a panic elsewhere does not corrupt them.
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}
