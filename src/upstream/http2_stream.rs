//! One request and its response on an HTTP/2 connection.
//!
//! The exchange polls it in its own task, as a connection of HTTP/1.1: it sends the request and reads the response.
//! Room for more of the response is granted when the client has taken the last piece.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use tokio::task::AbortHandle;

use super::http2::Place;
use super::http2_sending::{Outgoing, Sending, head};
use super::sending::{Unsent, is_repeatable};
use super::{OriginFault, OutgoingBody};
use crate::client::{ByteStream, Joined};
use crate::http1::{self, BadAnswer, decimal};

/// A request on an HTTP/2 connection, and its response.
pub(super) struct Http2Stream {
    place: Place,
    limits: http1::Limits,
    scheme: Scheme,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    /// What has arrived of the body while its client took nothing.
    kept: Joined,
    /// The size of the last piece, for which no room was granted yet.
    taken: usize,
    /// The remaining length of the response body, if it is known.
    left: Option<u64>,
    is_head: bool,
    tunnel: Tunnel,
    outgoing: Rc<Outgoing>,
    task: Option<AbortHandle>,
    /// Whether the endpoint has certainly not processed the request.
    is_unprocessed: bool,
    /// Whether the endpoint has reset the stream or broken the rules, and not lost the whole connection.
    is_reset: bool,
    /// Whether the endpoint may have broken the rules on another stream of the connection.
    may_be_innocent: bool,
}

/// The stream as a tunnel.
enum Tunnel {
    /// It is none.
    None,
    /// The request asks for one.
    Asked(SendStream<Bytes>),
    /// The endpoint has accepted.
    Open(Box<ByteStream>),
}

impl Tunnel {
    /// The endpoint has answered. Returns the body of the response if the stream is no tunnel.
    fn answered(&mut self, status: StatusCode, body: RecvStream) -> Result<(), RecvStream> {
        match std::mem::replace(self, Tunnel::None) {
            Tunnel::Asked(to) if status.is_success() => {
                *self = Tunnel::Open(Box::new(ByteStream::of_endpoint(body, to)));
                Ok(())
            }
            Tunnel::Asked(mut to) => {
                // The request ends here. Fails only on a stream that has ended.
                let _ = to.send_data(Bytes::new(), true);
                Err(body)
            }
            Tunnel::None | Tunnel::Open(_) => Err(body),
        }
    }
}

impl Http2Stream {
    pub(super) fn new(place: Place, limits: http1::Limits, is_secure: bool) -> Http2Stream {
        Http2Stream {
            place,
            limits,
            scheme: if is_secure { Scheme::HTTPS } else { Scheme::HTTP },
            response: None,
            body: None,
            kept: Joined::default(),
            taken: 0,
            left: None,
            is_head: false,
            tunnel: Tunnel::None,
            outgoing: Rc::default(),
            task: None,
            is_unprocessed: false,
            is_reset: false,
            may_be_innocent: false,
        }
    }

    /// Whether the connection had a stream before.
    pub(super) fn is_reused(&self) -> bool {
        self.place.is_reused()
    }

    /// Gives the connection no further streams: it does not respond.
    pub(super) fn distrust(&self) {
        self.place.leave();
    }

    /// Whether the endpoint takes WebSocket handshakes.
    pub(super) async fn takes_websocket(&self) -> Result<bool, OriginFault> {
        let taken = self.place.takes_extended_connect().await;
        taken.map_err(|_| {
            self.place.leave();
            OriginFault::Reset
        })
    }

    /// Opens the stream; [`Http2Stream::poll_answer`] sends the request. `is_handshake`: it asks for a tunnel.
    pub(super) fn begin(&mut self, request: Request<OutgoingBody>, is_handshake: bool) {
        self.is_head = *request.method() == Method::HEAD;
        let is_empty = request.body().is_empty();
        let mut sending = self.outgoing.sending.borrow_mut();
        *sending = Sending::begin();
        let head = head(&request, &self.scheme, is_handshake);
        sending.request = Some(request);
        match head.map(|head| self.place.requests().send_request(head, is_empty && !is_handshake)) {
            Some(Ok((response, to))) => {
                sending.has_left = true;
                match is_handshake {
                    true => self.tunnel = Tunnel::Asked(to),
                    false => sending.to = (!is_empty).then_some(to),
                }
                self.response = Some(response);
            }
            // The connection has ended, or the endpoint has said that it takes no more streams.
            _ => {
                self.is_unprocessed = true;
                self.place.leave();
            }
        }
    }

