//! An endpoint that writes its HTTP/2 frames by hand, for what no library sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::frames::{ACK, DATA, END_HEADERS, HEADERS, PING, SETTINGS, WINDOW_UPDATE, number};

/// `:status: 200` (RFC 7541, appendix A).
pub const OK: u8 = 0x88;
/// The gateway's window of a stream.
pub const WINDOW: usize = 64 << 10;

/// A frame that the gateway has sent.
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The endpoint. It responds to each frame with what its script returns.
pub struct ByHand {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl ByHand {
    /// `settings` is the payload of its SETTINGS frame; `script` makes the script of a connection.
    pub async fn speaking<F>(settings: &'static [u8], script: impl Fn() -> F + Send + 'static) -> ByHand
    where
        F: FnMut(Frame) -> Vec<u8> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(serve(stream, settings, script()));
            }
        });
        ByHand { address, connections }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

async fn serve(
    mut stream: TcpStream,
    settings: &[u8],
    mut script: impl FnMut(Frame) -> Vec<u8>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, on @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        stream.read_exact(&mut payload).await?;
        let reply = match kind {
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
            _ => script(Frame { kind, stream: u32::from_be_bytes(on), payload }),
        };
        stream.write_all(&reply).await?;
    }
}

/// Responds to each request with messages of one byte, as many as the gateway takes, and counts them.
pub fn drops(sent: Arc<AtomicUsize>) -> impl FnMut(Frame) -> Vec<u8> {
    move |got| {
        let (room, mut reply) = match got.kind {
            HEADERS => (WINDOW, frame(HEADERS, END_HEADERS, got.stream, &[OK])),
            WINDOW_UPDATE if got.stream > 0 => (usize::try_from(number(&got.payload)).unwrap(), Vec::new()),
            _ => return Vec::new(),
        };
        sent.fetch_add(room, Ordering::AcqRel);
        reply.extend(frame(DATA, 0, got.stream, b"x").repeat(room));
        reply
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
