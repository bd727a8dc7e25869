//! Resolves tokens that are not in memory.
//!
//! Runs in the control half. Workers ask through a [`ResolverHandle`]. At most one lookup per digest is in flight;
//! concurrent requests share its answer. Tokens that were valid before have their own queue, so a flood of random
//! tokens cannot delay them. Both queues are bounded: when one is full, the answer is [`StoreUnavailable`] at once,
//! never "no such token".

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinError, JoinSet};

use super::budget::Budget;
use super::lookup::{Asker, Lookup, Sources, StoreUnavailable};
use super::memory::IdentityCache;
use crate::config::settings;
use crate::identity::Verdict;
use crate::telemetry::ProcessCounters;
use crate::token::{TokenDigest, TokenKey};

/// Maximum length of a queue.
const QUEUE: usize = 1024;
/// Maximum number of concurrent lookups of a queue.
const MAX_CONCURRENT: usize = 32;

/// Rate-limited clients share one part in this many of the lookup rate for unknown tokens.
const LIMITED_SHARE: u32 = 10;

type Answer = Result<Verdict, StoreUnavailable>;

struct Question {
    key: TokenKey,
    digest: TokenDigest,
    reply: oneshot::Sender<Answer>,
}

/// The workers' handle to the resolver.
#[derive(Clone)]
pub struct ResolverHandle {
    memory: Arc<IdentityCache>,
    known: mpsc::Sender<Question>,
    unknown: mpsc::Sender<Question>,
    /// The budget of rate-limited clients.
    spare: Arc<Budget>,
}

impl ResolverHandle {
    /// A handle without a resolver: every lookup is [`StoreUnavailable`]. For requests that are explained and not
    /// served.
    pub fn nowhere(memory: Arc<IdentityCache>) -> ResolverHandle {
        let nowhere = || mpsc::channel(1).0;
        ResolverHandle { memory, known: nowhere(), unknown: nowhere(), spare: Arc::new(Budget::new(1)) }
    }

    /// Resolves a token. If the future is dropped, the answer still reaches memory.
    ///
    /// # Errors
    /// [`StoreUnavailable`] during an outage, or when the queue is full.
    pub async fn ask(&self, key: TokenKey, digest: TokenDigest) -> Answer {
        let lane = if self.memory.knew(digest) { &self.known } else { &self.unknown };
        let (reply, answer) = oneshot::channel();
        lane.try_send(Question { key, digest, reply }).map_err(|_| StoreUnavailable)?;
        answer.await.unwrap_or(Err(StoreUnavailable))
    }

    /// Resolves a token for a client that sent too many wrong keys. All such clients share a small budget, and cannot
    /// use the rest of the queue. Valid tokens do not use up the budget.
    ///
    /// # Errors
    /// [`StoreUnavailable`], also when that budget is used up.
    pub async fn ask_if_spare(&self, key: TokenKey, digest: TokenDigest) -> Answer {
        if !self.spare.take() {
            return Err(StoreUnavailable);
        }
        let answer = self.ask(key, digest).await;
        if matches!(answer, Ok(Verdict::Caller(_))) {
            self.spare.give_back();
        }
        answer
    }
}

/// Resolves tokens for the workers.
pub struct Resolver {
    lookup: Arc<Lookup>,
    known: mpsc::Receiver<Question>,
    unknown: mpsc::Receiver<Question>,
}

impl Resolver {
    /// Creates a resolver and its handle.
    pub fn new(
        sources: Sources,
        settings: &settings::Store,
        counts: Arc<ProcessCounters>,
    ) -> (Resolver, ResolverHandle) {
        let ((to_known, known), (to_unknown, unknown)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let spare = Arc::new(Budget::new(settings.unknown_per_second / LIMITED_SHARE));
        let memory = Arc::clone(&sources.memory);
        let handle = ResolverHandle { memory, known: to_known, unknown: to_unknown, spare };
        let lookup = Arc::new(Lookup::new(sources, settings, counts));
        (Resolver { lookup, known, unknown }, handle)
    }

    /// Runs until every handle is dropped.
    pub async fn run(self) {
        let known = serve(Arc::clone(&self.lookup), self.known, Asker::Known);
        tokio::join!(known, serve(self.lookup, self.unknown, Asker::Unknown));
    }
}

/// Processes one queue.
async fn serve(lookup: Arc<Lookup>, mut questions: mpsc::Receiver<Question>, asker: Asker) {
    let mut lane = Lane { lookup, asker, waiting: HashMap::new(), subjects: HashMap::new(), lookups: JoinSet::new() };
    loop {
        tokio::select! {
            Some(done) = lane.lookups.join_next_with_id() => lane.answer(done),
            question = questions.recv(), if lane.lookups.len() < MAX_CONCURRENT => match question {
                Some(question) => lane.ask(question),
                None => break,
            },
        }
    }
}

/// The key under which requests share a lookup. A request that arrives after an invalidation does not share an earlier
/// lookup.
type Subject = (TokenDigest, u64);

struct Lane {
    lookup: Arc<Lookup>,
    asker: Asker,
    waiting: HashMap<Subject, Vec<oneshot::Sender<Answer>>>,
    subjects: HashMap<task::Id, Subject>,
    lookups: JoinSet<Answer>,
}

impl Lane {
    fn ask(&mut self, Question { key, digest, reply }: Question) {
        let subject = (digest, self.lookup.epoch(digest));
        let askers = self.waiting.entry(subject).or_default();
        askers.push(reply);
        if askers.len() == 1 {
            let (lookup, asker) = (Arc::clone(&self.lookup), self.asker);
            let task = self.lookups.spawn(async move { lookup.run(key, digest, asker).await });
            self.subjects.insert(task.id(), subject);
        }
    }

    fn answer(&mut self, done: Result<(task::Id, Answer), JoinError>) {
        // If a lookup panicked, its requests get no answer, and the next request starts a new lookup.
        let (id, answer) = done.unwrap_or_else(|error| (error.id(), Err(StoreUnavailable)));
        let askers = self.subjects.remove(&id).and_then(|subject| self.waiting.remove(&subject));
        for reply in askers.unwrap_or_default() {
            // The request may be gone; the answer is in memory for the next one.
            let _ = reply.send(answer.clone());
        }
    }
}
