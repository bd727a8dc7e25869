//! Feeds the same responses, valid and malformed, to our parser and to that of the HTTP library. Whatever ours accepts,
//! both read in the same way; every other difference is a refusal by ours.
//!
//! `ANSWERS=1000000 SEED=1 cargo test --test all answers::differential` tries more and other responses.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokengate::http1::{Answer, Asked, BadAnswer, Event, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::dice::{Dice, number};

/// What was parsed: status, headers, body, and whether the end was valid.
#[derive(Debug, PartialEq)]
struct Read {
    status: u16,
    fields: HeaderMap,
    body: Vec<u8>,
    complete: bool,
}

const STATUS: [&str; 12] = [
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 404 Not Found",
    "HTTP/1.1 999 Odd",
    "HTTP/1.1 100 Continue",
    "HTTP/1.2 200 OK",
    "HTTP/1.1 2000 OK",
];
const FIELDS: [&str; 24] = [
    "Content-Length: 5",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: 11",
    "content-length: 05",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length : 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "Connection: close",
    "Connection: keep-alive",
    "X-A: b",
    "X-B:\tc ",
    "X-C:",
    "Set-Cookie: a=b",
    "X D: e",
    " folded",
];
const BODIES: [&str; 9] = [
    "hello",
    "hello world",
    "",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "A\r\n0123456789\r\n00\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
];

fn answer(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..dice.below(8) / 7 {
        text.push_str("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    }
    text.push_str(dice.one_of(&STATUS));
    text.push_str("\r\n");
    for _ in 0..dice.below(4) {
        text.push_str(dice.one_of(&FIELDS));
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(dice.one_of(&BODIES));
    let mut bytes = text.into_bytes();
    for _ in 0..dice.below(4).saturating_sub(1) {
        damage(&mut bytes, dice);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    const ODD: &[u8] = b"\r\n\t\0 :;,05aFx\x7f\xff";
    let (at, odd) = (dice.below(bytes.len()), ODD[dice.below(ODD.len())]);
    match dice.below(5) {
        0 => bytes[at] = odd,
        1 => bytes.insert(at, odd),
        2 => drop(bytes.remove(at)),
        3 => bytes.truncate(at.max(1)),
        _ => {
            let piece = bytes[at..bytes.len().min(at + 8)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

/// Parses with our parser.
fn ours(bytes: &[u8], head: bool, dice: &mut Dice) -> Result<Read, BadAnswer> {
    let limits = Limits { head_bytes: 64 << 10, head_count: 100 };
    let (mut answer, mut buffer) = (Answer::new(Asked { head, switch: false }, limits), BytesMut::new());
    let mut read: Option<Read> = None;
    let mut rest = bytes;
    loop {
        match (answer.next(&mut buffer), &mut read) {
            (Ok(Some(Event::Head(head))), _) => {
                let (status, fields) = (head.status().as_u16(), head.headers().clone());
                read = Some(Read { status, fields, body: Vec::new(), complete: false });
            }
            (Ok(Some(Event::Data(piece))), Some(read)) => read.body.extend_from_slice(&piece),
            (Ok(Some(Event::Trailers(_))), Some(_)) => {}
            (Ok(Some(Event::End)), Some(read)) => {
                read.complete = true;
                break;
            }
            (Ok(Some(event)), None) => panic!("{event:?} before a head"),
            (Ok(None), _) if !rest.is_empty() => {
                let (piece, next) = rest.split_at(1 + dice.below(rest.len()));
                buffer.extend_from_slice(piece);
                rest = next;
            }
            (Ok(None), Some(read)) => {
                read.complete = answer.close().is_ok();
                break;
            }
            (Ok(None), None) => return Err(BadAnswer::Cut),
            (Err(_), Some(_)) => break,
            (Err(bad), None) => return Err(bad),
        }
    }
    read.ok_or(BadAnswer::Cut)
}

/// Parses with the library; `None`: refused.
async fn theirs(bytes: &[u8], head: bool) -> Option<Read> {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.allow_spaces_after_header_name_in_responses(true);
    let (mut sender, connection) = builder.handshake(TokioIo::new(near)).await.unwrap();
    let method = if head { "HEAD" } else { "GET" };
    let request = http::Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
    let endpoint = async move {
        let mut asked = [0; 512];
        let _ = far.read(&mut asked).await;
        let _ = far.write_all(bytes).await;
        let _ = far.shutdown().await;
        far
    };
    let read = async {
        let response = sender.send_request(request).await.ok()?;
        let (head, mut incoming) = response.into_parts();
        let (mut body, mut complete) = (Vec::new(), true);
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => body.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(_) => {
                    complete = false;
                    break;
                }
            }
        }
        Some(Read { status: head.status.as_u16(), fields: head.headers, body, complete })
    };
    tokio::select! {
        biased;
        (read, _far) = async { tokio::join!(read, endpoint) } => read,
        _ = async { let _ = connection.await; std::future::pending::<()>().await } => None,
    }
}

/// Known differences: responses that ours accepts, and the library refuses or reads differently.
fn is_known(ours: &Read, theirs: Option<&Read>) -> bool {
    let Some(theirs) = theirs else { return false };
    // A 204 has no length (RFC 9110 §8.6); a length is written without leading zeros.
    let mut fields = theirs.fields.clone();
    if ours.status == 204 {
        fields.remove("content-length");
    } else if let Some(length) = ours.fields.get("content-length") {
        fields.insert("content-length", length.clone());
    }
    (ours.status, &ours.fields, &ours.body, ours.complete) == (theirs.status, &fields, &theirs.body, theirs.complete)
}

#[tokio::test]
async fn both_parsers_agree_on_accepted_responses() {
    let (count, seed) = (number("ANSWERS", 20_000), number("SEED", 11));
    let (mut dice, mut taken, mut whole) = (Dice(seed), 0_u64, 0_u64);
    for round in 0..count {
        let (bytes, head) = (answer(&mut dice), dice.below(10) == 0);
        let Ok(ours) = ours(&bytes, head, &mut dice) else { continue };
        let theirs = theirs(&bytes, head).await;
        let what = format!("round {round} of seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
        if ours.complete {
            assert!(is_known(&ours, theirs.as_ref()), "{what}\nours: {ours:?}\ntheirs: {theirs:?}");
        } else if let Some(theirs) = theirs {
            // Ours stops, at the same position or earlier.
            assert!(theirs.body.starts_with(&ours.body), "{what}\nours: {ours:?}\ntheirs: {theirs:?}");
        }
        (taken, whole) = (taken + 1, whole + u64::from(ours.complete));
    }
    // The generator produces responses of every kind.
    assert!(taken > count / 5 && whole > count / 20 && whole < taken, "{taken} heads, {whole} whole of {count}");
}
