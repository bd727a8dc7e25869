//! Each rule of the table in the module's description, with the bytes split at every position.

use bytes::BytesMut;
use http::HeaderMap;

use super::*;

const LIMITS: Limits = Limits { head_bytes: 200, head_count: 5 };

/// What was parsed of a response.
#[derive(Clone, Debug, Default, PartialEq)]
struct Read {
    status: u16,
    fields: String,
    body: String,
    trailers: String,
    /// How the response ended; `None`: more bytes are needed.
    end: Option<Result<(), BadAnswer>>,
    persists: bool,
    /// The bytes that were not parsed.
    behind: String,
}

fn lines(fields: &HeaderMap) -> String {
    fields.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))).collect()
}

/// Parses a response that arrives in pieces; if it `closes`, the connection ends after them.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, asked: Asked, closes: bool) -> Read {
    let (mut answer, mut buffer, mut read) = (Answer::new(asked, LIMITS), BytesMut::new(), Read::default());
    let mut body = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while read.end.is_none() {
            match answer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Event::Head(head))) => {
                    assert_eq!(read.status, 0, "one head alone");
                    (read.status, read.fields) = (head.status().as_u16(), lines(head.headers()));
                }
                Ok(Some(Event::Data(data))) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Ok(Some(Event::Trailers(fields))) => read.trailers = lines(&fields),
                Ok(Some(Event::End)) => read.end = Some(Ok(())),
                Err(bad) => read.end = Some(Err(bad)),
            }
        }
    }
    if closes && read.end.is_none() {
        read.end = Some(answer.close());
    }
    read.persists = answer.persists();
    (read.body, read.behind) = (String::from_utf8(body).unwrap(), String::from_utf8_lossy(&buffer).into_owned());
    read
}

/// Parses a response as a whole, byte by byte, and split in two at every position. The result must be the same.
fn read_all(bytes: &[u8], asked: Asked, closes: bool) -> Read {
    let whole = read([bytes], asked, closes);
    let one_by_one = read(bytes.chunks(1), asked, closes);
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(one_by_one, whole, "{text:?}");
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(read([first, second], asked, closes), whole, "{text:?} split at {at}");
    }
    whole
}

fn refused(bytes: &[u8]) -> BadAnswer {
    let read = read_all(bytes, Asked::default(), false);
    assert_eq!((read.status, read.persists), (0, false), "{:?}", String::from_utf8_lossy(bytes));
    read.end.and_then(Result::err).unwrap_or_else(|| panic!("taken: {:?}", String::from_utf8_lossy(bytes)))
}

