//! HTTP/1 messages on the wire, for clients and endpoints of tests.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Field lines in their order, with names as sent.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of a header that must have at most one line.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The values of all lines of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    fn parse(lines: &[u8]) -> Fields {
        let text: String = lines.iter().map(|byte| char::from(*byte)).collect();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        Fields(text.split("\r\n").filter(|line| !line.is_empty()).map(pair).collect())
    }
}

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Whether the body was complete.
    pub complete: bool,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of a refusal, which must be JSON in the format of Django REST Framework.
    pub fn detail(&self) -> String {
        assert_eq!(self.fields.get("content-type"), Some("application/json"), "{self:?}");
        let object: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(object.as_object().unwrap().len(), 1, "{object}");
        object["detail"].as_str().unwrap().to_owned()
    }
}

/// The head of a message: its first line, its headers, its bytes.
#[derive(Clone, Debug)]
pub struct Head {
    pub first_line: String,
    pub fields: Fields,
    pub bytes: Vec<u8>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    After(usize),
    LastChunk,
    Close,
}

impl Head {
    /// How the body of a request with this head ends.
    pub fn request_end(&self) -> End {
        match (self.fields.get("transfer-encoding"), self.fields.get("content-length")) {
            (Some(_), _) => End::LastChunk,
            (None, length) => End::After(length.map_or(0, |length| length.parse().unwrap())),
        }
    }

    /// How the body of a response with this head ends.
    pub fn answer_end(&self, status: u16, to_head: bool) -> End {
        if to_head || status == 204 || status == 304 || status / 100 == 1 {
            return End::After(0);
        }
        match (self.fields.get("transfer-encoding"), self.fields.get("content-length")) {
            (Some(_), _) => End::LastChunk,
            (None, Some(length)) => End::After(length.parse().unwrap()),
            (None, None) => End::Close,
        }
    }
}

/// Parses messages from a stream.
pub struct Reader<R> {
    pub stream: R,
    pub buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(stream: R) -> Reader<R> {
        Reader { stream, buffer: Vec::new() }
    }

    /// Reads once; `false` at the end of the stream.
    pub async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next head; `None` if the stream ends first, with the bytes left in the buffer.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let bytes: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let line_end = find(&bytes, b"\r\n").unwrap();
                let first_line = bytes[..line_end].iter().map(|byte| char::from(*byte)).collect();
                return Ok(Some(Head { first_line, fields: Fields::parse(&bytes[line_end + 2..]), bytes }));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads a body to its end and passes its pieces to `take`. Returns the trailers; `None` for an incomplete body.
    pub async fn body(&mut self, end: End, mut take: impl FnMut(&[u8])) -> io::Result<Option<Fields>> {
        match end {
            End::After(length) => Ok(self.exactly(length, &mut take).await?.then(Fields::default)),
            End::Close => loop {
                take(&std::mem::take(&mut self.buffer));
                if !self.fill().await? {
                    return Ok(Some(Fields::default()));
                }
            },
            End::LastChunk => loop {
                let Some(line) = self.line().await? else { return Ok(None) };
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                if size == 0 {
                    return self.trailers().await;
                }
                if !self.exactly(size, &mut take).await? || self.line().await?.is_none() {
                    return Ok(None);
                }
            },
        }
    }

    async fn exactly(&mut self, length: usize, take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Ok(false);
            }
            let here = left.min(self.buffer.len());
            take(&self.buffer.drain(..here).collect::<Vec<u8>>());
            left -= here;
        }
        Ok(true)
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn trailers(&mut self) -> io::Result<Option<Fields>> {
        let mut lines = Vec::new();
        loop {
            match self.line().await? {
                None => return Ok(None),
                Some(line) if line.is_empty() => return Ok(Some(Fields::parse(&lines))),
                Some(line) => lines.extend_from_slice(format!("{line}\r\n").as_bytes()),
            }
        }
    }
}

/// The offset of the first `needle` in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
