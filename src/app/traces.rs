//! Sends finished traces to an OpenTelemetry collector: OTLP over HTTP, in JSON.
//!
//! It runs on the control half, so a collector that is slow or away delays no request. What cannot be sent is dropped and
//! counted; an outage is one line in the log when it begins and one when it ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::config::settings::{Collector, Log, Redacted, Traces};
use crate::telemetry::trace::otlp;
use crate::telemetry::{FinishedTrace, Outage, ProcessCounters, Redact, TraceRules, TraceSwitch};

/// At most this many traces in one request.
const BATCH: usize = 256;
/// How long traces are collected before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// Time limit of one request to the collector.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of a response.
const REST: u64 = 64 << 10;
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest status line of a response.
const STATUS_LINE: usize = 256;

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
        let exporter = Exporter { switch: switch.clone(), settings, instance, outage: Outage::default() };
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
}

impl Exporter {
    async fn run(self, mut queue: mpsc::Receiver<Box<FinishedTrace>>) {
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

    async fn export(&self, settings: &Traces, batch: &[Box<FinishedTrace>]) {
        let body = otlp::request(&settings.service_name, &self.instance, batch);
        let sent = tokio::time::timeout(TIMEOUT, post(&settings.endpoint, &body)).await;
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

/// Sends one request. A collector answers 200, also if it has rejected a part.
async fn post(collector: &Collector, body: &[u8]) -> io::Result<()> {
    let Collector { host, port, path } = collector;
    // The address of an IPv6 host has brackets in a URL only.
    let mut stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), *port)).await?;
    let (length, media_type) = (body.len(), otlp::MEDIA_TYPE);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: tokengate\r\nContent-Type: {media_type}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    // Only the first line matters. The collector may keep the connection open after its response.
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    // The rest is read as well: the collector would otherwise see a reset.
    let mut rest = stream.take(REST);
    let _ = tokio::time::timeout(DRAIN, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    match line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)) {
        Some(status) if status.starts_with('2') => Ok(()),
        Some(status) => Err(io::Error::other(format!("the collector answers {status}"))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the collector does not speak HTTP")),
    }
}