#[test]
fn an_ambiguous_head_is_refused_with_its_cause() {
    let value = |name: &'static str| BadAnswer::FieldValue(http::HeaderName::from_static(name));
    for (head, cause) in [
        // RFC 9112 §2.2
        ("HTTP/1.1 200 OK\nContent-Length: 0\r\n", BadAnswer::LineEnd),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\n", BadAnswer::LineEnd),
        ("HTTP/1.1 200 OK\r\nX: a\nY: b\r\n", BadAnswer::LineEnd),
        ("HTTP/1.1 200 O\rK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 200 O\0K\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 200 O\u{7f}K\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 200 OK\r\nX: a\rb\r\n", value("x")),
        ("HTTP/1.1 200 OK\r\nX: a\r\r\n", value("x")),
        ("HTTP/1.1 200 OK\r\nX: \0\r\n", value("x")),
        ("HTTP/1.1 200 OK\r\nX-Secret: a\u{1b}[31m\r\n", value("x-secret")),
        ("HTTP/1.1 200 OK\r\nX\r: a\r\n", BadAnswer::FieldName),
        ("HTTP/1.1 200 OK\r\nX\0: a\r\n", BadAnswer::FieldName),
        ("\r\nHTTP/1.1 200 OK\r\n", BadAnswer::Version),
        ("\nHTTP/1.1 200 OK\r\n", BadAnswer::Version),
        // RFC 9112 §2.3 and §4
        (" HTTP/1.1 200 OK\r\n", BadAnswer::Version),
        ("garbage\r\n", BadAnswer::Version),
        ("SSH-2.0-OpenSSH_9.2\r\n", BadAnswer::Version),
        ("http/1.1 200 OK\r\n", BadAnswer::Version),
        ("ICY 200 OK\r\n", BadAnswer::Version),
        ("HTTP/2.0 200 OK\r\n", BadAnswer::Version),
        ("HTTP/0.9 200 OK\r\n", BadAnswer::Version),
        ("HTTP/1.2 200 OK\r\n", BadAnswer::Version),
        ("HTTP/1.\r\n", BadAnswer::Version),
        ("HTTP/1.1\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 \r\n", BadAnswer::StatusLine),
        ("HTTP/1.10 200 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1  200 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1\t200 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 20 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 2000 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 abc OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 +20 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 099 OK\r\n", BadAnswer::StatusLine),
        ("HTTP/1.1 200OK\r\n", BadAnswer::StatusLine),
        // RFC 9112 §5
        ("HTTP/1.1 200 OK\r\nno colon\r\n", BadAnswer::FieldName),
        ("HTTP/1.1 200 OK\r\n: a\r\n", BadAnswer::FieldName),
        ("HTTP/1.1 200 OK\r\nX Y: a\r\n", BadAnswer::FieldName),
        ("HTTP/1.1 200 OK\r\nX(A): 1\r\n", BadAnswer::FieldName),
        ("HTTP/1.1 200 OK\r\nÄ: 1\r\n", BadAnswer::FieldName),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n", BadAnswer::Folded),
        ("HTTP/1.1 200 OK\r\nX: a\r\n\tb: c\r\n", BadAnswer::Folded),
        ("HTTP/1.1 200 OK\r\n X: a\r\n", BadAnswer::Folded),
        ("HTTP/1.1 200 OK\r\nX: a\r\n \r\n", BadAnswer::Folded),
        // RFC 9110 §5.4
        ("HTTP/1.1 200 OK\r\na: 1\r\na: 2\r\na: 3\r\na: 4\r\na: 5\r\na: 6\r\n", BadAnswer::TooManyFields(5)),
        // RFC 9112 §6.1 and §6.2
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a=b\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadAnswer::Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", BadAnswer::Coding),
        ("HTTP/1.1 304 OK\r\nTransfer-Encoding: gzip\r\n", BadAnswer::Coding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", BadAnswer::CodingInOldVersion),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", BadAnswer::TwoFramings),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", BadAnswer::TwoFramings),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length\t: 0\r\n", BadAnswer::TwoFramings),
        ("HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", BadAnswer::TwoFramings),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2,2\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length : 3\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2.0\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: ٢\r\n", BadAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n", BadAnswer::Length),
        ("HTTP/1.1 304 OK\r\nContent-Length: 2, 2\r\n", BadAnswer::Length),
        // RFC 9110 §15.2.2
        ("HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n", BadAnswer::Switch),
        // The same rules apply to interim responses.
        ("HTTP/1.1 103 Early\r\nX: a\0\r\n", value("x")),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: x\r\n", BadAnswer::Length),
    ] {
        assert_eq!(refused(format!("{head}\r\n").as_bytes()), cause, "{head:?}");
    }
}

#[test]
fn an_endless_head_is_refused_at_its_limit() {
    for begin in ["HTTP/1.1 200 ", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\n"] {
        for filler in ["a", "a: b\r\n"] {
            let endless = format!("{begin}{}", filler.repeat(201));
            assert_eq!(refused(&endless.as_bytes()[..201]), BadAnswer::TooLong(200));
        }
    }
    let exact =
        |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "a".repeat(length - 43));
    assert_eq!(exact(200).len(), 200);
    assert_eq!(read_all(exact(200).as_bytes(), Asked::default(), false).end, Some(Ok(())));
    assert_eq!(refused(exact(201).as_bytes()), BadAnswer::TooLong(200));
}

#[test]
fn interim_responses_are_dropped_up_to_a_limit() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for count in [0, 1, 2, 100] {
        let read = read([format!("{}{last}", interim.repeat(count)).as_bytes()], Asked::default(), false);
        assert_eq!((read.status, read.fields.as_str(), read.body.as_str()), (200, "content-length: 2\n", "ok"));
    }
    let many = interim.repeat(101);
    assert_eq!(read([many.as_bytes()], Asked::default(), false).end, Some(Err(BadAnswer::TooManyInterim(100))));
}

