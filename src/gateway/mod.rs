//! The request pipeline, from the head of a request to its response.
//!
//! Start reading at `decision.rs`: it decides what happens to a request. `answer.rs` carries the decision out. Around
//! it, [`Gateway::serve`] creates the [`Exchange`], turns a [`Refusal`] into a response, and passes the exchange to the
//! response body. When that body ends, the exchange is counted and logged exactly once. A gateway belongs to one worker
//! and is deliberately not `Send`.

mod admit;
mod answer;
mod body;
mod callers;
mod certificates;
mod close_frame;
mod cors;
mod date;
mod decision;
mod exchange;
pub mod explanation;
pub mod fields;
mod forms;
mod forward;
mod forward_auth;
pub mod generation;
mod grpc;
mod handle;
mod login;
mod logout;
mod outgoing;
mod pages;
mod portal;
mod refusal;
mod reply;
mod shares;
mod sign_in;
mod timer;
mod traces;
mod tunnel;
mod websocket;

use std::cell::Cell;
use std::rc::Rc;

use http::header::CONNECTION;
use http::{HeaderValue, Response, request};

use crate::client::{ClientBody, ClientConnection};
use crate::telemetry::Outcome;

pub use body::Body;
pub use callers::Callers;
pub use certificates::Certified;
pub use date::DateHeader;
pub use exchange::Exchange;
pub use explanation::Explanation;
pub use forms::Forms;
pub use generation::{Current, Gateway, Generation, ListenerTls, Member, ServedListener, UpstreamSpec, Worker};
pub use handle::Tunnels;
pub use login::LoginEndpoint;
pub use pages::PagesEndpoint;
pub use refusal::Refusal;
pub use shares::Share;
pub use timer::{Timer, Timers};
pub use tunnel::Tunnel;

/// The caller's token ended during the exchange. It is unknown whether the endpoint has acted on the request, so every
/// response could be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's token has ended")]
pub struct Unanswered;

impl Gateway {
    /// Serves one request of a client. A response that switches to WebSocket leaves its tunnel in `opened`.
    ///
    /// Failures are responses too. Dropping the future (the client disconnected) ends the exchange. A plain function
    /// and not `async`, so that the exchange begins at once.
    ///
    /// # Errors
    /// [`Unanswered`]: the connection, or the HTTP/2 stream, must end without a response.
    pub fn serve(
        self: Rc<Self>,
        client: &Rc<ClientConnection>,
        opened: &Rc<Cell<Option<Tunnel>>>,
        mut head: Box<request::Parts>,
        body: ClientBody,
    ) -> impl Future<Output = Result<Response<Body>, Unanswered>> + use<> {
        let mut exchange = Exchange::open(&self, client, &mut head);
        // The bytes after it are not read as a request, so it is the last one of its connection.
        let is_last = client.held.get() && websocket::is_asked_for(&head);
        let has_body = !http_body::Body::is_end_stream(&body);
        let opened = Rc::clone(opened);
        async move {
            Ok(match self.answer(head, body, &mut exchange).await {
                Ok(mut response) => {
                    if let Some(far_end) = exchange.far_end() {
                        opened.set(Some(Tunnel::new(far_end, exchange)));
                        return Ok(response);
                    }
                    if is_last || exchange.client().pulse.responds_last() {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    response.map(|body| body.settling(exchange))
                }
                Err(Refusal::TokenEnded | Refusal::NotKept) => {
                    exchange.breaks_off(Outcome::TokenEnded);
                    return Err(Unanswered);
                }
                Err(refusal) => {
                    let close =
                        is_last || exchange.client().pulse.responds_last() || (has_body && !exchange.is_read_whole());
                    refusal.respond(exchange, close, self.generation.credentials.challenge())
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a function returns.
    fn size<F>(
        _: impl Fn(Rc<Gateway>, &Rc<ClientConnection>, &Rc<Cell<Option<Tunnel>>>, Box<request::Parts>, ClientBody) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_and_what_it_moves_stay_small() {
        // Each of these is moved several times per request.
        let sizes = (size(Gateway::serve), size_of::<Body>(), size_of::<crate::upstream::Lease>());
        assert!(sizes.0 <= 1_856 && sizes.1 <= 160 && sizes.2 <= 32, "{sizes:?}");
    }
}
