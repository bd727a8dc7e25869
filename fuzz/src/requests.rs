//! Requests are read as a second parser reads them, however their bytes arrive.

use bytes::BytesMut;
use tokengate::client::HeadFault;
use tokengate::config::settings::Limits;
use tokengate::http1::{HeadReader, RequestBodyReader, RequestFraming, RequestHead};

use super::chunks::whole_body;
use super::deliveries;

/// What was read of a connection.
#[derive(Debug, Default, PartialEq)]
struct Read {
    requests: Vec<Request>,
    fault: Option<HeadFault>,
    is_damaged: bool,
}

#[derive(Debug, PartialEq)]
struct Request {
    method: String,
    target: String,
    /// Names in lower case.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    is_whole: bool,
}

pub fn run(bytes: &[u8]) {
    let [whole, byte_by_byte, uneven] = deliveries(bytes).map(|pieces| read(&pieces));
    for other in [byte_by_byte, uneven] {
        assert_eq!(whole.fault, other.fault, "the verdict depends on how the bytes arrive");
        assert_eq!(whole.is_damaged, other.is_damaged, "the verdict depends on how the bytes arrive");
        assert_eq!(whole.requests, other.requests, "what is read depends on how the bytes arrive");
    }
    let mut rest = bytes;
    for request in &whole.requests {
        let Some(behind) = check(request, whole.is_damaged, rest) else { break };
        rest = behind;
    }
}

/// Reads requests as a connection does.
fn read(pieces: &[&[u8]]) -> Read {
    let limits = Limits::default();
    let (mut heads, mut input, mut read) = (HeadReader::default(), BytesMut::new(), Read::default());
    let mut body: Option<RequestBodyReader> = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let Some(reader) = &mut body else {
                match heads.next(&mut input, &limits) {
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        // The bytes after it are not read as HTTP.
                        let ends = head.framing == RequestFraming::WebSocketHandshake;
                        body = Some(RequestBodyReader::new(head.framing));
                        read.requests.push(request(&head));
                        if ends {
                            return read;
                        }
                    }
                    Err(fault) => {
                        read.fault = Some(fault);
                        return read;
                    }
                }
                continue;
            };
            let request = read.requests.last_mut().expect("a body has a head");
            match reader.next(&mut input) {
                Ok(Some(piece)) => request.body.extend_from_slice(&piece),
                Ok(None) if reader.has_ended() => (request.is_whole, body) = (true, None),
                Ok(None) => break,
                Err(_) => {
                    read.is_damaged = true;
                    return read;
                }
            }
        }
    }
    read
}

fn request(head: &RequestHead) -> Request {
    let fields = head.parts.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut fields: Vec<_> = fields.collect();
    fields.sort();
    let (method, target) = (head.parts.method.to_string(), head.parts.uri.to_string());
    Request { method, target, fields, body: Vec::new(), is_whole: head.framing == RequestFraming::WebSocketHandshake }
}

/// Parses the request at the beginning of `rest` in another way, and compares. Returns the bytes after it; `None` if its
/// body is incomplete or refused. `is_damaged`: the last request of the connection was refused for its body.
fn check<'b>(request: &Request, is_damaged: bool, mut rest: &'b [u8]) -> Option<&'b [u8]> {
    while let Some(behind) = rest.strip_prefix(b"\r\n") {
        rest = behind;
    }
    let mut lines = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut lines);
    let length = match parsed.parse(rest) {
        Ok(httparse::Status::Complete(length)) => length,
        other => panic!("not a whole head for the other parser: {other:?} {:?}", String::from_utf8_lossy(rest)),
    };
    assert_eq!(parsed.method, Some(&*request.method));
    let target = parsed.path.expect("a target");
    // `Uri` writes an empty path as `/`.
    assert!(target == request.target || format!("{target}/") == request.target || target.contains("://"), "{target}");
    let lower = |field: &httparse::Header<'_>| (field.name.to_ascii_lowercase(), field.value.trim_ascii().to_vec());
    let mut fields: Vec<_> = parsed.headers.iter().map(lower).collect();
    fields.sort();
    assert_eq!(fields, request.fields);
    let values = |wanted: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &**value).collect()
    };
    assert!(values("host").len() <= 1 && values("authorization").len() <= 1, "a field twice");
    let rest = &rest[length..];
    let whole = match (values("transfer-encoding").as_slice(), values("content-length").as_slice()) {
        ([], []) => Some(0),
        ([], [text]) => {
            let text = std::str::from_utf8(text).expect("digits");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no length");
            let length: usize = text.parse().expect("a length");
            (length <= rest.len()).then_some(length)
        }
        ([coding], []) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && parsed.version == Some(1));
            whole_body(rest)
        }
        both => panic!("a request framed twice: {both:?}"),
    };
    // The second parser does not read extensions and trailers. Only the last request can be damaged.
    if !request.is_whole && is_damaged {
        return None;
    }
    assert_eq!(request.is_whole, whole.is_some(), "the two disagree whether the body is complete");
    whole.map(|length| &rest[length..])
}
