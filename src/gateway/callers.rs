//! Whose requests are under way, so that they end when their tokens do.
//!
//! Every exchange that a token let in has a place here until it ends: a stream, an upload or a tunnel can outlive its
//! token by days. The worker hears of each change that the store's log tells and looks at the tokens in question again;
//! its tick looks at their expiry. What a token means now is taken from memory alone, which is filled from the store
//! where it is empty: memory keeps nothing that is older than the last change (`cache/memory.rs`), so that an answer
//! that was under way when the change came cannot be taken for news.
//!
//! News that something *may* have changed ends nothing: only a token that no longer counts, or that now means somebody
//! else. While the store cannot be asked, exchanges go on, and each tick asks again.

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

/// Most questions at once that come out of one look: the rest of the queue is for requests.
const AT_ONCE: usize = 8;

/// The exchanges of one worker that a token let in. A place costs no memory of its own, as long as others were given
/// up.
#[derive(Default)]
pub struct Callers(RefCell<Slab<RunningExchange>>);

/// One of them.
struct RunningExchange {
    identity: Arc<Identity>,
    /// The line of `Authorization` or `Cookie`, in the buffer that it came in; no copy of the key is made unless the
    /// store is asked.
    credentials: HeaderValue,
    /// What is closed when nothing else helps. HTTP/1 only: there a connection serves one request at a time.
    connection: Option<Rc<Pulse>>,
    /// A request body that the endpoint does not have whole.
    upload: Option<RequestBody>,
    recheck: Recheck,
    ended: bool,
    answered: bool,
    waker: Option<Waker>,
}

/// Whether the token has to be checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recheck {
    /// No event has come since the last check.
    NotNeeded,
    /// An event may be about it, or it has not been checked yet.
    Needed,
    /// The store is being asked.
    UnderWay,
}

impl Callers {
    /// Enters an exchange and gives its place.
    ///
    /// In doubt at first: who was asked about while the token changed has an identity that no event will speak of
    /// again. Short exchanges are gone before anybody looks.
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

    /// The exchange has ended, or its token is no matter to it any more. Gives its identity back.
    pub fn leave(&self, place: usize) -> Option<Arc<Identity>> {
        let left = self.0.borrow_mut().try_remove(place);
        left.map(|exchange| exchange.identity)
    }

    /// The endpoint is being sent a body.
    pub(super) fn uploads(&self, place: usize, body: RequestBody) {
        if let Some(exchange) = self.0.borrow_mut().get_mut(place) {
            exchange.upload = Some(body);
        }
    }

    /// The answer of the endpoint has begun: from here on the exchange may be cut anywhere.
    pub(super) fn answered(&self, place: usize) {
        if let Some(exchange) = self.0.borrow_mut().get_mut(place) {
            exchange.answered = true;
        }
    }

    /// Has the token ended?
    pub fn has_ended(&self, place: usize) -> bool {
        self.0.borrow().get(place).is_some_and(|exchange| exchange.ended)
    }

    /// The same; remembers whom to wake when it does, and at each tick afterwards.
    pub fn poll_ended(&self, place: usize, cx: &Context<'_>) -> bool {
        let mut exchanges = self.0.borrow_mut();
        let Some(exchange) = exchanges.get_mut(place) else { return false };
        if !exchange.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            exchange.waker = Some(cx.waker().clone());
        }
        exchange.ended
    }

    /// Marks the exchanges that an event may be about.
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

    /// The tokens that have to be looked at; they count as asked about from now on.
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

    /// What a token means by now, or `None` if that is not known: then it has to be looked at again.
    fn judge(&self, digest: TokenDigest, verdict: Option<&Verdict>) {
        for (_, exchange) in &mut *self.0.borrow_mut() {
            if exchange.recheck == Recheck::NotNeeded || exchange.identity.digest() != digest {
                continue;
            }
            match verdict {
                Some(Verdict::Caller(now)) if exchange.identity.means_the_same_as(now) => {
                    // Its end may be another one.
                    exchange.identity = Arc::clone(now);
                    exchange.recheck = Recheck::NotNeeded;
                }
                Some(Verdict::Caller(_) | Verdict::Denied(_)) => exchange.end(),
                None => exchange.recheck = Recheck::Needed,
            }
        }
    }

    /// Ends those whose time is over, and makes those that have been told and go on nevertheless end.
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
        // It has a reader of its own, and would go on while the answer is not taken.
        if let Some(upload) = self.upload.take() {
            upload.cut();
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Over HTTP/1 an answer that its client does not take is not asked for its next piece, and so cannot hear that it
    /// has ended.
    fn insist(&mut self) {
        if let (true, Some(connection)) = (self.answered, &self.connection) {
            connection.cut();
        }
        self.end();
    }
}

impl Worker {
    /// Something changed; [`Worker::recheck`] has to follow.
    pub fn apply_event(&self, event: TokenEvent) {
        self.callers.mark_for_recheck(event);
    }

    /// The worker's tick.
    pub fn check_callers(self: &Rc<Self>) {
        self.callers.sweep(self.clock.now());
        self.recheck();
    }

    /// Looks at all tokens that are in doubt: at once where memory knows them, else after asking the store.
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
            if asking.len() >= AT_ONCE {
                let _ = asking.join_next().await;
            }
            let worker = Rc::clone(&self);
            asking.spawn_local(async move {
                let asked = worker.authenticator.ask_again(&credentials, method, digest).await;
                let verdict = match asked {
                    // A refusal can only be too old for a token that counts again since; who was let in before that has
                    // to end all the same.
                    Ok(Verdict::Denied(why)) => Some(Verdict::Denied(why)),
                    Ok(Verdict::Caller(_)) | Err(_) => worker.authenticator.believed(digest),
                };
                worker.callers.judge(digest, verdict.as_ref());
            });
        }
        while asking.join_next().await.is_some() {}
    }
}
