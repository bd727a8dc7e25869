//! Traces of requests, for OpenTelemetry: which requests are recorded, and their spans.
//!
//! A worker has a [`Tracer`]. For most requests it decides that they are not recorded, which costs one atomic read. A
//! recorded request has a [`Trace`]; at its end its spans go to the exporter through a bounded queue. If the queue is
//! full, because the collector is away or slow, the spans are dropped and counted. Nothing waits.

mod context;
pub mod otlp;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::log_line::{Entry, version_text};
use super::metrics::Outcome;
use super::process_counters::ProcessCounters;
use super::shared_rules::{Redact, Rules, SharedRules};
use crate::clock::Timestamp;
pub use context::{Parent, SpanId, TRACEPARENT, TRACESTATE, TraceId};

/// How many finished traces wait for the exporter.
const QUEUE: usize = 1_024;

/// The rules of tracing, shared by all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRules {
    /// Of this many requests that have no parent, or one that is not trusted, one is recorded.
    pub sample: u32,
    /// Whether the caller's decision holds.
    pub trust_parent: bool,
    /// What spans do not show.
    pub redact: Redact,
}

/// Switches tracing on and off for all workers, and takes finished traces.
#[derive(Clone)]
pub struct TraceSwitch {
    rules: Arc<SharedRules>,
    finished: mpsc::Sender<Box<FinishedTrace>>,
    counts: Arc<ProcessCounters>,
}

/// Decides for one worker which requests are recorded.
pub struct Tracer {
    switch: TraceSwitch,
    /// Requests that were not recorded since the last one that was.
    left_out: Cell<u32>,
}

/// The spans of a request that is recorded.
#[derive(Debug)]
pub struct Trace {
    /// The trace, with the span of the request itself.
    id: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    started: Instant,
    /// The span of the attempt that is being made.
    attempt: Cell<Option<SpanId>>,
    spans: RefCell<Vec<Span>>,
}

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub id: SpanId,
    /// What was done.
    pub kind: SpanKind,
    /// From the start of the request to the start of this part.
    pub after: Duration,
    /// Its duration.
    pub took: Duration,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
}

/// What a span measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The lookup of credentials that memory did not know.
    Lookup,
    /// An attempt to get a response from an endpoint.
    Attempt,
}

/// A recorded request that has ended.
#[derive(Debug)]
pub struct FinishedTrace {
    /// The trace.
    pub id: TraceId,
    /// The span of the request.
    pub span: SpanId,
    /// The caller's span.
    pub parent: Option<SpanId>,
    /// When the request ended.
    pub ended: Timestamp,
    /// Its duration.
    pub took: Duration,
    /// What is known about it.
    pub facts: Facts,
    /// Its parts.
    pub spans: Vec<Span>,
}

/// What is known about a request at its end. Never a query, never credentials.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its id in the log.
    pub request_id: String,
    /// The method.
    pub method: String,
    /// The path, unless it is redacted.
    pub path: Option<String>,
    /// The version of HTTP.
    pub version: &'static str,
    /// The client's address, unless it is redacted.
    pub peer: Option<SocketAddr>,
    /// The name of the route.
    pub route: Option<String>,
    /// The caller's id, unless it is redacted.
    pub user: Option<i64>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}

impl TraceSwitch {
    /// A switch that is off, and the queue of finished traces.
    pub fn new(counts: Arc<ProcessCounters>) -> (TraceSwitch, mpsc::Receiver<Box<FinishedTrace>>) {
        let (finished, queue) = mpsc::channel(QUEUE);
        (TraceSwitch { rules: Arc::default(), finished, counts }, queue)
    }

    /// Uses these rules from now on; `None` switches tracing off.
    pub fn set(&self, rules: Option<TraceRules>) {
        self.rules.set(rules.map(|TraceRules { sample, trust_parent, redact }| Rules {
            sample,
            redact,
            choice: trust_parent.into(),
        }));
    }

