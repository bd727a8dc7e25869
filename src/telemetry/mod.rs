//! What the gateway tells of itself: counters, the access log, life-cycle messages, request ids.
//!
//! Each worker writes into a [`Recorder`] and an [`AccessLog`] of its own, without locks and without waiting; the
//! control half sums the recorders when somebody asks for metrics ([`export`]) and every two seconds for the charts of
//! the admin application ([`history`]), and one thread writes the lines of all access logs. Knows nothing of tokens and
//! requests: it gets plain texts and numbers, and never a token key.

pub mod access_log;
pub mod export;
pub mod history;
pub mod knowledge;
pub mod log;
mod log_line;
pub mod metrics;
mod outage;
pub mod recorder;
pub mod request_id;
mod second_text;

pub use access_log::{AccessLog, Entry, LogFormat, LogWriter};
pub use history::History;
pub use knowledge::Knowledge;
pub use metrics::{Outcome, StatusClass};
pub use outage::{Ended, Outage};
pub use recorder::{Recorder, RouteIndex};
pub use request_id::RequestIds;
