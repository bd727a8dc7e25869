//! One request of an HTTP/1 connection and its response.
//!
//! The connection's task polls all of it: the request function, the body of the response, and the part of the request
//! that still arrives. So nothing passes between tasks.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, TE};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, Version, request};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Answer;
use super::arriving::{Arriving, Gone};
use super::wire::Wire;
use crate::client::{ClientBody, ClientConnection};
use crate::gateway::{Body, Gateway, Tunnel, Unanswered};
use crate::http1::{Framing, Persistence, RequestHead, ResponseHead};

/// How a connection goes on after an exchange.
pub enum Next {
    /// It takes another request.
    Request,
    /// It closes. `unread`: the client may still be sending.
    Close { unread: bool },
    /// It breaks off: the response is incomplete, or the client has disconnected.
    Cut,
    /// It is the near end of this tunnel.
    Tunnel(Tunnel),
}

/// The tunnel that a response opens.
type Opened = Rc<Cell<Option<Tunnel>>>;

/// A request and its response, on their connection.
pub struct Exchange<'c, S, F> {
    wire: &'c mut Wire<S>,
    gateway: Rc<Gateway>,
    opened: Opened,
    state: State<F>,
    arriving: Arriving,
    version: Version,
    is_head: bool,
    takes_trailers: bool,
    /// Whether the request and the response so far let the connection go on.
    persists: bool,
}

enum State<F> {
    Served(Pin<Box<F>>),
    /// Boxed, so that the exchange is small while it is served.
    Answered(Box<Answer>),
    /// The 101 is being written.
    Switching(Box<Tunnel>),
    /// The response was written. A task may still be reading the request body.
    Over,
}

impl<'c, S, F> Exchange<'c, S, F>
where
    F: Future<Output = Result<Response<Body>, Unanswered>>,
{
    /// Begins the exchange. `serve` is the request function.
    pub fn begin(
        wire: &'c mut Wire<S>,
        client: &'c Rc<ClientConnection>,
        gateway: Rc<Gateway>,
        head: RequestHead,
        serve: impl FnOnce(Rc<Gateway>, &Rc<ClientConnection>, &Opened, Box<request::Parts>, ClientBody) -> F,
    ) -> Exchange<'c, S, F> {
        let (arriving, body) = Arriving::after(&head, &mut wire.input);
        let parts = head.parts;
        let (version, is_head) = (parts.version, parts.method == Method::HEAD);
        let has = |name, element| lists(&parts.headers, name, element);
        let takes_trailers = has(&TE, b"trailers");
        let persists = !has(&CONNECTION, b"close") && (version == Version::HTTP_11 || has(&CONNECTION, b"keep-alive"));
        let opened = Rc::default();
        let served = serve(Rc::clone(&gateway), client, &opened, parts, body);
        let state = State::Served(Box::pin(served));
        Exchange { wire, gateway, opened, state, arriving, version, is_head, takes_trailers, persists }
    }
}

impl<S, F> Future for Exchange<'_, S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<Response<Body>, Unanswered>>,
{
    type Output = Next;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = self.get_mut();
        loop {
            let step = match &mut this.state {
                State::Served(served) => match served.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => {
                        this.state = this.begin_answer(response);
                        continue;
                    }
                    Poll::Ready(Err(Unanswered)) => return Poll::Ready(Next::Cut),
                    Poll::Pending => Poll::Pending,
                },
                State::Answered(answer) => answer.poll(this.wire, cx),
                State::Switching(tunnel) => match this.wire.poll_flush(cx) {
                    Poll::Pending if tunnel.poll_end(cx) => return Poll::Ready(Next::Cut),
                    flushed => flushed.map_err(|_| Gone),
                },
                State::Over => match this.arriving {
                    Arriving::Body(..) => Poll::Pending,
                    Arriving::Nothing if this.persists => return Poll::Ready(Next::Request),
                    Arriving::Nothing => return Poll::Ready(Next::Close { unread: !this.wire.input.is_empty() }),
                    Arriving::Unread | Arriving::Held => return Poll::Ready(Next::Close { unread: true }),
                },
            };
            match step {
                Poll::Ready(Ok(())) => match std::mem::replace(&mut this.state, State::Over) {
                    State::Switching(tunnel) => return Poll::Ready(Next::Tunnel(*tunnel)),
                    State::Served(_) | State::Answered(_) | State::Over => {}
                },
                Poll::Ready(Err(Gone)) => return Poll::Ready(Next::Cut),
                Poll::Pending => {
                    let is_answered = !matches!(this.state, State::Served(_));
                    if ready!(this.arriving.receive(this.wire, is_answered, cx)).is_err() {
                        return Poll::Ready(Next::Cut);
                    }
                }
            }
        }
    }
}

impl<S, F> Exchange<'_, S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Writes the head of the response into the output.
    fn begin_answer(&mut self, response: Response<Body>) -> State<F> {
        let (head, body) = response.into_parts();
        let tunnel = self.opened.take();
        self.arriving.discard(&mut self.wire.input);
        let framing = self.framing(head.status, &body);
        if lists(&head.headers, &CONNECTION, b"close")
            || framing == Framing::UntilClose
            || matches!(self.arriving, Arriving::Held | Arriving::Unread)
        {
            self.persists = false;
        }
        let persistence = match (&tunnel, self.persists) {
            (Some(_), _) => Persistence::Switched,
            (None, true) => Persistence::Kept,
            (None, false) => Persistence::Closed,
        };
        let (fields, date) = (&head.headers, self.gateway.worker.date.value());
        let head = ResponseHead {
            version: self.version,
            status: head.status,
            fields,
            framing,
            persistence,
            date: date.as_bytes(),
        };
        head.write(&mut self.wire.output.before);
        match tunnel {
            Some(tunnel) => State::Switching(Box::new(tunnel)),
            None => State::Answered(Box::new(Answer::new(body, framing, self.takes_trailers))),
        }
    }

    /// How the body of a response ends (RFC 9112 §6.3).
    fn framing(&self, status: StatusCode, body: &Body) -> Framing {
        let has_none = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match body.size_hint().exact() {
            _ if self.is_head || has_none => Framing::None,
            Some(length) => Framing::Length(length),
            None if body.is_end_stream() => Framing::Length(0),
            None if self.version == Version::HTTP_11 => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }
}

/// Whether a list in the header `name` has this element.
fn lists(fields: &HeaderMap, name: &HeaderName, element: &[u8]) -> bool {
    let lines = fields.get_all(name).iter();
    let mut elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    elements.any(|one| one.trim_ascii().eq_ignore_ascii_case(element))
}
