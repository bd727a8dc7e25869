//! A response is parsed as one message, however its bytes arrive, and its head as by the HTTP library.

use bytes::BytesMut;
use tokengate::http1::{Answer, Asked, BadAnswer, Event, Limits};

use super::deliveries;

const LIMITS: Limits = Limits { head_bytes: 1 << 10, head_count: 20 };

/// What was parsed of a response.
#[derive(Debug, Default, PartialEq)]
struct Read {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    end: Option<Result<(), BadAnswer>>,
    persists: bool,
}

pub fn run(bytes: &[u8]) {
    for asked in [Asked::default(), Asked { head: true, switch: false }, Asked { head: false, switch: true }] {
        let read = deliveries(bytes).map(|pieces| read(&pieces, asked));
        assert!(read.iter().all(|one| *one == read[0]), "the answer depends on how its bytes arrive: {read:?}");
        let read = &read[0];
        assert!(!read.persists || read.end == Some(Ok(())), "a connection goes on after a doubtful answer");
        assert!(read.status == 0 || read.status == 101 || read.status >= 200, "an interim answer came through");
        if read.status != 0 {
            assert_eq!(read.fields, second_reading(bytes), "the two readers disagree");
        }
    }
}

fn read(pieces: &[&[u8]], asked: Asked) -> Read {
    let (mut answer, mut buffer, mut read) = (Answer::new(asked, LIMITS), BytesMut::new(), Read::default());
    let mut given = 0;
    for piece in pieces {
        given += piece.len();
        buffer.extend_from_slice(piece);
        while read.end.is_none() {
            match answer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Event::Head(head))) => {
                    assert_eq!(read.status, 0, "two heads of one answer");
                    read.status = head.status().as_u16();
                    let fields = head.headers().iter().filter(|(name, _)| *name != "content-length");
                    read.fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
                    read.fields.sort();
                }
                Ok(Some(Event::Data(data))) => {
                    assert!(read.status >= 200 && !data.is_empty());
                    read.body.extend_from_slice(&data);
                }
                Ok(Some(Event::Trailers(_))) => {}
                Ok(Some(Event::End)) => read.end = Some(Ok(())),
                Err(bad) => read.end = Some(Err(bad)),
            }
        }
        assert!(read.body.len() + buffer.len() <= given, "more came out than went in");
    }
    if read.end.is_none() {
        read.end = Some(answer.close());
    }
    read.persists = answer.persists();
    read
}

/// The headers of the final head, without the length, as the HTTP library parses them.
fn second_reading(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    loop {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut lines);
        let parsed = config.parse_response(&mut response, bytes);
        let Ok(httparse::Status::Complete(length)) = parsed else { panic!("the second reader refuses: {parsed:?}") };
        if response.code.is_some_and(|code| code >= 200 || code == 101) {
            let fields = response.headers.iter().filter(|line| !line.name.eq_ignore_ascii_case("content-length"));
            let mut fields: Vec<_> = fields.map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec())).collect();
            fields.sort();
            return fields;
        }
        bytes = &bytes[length..];
    }
}
