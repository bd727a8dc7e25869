//! Rate limits for wrong keys on protected routes, per client.
//!
//! Keys that memory knows are served regardless of this limit. An address over its limit has its other keys looked up
//! only within a small budget, shared by all such addresses. So guessing reveals nothing and hardly loads the store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::{Client, Throttle};
use crate::token::AuthMethod;
use crate::units::Rate;

/// Counters of wrong token keys and wrong session keys, kept apart. Browsers keep sending expired sessions, which must
/// not block a token from the same address.
#[derive(Clone)]
pub struct Refused {
    tokens: WrongKeys,
    sessions: WrongKeys,
}

/// Certificates are not guessed: a CA has issued them.
const UNLIMITED: &WrongKeys = &WrongKeys(None);

impl Refused {
    /// Sets the rate per address, for tokens and sessions each; `None`: unlimited.
    pub fn new(most: Option<Rate>) -> Refused {
        Refused { tokens: WrongKeys::new(most), sessions: WrongKeys::new(most) }
    }

    pub(super) fn of(&self, method: AuthMethod) -> &WrongKeys {
        match method {
            AuthMethod::Token => &self.tokens,
            AuthMethod::Session => &self.sessions,
            AuthMethod::Certificate => UNLIMITED,
        }
    }
}

/// Counts the wrong keys of each client; shared by all workers.
#[derive(Clone)]
pub struct WrongKeys(Option<Arc<Throttle>>);

impl WrongKeys {
    /// Sets the rate per address; `None`: unlimited.
    pub fn new(most: Option<Rate>) -> WrongKeys {
        WrongKeys(most.map(|rate| Arc::new(Throttle::new(rate))))
    }

    /// Checks whether a key from this address may be looked up.
    ///
    /// # Errors
    /// The time until it may.
    pub fn check(&self, from: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.0.as_ref().map_or(Ok(()), |throttle| throttle.check(&Client::of(from), now))
    }

    /// Records a wrong key from this address.
    pub fn count(&self, from: IpAddr, now: Timestamp) {
        if let Some(throttle) = &self.0 {
            throttle.charge(&Client::of(from), now);
        }
    }
}
