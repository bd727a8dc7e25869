//! Sends finished traces to an OpenTelemetry collector: OTLP over HTTP, in JSON.
//!
//! It runs on the control half, so a collector that is slow or away delays no request. What cannot be sent is dropped
//! and counted; an outage is one line in the log when it begins and one when it ends.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, CONTENT_TYPE, USER_AGENT};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, watch};

use crate::config::settings::{Collector, Log, Redacted, Traces};
use crate::https::HttpsClient;
use crate::telemetry::trace::otlp;
use crate::telemetry::{FinishedTrace, Outage, ProcessCounters, Redact, TraceRules, TraceSwitch};
use crate::tls::Authorities;

/// At most this many traces in one request.
const BATCH: usize = 256;
/// How long traces are collected before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// Time limit of one request to the collector.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Switches tracing as the configuration says.
#[derive(Clone)]
pub(super) struct TraceControl {
    switch: TraceSwitch,
    target: Arc<watch::Sender<Option<Traces>>>,
}

impl TraceControl {
    /// Tracing that is off, and the task that exports.
    pub(super) fn new(
        counts: Arc<ProcessCounters>,
        instance: String,
    ) -> (TraceControl, impl Future<Output = ()> + Send + 'static) {
        let (switch, queue) = TraceSwitch::new(counts);
        let (target, settings) = watch::channel(None);
        let (switch_of_task, outage) = (switch.clone(), Outage::default());
        let exporter = Exporter { switch: switch_of_task, settings, instance, outage, client: None };
        (TraceControl { switch, target: Arc::new(target) }, exporter.run(queue))
    }

    /// For the tracers of workers.
    pub(super) fn switch(&self) -> &TraceSwitch {
        &self.switch
    }

    /// Uses these settings from now on. What the access log hides, traces hide as well.
    pub(super) fn set(&self, traces: Option<&Traces>, log: &Log) {
        self.target.send_replace(traces.cloned());
        let hides = |fact| log.redact.contains(&fact);
        let redact = Redact { peer: hides(Redacted::Peer), path: hides(Redacted::Path), user: hides(Redacted::User) };
        self.switch.set(traces.map(|traces| TraceRules {
            sample: traces.sample,
            trust_parent: traces.trust_parent,
            redact,
        }));
    }
}

struct Exporter {
    switch: TraceSwitch,
    settings: watch::Receiver<Option<Traces>>,
    instance: String,
    outage: Outage,
    /// Built once for the settings in use: whether they need TLS, and which CAs they trust.
    client: Option<((bool, Option<Authorities>), HttpsClient)>,
}

impl Exporter {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<FinishedTrace>>) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            if batch.len() < BATCH {
                // Others that end soon are sent with them.
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH
                    && let Ok(more) = queue.try_recv()
                {
                    batch.push(more);
                }
            }
            let settings = self.settings.borrow().clone();
            if let Some(settings) = settings {
                self.export(&settings, &batch).await;
            }
            batch.clear();
        }
    }

    async fn export(&mut self, settings: &Traces, batch: &[Box<FinishedTrace>]) {
        let body = otlp::request(&settings.service_name, &self.instance, batch);
        let send = async { post(self.client(settings)?, &settings.endpoint, body.into()).await };
        let sent = tokio::time::timeout(TIMEOUT, send).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                if let Some(ended) = self.outage.succeeded() {
                    let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                    tracing::info!(code = "traces_lost", failures, lasted_ms, "the collector takes traces again");
                }
            }
            Err(error) => {
                self.switch.lost(u64::try_from(batch.len()).unwrap_or(u64::MAX));
                if self.outage.failed() {
                    let collector = settings.endpoint.to_string();
                    tracing::warn!(code = "traces_lost", %error, collector, "traces cannot be sent and are dropped");
                }
            }
        }
    }
}

impl Exporter {
    fn client(&mut self, settings: &Traces) -> io::Result<&HttpsClient> {
        let needs = (settings.endpoint.is_encrypted, settings.authorities.clone());
        if self.client.as_ref().is_none_or(|(of, _)| *of != needs) {
            let authorities = match &needs {
                (_, Some(authorities)) => authorities.clone(),
                (true, None) => Authorities::of_system().map_err(io::Error::other)?,
                // Not used without TLS.
                (false, None) => Authorities::none(),
            };
            self.client = Some((needs, HttpsClient::new(&authorities)?));
        }
        self.client.as_ref().map(|(_, client)| client).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Sends one request. A collector answers 200, also if it has rejected a part.
async fn post(client: &HttpsClient, collector: &Collector, body: Bytes) -> io::Result<()> {
    let request = Request::post(collector.to_string())
        .header(USER_AGENT, "tokengate")
        .header(CONTENT_TYPE, otlp::MEDIA_TYPE)
        .header(CONNECTION, "close")
        .body(Once(Some(body)));
    let answer = client.send(request.map_err(io::Error::other)?).await?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(io::Error::other(format!("the collector answers {}", status.as_u16()))),
    }
}

/// The body of such a request.
struct Once(Option<Bytes>);

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.0.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
