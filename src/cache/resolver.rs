//! Asks the store about tokens that memory does not know.
//!
//! Control half. Workers ask through a [`ResolverHandle`]; one question per digest is in flight, everybody who asked
//! meanwhile gets the same answer. The queue is bounded: beyond it the answer is [`StoreUnavailable`] at once, never
//! "no such token".

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::memory::IdentityCache;
use crate::clock::Clock;
use crate::identity::{Denied, Identity, Verdict};
use crate::store::{StoreError, TokenStore};
use crate::token::{TokenDigest, TokenKey};

/// Most questions waiting for the resolver to look at them.
const QUEUE: usize = 1024;
/// Most questions to the store at once.
const IN_FLIGHT: usize = 64;

/// It is not known whether the token counts. Never means that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token store cannot be reached")]
pub struct StoreUnavailable;

type Answer = Result<Verdict, StoreUnavailable>;

struct Question {
    key: TokenKey,
    digest: TokenDigest,
    reply: oneshot::Sender<Answer>,
}

/// Where workers ask.
#[derive(Clone)]
pub struct ResolverHandle(mpsc::Sender<Question>);

impl ResolverHandle {
    /// Asks what a token means. Dropping the future is fine; the answer still reaches memory.
    ///
    /// # Errors
    /// [`StoreUnavailable`] when nobody can know, or when too many are asking.
    pub async fn ask(&self, key: TokenKey, digest: TokenDigest) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Question { key, digest, reply }).map_err(|_| StoreUnavailable)?;
        answer.await.unwrap_or(Err(StoreUnavailable))
    }
}

/// Answers workers' questions.
pub struct Resolver {
    memory: Arc<IdentityCache>,
    store: Arc<dyn TokenStore>,
    clock: Clock,
    questions: mpsc::Receiver<Question>,
}

impl Resolver {
    /// A resolver and the handle to ask it with.
    pub fn new(memory: Arc<IdentityCache>, store: Arc<dyn TokenStore>, clock: Clock) -> (Resolver, ResolverHandle) {
        let (sender, questions) = mpsc::channel(QUEUE);
        (Resolver { memory, store, clock, questions }, ResolverHandle(sender))
    }

    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        let mut waiting: HashMap<TokenDigest, Vec<oneshot::Sender<Answer>>> = HashMap::new();
        let mut lookups: JoinSet<(TokenDigest, Answer)> = JoinSet::new();
        loop {
            tokio::select! {
                Some(done) = lookups.join_next() => {
                    // A lookup that panicked drops its askers, who then hear `StoreUnavailable`.
                    if let Ok((digest, answer)) = done {
                        for reply in waiting.remove(&digest).unwrap_or_default() {
                            // The asker may have left; the answer is in memory for the next one.
                            let _ = reply.send(answer.clone());
                        }
                    }
                }
                question = self.questions.recv(), if lookups.len() < IN_FLIGHT => {
                    let Some(Question { key, digest, reply }) = question else { break };
                    let askers = waiting.entry(digest).or_default();
                    askers.push(reply);
                    if askers.len() == 1 {
                        lookups.spawn(look_up(
                            Arc::clone(&self.memory), Arc::clone(&self.store), self.clock.clone(), key, digest,
                        ));
                    }
                }
            }
        }
    }
}

async fn look_up(
    memory: Arc<IdentityCache>,
    store: Arc<dyn TokenStore>,
    clock: Clock,
    key: TokenKey,
    digest: TokenDigest,
) -> (TokenDigest, Answer) {
    let fill = memory.begin_fill(digest);
    let found = store.find(&key).await;
    let now = clock.now();
    let verdict = match found {
        Ok(Some(record)) => match Identity::establish(&record, now) {
            Ok(identity) => Verdict::Caller(Arc::new(identity)),
            Err(denied) => Verdict::Denied(denied),
        },
        Ok(None) => Verdict::Denied(Denied::Unknown),
        Err(error) => {
            report(&error);
            return (digest, Err(StoreUnavailable));
        }
    };
    fill.keep(&verdict, now);
    (digest, Ok(verdict))
}

fn report(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(code = "store_unavailable", %error, cause, "a token could not be looked up");
}
