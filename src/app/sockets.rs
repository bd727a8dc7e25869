//! The listening sockets of the process, by listener.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use super::StartError;
use super::inherited::{Inherited, overlap};
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

impl Prepared {
    /// Begins to listen on the new sockets. The last step before they are used: from here on they get connections.
    ///
    /// # Errors
    /// [`StartError::Listen`] for an address that cannot be used.
    pub(super) fn listen(&self) -> Result<(), StartError> {
        let for_workers = self.for_workers.iter().flatten().map(|(name, socket)| (&**name, socket));
        let internal = self.internal.iter().map(|(listener, socket)| (listener.name.as_str(), socket));
        for_workers.chain(internal).try_for_each(|(name, socket)| listen(&format!("listeners.{name}"), socket))
    }
}

impl Sockets {
    /// Opens the sockets of new listeners: those of another process if there are any, else new ones. They may not
    /// listen yet. Closes nothing.
    ///
    /// # Errors
    /// [`StartError::Listen`] for an address that cannot be used.
    pub(super) fn prepare(
        &self,
        listeners: &[Listener],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Prepared, StartError> {
        let mut next = Vec::new();
        let mut for_workers: Vec<Vec<(Arc<str>, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut internal = Vec::new();
        for listener in listeners {
            if let Some(open) = self.0.iter().find(|open| is_same(&open.listener, listener)) {
                next.push(Open { listener: listener.clone(), bound: open.bound });
                continue;
            }
            let is_internal = matches!(listener.role, ListenerRole::Internal { .. });
            let sockets = self.open(listener, if is_internal { 1 } else { workers }, inherited)?;
            let Some(bound) = sockets.first().and_then(|socket| socket.local_addr().ok()) else { continue };
            for (place, socket) in sockets.into_iter().enumerate() {
                match for_workers.get_mut(place % workers.max(1)) {
                    Some(share) if !is_internal => share.push((listener.name.as_str().into(), socket)),
                    _ if place == 0 => internal.push((listener.clone(), socket)),
                    // The process that has passed it empties its queue.
                    _ => {}
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

    fn open(
        &self,
        listener: &Listener,
        count: usize,
        inherited: &mut Inherited,
    ) -> Result<Vec<TcpListener>, StartError> {
        // An address that this process uses already may be bound again, under another name or for another purpose.
        let is_ours = self.0.iter().any(|open| overlap(open.bound, listener.address));
        let key = || format!("listeners.{}", listener.name);
        let opened = inherited.open(&listener.name, listener.address, count, is_ours);
        opened.map_err(|source| StartError::Listen { key: key(), address: listener.address, source })
    }

    /// The address of a listener in the file.
    pub(super) fn address_of(&self, listener: &str) -> Option<SocketAddr> {
        self.0.iter().find(|open| open.listener.name == listener).map(|open| open.listener.address)
    }
}

/// Begins to listen on a socket. `key` is that of its address in the file.
///
/// # Errors
/// [`StartError::Listen`].
pub(super) fn listen(key: &str, socket: &TcpListener) -> Result<(), StartError> {
    let failed = |source| {
        let address = socket.local_addr().unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into());
        StartError::Listen { key: key.to_owned(), address, source }
    };
    socket::listen(socket).map_err(failed)
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
