//! The body of a response on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::arriving::Gone;
use super::wire::Wire;
use crate::gateway::Body;
use crate::http1::{BodyWriter, Framing, write_trailers};

/// The body of a response; its head is in the output already.
///
/// The exchange ends with the body: when its last piece is in the output, and so before the client has the response.
pub struct Answer {
    /// `None`: the last piece was passed on.
    rest: Option<(Body, BodyWriter)>,
    takes_trailers: bool,
    /// The body broke off. What came before it still goes to the client.
    is_broken: bool,
}

impl Answer {
    /// A body with this framing. `takes_trailers`: the client reads trailers.
    pub fn new(body: Body, framing: Framing, takes_trailers: bool) -> Answer {
        let rest = (framing != Framing::None && !body.is_end_stream()).then(|| (body, BodyWriter::new(framing)));
        Answer { rest, takes_trailers: takes_trailers && framing == Framing::Chunked, is_broken: false }
    }

    /// Writes the response. Ready when the client's socket has all of it.
    pub fn poll<S>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let waits = self.fill(wire, cx).is_pending();
            match wire.poll_flush(cx) {
                Poll::Pending if !self.token_has_ended(cx) => return Poll::Pending,
                Poll::Ready(Ok(())) if self.rest.is_some() && waits => return Poll::Pending,
                Poll::Ready(Ok(())) if self.rest.is_some() => {}
                Poll::Ready(Ok(())) => return Poll::Ready(if self.is_broken { Err(Gone) } else { Ok(()) }),
                Poll::Pending | Poll::Ready(Err(_)) => {
                    if let Some((body, _)) = &mut self.rest {
                        body.was_not_taken();
                    }
                    return Poll::Ready(Err(Gone));
                }
            }
        }
    }

    fn token_has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        self.rest.as_mut().is_some_and(|(body, _)| body.wait_for_client(cx))
    }

    /// Moves the next frame of the body into the output, if there is room. Ready unless the body has none ready.
    fn fill<S>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<()> {
        let output = &mut wire.output;
        let Some((body, writer)) = self.rest.as_mut().filter(|_| output.has_no_piece()) else { return Poll::Ready(()) };
        let mut data = Bytes::new();
        let mut is_last = true;
        match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(piece))) => (data, is_last) = (piece, body.is_end_stream()),
            Some(Ok(Err(frame))) => {
                if let Ok(fields) = frame.into_trailers()
                    && self.takes_trailers
                {
                    write_trailers(&mut output.before, &fields);
                    self.rest = None;
                    return Poll::Ready(());
                }
            }
            None => {}
            Some(Err(_)) => {
                (self.rest, self.is_broken) = (None, true);
                return Poll::Ready(());
            }
        }
        // Fails only if the body is longer or shorter than its head announces.
        match writer.piece(data.len(), is_last, &mut output.before) {
            Ok(behind) => (output.piece, output.behind) = (data, behind),
            Err(_) => (self.is_broken, is_last) = (true, true),
        }
        if is_last {
            self.rest = None;
        }
        Poll::Ready(())
    }
}
