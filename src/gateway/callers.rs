//! Ends running exchanges when their tokens end.
//!
//! Every exchange that was admitted by a token has an entry here until it ends, because a stream, an upload or a tunnel
//! could outlive its token by days. The worker receives each change of the change log and checks the affected tokens
//! again; its tick checks their expiry. The check reads only memory, which is filled from the store on a miss. Memory
//! holds nothing that is older than the last change (`cache/memory.rs`), so a lookup that was running when the change
//! came cannot bring back the old state.
//!
//! An event alone ends no exchange. An exchange ends only if its token is no longer valid or now belongs to another
//! identity. While the store is unavailable, exchanges go on, and each tick tries again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use http::HeaderValue;
use slab::Slab;
use tokio::task::JoinSet;

use super::Worker;
use crate::client::Pulse;
use crate::clock::Timestamp;
use crate::identity::{Identity, Verdict};
use crate::store::TokenEvent;
use crate::token::{AuthMethod, TokenDigest};
use crate::upstream::RequestBody;

/// Maximum number of concurrent lookups of one check; the rest of the resolver's queue is for requests.
const MAX_LOOKUPS: usize = 8;

/// The exchanges of one worker that were admitted by a token. Entries are reused, so a new one usually needs no
/// allocation.
#[derive(Default)]
pub struct Callers(RefCell<Slab<RunningExchange>>);

/// One exchange.
struct RunningExchange {
    identity: Arc<Identity>,
    /// The `Authorization` or `Cookie` line, in its original buffer; the key is copied only for a lookup in the store.
    credentials: HeaderValue,
    /// The connection to close if the exchange does not end otherwise. HTTP/1 only, where a connection serves one
    /// request at a time.
    connection: Option<Rc<Pulse>>,
    /// A request body that was not sent to the endpoint completely.
    upload: Option<RequestBody>,
    recheck: Recheck,
    ended: bool,
    answered: bool,
    waker: Option<Waker>,
}

/// Whether the token has to be checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recheck {
    /// No event has arrived since the last check.
    NotNeeded,
    /// An event may concern it, or it has not been checked yet.
    Needed,
    /// A lookup in the store is running.
    UnderWay,
}

impl Callers {
    /// Adds an exchange and returns its entry.
    ///
    /// It starts in doubt: if the token changed during its lookup, no later event reports that change. Short exchanges
    /// end before the next check.
    pub fn enter(&self, identity: Arc<Identity>, credentials: HeaderValue, connection: Option<Rc<Pulse>>) -> usize {
        self.0.borrow_mut().insert(RunningExchange {
            identity,
            credentials,
            connection,
            upload: None,
            recheck: Recheck::Needed,
            ended: false,
            answered: false,
            waker: None,
        })
    }

    /// Removes an exchange that has ended or no longer depends on its token. Returns its identity.
    pub fn leave(&self, place: usize) -> Option<Arc<Identity>> {
        let left = self.0.borrow_mut().try_remove(place);
        left.map(|exchange| exchange.identity)
    }

    /// Records that a body is being sent to the endpoint.
    pub(super) fn uploads(&self, place: usize, body: RequestBody) {
        if let Some(exchange) = self.0.borrow_mut().get_mut(place) {
            exchange.upload = Some(body);
        }
    }

    /// Records that the endpoint's response has begun: from now on the exchange can be cut at any point.
    pub(super) fn answered(&self, place: usize) {
        if let Some(exchange) = self.0.borrow_mut().get_mut(place) {
            exchange.answered = true;
        }
    }

    /// Has the token ended?
    pub fn has_ended(&self, place: usize) -> bool {
        self.0.borrow().get(place).is_some_and(|exchange| exchange.ended)
    }

