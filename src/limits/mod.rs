//! Limits: how often something may happen, and how much one client may hold at once.
//!
//! [`Throttle`] is the keyed rate limiter. A [`Budget`] bounds what all clients hold together,
//! a [`Room`] also makes room for newcomers, and [`Turns`] lets work wait in line. [`TurnedAway`] counts what limits turn
//! away, [`Seldom`] spares the log. [`Client`] is the one definition of what counts as a client. The module that uses a
//! limit decides what its refusal looks like.

mod budget;
mod client;
mod room;
mod seldom;
mod throttle;
mod turned_away;
mod turns;

pub use budget::{Budget, Full, Hold};
pub use client::Client;
pub use room::{Bounds, Place, Room};
pub use seldom::Seldom;
pub use throttle::Throttle;
pub use turned_away::{Limit, TurnedAway};
pub use turns::{Turn, Turns, Waiting};

/// How many times as much as is free one client may take of what all clients share: alone three quarters, beside another
/// one that holds as much three quarters of the rest, and so on.
pub const FAIR: usize = 3;
