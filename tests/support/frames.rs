//! HTTP/2 frames written by hand, for what no correct client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::Tls;
use super::{Gateway, soon};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;
/// The initial window: what may be sent before the gateway's first WINDOW_UPDATE.
const FIRST_WINDOW: usize = 65_535;

/// How the gateway ended a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a response of this status.
    Answered(u16),
    /// With RST_STREAM.
    Reset,
    /// By closing the whole connection.
    Connection,
}

/// One connection, after the prefaces.
pub struct Frames(TlsStream<TcpStream>);

impl Frames {
    pub async fn open(gateway: &Gateway) -> Frames {
        Frames::open_with(gateway, &[]).await
    }

    /// The same with an initial window of 0 for the gateway's responses.
    pub async fn without_room(gateway: &Gateway) -> Frames {
        // SETTINGS_INITIAL_WINDOW_SIZE.
        Frames::open_with(gateway, &[0, 4, 0, 0, 0, 0]).await
    }

    async fn open_with(gateway: &Gateway, settings: &[u8]) -> Frames {
        let tls = Tls { alpn: vec![b"h2"], ..Tls::default() };
        let mut stream = soon("handshake", tls.connect(gateway)).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut frames = Frames(stream);
        frames.write(SETTINGS, 0, 0, settings).await;
        frames
    }

    /// Sends a request as stream 1 and waits for its end. `fields` are sent as literals, pseudo-headers first.
    pub async fn request(mut self, fields: &[(&str, &str)], body: Option<&[u8]>) -> Ended {
        let last = if body.is_none() { END_STREAM } else { 0 };
        self.write(HEADERS, END_HEADERS | last, 1, &block(fields)).await;
        if let Some(body) = body {
            self.write(DATA, END_STREAM, 1, body).await;
        }
        soon("the end of the stream", self.end()).await
    }

    /// Begins a header block without ending it, and waits for the end of the connection.
    pub async fn open_header_block(mut self) {
        self.write(HEADERS, END_STREAM, 1, &[0x82]).await;
        while self.read().await.is_ok() {}
    }