    /// The same; also wakes the task when the token ends, and at each tick afterwards.
    pub fn poll_ended(&self, place: usize, cx: &Context<'_>) -> bool {
        let mut exchanges = self.0.borrow_mut();
        let Some(exchange) = exchanges.get_mut(place) else { return false };
        if !exchange.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            exchange.waker = Some(cx.waker().clone());
        }
        exchange.ended
    }

    /// Marks the exchanges that an event may concern.
    fn mark_for_recheck(&self, event: TokenEvent) {
        for (_, exchange) in &mut *self.0.borrow_mut() {
            let affected = match event {
                TokenEvent::Changed(digest) => exchange.identity.digest() == digest,
                TokenEvent::SubjectChanged(subject) => exchange.identity.subject() == subject,
                TokenEvent::Gap => true,
            };
            if affected {
                exchange.recheck = Recheck::Needed;
            }
        }
    }

    /// The tokens that must be checked; marks them as being looked up.
    fn take_rechecks(&self) -> HashMap<TokenDigest, (HeaderValue, AuthMethod)> {
        let mut rechecks = HashMap::new();
        for (_, exchange) in &mut *self.0.borrow_mut() {
            if exchange.recheck == Recheck::Needed && !exchange.ended {
                exchange.recheck = Recheck::UnderWay;
                let credentials = || (exchange.credentials.clone(), exchange.identity.method());
                rechecks.entry(exchange.identity.digest()).or_insert_with(credentials);
            }
        }
        rechecks
    }

    /// The current verdict on a token; `None` if it is unknown and must be checked again.
    fn judge(&self, digest: TokenDigest, verdict: Option<&Verdict>) {
        for (_, exchange) in &mut *self.0.borrow_mut() {
            if exchange.recheck == Recheck::NotNeeded || exchange.identity.digest() != digest {
                continue;
            }
            match verdict {
                Some(Verdict::Caller(now)) if exchange.identity.means_the_same_as(now) => {
                    // Its expiry may have changed.
                    exchange.identity = Arc::clone(now);
                    exchange.recheck = Recheck::NotNeeded;
                }
                Some(Verdict::Caller(_) | Verdict::Denied(_)) => exchange.end(),
                None => exchange.recheck = Recheck::Needed,
            }
        }
    }

    /// Ends exchanges whose token has expired, and closes those that did not end after they were told to.
    fn sweep(&self, now: Timestamp) {
        for (_, exchange) in &mut *self.0.borrow_mut() {
            if exchange.ended {
                exchange.insist();
            } else if exchange.identity.is_expired(now) {
                exchange.end();
            }
        }
    }
}

impl RunningExchange {
    fn end(&mut self) {
        self.ended = true;
        // The request body has a reader of its own, which would go on while the client does not read the response.
        if let Some(upload) = self.upload.take() {
            upload.cut();
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Over HTTP/1, the next piece of a response is not polled while the client does not read, so the response does not
    /// notice that its token has ended.
    fn insist(&mut self) {
        if let (true, Some(connection)) = (self.answered, &self.connection) {
            connection.cut();
        }
        self.end();
    }
}

impl Worker {
    /// Records an event; [`Worker::recheck`] must be called next.
    pub fn apply_event(&self, event: TokenEvent) {
        self.callers.mark_for_recheck(event);
    }

    /// The worker's tick.
    pub fn check_callers(self: &Rc<Self>) {
        self.callers.sweep(self.clock.now());
        self.recheck();
    }

    /// Checks all tokens that are in doubt: at once if they are in memory, otherwise after a lookup in the store.
    pub fn recheck(self: &Rc<Self>) {
        let mut unknown = self.callers.take_rechecks();
        unknown.retain(|digest, _| match self.authenticator.believed(*digest) {
            Some(verdict) => {
                self.callers.judge(*digest, Some(&verdict));
                false
            }
            None => true,
        });
        if !unknown.is_empty() {
            tokio::task::spawn_local(Rc::clone(self).ask_about(unknown));
        }
    }

    async fn ask_about(self: Rc<Self>, unknown: HashMap<TokenDigest, (HeaderValue, AuthMethod)>) {
        let mut asking = JoinSet::new();
        for (digest, (credentials, method)) in unknown {
            if asking.len() >= MAX_LOOKUPS {
                let _ = asking.join_next().await;
            }
            let worker = Rc::clone(&self);
            asking.spawn_local(async move {
                let asked = worker.authenticator.ask_again(&credentials, method, digest).await;
                let verdict = match asked {
                    // A refusal can be outdated only if the token became valid again since. Exchanges admitted before
                    // that must end all the same.
                    Ok(Verdict::Denied(why)) => Some(Verdict::Denied(why)),
                    Ok(Verdict::Caller(_)) | Err(_) => worker.authenticator.believed(digest),
                };
                worker.callers.judge(digest, verdict.as_ref());
            });
        }
        while asking.join_next().await.is_some() {}
    }
}