/// The response, whether the connection then ends, the body, the headers, and whether the connection can be used again.
type Taken = (&'static str, bool, &'static str, &'static str, bool);

#[test]
fn an_unambiguous_response_is_read_to_its_end_and_no_further() {
    let table: [Taken; 22] = [
        ("200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "hello", "content-length: 5\n", true),
        ("200 OK\r\nContent-Length: 005\r\n\r\nhello", false, "hello", "content-length: 5\n", true),
        ("200 OK\r\nContent-Length : 5\r\n\r\nhello", false, "hello", "content-length: 5\n", true),
        (
            "200 OK\r\nX-A\t : \t b \t\r\nContent-Length:5\r\n\r\nhello",
            false,
            "hello",
            "x-a: b\ncontent-length: 5\n",
            true,
        ),
        ("200 OK\r\nX:\r\nContent-Length: 0\r\n\r\n", false, "", "x: \ncontent-length: 0\n", true),
        ("200\r\nContent-Length: 0\r\n\r\n", false, "", "content-length: 0\n", true),
        ("200 \r\nContent-Length: 0\r\n\r\n", false, "", "content-length: 0\n", true),
        ("599 Ä\tb\r\nContent-Length: 0\r\n\r\n", false, "", "content-length: 0\n", true),
        ("200 OK\r\n\r\nhello", true, "hello", "", false),
        ("200 OK\r\n\r\n", true, "", "", false),
        (
            "200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            false,
            "ok",
            "connection: close\ncontent-length: 2\n",
            false,
        ),
        (
            "200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
            false,
            "ok",
            "connection: x, Close\ncontent-length: 2\n",
            false,
        ),
        (
            "200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            false,
            "hello",
            "transfer-encoding: Chunked\n",
            true,
        ),
        ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "", "transfer-encoding: chunked\n", true),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\nA ;b=\"c\"\r\n0123456789\r\n00\r\n\r\n",
            false,
            "x0123456789",
            "transfer-encoding: chunked\n",
            true,
        ),
        ("204 No\r\n\r\n", false, "", "", true),
        ("204 No\r\nContent-Length: 0\r\n\r\n", false, "", "", true),
        ("204 No\r\nContent-Length: 5\r\n\r\n", false, "", "", false),
        ("204 No\r\nTransfer-Encoding: chunked\r\n\r\n", false, "", "transfer-encoding: chunked\n", false),
        ("304 Not\r\nContent-Length: 5\r\n\r\n", false, "", "content-length: 5\n", true),
        ("304 Not\r\nTransfer-Encoding: chunked\r\n\r\n", false, "", "transfer-encoding: chunked\n", true),
        ("304 Not\r\n\r\n", false, "", "", true),
    ];
    for (answer, closes, body, fields, persists) in table {
        let bytes = format!("HTTP/1.1 {answer}");
        let read = read_all(bytes.as_bytes(), Asked::default(), closes);
        let status = answer[..3].parse().unwrap();
        assert_eq!((read.status, read.body.as_str(), read.fields.as_str()), (status, body, fields), "{answer:?}");
        assert_eq!((read.end, read.persists, read.behind.as_str()), (Some(Ok(())), persists, ""), "{answer:?}");
        if !closes {
            // The bytes that follow are not part of it.
            let more = format!("{bytes}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            let read = super::tests::read([more.as_bytes()], Asked::default(), false);
            assert_eq!((read.body.as_str(), read.behind.len()), (body, 42), "{answer:?}");
        }
        let old = format!("HTTP/1.0 {answer}");
        if !answer.contains("Transfer") {
            let read = read_all(old.as_bytes(), Asked::default(), closes);
            assert_eq!((read.body.as_str(), read.end, read.persists), (body, Some(Ok(())), false), "{old:?}");
        }
    }
    let old = b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok";
    assert!(read_all(old, Asked::default(), false).persists);
}

#[test]
fn a_response_to_head_has_no_body_whatever_it_says() {
    let asked = Asked { head: true, switch: false };
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let read = read_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), asked, false);
        assert_eq!((read.status, read.body.as_str(), read.end, read.persists), (200, "", Some(Ok(())), true));
    }
}

