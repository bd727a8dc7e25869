//! Limits: how often something may happen, and how much one client may hold at once.
//!
//! [`Throttle`] is the keyed rate limiter, [`PerClient`] counts places, [`Room`] also bounds what all clients hold
//! together, [`Seldom`] spares the log. [`Client`] is the one definition of what counts as a client. What a limit is for,
//! and what its refusal looks like, is decided by whoever uses it.

mod client;
mod per_client;
mod room;
mod seldom;
mod throttle;

pub use client::Client;
pub use per_client::{PerClient, Share};
pub use room::{Full, Hold, Room};
pub use seldom::Seldom;
pub use throttle::Throttle;

/// How many times as much as is free one client may take of what all clients share: alone three quarters, beside another
/// one that holds as much three quarters of the rest, and so on.
pub const FAIR: usize = 3;
