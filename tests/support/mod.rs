//! Parts of tests of the whole gateway: the gateway itself, scripted endpoints, clients.
//!
//! Everything runs in the test's own process, on free ports and in a folder of its own. Assertions belong in the tests.

pub mod authority;
pub mod by_hand;
pub mod client;
pub mod dice;
pub mod fleet;
pub mod frames;
pub mod gateway;
pub mod h2_origin;
pub mod http2;
pub mod line;
pub mod mariadb;
pub mod nginx;
pub mod tls_front;
pub mod message;
pub mod origin;
pub mod pebble;
pub mod postgres;
pub mod python;
pub mod redis;
pub mod shipped;
pub mod sockets;
pub mod watched;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

pub use client::{Ask, Http, Wire};
pub use fleet::Fleet;
pub use gateway::{Gateway, Site};
pub use line::Line;
pub use mariadb::Mariadb;
pub use message::Answer;
pub use origin::{Gate, Origin, Step};
pub use postgres::Postgres;

/// Timeout for what should happen at once; long, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A timeout of the gateway that never expires within a test.
pub const AMPLE: Duration = Duration::from_secs(3600);

/// An address on which no server listens: its port is reserved while this process runs.
pub fn nowhere() -> SocketAddr {
    static TAKEN: OnceLock<Socket> = OnceLock::new();
    let take = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket
    };
    TAKEN.get_or_init(take).local_addr().unwrap().as_socket().unwrap()
}

/// The output of `future`, which must complete within [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing came"))
}

/// Waits until `condition` is true; panics after `limit`.
///
/// The only function that sleeps: the condition depends on another thread that cannot notify us.
pub async fn eventually<C: Future<Output = bool>>(limit: Duration, what: &str, mut condition: impl FnMut() -> C) {
    let all = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(limit, all).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}

/// Waits until `value` has not changed for half a second, and returns it.
pub async fn settled(what: &str, value: impl Fn() -> usize) -> usize {
    let (last, same) = (std::cell::Cell::new(value()), std::cell::Cell::new(0));
    eventually(PATIENCE, what, || async {
        let now = value();
        same.set(if last.replace(now) == now { same.get() + 1 } else { 0 });
        same.get() >= 100
    })
    .await;
    last.get()
}
