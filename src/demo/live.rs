//! The live part of the demo's upstream: a page, server-sent events and a WebSocket, one event a second.
//!
//! Used by [`super::products`]. It shows what the gateway does with exchanges that do not end by themselves: they pass,
//! and they end when the token or the session of the caller ends. The WebSocket only sends; what a client sends is read
//! as far as its first byte, which says whether the client closes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64ct::{Base64, Encoding};
use http_body::{Body as HttpBody, Frame};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Interval, MissedTickBehavior};

/// The paths of this part begin with it.
pub const PREFIX: &str = "/live/";

/// The time between two events.
const EVERY: Duration = Duration::from_secs(1);

/// The text that a server hashes together with the key, to prove that it supports WebSocket (RFC 6455 §1.3).
const SERVER_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// First byte of a frame: the last one of a message, with text (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
/// The same: a frame that closes the connection.
const CLOSE: u8 = 0x88;

const PAGE: &str = include_str!("live.html");

/// The routes of this part.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(PREFIX, get(async || Html(PAGE)))
        .route(&format!("{PREFIX}events/"), get(events))
        .route(&format!("{PREFIX}socket/"), get(socket))
}

async fn events() -> Response {
    let fields = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (fields, Body::new(Events(Ticks::new()))).into_response()
}

async fn socket(mut request: Request) -> Response {
    let Some(accept) = accept(request.headers()) else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], "This is a WebSocket.\n")
            .into_response();
    };
    let switched = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // An error means that the connection has ended: no client is left.
        if let Ok(connection) = switched.await {
            let _ = send_frames(TokioIo::new(connection)).await;
        }
    });
    let fields =
        [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_ACCEPT, &accept)];
    (StatusCode::SWITCHING_PROTOCOLS, fields).into_response()
}

/// The value of `Sec-WebSocket-Accept`, if these are the headers of a handshake.
fn accept(fields: &HeaderMap) -> Option<String> {
    let asks = fields.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = fields.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?.to_str().ok()?;
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{SERVER_GUID}").as_bytes());
    Some(Base64::encode_string(digest.as_ref()))
}

/// Sends a frame a second until the client closes or the connection ends.
async fn send_frames(mut connection: TokioIo<hyper::upgrade::Upgraded>) -> std::io::Result<()> {
    let mut ticks = Ticks::new();
    let mut received = [0; 128];
    loop {
        tokio::select! {
            number = ticks.next() => {
                let text = format!("event {number}\n");
                let length = u8::try_from(text.len()).unwrap_or_default();
                connection.write_all(&[&[TEXT, length], text.as_bytes()].concat()).await?;
            }
            read = connection.read(&mut received) => match (read?, received.first()) {
                (0, _) => return Ok(()),
                (_, Some(&CLOSE)) => return connection.write_all(&[CLOSE, 0]).await,
                _ => {}
            },
        }
    }
}

/// Numbers, one a second. The first one comes at once.
struct Ticks {
    interval: Interval,
    number: u64,
}

impl Ticks {
    fn new() -> Ticks {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ticks { interval, number: 0 }
    }

    async fn next(&mut self) -> u64 {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        ready!(self.interval.poll_tick(context));
        self.number += 1;
        Poll::Ready(self.number)
    }
}

/// A body of server-sent events without an end.
struct Events(Ticks);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let number = ready!(self.0.poll_next(context));
        Poll::Ready(Some(Ok(Frame::data(format!("data: event {number}\n\n").into()))))
    }
}
