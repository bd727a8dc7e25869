//! Writes the head of a response to a client.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

use super::Framing;
use super::request::number;

/// How the connection goes on after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The connection takes another request.
    Kept,
    /// The connection closes after this response.
    Closed,
    /// It speaks another protocol: `fields` has the `Connection` and `Upgrade` headers of a 101.
    Switched,
}

/// The head of a response.
pub struct ResponseHead<'r> {
    /// The version that the client speaks.
    pub version: Version,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub fields: &'r HeaderMap,
    /// How the body ends; [`Framing::None`] also for a response to `HEAD`, whose `Content-Length` is written as it is.
    pub framing: Framing,
    /// How the connection goes on.
    pub persistence: Persistence,
    /// The current time, as text; written unless `fields` has a `Date`.
    pub date: &'r [u8],
}

impl ResponseHead<'_> {
    /// Writes the head. Framing and persistence alone determine their headers; those in `fields` are left out.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length: usize = self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        // 160: more than the status line and the headers that may be added.
        out.reserve(length + 160);
        let is_old = self.version == Version::HTTP_10;
        out.extend_from_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        let writes_framing = !matches!(self.framing, Framing::None);
        for (name, value) in self.fields {
            let is_ours = match *name {
                TRANSFER_ENCODING => true,
                CONTENT_LENGTH => writes_framing,
                CONNECTION => self.persistence != Persistence::Switched,
                _ => false,
            };
            if !is_ours {
                line(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        match self.framing {
            Framing::None | Framing::UntilClose => {}
            Framing::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                number(out, length, 10);
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => line(out, b"transfer-encoding", b"chunked"),
        }
        match self.persistence {
            Persistence::Kept if is_old => line(out, b"connection", b"keep-alive"),
            Persistence::Closed => line(out, b"connection", b"close"),
            Persistence::Kept | Persistence::Switched => {}
        }
        if !self.fields.contains_key(DATE) {
            line(out, b"date", self.date);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the trailers and the end of a chunked body; what precedes them ended with the last piece of data.
pub fn write_trailers(out: &mut Vec<u8>, fields: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in fields {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn written(version: Version, fields: &[(&'static str, &'static str)], end: (Framing, Persistence)) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let (framing, persistence) = end;
        let status = StatusCode::OK;
        let mut out = Vec::new();
        ResponseHead { version, status, fields: &map, framing, persistence, date: b"now" }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn framing_and_persistence_are_written_once_whatever_the_fields_say() {
        let lying = [("content-length", "7"), ("transfer-encoding", "gzip"), ("connection", "x"), ("x-a", "1")];
        for (end, lines) in [
            ((Framing::Length(5), Persistence::Kept), "x-a: 1\r\ncontent-length: 5\r\n"),
            ((Framing::Length(5), Persistence::Closed), "x-a: 1\r\ncontent-length: 5\r\nconnection: close\r\n"),
            ((Framing::Chunked, Persistence::Kept), "x-a: 1\r\ntransfer-encoding: chunked\r\n"),
            ((Framing::UntilClose, Persistence::Closed), "x-a: 1\r\nconnection: close\r\n"),
            // The response to a `HEAD` request has the length that a GET would have.
            ((Framing::None, Persistence::Kept), "content-length: 7\r\nx-a: 1\r\n"),
        ] {
            assert_eq!(written(Version::HTTP_11, &lying, end), format!("HTTP/1.1 200 OK\r\n{lines}date: now\r\n\r\n"));
        }
    }

    #[test]
    fn an_old_client_is_told_that_its_connection_is_kept() {
        let kept = written(Version::HTTP_10, &[("date", "then")], (Framing::Length(0), Persistence::Kept));
        assert_eq!(kept, "HTTP/1.0 200 OK\r\ndate: then\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n");
    }

    #[test]
    fn a_switch_of_protocols_keeps_its_own_headers() {
        let switch = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let head = written(Version::HTTP_11, &switch, (Framing::None, Persistence::Switched));
        assert_eq!(head, "HTTP/1.1 200 OK\r\nconnection: Upgrade\r\nupgrade: websocket\r\ndate: now\r\n\r\n");
    }

    #[test]
    fn trailers_end_a_chunked_body() {
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", HeaderValue::from_static("0"));
        let mut out = Vec::new();
        write_trailers(&mut out, &fields);
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
    }
}
