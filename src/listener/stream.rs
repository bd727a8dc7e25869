//! One stream of an HTTP/2 connection: a request and its response, or a tunnel, in a task of their own.
//!
//! Each stream has its own write timeout: if the client reads nothing of the response for `timeouts.write`, the stream
//! ends, and other streams are not affected. While a piece waits for the client, the task also waits for the end of the
//! caller's token. Dropping the response body releases the connection to the endpoint.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{Response, StatusCode};
use http_body::Body as HttpBody;

use crate::client::{ByteStream, ClientConnection, Inbox};
use crate::gateway::{Body, Gateway, Timer, Tunnel, Unanswered};

/// A stream and its state.
pub struct Stream<F> {
    state: State<F>,
    /// The request body, while it is needed.
    arriving: Arriving,
    /// For a WebSocket handshake.
    opening: Option<Opening>,
    gateway: Rc<Gateway>,
    client: Rc<ClientConnection>,
}

/// What the tunnel of a WebSocket handshake is made of.
pub struct Opening {
    /// What the client sends into it.
    pub inbox: Rc<Inbox>,
    /// The tunnel, once the endpoint has accepted.
    pub tunnel: Rc<Cell<Option<Tunnel>>>,
}

impl Opening {
    /// Before the handshake was forwarded.
    pub fn new(inbox: Rc<Inbox>) -> Opening {
        Opening { inbox, tunnel: Rc::default() }
    }
}

struct Arriving(Option<Weak<Inbox>>);

#[expect(clippy::large_enum_variant, reason = "a box more for each answer costs more than the room")]
enum State<F> {
    /// Boxed, so that its memory is freed when the response begins.
    Served(Pin<Box<F>>, SendResponse<Bytes>),
    Answered(Answer),
    /// The stream is the near end of a tunnel, which reads from this inbox.
    Tunneled(Pin<Box<dyn Future<Output = ()>>>, Rc<Inbox>),
    /// The response was sent. A task may still be reading the request body.
    Over,
}

/// A response on its way to the client.
struct Answer {
    body: Body,
    to: SendStream<Bytes>,
    /// The part of the last piece that was not sent yet, and whether it is the last one.
    piece: Bytes,
    is_last: bool,
    timer: Timer,
}

impl<F> Stream<F> {
    /// Creates the stream to which `served` responds.
    pub fn new(
        served: F,
        reply: SendResponse<Bytes>,
        arriving: Option<Weak<Inbox>>,
        opening: Option<Opening>,
        gateway: Rc<Gateway>,
        client: Rc<ClientConnection>,
    ) -> Stream<F> {
        Stream { state: State::Served(Box::pin(served), reply), arriving: Arriving(arriving), opening, gateway, client }
    }
}

impl<F> Future for Stream<F>
where
    F: Future<Output = Result<Response<Body>, Unanswered>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Stream { state, arriving, opening, gateway, client } = self.get_mut();
        loop {
            *state = match state {
                State::Served(served, reply) => match served.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => {
                        let opening = opening.take();
                        match opening.and_then(|Opening { inbox, tunnel }| Some((inbox, tunnel.take()?))) {
                            Some((inbox, tunnel)) => open(response, reply, inbox, tunnel, gateway),
                            None => begin(response, reply, gateway, client),
                        }
                    }
                    Poll::Ready(Err(Unanswered)) => {
                        reply.send_reset(Reason::INTERNAL_ERROR);
                        State::Over
                    }
                    Poll::Pending => {
                        if arriving.keep(cx) {
                            send_continue(reply);
                        }
                        // Ready: the client has reset the stream, or the connection has ended.
                        if reply.poll_reset(cx).is_pending() {
                            return Poll::Pending;
                        }
                        State::Over
                    }
                },
                State::Answered(answer) => {
                    if answer.poll(cx).is_pending() {
                        arriving.keep(cx);
                        return Poll::Pending;
                    }
                    State::Over
                }
                State::Tunneled(tunnel, inbox) => {
                    // Also while the endpoint reads nothing. Then the tunnel does not see that the client has gone.
                    inbox.keep(cx);
                    if tunnel.as_mut().poll(cx).is_pending() && !inbox.is_broken() {
                        return Poll::Pending;
                    }
                    State::Over
                }
                State::Over => {
                    arriving.keep(cx);
                    return if arriving.0.is_some() { Poll::Pending } else { Poll::Ready(()) };
                }
            }
        }
    }
}

