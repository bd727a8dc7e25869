//! Wrong keys on protected routes, counted for each client.
//!
//! Whom memory knows is served, whatever else comes from the same address: this is asked only about other keys. Beyond
//! the limit those are looked up only as far as a small budget goes that all such addresses share, so that guessing
//! learns nothing and costs the store next to nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::{Client, Throttle};
use crate::token::AuthMethod;
use crate::units::Rate;

/// Wrong keys of tokens and of sessions, counted apart: browsers go on showing sessions that are over, which must not
/// get in the way of a token from the same address.
#[derive(Clone)]
pub struct Refused {
    tokens: WrongKeys,
    sessions: WrongKeys,
}

impl Refused {
    /// At most so many of each from each address; `None`: as many as one likes.
    pub fn new(most: Option<Rate>) -> Refused {
        Refused { tokens: WrongKeys::new(most), sessions: WrongKeys::new(most) }
    }

    pub(super) fn of(&self, method: AuthMethod) -> &WrongKeys {
        match method {
            AuthMethod::Token => &self.tokens,
            AuthMethod::Session => &self.sessions,
        }
    }
}

/// How many wrong keys each client has shown; shared by all workers.
#[derive(Clone)]
pub struct WrongKeys(Option<Arc<Throttle>>);

impl WrongKeys {
    /// At most so many from each address; `None`: as many as one likes.
    pub fn new(most: Option<Rate>) -> WrongKeys {
        WrongKeys(most.map(|rate| Arc::new(Throttle::new(rate))))
    }

    /// May a key from this address be looked up?
    ///
    /// # Errors
    /// How long until it may.
    pub fn check(&self, from: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.0.as_ref().map_or(Ok(()), |throttle| throttle.check(&Client::of(from), now))
    }

    /// A key from this address was wrong.
    pub fn count(&self, from: IpAddr, now: Timestamp) {
        if let Some(throttle) = &self.0 {
            throttle.charge(&Client::of(from), now);
        }
    }
}
