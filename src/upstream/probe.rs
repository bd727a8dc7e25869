//! Asks an endpoint for its health, over the same transport as requests.

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::connect::{ConnectFault, EndpointSpec, connect};
use super::http2;
use super::stream::Stream;
use crate::config::settings::{HealthCheck, Protocol};
use crate::http1::{self, Answer, Asked, BadAnswer, Event, Framing};
use crate::units::HumanDuration;

/// How it introduces itself.
const AGENT: &str = "tokengate-health-check";

/// Limits of the head of its response.
const LIMITS: http1::Limits = http1::Limits { head_bytes: 64 << 10, head_count: 100 };

/// Why an endpoint is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFault {
    /// It cannot be reached.
    #[error("{0}")]
    Connect(String),
    /// It did not respond in time.
    #[error("no response within {0}")]
    Late(HumanDuration),
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// Its response is invalid.
    #[error("invalid response: {0}")]
    Invalid(BadAnswer),
    /// Its status is not the expected one.
    #[error("status {0}")]
    Status(StatusCode),
}

/// Sends one request on a new connection.
///
/// # Errors
/// [`ProbeFault`] if the endpoint is not healthy.
pub async fn probe(spec: &EndpointSpec, check: &HealthCheck) -> Result<(), ProbeFault> {
    let deadline = Instant::now() + check.timeout;
    let stream = connect(spec, deadline).await.map_err(|fault: ConnectFault| ProbeFault::Connect(fault.to_string()))?;
    let status = timeout_at(deadline, ask(stream, spec, check))
        .await
        .map_err(|_| ProbeFault::Late(HumanDuration(check.timeout)))??;
    if check.status.contains(&status.as_u16()) { Ok(()) } else { Err(ProbeFault::Status(status)) }
}

async fn ask(stream: Stream, spec: &EndpointSpec, check: &HealthCheck) -> Result<StatusCode, ProbeFault> {
    match spec.protocol == Protocol::Http2 && stream.speaks_http2() {
        true => ask_over_http2(stream, spec, check).await,
        false => ask_over_http1(stream, spec, check).await,
    }
}

async fn ask_over_http2(stream: Stream, spec: &EndpointSpec, check: &HealthCheck) -> Result<StatusCode, ProbeFault> {
    let host = check.host.as_ref().unwrap_or(&spec.host);
    let scheme = if spec.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let path = check.path.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build();
    let request =
        uri.and_then(|uri| Request::get(uri).version(Version::HTTP_2).header(header::USER_AGENT, AGENT).body(()));
    let request = request.map_err(|_| ProbeFault::Closed)?;
    let closed = |_| ProbeFault::Closed;
    let (mut requests, connection) = http2::builder(LIMITS).handshake::<_, Bytes>(stream).await.map_err(closed)?;
    let (response, _) = requests.send_request(request, true).map_err(closed)?;
    tokio::select! {
        response = response => Ok(response.map_err(closed)?.status()),
        _ = connection => Err(ProbeFault::Closed),
    }
}

async fn ask_over_http1(
    mut stream: Stream,
    spec: &EndpointSpec,
    check: &HealthCheck,
) -> Result<StatusCode, ProbeFault> {
    let mut fields = HeaderMap::new();
    fields.insert(header::HOST, check.host.as_ref().unwrap_or(&spec.host).clone());
    fields.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut head = Vec::new();
    http1::write_head(&mut head, &Method::GET, &check.path, &fields, Framing::None);
    let closed = |_| ProbeFault::Closed;
    stream.write_all(&head).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;
    let (mut answer, mut buffer) = (Answer::new(Asked::by(&Method::GET, false), LIMITS), BytesMut::new());
    loop {
        if let Some(Event::Head(head)) = answer.next(&mut buffer).map_err(ProbeFault::Invalid)? {
            return Ok(head.status());
        }
        if stream.read_buf(&mut buffer).await.map_err(closed)? == 0 {
            return Err(ProbeFault::Closed);
        }
    }
}