impl Arriving {
    /// Takes the arrived part of the request body. `true`: a 100 must be sent to the client.
    fn keep(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(inbox) = self.0.as_ref().and_then(Weak::upgrade) else {
            self.0 = None;
            return false;
        };
        let due = inbox.keep(cx);
        if inbox.has_ended() {
            self.0 = None;
        }
        due
    }
}

/// Sends the head of a response.
fn begin<F>(
    mut response: Response<Body>,
    reply: &mut SendResponse<Bytes>,
    gateway: &Gateway,
    client: &ClientConnection,
) -> State<F> {
    response.headers_mut().entry(DATE).or_insert_with(|| gateway.worker.date.value());
    let (mut head, body) = response.into_parts();
    let is_empty = body.is_end_stream();
    if let Some(length) = body.size_hint().exact().filter(|_| !is_empty) {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    match reply.send_response(Response::from_parts(head, ()), is_empty) {
        Ok(to) if !is_empty => {
            let timer = Timer::new(&gateway.worker.timers, Some(client.pulse.write_timeout()), None);
            State::Answered(Answer { body, to, piece: Bytes::new(), is_last: false, timer })
        }
        Ok(_) => State::Over,
        Err(_) => {
            reply.send_reset(Reason::INTERNAL_ERROR);
            State::Over
        }
    }
}

/// Tells the client that its tunnel is open, and begins it.
fn open<F>(
    mut response: Response<Body>,
    reply: &mut SendResponse<Bytes>,
    inbox: Rc<Inbox>,
    tunnel: Tunnel,
    gateway: &Gateway,
) -> State<F> {
    response.headers_mut().entry(DATE).or_insert_with(|| gateway.worker.date.value());
    // Fails only on a stream that has ended.
    let Ok(to) = reply.send_response(response.map(drop), false) else { return State::Over };
    let client = ByteStream::of_client(Rc::clone(&inbox), to);
    State::Tunneled(Box::pin(tunnel.run(client, Vec::new())), inbox)
}

fn send_continue(reply: &mut SendResponse<Bytes>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    // Fails only on a stream that has ended.
    let _ = reply.send_informational(response);
}

impl Answer {
    /// Ready when the stream has ended in any way.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.to.poll_reset(cx).is_ready() {
                return self.was_not_taken();
            }
            if !self.piece.is_empty() {
                // Sends at most as much as the client's window allows. The rest stays here, where its timeout is
                // checked.
                self.to.reserve_capacity(self.piece.len());
                let room = self.to.capacity().min(self.piece.len());
                if room == 0 {
                    match self.to.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(_) => return self.was_not_taken(),
                        Poll::Pending => return self.wait(cx),
                    }
                }
                self.timer.start();
                let part = self.piece.split_to(room);
                let ends = self.piece.is_empty() && self.is_last;
                if self.to.send_data(part, ends).is_err() {
                    return self.was_not_taken();
                }
                if ends {
                    return Poll::Ready(());
                }
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return Poll::Pending };
            let sent = match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                None => return self.end(Bytes::new()),
                Some(Ok(Ok(data))) => {
                    self.is_last = self.body.is_end_stream();
                    if data.is_empty() && self.is_last {
                        return self.end(data);
                    }
                    self.piece = data;
                    continue;
                }
                Some(Ok(Err(frame))) => frame.into_trailers().ok().map(|trailers| {
                    self.to.reserve_capacity(0);
                    self.to.send_trailers(trailers)
                }),
                Some(Err(_)) => None,
            };
            if !matches!(sent, Some(Ok(()))) {
                self.to.send_reset(Reason::INTERNAL_ERROR);
            }
            return Poll::Ready(());
        }
    }

    fn end(&mut self, last: Bytes) -> Poll<()> {
        // Fails only on a stream that has ended.
        let _ = self.to.send_data(last, true);
        Poll::Ready(())
    }

    /// Waits until the client can receive more of a piece.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body.wait_for_client(cx) || self.timer.poll(cx).is_ready() {
            self.to.send_reset(Reason::CANCEL);
            return self.was_not_taken();
        }
        Poll::Pending
    }

    fn was_not_taken(&mut self) -> Poll<()> {
        self.body.was_not_taken();
        Poll::Ready(())
    }
}
