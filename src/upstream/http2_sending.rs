//! Sends a request on an HTTP/2 stream.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body::Body;

use super::OutgoingBody;
use super::sending::{Unsent, framing};
use crate::http1::Framing;

/// How much of a request body is kept until its response begins, so that a request which the endpoint has not processed
/// can be sent again, in bytes.
const KEPT: usize = 64 << 10;

/// What sends a request; shared with the task that sends the rest of one.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) sending: RefCell<Sending>,
    pub(super) unsent: Cell<Option<Unsent>>,
}

#[derive(Default)]
pub(super) struct Sending {
    pub(super) request: Option<Request<OutgoingBody>>,
    /// `None`: the request has no body, or all of it was sent.
    pub(super) to: Option<SendStream<Bytes>>,
    piece: Bytes,
    is_last: bool,
    /// The pieces that were sent; `None`: too much to keep.
    pub(super) kept: Option<Vec<Bytes>>,
    /// Their length in bytes.
    kept_bytes: usize,
    pub(super) has_left: bool,
}

impl Sending {
    /// Before the request is sent.
    pub(super) fn begin() -> Sending {
        Sending { kept: Some(Vec::new()), ..Sending::default() }
    }

    /// Sends as much as the endpoint takes. Ready when the whole request was sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            let (Some(to), Some(request)) = (&mut self.to, &mut self.request) else { return Poll::Ready(Ok(())) };
            let body = request.body_mut();
            if body.is_cut() {
                return self.fail();
            }
            if !self.piece.is_empty() {
                to.reserve_capacity(self.piece.len());
                let room = to.capacity().min(self.piece.len());
                if room == 0 {
                    match to.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => continue,
                        // The endpoint has ended the stream. It may have responded before.
                        Poll::Ready(_) => return Poll::Ready(Err(Unsent::Socket)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                let part = self.piece.split_to(room);
                let ends = self.is_last && self.piece.is_empty();
                if to.send_data(part, ends).is_err() {
                    return Poll::Ready(Err(Unsent::Socket));
                }
                if ends {
                    self.to = None;
                }
                continue;
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(_))) => return self.fail(),
                Poll::Ready(Some(Ok(frame))) => {
                    self.is_last = body.is_end_stream();
                    let data = frame.into_data().unwrap_or_default();
                    self.keep(&data);
                    self.piece = data;
                    if self.piece.is_empty() && self.is_last {
                        return self.end();
                    }
                }
                Poll::Ready(None) => return self.end(),
            }
        }
    }

    fn end(&mut self) -> Poll<Result<(), Unsent>> {
        let Some(mut to) = self.to.take() else { return Poll::Ready(Ok(())) };
        Poll::Ready(to.send_data(Bytes::new(), true).map_err(|_| Unsent::Socket))
    }

    /// The body failed: tells the endpoint at once that the request is incomplete.
    fn fail(&mut self) -> Poll<Result<(), Unsent>> {
        if let Some(mut to) = self.to.take() {
            to.send_reset(Reason::CANCEL);
        }
        Poll::Ready(Err(Unsent::Body))
    }

    fn keep(&mut self, piece: &Bytes) {
        self.kept_bytes = self.kept_bytes.saturating_add(piece.len());
        match &mut self.kept {
            Some(kept) if self.kept_bytes <= KEPT => kept.extend((!piece.is_empty()).then(|| piece.clone())),
            _ => self.kept = None,
        }
    }
}

/// The head in the form of HTTP/2; `None` if it has none. A WebSocket handshake is an extended CONNECT (RFC 8441).
pub(super) fn head(request: &Request<OutgoingBody>, scheme: &Scheme, is_handshake: bool) -> Option<Request<()>> {
    let mut fields: HeaderMap = request.headers().clone();
    let host = fields.remove(HOST)?;
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    parts.path_and_query = parts.path_and_query.or_else(|| Some(PathAndQuery::from_static("/")));
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        fields.remove(name);
    }
    // The gateway understands trailers, and gRPC servers insist on this.
    fields.insert(TE, HeaderValue::from_static("trailers"));
    match framing(request) {
        Framing::Length(length) => drop(fields.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        _ => drop(fields.remove(CONTENT_LENGTH)),
    }
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    if is_handshake {
        fields.remove(SEC_WEBSOCKET_KEY);
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    *head.uri_mut() = Uri::from_parts(parts).ok()?;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = fields;
    Some(head)
}
