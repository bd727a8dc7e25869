//! A client of WebSocket over HTTP/2 (RFC 8441).

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};

use super::client::Tls;
use super::{Ask, Gateway, PATIENCE, eventually, soon};

/// One connection.
pub struct Streams {
    pub requests: SendRequest<Bytes>,
    /// Ends with the connection.
    pub driver: tokio::task::JoinHandle<()>,
}

/// One end of a tunnel.
pub struct Socket {
    pub from: RecvStream,
    pub to: SendStream<Bytes>,
    pub headers: HeaderMap,
    buffer: BytesMut,
}

impl Streams {
    /// A connection on which the gateway has announced that it takes an extended CONNECT.
    pub async fn open(gateway: &Gateway) -> Streams {
        let tls = Tls { alpn: vec![b"h2"], ..Tls::default() };
        let stream = soon("handshake", tls.connect(gateway)).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        let streams = Streams { requests, driver };
        let announced = || async { streams.requests.is_extended_connect_protocol_enabled() };
        eventually(PATIENCE, "SETTINGS_ENABLE_CONNECT_PROTOCOL", announced).await;
        streams
    }

    /// Sends the head of a CONNECT. `protocol` is `:protocol`; `ends`: the request ends with its head.
    pub async fn connect(
        &mut self,
        ask: &Ask,
        protocol: Option<&str>,
        ends: bool,
    ) -> Result<(Response<RecvStream>, SendStream<Bytes>), h2::Error> {
        let (mut head, _) = ask.http2().into_parts();
        head.method = Method::CONNECT;
        match protocol {
            Some(protocol) => drop(head.extensions.insert(Protocol::from(protocol))),
            None => head.uri = "localhost:443".parse().unwrap(),
        }
        let mut requests = self.requests.clone().ready().await?;
        let (response, to) = requests.send_request(Request::from_parts(head, ()), ends)?;
        Ok((soon("an answer", response).await?, to))
    }

    /// Asks for WebSocket. Returns the status, and the tunnel of a 200.
    pub async fn websocket(&mut self, ask: &Ask) -> (u16, Socket) {
        let ask = ask.clone().field("Sec-WebSocket-Version", "13");
        let (response, to) = self.connect(&ask, Some("websocket"), false).await.unwrap();
        let (head, from) = response.into_parts();
        (head.status.as_u16(), Socket { from, to, headers: head.headers, buffer: BytesMut::new() })
    }

    /// The status of an ordinary request on the same connection.
    pub async fn get(&mut self, target: &str) -> u16 {
        let (head, _) = Ask::get(target).http2().into_parts();
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, _) = requests.send_request(Request::from_parts(head, ()), true).unwrap();
        soon("an answer", response).await.unwrap().status().as_u16()
    }
}

impl Socket {
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), h2::Error> {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            self.to.reserve_capacity(rest.len());
            let room = soon("room", std::future::poll_fn(|cx| self.to.poll_capacity(cx))).await;
            let room = room.ok_or_else(|| h2::Error::from(h2::Reason::CANCEL))??;
            self.to.send_data(rest.split_to(room.min(rest.len())), false)?;
        }
        Ok(())
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = soon("bytes", self.from.data()).await?;
        Some(piece.inspect(|piece| drop(self.from.flow_control().release_capacity(piece.len()))))
    }

    /// Receives exactly these bytes.
    pub async fn gets(&mut self, bytes: &[u8]) {
        while self.buffer.len() < bytes.len() {
            let piece = self.next().await.expect("the tunnel ended").unwrap();
            self.buffer.extend(piece);
        }
        assert!(self.buffer == bytes, "{:?}", &self.buffer[..self.buffer.len().min(100)]);
        self.buffer.clear();
    }

    pub async fn echoes(&mut self, bytes: &[u8]) {
        self.send(bytes).await.unwrap();
        self.gets(bytes).await;
    }

    /// Waits until the gateway resets the stream.
    pub async fn is_reset(&mut self) {
        while let Some(piece) = self.next().await {
            if piece.is_err() {
                return;
            }
        }
        panic!("the stream ended without a reset");
    }

    /// What the body of a refusal says.
    pub async fn text(&mut self) -> String {
        let mut text = BytesMut::new();
        while let Some(Ok(piece)) = self.next().await {
            text.extend(piece);
        }
        String::from_utf8(text.into()).unwrap()
    }
}
