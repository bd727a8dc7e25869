//! Reads the body of a request.

use bytes::{Buf, Bytes, BytesMut};

use super::request_chunks::{Chunks, DamagedBody, Parsed};
use super::request_head::RequestFraming;

/// Parser of one request body: takes bytes, returns pieces. Trailers are checked and dropped: a client could forge
/// headers there.
#[derive(Clone, Copy, Debug)]
pub struct RequestBodyReader(At);

#[derive(Clone, Copy, Debug)]
enum At {
    /// This many bytes are left.
    Length(u64),
    Chunks(Chunks),
    Ended,
}

impl RequestBodyReader {
    /// A parser that has read nothing yet.
    pub fn new(framing: RequestFraming) -> RequestBodyReader {
        RequestBodyReader(match framing {
            RequestFraming::Length(0) | RequestFraming::WebSocketHandshake => At::Ended,
            RequestFraming::Length(length) => At::Length(length),
            RequestFraming::Chunked => At::Chunks(Chunks::START),
        })
    }

    /// Removes the next piece from `buffer`. `None`: the body [has ended](Self::has_ended), or more bytes are needed.
    ///
    /// # Errors
    /// [`DamagedBody`]: nothing after it can be read.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, DamagedBody> {
        match &mut self.0 {
            At::Ended => Ok(None),
            At::Length(_) if buffer.is_empty() => Ok(None),
            At::Length(left) => {
                let piece = super::take(left, buffer);
                if *left == 0 {
                    self.0 = At::Ended;
                }
                Ok(Some(piece))
            }
            At::Chunks(chunks) => {
                let mut piece = None;
                // Parses as far as possible, so that the end is known with the last piece.
                loop {
                    let before = *chunks;
                    match chunks.advance(buffer) {
                        Ok(Parsed::Data(_)) if piece.is_some() => *chunks = before,
                        Ok(Parsed::Data(data)) => {
                            buffer.advance(data.start);
                            piece = Some(buffer.split_to(data.end - data.start).freeze());
                            continue;
                        }
                        Ok(Parsed::End(length)) => {
                            buffer.advance(length);
                            self.0 = At::Ended;
                        }
                        Ok(Parsed::All) => buffer.clear(),
                        // The next call finds the damage again.
                        Err(DamagedBody) if piece.is_some() => *chunks = before,
                        Err(damage) => return Err(damage),
                    }
                    return Ok(piece);
                }
            }
        }
    }

    /// Whether the whole body was read.
    pub fn has_ended(&self) -> bool {
        matches!(self.0, At::Ended)
    }

    /// The remaining length in bytes, if the head announced it.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            At::Length(left) => Some(left),
            At::Ended => Some(0),
            At::Chunks(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a body that arrives in one piece, the bytes after it, and whether it was damaged.
    fn read(framing: RequestFraming, bytes: &[u8]) -> (Vec<Bytes>, Vec<u8>, bool) {
        let (mut reader, mut buffer) = (RequestBodyReader::new(framing), BytesMut::from(bytes));
        let mut pieces = Vec::new();
        loop {
            match reader.next(&mut buffer) {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => return (pieces, buffer.to_vec(), false),
                Err(DamagedBody) => return (pieces, buffer.to_vec(), true),
            }
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says_and_the_rest_stays() {
        let chunked = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\nGET".as_slice();
        for (framing, bytes, pieces, rest) in [
            (RequestFraming::Length(0), b"GET".as_slice(), vec![], "GET"),
            (RequestFraming::WebSocketHandshake, b"GET", vec![], "GET"),
            (RequestFraming::Length(5), b"helloGET", vec!["hello"], "GET"),
            (RequestFraming::Length(9), b"hello", vec!["hello"], ""),
            (RequestFraming::Chunked, chunked, vec!["hello", "!"], "GET"),
            (RequestFraming::Chunked, b"5\r\nhel", vec!["hel"], ""),
        ] {
            let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            assert_eq!(read(framing, bytes), (pieces, rest.into(), false), "{framing:?}");
        }
    }

    #[test]
    fn the_end_of_a_chunked_body_is_known_with_its_last_piece() {
        let mut reader = RequestBodyReader::new(RequestFraming::Chunked);
        let mut buffer = BytesMut::from(b"5\r\nhello\r\n0\r\n\r\n".as_slice());
        assert_eq!(reader.next(&mut buffer), Ok(Some(Bytes::from("hello"))));
        assert!(reader.has_ended() && buffer.is_empty());
        assert_eq!(reader.next(&mut buffer), Ok(None));
    }

    #[test]
    fn data_before_damage_is_read_and_the_damage_stays() {
        let mut reader = RequestBodyReader::new(RequestFraming::Chunked);
        let mut buffer = BytesMut::from(b"5\r\nhelloX".as_slice());
        assert_eq!(reader.next(&mut buffer), Ok(Some(Bytes::from("hello"))));
        for _ in 0..3 {
            assert_eq!(reader.next(&mut buffer), Err(DamagedBody));
        }
    }
}