    fn get(&self) -> Option<TraceRules> {
        let rules = self.rules.get();
        rules.map(|Rules { sample, redact, choice }| TraceRules { sample, trust_parent: choice != 0, redact })
    }

    /// Counts traces that the collector did not take.
    pub fn lost(&self, traces: u64) {
        self.counts.traces_dropped.add(traces);
    }
}

impl Tracer {
    /// The tracer of a worker.
    pub fn new(switch: TraceSwitch) -> Tracer {
        Tracer { switch, left_out: Cell::new(0) }
    }

    /// A tracer that records nothing.
    pub fn off() -> Tracer {
        Tracer::new(TraceSwitch::new(Arc::default()).0)
    }

    /// Decides whether a request is recorded.
    pub fn begin(&self, fields: &HeaderMap, started: Instant) -> Option<Rc<Trace>> {
        let rules = self.switch.get()?;
        let trusted = if rules.trust_parent { Parent::read(fields) } else { None };
        let is_recorded = match trusted {
            Some(parent) => parent.is_sampled,
            None => self.is_next(rules.sample),
        };
        if !is_recorded {
            return None;
        }
        let parent = trusted.or_else(|| Parent::read(fields));
        let id = match parent {
            Some(parent) => parent.trace,
            None => TraceId(u128::from_be_bytes(random()?).max(1)),
        };
        Some(Rc::new(Trace {
            id,
            span: new_span()?,
            parent: parent.map(|parent| parent.span),
            started,
            attempt: Cell::new(None),
            spans: RefCell::default(),
        }))
    }

    fn is_next(&self, sample: u32) -> bool {
        let left_out = self.left_out.get().saturating_add(1);
        let is_next = left_out >= sample;
        self.left_out.set(if is_next { 0 } else { left_out });
        is_next
    }

    /// Hands a recorded request over, with what its log line says. Never waits.
    pub fn end(&self, trace: &Trace, entry: &Entry<'_>) {
        let redact = self.switch.get().map(|rules| rules.redact).unwrap_or_default();
        let facts = Facts {
            request_id: entry.request_id.to_owned(),
            method: entry.method.to_owned(),
            path: (!redact.path).then(|| entry.path.to_owned()),
            version: entry.version.map_or("", version_text),
            peer: (!redact.peer).then_some(entry.peer),
            route: entry.route.map(str::to_owned),
            user: entry.user_id.filter(|_| !redact.user),
            status: entry.status,
            outcome: entry.outcome,
        };
        let Trace { id, span, parent, .. } = *trace;
        let (ended, took, spans) = (entry.time, entry.total, trace.spans.take());
        let finished = Box::new(FinishedTrace { id, span, parent, ended, took, facts, spans });
        if self.switch.finished.try_send(finished).is_err() {
            self.switch.lost(1);
        }
    }
}

impl Trace {
    /// Names the next attempt in the headers for the endpoint. A `tracestate` without a valid `traceparent` is removed:
    /// it belongs to no trace.
    pub fn name_attempt(&self, fields: &mut HeaderMap) {
        let span = new_span();
        self.attempt.set(span);
        let Some(header) = span.and_then(|span| Parent { trace: self.id, span, is_sampled: true }.header()) else {
            return;
        };
        if self.parent.is_none() && self.spans.borrow().is_empty() {
            fields.remove(TRACESTATE);
        }
        fields.insert(TRACEPARENT, header);
    }

    /// Records an attempt that began at `begun` and ends now.
    pub fn attempted(&self, begun: Instant, status: Option<u16>) {
        if let Some(id) = self.attempt.take() {
            self.record(id, SpanKind::Attempt, begun, status);
        }
    }

    /// Records a lookup that began at `begun` and ends now.
    pub fn looked_up(&self, begun: Instant) {
        if let Some(id) = new_span() {
            self.record(id, SpanKind::Lookup, begun, None);
        }
    }

