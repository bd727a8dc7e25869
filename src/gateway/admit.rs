//! Refuses requests before their headers are used: damaged heads, and unencrypted requests.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{Method, request};

use super::{Gateway, Refusal};
use crate::client::{ClientConnection, HeadFault, PlaintextAnswer, framing};
use crate::config::settings;
use crate::route::Target;

/// Maximum number of reported keys of one request: twice the number of readings of an ordinary line.
const MAX_REPORTS: usize = 4;

impl Gateway {
    /// Refuses damaged and unencrypted requests. `from` is the client, which a trusted proxy may have named.
    pub(super) fn admit(&self, head: &request::Parts, client: &ClientConnection, from: IpAddr) -> Result<(), Refusal> {
        let plaintext = self.generation.policy(client).plaintext.as_ref();
        let answer = plaintext.map(|plaintext| plaintext.answer);
        if let Some(fault) = head.extensions.get::<HeadFault>() {
            let is_misplaced = answer == Some(PlaintextAnswer::WrongPort);
            return Err(if is_misplaced { Refusal::NotTls } else { Refusal::Head(*fault) });
        }
        let Some(plaintext) = plaintext else { return Ok(()) };
        let fields = &head.headers;
        let carries_credentials =
            [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].iter().any(|name| fields.contains_key(name));
        if carries_credentials {
            self.report_exposed(head, from, plaintext.exposed);
        }
        match plaintext.answer {
            PlaintextAnswer::WrongPort => Err(Refusal::NotTls),
            PlaintextAnswer::Redirect(port)
                if !carries_credentials && matches!(head.method, Method::GET | Method::HEAD) =>
            {
                let target = Target::read(head, self.generation.limits.uri_bytes, &client.peer)?;
                Err(Refusal::Redirect(location(&target, port)))
            }
            PlaintextAnswer::Redirect(_) | PlaintextAnswer::Refuse => Err(Refusal::Plaintext),
        }
    }

    /// The answer to the challenge of a CA, which asks for it without TLS; `None`: the request does not ask for one.
    pub(super) fn proof(&self, head: &request::Parts, client: &ClientConnection) -> Option<String> {
        let answer = self.generation.policy(client).plaintext.as_ref()?.answer;
        let is_sound = head.extensions.get::<HeadFault>().is_none()
            && framing::check(head, self.generation.limits.header_count).is_ok();
        if !is_sound || answer == PlaintextAnswer::WrongPort || !matches!(head.method, Method::GET | Method::HEAD) {
            return None;
        }
        self.generation.challenges.as_ref()?.at_path(head.uri.path())
    }

    fn report_exposed(&self, head: &request::Parts, from: IpAddr, then: settings::ExposedToken) {
        // Which notation of a key is accepted depends on the route, which is unknown here; an exposed key is exposed in
        // any notation.
        for shown in self.generation.credentials.readings(&head.headers).take(MAX_REPORTS) {
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
