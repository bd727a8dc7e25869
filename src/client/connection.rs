//! What holds for all requests of one client connection, and of one listener.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use super::{HeadFault, Pulse};
use crate::config::settings;
use crate::route::Peer;

/// What is common to the connections of one listener.
pub struct ListenerPolicy {
    /// `Strict-Transport-Security`, where it is sent.
    pub hsts: Option<HeaderValue>,
    /// `None`: requests are served.
    pub plaintext: Option<Plaintext>,
}

/// What a listener does with unencrypted requests in place of serving them.
pub struct Plaintext {
    /// The answer.
    pub answer: PlaintextAnswer,
    /// What happens to a live token.
    pub exposed: settings::ExposedToken,
}

/// How an unencrypted request is answered that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaintextAnswer {
    /// 403 for every request.
    Refuse,
    /// 308 to `https` on this port for GET and HEAD without credentials, 403 for the rest.
    Redirect(u16),
    /// 400 for every request, however it looks: it came to a port that speaks TLS.
    WrongPort,
}

/// One connection of a client.
pub struct ClientConnection {
    /// Who is at the other end.
    pub peer: Peer,
    /// Whether it lives, for the worker's tick.
    pub pulse: Rc<Pulse>,
    /// What the strict front found; the request that it put in place of the damaged one must be refused.
    pub fault: Cell<Option<HeadFault>>,
    /// A WebSocket handshake is its last request: what follows is held until that is answered, and never read as a
    /// request.
    pub held: Cell<bool>,
    /// The name of its listener, whose settings hold as they are now. `None`: `policy` holds instead, as the client
    /// sent unencrypted HTTP to a listener with TLS.
    pub listener: Option<Arc<str>>,
    /// What held when it began.
    pub policy: Arc<ListenerPolicy>,
}

impl ListenerPolicy {
    /// For unencrypted connections whose listener served requests and is gone.
    pub const GONE: ListenerPolicy = ListenerPolicy {
        hsts: None,
        plaintext: Some(Plaintext { answer: PlaintextAnswer::Refuse, exposed: settings::ExposedToken::Ignore }),
    };
}
