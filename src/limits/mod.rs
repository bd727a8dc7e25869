//! Limits: how often something may happen, and how much one client may use at once.
//!
//! [`Throttle`] is the keyed rate limiter, and [`Leases`] its form for several processes. [`QuotaCounts`] counts events
//! in a day or month. A [`Budget`] limits what all clients use together. A [`Room`] limits places and evicts
//! provisional ones for new clients. [`Turns`] queues work per client. [`Tally`] counts events per key, and
//! [`TurnedAway`] what limits refuse. [`LogLimiter`] limits log lines. [`Client`] defines one client. The module that
//! uses a limit decides how it refuses.

mod budget;
mod client;
mod room;
mod leases;
mod log_limiter;
mod quota;
mod slots;
mod tally;
mod throttle;
mod turned_away;
mod turns;

pub use budget::{Budget, Full, Hold};
pub use client::Client;
pub use leases::{Granted, Leases, Question, Step};
pub use log_limiter::LogLimiter;
pub use quota::{Quota, QuotaCounts, Unsaved};
pub use room::{Bounds, Place, Room};
pub use tally::{Tallied, Tally};
pub use throttle::{Left, Measure, Pace, Throttle};
pub use turned_away::{Limit, TurnedAway};
pub use turns::{Turn, Turns, Waiting};

/// The largest share of one client, as a multiple of what is free: one client alone gets three quarters of the whole,
/// another one three quarters of the rest, and so on.
pub const FAIR: usize = 3;
