//! The spans of an exchange that is recorded. Without a [`Trace`], each function does nothing.

use std::pin::pin;
use std::rc::Rc;

use http::{HeaderMap, Response};
use tokio::time::Instant;

use super::Exchange;
use crate::telemetry::Trace;

/// Names the attempt that follows in the headers for the endpoint.
pub(super) fn name_attempt(exchange: &Exchange, fields: &mut HeaderMap) {
    if let Some(trace) = exchange.trace() {
        trace.name_attempt(fields);
    }
}

/// An attempt to get a response. It is recorded when it ends, also if it is dropped.
pub(super) struct Attempt(Option<(Rc<Trace>, Instant)>);

impl Attempt {
    /// Begins an attempt.
    pub(super) fn begin(exchange: &Exchange) -> Attempt {
        Attempt(exchange.trace().map(|trace| (Rc::clone(trace), Instant::now())))
    }

    /// Ends it with a response, or without one.
    pub(super) fn ends(mut self, answer: Option<&Response<()>>) {
        self.record(answer.map(|answer| answer.status().as_u16()));
    }

    fn record(&mut self, status: Option<u16>) {
        if let Some((trace, begun)) = self.0.take() {
            trace.attempted(begun, status);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.record(None);
    }
}

/// Waits for a lookup of credentials. One that memory answers at once is not recorded.
pub(super) async fn looking_up<T>(trace: Option<&Rc<Trace>>, lookup: impl Future<Output = T>) -> T {
    let mut lookup = pin!(lookup);
    let mut begun = None;
    let found = std::future::poll_fn(|context| {
        let polled = lookup.as_mut().poll(context);
        if polled.is_pending() && trace.is_some() && begun.is_none() {
            begun = Some(Instant::now());
        }
        polled
    });
    let found = found.await;
    if let (Some(trace), Some(begun)) = (trace, begun) {
        trace.looked_up(begun);
    }
    found
}
