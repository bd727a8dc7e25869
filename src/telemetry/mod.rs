//! Telemetry: metrics, the access log, log messages, request ids.
//!
//! Each worker writes to its own [`Recorder`] and [`AccessLog`], without locks and without waiting. The control half
//! sums the recorders for each metrics scrape ([`export`]), and every two seconds for the charts of the admin
//! application ([`history`]). One thread writes the access logs. This module receives plain texts and numbers, and
//! never a token key.

pub mod access_log;
mod access_rules;
mod endpoints;
pub mod export;
pub mod history;
pub mod process_counters;
pub mod log;
mod log_line;
mod log_names;
mod log_sink;
mod log_template;
mod log_text;
pub mod metrics;
pub mod open_metrics;
mod outage;
pub mod recorder;
mod refusals;
pub mod request_id;
mod second_text;
mod shared_rules;
pub mod trace;

pub use access_log::{AccessLog, Entry, LogWriter};
pub use access_rules::{AccessLogFormat, AccessRules, LogFormat};
pub use endpoints::{EndpointGauge, EndpointNumbers};
pub use history::History;
pub use log::causes;
pub use log_sink::{Destination, LogSink};
pub use log_template::{BadTemplate, LogTemplate};
pub use metrics::{Outcome, StatusClass};
pub use outage::{Ended, Outage};
pub use process_counters::{AcmeState, CertificateGauge, ProcessCounters, RateCounters};
pub use recorder::{Recorder, RouteCounters};
pub use refusals::{LatestRefusals, RefusedRequest};
pub use request_id::RequestIds;
pub use shared_rules::Redact;
pub use trace::{Facts, FinishedTrace, Trace, TraceRules, TraceSwitch, Tracer};
