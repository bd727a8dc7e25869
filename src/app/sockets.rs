//! The listening sockets of the process, by listener.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::StartError;
use crate::config::settings::{Listener, ListenerRole};
use crate::listener::socket;

/// The listeners whose sockets are open.
#[derive(Default)]
pub(super) struct Sockets(Vec<Open>);

/// A listener with open sockets.
struct Open {
    listener: Listener,
    bound: SocketAddr,
}

/// The sockets for a new configuration. Dropping it closes the new sockets.
pub(super) struct Prepared {
    /// Removed listeners, and those with a changed address or kind.
    pub closed: Vec<Arc<str>>,
    /// New sockets for clients: one per worker, with the listener's name.
    pub for_workers: Vec<Vec<(Arc<str>, TcpListener)>>,
    /// New internal listeners.
    pub internal: Vec<(Listener, TcpListener)>,
    /// The addresses of all listeners.
    pub addresses: HashMap<String, SocketAddr>,
    next: Vec<Open>,
}

impl Sockets {
    /// Opens the sockets of new listeners. Closes nothing.
    ///
    /// # Errors
    /// [`StartError::Listen`] for an address that cannot be used.
    pub(super) fn prepare(&self, listeners: &[Listener], workers: usize) -> Result<Prepared, StartError> {
        let mut next = Vec::new();
        let mut for_workers: Vec<Vec<(Arc<str>, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut internal = Vec::new();
        for listener in listeners {
            if let Some(open) = self.0.iter().find(|open| is_same(&open.listener, listener)) {
                next.push(Open { listener: listener.clone(), bound: open.bound });
                continue;
            }
            let is_internal = matches!(listener.role, ListenerRole::Internal { .. });
            let sockets = self.open(listener, if is_internal { 1 } else { workers })?;
            let Some(bound) = sockets.first().and_then(|socket| socket.local_addr().ok()) else { continue };
            if is_internal {
                internal.extend(sockets.into_iter().map(|socket| (listener.clone(), socket)));
            } else {
                for (share, socket) in for_workers.iter_mut().zip(sockets) {
                    share.push((listener.name.as_str().into(), socket));
                }
            }
            next.push(Open { listener: listener.clone(), bound });
        }
        let is_gone = |open: &&Open| !listeners.iter().any(|listener| is_same(&open.listener, listener));
        let closed = self.0.iter().filter(is_gone).map(|open| open.listener.name.as_str().into()).collect();
        let addresses = next.iter().map(|open| (open.listener.name.clone(), open.bound)).collect();
        Ok(Prepared { closed, for_workers, internal, addresses, next })
    }

    /// Records that the prepared sockets are in use and the closed ones are not.
    pub(super) fn adopt(&mut self, prepared: Prepared) {
        self.0 = prepared.next;
    }

    fn open(&self, listener: &Listener, count: usize) -> Result<Vec<TcpListener>, StartError> {
        // An address that this process uses already may be bound again, under another name or for another purpose.
        let is_ours = self.0.iter().any(|open| overlap(open.bound, listener.address));
        let probed = if is_ours { Ok(()) } else { socket::probe(listener.address) };
        let opened = probed.and_then(|()| socket::open(listener.address, count));
        let key = format!("listeners.{}", listener.name);
        opened.map_err(|source| StartError::Listen { key, address: listener.address, source })
    }
}

/// Whether sockets on these addresses could get the same connections.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// Whether one listener can continue as the other, with its sockets and connections.
fn is_same(a: &Listener, b: &Listener) -> bool {
    let role = match (&a.role, &b.role) {
        (ListenerRole::Tls(_), ListenerRole::Tls(_)) | (ListenerRole::Plain(_), ListenerRole::Plain(_)) => true,
        (a @ ListenerRole::Internal { .. }, b @ ListenerRole::Internal { .. }) => a == b,
        _ => false,
    };
    role && (&a.name, a.address) == (&b.name, b.address)
}
