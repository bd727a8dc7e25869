//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Maximum number of connections that wait to be accepted. The kernel limits it with `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// TCP keep-alive: idle time before the first probe,
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// and the interval between probes. The kernel sends 9 by default.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// Opens `count` sockets on one address. They do not listen yet: the kernel distributes new connections over all that
/// do, so a process that is not ready to accept would keep clients waiting.
///
/// Port 0 takes any free port, the same for all sockets.
///
/// # Errors
/// The error of the system, for instance that the address is in use.
pub fn open(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = bind(address)?;
    let bound = first.local_addr()?;
    let mut all = vec![first];
    while all.len() < count {
        all.push(bind(bound)?);
    }
    Ok(all)
}

/// Begins to listen on a socket. Does nothing to one that listens.
///
/// # Errors
/// What the system says.
pub fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

/// Opens one more socket on an address that this process has sockets on. It does not listen yet.
///
/// # Errors
/// What the system says; for instance, that the sockets there do not share their address.
pub fn further(bound: SocketAddr) -> io::Result<TcpListener> {
    bind(bound)
}

/// Gives a socket that another process has opened the options of our own.
///
/// # Errors
/// What the system says.
pub fn prepare(socket: &TcpListener) -> io::Result<()> {
    set_options(&SockRef::from(socket))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    set_options(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn set_options(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Accepted connections inherit TCP keep-alive from the listening socket. Without it, a silent stream to a machine
    // that has vanished would stay open forever.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))
}

/// Checks that no other process listens on this address. `SO_REUSEPORT` lets two processes of one user share a port
/// silently, so a second gateway started by mistake would take part of the traffic.
///
/// # Errors
/// `AddrInUse` if a process listens there, and any other error of binding.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}
