//! A TCP proxy in front of a server, which a test can interrupt and restore.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The state of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Passes,
    Cut,
    Stalls,
}

/// A proxy; connections to [`Line::address`] reach its server.
pub struct Line {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Line {
    /// A proxy that forwards everything.
    pub async fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(State::Passes);
        let (changes, accepted) = (state.subscribe(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, server, changes.clone()));
            }
        });
        Line { address, state, accepted, task }
    }

    /// Forwards everything, beginning with what was held back.
    pub fn pass(&self) {
        self.state.send_replace(State::Passes);
    }

    /// Closes all connections, and new ones at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Keeps and accepts connections, but forwards nothing.
    pub fn stall(&self) {
        self.state.send_replace(State::Stalls);
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
        self.state.send_replace(State::Cut);
    }
}

async fn carry(client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let mut cut = state.clone();
    let carried = async {
        let mut passes = state.clone();
        passes.wait_for(|state| *state == State::Passes).await.ok()?;
        let server = TcpStream::connect(server).await.ok()?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(copy(from_client, to_server, state.clone()), copy(from_server, to_client, state));
        Some(())
    };
    // Both ends are dropped when connections are closed.
    tokio::select! {
        _ = carried => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // Data that was held back is forwarded when forwarding resumes.
        if state.wait_for(|state| *state == State::Passes).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
