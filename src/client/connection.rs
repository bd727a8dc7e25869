//! The settings that all requests of one client connection, and of one listener, share.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use super::Pulse;
use super::certificate::ClientCertificate;
use crate::config::settings::{self, ProxyTrust};
use crate::route::Peer;

/// The settings of all connections of one listener.
pub struct ListenerPolicy {
    /// `Strict-Transport-Security`; `None`: not sent.
    pub hsts: Option<HeaderValue>,
    /// `None`: requests are served.
    pub plaintext: Option<Plaintext>,
    /// The proxies that may say where a connection or request comes from.
    pub trust: ProxyTrust,
    /// Whether clients must show a certificate.
    pub requires_certificate: bool,
    /// Whether its requests are questions of proxies about requests of theirs.
    pub forward_auth: bool,
}

/// How a listener refuses unencrypted requests.
pub struct Plaintext {
    /// The answer.
    pub answer: PlaintextAnswer,
    /// What happens to a live token.
    pub exposed: settings::ExposedToken,
}

/// The response to an unencrypted request that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaintextAnswer {
    /// 403 for every request.
    Refuse,
    /// 308 to `https` on this port for GET and HEAD without credentials, 403 for the rest.
    Redirect(u16),
    /// 400 for every request, valid or not: it was sent to a TLS port.
    WrongPort,
}

/// One connection of a client.
pub struct ClientConnection {
    /// The other end of the connection.
    pub peer: Peer,
    /// The activity of the connection, for the worker's tick.
    pub pulse: Rc<Pulse>,
    /// Whether its last request is a WebSocket handshake: the bytes after it wait for the response, and are never read
    /// as a request.
    pub held: Cell<bool>,
    /// Whether a proxy says by the PROXY protocol that it does not know the client: no header names the client either.
    pub is_unknown: Cell<bool>,
    /// The certificate that the client has shown. A proxy that forwards requests of others has none here.
    pub certificate: OnceCell<ClientCertificate>,
    /// The name of its listener, whose current settings apply. `None`: `policy` applies, because the client sent
    /// unencrypted HTTP to a TLS listener.
    pub listener: Option<Arc<str>>,
    /// The settings when it began.
    pub policy: Arc<ListenerPolicy>,
}

impl ClientConnection {
    /// A connection that has just begun.
    pub fn new(
        peer: Peer,
        pulse: Rc<Pulse>,
        listener: Option<Arc<str>>,
        policy: Arc<ListenerPolicy>,
    ) -> Rc<ClientConnection> {
        Rc::new(ClientConnection {
            peer,
            pulse,
            held: Cell::new(false),
            is_unknown: Cell::new(false),
            certificate: OnceCell::new(),
            listener,
            policy,
        })
    }
}

impl ListenerPolicy {
    /// For unencrypted connections whose listener served requests and was removed.
    pub const REMOVED: ListenerPolicy = ListenerPolicy {
        hsts: None,
        plaintext: Some(Plaintext { answer: PlaintextAnswer::Refuse, exposed: settings::ExposedToken::Ignore }),
        trust: ProxyTrust::NONE,
        requires_certificate: false,
        forward_auth: false,
    };
}
