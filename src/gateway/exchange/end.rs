//! What an exchange leaves behind when it ends: its log line, its spans and its counts.

use std::time::Duration;

use tokio::time::Instant;

use super::Exchange;
use crate::http1::BadAnswer;
use crate::telemetry::Entry;

impl Exchange {
    fn log(&self, total: Duration) {
        let (worker, status) = (&self.gateway.worker, self.status.map(|status| status.as_u16()));
        let log = &worker.access_log;
        let has_failed = status.is_some_and(|status| status >= 400) || self.outcome.is_origin_failure();
        if !has_failed && !log.is_on() && self.trace.is_none() {
            return;
        }
        let caller = self.caller.as_deref();
        let cause = self.cause.as_ref().map(BadAnswer::place);
        let entry = Entry {
            time: worker.clock.now(),
            request_id: self.id.to_str().unwrap_or_default(),
            peer: self.peer().address,
            version: Some(self.version),
            method: self.method.as_str(),
            path: self.uri.path(),
            has_query: self.uri.query().is_some(),
            status,
            outcome: self.outcome,
            cause: cause.as_deref(),
            route: self.route.as_ref().map(|route| &*route.name),
            user_id: caller.map(|identity| identity.subject().0),
            user_name: caller.and_then(|identity| identity.values().user_name.to_str().ok()),
            token_id: caller.and_then(|identity| identity.token()).map(|token| token.0),
            bytes_out: self.bytes_out,
            total,
            upstream: self.upstream,
        };
        if let Some(trace) = &self.trace {
            worker.tracer.end(trace, &entry);
        }
        if has_failed {
            worker.recorder.refusals().note(&entry);
        }
        log.write(&entry);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.leave_callers();
        self.client.pulse.end();
        let total = Instant::now().duration_since(self.started);
        self.log(total);
        // Last, so that a request which was counted has its line.
        let counters = self.route.as_ref().map_or(self.gateway.worker.recorder.unrouted(), |route| &route.counters);
        counters.request(self.outcome, self.status.map(|status| status.as_u16()), total, self.upstream);
    }
}
