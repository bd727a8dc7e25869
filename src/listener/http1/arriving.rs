//! The part of a request that was not received when its head was read.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::Version;
use http::header::EXPECT;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::Wire;
use crate::client::{BrokenOff, ClientBody, Demand, HeadFault, Intake};
use crate::http1::{RequestBodyReader, RequestFraming, RequestHead};

/// How many bytes a client may send before the response to a WebSocket handshake. Ordinary clients send none.
const HELD_BYTES: usize = 16 << 10;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The part of a request that was not received yet.
pub enum Arriving {
    /// There is none. More bytes belong to the next request.
    Nothing,
    /// The rest of the body, which has a reader.
    Body(RequestBodyReader, Rc<Intake>),
    /// The body was not received to its end, and is not needed.
    Unread,
    /// The bytes after a WebSocket handshake wait for the response, and are never read as a request.
    Held,
}

/// The client has disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Arriving {
    /// The rest of the request with this head, and the body for the gateway. `input` has what was received after the
    /// head.
    pub fn after(head: &RequestHead, input: &mut BytesMut) -> (Arriving, ClientBody) {
        let RequestHead { parts, framing } = head;
        let framing = *framing;
        let reader = RequestBodyReader::new(framing);
        if parts.extensions.get::<HeadFault>().is_some() {
            (Arriving::Unread, ClientBody::none())
        } else if framing == RequestFraming::WebSocketHandshake {
            (Arriving::Held, ClientBody::none())
        } else if reader.has_ended() {
            (Arriving::Nothing, ClientBody::none())
        } else {
            let intake = Rc::new(Intake::new(reader.left(), expects_continue(parts)));
            let mut arriving = Arriving::Body(reader, Rc::clone(&intake));
            // What came with the head is passed on with it, and a body that is damaged at once reaches no endpoint.
            arriving.pass_on(input);
            (arriving, ClientBody::http1(intake))
        }
    }

    /// Receives more of the body if it is being read, and checks whether the client disconnects otherwise. Ready when
    /// something was received, or the state has changed. `is_answered`: the response has begun.
    pub fn receive<S>(&mut self, wire: &mut Wire<S>, is_answered: bool, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Arriving::Body(_, intake) if Rc::strong_count(intake) == 1 => self.discard(&mut wire.input),
            Arriving::Body(_, intake) => {
                match intake.demand(cx) {
                    Demand::None => return Poll::Pending,
                    Demand::Continue if !is_answered && wire.input.is_empty() => {
                        wire.output.before.extend_from_slice(CONTINUE);
                    }
                    Demand::Continue | Demand::Data => {}
                }
                // Until the response begins, only a 100 (Continue) can wait to be written.
                if !is_answered && ready!(wire.poll_flush(cx)).is_err() {
                    return Poll::Ready(Err(Gone));
                }
                if !self.pass_on(&mut wire.input) && !is_some(ready!(wire.poll_read(cx))) {
                    self.breaks_off();
                }
            }
            Arriving::Unread => return Poll::Pending,
            Arriving::Nothing if !wire.input.is_empty() => return Poll::Pending,
            Arriving::Nothing => match is_some(ready!(wire.poll_read(cx))) {
                true => return Poll::Pending,
                false => return Poll::Ready(Err(Gone)),
            },
            Arriving::Held => {
                while wire.input.len() <= HELD_BYTES && is_some(ready!(wire.poll_read(cx))) {}
                return Poll::Ready(Err(Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives up a body without a reader. What was received of it is discarded.
    pub fn discard(&mut self, input: &mut BytesMut) {
        if let Arriving::Body(reader, intake) = self
            && Rc::strong_count(intake) == 1
        {
            while let Ok(Some(_)) = reader.next(input) {}
            *self = if reader.has_ended() { Arriving::Nothing } else { Arriving::Unread };
        }
    }

    /// Passes a received piece, the end or the damage of the body on to its reader. `false`: more bytes are needed.
    fn pass_on(&mut self, input: &mut BytesMut) -> bool {
        let Arriving::Body(reader, intake) = self else { return true };
        match reader.next(input) {
            Ok(Some(piece)) => intake.push(piece),
            Ok(None) if reader.has_ended() => {}
            Ok(None) => return false,
            Err(_) => self.breaks_off(),
        }
        if let Arriving::Body(reader, intake) = self
            && reader.has_ended()
        {
            intake.end(Ok(()));
            *self = Arriving::Nothing;
        }
        true
    }

    /// The body ends before it is complete.
    fn breaks_off(&mut self) {
        if let Arriving::Body(_, intake) = self {
            intake.end(Err(BrokenOff));
        }
        *self = Arriving::Unread;
    }
}

/// Whether a read has returned bytes.
fn is_some(read: std::io::Result<usize>) -> bool {
    read.is_ok_and(|count| count > 0)
}

fn expects_continue(head: &Parts) -> bool {
    // HTTP/1.0 has no 100 (RFC 9110 §10.1.1).
    head.version == Version::HTTP_11
        && head.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