    /// Sends a request without a body as stream 1 and returns the body of its response, even where none is allowed.
    pub async fn body(mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        self.write(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)).await;
        let mut body = Vec::new();
        loop {
            let (kind, flags, stream, payload) = soon("the answer", self.read()).await.unwrap();
            if kind == DATA && stream == 1 {
                body.extend(payload);
            }
            if matches!(kind, HEADERS | DATA) && stream == 1 && flags & END_STREAM != 0 {
                return body;
            }
        }
    }

    /// Begins a request with a body as stream 1.
    pub async fn begin(&mut self, fields: &[(&str, &str)]) {
        self.write(HEADERS, END_HEADERS, 1, &block(fields)).await;
    }

    /// The same, and reads the response to its end, which must come before any of the body is sent.
    pub async fn answer_before_body(&mut self, fields: &[(&str, &str)]) -> u16 {
        self.begin(fields).await;
        let mut answered = 0;
        loop {
            let (kind, flags, stream, payload) = soon("the answer", self.read()).await.unwrap();
            match kind {
                HEADERS if stream == 1 => answered = status(&payload),
                RST_STREAM if stream == 1 => panic!("reset before the end of the answer"),
                _ => {}
            }
            if matches!(kind, HEADERS | DATA) && stream == 1 && flags & END_STREAM != 0 {
                return answered;
            }
        }
    }

    /// Sends this many bytes of the body of stream 1 within the window. `false`: the gateway has reset the stream.
    pub async fn upload(&mut self, mut length: usize, last: bool) -> bool {
        let mut window = FIRST_WINDOW;
        while length > 0 {
            let piece = length.min(16_384);
            while window < piece {
                let (kind, _, stream, payload) = soon("room for the body", self.read()).await.unwrap();
                match kind {
                    WINDOW_UPDATE if stream == 1 => window += usize::try_from(number(&payload)).unwrap(),
                    RST_STREAM if stream == 1 => return false,
                    _ => {}
                }
            }
            (window, length) = (window - piece, length - piece);
            let end = if last && length == 0 { END_STREAM } else { 0 };
            self.write(DATA, end, 1, &vec![b'x'; piece]).await;
        }
        !self.sends(RST_STREAM).await
    }

    /// Waits until the gateway resets stream 1, and returns the error code.
    pub async fn reset(&mut self) -> u32 {
        loop {
            let (kind, _, stream, payload) = soon("a reset", self.read()).await.unwrap();
            if kind == RST_STREAM && stream == 1 {
                return number(&payload);
            }
        }
    }

    /// Whether the gateway has begun to respond to what was sent so far.
    pub async fn answers(&mut self) -> bool {
        self.sends(HEADERS).await
    }

    /// Whether a frame of this type arrives on stream 1 before the gateway has processed everything that was sent.
    async fn sends(&mut self, wanted: u8) -> bool {
        let mut sent = false;
        // The effects of the first ping were sent before the response to the second.
        for _ in 0..2 {
            self.write(PING, 0, 0, &[0; 8]).await;
            loop {
                let (kind, flags, stream, _) = soon("an answered ping", self.read()).await.unwrap();
                sent |= kind == wanted && stream == 1;
                if kind == PING && flags & ACK != 0 {
                    break;
                }
            }
        }
        sent
    }

    async fn end(&mut self) -> Ended {
        loop {
            let Ok((kind, _, stream, payload)) = self.read().await else { return Ended::Connection };
            match kind {
                HEADERS if stream == 1 => return Ended::Answered(status(&payload)),
                RST_STREAM if stream == 1 => return Ended::Reset,
                GOAWAY => return Ended::Connection,
                _ => {}
            }
        }
    }

    /// Waits for the GOAWAY of the gateway and returns its code; `None` if the connection ends without one.
    pub async fn goaway(&mut self) -> Option<u32> {
        loop {
            let (kind, _, _, payload) = soon("the end of the connection", self.read()).await.ok()?;
            if kind == GOAWAY {
                return Some(number(&payload[4..8]));
            }
        }
    }

    /// Waits for the response head on this stream; `None`: it was reset.
    pub async fn answer_on(&mut self, wanted: u32) -> Option<u16> {
        loop {
            let (kind, _, stream, payload) = soon("the answer", self.read()).await.unwrap();
            match kind {
                HEADERS if stream == wanted => return Some(status(&payload)),
                RST_STREAM if stream == wanted => return None,
                _ => {}
            }
        }
    }

    /// Sends these bytes.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // The gateway may have closed the connection already; a read shows that.
        let _ = self.0.write_all(&frame).await;
        let _ = self.0.flush().await;
    }

    pub async fn read(&mut self) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        self.0.read_exact(&mut payload).await?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

/// Literals without indexing and with new names (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.chars().count()).unwrap() & 0x7f);
            block.extend(text.chars().map(|c| u8::try_from(c).unwrap()));
        }
    }
    block
}

pub fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().unwrap())
}

/// The status at the beginning of a header block: indexed (RFC 7541, appendix A), or a literal, Huffman-coded or not.
fn status(block: &[u8]) -> u16 {
    match block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [_, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        [_, 0x82 | 0x83, a, b, c, ..] => huffman(u32::from_be_bytes([*a, *b, *c, 0])),
        _ => panic!("no status at the begin of {block:?}"),
    }
}

/// Three digits at the upper end of `bits` (RFC 7541, appendix B: `0` to `2` take 5 bits, the others 6).
fn huffman(mut bits: u32) -> u16 {
    let mut number = 0;
    for _ in 0..3 {
        let (digit, length) = match bits >> 27 {
            short @ 0..=2 => (short, 5),
            _ => ((bits >> 26) - 0b01_1001 + 3, 6),
        };
        number = number * 10 + digit;
        bits <<= length;
    }
    u16::try_from(number).unwrap()
}