#[test]
fn a_101_ends_http_and_leaves_the_following_bytes() {
    let asked = Asked { head: false, switch: true };
    let bytes = b"HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n\x01\x02hi";
    let read = read([bytes.as_slice()], asked, false);
    assert_eq!((read.status, read.fields.as_str()), (101, "upgrade: websocket\n"));
    assert_eq!((read.body.as_str(), read.behind.len()), ("", 4));
}

#[test]
fn a_body_with_a_wrong_end_is_reported() {
    let coded = "Transfer-Encoding: chunked\r\n\r\n";
    for (rest, body, closes, cause) in [
        ("Content-Length: 5\r\n\r\nhell".to_owned(), "hell", true, BadAnswer::Cut),
        (format!("{coded}5\r\nhell"), "hell", true, BadAnswer::Cut),
        (format!("{coded}5\r\nhello"), "hello", true, BadAnswer::Cut),
        (format!("{coded}5\r\nhello\r\n"), "hello", true, BadAnswer::Cut),
        (format!("{coded}5\r\nhello\r\n0\r\n"), "hello", true, BadAnswer::Cut),
        (format!("{coded}5\r\nhello\r\n0\r\nx: y\r\n"), "hello", true, BadAnswer::Cut),
        (format!("{coded}5\r\nhello!"), "hello", false, BadAnswer::ChunkEnd),
        (format!("{coded}5\r\nhello\n0\r\n\r\n"), "hello", false, BadAnswer::ChunkEnd),
        (format!("{coded}5\r\nhello\r0\r\n\r\n"), "hello", false, BadAnswer::ChunkEnd),
        (format!("{coded}5\nhello\r\n0\r\n\r\n"), "", false, BadAnswer::ChunkLine),
        (format!("{coded}x\r\n"), "", false, BadAnswer::ChunkLine),
        (format!("{coded}\r\n"), "", false, BadAnswer::ChunkLine),
        (format!("{coded}5\r\nhello\r\n\r\n"), "hello", false, BadAnswer::ChunkLine),
        (format!("{coded}10000000000000000\r\n"), "", false, BadAnswer::ChunkLine),
        (format!("{coded}5;{}", "a".repeat(4 << 10)), "", false, BadAnswer::ChunkLine),
        (format!("{coded}0\r\nx\r\n\r\n"), "", false, BadAnswer::FieldName),
        (format!("{coded}0\r\nx: y\n\r\n"), "", false, BadAnswer::LineEnd),
        (format!("{coded}0\r\nx: {}", "a".repeat(200)), "", false, BadAnswer::TooLong(200)),
        (format!("{coded}0\r\n{}\r\n", "x: y\r\n".repeat(6)), "", false, BadAnswer::TooManyFields(5)),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{rest}");
        let read = match bytes.len() < 1_000 {
            true => read_all(bytes.as_bytes(), Asked::default(), closes),
            false => read([bytes.as_bytes()], Asked::default(), closes),
        };
        assert_eq!((read.end, read.body.as_str(), read.persists), (Some(Err(cause)), body, false), "{rest:?}");
    }
}

#[test]
fn the_extensions_of_a_body_have_a_common_limit() {
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(1023));
    let answer =
        |count: usize| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(count));
    assert_eq!(read([answer(16).as_bytes()], Asked::default(), false).end, Some(Ok(())));
    assert_eq!(read([answer(17).as_bytes()], Asked::default(), false).end, Some(Err(BadAnswer::ChunkLine)));
}

#[test]
fn trailers_are_passed_on() {
    let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status : 0\r\nX: y\r\n\r\n";
    let read = read_all(bytes, Asked::default(), false);
    assert_eq!((read.body.as_str(), read.trailers.as_str()), ("ok", "grpc-status: 0\nx: y\n"));
    assert_eq!((read.end, read.persists), (Some(Ok(())), true));
}

#[test]
fn the_end_of_a_body_is_known_with_its_last_piece() {
    for bytes in ["Content-Length: 2\r\n\r\nok", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        let mut buffer = BytesMut::from(format!("HTTP/1.1 200 OK\r\n{bytes}").as_bytes());
        let mut answer = Answer::new(Asked::default(), LIMITS);
        assert!(matches!(answer.next(&mut buffer), Ok(Some(Event::Head(_)))));
        assert!(!answer.has_ended());
        assert!(matches!(answer.next(&mut buffer), Ok(Some(Event::Data(_)))));
        assert!(answer.has_ended(), "{bytes}");
    }
}
