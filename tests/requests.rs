//! Requests, valid and malformed, are read as a second parser reads them, however their bytes arrive; every other
//! difference is a refusal by ours.
//!
//! `REQUESTS=1000000 SEED=1 cargo test --test all requests::` tries more and other requests.

use crate::fuzz::targets::requests;
use crate::support::dice::{Dice, number};

const LINES: [&str; 9] = [
    "GET / HTTP/1.1",
    "POST /api/x?y=1 HTTP/1.1",
    "PUT /a%2Fb HTTP/1.1",
    "HEAD * HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "GET http://h/x HTTP/1.1",
    "CONNECT h:443 HTTP/1.1",
    "GET  / HTTP/1.1",
    "PRI * HTTP/2.0",
];
const FIELDS: [&str; 20] = [
    "Host: h",
    "Host: h",
    "Content-Length: 5",
    "Content-Length: 5",
    "content-length: 0",
    "Content-Length: 5, 5",
    "Content-Length : 5",
    "Content-Length: +5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tCHUNKED ",
    "Transfer-Encoding: gzip, chunked",
    "Authorization: Token a",
    "Upgrade: websocket",
    "X-A: 1",
    "X-A: \u{e9}\ta",
    "X-Empty:",
    " folded",
    "no colon",
    "Expect: 100-continue",
];
const BODIES: [&str; 8] = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "0\r\n\r\n",
];

/// Some requests of one connection; every third time with a damaged byte.
fn connection(dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..=dice.below(3) {
        let fields = (0..dice.below(5)).map(|_| format!("{}\r\n", dice.one_of(&FIELDS))).collect::<String>();
        let (line, body) = (dice.one_of(&LINES), dice.one_of(&BODIES));
        bytes.extend_from_slice(format!("{line}\r\n{fields}\r\n{body}").as_bytes());
    }
    if dice.once_in(3) {
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 => drop(bytes.splice(at..=at, [dice.one_of(b"\r\n\0 :;\t0aZ\x7f\xff")])),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, dice.one_of(b"\r\n \t:0,")),
        }
    }
    bytes
}

#[test]
fn both_parsers_agree_on_accepted_requests() {
    let (count, seed) = (number("REQUESTS", 20_000), number("SEED", 7));
    let mut dice = Dice(seed);
    for round in 0..count {
        let bytes = connection(&mut dice);
        let checked = std::panic::catch_unwind(|| requests::run(&bytes));
        assert!(checked.is_ok(), "round {round} of seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
    }
}