    fn record(&self, id: SpanId, kind: SpanKind, begun: Instant, status: Option<u16>) {
        let (after, took) = (begun.duration_since(self.started), Instant::now().duration_since(begun));
        self.spans.borrow_mut().push(Span { id, kind, after, took, status });
    }
}

/// A random number for a span; `None` if the system provides no random numbers.
fn new_span() -> Option<SpanId> {
    Some(SpanId(u64::from_be_bytes(random()?).max(1)))
}

fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::log_line::tests::entry;
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";

    fn fields(flags: Option<&str>) -> HeaderMap {
        let header = flags.map(|flags| HeaderValue::try_from(format!("{PARENT}{flags}")).unwrap());
        header.into_iter().map(|value| (TRACEPARENT, value)).collect()
    }

    fn rules(sample: u32, trust_parent: bool) -> Option<TraceRules> {
        Some(TraceRules { sample, trust_parent, redact: Redact::default() })
    }

    #[tokio::test]
    async fn the_sample_decides_unless_a_trusted_parent_does() {
        // 100 requests each: without a parent, with one that is not sampled, with one that is.
        let table = [
            (None, [0, 0, 0]),
            (rules(1, false), [100, 100, 100]),
            (rules(10, false), [10, 10, 10]),
            (rules(10, true), [10, 0, 100]),
        ];
        for (rules, wanted) in table {
            let (switch, _queue) = TraceSwitch::new(Arc::default());
            switch.set(rules);
            let recorded = [None, Some("00"), Some("01")].map(|flags| {
                let tracer = Tracer::new(switch.clone());
                (0..100).filter(|_| tracer.begin(&fields(flags), Instant::now()).is_some()).count()
            });
            assert_eq!(recorded, wanted, "{rules:?}");
        }
    }

    #[tokio::test]
    async fn a_trace_goes_on_from_its_parent_and_each_attempt_is_a_span_of_its_own() {
        let (switch, _queue) = TraceSwitch::new(Arc::default());
        switch.set(rules(1, false));
        let tracer = Tracer::new(switch);
        let mut sent = fields(Some("00"));
        sent.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        let trace = tracer.begin(&sent, Instant::now()).unwrap();
        let mut seen = Vec::new();
        for status in [None, Some(200)] {
            trace.name_attempt(&mut sent);
            trace.attempted(Instant::now(), status);
            seen.push(Parent::read(&sent).unwrap());
        }
        assert!(
            seen.iter().all(|seen| seen.trace.to_string() == "0af7651916cd43dd8448eb211c80319c" && seen.is_sampled)
        );
        let spans = trace.spans.borrow();
        assert_eq!(
            seen.iter().map(|seen| seen.span).collect::<Vec<_>>(),
            spans.iter().map(|span| span.id).collect::<Vec<_>>()
        );
        assert_ne!(spans[0].id, spans[1].id);
        assert_eq!(sent[TRACESTATE], "a=b");

        // Without a valid parent the trace is new, and a `tracestate` belongs to none.
        let mut sent = fields(None);
        sent.insert(TRACEPARENT, HeaderValue::from_static("00-invalid"));
        sent.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        tracer.begin(&sent, Instant::now()).unwrap().name_attempt(&mut sent);
        assert!(Parent::read(&sent).is_some() && !sent.contains_key(TRACESTATE));
    }

    #[tokio::test]
    async fn a_full_queue_drops_traces_and_counts_them() {
        let counts = Arc::<ProcessCounters>::default();
        let (switch, mut queue) = TraceSwitch::new(Arc::clone(&counts));
        switch.set(Some(TraceRules { redact: Redact { user: true, ..Redact::default() }, ..rules(1, false).unwrap() }));
        let tracer = Tracer::new(switch);
        for _ in 0..QUEUE + 7 {
            let trace = tracer.begin(&HeaderMap::new(), Instant::now()).unwrap();
            tracer.end(&trace, &entry());
        }
        assert_eq!(counts.traces_dropped.get(), 7);
        assert_eq!(queue.recv().await.unwrap().facts.user, None, "what is redacted is not exported");
    }
}
