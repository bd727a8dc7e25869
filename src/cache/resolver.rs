//! Answers workers' questions about tokens that memory does not know.
//!
//! Control half. Workers ask through a [`ResolverHandle`]; one question per digest is in flight, everybody who asked
//! meanwhile gets the same answer. Tokens that were known before have a lane of their own, so that a flood of random
//! ones cannot stand in their way. Both lanes are bounded: beyond that the answer is [`StoreUnavailable`] at once,
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
use crate::telemetry::Knowledge;
use crate::token::{TokenDigest, TokenKey};

/// Most questions of a lane that wait to be looked at.
const QUEUE: usize = 1024;
/// Most questions of a lane that are asked at once.
const IN_FLIGHT: usize = 32;

/// Which part of the strangers' questions those may ask who are held back.
const SPARE: u32 = 10;

type Answer = Result<Verdict, StoreUnavailable>;

struct Question {
    key: TokenKey,
    digest: TokenDigest,
    reply: oneshot::Sender<Answer>,
}

/// Where workers ask.
#[derive(Clone)]
pub struct ResolverHandle {
    memory: Arc<IdentityCache>,
    known: mpsc::Sender<Question>,
    strangers: mpsc::Sender<Question>,
    /// For those who are held back.
    spare: Arc<Budget>,
}

impl ResolverHandle {
    /// Asks what a token means. Dropping the future is fine; the answer still reaches memory.
    ///
    /// # Errors
    /// [`StoreUnavailable`] when nobody can know, or when too many are asking.
    pub async fn ask(&self, key: TokenKey, digest: TokenDigest) -> Answer {
        let lane = if self.memory.knew(digest) { &self.known } else { &self.strangers };
        let (reply, answer) = oneshot::channel();
        lane.try_send(Question { key, digest, reply }).map_err(|_| StoreUnavailable)?;
        answer.await.unwrap_or(Err(StoreUnavailable))
    }

    /// The same on behalf of somebody who has asked about too many wrong tokens. All of them together have a small
    /// budget, in which a token that counts costs nothing, and leave the rest of the lane to others.
    ///
    /// # Errors
    /// [`StoreUnavailable`] too when nothing of that budget is left.
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

/// Answers workers' questions.
pub struct Resolver {
    lookup: Arc<Lookup>,
    known: mpsc::Receiver<Question>,
    strangers: mpsc::Receiver<Question>,
}

impl Resolver {
    /// A resolver and the handle to ask it with.
    pub fn new(sources: Sources, settings: &settings::Store, counts: Arc<Knowledge>) -> (Resolver, ResolverHandle) {
        let ((to_known, known), (to_strangers, strangers)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let spare = Arc::new(Budget::new(settings.unknown_per_second / SPARE));
        let memory = Arc::clone(&sources.memory);
        let handle = ResolverHandle { memory, known: to_known, strangers: to_strangers, spare };
        let lookup = Arc::new(Lookup::new(sources, settings, counts));
        (Resolver { lookup, known, strangers }, handle)
    }

    /// Runs until every handle is dropped.
    pub async fn run(self) {
        let known = serve(Arc::clone(&self.lookup), self.known, Asker::Known);
        tokio::join!(known, serve(self.lookup, self.strangers, Asker::Stranger));
    }
}

/// One lane.
async fn serve(lookup: Arc<Lookup>, mut questions: mpsc::Receiver<Question>, asker: Asker) {
    let mut lane = Lane { lookup, asker, waiting: HashMap::new(), subjects: HashMap::new(), lookups: JoinSet::new() };
    loop {
        tokio::select! {
            Some(done) = lane.lookups.join_next_with_id() => lane.answer(done),
            question = questions.recv(), if lane.lookups.len() < IN_FLIGHT => match question {
                Some(question) => lane.ask(question),
                None => break,
            },
        }
    }
}

/// What a question is about. Who asks after the token was forgotten does not share the answer of who asked before.
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
        // A lookup that panicked leaves its askers without knowledge, and is asked anew by the next one.
        let (id, answer) = done.unwrap_or_else(|error| (error.id(), Err(StoreUnavailable)));
        let askers = self.subjects.remove(&id).and_then(|subject| self.waiting.remove(&subject));
        for reply in askers.unwrap_or_default() {
            // The asker may have left; the answer is in memory for the next one.
            let _ = reply.send(answer.clone());
        }
    }
}
