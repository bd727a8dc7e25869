//! What the strict front passes on, the HTTP library parses in the same way, however the bytes arrive.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokengate::client::{ClientConnection, HeadFault, ListenerPolicy, OpenConnections};
use tokengate::config::settings::{ConnectionTimeouts, Limits};
use tokengate::listener::front::Front;
use tokengate::route::Peer;
use tokio::io::{AsyncRead, ReadBuf};

use super::chunks::whole_body;
use super::deliveries;

/// What the front passed on of a connection.
struct Passed {
    bytes: Vec<u8>,
    fault: Option<HeadFault>,
    damaged: bool,
}

/// The method of the request with which the front replaces a malformed head.
const REFUSED: &[u8] = b"TOKENGATE-REFUSED ";

pub fn run(bytes: &[u8]) {
    let [whole, byte_by_byte, uneven] = deliveries(bytes);
    let whole = pass(whole, 8192);
    for other in [pass(byte_by_byte, 8192), pass(uneven, 7)] {
        assert_eq!(whole.fault, other.fault, "the verdict depends on how the bytes arrive");
        assert_eq!(whole.damaged, other.damaged, "the verdict depends on how the bytes arrive");
        // The part of a malformed body that is passed on before the fault is found may differ.
        assert!(whole.damaged || whole.bytes == other.bytes, "what is passed on depends on how the bytes arrive");
        check(bytes, &other);
    }
    check(bytes, &whole);
}

fn check(bytes: &[u8], passed: &Passed) {
    let mut taken: &[u8] = &passed.bytes;
    if passed.fault.is_some() {
        let stand_in = taken.windows(REFUSED.len()).rposition(|window| window == REFUSED).expect("a stand-in");
        taken = &taken[..stand_in];
    }
    assert!(bytes.starts_with(taken), "the front changed a byte");
    let complete = read_again(taken);
    assert!(passed.fault.is_none() || complete, "the stand-in stands within a request");
}

/// Parses requests as a server does. Returns whether the last one is complete.
fn read_again(mut rest: &[u8]) -> bool {
    loop {
        while let Some(behind) = rest.strip_prefix(b"\r\n") {
            rest = behind;
        }
        if rest.is_empty() {
            return true;
        }
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            other => panic!("not a whole head for the HTTP library: {other:?} {:?}", String::from_utf8_lossy(rest)),
        };
        let values = |wanted: &str| -> Vec<&[u8]> {
            let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(wanted));
            named.map(|field| field.value.trim_ascii()).collect()
        };
        assert!(values("host").len() <= 1 && values("authorization").len() <= 1, "a field twice");
        rest = &rest[length..];
        match (values("transfer-encoding").as_slice(), values("content-length").as_slice()) {
            ([], []) => {}
            ([], [text]) => {
                let text = std::str::from_utf8(text).expect("digits");
                assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no length");
                let length: usize = text.parse().expect("a length that is meant");
                if length > rest.len() {
                    return false;
                }
                rest = &rest[length..];
            }
            ([coding], []) => {
                assert!(coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1));
                let Some(length) = whole_body(rest) else { return false };
                rest = &rest[length..];
            }
            both => panic!("a request framed twice: {both:?}"),
        }
    }
}

/// Lets a front read `pieces`, into a buffer of `room` bytes.
fn pass(pieces: Vec<&[u8]>, room: usize) -> Passed {
    let nowhere = ([127, 0, 0, 1], 1).into();
    let seconds = std::time::Duration::from_secs;
    let timeouts = ConnectionTimeouts {
        handshake: seconds(10),
        request_headers: seconds(10),
        idle: seconds(60),
        write: seconds(30),
    };
    let client = Rc::new(ClientConnection {
        peer: Peer::plain(nowhere, nowhere),
        pulse: OpenConnections::new(timeouts).enter(&"fuzz".into()),
        fault: Cell::new(None),
        held: Cell::new(false),
        listener: None,
        policy: Arc::new(ListenerPolicy { hsts: None, plaintext: None }),
    });
    let wire = Wire(pieces.into_iter().filter(|piece| !piece.is_empty()).collect());
    let mut front = Front::new(wire, Rc::clone(&client), Arc::new(Limits::default()));
    let mut passed = Passed { bytes: Vec::new(), fault: None, damaged: false };
    let mut buffer = vec![0; room];
    loop {
        let mut buf = ReadBuf::new(&mut buffer);
        match Pin::new(&mut front).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => passed.bytes.extend_from_slice(buf.filled()),
            Poll::Ready(Ok(())) => panic!("the front says that an open connection has ended"),
            // A client that sends too much after a WebSocket handshake also ends its connection.
            Poll::Ready(Err(_)) => break passed.damaged = !client.held.get(),
            Poll::Pending => break,
        }
    }
    passed.fault = client.fault.get();
    passed
}

/// A connection that delivers these pieces, and then stays open.
struct Wire<'p>(VecDeque<&'p [u8]>);

impl AsyncRead for Wire<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().0;
        let Some(piece) = pieces.pop_front() else { return Poll::Pending };
        let (now, later) = piece.split_at(piece.len().min(buf.remaining()));
        buf.put_slice(now);
        if !later.is_empty() {
            pieces.push_front(later);
        }
        Poll::Ready(Ok(()))
    }
}
