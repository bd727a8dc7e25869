//! What holds for all requests of one client connection, and of one listener.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, request};

use super::{Gateway, HeadFault, Pulse, Refusal};
use crate::config::settings;
use crate::route::{Peer, Target};

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
    pub(super) const GONE: ListenerPolicy = ListenerPolicy {
        hsts: None,
        plaintext: Some(Plaintext { answer: PlaintextAnswer::Refuse, exposed: settings::ExposedToken::Ignore }),
    };
}

impl ClientConnection {
    /// Refuses what was damaged, and what came in clear.
    pub(super) fn admit(&self, head: &request::Parts, gateway: &Gateway) -> Result<(), Refusal> {
        let plaintext = gateway.generation.policy(self).plaintext.as_ref();
        let answer = plaintext.map(|plaintext| plaintext.answer);
        let fault = head.extensions.get().copied().or(self.fault.get());
        if let Some(fault) = fault.filter(|_| head.method.as_str() == REFUSED_METHOD) {
            let is_misplaced = answer == Some(PlaintextAnswer::WrongPort);
            return Err(if is_misplaced { Refusal::NotTls } else { Refusal::Head(fault) });
        }
        let Some(plaintext) = plaintext else { return Ok(()) };
        let fields = &head.headers;
        let carries_credentials =
            [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].iter().any(|name| fields.contains_key(name));
        if carries_credentials {
            gateway.report_exposed(head, self.peer.address.ip(), plaintext.exposed);
        }
        match plaintext.answer {
            PlaintextAnswer::WrongPort => Err(Refusal::NotTls),
            PlaintextAnswer::Redirect(port)
                if !carries_credentials && matches!(head.method, Method::GET | Method::HEAD) =>
            {
                let target = Target::read(head, gateway.generation.limits.uri_bytes, &self.peer)?;
                Err(Refusal::Redirect(location(&target, port)))
            }
            PlaintextAnswer::Redirect(_) | PlaintextAnswer::Refuse => Err(Refusal::Plaintext),
        }
    }
}

/// Most keys of one request that are reported: one for each reading of an ordinary line, twice.
const MOST_REPORTS: usize = 4;

/// The method of the request that the strict front puts in place of a damaged one. No client can make good use of it:
/// it is refused whether or not there was a fault.
pub(crate) const REFUSED_METHOD: &str = "TOKENGATE-REFUSED";

impl Gateway {
    fn report_exposed(&self, head: &request::Parts, from: IpAddr, then: settings::ExposedToken) {
        // What counts depends on the route, which is not supported here; an exposed key is exposed on any.
        for shown in self.generation.credentials.readings(&head.headers).take(MOST_REPORTS) {
            self.worker.exposed.report(shown.digest(), from, then);
        }
    }
}

fn location(target: &Target<'_>, port: u16) -> String {
    let host = target.host();
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("https://{host}{port}{}{query}", target.path())
}