    /// Sends the request, and waits for the head of the response.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, OriginFault>> {
        if self.send(cx) == Some(Unsent::Body) {
            return Poll::Ready(Err(OriginFault::Reset));
        }
        let Some(response) = &mut self.response else { return Poll::Ready(Err(OriginFault::Reset)) };
        match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                self.response = None;
                let (head, body) = response.into_parts();
                let mut sending = self.outgoing.sending.borrow_mut();
                sending.kept = None;
                if sending.to.is_none() {
                    sending.request = None;
                }
                drop(sending);
                let mut answer = Response::new(());
                (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers);
                let body = match self.tunnel.answered(head.status, body) {
                    Ok(()) => {
                        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                        return Poll::Ready(Ok(answer));
                    }
                    Err(body) => body,
                };
                self.left = self.length(&mut answer, &body).map_err(OriginFault::BadResponse)?;
                self.body = Some(body);
                Poll::Ready(Ok(answer))
            }
            Err(error) => {
                self.response = None;
                self.is_unprocessed = error.is_remote()
                    && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM));
                if !error.is_reset() {
                    self.place.leave();
                }
                // The library has ended the connection or the stream, because the endpoint broke the rules.
                let is_broken = error.is_library();
                self.may_be_innocent = is_broken && error.is_go_away() && self.place.may_be_innocent();
                self.is_reset = error.is_reset() || is_broken;
                Poll::Ready(Err(match is_broken && !self.may_be_innocent {
                    true => OriginFault::BadResponse(BadAnswer::Http2),
                    false => OriginFault::Reset,
                }))
            }
        }
    }

    /// Checks the head as that of a response over HTTP/1.1. Returns the length of the body, if it is known.
    fn length(&self, answer: &mut Response<()>, body: &RecvStream) -> Result<Option<u64>, BadAnswer> {
        let status = answer.status();
        let fields = answer.headers_mut();
        if status.is_informational() {
            return Err(BadAnswer::Switch);
        }
        if fields.len() > self.limits.head_count {
            return Err(BadAnswer::TooManyFields(self.limits.head_count));
        }
        let mut lines = fields.get_all(CONTENT_LENGTH).iter();
        let length = match (lines.next(), lines.next()) {
            (None, _) => None,
            (Some(one), None) => Some(decimal(one.as_bytes()).ok_or(BadAnswer::Length)?),
            _ => return Err(BadAnswer::Length),
        };
        if let Some(length) = length {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let has_none = self.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if status == StatusCode::NO_CONTENT {
            fields.remove(CONTENT_LENGTH);
        }
        if body.is_end_stream() && !has_none && length.unwrap_or(0) > 0 {
            return Err(BadAnswer::Length);
        }
        Ok(if body.is_end_stream() || has_none { Some(0) } else { length })
    }

    /// The next piece of the response body, or its trailers; `None` at the end.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BadAnswer>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            // Fails only on a stream that has ended.
            let _ = body.flow_control().release_capacity(taken);
        }
        let bad = |error: &h2::Error| if error.is_library() { BadAnswer::Http2 } else { BadAnswer::Cut };
        loop {
            let polled = match self.kept.next_piece() {
                Some(piece) => Some(Ok(piece)),
                None => ready!(body.poll_data(cx)),
            };
            match polled {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.taken = piece.len();
                    let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    self.left = self.left.map(|left| left.saturating_sub(length));
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(bad(&error)))),
                None => break,
            }
        }
        match ready!(body.poll_trailers(cx)) {
            Ok(trailers) => {
                self.body = None;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(bad(&error)))),
        }
    }

    /// Moves what has arrived of the response out of the queue of the library, while the client takes nothing. There a
    /// short frame costs many times its bytes. No room is granted, so the window bounds what is kept. Wakes the task
    /// when more arrives.
    pub(super) fn keep(&mut self, cx: &mut Context<'_>) {
        if let Tunnel::Open(tunnel) = &self.tunnel {
            tunnel.keep(cx);
        }
        // The end, or an error, is still there when the client has taken what was kept.
        while let Some(body) = &mut self.body
            && let Poll::Ready(Some(Ok(piece))) = body.poll_data(cx)
        {
            self.kept.push(piece);
        }
    }

    /// Whether the whole response was read. One with a length has ended with its last byte, even if the endpoint ends
    /// its stream with a frame of its own.
    pub(super) fn has_ended(&self) -> bool {
        let is_read = |body: &RecvStream| body.is_end_stream() || self.left == Some(0);
        self.response.is_none() && self.kept.is_empty() && self.body.as_ref().is_none_or(is_read)
    }

    /// The remaining length of the response body in bytes, if it is known.
    pub(super) fn left(&self) -> Option<u64> {
        if self.has_ended() { Some(0) } else { self.left }
    }

    /// Whether no response has begun.
    pub(super) fn is_unanswered(&self) -> bool {
        self.body.is_none()
    }

    /// Whether the endpoint has certainly not processed the request.
    pub(super) fn is_unprocessed(&self) -> bool {
        self.is_unprocessed
    }

    /// Whether the endpoint has broken the rules, but possibly on another stream of the connection.
    pub(super) fn may_be_innocent(&self) -> bool {
        self.may_be_innocent
    }

    /// Whether the endpoint has reset this stream alone, or has broken the rules.
    pub(super) fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// The tunnel, if the endpoint has accepted the handshake.
    pub(super) fn tunnel(&mut self) -> Option<&mut ByteStream> {
        match &mut self.tunnel {
            Tunnel::Open(tunnel) => Some(tunnel),
            Tunnel::None | Tunnel::Asked(_) => None,
        }
    }

    /// Takes the request back after a fault, with the part of its body that was sent, if sending it again cannot repeat
    /// an effect.
    pub(super) fn take_back(&mut self) -> Option<Box<Request<OutgoingBody>>> {
        let Sending { request, kept, has_left, .. } = self.outgoing.sending.take();
        let mut request = request?;
        let has_sent = request.body().state().pieces() > 0;
        match (self.is_unprocessed || !has_left, kept) {
            (true, Some(kept)) => request.body_mut().repeats(kept),
            (true, None) if !has_sent => {}
            (false, _) if is_repeatable(&request) => {}
            _ => return None,
        }
        Some(Box::new(request))
    }

    /// Whether the whole request was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.outgoing.sending.borrow().to.is_none()
    }

    /// Starts a task that sends the rest of the request.
    pub(super) fn send_in_background(&mut self) {
        if self.outgoing.unsent.get().is_some() {
            return drop(self.outgoing.sending.take());
        }
        let outgoing = Rc::clone(&self.outgoing);
        let task = tokio::task::spawn_local(async move {
            let sent = std::future::poll_fn(|cx| outgoing.sending.borrow_mut().poll(cx)).await;
            // The body of the client is read no further.
            drop(outgoing.sending.take());
            outgoing.unsent.set(sent.err());
        });
        self.task = Some(task.abort_handle());
    }

    fn send(&self, cx: &mut Context<'_>) -> Option<Unsent> {
        let outgoing = &self.outgoing;
        if self.task.is_none()
            && outgoing.unsent.get().is_none()
            && let Poll::Ready(Err(unsent)) = outgoing.sending.borrow_mut().poll(cx)
        {
            outgoing.unsent.set(Some(unsent));
        }
        outgoing.unsent.get()
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let is_whole = match &self.tunnel {
            Tunnel::None => self.has_ended() && self.is_sent(),
            Tunnel::Asked(_) => false,
            Tunnel::Open(tunnel) => tunnel.is_shut(),
        };
        if !is_whole {
            self.place.was_cancelled();
        }
    }
}
