//! Listening sockets that another process has opened: the predecessor of this one, or the service manager.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::StartError;
use crate::listener::socket;

/// Listening sockets that this process has got and not yet used.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Given>,
    /// The control socket of the process that this one takes over from.
    control: Option<PathBuf>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Given {
    pub socket: TcpListener,
    /// The address that it is bound to.
    pub bound: SocketAddr,
    pub meant_for: MeantFor,
}

/// Which listener a socket is meant for, other than by the address that it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MeantFor {
    /// The predecessor used it for the listener with this name, whose address was this in the file.
    Listener { name: String, address: SocketAddr },
    /// The service manager calls it so.
    Name(String),
}

impl Inherited {
    /// The sockets of the gateway with this control socket.
    pub(super) fn of_predecessor(sockets: Vec<Given>, control: PathBuf) -> Inherited {
        Inherited { sockets, control: Some(control) }
    }

    /// The sockets that the service manager has passed to this process (`LISTEN_FDS` of systemd). Can be called once.
    ///
    /// # Errors
    /// [`StartError::Activation`]: it has passed something else.
    pub fn of_service_manager() -> Result<Inherited, StartError> {
        let failed = |name: &str, what: String| StartError::Activation { name: name.to_owned(), what };
        let names = sd_notify::listen_fds_with_names().map_err(|error| failed("", error.to_string()))?;
        let names: Vec<String> = names.map(|(_, name)| name).collect();
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let socket = passed.take_tcp_listener(index).map_err(|error| failed(&name, error.to_string()))?;
            let Some(socket) = socket else { continue };
            if !socket_acceptconn(&socket).unwrap_or(false) {
                return Err(failed(&name, "it does not listen; remove `Accept=yes`".to_owned()));
            }
            let bound = socket.local_addr().map_err(|error| failed(&name, error.to_string()))?;
            sockets.push(Given { socket, bound, meant_for: MeantFor::Name(name) });
        }
        Ok(Inherited { sockets, control: None })
    }

    /// The control socket of the process that this one takes over from.
    pub(super) fn control(&self) -> Option<&Path> {
        self.control.as_deref()
    }

    /// Returns at least `count` sockets for a listener: those that are meant for it, and new ones for the rest.
    ///
    /// New sockets beside others of this gateway do not listen yet. The kernel would give them connections at once, and
    /// a process that is not ready, or ends before it is, would keep or lose them. `is_shared`: this process uses the
    /// address already, so no other program does.
    ///
    /// # Errors
    /// What the system says, for instance that the address is in use.
    pub(super) fn open(
        &mut self,
        name: &str,
        address: SocketAddr,
        count: usize,
        is_shared: bool,
    ) -> io::Result<Vec<TcpListener>> {
        let is_shared = is_shared || self.sockets.iter().any(|given| overlap(given.bound, address));
        let mine = self.sockets.extract_if(.., |given| given.is_for(name, address));
        let mut sockets: Vec<TcpListener> = mine.map(|given| given.socket).collect();
        let Some(first) = sockets.first() else {
            if !is_shared {
                socket::probe(address)?;
            }
            let new = socket::open(address, count)?;
            if !is_shared {
                // Early, so that another gateway that starts finds the address in use.
                new.iter().try_for_each(socket::listen)?;
            }
            return Ok(new);
        };
        let bound = first.local_addr()?;
        sockets.iter().try_for_each(socket::prepare)?;
        while sockets.len() < count {
            let further = socket::further(bound).or_else(|_| copy(&sockets))?;
            sockets.push(further);
        }
        Ok(sockets)
    }

    /// Drops what no listener has used: the predecessor serves and closes its sockets itself.
    ///
    /// # Errors
    /// [`StartError::Unused`] for a socket of the service manager, whose clients would wait forever.
    pub(super) fn end(self) -> Result<(), StartError> {
        let unused = self.sockets.into_iter().find_map(|given| match given.meant_for {
            MeantFor::Name(name) => Some(StartError::Unused { name, address: given.bound }),
            MeantFor::Listener { .. } => None,
        });
        unused.map_or(Ok(()), Err)
    }
}

impl Given {
    fn is_for(&self, listener: &str, wanted: SocketAddr) -> bool {
        self.bound == wanted
            || match &self.meant_for {
                // Port 0 means any free port, so that the address alone says nothing.
                MeantFor::Listener { name, address } => *address == wanted && (address.port() != 0 || name == listener),
                MeantFor::Name(name) => name == listener,
            }
    }
}

/// One more handle of a socket that cannot be opened again: not made for sharing (`ReusePort=` of systemd), or a port
/// that only the service manager may use. Its workers then take turns at one queue.
fn copy(sockets: &[TcpListener]) -> io::Result<TcpListener> {
    sockets.first().ok_or(io::ErrorKind::AddrNotAvailable)?.try_clone()
}

/// Can sockets on these addresses get the same connections?
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn sockets_that_are_opened_beside_those_of_a_predecessor_take_no_connection_from_it() {
        let old = socket::open("127.0.0.1:0".parse().unwrap(), 1).unwrap().pop().unwrap();
        socket::listen(&old).unwrap();
        let bound = old.local_addr().unwrap();
        let meant_for = MeantFor::Listener { name: "public".to_owned(), address: bound };
        let given = Given { socket: old.try_clone().unwrap(), bound, meant_for };
        let mut inherited = Inherited::of_predecessor(vec![given], PathBuf::new());
        let new = inherited.open("public", bound, 4, false).unwrap();
        assert_eq!(new.len(), 4);
        let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(bound).unwrap()).collect();
        let accepted = std::iter::from_fn(|| old.accept().ok()).count();
        assert_eq!(accepted, clients.len(), "a process that only prepares itself takes none");
        new.iter().try_for_each(socket::listen).unwrap();
        let clients: Vec<_> = (0..256).map(|_| TcpStream::connect(bound).unwrap()).collect();
        let accepted: Vec<_> = new.iter().map(|one| std::iter::from_fn(|| one.accept().ok()).count()).collect();
        assert!(accepted.iter().sum::<usize>() == clients.len() && !accepted.contains(&0), "{accepted:?}");
    }
}
